//! How long things took, where two traces differ by more than the weather.

use std::collections::BTreeMap;

use super::{Difference, Topic};
use crate::model::{Connection, Request, Trace};

/// From how many times as long on a difference is told, and from how much.
const RATIO: u64 = 3;
const AT_LEAST_NS: u64 = 100_000_000;
/// Of the whole command: its own work and the module cache are in that.
const COMMAND_RATIO: u64 = 2;
const COMMAND_AT_LEAST_NS: u64 = 1_000_000_000;

/// Measurements, by what was measured.
type Samples = BTreeMap<String, Vec<u64>>;

pub(super) fn differences(a: &Trace, b: &Trace) -> Vec<Difference> {
    let command = |trace: &Trace| trace.command.duration_ns;
    let whole = command(a).zip(command(b)).and_then(|(a, b)| {
        significant("the command", (a, b), (COMMAND_RATIO, COMMAND_AT_LEAST_NS), "")
    });
    let (ours, theirs) = (samples(a), samples(b));
    let medians = ours.iter().filter_map(|(what, a)| {
        let b = theirs.get(what)?;
        let counts = format!(", median of {} and {}", a.len(), b.len());
        significant(what, (median(a)?, median(b)?), (RATIO, AT_LEAST_NS), &counts)
    });
    whole.into_iter().chain(medians).collect()
}

fn significant(
    what: &str,
    (a, b): (u64, u64),
    (ratio, at_least): (u64, u64),
    counts: &str,
) -> Option<Difference> {
    let (less, more) = (a.min(b), a.max(b));
    (more - less >= at_least && more / ratio >= less).then(|| Difference {
        topic: Topic::Timing,
        subject: format!("{what}{counts}"),
        also: Vec::new(),
        a: Some(milliseconds(a)),
        b: Some(milliseconds(b)),
    })
}

fn milliseconds(ns: u64) -> String {
    format!("{} ms", ns / 1_000_000)
}

fn samples(trace: &Trace) -> Samples {
    let mut samples = Samples::new();
    let mut add = |what: String, sample: Option<u64>| {
        if let Some(sample) = sample {
            samples.entry(what).or_default().push(sample);
        }
    };
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    for Request { host, ttfb_ns, body_ns, .. } in attempts.flat_map(|a| &a.requests) {
        add(format!("{host}, time to first byte"), *ttfb_ns);
        add(format!("{host}, body"), *body_ns);
    }
    for Connection { host, dns_ns, connect_ns, .. } in &trace.connections {
        if let Some(host) = host {
            add(format!("{host}, resolving"), *dns_ns);
            add(format!("{host}, connecting"), *connect_ns);
        }
    }
    samples
}

fn median(samples: &[u64]) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
