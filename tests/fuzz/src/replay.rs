//! A recording, all the way to the report.

use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::model::Trace;
use proxytrace::recording::Reader;
use proxytrace::report::{self, json, terminal};

use crate::assert_printable;

/// A recording, whole or not.
pub(crate) fn any(recording: &[u8]) {
    let Ok(mut reader) = Reader::new(recording) else { return };
    let mut correlator = Correlator::new(reader.start());
    for event in reader.by_ref().flatten() {
        correlator.push(event);
    }
    report(correlator.finish(&reader.end()));
}

/// Writes a trace in every way there is.
pub(crate) fn report(mut trace: Trace) {
    trace.findings = diagnose(&trace);
    for (width, verbose) in [(None, false), (Some(40), true)] {
        let options = terminal::Options { color: false, width, verbose, quiet: false };
        assert_printable(&terminal::render(&trace, &options));
    }
    let mut bytes = Vec::new();
    report::write(&json::FORMAT, &trace, &mut bytes).expect("a vector takes all");
    for format in &report::FORMATS {
        report::write(format, &trace, std::io::sink()).expect("a sink takes all");
    }
    let again: Trace = serde_json::from_slice(&bytes).expect("what was written can be read");
    assert_eq!(again, trace);
}
