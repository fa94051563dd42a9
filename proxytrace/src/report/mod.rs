//! What a trace looks like to people ([`terminal`]) and to programs
//! ([`json`]), and what there is to say of a kind of finding ([`explain`]).
#![forbid(unsafe_code)]

pub mod escape;
pub mod explain;
pub mod json;
pub mod rewalk;
pub mod terminal;
mod words;

mod chain;
mod paint;
#[cfg(test)]
mod samples;
mod summary;
