//! PT001, PT009, PT011, PT012, PT020.

use foldhash::HashMap;

use crate::correlate::story::{answer, failed, is_unfollowed, leads_nowhere};
use crate::model::{Artifact, Attempt, Cause, Chain, Outcome, Request, RequestId, Severity};
use crate::status;
use crate::url::host_name;
use crate::url::{self, Url};

use super::super::sent::{Sent, sends};
use super::super::sign::Sign;
use super::super::view::{View, is_of_go};
use super::{counted, moved};

/// From so many redirects on a way is long.
const LONG: usize = 3;

/// PT001. What a lost event may explain is no sign; nor is that go asks for a page twice, for two paths
/// below it (`vcs.go:repoRootForImportDynamic`), nor that every git that go runs for an attempt is
/// redirected anew, nor a HEAD, which go makes up to three times
/// (`auth/gitauth.go:updateGitCredentialHelper`).
pub(super) fn origin_retry(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    if !view.trace.capture.complete || chain.artifact == Artifact::GoGet {
        return Vec::new();
    }
    let mut signs = Vec::new();
    let asked = |request: &&Request| is_of_go(request) && request.method != "HEAD";
    let first = |request: &&Request| request.cause == Cause::Initial && asked(request);
    let again = |attempt: &&Attempt| attempt.requests.iter().filter(first).nth(1).is_some();
    for attempt in chain.attempts.iter().filter(again) {
        let mut redirected = HashMap::default();
        for request in attempt.requests.iter().filter(asked) {
            if request.cause == Cause::Initial
                && let Some(&before) = redirected.get(request.url.as_str())
            {
                let host = &request.host;
                let message =
                    format!("{host} had redirected the request, and then was asked the same again");
                signs.push(Sign::of("PT001", chain, message).with(vec![before, request.id]));
            }
            if is_redirected(request) {
                redirected.insert(request.url.as_str(), request.id);
            }
        }
    }
    signs
}

/// Whether it was answered with a redirect: 300 and 304 are answers like others to go.
fn is_redirected(request: &Request) -> bool {
    request.status.is_some_and(status::redirects)
}

/// PT011, where it is no root.
pub(super) fn host_mismatch(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    if view.failed(chain) {
        return Vec::new();
    }
    let sends = chain.attempts.iter().flat_map(sends);
    let strays = sends.filter_map(|send| strayed(view, &send));
    let sign =
        |(ids, message)| Sign::of("PT011", chain, message).with(ids).at_most(Severity::Warning);
    strays.map(sign).collect()
}

/// The first redirect of a send after which another host was asked than it names, and how to say
/// so. A location that was cut, or is no URL, names no host; what a lost event may explain is no
/// sign.
pub(in super::super) fn strayed(
    view: &View<'_>,
    send: &Sent<'_>,
) -> Option<(Vec<RequestId>, String)> {
    let mut pairs = send.requests.windows(2).filter(|_| view.trace.capture.complete);
    pairs.find_map(|pair| {
        let [before, after] = pair else { return None };
        let unexplained = after.cause == Cause::Redirect && after.follows.is_none();
        if !unexplained || !before.cut.is_empty() {
            return None;
        }
        let is_host = |named: &String| !named.is_empty() && !after.host.is_empty();
        let named = target_host(before).filter(is_host).filter(|named| *named != after.host)?;
        let message =
            format!("{} redirected to {named}, and {} was asked instead", before.host, after.host);
        Some((vec![before.id, after.id], message))
    })
}

fn target_host(request: &Request) -> Option<String> {
    let target = url::resolve(&request.url, request.location.as_deref()?)?;
    Some(Url::parse(&target)?.named_host())
}

/// PT009. What net/http itself takes away, and keeps for sub-domains, is as it should be
/// (`net/http/client.go:shouldCopyHeaderOnRedirect`).
pub(super) fn credentials_across_hosts(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    const TAKEN: &[&str] = &[
        "Authorization",
        "Cookie",
        "Cookie2",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Www-Authenticate",
    ];
    let mut signs = Vec::new();
    for send in chain.attempts.iter().flat_map(sends) {
        let asked = host_name(&send.first().host);
        let led = |request: &&Request| request.cause == Cause::Redirect && !leads_nowhere(request);
        for request in send.requests.iter().filter(led) {
            let host = host_name(&request.host);
            let parent = host.strip_suffix(asked);
            let below = parent.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let names = request.credentials.iter().flatten();
            let names: Vec<&str> =
                names.map(String::as_str).filter(|name| !TAKEN.contains(name)).collect();
            if below || names.is_empty() {
                continue;
            }
            let message = format!(
                "{asked} redirected to {host}, which got the header {} that was meant for {asked}",
                names.join(" and ")
            );
            signs.push(Sign::of("PT009", chain, message).with(vec![send.first().id, request.id]));
        }
    }
    signs
}

/// Whether go was redirected and went there, whatever came of that.
pub(super) fn has_gone_on(attempt: &Attempt, send: &Sent<'_>) -> bool {
    !is_unfollowed(attempt.outcome) && send.requests.iter().any(is_redirected)
}

/// PT012.
pub(super) fn then_fallback(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        let send = Sent::last_of(attempt)?;
        let any = has_gone_on(attempt, &send);
        let moved = moved(attempt) && failed(attempt.outcome);
        let most =
            if attempt.outcome == Outcome::NotFound { Severity::Note } else { Severity::Warning };
        (any && moved).then(|| {
            let said = answer(attempt);
            let message =
                format!("{said}; for that, not for the redirect, go asked the next entry");
            Sign::of("PT012", chain, message).with(send.ids()).at_most(most)
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}

/// PT020: one for the whole trace. A way that does not end is PT003.
pub(super) fn long_chain(view: &View<'_>) -> Vec<Sign> {
    let (mut chains, mut ids, mut longest) = (Vec::new(), Vec::new(), 0);
    for chain in &view.trace.chains {
        let sends = chain.attempts.iter().flat_map(sends);
        for send in sends.filter(|send| is_of_go(send.first())) {
            let hops = send.requests.iter().filter(|r| r.cause == Cause::Redirect).count();
            if hops >= LONG && !is_redirected(send.last()) {
                chains.push(chain.id);
                ids.extend(send.ids());
                longest = longest.max(hops);
            }
        }
    }
    let message = format!(
        "{} went through {LONG} redirects or more, the longest through {longest}",
        counted(chains.len(), "fetch", "fetches")
    );
    (longest > 0)
        .then(|| Sign { chains, ..Sign::general("PT020", message).with(ids) })
        .into_iter()
        .collect()
}
