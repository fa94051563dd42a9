//! PT207, PT209, PT212, PT802.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::correlate::story::last_asked;
use crate::forward::ForwardProxy;
use crate::model::{Cause, Chain, ChainId, Connection, Outcome, ProcessId, Request, RequestId};
use crate::url::host_name;

use super::super::sign::Sign;
use super::super::view::{View, meant};
use super::{counted, evidence, is_h2};

/// So many HTTP/1.1 connections to one host are worth a word.
const CHURN: usize = 10;

/// PT207. That IPv4 would do is known only where another connection shows it.
pub(super) fn v6_path(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some(last) = chain.attempts.last().filter(|_| view.failed(chain)) else {
        return Vec::new();
    };
    let asked = last_asked(&last.requests).filter(|request| request.outcome == Outcome::TlsOther);
    let Some(request) = asked else { return Vec::new() };
    let host = request.host.as_str();
    let is_host = |name: &str| name == host || name == host_name(host);
    let to_host = |connection: &&Connection| {
        connection.process == chain.process && connection.host.as_deref().is_some_and(is_host)
    };
    let stalled = |connection: &Connection| {
        let error = connection.tls.as_ref().and_then(|tls| tls.error.as_ref());
        let types = error.map_or(&[][..], |error| &error.types[..]);
        is_v6(connection) && types.iter().any(|name| name.contains("tlsHandshakeTimeoutError"))
    };
    let well = |connection: &Connection| {
        !is_v6(connection) && connection.tls.as_ref().is_some_and(|tls| tls.error.is_none())
    };
    let all = || view.trace.connections.iter().filter(to_host);
    if !all().any(stalled) {
        return Vec::new();
    }
    let message = format!(
        "{host} was reached over IPv6, and then did not answer the TLS handshake; go does not try \
         IPv4 then"
    );
    let sign = Sign::of("PT207", chain, message).with(evidence(last));
    vec![if all().any(well) { sign } else { sign.possibly() }]
}

fn is_v6(connection: &Connection) -> bool {
    let address = connection.remote_addr.as_deref().and_then(|addr| addr.parse().ok());
    address.is_some_and(|address: SocketAddr| address.is_ipv6())
}

/// PT209: one for the connections of the whole trace, and one for streams. Where the same connection
/// is used again, it was not retired.
pub(super) fn goaway(view: &View<'_>) -> Vec<Sign> {
    let again = |request: &Request| request.cause == Cause::TransportRetry && is_h2(request);
    let (mut retired, mut refused) = (Again::default(), Again::default());
    for (chain, request) in view.requests() {
        if again(request) && request.status.is_some() {
            let mut of_chain = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
            let before = of_chain.find(|before| Some(before.id) == request.follows);
            let on = before.and_then(|before| before.connection);
            let same = on.is_some() && on == request.connection;
            let kind = if same { &mut refused } else { &mut retired };
            kind.chains.push(chain.id);
            kind.requests.extend(request.follows.into_iter().chain([request.id]));
            kind.hosts.insert(&request.host);
        }
    }
    let retired = retired.sign("retired HTTP/2 connections", " on another");
    retired.into_iter().chain(refused.sign("refused HTTP/2 streams", "")).collect()
}

/// What net/http sent again.
#[derive(Default)]
struct Again<'a> {
    hosts: BTreeSet<&'a str>,
    chains: Vec<ChainId>,
    requests: Vec<RequestId>,
}

impl Again<'_> {
    fn sign(self, did: &str, anew: &str) -> Option<Sign> {
        let Self { hosts, chains, requests } = self;
        let names: Vec<&str> = hosts.into_iter().collect();
        let count = match chains.len() {
            1 => "a request was".to_owned(),
            count => format!("{count} requests were"),
        };
        let message = format!("{} {did}, and {count} sent again{anew}", names.join(", "));
        let sign = Sign::general("PT209", message).with(requests);
        (!chains.is_empty()).then_some(Sign { chains, ..sign })
    }
}

/// PT212: one for each forward proxy.
pub(super) fn forward_proxy_in_use(view: &View<'_>) -> Vec<Sign> {
    let mut proxies: BTreeMap<&str, Sign> = BTreeMap::new();
    for (chain, request) in view.requests() {
        // What goes through a tunnel the CONNECT speaks for.
        let untunneled =
            |proxy: &ForwardProxy<'_>| !proxy.speaks_http() || request.url.starts_with("http:");
        let goes_through = request.cause == Cause::ConnectTunnel
            || view.forward_proxy(chain, request).is_some_and(untunneled);
        if !goes_through {
            continue;
        }
        let Some(name) = view.forward_proxy_name(chain, request) else { continue };
        let sign = proxies.entry(name).or_insert_with(|| {
            Sign::general("PT212", format!("go asks through the forward proxy {name}"))
        });
        sign.chains.push(chain.id);
        sign.requests.push(request.id);
    }
    proxies.into_values().collect()
}

/// PT802: one for each host, of the go command with the most connections to it. Every process needs
/// some of its own, and others than go keep theirs as they like.
pub(super) fn conn_churn(view: &View<'_>) -> Vec<Sign> {
    // CONNECT is counted as a request of its connection, and is none of the host's.
    let tunnels: BTreeSet<_> = view
        .requests()
        .filter(|(_, request)| request.cause == Cause::ConnectTunnel)
        .filter_map(|(_, request)| request.connection)
        .collect();
    let mut pairs: BTreeMap<(&str, ProcessId), (usize, u32)> = BTreeMap::new();
    for connection in &view.trace.connections {
        let process = view.process(connection.process);
        let (Some(host), Some("HTTP/1.1"), true) = (
            meant(connection),
            connection.protocol.as_deref(),
            process.is_some_and(|process| process.go_version.is_some()),
        ) else {
            continue;
        };
        let (connections, requests) = pairs.entry((host, connection.process)).or_default();
        *connections += 1;
        let tunneled = u32::from(tunnels.contains(&connection.id));
        *requests += connection.requests.saturating_sub(tunneled);
    }
    let churns = |(connections, requests): (usize, u32)| {
        connections >= CHURN && connections * 2 >= requests as usize
    };
    let mut hosts: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    for ((host, _), counts) in pairs.into_iter().filter(|(_, counts)| churns(*counts)) {
        let most = hosts.entry(host).or_insert(counts);
        *most = counts.max(*most);
    }
    let sign = |(host, (connections, requests)): (&str, (usize, u32))| {
        let connections = counted(connections, "connection", "connections");
        let message = format!("{host} speaks HTTP/1.1: {connections} for {requests} requests");
        Sign::general("PT802", message)
    };
    hosts.into_iter().map(sign).collect()
}
