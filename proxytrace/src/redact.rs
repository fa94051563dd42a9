//! Redaction.
#![forbid(unsafe_code)]
