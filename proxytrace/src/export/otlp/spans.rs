//! Builds, chains and requests as spans.

use std::net::SocketAddr;

use foldhash::{HashMap, HashSet};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};

use super::attributes::Attributes;
use super::{Of, span_id};
use crate::correlate::story;
use crate::diagnose;
use crate::export::fetch::{self, Fetch};
use crate::export::{Build, BuildId, names};
use crate::model::{Artifact, Attempt, Cause, Chain, ChainId, Outcome, Request, RequestId};

/// What all spans of a build are below.
#[derive(Clone, Copy)]
struct Whole<'a> {
    build: &'a Build,
    id: BuildId,
    /// Since it began.
    end_ns: u64,
    /// Of paths that may be modules, those that are none.
    probes: &'a HashSet<ChainId>,
}

/// All of them; of requests those that go itself sent.
pub(super) fn of(build: &Build, id: BuildId) -> Vec<Span> {
    let trace = &build.trace;
    let end_ns = trace.command.duration_ns.unwrap_or_else(|| last_ns(build));
    let probes = &diagnose::fruitless_probes(trace);
    let whole = Whole { build, id, end_ns, probes };
    let mut spans = vec![root(whole)];
    for chain in &trace.chains {
        spans.push(of_chain(whole, chain));
        for attempt in &chain.attempts {
            let counts = resend_counts(&attempt.requests);
            for request in fetch::sent_by_go(attempt) {
                let count = counts.get(&request.id).copied().unwrap_or(0);
                spans.push(of_request(whole, (chain, attempt, request), count));
            }
        }
    }
    spans
}

/// The last time that is known of a build whose end was not seen: a span has an end.
fn last_ns(build: &Build) -> u64 {
    let times = build.trace.chains.iter().flat_map(|chain| {
        let requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        let ended = requests.map(|it| ended_ns(it).unwrap_or(it.started_ns));
        ended.chain([chain.started_ns.saturating_add(chain.duration_ns.unwrap_or(0))])
    });
    times.max().unwrap_or(0)
}

fn root(whole: Whole<'_>) -> Span {
    let build = whole.build;
    let command = &build.trace.command;
    let first = build.trace.processes.first();
    let failed = command.exit_code.is_some_and(|code| code != 0);
    let attributes = Attributes::default()
        .integer("process.pid", first.map(|process| process.pid))
        .maybe("process.executable.path", first.map(|process| process.exe.as_str()))
        .texts("process.command_args", command.argv.iter().map(String::as_str))
        .integer("process.exit.code", command.exit_code)
        .maybe("go.version", Some(build.go_version(None)).filter(|version| !version.is_empty()))
        .truth("proxytrace.capture.complete", build.trace.capture.complete);
    Span {
        parent_span_id: Vec::new(),
        name: operation(&command.argv),
        attributes: attributes.list(),
        status: failed.then(|| error(String::new())),
        ..span(whole, Of::Build, 0, command.duration_ns)
    }
}

/// The command as a name of low cardinality: `go mod download`, without arguments.
fn operation(argv: &[String]) -> String {
    let Some((first, rest)) = argv.split_first() else { return "build".to_owned() };
    let program = first.rsplit('/').next().unwrap_or(first);
    if program != "go" {
        return "build".to_owned();
    }
    let word = |word: &&String| {
        !word.is_empty() && word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let count = if rest.first().is_some_and(|word| matches!(&**word, "mod" | "work" | "tool")) {
        2
    } else {
        1
    };
    let words = rest.iter().take(count).take_while(word).map(String::as_str);
    std::iter::once("go").chain(words).collect::<Vec<_>>().join(" ")
}

fn of_chain(whole: Whole<'_>, chain: &Chain) -> Span {
    let build = whole.build;
    let last = chain.attempts.last();
    let requests = last.map_or(&[][..], |attempt| &attempt.requests);
    // Absence is an answer: what becomes of it, the build's status says.
    let is_failure = !matches!(chain.outcome, Outcome::NotFound | Outcome::Canceled);
    let reason = names::error_type(chain.outcome, story::last_asked(requests));
    let reason = reason.filter(|_| is_failure);
    let found: Vec<&str> = build
        .trace
        .findings
        .iter()
        .filter(|finding| finding.chains.contains(&chain.id))
        .map(|finding| finding.code.as_str())
        .collect();
    let attributes = Attributes::default()
        .maybe("go.module.path", chain.module.as_deref())
        .maybe("go.module.version", chain.version.as_deref())
        .text("go.module.artifact", names::kind(chain.artifact))
        .texts("go.proxy.entries", chain.attempts.iter().map(|attempt| attempt.proxy.as_str()))
        .text("proxytrace.outcome", names::outcome(chain.outcome))
        .truth("proxytrace.probe", whole.probes.contains(&chain.id))
        .maybe("error.type", reason.as_deref())
        .texts("proxytrace.finding.code", found);
    let (attempts, time) = (chain.attempts.iter().enumerate(), |ns| nanoseconds(build, ns));
    let events = attempts.filter_map(|(at, attempt)| {
        let fetch = Fetch { chain, attempt, next: chain.attempts.get(at + 1) };
        let (to, reason) = fetch.fallback()?;
        let last = attempt.requests.iter().filter_map(ended_ns).max().unwrap_or(chain.started_ns);
        let attributes = Attributes::default()
            .text("go.proxy.from", &*fetch::entry(&attempt.proxy))
            .text("go.proxy.to", &*fetch::entry(to))
            .text("error.type", reason);
        Some(Event {
            time_unix_nano: time(last),
            name: "go.proxy.fallback".to_owned(),
            attributes: attributes.list(),
            dropped_attributes_count: 0,
        })
    });
    let events = events.collect();
    Span {
        name: format!("fetch {}", names::kind(chain.artifact)),
        attributes: attributes.list(),
        events,
        status: reason
            .is_some()
            .then(|| error(last.map_or_else(String::new, |last| last.reason.clone()))),
        ..span(whole, Of::Chain(chain.id), chain.started_ns, chain.duration_ns)
    }
}

fn of_request(
    whole: Whole<'_>,
    (chain, attempt, request): (&Chain, &Attempt, &Request),
    resend_count: u32,
) -> Span {
    let (address, port) = fetch::server(request);
    let peer: Option<SocketAddr> = request.remote_addr.as_deref().and_then(|it| it.parse().ok());
    // A 404 is what a walk is made of; the other 4xx and 5xx are errors, as is no answer.
    let is_failure = !matches!(request.outcome, Outcome::NotFound | Outcome::Canceled);
    let reason = fetch::failure(attempt, request).filter(|_| is_failure);
    let location = request.location.as_deref().map(redacted);
    let is_url = request.url.contains("://");
    let attributes = Attributes::default()
        .text("http.request.method", &*request.method)
        .text("server.address", address)
        .integer("server.port", port)
        .maybe("url.full", is_url.then(|| redacted(&request.url)))
        .maybe("url.template", template(chain).filter(|_| request.cause != Cause::ConnectTunnel))
        .integer("http.response.status_code", request.status)
        .maybe("error.type", reason.as_deref())
        .maybe("network.peer.address", peer.map(|peer| peer.ip().to_string()))
        .integer("network.peer.port", peer.map(|peer| peer.port()))
        .maybe("network.protocol.version", request.protocol.as_deref().and_then(version))
        .integer("http.request.resend_count", (resend_count > 0).then_some(resend_count))
        .texts("http.response.header.location", location.as_deref())
        .integer("http.response.body.size", request.body_bytes)
        .maybe("go.module.path", chain.module.as_deref())
        .maybe("go.module.version", chain.version.as_deref())
        .text("go.proxy.entry", &*fetch::entry(&attempt.proxy))
        .text("proxytrace.request.cause", names::cause(request.cause));
    let name = match &*request.method {
        method @ ("GET" | "HEAD" | "CONNECT" | "POST") => method,
        _ => "HTTP",
    };
    let detail = || request.error.as_ref().and_then(|error| error.detail.clone());
    Span {
        kind: SpanKind::Client as i32,
        parent_span_id: span_id(whole.id, Of::Chain(chain.id)),
        name: name.to_owned(),
        attributes: attributes.list(),
        links: request.follows.map(|before| link(whole.id, before)).into_iter().collect(),
        status: reason.is_some().then(|| error(detail().unwrap_or_default())),
        ..span(whole, Of::Request(request.id), request.started_ns, whole_ns(request))
    }
}

/// How many requests of the same send came before each: redirects and resends count.
fn resend_counts(requests: &[Request]) -> HashMap<RequestId, u32> {
    let mut counts: HashMap<RequestId, u32> = HashMap::default();
    for request in requests {
        let before = request.follows.and_then(|before| counts.get(&before));
        let count = before.map_or(0, |count| count.saturating_add(1));
        counts.insert(request.id, count);
    }
    counts
}

/// What the secrets of a URL are replaced by, as the conventions have it.
fn redacted(url: &str) -> String {
    url.replacen("://REDACTED@", "://REDACTED:REDACTED@", 1)
}

fn template(chain: &Chain) -> Option<&'static str> {
    Some(match chain.artifact {
        Artifact::List => "/{module}/@v/list",
        Artifact::Latest => "/{module}/@latest",
        Artifact::Info => "/{module}/@v/{version}.info",
        Artifact::Mod => "/{module}/@v/{version}.mod",
        Artifact::Zip => "/{module}/@v/{version}.zip",
        Artifact::SumdbSupported => "/sumdb/{name}/supported",
        Artifact::SumdbLookup => "/lookup/{module}@{version}",
        Artifact::SumdbTile => "/tile/{tile}",
        Artifact::GoGet => "/{module}?go-get=1",
        Artifact::Vcs => return None,
    })
}

/// `1.1`, `2`.
fn version(protocol: &str) -> Option<&str> {
    let version = protocol.strip_prefix("HTTP/")?;
    Some(if version == "2.0" { "2" } else { version })
}

fn whole_ns(request: &Request) -> Option<u64> {
    Some(request.duration_ns?.saturating_add(request.body_ns.unwrap_or(0)))
}

fn ended_ns(request: &Request) -> Option<u64> {
    Some(request.started_ns.saturating_add(whole_ns(request)?))
}

fn link(id: BuildId, before: RequestId) -> Link {
    Link { trace_id: id.0.to_vec(), span_id: span_id(id, Of::Request(before)), ..Link::default() }
}

fn error(message: String) -> Status {
    Status { message, code: StatusCode::Error as i32 }
}

/// A span below the build's. What did not end, ends with the build.
fn span(whole: Whole<'_>, of: Of, started_ns: u64, duration_ns: Option<u64>) -> Span {
    let Whole { build, id, end_ns, .. } = whole;
    let end = duration_ns
        .map_or_else(|| end_ns.max(started_ns), |duration| started_ns.saturating_add(duration));
    Span {
        trace_id: id.0.to_vec(),
        span_id: span_id(id, of),
        parent_span_id: span_id(id, Of::Build),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: nanoseconds(build, started_ns),
        end_time_unix_nano: nanoseconds(build, end),
        ..Span::default()
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(build: &Build, ns: u64) -> u64 {
    u64::try_from(build.time(ns).as_nanosecond()).unwrap_or(0)
}
