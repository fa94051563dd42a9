//! What the exporter of a collector puts into `ClickHouse`, and the queries for that.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a test are small"
)]

use std::collections::BTreeMap;
use std::fs;

use proxytrace::agent::exporters::{Exporters, Options};
use proxytrace::export::Build;
use proxytrace::model::{AfterRedirect, Cause, Outcome, Request, Witness};
use serde_json::Value;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::clickhouse::{
    ClickHouse, Expected, GROUPS, SHARES, assert_difference, assert_same, falls_to_direct, number,
    release, share, sums, text,
};
use crate::engines::{engines, monitoring, wait_for};
use crate::otlp::{Rotel, to};

/// The table that the exporter of the OpenTelemetry Collector makes, and that Rotel's writes to.
const OTEL_TRACES: &str = "CREATE TABLE otel.otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String),
    ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String),
    ScopeName String, ScopeVersion String, SpanAttributes Map(LowCardinality(String), String),
    Duration UInt64, StatusCode LowCardinality(String), StatusMessage String,
    Events Nested (Timestamp DateTime64(9), Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)),
    Links Nested (TraceId String, SpanId String, TraceState String,
        Attributes Map(LowCardinality(String), String))
) ENGINE = MergeTree ORDER BY (ServiceName, SpanName, Timestamp)";

/// The same for log records.
const OTEL_LOGS: &str = "CREATE TABLE otel.otel_logs (
    Timestamp DateTime64(9), TraceId String, SpanId String, TraceFlags UInt8,
    SeverityText LowCardinality(String), SeverityNumber UInt8, ServiceName LowCardinality(String),
    Body String, ResourceSchemaUrl LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ScopeSchemaUrl LowCardinality(String), ScopeName String,
    ScopeVersion LowCardinality(String), ScopeAttributes Map(LowCardinality(String), String),
    LogAttributes Map(LowCardinality(String), String)
) ENGINE = MergeTree ORDER BY (ServiceName, Timestamp)";

/// A forward proxy refuses the way to the host of the first request: that is not the host's doing.
fn refuse_tunnel(build: &mut Build) {
    let attempts = build.trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts);
    let Some(requests) = attempts.map(|one| &mut one.requests).find(|all| !all.is_empty()) else {
        return;
    };
    let tunnel = Request {
        id: u32::MAX,
        cause: Cause::ConnectTunnel,
        method: "CONNECT".into(),
        url: format!("{}:443", requests[0].host),
        status: Some(407),
        outcome: Outcome::ProxyRefused,
        ..requests[0].clone()
    };
    requests.push(tunnel);
}

/// A request of go, and the build it is of.
type Asked<'a> = (&'a Build, &'a Request, &'a str);

/// Those that spans are of, with their entries of GOPROXY.
fn asked(builds: &[Build]) -> impl Iterator<Item = Asked<'_>> {
    builds.iter().flat_map(|build| {
        let attempts = builds::attempts(std::slice::from_ref(build));
        attempts.flat_map(move |attempt| {
            let requests = attempt.requests.iter().filter(|one| one.witness != Witness::Wire);
            requests.map(move |request| (build, request, &*attempt.proxy))
        })
    })
}

/// From the agent to a collector, and from there to the tables that collectors have.
#[test]
fn queries_of_a_collectors_tables_say_what_the_traces_say() {
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let server = ClickHouse::start(&engines, &directory.path().join("db"));
    server.run("CREATE DATABASE otel");
    server.run(OTEL_TRACES);
    server.run(OTEL_LOGS);
    let exporter = [
        ["--exporter", "clickhouse"],
        ["--clickhouse-exporter-endpoint", server.url.trim_end_matches('/')],
        ["--clickhouse-exporter-database", "otel"],
        ["--clickhouse-exporter-compression", "none"],
    ];
    // The engine in a process gathers no inserts.
    let gather = ["--clickhouse-exporter-async-insert", "false"];
    let rotel = Rotel::start(&engines, &[&exporter.concat()[..], &gather].concat());
    let golden = builds::all();
    let mut early = builds::at(&golden[..6], &builds::ago(50 * 60));
    let mut late = builds::at(&golden, &builds::ago(60));
    late.extend(builds::at(&[builds::probed(&golden)], &builds::ago(90)));
    let all = early.iter_mut().chain(&mut late);
    for (build, share) in all.zip(SHARES.into_iter().cycle()) {
        build.share = share;
        refuse_tunnel(build);
    }
    let sides = [(GROUPS[0], &early), (GROUPS[1], &late)];
    let (mut spans, mut records) = (0, 0);
    for (group, builds) in sides {
        let options = to(rotel.url.clone());
        let options = Options { host_group: Some(group.to_owned()), ..options };
        let exporters = Exporters::start_at(&options, FAST).unwrap();
        for build in builds {
            exporters.observe(build.clone());
        }
        let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
        spans += deliveries["otlp-spans"].sent;
        records += deliveries["otlp-logs"].sent;
    }
    wait_for("all spans", || (server.count("otel.otel_traces") == spans).then_some(()));
    wait_for("all records", || (server.count("otel.otel_logs") == records).then_some(()));
    // Collectors, too, send again what they cannot know to have come.
    for table in ["otel_traces", "otel_logs"] {
        server.run(&format!("INSERT INTO otel.{table} SELECT * FROM otel.{table}"));
    }
    let change = builds::ago(30 * 60);
    let change = format!("&param_change={}%20{}", &change[..10], &change[11..19]);
    let rows = |name: &str| {
        let path = monitoring().join(format!("opentelemetry/{name}.sql"));
        let query = fs::read_to_string(path).unwrap();
        server.rows(if query.contains("{change:") { &change } else { "" }, &query)
    };
    let all: Vec<Build> = early.iter().chain(&late).cloned().collect();
    hosts_now(&rows("hosts-now"), &all);
    redirect_targets(&rows("redirect-targets"), sides);
    falls_to_direct(&rows("falls-to-direct"), &all);
    findings_by_release(&rows("findings-by-release"), &all);
    before_and_after(&rows("before-and-after"), &early, &late);
}

/// Seconds within which 95 % of requests ended, each as often as its build counts; none if that is one
/// that did not end: its span ends with its build.
fn p95<'a>(asked: impl Iterator<Item = Asked<'a>>) -> Option<f64> {
    let mut times = Vec::new();
    for (build, request, _) in asked {
        let time = request.duration_ns.map(|head| head + request.body_ns.unwrap_or(0));
        times.extend(vec![time.unwrap_or(u64::MAX); (1.0 / build.share) as usize]);
    }
    times.sort_unstable();
    let at = (times.len() * 95).div_ceil(100).checked_sub(1)?;
    Some(times[at]).filter(|time| *time < u64::MAX).map(|time| time as f64 / 1e9)
}

/// The requests to a host that say something of it.
fn to_host<'a>(builds: &'a [Build], host: &'a str) -> impl Iterator<Item = Asked<'a>> {
    let name = |request: &Request| request.host.split(':').next() == Some(host);
    asked(builds).filter(move |(_, one, _)| one.cause != Cause::ConnectTunnel && name(one))
}

fn hosts_now(rows: &[Vec<Value>], builds: &[Build]) {
    let mut hosts = Expected::default();
    let told = asked(builds).filter(|(_, one, _)| one.cause != Cause::ConnectTunnel);
    for (build, request, _) in told {
        hosts.add(&[request.host.split(':').next().unwrap()], build, &[true]);
    }
    assert_eq!(sums(rows, 1, 1), hosts.0);
    assert!(rows.iter().any(|row| number(&row[2]) > 0.0), "{rows:?}");
    let mut ended = 0;
    for row in rows {
        let host = text(&row[0]);
        let failed = to_host(builds, &host).filter(|(_, request, _)| has_failed(request));
        assert_same(&row[2], Some(failed.map(|(build, _, _)| 1.0 / build.share).sum()), row);
        if let Some(seconds) = p95(to_host(builds, &host)) {
            assert_same(&row[3], Some(seconds), row);
            ended += 1;
        }
    }
    assert!(ended >= 2, "{rows:?}");
}

fn redirect_targets(rows: &[Vec<Value>], sides: [(&str, &Vec<Build>); 2]) {
    let mut targets = Expected::default();
    for (group, builds) in sides {
        for (build, request, proxy) in asked(builds) {
            let is_redirect = request.status.is_some_and(|status| status / 100 == 3);
            let Some(location) = request.location.as_deref().filter(|_| is_redirect) else {
                continue;
            };
            let named = location.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap());
            let host = named.unwrap_or_else(|| request.host.split(':').next().unwrap());
            targets.add(&[group, proxy, host], build, &[true]);
        }
    }
    assert_eq!(sums(rows, 3, 1), targets.0);
    assert!(targets.0.len() >= 3, "{:?}", targets.0);
    assert!(rows.iter().all(|row| (number(&row[4]) - 1.0).abs() < 1e-9), "{rows:?}");
}

fn findings_by_release(rows: &[Vec<Value>], builds: &[Build]) {
    let (mut findings, mut begun) = (Expected::default(), Expected::default());
    for build in builds {
        begun.add(&[&release(build, None)], build, &[true]);
        for finding in &build.trace.findings {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            let version = release(build, finding.chain);
            findings.add(&[&version, &finding.code, &severity], build, &[true]);
        }
    }
    assert_eq!(sums(rows, 3, 1), findings.0);
    for row in rows {
        let builds = begun.0[&vec![text(&row[0])]][0];
        assert_same(&row[4], Some(builds), row);
        assert_same(&row[5], Some(number(&row[3]) / builds), row);
    }
}

fn before_and_after(rows: &[Vec<Value>], early: &[Build], late: &[Build]) {
    let mut sides = Expected::default();
    for (builds, is_early) in [(early, true), (late, false)] {
        let told = asked(builds).filter(|(_, one, _)| one.cause != Cause::ConnectTunnel);
        for (build, request, _) in told {
            let host = request.host.split(':').next().unwrap();
            sides.add(&[host], build, &[is_early, !is_early]);
        }
    }
    assert_eq!(sums(rows, 1, 2), sides.0);
    for row in rows {
        let host = text(&row[0]);
        let shares = [(early, 3, 5), (late, 4, 6)].map(|(builds, failing, slow)| {
            if to_host(builds, &host).all(|(_, request, _)| request.duration_ns.is_some()) {
                assert_same(&row[slow], p95(to_host(builds, &host)), row);
            }
            let weigh = |is_it: fn(&Request) -> bool| -> f64 {
                let of_host = to_host(builds, &host).filter(|(_, request, _)| is_it(request));
                of_host.map(|(build, _, _)| 1.0 / build.share).sum()
            };
            let expected = share(weigh(has_failed), weigh(|request| !has_failed(request)));
            assert_same(&row[failing], expected, row);
            expected
        });
        assert_difference(shares, row);
    }
    assert!(rows.iter().any(|row| number(&row[7]) != 0.0 && !row[7].is_null()), "{rows:?}");
}

/// Absence is an answer, and what was given up says nothing. A redirect may be refused.
fn has_failed(request: &Request) -> bool {
    use Outcome::{Canceled, NotFound, Ok, Unfinished, Unknown};
    request.after_redirect == Some(AfterRedirect::Refused)
        || !matches!(request.outcome, Ok | NotFound | Canceled | Unfinished | Unknown)
}
