//! Every finding of the catalogue is found somewhere on purpose, and what is benign is looked at.
//!
//! That what the scenarios expect is found, and nothing else, is for `trace_equals_log`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Result, ensure};
use proxytrace::correlate::Correlator;
use proxytrace::diagnose::{CATALOGUE, diagnose};
use proxytrace::model::{Confidence, Finding};
use proxytrace::recording::Reader;
use proxytrace_tests::cases;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};

/// Where a finding that no scenario expects is found all the same.
enum Elsewhere {
    /// A recording among the golden ones, of a go that no release is: `README.md` beside it says in
    /// what it differs.
    Recording(&'static str),
    /// A test of a real go, below `tests/tests`.
    Test(&'static str),
}

const ELSEWHERE: &[(&str, Elsewhere)] = &[
    ("PT001", Elsewhere::Recording("patched-again")),
    ("PT011", Elsewhere::Recording("patched-astray")),
    // Not where all is seen.
    ("PT900", Elsewhere::Test("bounds.rs")),
];

/// What happens in healthy runs, and scenarios in which it does. Nothing more than a note may be
/// found.
const BENIGN: &[(&str, &[&str])] = &[
    ("auth-resends of 404", &["not-found-next", "gone-next", "redirect-404-next"]),
    ("probes of prefixes by go get", &["go-get", "go-get-latest"]),
    ("HTTP/1 connections that are closed when idle", &["retry-h1", "plain-once"]),
    (
        "redirects of every kind that are followed",
        &[
            "cross-host-redirect",
            "redirect-301",
            "redirect-303",
            "redirect-307",
            "redirect-308",
            "redirect-within",
            "redirect-chain-3",
            "plain-redirects",
        ],
    ),
    ("from http to https", &["redirect-to-https"]),
    ("no versions, then the latest", &["list-then-latest"]),
    ("GONOPROXY", &["gonoproxy"]),
    ("a directory for a proxy", &["file-proxy"]),
    ("a full module cache", &["cached", "cached-part"]),
    ("gzip", &["gzip"]),
    ("slow, but fine", &["slow-but-fine"]),
    ("two entries on one host with different paths", &["same-host-next"]),
    ("a private module at the second entry, after 404", &["private-next", "all-direct"]),
    ("an address of two that does not answer", &["happy-eyeballs"]),
    ("another toolchain", &["toolchain-switch"]),
    ("GOAWAY, and a retry", &["goaway", "refused-stream"]),
    ("a forward proxy, and around it", &["forward-proxy", "forward-proxy-plain", "no-proxy"]),
    ("credentials from netrc", &["netrc", "netrc-port"]),
    ("the checksum database", &["sumdb-proxy", "sumdb-direct", "sumdb-next", "sumdb-grown"]),
];

/// So many benign runs at the least.
const ENOUGH: usize = 25;

fn positives() -> BTreeSet<&'static str> {
    let findings = Scenario::all().iter().flat_map(|scenario| scenario.findings);
    // Of what is resent there is no row of its own.
    findings.map(|(code, _)| *code).chain(["PT002"]).collect()
}

#[test]
fn every_code_is_found_somewhere() -> Result<()> {
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
    let positives = positives();
    let unknown: Vec<_> = positives.difference(&known).collect();
    ensure!(unknown.is_empty(), "not in the catalogue: {unknown:?}");
    let missing: BTreeSet<&str> = known.difference(&positives).copied().collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(code, _)| *code).collect();
    ensure!(missing == elsewhere, "in no scenario: {missing:?}; elsewhere: {elsewhere:?}");
    ensure!(Scenario::all().iter().any(|s| s.answers.iter().any(|answers| answers.resent)));
    for (code, place) in ELSEWHERE {
        match place {
            Elsewhere::Recording(name) => {
                let findings = found_in(name)?;
                let certain = |f: &&Finding| f.code == *code && f.confidence == Confidence::Certain;
                ensure!(findings.iter().any(|f| certain(&f)), "{code}: {findings:#?}");
            }
            Elsewhere::Test(file) => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
                let text = fs::read_to_string(path)?;
                ensure!(text.contains(&format!("{code:?}")), "{file} does not look for {code}");
            }
        }
    }
    Ok(())
}

fn found_in(recording: &str) -> Result<Vec<Finding>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxytrace/tests/golden");
    let file = File::open(golden.join(recording).with_extension("ndjson"))?;
    let mut reader = Reader::new(BufReader::new(file))?;
    let mut correlator = Correlator::new(reader.start());
    for event in reader.by_ref() {
        correlator.push(event?);
    }
    Ok(diagnose(&correlator.finish(&reader.end())))
}

/// What a page of `proxytrace explain` goes through.
const PARTS: [&str; 5] = ["On the wire", "Why", "Confirm", "On the client", "On the server"];

/// It is about proxytrace, not about go.
const OF_US: &str = "PT900";

#[test]
fn every_page_goes_through_all_of_it() {
    for kind in CATALOGUE {
        let code = kind.code;
        let headings: Vec<&str> =
            kind.page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, PARTS, "{code}");
        for (heading, text) in headings.iter().zip(kind.page.split("## ").skip(1)) {
            let text = text.strip_prefix(heading).unwrap_or_default();
            assert!(!text.trim().is_empty(), "{code} has nothing {heading}");
            let command = text.contains('`') || text.lines().any(|line| line.starts_with("    "));
            assert!(command || *heading != "Confirm", "{code} has no command to confirm it");
        }
        let why = kind.page.split("## ").nth(2).unwrap_or_default();
        assert!(places(why).next().is_some() || code == OF_US, "{code} names no place in go");
    }
}

/// Each place in Go's source that a page names is there in the newest release.
#[test]
fn every_place_in_go_is_there() {
    let newest = VERSIONS[VERSIONS.len() - 1];
    let toolchain = match Toolchain::find(newest) {
        Ok(toolchain) => toolchain,
        Err(error) => return cases::skip(&format!("Go {newest}: {error:#}")),
    };
    let source = toolchain.goroot.join("src");
    let mut wrong = Vec::new();
    for kind in CATALOGUE {
        for (file, name) in places(kind.page) {
            let roots = ["", "cmd/go/internal", "cmd/vendor"];
            let files = roots.map(|root| source.join(root).join(file));
            let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
            if !text.is_some_and(|text| declares(&text, name)) {
                wrong.push(format!("{}: {file}:{name}", kind.code));
            }
        }
    }
    assert!(wrong.is_empty(), "not in go {newest}: {wrong:#?}");
}

/// Files of Go's and what is declared there, as `net/http/client.go:(*Client).do`.
fn places(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter_map(|word| {
        let (file, name) = word.split_once(".go:")?;
        Some((&word[..file.len() + ".go".len()], name.split(':').next().unwrap_or(name)))
    })
}

fn declares(text: &str, name: &str) -> bool {
    if let Some((receiver, method)) = name.split_once(").") {
        return text.contains(&format!("{}) {method}(", receiver.trim_start_matches('(')));
    }
    let starts = |line: &str| {
        let line = line.trim_start();
        let line = ["func ", "var ", "const ", "type "]
            .iter()
            .find_map(|word| line.strip_prefix(word))
            .unwrap_or_else(|| {
                line.split_once(") ")
                    .filter(|_| line.starts_with("func ("))
                    .map_or(line, |(_, rest)| rest)
            });
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['(', ' ', '[', '=']))
    };
    text.lines().any(starts)
}

#[test]
fn every_benign_kind_is_looked_at() {
    let minor = |release: &str| release.split('.').nth(1).and_then(|n| n.parse::<u16>().ok());
    let mut runs = 0;
    let mut seen = BTreeSet::new();
    for (kind, scenarios) in BENIGN {
        for name in *scenarios {
            let scenario = Scenario::find(name).unwrap_or_else(|| panic!("{kind}: no {name}"));
            assert!(scenario.is_quiet(), "{kind}: {name} may be noisy");
            if seen.insert(name) {
                let releases = VERSIONS.iter().filter(|v| minor(v) >= Some(scenario.since));
                runs += releases.count();
            }
        }
    }
    assert!(seen.len() >= ENOUGH, "{} scenarios", seen.len());
    println!("{} scenarios, {runs} runs with nothing more than a note", seen.len());
    // Where something else failed, what is given up for it has no finding of its own.
    let given_up = Scenario::find("canceled-siblings").expect("it is in the table");
    assert_eq!(given_up.findings.len(), 1);
}
