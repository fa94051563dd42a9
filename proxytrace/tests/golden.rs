//! What real `go` commands did in the lab, replayed: the whole report, to the letter.
//!
//! `cargo xtask golden` records the scenarios anew.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use proxytrace::correlate::Correlator;
use proxytrace::model::{Chain, Finding, Role, Severity, Trace};
use proxytrace::recording::Reader;
use proxytrace::replay;
use proxytrace::report::ndjson;
use proxytrace::report::terminal::{Options, render};
use proxytrace::report::{self, FORMATS};
use ring::digest::{SHA256, digest};
use serde_json::Value;

fn replay(path: &Path) -> Trace {
    let (trace, broken) =
        replay::replay(Reader::new(BufReader::new(File::open(path).unwrap())).unwrap());
    assert!(broken.is_none(), "{}: {broken:?}", path.display());
    assert!(trace.command.exit_code.is_some(), "{} has no end", path.display());
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

/// The formats that people read, or what shows them to people: kept to the letter of every recording.
const READ: [&str; 5] = ["github", "gitlab", "junit", "sarif", "markdown"];
/// Those that programs read, which get members as the model does: kept to the letter of some
/// recordings, and of each other one how many there are of what, and whether that has changed.
const PROGRAMS: [&str; 3] = ["json", "ndjson", "har"];
/// The recordings of which all is kept: a redirect, a wrong separator, a checksum database, a cache.
const WHOLE: [&str; 4] = ["redirect-403", "bad-gateway-comma", "sumdb-refused", "cached-part"];
/// Has JSON and the report in it as they are.
const PAGE: &str = "html";

fn written(format: &str, trace: &Trace) -> String {
    let mut bytes = Vec::new();
    report::write(report::format(format).unwrap(), trace, &mut bytes).unwrap();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn formats_over_recordings() {
    for format in &FORMATS {
        let kept = READ.iter().chain(&PROGRAMS).chain([&PAGE]);
        assert_eq!(kept.filter(|name| **name == format.name).count(), 1, "{}", format.name);
    }
    insta::glob!("golden/*.ndjson", |path| {
        let trace = replay(path);
        let mut all = String::new();
        for name in READ {
            writeln!(all, "== {name}\n{}", written(name, &trace)).unwrap();
        }
        insta::assert_snapshot!(all);
        let page = written(PAGE, &trace);
        assert!(page.contains(written("json", &trace).trim_end()), "{}", path.display());
        let report = render(&trace, &Options::default());
        let report = report.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(page.contains(&report), "{}", path.display());
    });
}

#[test]
fn what_programs_read_over_recordings() {
    let mut whole = 0;
    insta::glob!("golden/*.ndjson", |path| {
        let trace = replay(path);
        let is_whole = path.file_stem().is_some_and(|stem| WHOLE.iter().any(|name| stem == *name));
        whole += usize::from(is_whole);
        let mut all = String::new();
        for name in PROGRAMS {
            let text = written(name, &trace);
            let kept = match (is_whole, name) {
                (true, "json") => unfolded(&serde_json::from_str(&text).unwrap(), 0),
                (true, _) => text,
                (false, _) => counted(name, &text),
            };
            writeln!(all, "== {name}\n{}\n", kept.trim_end()).unwrap();
        }
        insta::assert_snapshot!(all);
    });
    assert_eq!(whole, WHOLE.len());
}

/// JSON with whatever has a list of objects in it on several lines, and all else on one.
fn unfolded(value: &Value, depth: usize) -> String {
    fn is_list(value: &Value) -> bool {
        value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
    }
    let has_list =
        |value: &Value| value.as_object().is_some_and(|members| members.values().any(is_list));
    let (open, close, parts): (_, _, Vec<String>) = match value {
        Value::Array(items) if is_list(value) => {
            ("[", "]", items.iter().map(|item| unfolded(item, depth + 1)).collect())
        }
        Value::Object(members) if has_list(value) => {
            let member = |(name, value)| format!("\"{name}\": {}", unfolded(value, depth + 1));
            ("{", "}", members.iter().map(member).collect())
        }
        value => return value.to_string(),
    };
    let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
    format!("{open}\n{inner}{}\n{outer}{close}", parts.join(&format!(",\n{inner}")))
}

/// How many there are of each kind of thing, and a digest of them.
fn counted(format: &str, text: &str) -> String {
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let values = text.lines().map(serde_json::from_str::<Value>);
    let objects: Vec<Value> = match format {
        "ndjson" => values.map(Result::unwrap).collect(),
        "har" => vec![serde_json::from_str::<Value>(text).unwrap()["log"].take()],
        _ => vec![serde_json::from_str(text).unwrap()],
    };
    for (name, value) in objects.iter().flat_map(|object| object.as_object().unwrap()) {
        let items = kinds.entry(name.clone()).or_default();
        match value {
            Value::Array(list) => items.extend(list.iter().cloned()),
            value => items.push(value.clone()),
        }
    }
    let mut lines = String::new();
    for (name, items) in kinds {
        let hash = digest(&SHA256, &serde_json::to_vec(&items).unwrap());
        write!(lines, "{name:<12} {:>4}  SHA-256 ", items.len()).unwrap();
        for byte in &hash.as_ref()[..6] {
            write!(lines, "{byte:02x}").unwrap();
        }
        lines += "…\n";
    }
    lines
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
        assert_eq!((of("requirement"), of("netrc")), (trace.requirements.len(), trace.netrc.len()));

        assert_eq!(json("gitlab").as_array().unwrap().len(), shown);
        assert_eq!(json("sarif")["runs"][0]["results"].as_array().unwrap().len(), shown);
        // An error that follows from a root is told with it.
        let roots = trace.findings.iter().filter(|one| one.role == Role::Root);
        let explained: BTreeSet<u32> = roots.flat_map(|root| root.chains.clone()).collect();
        let follows = |found: &&Finding| {
            found.role == Role::Contributing
                && errors(found)
                && found.chains.iter().all(|chain| explained.contains(chain))
        };
        let with_another = trace.findings.iter().filter(follows).count();
        let github = written("github", &trace);
        assert_eq!(github.lines().count(), shown - with_another, "{github}");
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
            correlator.push(event.unwrap());
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

/// The recording that the README shows, and where its report stands there.
const SHOWN: &str = "tests/golden/redirect-403.ndjson";
const COMMAND: &str = "$ sudo proxytrace -- go mod download\n";

/// What the README shows is what is printed: after a change `INSTA_UPDATE=always` writes it anew.
#[test]
fn the_readme_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let trace = replay(&root.join(SHOWN));
    let said = trace.processes.iter().find_map(|process| process.stderr_tail.as_deref()).unwrap();
    let first = said.lines().find(|line| line.starts_with("go: mod.lab")).unwrap();
    let shown = format!("{first}\n…\n{}", render(&trace, &Options::default()));
    let file = root.join("../README.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(COMMAND).unwrap();
    let (old, after) = rest.split_once("```\n").unwrap();
    if old != shown && env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(file, format!("{before}{COMMAND}{shown}```\n{after}")).unwrap();
        return;
    }
    assert_eq!(old, shown, "the README shows what is not printed any more");
}

#[test]
fn formats_have_names_of_their_own() {
    for format in &FORMATS {
        assert_eq!(FORMATS.iter().filter(|other| other.name == format.name).count(), 1);
    }
}
