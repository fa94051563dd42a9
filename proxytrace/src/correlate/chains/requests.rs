//! The requests of an attempt: how they begin, get a connection, and end.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::event::{Failure, Headers};
use crate::model::{Cause, ConnectionId, Outcome, Request, RequestError, RequestId, Witness};

use super::super::failure;
use super::{At, Chains};
use crate::status;
use crate::url::Url;

/// What CONNECT is sent with (`net/http/transport.go:dialConn`).
const TUNNEL_PROTOCOL: &str = "HTTP/1.1";

/// The host that is named `host:port` here, as it is in requests: a tunnel is for https. net/http
/// leaves capitals as they are (`transport.go:canonicalAddr`).
pub(in super::super) fn tunneled_host(target: &str) -> String {
    target.strip_suffix(":443").unwrap_or(target).to_ascii_lowercase()
}

/// A request: its attempt and place in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) struct RequestAt {
    pub(in super::super) at: At,
    request: usize,
}

/// What a request begins with.
pub(in super::super) struct Opening {
    pub(in super::super) cause: Cause,
    pub(in super::super) follows: Option<RequestId>,
    pub(in super::super) method: Cow<'static, str>,
    pub(in super::super) url: String,
    pub(in super::super) headers: Headers,
    pub(in super::super) credentials: Option<Vec<String>>,
    pub(in super::super) cut: Vec<String>,
}

/// What a request ends with.
pub(in super::super) struct Ending<'a> {
    pub(in super::super) status: Option<u16>,
    pub(in super::super) protocol: Option<Cow<'static, str>>,
    pub(in super::super) headers: Headers,
    pub(in super::super) error: Option<&'a Failure>,
    pub(in super::super) cut: Vec<String>,
    pub(in super::super) content_length: Option<u64>,
}

/// How the body of a response ended.
pub(in super::super) struct BodyEnd<'a> {
    pub(in super::super) remaining: Option<u64>,
    pub(in super::super) short: bool,
    pub(in super::super) error: Option<&'a Failure>,
}

impl Chains {
    pub(in super::super) fn request(&self, at: RequestAt) -> &Request {
        &self.attempt(at.at).requests[at.request]
    }

    fn request_mut(&mut self, at: RequestAt) -> &mut Request {
        &mut self.attempt_mut(at.at).requests[at.request]
    }

    /// A request begins.
    pub(in super::super) fn open(&mut self, at: At, opening: Opening, time: u64) -> RequestAt {
        let Opening { cause, follows, method, url, headers, credentials, cut } = opening;
        let host = Url::parse(&url).map_or_else(String::new, |url| url.named_host());
        let begun = Request::begun(self.requests, method, url, host, time);
        self.push(at, Request { cause, follows, headers, credentials, cut, ..begun })
    }

    fn push(&mut self, at: At, request: Request) -> RequestAt {
        self.requests = self.requests.saturating_add(1);
        let requests = &mut self.attempt_mut(at).requests;
        // Most attempts have one request or two, and a request is large.
        requests.reserve_exact(1);
        requests.push(request);
        RequestAt { at, request: requests.len() - 1 }
    }

    /// CONNECT is sent to a forward proxy.
    pub(in super::super) fn open_tunnel(
        &mut self,
        at: At,
        target: &str,
        connection: Option<ConnectionId>,
        remote: Option<SocketAddr>,
        time: u64,
    ) -> RequestAt {
        let opening = Opening {
            cause: Cause::ConnectTunnel,
            follows: None,
            method: "CONNECT".into(),
            url: target.to_owned(),
            headers: Headers::new(),
            credentials: None,
            cut: Vec::new(),
        };
        let tunnel = self.open(at, opening, time);
        self.connect(tunnel, connection, TUNNEL_PROTOCOL.into(), remote, time);
        self.request_mut(tunnel).host = tunneled_host(target);
        tunnel
    }

    /// The forward proxy answered it: 200 alone opens the tunnel.
    pub(in super::super) fn close_tunnel(
        &mut self,
        at: RequestAt,
        status: Option<u16>,
        headers: Headers,
        time: u64,
    ) {
        let request = self.request_mut(at);
        request.status = status;
        add(&mut request.headers, headers);
        request.duration_ns = Some(time.saturating_sub(request.started_ns));
        request.outcome = match status {
            Some(200) => Outcome::Ok,
            Some(_) => Outcome::ProxyRefused,
            None => Outcome::Unknown,
        };
    }

    /// Whether a forward proxy refused a tunnel while the request was made. The error of the
    /// request says so with nothing but the words that came with the status, which may be any.
    fn tunnel_refused(&self, at: RequestAt) -> bool {
        let since = self.request(at).started_ns;
        self.attempt(at.at).requests.iter().any(|request| {
            request.cause == Cause::ConnectTunnel
                && request.outcome == Outcome::ProxyRefused
                && request.started_ns >= since
        })
    }

    /// The tunnel that a request waited for when it failed for this: net/http hands back what
    /// CONNECT came to as it is (`transport.go:dialConn`). One that goes on while its request is
    /// given up, or has a connection, did not fail.
    fn tunnel_without_answer(&self, at: RequestAt, error: &Failure) -> Option<RequestAt> {
        let asked = self.request(at);
        if asked.sent_ns.is_some() || !failure::may_be_of_tunnel(error) {
            return None;
        }
        let waits = |tunnel: &Request| {
            tunnel.cause == Cause::ConnectTunnel
                && tunnel.duration_ns.is_none()
                && tunnel.started_ns >= asked.started_ns
                && tunnel.host == asked.host
        };
        let request = self.attempt(at.at).requests.iter().rposition(waits)?;
        Some(RequestAt { request, ..at })
    }

    /// A tunnel was not opened, and there was no answer that says why.
    fn fail_tunnel(&mut self, at: RequestAt, error: &Failure, time: u64) {
        let tunnel = self.request_mut(at);
        tunnel.duration_ns = Some(time.saturating_sub(tunnel.started_ns));
        tunnel.outcome = Outcome::ProxyRefused;
        tunnel.error = Some(failure::error(error));
    }

    /// net/http gave a request up on its connection and begins it again on another.
    pub(in super::super) fn open_again(&mut self, at: RequestAt, time: u64) -> RequestAt {
        let before = self.request_mut(at);
        before.duration_ns = Some(time.saturating_sub(before.started_ns));
        before.outcome = Outcome::Reset;
        let again = Request {
            cause: Cause::TransportRetry,
            follows: Some(before.id),
            connection: None,
            remote_addr: None,
            started_ns: time,
            duration_ns: None,
            sent_ns: None,
            outcome: Outcome::Unfinished,
            ..before.clone()
        };
        let again = Request { id: self.requests, ..again };
        self.push(at.at, again)
    }

    /// A request goes onto a connection.
    pub(in super::super) fn connect(
        &mut self,
        at: RequestAt,
        connection: Option<ConnectionId>,
        protocol: Cow<'static, str>,
        remote: Option<SocketAddr>,
        time: u64,
    ) {
        let remote_addr = remote.map(|remote| {
            self.addresses.entry(remote).or_insert_with(|| remote.to_string()).clone()
        });
        let request = self.request_mut(at);
        request.sent_ns = Some(time);
        request.connection = connection;
        request.remote_addr = remote_addr;
        request.protocol = Some(protocol).filter(|protocol| !protocol.is_empty());
    }

    /// A request ends.
    pub(in super::super) fn close(&mut self, at: RequestAt, ending: Ending<'_>, time: u64) {
        // It may be among what is not recorded.
        let unseen = ending.cut.iter().any(|cut| cut == "location" || cut == "headers");
        // An empty one is none to net/http (`client.go:do`).
        let location = ending.headers.get("Location").filter(|it| !it.is_empty()).cloned();
        let has_location = unseen || location.is_some();
        let under_way = self.request(at).sent_ns.is_some();
        let tunnel = ending.error.and_then(|error| {
            let tunnel = self.tunnel_without_answer(at, error)?;
            self.fail_tunnel(tunnel, error, time);
            Some(tunnel)
        });
        let error = ending.error.map(|error| match tunnel {
            Some(_) => failure::error_of_tunnel(error),
            None if under_way => failure::error_under_way(error),
            None => failure::error(error),
        });
        let outcome = match (&error, ending.status) {
            (Some(_), _) if cannot_be_asked(self.request(at)) => Outcome::RedirectInvalid,
            (Some(_), _) if !under_way && self.tunnel_refused(at) => Outcome::ProxyRefused,
            // Of an answer that has not begun nothing is cut: HTTP/2 has these words for the end of
            // a connection (`http2/transport.go:cleanup`).
            (Some(error), None) if error.kind == Outcome::Truncated => Outcome::Reset,
            (Some(error), _) => error.kind,
            (None, status) => {
                status.map_or(Outcome::Unknown, |status| status::of_request(status, has_location))
            }
        };
        let request = self.request_mut(at);
        request.status = ending.status;
        request.location = location;
        if ending.protocol.is_some() {
            request.protocol = ending.protocol;
        }
        add(&mut request.headers, ending.headers);
        request.cut.extend(ending.cut);
        request.duration_ns = Some(time.saturating_sub(request.started_ns));
        let sent = request.sent_ns.filter(|_| ending.status.is_some());
        request.ttfb_ns = sent.map(|sent| time.saturating_sub(sent));
        request.content_length = ending.content_length;
        request.error = error.map(|error| RequestError {
            kind: outcome,
            reason: error.reason.filter(|_| error.kind == outcome),
            ..error
        });
        request.outcome = outcome;
        let redirects = ending.status.is_some_and(status::redirects) && has_location;
        let tracked = &mut self.all[at.at.chain];
        tracked.ended = tracked.ended.max(time);
        // Where git failed, go asks for the repository's URL, and goes by nothing but its absence
        // (`codehost/git.go:loadRefs`): what is there has not served git.
        let of_tool = tracked.notes[at.at.attempt].tool.filter(|_| outcome == Outcome::Ok);
        // The send says it better, if its end is seen.
        if !redirects {
            tracked.chain.attempts[at.at.attempt].outcome = of_tool.unwrap_or(outcome);
        }
    }

    /// The body of a response was closed.
    pub(in super::super) fn close_body(&mut self, at: RequestAt, body: &BodyEnd<'_>, time: u64) {
        let request = self.request_mut(at);
        let head = request.started_ns.saturating_add(request.duration_ns.unwrap_or(0));
        request.body_ns = Some(time.saturating_sub(head));
        request.body_bytes = request
            .content_length
            .zip(body.remaining)
            .and_then(|(length, remaining)| length.checked_sub(remaining));
        let error = body.error.map(failure::error_under_way);
        let outcome = match error.as_ref().map(|error| error.kind) {
            Some(outcome @ (Outcome::Reset | Outcome::Truncated)) => Some(outcome),
            // An alert of the server, in the middle of its answer.
            Some(Outcome::TlsOther) => Some(Outcome::Reset),
            None if body.short => Some(Outcome::Truncated),
            _ => None,
        };
        // Of other bodies go reads what it likes.
        let wanted = request.outcome == Outcome::Ok && request.status == Some(200);
        if let Some(outcome) = outcome.filter(|_| wanted) {
            request.outcome = outcome;
            // What an alert says is said of a handshake.
            request.error = error.map(|error| RequestError {
                kind: outcome,
                reason: error.reason.filter(|_| error.kind == outcome),
                ..error
            });
            self.set_outcome(at.at, outcome);
        }
        let tracked = &mut self.all[at.at.chain];
        tracked.ended = tracked.ended.max(time);
    }

    /// Says who saw a request.
    pub(in super::super) fn witness(&mut self, at: RequestAt, witness: Witness) {
        self.request_mut(at).witness = witness;
    }

    /// What came of a request is not known.
    pub(in super::super) fn give_up(&mut self, at: RequestAt) {
        self.request_mut(at).outcome = Outcome::Unknown;
    }
}

/// Whether a redirect led to what net/http asks nobody for: it has another scheme, or no host
/// (`transport.go:roundTrip`).
fn cannot_be_asked(request: &Request) -> bool {
    let is_cut = request.cut.iter().any(|cut| cut == "url");
    let can_be_asked =
        |url: Url<'_>| matches!(url.scheme, "http" | "https") && !url.host.is_empty();
    request.cause == Cause::Redirect
        && !is_cut
        && !Url::parse(&request.url).is_some_and(can_be_asked)
}

/// Adds the headers of a response to those of its request.
fn add(headers: &mut Headers, more: Headers) {
    if headers.is_empty() {
        *headers = more;
    } else {
        headers.extend(more);
    }
}
