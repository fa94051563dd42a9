//! Findings as log records, each with the span that it is about.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::attributes::{Attributes, text};
use super::spans::nanoseconds;
use super::{Of, span_id};
use crate::export::{Build, BuildId, names};
use crate::model::{Confidence, Finding, Role, Severity};

/// What they are, among all log records.
const EVENT: &str = "proxytrace.finding";

pub(super) fn of(build: &Build, id: BuildId, now_ns: u64) -> Vec<LogRecord> {
    build.trace.findings.iter().map(|finding| record(build, id, finding, now_ns)).collect()
}

fn record(build: &Build, id: BuildId, finding: &Finding, now_ns: u64) -> LogRecord {
    let chain = build.trace.chains.iter().find(|chain| Some(chain.id) == finding.chain);
    let process = chain.map(|chain| chain.process);
    let number = match finding.severity {
        Severity::Note => SeverityNumber::Info,
        Severity::Warning => SeverityNumber::Warn,
        Severity::Error => SeverityNumber::Error,
    };
    let attributes = Attributes::default()
        .text("proxytrace.finding.code", &finding.code)
        .text("proxytrace.finding.slug", &finding.slug)
        .text(
            "proxytrace.finding.role",
            if finding.role == Role::Root { "root" } else { "contributing" },
        )
        .truth("proxytrace.finding.certain", finding.confidence == Confidence::Certain)
        .text("proxytrace.finding.advice", &finding.advice)
        .maybe("go.version", Some(build.go_version(process)).filter(|version| !version.is_empty()))
        .maybe("go.module.path", finding.module.as_deref())
        .maybe("go.module.version", finding.version.as_deref())
        .integer("proxytrace.finding.chains", Some(finding.chains.len()));
    LogRecord {
        time_unix_nano: nanoseconds(build, chain.map_or(0, |chain| chain.started_ns)),
        observed_time_unix_nano: now_ns,
        severity_number: number as i32,
        severity_text: names::severity(finding.severity).to_owned(),
        body: Some(text(&finding.message)),
        attributes: attributes.list(),
        trace_id: id.0.to_vec(),
        span_id: span_id(id, chain.map_or(Of::Build, |chain| Of::Chain(chain.id))),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}
