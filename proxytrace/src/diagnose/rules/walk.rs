//! PT101 to PT108, but for PT105 (see `configuration`) and the root PT106.

use std::collections::{BTreeMap, BTreeSet};

use crate::correlate::story::{answer, failed, unverified, walks_the_list};
use crate::goproxy::is_keyword;
use crate::model::{
    Artifact, Attempt, Chain, ChainId, Next, Outcome, RequestId, Separator, Severity,
};
use crate::public::is_public;
use crate::url::Url;

use super::super::sent::{Sent, last_walk};
use super::super::sign::Sign;
use super::super::view::View;
use super::redirects::has_gone_on;
use super::{counted, evidence, moved};

/// An entry that answers 404 to this many, and has nothing, is hardly meant for them.
const MANY: usize = 20;
/// So many different hosts are a fan.
const FAN: usize = 5;

/// PT101. Where the host wants credentials or forbids, `|` would go round a policy; and it is not for
/// us to send to all the world, or to anybody's host, what a proxy was asked for.
pub(super) fn comma_stops(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    const POLICY: &str = "Give go what the host wants, or have the module approved. `|` after the \
                          entry would let go ask on, but also go round a policy.";
    const REPAIR: &str = "Repair the proxy, or let it answer 404 for what it does not have. `|` after \
                          the entry would let go ask on after any error, but also send there the names \
                          of modules that are nobody else's business.";
    let (Some(stop), Some(later)) = (last_walk(chain).last(), entry_after_last(view, chain)) else {
        return Vec::new();
    };
    // A zip is opened, and a go.mod read, after the walk has ended well: with `|` it would have
    // been the same.
    let opened = chain.artifact == Artifact::Zip && stop.outcome == Outcome::BadContent;
    let ended_well = stop.next != Some(Next::Stop) || !failed(stop.outcome);
    let stopped = walks_the_list(chain.artifact)
        && !opened
        && !ended_well
        && view.failed(chain)
        && stop.separator == Some(Separator::Comma)
        && !matches!(stop.outcome, Outcome::NotFound | Outcome::Checksum)
        && !unverified(stop)
        && later != "off";
    if !stopped {
        return Vec::new();
    }
    let message = format!(
        "{}, and the `,` after it kept go from asking {later}: it lets go ask on after 404 and 410 alone",
        answer(stop)
    );
    let send = Sent::last_of(stop);
    let ids = send.as_ref().map_or_else(Vec::new, Sent::ids);
    let sign = Sign::of("PT101", chain, message).with(ids);
    let policy = send.is_some_and(|send| matches!(send.last().status, Some(401 | 403)));
    let anybody = later == "direct" || is_public(Url::parse(later).map_or("", |url| url.host));
    vec![match (policy, anybody) {
        (true, _) => sign.advising(POLICY),
        (false, true) => sign.advising(REPAIR),
        (false, false) => sign,
    }]
}

fn entry_after_last<'a>(view: &'a View<'_>, chain: &Chain) -> Option<&'a str> {
    let index = chain.attempts.last()?.index?;
    Some(&view.list(chain)?.entries.get(index as usize + 1)?.proxy)
}

/// PT102: one for each entry. Probes of prefixes are no fetches. An entry for private modules has none
/// of the public ones that it is asked for first, and is right there: its path is in doubt only where
/// it had nothing at all, and go failed for want of something.
pub(super) fn fallback_404(view: &View<'_>) -> Vec<Sign> {
    const PATH: &str = "Check the path of the entry in GOPROXY (`curl -i` an URL of these).";
    #[derive(Default)]
    struct Entry {
        asked: usize,
        failed: bool,
        chains: Vec<ChainId>,
        requests: Vec<RequestId>,
    }
    let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
    for chain in &view.trace.chains {
        if chain.module.is_none() || !walks_the_list(chain.artifact) || view.is_probe(chain) {
            continue;
        }
        for attempt in chain.attempts.iter().filter(|attempt| !attempt.requests.is_empty()) {
            let entry = entries.entry(&attempt.proxy).or_default();
            entry.asked += 1;
            if moved(attempt) && attempt.outcome == Outcome::NotFound {
                entry.chains.push(chain.id);
                entry.requests.extend(evidence(attempt));
                entry.failed |= view.failed(chain);
            }
        }
    }
    let sign = |(proxy, entry): (&str, Entry)| {
        let (missed, asked) = (entry.chains.len(), entry.asked);
        let useless = asked >= MANY && missed == asked && entry.failed;
        let fetches = counted(asked, "fetch", "fetches");
        let message = if useless {
            format!("{proxy} answered 404 or 410 to {missed} of {fetches}: its path may be wrong")
        } else {
            format!(
                "{proxy} answered 404 or 410 to {missed} of {fetches}, so go asked the next entry"
            )
        };
        let sign = Sign::general("PT102", message).with(entry.requests);
        let sign = Sign { chains: entry.chains, ..sign };
        (missed > 0)
            .then(|| if useless { sign.raised_to(Severity::Warning).advising(PATH) } else { sign })
    };
    entries.into_iter().filter_map(sign).collect()
}

/// PT103.
pub(super) fn pipe_hides_outage(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        let hides = attempt.separator == Some(Separator::Pipe)
            && moved(attempt)
            && failed(attempt.outcome)
            && attempt.outcome != Outcome::NotFound
            && !unverified(attempt);
        hides.then(|| {
            // What answered behind a redirect PT012 tells.
            let elsewhere = Sent::last_of(attempt).is_some_and(|send| has_gone_on(attempt, &send));
            let what = if elsewhere { format!("{} fails", attempt.proxy) } else { answer(attempt) };
            let message = format!("{what}; `|` let go ask on without a word");
            Sign::of("PT103", chain, message).with(evidence(attempt))
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}

/// Where go asks a host twice, as `noproxy` and as `direct`, it tells of the same failure.
fn serious(attempt: &Attempt) -> bool {
    failed(attempt.outcome) && attempt.outcome != Outcome::NotFound && attempt.proxy != "noproxy"
}

/// PT104.
pub(super) fn masked_root_cause(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some((last, before)) = last_walk(chain).split_last() else { return Vec::new() };
    match before.iter().find(|attempt| serious(attempt)) {
        Some(first) if view.failed(chain) && last.proxy == "direct" => {
            let message = format!("{}; go's own message tells of `direct` alone", answer(first));
            vec![Sign::of("PT104", chain, message).with(evidence(first))]
        }
        _ => Vec::new(),
    }
}

/// PT107: one for each entry that failed.
pub(super) fn fallback_fanout(view: &View<'_>) -> Vec<Sign> {
    type Fan<'a> = (BTreeSet<&'a str>, Vec<ChainId>, Vec<RequestId>);
    let mut fans: BTreeMap<&str, Fan<'_>> = BTreeMap::new();
    for chain in &view.trace.chains {
        let Some(module) = chain.module.as_deref() else { continue };
        let walk = last_walk(chain);
        let direct = walk.iter().any(|attempt| attempt.proxy == "direct");
        let Some(first) = walk.iter().find(|a| serious(a) && moved(a)).filter(|_| direct) else {
            continue;
        };
        let (hosts, chains, requests) = fans.entry(&first.proxy).or_default();
        hosts.insert(module.split('/').next().unwrap_or(module));
        chains.push(chain.id);
        requests.extend(evidence(first));
    }
    let sign = |(proxy, (hosts, chains, requests)): (&str, Fan<'_>)| {
        let message =
            format!("{proxy} failed, and `|` sent go to {} different hosts by itself", hosts.len());
        let sign = Sign::general("PT107", message).with(requests);
        (hosts.len() >= FAN).then_some(Sign { chains, ..sign })
    };
    fans.into_iter().filter_map(sign).collect()
}

/// PT108. An error of `noproxy` no other replaces (`modfetch/proxy.go:TryProxies`: `directRank`).
pub(super) fn error_from_off(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some((last, before)) = last_walk(chain).split_last() else { return Vec::new() };
    let hidden = last.proxy == "off"
        && view.failed(chain)
        && !before.is_empty()
        && before
            .iter()
            .all(|attempt| attempt.outcome == Outcome::NotFound && !is_keyword(&attempt.proxy));
    if !hidden {
        return Vec::new();
    }
    let answers: Vec<String> = before.iter().map(answer).collect();
    let message = format!("{}; go's own message tells of `off` alone", answers.join("; "));
    let ids = before.iter().flat_map(evidence).collect();
    vec![Sign::of("PT108", chain, message).with(ids)]
}
