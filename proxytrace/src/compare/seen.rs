//! Hosts, where they are, and what was found wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, Topic, between, grouped};
use crate::model::{Confidence, Severity, Trace};
use crate::report::lasting_words;

pub(super) fn differences(a: &Trace, b: &Trace) -> Vec<Difference> {
    let mut found = hosts(a, b);
    found.extend(findings(a, b));
    found
}

fn hosts(a: &Trace, b: &Trace) -> Vec<Difference> {
    let (ours, theirs) = (addresses(a), addresses(b));
    let mut found = Vec::new();
    for host in names(&ours, &theirs) {
        let asked = |hosts: &Addresses<'_>| hosts.get(host).map(|_| "asked".to_owned());
        found.extend(between(Topic::Host, host, asked(&ours), asked(&theirs)));
        if let (Some(a), Some(b)) = (ours.get(host), theirs.get(host))
            && !(a.is_empty() || b.is_empty())
            && a.is_disjoint(b)
        {
            let list =
                |set: &BTreeSet<&str>| Some(set.iter().copied().collect::<Vec<_>>().join(", "));
            found.extend(between(Topic::Address, host, list(a), list(b)));
        }
    }
    found
}

/// The peers of each host.
type Addresses<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Keys of either, those of the first trace first.
fn names<'a>(a: &Addresses<'a>, b: &Addresses<'a>) -> Vec<&'a str> {
    let more = b.keys().filter(|host| !a.contains_key(*host));
    a.keys().chain(more).copied().collect()
}

fn addresses(trace: &Trace) -> Addresses<'_> {
    let mut hosts = Addresses::new();
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    for request in attempts.flat_map(|attempt| &attempt.requests) {
        let peers = hosts.entry(&request.host).or_default();
        if let Some(peer) = request.remote_addr.as_deref() {
            peers.insert(peer);
        }
    }
    hosts
}

/// Findings by what they say; how many modules they are about is said with them.
fn findings(a: &Trace, b: &Trace) -> Vec<Difference> {
    let (ours, theirs) = (told(a), told(b));
    let more = theirs.keys().filter(|key| !ours.contains_key(*key));
    let all = ours.keys().chain(more);
    let difference = |key: &String| {
        let (mine, yours) = (ours.get(key), theirs.get(key));
        let of = |told: Option<&Told>| told.map(|told| told.of.join("; "));
        between(Topic::Finding, &mine.or(yours)?.said, of(mine), of(yours))
    };
    grouped(all.filter_map(difference)).into_iter().flat_map(apart).collect()
}

/// Findings stand each for itself.
fn apart(difference: Difference) -> Vec<Difference> {
    let Difference { topic, subject, also, a, b } = difference;
    let subjects = std::iter::once(subject).chain(also);
    subjects
        .map(|subject| Difference { topic, subject, also: vec![], a: a.clone(), b: b.clone() })
        .collect()
}

/// What is said, and of how many chains. The same may be said of some chains as an error and of
/// others as a warning, or with another advice: all of it counts, in an order that is the same in
/// every trace.
#[derive(Default)]
struct Told {
    said: String,
    of: Vec<String>,
}

/// Findings by what they say, but for the numbers that are others in each run.
fn told(trace: &Trace) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    for finding in trace.findings.iter().filter(|finding| finding.severity > Severity::Note) {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let possible = match finding.confidence {
            Confidence::Certain => "",
            Confidence::Possible => ", possible",
        };
        let chains = match finding.chains.len() {
            1 => "1 chain".to_owned(),
            number => format!("{number} chains"),
        };
        let words: Vec<&str> = lasting_words(finding).collect();
        let same = told.entry(format!("{}: {}", finding.code, words.join(" "))).or_default();
        same.said = format!("{}: {}", finding.code, finding.message);
        same.of.push(format!("{severity}, {chains}{possible}"));
    }
    for one in told.values_mut() {
        one.of.sort();
    }
    told
}
