//! What a trace looks like to people ([`terminal`]) and to programs ([`json`]).
#![forbid(unsafe_code)]

pub mod escape;
pub mod json;
pub mod terminal;
mod words;

mod chain;
mod paint;
#[cfg(test)]
mod samples;
mod summary;
pub(crate) use summary::milliseconds;
