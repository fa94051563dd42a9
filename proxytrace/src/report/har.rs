//! HAR 1.2, which the developer tools of browsers open: one entry for each request, redirects by
//! their `redirectURL`, and what HAR has no name for under `_proxytrace`.
//!
//! Source: "HTTP Archive (HAR) format", W3C Web Performance Working Group, and Jan Odvarko's HAR 1.2
//! for the ranges: a time that is not known is -1, and `send`, `wait` and `receive`, which may not
//! be, are 0 then.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Format, json as writer};
use crate::model::{Attempt, Chain, Connection, ConnectionId, Request, Trace};
use crate::url::{host_name, split_port, unbracketed};

/// One `log` without pages.
pub const FORMAT: Format = Format { name: "har", write };

/// Size or time that is not known.
const UNKNOWN: i64 = -1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timings {
    blocked: f64,
    dns: f64,
    connect: f64,
    ssl: f64,
    send: f64,
    wait: f64,
    receive: f64,
}

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let connections: HashMap<ConnectionId, &Connection> =
        trace.connections.iter().map(|connection| (connection.id, connection)).collect();
    let mut requests: Vec<(&Chain, &Attempt, &Request)> = trace
        .chains
        .iter()
        .flat_map(|chain| chain.attempts.iter().map(move |attempt| (chain, attempt)))
        .flat_map(|(chain, attempt)| {
            attempt.requests.iter().map(move |request| (chain, attempt, request))
        })
        .collect();
    requests.sort_by_key(|(.., request)| (request.started_ns, request.id));
    let began: Timestamp = trace.started_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let creator = json!({"name": "proxytrace", "version": trace.proxytrace});
    write!(output, r#"{{"log":{{"version":"1.2","creator":"#)?;
    writer::value(&creator, &mut *output)?;
    write!(output, r#","pages":[],"entries":["#)?;
    // What a connection cost is told with the first request that it carried.
    let mut opened = HashSet::new();
    for (place, (chain, attempt, request)) in requests.into_iter().enumerate() {
        output.write_all(if place > 0 { b",\n" } else { b"\n" })?;
        let connection = request.connection.and_then(|id| connections.get(&id).copied());
        let first = request.connection.is_some_and(|id| opened.insert(id));
        let made = connection.filter(|_| first);
        let entry = entry(began, chain, attempt, request, connection, made);
        writer::value(&entry, &mut *output)?;
    }
    writeln!(output, "\n]}}}}")
}

fn entry(
    began: Timestamp,
    chain: &Chain,
    attempt: &Attempt,
    request: &Request,
    connection: Option<&Connection>,
    made: Option<&Connection>,
) -> Value {
    let timings = timings(request, made);
    let all = [timings.blocked, timings.dns, timings.connect];
    let all = all.into_iter().chain([timings.send, timings.wait, timings.receive]);
    let time: f64 = all.filter(|time| *time > 0.0).sum();
    let since = i64::try_from(request.started_ns).unwrap_or(i64::MAX);
    let started = began.checked_add(SignedDuration::from_nanos(since)).unwrap_or(began);
    let mut entry = json!({
        "startedDateTime": started.to_string(),
        "time": time,
        "request": {
            "method": request.method,
            "url": request.url,
            "httpVersion": request.protocol.as_deref().unwrap_or(""),
            "cookies": [],
            "headers": headers(request, true),
            "queryString": query(&request.url),
            "headersSize": UNKNOWN,
            "bodySize": 0,
        },
        "response": {
            "status": request.status.unwrap_or(0),
            "statusText": "",
            "httpVersion": request.protocol.as_deref().unwrap_or(""),
            "cookies": [],
            "headers": headers(request, false),
            "content": {
                "size": request.body_bytes.or(request.content_length).unwrap_or(0),
                "mimeType": request.headers.get("Content-Type").map_or("", String::as_str),
            },
            "redirectURL": request.location.as_deref().unwrap_or(""),
            "headersSize": UNKNOWN,
            "bodySize": request.body_bytes.map_or(UNKNOWN, |bytes| {
                i64::try_from(bytes).unwrap_or(UNKNOWN)
            }),
        },
        "cache": {},
        "timings": timings,
        "_proxytrace": {
            "id": request.id,
            "cause": request.cause,
            "follows": request.follows,
            "outcome": request.outcome,
            "error": request.error,
            "after_redirect": request.after_redirect,
            "chain": chain.id,
            "process": chain.process,
            "module": chain.module,
            "version": chain.version,
            "artifact": chain.artifact,
            "proxy": attempt.proxy,
        },
    });
    let (address, port) = ends(request, connection);
    if let Some(address) = address {
        entry["serverIPAddress"] = address.into();
    }
    if let Some(port) = port {
        entry["connection"] = port.into();
    }
    if let Some(error) = &request.error {
        // What Chromium's developer tools show for a request without a response.
        let text = error.detail.as_deref().unwrap_or("");
        entry["response"]["_error"] = text.into();
    }
    entry
}

/// Address of the server, and this end's port, which names the connection.
fn ends(request: &Request, connection: Option<&Connection>) -> (Option<String>, Option<String>) {
    let remote = request.remote_addr.as_deref().map(|address| unbracketed(host_name(address)));
    let local = connection.and_then(|one| split_port(one.local_addr.as_deref()?).1);
    (remote.map(str::to_owned), local.map(str::to_owned))
}

fn timings(request: &Request, made: Option<&Connection>) -> Timings {
    let ms = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e3;
    let known = |ns: Option<u64>| ns.map_or(-1.0, ms);
    let head = request.duration_ns.unwrap_or(0);
    let wait = request.ttfb_ns.unwrap_or(head).min(head);
    let (dns, connect, tls) =
        made.map_or((None, None, None), |one| (one.dns_ns, one.connect_ns, one.tls_ns));
    // Before it goes onto its connection a request waits for that: for the parts that are known,
    // and for a free one.
    let before = head - wait;
    let parts = [dns, connect, tls].into_iter().flatten().sum::<u64>();
    let fits = parts <= before;
    let (dns, connect, tls) = if fits { (dns, connect, tls) } else { (None, None, None) };
    let blocked = if fits { before - parts } else { before };
    Timings {
        blocked: if request.ttfb_ns.is_some() { ms(blocked) } else { -1.0 },
        dns: known(dns),
        // HAR counts TLS as a part of connect.
        connect: known(connect.map(|ns| ns + tls.unwrap_or(0))),
        ssl: known(tls.filter(|_| connect.is_some())),
        send: 0.0,
        wait: ms(wait),
        receive: ms(request.body_ns.unwrap_or(0)),
    }
}

/// The model keeps the headers of both in one place.
fn headers(request: &Request, of_request: bool) -> Vec<Value> {
    let asked = |name: &str| matches!(name, "Referer" | "User-Agent");
    let headers = request.headers.iter().filter(|(name, _)| asked(name) == of_request);
    headers.map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn query(url: &str) -> Vec<Value> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            json!({"name": name, "value": value})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{FORMAT, timings};
    use crate::model::{Connection, Trace};
    use crate::report::samples;
    use crate::report::write;

    fn har(trace: &Trace) -> Value {
        let mut bytes = Vec::new();
        write(&FORMAT, trace, &mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn an_entry_for_each_request() {
        let har = har(&samples::forbidden());
        let entries = har["log"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 80);
        assert_eq!(entries[0]["response"]["redirectURL"], entries[1]["request"]["url"]);
        assert_eq!(entries[1]["_proxytrace"]["cause"], "redirect");
        assert_eq!(entries[1]["request"]["queryString"][0]["name"], "X-Goog-Signature");
        assert_eq!(entries[0]["serverIPAddress"], "192.0.2.1");
    }

    #[test]
    fn times_add_up() {
        let trace = samples::healthy();
        let mut request = trace.chains[0].attempts[0].requests[0].clone();
        request.duration_ns = Some(10_000_000);
        request.ttfb_ns = Some(4_000_000);
        request.body_ns = Some(2_000_000);
        let connection = Connection {
            id: 1,
            process: 1,
            local_addr: None,
            remote_addr: None,
            host: None,
            dns_ns: Some(1_000_000),
            connect_ns: Some(2_000_000),
            tls_ns: Some(2_500_000),
            tls: None,
            protocol: None,
            requests: 1,
            errno: None,
            started_ns: None,
            ended_ns: None,
        };
        let first = timings(&request, Some(&connection));
        assert_eq!((first.blocked, first.dns, first.connect, first.ssl), (0.5, 1.0, 4.5, 2.5));
        assert_eq!((first.send, first.wait, first.receive), (0.0, 4.0, 2.0));
        let later = timings(&request, None);
        assert_eq!((later.blocked, later.dns, later.connect, later.ssl), (6.0, -1.0, -1.0, -1.0));
        // Made by another request that gave up on it: its times are none of this one's.
        request.ttfb_ns = Some(9_000_000);
        let other = timings(&request, Some(&connection));
        assert_eq!((other.blocked, other.dns, other.connect), (1.0, -1.0, -1.0));
    }
}
