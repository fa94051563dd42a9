//! What real `go` commands did in the lab, replayed: the whole report, to the letter.
//!
//! `cargo xtask golden` records the scenarios anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::model::{Chain, Finding, Severity, Trace};
use proxytrace::recording::Reader;
use proxytrace::report::ndjson;
use proxytrace::report::terminal::{Options, render};
use proxytrace::report::{self, FORMATS};
use ring::digest::{SHA256, digest};
use serde_json::Value;

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

/// The formats that are kept to the letter, as one would read them, and one that programs read, of
/// which it is kept whether it has changed. The others have the trace in them as it is, which is
/// tested for each recording below, and get members with it.
const READ: [&str; 5] = ["github", "gitlab", "junit", "sarif", "markdown"];
const DIGESTED: &str = "har";
const WHOLE: [&str; 3] = ["json", "ndjson", "html"];

fn written(format: &str, trace: &Trace) -> String {
    let mut bytes = Vec::new();
    report::write(report::format(format).unwrap(), trace, &mut bytes).unwrap();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn formats_over_recordings() {
    for format in &FORMATS {
        let kept = READ.iter().chain(&WHOLE).chain([&DIGESTED]);
        assert_eq!(kept.filter(|name| **name == format.name).count(), 1, "{}", format.name);
    }
    insta::glob!("golden/*.ndjson", |path| {
        let trace = replay(path);
        let mut all = String::new();
        for name in READ {
            writeln!(all, "== {name}\n{}", written(name, &trace)).unwrap();
        }
        let bytes = written(DIGESTED, &trace);
        let hash = digest(&SHA256, bytes.as_bytes());
        write!(all, "== {DIGESTED}: {} bytes, SHA-256 ", bytes.len()).unwrap();
        for byte in &hash.as_ref()[..8] {
            write!(all, "{byte:02x}").unwrap();
        }
        all += "…\n";
        insta::assert_snapshot!(all);
        let page = written("html", &trace);
        assert!(page.contains(written("json", &trace).trim_end()), "{}", path.display());
        let report = render(&trace, &Options::default());
        let report = report.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(page.contains(&report), "{}", path.display());
    });
}

#[test]
fn every_format_says_what_the_trace_says() {
    insta::glob!("golden/*.ndjson", |path| {
        let trace = replay(path);
        let json = |format| serde_json::from_str::<Value>(&written(format, &trace)).unwrap();
        let requests = || {
            let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
            attempts.flat_map(|attempt| &attempt.requests)
        };
        let shown = trace.findings.iter().filter(|found| found.severity > Severity::Note).count();
        let errors = |found: &&Finding| found.severity == Severity::Error;

        assert_eq!(serde_json::from_value::<Trace>(json("json")).unwrap(), trace);

        let har = json("har");
        let entries = har["log"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), requests().count());
        let redirects = entries.iter().filter(|one| one["response"]["redirectURL"] != "");
        assert_eq!(redirects.count(), requests().filter(|one| one.location.is_some()).count());

        let lines: Vec<Value> =
            written("ndjson", &trace).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let of = |kind: &str| lines.iter().filter(|line| line.get(kind).is_some()).count();
        assert_eq!((of("start"), of("end")), (1, 1));
        assert_eq!((of("chain"), of("finding")), (trace.chains.len(), trace.findings.len()));

        assert_eq!(json("gitlab").as_array().unwrap().len(), shown);
        assert_eq!(json("sarif")["runs"][0]["results"].as_array().unwrap().len(), shown);
        let github = written("github", &trace);
        assert_eq!(github.lines().count(), shown, "{github}");
        let junit = written("junit", &trace);
        assert_eq!(junit.contains("<failure "), trace.findings.iter().any(|one| errors(&one)));
        assert_eq!(written("markdown", &trace).contains("| what |"), shown > 0);
    });
}

/// Streamed and put together again, chains are those of the trace.
#[test]
fn chains_are_streamed_as_they_end() {
    insta::glob!("golden/*.ndjson", |path| {
        let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
        let mut correlator = Correlator::new(reader.start());
        let mut stream = ndjson::Writer::new(Vec::new());
        stream.start(reader.start()).unwrap();
        let mut early = 0;
        for event in reader.by_ref() {
            correlator.push(&event.unwrap());
            for chain in correlator.take_ended() {
                early += 1;
                stream.chain(&chain).unwrap();
            }
        }
        let trace = replay(path);
        stream.finish(&trace).unwrap();
        let text = String::from_utf8(stream.into_inner()).unwrap();
        let mut chains = BTreeMap::new();
        for line in text.lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if let Some(chain) = line.get_mut("chain") {
                let chain: Chain = serde_json::from_value(chain.take()).unwrap();
                chains.insert(chain.id, chain);
            }
        }
        assert_eq!(chains.into_values().collect::<Vec<_>>(), trace.chains);
        assert!(early > 0, "{}", path.display());
        assert!(text.lines().last().unwrap().starts_with("{\"end\""));
    });
}

#[test]
fn formats_have_names_of_their_own() {
    for format in &FORMATS {
        assert_eq!(FORMATS.iter().filter(|other| other.name == format.name).count(), 1);
    }
}
