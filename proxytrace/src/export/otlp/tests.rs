use std::collections::BTreeSet;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::*;
use crate::export::metrics::Limits;
use crate::export::rows;
use crate::model::{AfterRedirect, Cause, Outcome};
use crate::report::samples::forbidden;

fn host() -> Host {
    Host { name: "h".to_owned(), id: Some("i".to_owned()), group: "g".to_owned() }
}

fn decoded(messages: &[Message]) -> Vec<Span> {
    let requests = messages.iter().map(|message| {
        let request = ExportTraceServiceRequest::decode(&*message.bytes).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        assert_eq!(spans.len() as u64, message.count);
        spans
    });
    requests.flatten().collect()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::ArrayValue(list) => match list.values.first()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn a_span_for_each_request_below_its_chain_below_the_build() {
    let build = Build::new(forbidden());
    let spans = decoded(&spans(&build, &host()));
    let requests: usize = build
        .trace
        .chains
        .iter()
        .flat_map(|chain| &chain.attempts)
        .map(|attempt| attempt.requests.len())
        .sum();
    assert_eq!(spans.len(), 1 + build.trace.chains.len() + requests);
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| &*span.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    for span in &spans {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        let is_root = span.parent_span_id.is_empty();
        assert!(is_root || ids.contains(&*span.parent_span_id));
        let client = span.kind == SpanKind::Client as i32;
        assert_eq!(client, text(&span.attributes, "http.request.method").is_some());
    }
    assert_eq!(spans.iter().filter(|span| span.parent_span_id.is_empty()).count(), 1);
    assert_eq!(spans[0].name, "go mod download");
}

#[test]
fn requests_have_what_the_conventions_want() {
    let mut trace = forbidden();
    let request = &mut trace.chains[0].attempts[0].requests[0];
    request.url = "https://REDACTED@[2001:db8::1]:8443/m/@v/v1.zip?sig=REDACTED".to_owned();
    request.host = "[2001:db8::1]:8443".to_owned();
    let spans = decoded(&super::spans(&Build::new(trace), &host()));
    let clients: Vec<_> =
        spans.iter().filter(|span| span.kind == SpanKind::Client as i32).collect();
    let of = |at: usize, key: &str| text(&clients[at].attributes, key);
    assert_eq!(clients[0].name, "GET");
    assert_eq!(of(0, "server.address").as_deref(), Some("2001:db8::1"));
    assert_eq!(of(0, "server.port").as_deref(), Some("8443"));
    assert!(of(0, "url.full").unwrap().starts_with("https://REDACTED:REDACTED@["));
    assert_eq!(of(0, "network.protocol.version").as_deref(), Some("2"));
    assert_eq!(of(0, "http.response.status_code").as_deref(), Some("302"));
    assert_eq!((of(0, "http.request.resend_count"), of(0, "error.type")), (None, None));
    assert!(of(0, "http.response.header.location").unwrap().starts_with("https://"));
    assert!(clients[0].status.is_none());
    assert_eq!(of(1, "http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(of(1, "error.type").as_deref(), Some("403"));
    assert_eq!(of(1, "server.port").as_deref(), Some("443"));
    assert!(clients[1].status.is_some());
}

#[test]
fn a_tunnel_has_no_url() {
    let mut trace = forbidden();
    let request = &mut trace.chains[0].attempts[0].requests[0];
    request.cause = Cause::ConnectTunnel;
    (request.method, request.url) = ("CONNECT".into(), "proxy.example:443".to_owned());
    let spans = decoded(&super::spans(&Build::new(trace), &host()));
    let tunnel = spans.iter().find(|span| span.name == "CONNECT").unwrap();
    assert_eq!(text(&tunnel.attributes, "url.full"), None);
    assert_eq!(text(&tunnel.attributes, "server.port").as_deref(), Some("443"));
    assert_eq!(text(&tunnel.attributes, "url.template"), None);
}

/// A span must have an end: it is the last of what is known.
#[test]
fn a_build_whose_end_was_not_seen_ends_with_the_last_of_it() {
    let mut trace = forbidden();
    trace.command.duration_ns = None;
    let build = Build::new(trace);
    let spans = decoded(&spans(&build, &host()));
    let last = spans[1..].iter().map(|span| span.end_time_unix_nano).max();
    assert_eq!(Some(spans[0].end_time_unix_nano), last);
    assert!(spans[0].start_time_unix_nano < spans[0].end_time_unix_nano);
    let [builds, ..] = rows::lines(&build, &host());
    let row: serde_json::Value = serde_json::from_slice(&builds.bytes).unwrap();
    assert!(row["duration_ns"].is_null());
}

/// A redirect that go refused is told in spans and in lines alike, and once.
#[test]
fn a_refused_redirect_is_an_error() {
    let mut trace = forbidden();
    let attempt = &mut trace.chains[0].attempts[0];
    attempt.outcome = Outcome::RedirectRefused;
    attempt.requests.truncate(1);
    attempt.requests[0].after_redirect = Some(AfterRedirect::Refused);
    trace.chains.truncate(1);
    let build = Build::new(trace);
    let spans = decoded(&spans(&build, &host()));
    let refused = spans.iter().find(|span| span.kind == SpanKind::Client as i32).unwrap();
    assert_eq!(text(&refused.attributes, "http.response.status_code").as_deref(), Some("302"));
    let reason = text(&refused.attributes, "error.type").unwrap();
    assert!(reason == "redirect_insecure" && refused.status.is_some());
    let [_, chains, _] = rows::lines(&build, &host());
    let row: serde_json::Value = serde_json::from_slice(&chains.bytes).unwrap();
    assert_eq!(row["attempts"][0]["requests"][0]["error_type"], *reason);
}

#[test]
fn messages_one_after_the_other_are_one() {
    let build = Build::new(forbidden());
    let one = spans(&build, &host());
    assert_eq!(one.len(), 1);
    let (bytes, count) = ([&*one[0].bytes, &*one[0].bytes].concat(), 2 * one[0].count);
    assert_eq!(decoded(&[Message { bytes, count }]).len(), 2 * decoded(&one).len());
}

#[test]
fn a_large_build_is_several_messages() {
    let mut trace = forbidden();
    let chain = trace.chains[0].clone();
    trace.chains.extend((100..1_100).map(|id| crate::model::Chain { id, ..chain.clone() }));
    let messages = spans(&Build::new(trace.clone()), &host());
    assert!(messages.len() > 2 && messages.iter().all(|message| message.bytes.len() < 2 << 20));
    assert!(decoded(&messages).len() > trace.chains.len());
}

#[test]
fn findings_are_log_records_of_their_chains() {
    let build = Build::new(forbidden());
    let message = logs(&build, &host(), 1).unwrap();
    let request = ExportLogsServiceRequest::decode(&*message.bytes).unwrap();
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records.len(), build.trace.findings.len());
    let spans = decoded(&spans(&build, &host()));
    assert!(spans.iter().any(|span| span.span_id == records[0].span_id));
    let mut quiet = build;
    quiet.trace.findings.clear();
    assert_eq!(logs(&quiet, &host(), 1), None);
}

/// Behind a collector the same sums of two hosts are two series.
#[test]
fn hosts_are_told_apart() {
    let registry = Registry::new(Limits::default(), 0.0);
    let instance = |host: &Host| {
        let message = metrics(&registry, host, Since { agent: 1, builds: 1, first: 1 }, 2);
        let request = ExportMetricsServiceRequest::decode(&*message.bytes).unwrap();
        let resource = request.resource_metrics[0].resource.clone().unwrap();
        text(&resource.attributes, "service.instance.id").unwrap()
    };
    let named = |name: &str| Host { name: name.to_owned(), ..Host::default() };
    assert_ne!(instance(&named("a")), instance(&named("b")));
    let other = Host { id: Some("j".to_owned()), ..host() };
    assert_ne!(instance(&host()), instance(&other));
    // Copies of an image have one id.
    let copy = Host { name: "h2".to_owned(), ..host() };
    assert_ne!(instance(&host()), instance(&copy));
}

#[test]
fn sums_are_metrics() {
    let mut registry = Registry::new(Limits::default(), 0.0);
    let mut trace = forbidden();
    let request = &mut trace.chains[0].attempts[0].requests[1];
    (request.host, request.status) = ("h:8443".to_owned(), Some(503));
    registry.observe(&Build { share: 0.5, ..Build::new(trace) });
    let message = metrics(&registry, &host(), Since { agent: 1, builds: 1, first: 1 }, 2);
    let request = ExportMetricsServiceRequest::decode(&*message.bytes).unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), registry.families().count());
    let requests =
        metrics.iter().find(|metric| metric.name == "http.client.request.duration").unwrap();
    let Some(Data::Histogram(requests)) = &requests.data else { panic!("{requests:?}") };
    let asked: u64 = requests.data_points.iter().map(|point| point.count).sum();
    assert!(asked > 0);
    for point in &requests.data_points {
        assert!(text(&point.attributes, "server.address").is_some_and(|it| !it.contains(':')));
        assert!(text(&point.attributes, "server.port").is_some());
        let status = text(&point.attributes, "http.response.status_code");
        let is_error = status.as_ref().is_none_or(|status| !matches!(&**status, "200" | "302"));
        assert_eq!(text(&point.attributes, "error.type").is_some(), is_error, "{status:?}");
    }
    let port = |at: &str| {
        let of = |key: &str, point: &HistogramDataPoint| text(&point.attributes, key);
        let point = requests.data_points.iter().find(|it| of("server.address", it).unwrap() == at);
        let point = point.unwrap();
        (of("server.port", point), of("error.type", point))
    };
    assert_eq!(port("h"), (Some("8443".to_owned()), Some("503".to_owned())));
    assert_eq!(port("proxy.example").0.as_deref(), Some("443"));
    let durations =
        metrics.iter().find(|metric| metric.name == "go_mod_fetch_duration_seconds").unwrap();
    let Some(Data::Histogram(durations)) = &durations.data else { panic!("{durations:?}") };
    for point in &durations.data_points {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    }
}
