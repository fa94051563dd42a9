//! One fetch of go's: its sends, and the requests of each.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::event::{Failure, Headers};
use crate::model::{Cause, Outcome, Request};

use super::chains::{At, Chains, Opening, RequestAt};
use super::connection::canonical;
use super::context::Context;
use super::failure;
use super::story;
use crate::status;
use crate::url;

/// One run of `web.get`: requests of one URL, one after the other in a goroutine, and where they led.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// What it is for; none before its first request.
    pub(super) goal: Option<At>,
    first: Option<RequestAt>,
    /// Requests of the last send, and whether it was given up.
    hops: usize,
    gave_up: bool,
    last: Option<RequestAt>,
    pub(super) open: Option<RequestAt>,
    tries: usize,
}

/// What a request asks, and with what.
pub(super) struct Asking {
    pub(super) method: Cow<'static, str>,
    pub(super) url: String,
    pub(super) headers: Headers,
    pub(super) credentials: Option<Vec<String>>,
    pub(super) cut: Vec<String>,
}

/// The connection that a request goes onto.
pub(super) struct On {
    pub(super) protocol: Cow<'static, str>,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) tls: bool,
}

impl Fetch {
    /// A request begins; a fetch of something else has begun if it does not fit.
    ///
    /// It is the first of a send unless net/http was told to go elsewhere, and did not refuse to.
    pub(super) fn begin_request(&mut self, url: &str, chains: &Chains) {
        let has_ended = |last| {
            let last: &Request = chains.request(last);
            // An answer that leads nowhere is handed back, whatever its status.
            let leads = last.location.is_some() || !last.cut.is_empty();
            last.status.is_some_and(|status| !(status::redirects(status) && leads))
        };
        if self.gave_up || self.last.is_some_and(has_ended) {
            (self.hops, self.gave_up, self.open) = (0, false, None);
        }
        let other = |first| !same_fetch(&chains.request(first).url, url);
        if self.hops == 0 && self.first.is_some_and(other) {
            *self = Self::default();
        }
    }

    pub(super) fn open_request(&mut self, asking: Asking, time: u64, context: &mut Context<'_>) {
        let Some(at) = self.goal else { return };
        let url = asking.url.as_str();
        let last = self.last.map(|last| context.chains.request(last));
        let begun_here = |first| url::same_place(&context.chains.request(first).url, url);
        // A HEAD is made up to three times, with the same credentials.
        let resent = matches!(last.and_then(|last| last.status), Some(400..=499))
            && asking.method != "HEAD"
            && url.starts_with("https:")
            && self.first.is_some_and(begun_here);
        let (cause, follows) = match last {
            Some(last) if self.hops > 0 => {
                let led_here = last.status.is_some_and(status::redirects)
                    && last.location.as_ref().is_some_and(|location| {
                        last.cut.iter().any(|cut| cut == "location" || cut == "url")
                            || url::resolve(&last.url, location)
                                .is_some_and(|target| url::same_place(&target, url))
                    });
                (Cause::Redirect, led_here.then_some(last.id))
            }
            Some(last) if resent => (Cause::AuthResend, Some(last.id)),
            _ => (Cause::Initial, None),
        };
        let Asking { method, url, headers, credentials, cut } = asking;
        let opening = Opening { cause, follows, method, url, headers, credentials, cut };
        let request = context.chains.open(at, opening, time);
        (self.last, self.open) = (Some(request), Some(request));
        self.first.get_or_insert(request);
        self.hops += 1;
        self.tries = 0;
    }

    pub(super) fn try_connection(
        &mut self,
        On { protocol, local, remote, tls }: On,
        time: u64,
        context: &mut Context<'_>,
    ) {
        let Some(mut request) = self.open else { return };
        if self.tries > 0 {
            request = context.chains.open_again(request, time);
            (self.last, self.open) = (Some(request), Some(request));
        }
        self.tries += 1;
        let host = &context.chains.request(request).host;
        let connection = local
            .zip(remote)
            .map(|ends| context.connections.carry(context.process, ends, host, &protocol));
        if let Some(connection) = connection.filter(|_| !tls) {
            context.wire.asked_by_go(connection, request);
        }
        context.chains.connect(request, connection, protocol, remote.map(canonical), time);
    }

    /// The send ended with an error; without one, it could not be read.
    pub(super) fn give_up(&mut self, error: Option<&Failure>, context: &mut Context<'_>) {
        self.gave_up = true;
        self.open = None;
        let (Some(last), Some(at), Some(first)) = (self.last, self.goal, self.first) else {
            return;
        };
        let last = context.chains.request(last);
        let redirected = last.status.is_some_and(status::redirects);
        let told = last.status.is_none() && last.error.is_some() && story::failed(last.outcome);
        let outcome = match error.map_or(Outcome::Unknown, failure::outcome) {
            // The request ended with the same, and more is known of it than its error says.
            _ if told => last.outcome,
            Outcome::Unknown if redirected => {
                refusal(&context.chains.request(first).url, self.hops, last)
            }
            outcome => outcome,
        };
        // go calls every scheme but https insecure.
        let is_invalid = outcome == Outcome::RedirectRefused && leads_to_other_scheme(last);
        let outcome = if is_invalid { Outcome::RedirectInvalid } else { outcome };
        context.chains.set_outcome(at, outcome);
    }
}

/// Why go did not follow a redirect, where its error is not told: by what it checks, in its order
/// (`cmd/go/internal/web/http.go:securityPreservingHTTPClient`, `checkRedirect`).
fn refusal(first: &str, hops: usize, last: &Request) -> Outcome {
    let target = last.location.as_deref().and_then(|l| url::resolve(&last.url, l));
    if target.is_some_and(|t| first.starts_with("https:") && !t.starts_with("https:")) {
        Outcome::RedirectRefused
    } else if hops >= 10 {
        Outcome::RedirectLimit
    } else if last.location.is_none() && !last.cut.is_empty() {
        Outcome::Unknown
    } else {
        Outcome::RedirectInvalid
    }
}

/// Whether a redirect leads to what is neither http nor https.
fn leads_to_other_scheme(request: &Request) -> bool {
    let location = request.location.as_deref();
    let target = location.and_then(|location| url::resolve(&request.url, location));
    target.is_some_and(|target| !target.starts_with("http:") && !target.starts_with("https:"))
}

/// Whether a send of `url` can belong to the fetch that began with `first`: an auth-resend, or what
/// GOINSECURE allows after https failed.
fn same_fetch(first: &str, url: &str) -> bool {
    let bare = |url| str::split_once(url, "://").map_or(url, |(_, rest)| rest);
    bare(first) == bare(url)
}
