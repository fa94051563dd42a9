//! The way to each artifact: entries, statuses, redirects, outcome.

use std::collections::HashMap;

use super::{Difference, Topic, between, grouped};
use crate::model::{Artifact, Attempt, Cause, Chain, Outcome, Request, Trace};

/// An artifact, and which of the chains for it: several processes may have asked for the same.
type Key<'a> = (Artifact, Option<&'a str>, Option<&'a str>, usize);

pub(super) fn differences(a: &Trace, b: &Trace) -> Vec<Difference> {
    let (ours, theirs) = (keyed(a), keyed(b));
    let (mine, yours) = (places(&ours), places(&theirs));
    let more = theirs.iter().filter(|(key, _)| !mine.contains_key(key));
    let found = ours.iter().chain(more).filter_map(|(key, _)| {
        let (a, b) = (mine.get(key), yours.get(key));
        // Something that was in the module cache on one side is a difference; that nothing of it
        // was wanted on both is none.
        between(Topic::Walk, &subject(key), a.map(|c| story(c)), b.map(|c| story(c)))
    });
    grouped(found)
}

fn keyed(trace: &Trace) -> Vec<(Key<'_>, &Chain)> {
    let mut counts: HashMap<_, usize> = HashMap::new();
    let mut chains: Vec<&Chain> = trace.chains.iter().collect();
    chains.sort_by_key(|chain| (chain.started_ns, chain.id));
    chains
        .into_iter()
        .map(|chain| {
            // Which tiles of the checksum database are asked for depends on what is kept of it.
            let key = (chain.artifact, chain.module.as_deref(), chain.version.as_deref());
            let count = counts.entry(key).or_default();
            *count += 1;
            ((key.0, key.1, key.2, *count - 1), chain)
        })
        .filter(|(key, _)| key.0 != Artifact::SumdbTile || key.3 == 0)
        .collect()
}

fn places<'a>(chains: &[(Key<'a>, &'a Chain)]) -> HashMap<Key<'a>, &'a Chain> {
    chains.iter().copied().collect()
}

/// `example.com/m@v1.0.0 (zip)`
fn subject(&(artifact, module, version, number): &Key<'_>) -> String {
    let artifact = serde_json::to_string(&artifact).unwrap_or_default();
    let module = match (module, version) {
        (Some(module), Some(version)) => format!("{module}@{version} "),
        (Some(module), None) => format!("{module} "),
        (None, _) => String::new(),
    };
    let again = if number == 0 { String::new() } else { format!(", time {}", number + 1) };
    format!("{module}({}{again})", artifact.trim_matches('"'))
}

/// What was asked and answered, without what differs from module to module.
fn story(chain: &Chain) -> String {
    if chain.attempts.is_empty() {
        return word(chain.outcome);
    }
    let attempts: Vec<String> = chain.attempts.iter().map(attempt).collect();
    attempts.join("; ")
}

/// `https://proxy.lab: 302 proxy.lab → 403 storage.lab (http-error)`
fn attempt(attempt: &Attempt) -> String {
    let answers: Vec<String> = last_send(&attempt.requests).map(answer).collect();
    let answers = match answers.as_slice() {
        [] => String::new(),
        answers => format!(" {}", answers.join(" → ")),
    };
    format!("{}:{answers} ({})", attempt.proxy, word(attempt.outcome))
}

/// The last send, without what the transport did for it: whether go sends a fetch again after a 4xx
/// is a matter of its release.
fn last_send(requests: &[Request]) -> impl Iterator<Item = &Request> {
    let asked =
        |request: &&Request| !matches!(request.cause, Cause::TransportRetry | Cause::ConnectTunnel);
    let begins = |request: &Request| matches!(request.cause, Cause::Initial | Cause::AuthResend);
    let from = requests.iter().rposition(begins).unwrap_or(0);
    requests[from..].iter().filter(asked)
}

fn answer(request: &Request) -> String {
    match request.status {
        Some(status) => format!("{status} {}", request.host),
        None => format!("{} {}", word(request.outcome), request.host),
    }
}

fn word(outcome: Outcome) -> String {
    serde_json::to_string(&outcome).unwrap_or_default().trim_matches('"').to_owned()
}
