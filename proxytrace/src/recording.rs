//! Recordings.
#![forbid(unsafe_code)]
