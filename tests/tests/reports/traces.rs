//! Traces to report: of golden recordings, and made larger or meaner from them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::model::Trace;
use proxytrace::recording::Reader;
use proxytrace::report;

/// Every golden recording.
pub(crate) fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxytrace/tests/golden");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    files
}

/// The trace of the golden recording of that name.
pub(crate) fn golden(name: &str) -> Trace {
    let recordings = recordings();
    let file = recordings.iter().find(|file| file.file_stem().is_some_and(|stem| stem == name));
    replay(file.unwrap_or_else(|| panic!("no recording {name}")))
}

/// The trace of a recording.
pub(crate) fn replay(file: &Path) -> Trace {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    let mut correlator = Correlator::new(reader.start());
    for event in reader.by_ref() {
        correlator.push(&event.unwrap());
    }
    let mut trace = correlator.finish(&reader.end());
    trace.findings = diagnose(&trace);
    trace
}

/// A trace with so many requests, or a few more: the same again and again, later each time.
pub(crate) fn grown(trace: &Trace, requests: usize) -> Trace {
    let chains: Vec<_> =
        trace.chains.iter().filter(|chain| !chain.attempts.is_empty()).cloned().collect();
    let requests_of = |chains: &[proxytrace::model::Chain]| {
        let attempts = chains.iter().flat_map(|chain| &chain.attempts);
        attempts.map(|attempt| attempt.requests.len()).sum::<usize>()
    };
    let once = requests_of(&chains);
    let mut grown = trace.clone();
    grown.chains.clear();
    let length = trace.command.duration_ns.unwrap();
    for turn in 0..u32::try_from(requests.div_ceil(once)).unwrap() {
        let later = length * u64::from(turn);
        let first = turn * 10_000;
        for mut chain in chains.clone() {
            chain.id += first;
            chain.started_ns += later;
            chain.module = chain.module.map(|module| format!("{module}/{turn}"));
            for request in chain.attempts.iter_mut().flat_map(|attempt| &mut attempt.requests) {
                request.id += first;
                request.follows = request.follows.map(|id| id + first);
                request.started_ns += later;
            }
            grown.chains.push(chain);
        }
    }
    grown.command.duration_ns = Some(length * requests.div_ceil(once) as u64);
    grown.findings = diagnose(&grown);
    grown
}

/// What a format makes of a trace.
pub(crate) fn written(format: &str, trace: &Trace) -> Vec<u8> {
    let mut bytes = Vec::new();
    report::write(report::format(format).unwrap(), trace, &mut bytes).unwrap();
    bytes
}
