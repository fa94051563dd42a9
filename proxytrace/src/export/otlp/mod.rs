//! OTLP, the protocol of OpenTelemetry, in protobuf: chains as spans, findings as log records, sums
//! as metrics.
//!
//! Spans follow the semantic conventions for HTTP clients: a span of kind CLIENT for each physical
//! request, below one of kind INTERNAL for the chain that it was made for, below one for the build.
//! Two messages one after the other are one message with the contents of both (protobuf, "merging"):
//! so batches are made.

mod attributes;
mod logs;
mod resource;
mod spans;
mod sums;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use prost::Message as _;

use super::metrics::Registry;
use super::{Build, BuildId, Host};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

/// The conventions that attributes follow.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.37.0";

/// A message, and how many records (spans, log records, data points) are in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// Protobuf.
    pub bytes: Vec<u8>,
    /// How many records.
    pub count: u64,
}

/// So many spans in a message: receivers have limits of some megabytes.
const SPANS: usize = 1_000;

/// `ExportTraceServiceRequest`: the spans of a build, in as many messages as it takes.
pub fn spans(build: &Build, host: &Host) -> Vec<Message> {
    let mut spans = spans::of(build, build.id(host));
    let mut messages = Vec::new();
    while !spans.is_empty() {
        let rest = spans.split_off(spans.len().min(SPANS));
        let count = spans.len() as u64;
        let resource_spans = vec![resource::with_spans(build, host, spans)];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        messages.push(Message { bytes, count });
        spans = rest;
    }
    messages
}

/// `ExportLogsServiceRequest`: the findings of a build; none if there are none.
pub fn logs(build: &Build, host: &Host, now_ns: u64) -> Option<Message> {
    let records = logs::of(build, build.id(host), now_ns);
    if records.is_empty() {
        return None;
    }
    let count = records.len() as u64;
    let resource_logs = vec![resource::with_logs(build, host, records)];
    Some(Message { bytes: ExportLogsServiceRequest { resource_logs }.encode_to_vec(), count })
}

/// When sums began, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    /// The agent did, and with it what it says of itself.
    pub agent: u64,
    /// Those of builds did.
    pub builds: u64,
    /// The first agent did, and with it what each hands on to the next.
    pub first: u64,
}

/// `ExportMetricsServiceRequest`: all sums as of `now_ns`, in nanoseconds since 1970.
pub fn metrics(registry: &Registry, host: &Host, since: Since, now_ns: u64) -> Message {
    let (metrics, count) = sums::of(registry, since, now_ns);
    let resource_metrics = vec![resource::with_metrics(host, metrics)];
    Message { bytes: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(), count }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "proxytrace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// What a span stands for.
#[derive(Clone, Copy)]
enum Of {
    Build,
    Chain(u32),
    Request(u32),
}

/// The id of a span: the same for the same, and never zero.
fn span_id(build: BuildId, of: Of) -> Vec<u8> {
    let (kind, number) = match of {
        Of::Build => (1, 0),
        Of::Chain(id) => (2, id),
        Of::Request(id) => (3, id),
    };
    let id = (build.half() & 0xffff_ff00_0000_0000) | kind << 32 | u64::from(number);
    id.to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests;
