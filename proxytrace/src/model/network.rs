//! What went over the network: requests, connections, names.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ConnectionId, Outcome, ProcessId, RequestId};
use crate::event::Headers;

/// One physical HTTP request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Request {
    /// Its name in this trace.
    pub id: RequestId,
    /// Why it was made.
    pub cause: Cause,
    /// The 3xx it obeys, the last request of the send it resends, the request it repeats.
    pub follows: Option<RequestId>,
    /// HTTP method.
    pub method: Cow<'static, str>,
    /// URL, redacted; exact to 4,096 bytes.
    pub url: String,
    /// Host, with the port when it is not the scheme's default.
    pub host: String,
    /// Status code of the response.
    pub status: Option<u16>,
    /// The header `Location` as it was, redacted.
    pub location: Option<String>,
    /// `HTTP/2.0`.
    pub protocol: Option<Cow<'static, str>>,
    /// Allow-listed headers of the response, by canonical name; `Referer` and `User-Agent` are the
    /// request's.
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub headers: Headers,
    /// Names of headers of the request that carry credentials, such as `Authorization`, as far as
    /// their names tell; never a value.
    #[serde(default)]
    pub credentials: Option<Vec<String>>,
    /// The connection it went over; none if it never got one.
    pub connection: Option<ConnectionId>,
    /// `ip:port` of the peer.
    pub remote_addr: Option<String>,
    /// When it began.
    pub started_ns: u64,
    /// Until the head of the response or the error; none if neither came. Where no connection was
    /// free, it includes waiting for one.
    pub duration_ns: Option<u64>,
    /// When it went onto its connection: after the name, the connection and the wait for a place on
    /// one. None if it did not.
    #[serde(default)]
    pub sent_ns: Option<u64>,
    /// Time to first byte: from going onto its connection to the head of the response.
    #[serde(default)]
    pub ttfb_ns: Option<u64>,
    /// Bytes of the body of the response, as announced; none if it was not.
    #[serde(default)]
    pub content_length: Option<u64>,
    /// Bytes of the body that go read; none if it never closed it, or the length was not announced.
    #[serde(default)]
    pub body_bytes: Option<u64>,
    /// From the head of the response until go closed the body.
    #[serde(default)]
    pub body_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why there is no response, or not the whole of it.
    pub error: Option<RequestError>,
    /// What came after a 3xx response.
    pub after_redirect: Option<AfterRedirect>,
    /// What was longer than its bound: `url`, `location`, `headers`.
    #[serde(default)]
    pub cut: Vec<String>,
    /// Who saw it.
    #[serde(default)]
    pub witness: Witness,
}

impl Request {
    /// One that has begun at this time, of which nothing else is known than method, URL and host: the
    /// first of its send, seen by who sent it.
    pub(crate) fn begun(
        id: RequestId,
        method: Cow<'static, str>,
        url: String,
        host: String,
        started_ns: u64,
    ) -> Self {
        Self {
            id,
            cause: Cause::Initial,
            follows: None,
            method,
            url,
            host,
            status: None,
            location: None,
            protocol: None,
            headers: Headers::new(),
            credentials: None,
            connection: None,
            remote_addr: None,
            started_ns,
            duration_ns: None,
            sent_ns: None,
            ttfb_ns: None,
            content_length: None,
            body_bytes: None,
            body_ns: None,
            outcome: Outcome::Unfinished,
            error: None,
            after_redirect: None,
            cut: Vec::new(),
            witness: Witness::Go,
        }
    }
}

/// Who saw a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// Who sent it, from inside: the go command, or preflight.
    #[default]
    Go,
    /// The socket that it went over: plain HTTP of a program that is not go.
    Wire,
    /// Both.
    Both,
}

/// Why a request was made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The first of its send.
    Initial,
    /// It obeys a 3xx.
    Redirect,
    /// Go ≥ 1.24 sends every https fetch that ended 4xx a second time (GOAUTH).
    AuthResend,
    /// net/http sent it again on another connection.
    TransportRetry,
    /// CONNECT to a forward proxy.
    ConnectTunnel,
}

/// An error, as Go had it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestError {
    /// The outcome it stands for.
    pub kind: Outcome,
    /// Go types, outermost first.
    pub types: Vec<String>,
    /// What else it says: operation, address, errno, message.
    pub detail: Option<String>,
    /// In words that can follow the name of a host, where it says more than its kind.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What came after a 3xx response.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AfterRedirect {
    /// The target was asked.
    Followed,
    /// Later the same URL was asked of the same host again.
    SameHostRetry,
    /// The walk went on to another entry.
    Fallback,
    /// go refused to follow.
    Refused,
    /// Nothing.
    Nothing,
}

/// One name resolved.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NameLookup {
    /// The process.
    pub process: ProcessId,
    /// The name.
    pub host: String,
    /// When it began.
    pub started_ns: u64,
    /// How long it took; none if it did not end.
    pub duration_ns: Option<u64>,
    /// How many addresses it has.
    pub addresses: Option<u32>,
    /// The addresses, as far as they were read: see `cut`.
    #[serde(default)]
    pub answers: Option<Vec<IpAddr>>,
    /// The name servers that were asked, in order, as `ip:port`; none if that was not seen: where
    /// /etc/hosts or the C library answered, or where it is not known for which name they were.
    #[serde(default)]
    pub servers: Option<Vec<String>>,
    /// What there is more of than is said, by name (`answers`, `servers`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// Why it has none.
    pub error: Option<RequestError>,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tls {
    /// The name that the certificate had to be for.
    pub server_name: String,
    /// `TLS 1.3`.
    pub version: Option<String>,
    /// The protocol agreed upon (ALPN): `h2`, `http/1.1`.
    pub protocol: Option<String>,
    /// Whether the server asked for a certificate of the client.
    #[serde(default)]
    pub certificate_wanted: bool,
    /// Why it failed.
    pub error: Option<RequestError>,
}

/// One TCP connection.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connection {
    /// Its name in this trace.
    pub id: ConnectionId,
    /// The process.
    pub process: ProcessId,
    /// This end, as the server sees it.
    pub local_addr: Option<String>,
    /// The other end.
    pub remote_addr: Option<String>,
    /// The host that was meant.
    pub host: Option<String>,
    /// How long the name took, before this connection was made.
    pub dns_ns: Option<u64>,
    /// From SYN to established; none if it never was.
    pub connect_ns: Option<u64>,
    /// The TLS handshake, also if it failed. Through a forward proxy, the one with the server.
    pub tls_ns: Option<u64>,
    /// What the handshake came to; none without TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// `HTTP/2.0`.
    pub protocol: Option<String>,
    /// How many requests it carried.
    pub requests: u32,
    /// Why it failed or was reset; none if neither.
    pub errno: Option<i32>,
    /// When it began.
    pub started_ns: Option<u64>,
    /// When it was closed.
    pub ended_ns: Option<u64>,
}

impl Connection {
    /// One of which nothing is known.
    pub(crate) fn new(id: ConnectionId, process: ProcessId) -> Self {
        Self {
            id,
            process,
            local_addr: None,
            remote_addr: None,
            host: None,
            dns_ns: None,
            connect_ns: None,
            tls_ns: None,
            tls: None,
            protocol: None,
            requests: 0,
            errno: None,
            started_ns: None,
            ended_ns: None,
        }
    }
}
