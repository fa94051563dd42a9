//! A real collector is given every span, and passes it on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::model::Witness;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::engines::{Engine, curl, engines, free_port, wait_for};
use crate::sink::{Post, Sink};

pub(crate) fn to(url: String) -> Options {
    let metrics = Some("off".parse().unwrap());
    Options { metrics, otlp: Some(url), ..Options::default() }
}

/// The spans of POSTs, with the attributes of where they come from.
pub(crate) fn spans(posts: &[Post]) -> Vec<(Vec<KeyValue>, Span)> {
    let mut all = Vec::new();
    for post in posts {
        let request = ExportTraceServiceRequest::decode(&*post.body).unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| (attributes.clone(), span)));
        }
    }
    all
}

/// Text or number of an attribute.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// A collector that hands on what it is given.
pub(crate) struct Rotel {
    pub(crate) url: String,
    _engine: Engine,
    _directory: TempDir,
}

impl Rotel {
    /// `exporter` says where to, as its options have it.
    pub(crate) fn start(engines: &Path, exporter: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let (http, grpc) = (free_port(), free_port());
        let mut command = Command::new(engines.join("python/rotel/rotel-agent"));
        command
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(exporter)
            .arg("--pid-file")
            .arg(directory.path().join("pid"))
            .arg("--log-file")
            .arg(directory.path().join("log"));
        let engine = Engine::start(&mut command);
        let url = format!("http://127.0.0.1:{http}");
        let kind = "Content-Type: application/x-protobuf";
        wait_for("Rotel", || {
            curl(&["--header", kind, "--data-binary", "", &format!("{url}/v1/traces")])
        });
        Rotel { url, _engine: engine, _directory: directory }
    }
}

#[test]
fn a_collector_receives_every_span() {
    let Some(engines) = engines() else { return };
    let behind = Sink::start(|_| 200);
    let otlp = ["--exporter", "otlp", "--otlp-exporter-protocol", "http"];
    let endpoint = ["--otlp-exporter-endpoint", &behind.url()];
    let rotel = Rotel::start(&engines, &[&otlp[..], &endpoint].concat());
    let exporters = Exporters::start_at(&to(rotel.url.clone()), FAST).unwrap();
    let builds = builds::all();
    for build in &builds {
        exporters.observe(build.clone());
    }
    let requests = builds::attempts(&builds)
        .flat_map(|attempt| &attempt.requests)
        .filter(|request| request.witness != Witness::Wire)
        .count();
    let chains: usize = builds.iter().map(|build| build.trace.chains.len()).sum();
    let expected = builds.len() + chains + requests;
    let found: usize = builds.iter().map(|build| build.trace.findings.len()).sum();
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert_eq!(deliveries["otlp-spans"].sent, expected as u64, "{deliveries:#?}");
    assert_eq!(deliveries["otlp-logs"].sent, found as u64);
    assert!(deliveries.values().all(|one| one.dropped.all() == 0), "{deliveries:#?}");

    // Rotel batches; what is behind it has them all in the end.
    let all = wait_for("the spans behind the collector", || {
        let spans = spans(&behind.taken("/v1/traces"));
        (spans.len() >= expected).then_some(spans)
    });
    let mut ids: Vec<_> = all.iter().map(|(_, span)| (&span.trace_id, &span.span_id)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((all.len(), ids.len()), (expected, expected));
    for (resource, span) in &all {
        assert_eq!(attribute(resource, "service.name").as_deref(), Some("proxytrace"));
        assert_eq!(attribute(resource, "container.id").as_deref(), Some("c0ffee"));
        assert_eq!(
            attribute(resource, "k8s.pod.uid").as_deref(),
            Some("0e9b7d6e-0000-4000-8000-000000000000")
        );
        assert_eq!(attribute(resource, "cicd.pipeline.name").as_deref(), Some("nightly"));
        assert!(attribute(resource, "host.name").is_some(), "{span:?}");
        assert_eq!(
            attribute(resource, "proxytrace.sample.share").as_deref(),
            Some("DoubleValue(1.0)")
        );
    }
    let of = |key: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for value in all.iter().filter_map(|(_, span)| attribute(&span.attributes, key)) {
            *counts.entry(value).or_default() += 1;
        }
        counts
    };
    assert_eq!(of("http.request.method").values().sum::<usize>(), requests);
    let forbidden = builds::attempts(&builds)
        .flat_map(|attempt| &attempt.requests)
        .filter(|request| request.status == Some(403))
        .count();
    assert_eq!(of("http.response.status_code")["403"], forbidden);

    let logs: usize = wait_for("the findings behind the collector", || {
        let requests = behind.taken("/v1/logs").into_iter();
        let count = requests
            .flat_map(|post| ExportLogsServiceRequest::decode(&*post.body).unwrap().resource_logs)
            .flat_map(|resource| resource.scope_logs)
            .map(|scope| scope.log_records.len())
            .sum();
        (count >= found).then_some(count)
    });
    assert_eq!(logs, found);
    let names = wait_for("the metrics behind the collector", || {
        let requests = behind.taken("/v1/metrics").into_iter();
        let names: Vec<String> = requests
            .flat_map(|post| {
                ExportMetricsServiceRequest::decode(&*post.body).unwrap().resource_metrics
            })
            .flat_map(|resource| resource.scope_metrics)
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name)
            .collect();
        names.iter().any(|name| name == "go_mod_fetch_total").then_some(names)
    });
    assert!(names.iter().any(|name| name == "go_mod_fetch_duration_seconds"), "{names:?}");
}

/// What a server tells to come later is sent later; what it does not want is not sent again.
#[test]
fn what_may_pass_is_tried_again() {
    let sink = Sink::start(|number| match number {
        0 => 503,
        1 => 429,
        2 => 400,
        _ => 200,
    });
    let pace = Pace { metrics: Duration::from_hours(1), ..FAST };
    let exporters = Exporters::start_at(&to(sink.url()), pace).unwrap();
    let builds = builds::all();
    let healthy = builds.iter().find(|build| build.trace.findings.is_empty());
    let mut build = healthy.unwrap_or(&builds[0]).clone();
    build.trace.findings.clear();
    exporters.observe(build.clone());
    wait_for("a refusal", || sink.posts().iter().find(|post| post.status == 400).map(drop));
    // Whoever runs the agent is to hear of it while it runs.
    wait_for("a reason", || {
        let failures = exporters.failures();
        failures.into_iter().find(|one| *one == ("otlp-spans", 3, "answered 400".to_owned()))
    });
    build.trace.started_at = builds::ago(0);
    exporters.observe(build);
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    let spans_of = |status: u16| {
        let posts: Vec<Post> = sink
            .posts()
            .into_iter()
            .filter(|post| post.status == status && post.path == "/v1/traces")
            .collect();
        spans(&posts).len() as u64
    };
    let delivery = deliveries["otlp-spans"];
    assert_eq!((spans_of(503), spans_of(429)), (spans_of(400), spans_of(400)));
    assert_eq!(delivery.dropped.refused, spans_of(400));
    assert_eq!((delivery.sent, delivery.failures), (spans_of(200), 2));
    assert!(spans_of(200) > 0);
}

/// What a sum has come to in a POST, over all of its series; none if it has none.
fn sum(post: &Post, name: &str) -> Option<f64> {
    let request = ExportMetricsServiceRequest::decode(&*post.body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| scope.metrics).filter(|metric| metric.name == name);
    let points = metrics.flat_map(|metric| match metric.data {
        Some(Data::Sum(sum)) => sum.data_points,
        other => panic!("no sum: {other:?}"),
    });
    let values = points.map(|point| match point.value {
        Some(Number::AsDouble(value)) => value,
        other => panic!("no number: {other:?}"),
    });
    values.reduce(|all, value| all + value)
}

/// The end comes while a collector takes its time with sums: those of the end are sent after them.
#[test]
fn the_last_sums_are_sent_after_those_under_way() {
    const BUILDS: &str = "proxytrace_builds_total";
    let build = builds::all().remove(0);
    let (sender, asked) = std::sync::mpsc::channel();
    let sink = Sink::start(move |number| {
        if number == 0 {
            sender.send(()).unwrap();
            std::thread::sleep(Duration::from_secs(2));
        }
        200
    });
    // Only the end has new series come to their values.
    let pace = Pace { youth: Duration::from_hours(1), ..FAST };
    let exporters = Exporters::start_at(&to(sink.url()), pace).unwrap();
    asked.recv_timeout(Duration::from_secs(20)).expect("sums");
    exporters.observe(build);
    exporters.finish();
    let posts = sink.taken("/v1/metrics");
    assert_eq!(sum(&posts[0], BUILDS), None);
    assert_eq!(sum(posts.last().unwrap(), BUILDS), Some(1.0));
}

/// Credentials go to the collector, and nowhere else.
#[test]
fn headers_come_from_a_file() {
    let sink = Sink::start(|_| 200);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("headers");
    std::fs::write(&file, "Authorization: Bearer cAnArY\n").unwrap();
    let options = Options { otlp_headers: Some(file), ..to(sink.url()) };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    exporters.observe(builds::all().remove(0));
    exporters.finish();
    let posts = sink.posts();
    assert!(!posts.is_empty());
    for post in posts {
        assert!(post.headers.contains(&"authorization: Bearer cAnArY".to_owned()));
        assert!(!String::from_utf8_lossy(&post.body).contains("cAnArY"));
    }
}
