//! What is true beside the one reason: one small function a code.

use std::collections::HashMap;

use crate::correlate::story::{answer, failed, unverified, walks_the_list};
use crate::model::{Artifact, Attempt, Cause, Chain, Next, Outcome, Separator, Severity};

use super::sign::Sign;
use super::view::{Send, View, last_walk};

/// Looks at one chain.
pub(super) type Rule = fn(&View<'_>, &Chain) -> Vec<Sign>;

/// All rules that look at one chain at a time.
pub(super) const RULES: &[Rule] = &[
    redirect_then_origin_retry,
    redirect_then_fallback,
    comma_stops,
    pipe_hides_outage,
    masked_root_cause,
    checksums_asked_directly,
    fallback_for_checksums,
];

/// PT001. What a lost event may explain is no sign.
fn redirect_then_origin_retry(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    if !view.trace.capture.complete {
        return Vec::new();
    }
    let mut signs = Vec::new();
    for attempt in &chain.attempts {
        let mut redirected = HashMap::new();
        for request in &attempt.requests {
            if request.cause == Cause::Initial
                && let Some(&before) = redirected.get(request.url.as_str())
            {
                let host = &request.host;
                let message =
                    format!("{host} had redirected the request, and then was asked the same again");
                signs.push(Sign::of("PT001", chain, message).with(vec![before, request.id]));
            }
            if matches!(request.status, Some(300..=399)) {
                redirected.insert(request.url.as_str(), request.id);
            }
        }
    }
    signs
}

/// PT012.
fn redirect_then_fallback(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        let send = Send::last_of(attempt)?;
        let any = send.requests.iter().any(|request| matches!(request.status, Some(300..=399)));
        let moved = moved(attempt) && failed(attempt.outcome);
        let most =
            if attempt.outcome == Outcome::NotFound { Severity::Note } else { Severity::Warning };
        (any && moved).then(|| {
            let message = format!("{}; then go asked the next entry", answer(attempt));
            Sign::of("PT012", chain, message).with(send.ids()).at_most(most)
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}

fn moved(attempt: &Attempt) -> bool {
    matches!(attempt.next, Some(Next::NextEntry | Next::Direct))
}

/// PT101. Where the host wants credentials or forbids, `|` would go round a policy.
fn comma_stops(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    const POLICY: &str = "Give go what the host wants, or have the module approved. `|` after the \
                          entry would let go ask on, but also go round a policy.";
    let (Some(stop), Some(later)) = (chain.attempts.last(), entry_after_last(view, chain)) else {
        return Vec::new();
    };
    let stopped = walks_the_list(chain.artifact)
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
    let send = Send::last_of(stop);
    let ids = send.as_ref().map_or_else(Vec::new, Send::ids);
    let sign = Sign::of("PT101", chain, message).with(ids);
    let policy = send.is_some_and(|send| matches!(send.last().status, Some(401 | 403)));
    vec![if policy { sign.advising(POLICY) } else { sign }]
}

fn entry_after_last<'a>(view: &'a View<'_>, chain: &Chain) -> Option<&'a str> {
    let index = chain.attempts.last()?.index?;
    Some(&view.list(chain)?.entries.get(index as usize + 1)?.proxy)
}

/// PT103.
fn pipe_hides_outage(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        let hides = attempt.separator == Some(Separator::Pipe)
            && moved(attempt)
            && failed(attempt.outcome)
            && attempt.outcome != Outcome::NotFound
            && !unverified(attempt);
        hides.then(|| {
            let ids = Send::last_of(attempt).map_or_else(Vec::new, |send| send.ids());
            let message = format!("{}; `|` let go ask on without a word", answer(attempt));
            Sign::of("PT103", chain, message).with(ids)
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}

/// PT104.
fn masked_root_cause(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some((last, before)) = last_walk(chain).split_last() else { return Vec::new() };
    let serious = |a: &&Attempt| failed(a.outcome) && a.outcome != Outcome::NotFound;
    let first = before.iter().find(serious);
    match first {
        Some(first) if view.failed(chain) && last.proxy == "direct" => {
            let message = format!("{}; go's own message tells of `direct` alone", answer(first));
            let ids = Send::last_of(first).map_or_else(Vec::new, |send| send.ids());
            vec![Sign::of("PT104", chain, message).with(ids)]
        }
        _ => Vec::new(),
    }
}

/// PT501. That it works is known by a lookup that was answered.
fn checksums_asked_directly(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let unsupported = chain.artifact == Artifact::SumdbSupported
        && chain.outcome == Outcome::NotFound
        && chain.attempts.last().is_some_and(|last| last.next == Some(Next::Direct));
    let lookup = |other: &&Chain| {
        other.process == chain.process
            && other.artifact == Artifact::SumdbLookup
            && other.outcome == Outcome::Ok
    };
    let answered = || view.trace.chains.iter().find(lookup)?.attempts.last()?.requests.last();
    let (true, Some(answered)) = (unsupported, answered()) else { return Vec::new() };
    let message = format!(
        "no entry of GOPROXY forwards the checksum database; go asks {} itself",
        answered.host
    );
    let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    vec![Sign::of("PT501", chain, message).with(asked.map(|request| request.id).collect())]
}

/// PT506.
fn fallback_for_checksums(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        (unverified(attempt) && moved(attempt)).then(|| {
            let ids = Send::last_of(attempt).map_or_else(Vec::new, |send| send.ids());
            let message = format!("{}; so go asked the next entry for the same", answer(attempt));
            Sign::of("PT506", chain, message).with(ids)
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}

/// PT002: one for the whole trace.
pub(super) fn goauth_resend(view: &View<'_>) -> Option<Sign> {
    let (mut chains, mut ids, mut all) = (Vec::new(), Vec::new(), 0_usize);
    for chain in &view.trace.chains {
        let requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        let before = ids.len();
        for request in requests {
            all += 1;
            if request.cause == Cause::AuthResend {
                ids.push(request.id);
            }
        }
        if ids.len() > before {
            chains.push(chain.id);
        }
    }
    let message = format!(
        "go sent {} of {all} requests again after a 4xx, as every go since 1.24 does",
        ids.len()
    );
    (!ids.is_empty()).then(|| Sign { chains, ..Sign::general("PT002", message).with(ids) })
}

/// PT900: one for the whole trace.
pub(super) fn incomplete_capture(view: &View<'_>) -> Option<Sign> {
    let capture = &view.trace.capture;
    let mut why = Vec::new();
    if capture.lost > 0 {
        why.push(format!("{} events were lost", capture.lost));
    }
    if let Some(reason) = &capture.watch_ended {
        why.push(format!("the watch ended before the command did ({reason})"));
    }
    for attach in &capture.attach {
        let missing: Vec<&str> = attach.missing.iter().map(|hook| hook.hook.as_str()).collect();
        if attach.hooks.is_empty() {
            why.push(format!("{} has no probes", attach.exe));
        } else if !missing.is_empty() {
            why.push(format!("{} has no probe in {}", attach.exe, missing.join(", ")));
        }
        if attach.late {
            why.push(format!("{} was running before it had its probes", attach.exe));
        }
    }
    (!capture.complete).then(|| {
        why.sort_unstable();
        why.dedup();
        Sign::general("PT900", why.join("; "))
    })
}
