//! What real `go` commands did in the lab, replayed: the whole report, to the letter.
//!
//! `cargo xtask golden` records the scenarios anew.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::model::Trace;
use proxytrace::recording::Reader;
use proxytrace::report::terminal::{Options, render};

fn replay(path: &Path) -> Trace {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let mut correlator = Correlator::new(reader.start());
    for event in reader.by_ref() {
        correlator.push(&event.unwrap());
    }
    assert!(!reader.is_cut(), "{} has no end", path.display());
    let mut trace = correlator.finish(&reader.end());
    trace.findings = diagnose(&trace);
    trace
}

#[test]
fn reports_over_recordings() {
    insta::glob!("golden/*.ndjson", |path| {
        let trace = replay(path);
        let options = Options { color: false, width: Some(100), verbose: true, quiet: false };
        insta::assert_snapshot!(render(&trace, &options));
    });
}

#[test]
fn the_same_events_give_the_same_bytes() {
    insta::glob!("golden/*.ndjson", |path| {
        let (first, second) = (replay(path), replay(path));
        let bytes = |trace| serde_json::to_vec(&trace).unwrap();
        assert_eq!(bytes(first), bytes(second));
    });
}
