//! From a recording to what a run would have reported.
#![forbid(unsafe_code)]

mod builds;
#[cfg(test)]
mod tests;

use std::io::BufRead;

use crate::correlate::Correlator;
use crate::diagnose::diagnose;
use crate::model::Trace;
use crate::recording::{Error, Reader};

pub use self::builds::{Survey, builds};

/// What ended the watch, as far as a recording tells that is cut.
const CUT: &str = "the recording stops before its end";

/// The trace of a recording with its findings, and what is wrong with the recording, if anything. The
/// trace is complete if nothing is, and if the recording was not cut.
pub fn replay(mut reader: Reader<impl BufRead>) -> (Trace, Option<Error>) {
    let mut correlator = Correlator::new(reader.start());
    let mut broken = None;
    for event in &mut reader {
        match event {
            Ok(event) => correlator.push(event),
            Err(error) => broken = Some(error),
        }
    }
    let end = (!reader.is_cut()).then(|| reader.end());
    let mut trace = correlator.finish(end.as_ref());
    if reader.is_cut() {
        trace.capture.watch_ended.get_or_insert_with(|| CUT.to_owned());
    }
    trace.findings = diagnose(&trace);
    (trace, broken)
}
