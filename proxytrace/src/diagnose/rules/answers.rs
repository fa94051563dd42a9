//! PT002, PT404, PT406, PT407.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memchr;

use crate::correlate::story::walks_the_list;
use crate::model::{Cause, Chain, ChainId, Outcome, Request, RequestId, Severity};

use super::super::sent::last_walk;
use super::super::sign::Sign;
use super::super::speaker::is_page;
use super::super::view::{View, is_of_go, prefixes};
use super::evidence;

/// PT002: one for the whole trace.
pub(super) fn goauth_resend(view: &View<'_>) -> Vec<Sign> {
    let (mut chains, mut ids, mut all) = (Vec::new(), Vec::new(), 0_usize);
    for (chain, request) in view.requests() {
        all += 1;
        if request.cause == Cause::AuthResend {
            ids.push(request.id);
            chains.push(chain.id);
        }
    }
    let message = format!(
        "go sent {} of {all} requests again after a 4xx, as every go since 1.24 does",
        ids.len()
    );
    (!ids.is_empty())
        .then(|| Sign { chains, ..Sign::general("PT002", message).with(ids) })
        .into_iter()
        .collect()
}

/// PT404. Anything is a go.mod for go until it reads it, outside of the walk; that it could not is
/// known from what it printed. Had the checksum database been asked, the page had not been kept.
pub(super) fn cache_poison_risk(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some(sent) = view.unread_mod(chain) else { return Vec::new() };
    if view.is_looked_up(chain) {
        return Vec::new();
    }
    let what = if is_page(sent) { "the page that" } else { "what" };
    let message = format!(
        "{what} {} sent as go.mod is in the module cache now: go had no checksum to compare it \
         with, and will not ask for it again",
        sent.host
    );
    let most = if view.failed(chain) { Severity::Error } else { Severity::Warning };
    let sign = Sign::of("PT404", chain, message).with(vec![sent.id]);
    vec![sign.advising(REMOVE).at_most(most)]
}

/// How the module cache is rid of it.
pub(in super::super) const REMOVE: &str = "\
    Repair the proxy, then remove what it left: `rm \"$(go env GOMODCACHE)\"/cache/download/MODULE/\
    @v/VERSION.mod` for each module named here, or all with `go clean -modcache`.";

/// PT406: one for each entry. Without another entry that has them, they may not exist; and an entry
/// that lacks others too, which the next one has, is not meant for them. One module is no sign, however
/// many paths go tries for it (`modload/query.go:queryPrefixModules`): those that are the packages of
/// one share a prefix that is missing as well.
pub(super) fn case_encoding(view: &View<'_>) -> Vec<Sign> {
    struct Missing<'a> {
        module: &'a str,
        elsewhere: bool,
        chain: ChainId,
        requests: Vec<RequestId>,
    }
    #[derive(Default)]
    struct Entry<'a> {
        missing: Vec<Missing<'a>>,
        /// All that was, probes too.
        paths: BTreeSet<&'a str>,
        found_with_capitals: bool,
        found: bool,
        lacks_others: bool,
    }
    let mut entries: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for chain in view.trace.chains.iter().filter(|chain| walks_the_list(chain.artifact)) {
        let Some(module) = chain.module.as_deref() else { continue };
        for (place, attempt) in chain.attempts.iter().enumerate() {
            let Some(first) = attempt.requests.first() else { continue };
            let capitals =
                memchr(b'%', first.url.as_bytes()).is_some() && first.url.contains("%21");
            let entry = entries.entry(&attempt.proxy).or_default();
            let later = || chain.attempts[place + 1..].iter();
            let has = || later().any(|other| other.outcome == Outcome::Ok);
            match attempt.outcome {
                Outcome::Ok if capitals => entry.found_with_capitals = true,
                Outcome::Ok => entry.found = true,
                Outcome::NotFound if capitals => {
                    entry.paths.insert(module);
                    if !view.is_fruitless_probe(chain) {
                        let (elsewhere, requests) = (has(), evidence(attempt));
                        entry.missing.push(Missing {
                            module,
                            elsewhere,
                            chain: chain.id,
                            requests,
                        });
                    }
                }
                Outcome::NotFound => entry.lacks_others |= has(),
                _ => {}
            }
        }
    }
    let sign = |(proxy, entry): (&str, Entry<'_>)| {
        let modules = entry.missing.iter().map(|missing| {
            let shortest =
                prefixes(missing.module).filter(|path| entry.paths.contains(path)).last();
            shortest.filter(|_| !missing.elsewhere).unwrap_or(missing.module)
        });
        let count = modules.collect::<BTreeSet<_>>().len();
        if count < 2 || entry.found_with_capitals || entry.lacks_others || !entry.found {
            return None;
        }
        let message = format!(
            "{proxy} answered 404 to all fetches of {count} modules with capitals in their paths, and \
             has others"
        );
        let sure = entry.missing.iter().all(|missing| missing.elsewhere);
        let (chains, requests): (Vec<_>, Vec<_>) =
            entry.missing.into_iter().map(|missing| (missing.chain, missing.requests)).unzip();
        let sign = Sign::general("PT406", message).with(requests.concat());
        let sign = Sign { chains, ..sign };
        Some(if sure { sign } else { sign.possibly() })
    };
    entries.into_iter().filter_map(sign).collect()
}

/// PT407. Certain where the same URL was there later; a hypothesis where go failed for it. What came
/// for other credentials was not to be seen before, as some hosts hide modules behind a 404. What other
/// programs keep asking for is no module.
pub(super) fn negative_cache(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let requests = || {
        let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        asked.filter(|request| is_of_go(request))
    };
    let came_later = |missing: &Request| {
        requests().any(|later| {
            later.url == missing.url
                && later.started_ns > missing.started_ns
                && later.status == Some(200)
                && missing.credentials.is_some()
                && later.credentials == missing.credentials
        })
    };
    let old = requests().filter(|request| is_absent(request) && age(request).is_some());
    let fails = view.failed(chain)
        && last_walk(chain).last().is_some_and(|last| last.outcome == Outcome::NotFound);
    let (certain, rest): (Vec<_>, Vec<_>) = old.partition(|request| came_later(request));
    let (found, sure) = if certain.is_empty() { (rest, false) } else { (certain, true) };
    let (Some(first), true) = (found.first(), sure || fails) else { return Vec::new() };
    let status = first.status.unwrap_or_default();
    let message = format!("the {status} of {} came out of a cache", first.host);
    let ids = found.iter().map(|request| request.id).collect();
    let sign = Sign::of("PT407", chain, message).with(ids);
    vec![if sure { sign } else { sign.possibly() }]
}

fn is_absent(request: &Request) -> bool {
    matches!(request.status, Some(404 | 410)) && !is_page(request)
}

/// How old an answer is that a cache has kept.
fn age(request: &Request) -> Option<u64> {
    request.headers.get("Age")?.trim().parse().ok().filter(|&age| age > 0)
}
