//! What monitoring counts: fetches, redirects, fallbacks.
//!
//! A fetch is one entry of GOPROXY asked for one artifact. What go asks besides is left out, as it
//! says nothing of a proxy: probes of shorter and longer paths that found nothing, the second
//! request after a 4xx (GOAUTH) and what follows it, where that comes to a 4xx again, and what
//! programs other than go fetched.

use std::borrow::Cow;

use foldhash::HashSet;

use super::names;
use crate::correlate::story;
use crate::diagnose;
use crate::model::{
    AfterRedirect, Artifact, Attempt, Cause, Chain, ChainId, Next, Outcome, Request, RequestId,
    Trace, Witness,
};
use crate::status;
use crate::url::{split_port, unbracketed};

/// What came was good, as far as is known, and go did not take it, as the checksum database did not
/// answer for it: that is no doing of the entry.
const UNVERIFIED: &str = "unverified";

/// One entry of GOPROXY asked for one artifact.
pub(crate) struct Fetch<'a> {
    /// The artifact.
    pub(crate) chain: &'a Chain,
    /// The entry, and what it answered.
    pub(crate) attempt: &'a Attempt,
    /// The entry that was asked next.
    pub(crate) next: Option<&'a Attempt>,
}

/// The fetches of a trace.
pub(crate) fn fetches(trace: &Trace) -> impl Iterator<Item = Fetch<'_>> {
    operations(trace).flat_map(|chain| {
        chain.attempts.iter().enumerate().map(|(at, attempt)| {
            let next = chain.attempts.get(at + 1);
            Fetch { chain, attempt, next }
        })
    })
}

/// The chains that count.
pub(crate) fn operations(trace: &Trace) -> impl Iterator<Item = &Chain> {
    let probes: HashSet<ChainId> = diagnose::fruitless_probes(trace);
    trace.chains.iter().filter(move |chain| !probes.contains(&chain.id) && is_of_go(chain))
}

/// Whether something was still under way when go gave it up, or ended.
fn has_no_end(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Unfinished | Outcome::Canceled)
}

/// Programs that are not go have a chain without a module.
fn is_of_go(chain: &Chain) -> bool {
    chain.artifact != Artifact::Vcs || chain.module.is_some()
}

impl<'a> Fetch<'a> {
    /// Whether the artifact came.
    pub(crate) fn succeeded(&self) -> bool {
        self.attempt.outcome == Outcome::Ok
    }

    /// How it ended: a word of the JSON contract, or [`UNVERIFIED`].
    pub(crate) fn outcome(&self) -> &'static str {
        if story::unverified(self.attempt) {
            return UNVERIFIED;
        }
        names::outcome(self.attempt.outcome)
    }

    /// Why it did not come, where the entry is to blame: absence (404, 410) is an answer.
    pub(crate) fn error_type(&self) -> Option<Cow<'static, str>> {
        match self.attempt.outcome {
            Outcome::NotFound | Outcome::Canceled => None,
            _ if story::unverified(self.attempt) => None,
            _ => self.reason(),
        }
    }

    /// Why go went on.
    pub(crate) fn reason(&self) -> Option<Cow<'static, str>> {
        if story::unverified(self.attempt) {
            return Some(UNVERIFIED.into());
        }
        names::error_type(self.attempt.outcome, story::last_asked(&self.attempt.requests))
    }

    /// From the first request to the end of the last body, in nanoseconds; none if it did not end,
    /// or no request was made.
    pub(crate) fn duration_ns(&self) -> Option<u64> {
        // Of a body that stalled only the head is timed: it would count as quick.
        if has_no_end(self.attempt.outcome) {
            return None;
        }
        let again = resent(&self.attempt.requests);
        let mut counted =
            self.attempt.requests.iter().filter(|request| !again.contains(&request.id)).peekable();
        let start = counted.peek()?.started_ns;
        let end = counted.try_fold(start, |end, request| {
            if has_no_end(request.outcome) {
                return None;
            }
            let head = request.started_ns.checked_add(request.duration_ns?)?;
            Some(end.max(head.saturating_add(request.body_ns.unwrap_or(0))))
        })?;
        Some(end.saturating_sub(start))
    }

    /// Where go went from here, and why.
    pub(crate) fn fallback(&self) -> Option<(&'a str, Cow<'static, str>)> {
        let next = match self.attempt.next? {
            Next::Stop => return None,
            Next::Direct => "direct",
            Next::NextEntry => self.next.map_or("unknown", |next| next.proxy.as_str()),
        };
        Some((next, self.reason().unwrap_or(Cow::Borrowed("unknown"))))
    }

    /// The redirects, and the host that each names; none where the location is broken.
    pub(crate) fn redirects(
        &self,
    ) -> impl Iterator<Item = (&'a Request, Option<String>)> + use<'a> {
        let requests = &self.attempt.requests;
        let again = resent(requests);
        let redirects = requests
            .iter()
            .filter(move |request| !again.contains(&request.id) && is_redirect(request));
        redirects.map(|request| (request, target(request, requests)))
    }

    /// How often go sent the fetch again because of a 4xx.
    pub(crate) fn resends(&self) -> usize {
        let requests = self.attempt.requests.iter();
        requests.filter(|request| request.cause == Cause::AuthResend).count()
    }
}

/// All requests that go itself sent to servers.
pub(crate) fn requests(trace: &Trace) -> impl Iterator<Item = &Request> {
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    let sent = attempts.flat_map(sent_by_go);
    sent.filter(|request| request.cause != Cause::ConnectTunnel)
}

/// Requests that go itself sent.
pub(crate) fn sent_by_go(attempt: &Attempt) -> impl Iterator<Item = &Request> {
    attempt.requests.iter().filter(|request| request.witness != Witness::Wire)
}

/// Name or address, and port, of the server that a request was for.
pub(crate) fn server(request: &Request) -> (&str, Option<u16>) {
    let number = |port: &str| port.parse::<u16>().ok();
    let default = match request.url.split_once("://") {
        Some(("http", _)) => Some(80),
        Some(("https", _)) => Some(443),
        // CONNECT has an authority, which always names the port.
        None => split_port(&request.url).1.and_then(number),
        _ => None,
    };
    let (name, port) = split_port(&request.host);
    (unbracketed(name), port.and_then(number).or(default))
}

/// Why a request came to nothing: it says so, too, where it was answered with a redirect that go
/// refused to follow.
pub(crate) fn failure(attempt: &Attempt, request: &Request) -> Option<Cow<'static, str>> {
    match request.after_redirect {
        Some(AfterRedirect::Refused) => names::error_type(attempt.outcome, None),
        _ => names::error_type(request.outcome, Some(request)),
    }
}

/// The host that a request was redirected to, if it was.
pub(crate) fn redirect(request: &Request, requests: &[Request]) -> Option<String> {
    is_redirect(request).then(|| target(request, requests)).flatten()
}

fn is_redirect(request: &Request) -> bool {
    request.status.is_some_and(status::redirects) && request.location.is_some()
}

/// The host that a redirect leads to: the one that was asked, else the one that it names.
fn target(from: &Request, requests: &[Request]) -> Option<String> {
    let obeys = |other: &&Request| other.follows == Some(from.id) && other.cause == Cause::Redirect;
    if let Some(next) = requests.iter().find(obeys) {
        return Some(next.host.clone());
    }
    let location = from.location.as_deref()?;
    let named = location.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']));
    let Some(rest) = named.map(|(_, rest)| rest).or_else(|| location.strip_prefix("//")) else {
        return Some(from.host.clone());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// The second requests after a 4xx, and what follows from them. None where that came to something
/// else, or ended at another host: it is how the fetch went, as where GOAUTH has credentials for a
/// URL alone, which come with the second request.
pub(crate) fn resent(requests: &[Request]) -> HashSet<RequestId> {
    let mut again = HashSet::default();
    for request in requests {
        let follows = request.follows.is_some_and(|before| again.contains(&before));
        if request.cause == Cause::AuthResend || (follows && request.cause != Cause::Initial) {
            again.insert(request.id);
        }
    }
    let second = requests.iter().position(|request| request.cause == Cause::AuthResend);
    let first = second.and_then(|at| story::last_asked(&requests[..at]));
    let is_same = |last: &Request| match last.status {
        Some(status) => {
            (400..500).contains(&status) && first.is_none_or(|first| first.host == last.host)
        }
        None => has_no_end(last.outcome),
    };
    match story::last_asked(requests) {
        Some(last) if again.contains(&last.id) && !is_same(last) => HashSet::default(),
        _ => again,
    }
}

/// An entry of GOPROXY as a label: without user, query and the slash at its end.
pub(crate) fn entry(proxy: &str) -> Cow<'_, str> {
    let end = proxy.find(['?', '#']).unwrap_or(proxy.len());
    let bare = proxy[..end].trim_end_matches('/');
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.into() };
    let path = rest.find('/').unwrap_or(rest.len());
    match rest[..path].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]).into(),
        None => bare.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::forbidden;

    #[test]
    fn entries_have_no_secrets() {
        for (proxy, label) in [
            ("https://proxy.lab", "https://proxy.lab"),
            ("https://proxy.lab/", "https://proxy.lab"),
            ("https://REDACTED@proxy.lab:8443/go/?token=REDACTED", "https://proxy.lab:8443/go"),
            ("https://a/x@v/y", "https://a/x@v/y"),
            ("file:///srv/go", "file:///srv/go"),
            ("direct", "direct"),
            ("", ""),
        ] {
            assert_eq!(entry(proxy), label);
        }
    }

    /// The checksum database failed, and not who served well.
    #[test]
    fn what_could_not_be_verified_is_no_error_of_the_entry() {
        let mut trace = forbidden();
        let attempt = &mut trace.chains[0].attempts[0];
        attempt.outcome = Outcome::Checksum;
        attempt.next = Some(Next::NextEntry);
        attempt.requests.last_mut().unwrap().outcome = Outcome::Ok;
        let told = |trace: &Trace| {
            let fetch = fetches(trace).next().unwrap();
            let reason = fetch.fallback().map(|(_, reason)| reason.into_owned());
            (fetch.outcome(), fetch.error_type().map(Cow::into_owned), reason)
        };
        assert_eq!(told(&trace), ("unverified", None, Some("unverified".to_owned())));
        // Contents of another sum are.
        trace.chains[0].attempts[0].requests.last_mut().unwrap().outcome = Outcome::Checksum;
        let checksum = || Some("checksum".to_owned());
        assert_eq!(told(&trace), ("checksum", checksum(), checksum()));
    }

    /// How much later it is sent again.
    const LATER: u64 = 1_000_000_000_000;

    /// A fetch that go sent again after a 403, and its requests before that.
    fn sent_again() -> (Trace, Vec<Request>) {
        let mut trace = forbidden();
        let attempt = &mut trace.chains[0].attempts[0];
        let first = attempt.requests.clone();
        let last = first.last().unwrap().id;
        for (number, mut request) in first.iter().cloned().enumerate() {
            let id = last + 1 + u32::try_from(number).unwrap();
            request.follows = Some(if number == 0 { last } else { id - 1 });
            request.cause = if number == 0 { Cause::AuthResend } else { Cause::Redirect };
            (request.id, request.started_ns) = (id, request.started_ns + LATER);
            attempt.requests.push(request);
        }
        (trace, first)
    }

    #[test]
    fn what_is_sent_again_does_not_count() {
        let (trace, first) = sent_again();
        assert_eq!(resent(&trace.chains[0].attempts[0].requests).len(), first.len());
        let mut without = trace.clone();
        without.chains[0].attempts[0].requests = first;
        let (with, without) = (fetches(&trace).next().unwrap(), fetches(&without).next().unwrap());
        assert!(with.duration_ns().is_some());
        assert_eq!(with.duration_ns(), without.duration_ns());
        assert_eq!(with.redirects().count(), without.redirects().count());
        assert_eq!((with.resends(), without.resends()), (1, 0));
    }

    /// As where credentials come with the second request.
    #[test]
    fn what_comes_to_something_else_when_it_is_sent_again_is_the_fetch() {
        let (mut trace, first) = sent_again();
        let same = first.last().unwrap().host.as_str();
        for (host, status, outcome, counts) in [
            (same, Some(200), Outcome::Ok, true),
            (same, Some(502), Outcome::HttpError, true),
            (same, None, Outcome::Dns, true),
            (same, Some(404), Outcome::NotFound, false),
            // What came with the credentials led elsewhere.
            ("other.example", Some(403), Outcome::HttpError, true),
            // Nobody knows what it would have come to.
            (same, None, Outcome::Unfinished, false),
        ] {
            let requests = &mut trace.chains[0].attempts[0].requests;
            let last = requests.last_mut().unwrap();
            (last.status, last.outcome) = (status, outcome);
            host.clone_into(&mut last.host);
            assert_eq!(resent(requests).is_empty(), counts, "{outcome:?}");
            let sent = if counts { requests.as_slice() } else { first.as_slice() };
            let redirects = sent.iter().filter(|request| is_redirect(request)).count();
            let fetch = fetches(&trace).next().unwrap();
            let is_long = fetch.duration_ns().is_some_and(|duration| duration >= LATER);
            assert_eq!((fetch.redirects().count(), is_long), (redirects, counts), "{outcome:?}");
            assert_eq!(fetch.resends(), 1);
        }
    }

    /// The longer it stalls, the quicker it would seem.
    #[test]
    fn what_did_not_end_has_no_duration() {
        let mut trace = forbidden();
        let duration = |trace: &Trace| fetches(trace).next().unwrap().duration_ns();
        assert!(duration(&trace).is_some());
        let last = trace.chains[0].attempts[0].requests.last_mut().unwrap();
        (last.status, last.outcome, last.body_ns) = (Some(200), Outcome::Unfinished, None);
        assert_eq!(duration(&trace), None);
        for outcome in [Outcome::Unfinished, Outcome::Canceled] {
            let mut trace = forbidden();
            trace.chains[0].attempts[0].outcome = outcome;
            assert_eq!(duration(&trace), None);
        }
    }

    #[test]
    fn a_redirect_that_was_not_followed_names_its_host() {
        let mut trace = forbidden();
        let requests = &mut trace.chains[0].attempts[0].requests;
        requests.truncate(1);
        for (location, host) in [
            ("http://User@Storage.Lab:80/x?y", Some("storage.lab:80")),
            ("https://storage.lab", Some("storage.lab")),
            ("https:///x", None),
            ("//storage.lab/x", Some("storage.lab")),
        ] {
            requests[0].location = Some(location.to_owned());
            assert_eq!(target(&requests[0], requests).as_deref(), host);
        }
        for location in
            ["/elsewhere", "/login?next=https://other.lab/x", "?u=https://other.lab", "/a://b"]
        {
            requests[0].location = Some(location.to_owned());
            assert_eq!(
                target(&requests[0], requests),
                Some(requests[0].host.clone()),
                "{location}"
            );
        }
    }
}
