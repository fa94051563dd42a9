//! PT508, PT801: what took long.

use std::collections::BTreeMap;

use crate::model::{Cause, Chain, Outcome, Request};

use super::super::sign::Sign;
use super::super::view::{View, is_of_go};
use super::is_h2;

const SECOND: u64 = 1_000_000_000;
/// Silence of this length is PT508.
const SILENCE: u64 = 10 * SECOND;
/// A host whose answers take longer than this to begin is slow, where there are at least so many.
const SLOW: u64 = 4 * SECOND;
const ENOUGH: usize = 5;
/// Bodies are slow by their bytes a second, once they take this long.
const LONG_BODY: u64 = 10 * SECOND;
const SLOW_BODY: u64 = 64 * 1024;

/// PT508. Where go was ended while it waited, the wait lasted until then. Of CONNECT nothing:
/// another answers it than the host, and go has a time limit for that (`transport.go:dialConn`).
pub(super) fn silent_wait(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let ended = view.process(chain.process).and_then(|process| process.ended_ns);
    let waited = |request: &Request| match (request.ttfb_ns, request.outcome) {
        (Some(ttfb), _) => Some(ttfb),
        // When it was reset is not known: HTTP/2 waits up to half a minute before it asks again
        // (`http2/transport.go:RoundTripOpt`).
        (None, Outcome::Reset) if is_h2(request) && request.error.is_none() => None,
        (None, Outcome::Unfinished | Outcome::Canceled | Outcome::Reset) => {
            // What came before is the name, the connection, or a place on one.
            let sent = request.sent_ns?;
            let until = request.duration_ns.map(|ns| request.started_ns.saturating_add(ns));
            Some(until.or(ended)?.saturating_sub(sent))
        }
        _ => None,
    };
    let mut signs = Vec::new();
    let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    let of_host = |request: &&Request| request.cause != Cause::ConnectTunnel && is_of_go(request);
    for request in asked.filter(of_host) {
        if waited(request).is_some_and(|waited| waited >= SILENCE) {
            let end = if request.status.is_some() { "sent" } else { "had sent" };
            let message = format!(
                "{} {end} nothing for more than {} seconds: go has no time limit for an answer",
                request.host,
                SILENCE / SECOND
            );
            signs.push(Sign::of("PT508", chain, message).with(vec![request.id]));
        }
    }
    signs
}

/// PT801: one for each host. A silence that PT508 tells of does not count.
pub(super) fn slow(view: &View<'_>) -> Vec<Sign> {
    let mut hosts: BTreeMap<&str, Vec<(&Chain, &Request)>> = BTreeMap::new();
    for (chain, request) in view.requests() {
        if request.status.is_some() && request.ttfb_ns.is_some_and(|ttfb| ttfb < SILENCE) {
            hosts.entry(&request.host).or_default().push((chain, request));
        }
    }
    let sign = |(host, answers): (&str, Vec<(&Chain, &Request)>)| {
        let mut waits: Vec<u64> = answers.iter().filter_map(|(_, r)| r.ttfb_ns).collect();
        waits.sort_unstable();
        // Of twenty, the nineteenth.
        let wait = *waits.get((waits.len() * 19).div_ceil(20).checked_sub(1)?)?;
        let slow_to_begin = waits.len() >= ENOUGH && wait >= SLOW;
        let bad =
            |request: &Request| (slow_to_begin && request.ttfb_ns >= Some(SLOW)) || crawls(request);
        let (mut chains, mut ids) = (Vec::new(), Vec::new());
        for (chain, request) in answers.iter().filter(|(_, request)| bad(request)) {
            chains.push(chain.id);
            ids.push(request.id);
        }
        let message = if slow_to_begin {
            format!("{host} took {} seconds and more before it answered", SLOW / SECOND)
        } else {
            format!("{host} sent a body with less than {} KiB a second", SLOW_BODY / 1024)
        };
        let sign = Sign::general("PT801", message).with(ids);
        (!chains.is_empty()).then_some(Sign { chains, ..sign })
    };
    hosts.into_iter().filter_map(sign).collect()
}

fn crawls(request: &Request) -> bool {
    let (Some(bytes), Some(took)) = (request.body_bytes, request.body_ns) else { return false };
    took >= LONG_BODY && bytes / (took / SECOND) < SLOW_BODY
}
