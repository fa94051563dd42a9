//! Where it happened: host, container, pod, CI job.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use ring::digest::{SHA256, digest};

use super::attributes::Attributes;
use super::{CONVENTIONS, scope};
use crate::export::{Build, Host, hex};

pub(super) fn with_spans(build: &Build, host: &Host, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(of_build(build, host)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans,
            schema_url: CONVENTIONS.to_owned(),
        }],
        schema_url: CONVENTIONS.to_owned(),
    }
}

pub(super) fn with_logs(build: &Build, host: &Host, log_records: Vec<LogRecord>) -> ResourceLogs {
    ResourceLogs {
        resource: Some(of_build(build, host)),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope()),
            log_records,
            schema_url: CONVENTIONS.to_owned(),
        }],
        schema_url: CONVENTIONS.to_owned(),
    }
}

pub(super) fn with_metrics(host: &Host, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(Resource { attributes: of_host(host).list(), ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope()),
            metrics,
            schema_url: CONVENTIONS.to_owned(),
        }],
        schema_url: CONVENTIONS.to_owned(),
    }
}

fn of_build(build: &Build, host: &Host) -> Resource {
    let origin = &build.origin;
    let mut attributes = of_host(host)
        .maybe("container.id", origin.container.as_deref())
        .maybe("k8s.pod.uid", origin.pod.as_deref())
        // On every span and record, where counting them needs it.
        .number("proxytrace.sample.share", build.share);
    for (key, value) in &origin.job {
        attributes = attributes.text(key, value);
    }
    Resource { attributes: attributes.list(), ..Resource::default() }
}

fn of_host(host: &Host) -> Attributes {
    let group = Some(host.group.as_str()).filter(|group| !group.is_empty());
    Attributes::default()
        .text("service.name", "proxytrace")
        .text("service.instance.id", instance(host))
        .text("service.version", env!("CARGO_PKG_VERSION"))
        .text("host.name", &host.name)
        .maybe("host.id", host.id.as_deref())
        .text("host.arch", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" })
        .text("os.type", "linux")
        .maybe("proxytrace.host.group", group)
}

/// Of its own on each host: else sums of all hosts are one series behind a collector. Copies of an
/// image have one id, and names of their own.
fn instance(host: &Host) -> String {
    let Some(id) = &host.id else { return host.name.clone() };
    let sum = digest(&SHA256, format!("{id}\0{}", host.name).as_bytes());
    hex(&sum.as_ref()[..16])
}
