//! What a trace looks like to people ([`terminal`]), to browsers ([`html`]) and to programs, and what
//! there is to say of a kind of finding ([`explain`]).
//!
//! A new format is a file here and a row of [`FORMATS`].
#![forbid(unsafe_code)]

pub mod builds;
pub mod compare;
pub mod escape;
pub mod explain;
pub mod github;
pub mod gitlab;
pub mod har;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod ndjson;
pub mod progress;
pub mod rewalk;
pub mod sarif;
pub mod terminal;
mod words;

mod chain;
mod network;
mod paint;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod schema;
mod summary;
mod wrap;

pub(crate) use summary::{lasting_words, milliseconds};
pub(crate) use wrap::wrap;

use std::io::{self, BufWriter, Write};

use crate::model::Trace;

/// A way to write a trace.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Writes all of it.
    pub write: fn(&Trace, &mut dyn Write) -> io::Result<()>,
}

/// Every format but the report for people.
pub const FORMATS: [Format; 9] = [
    json::FORMAT,
    ndjson::FORMAT,
    html::FORMAT,
    har::FORMAT,
    github::FORMAT,
    gitlab::FORMAT,
    junit::FORMAT,
    sarif::FORMAT,
    markdown::FORMAT,
];

/// The format of this name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Writes a trace to a file.
pub fn write(format: &Format, trace: &Trace, output: impl Write) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(1 << 16, output);
    (format.write)(trace, &mut output)?;
    output.flush()
}
