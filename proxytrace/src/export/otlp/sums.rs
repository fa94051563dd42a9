//! The sums of the registry as metrics, cumulative since the agent started.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of histograms are whole numbers here, and below 2^53"
)]

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric::Data, number_data_point::Value,
};

use super::Since;
use super::attributes::Attributes;
use crate::export::metrics::{self, BUCKETS, Family, HANDED_ON, Kind, Labels, Point, Registry};

/// Metrics, and how many data points are in them.
pub(super) fn of(registry: &Registry, since: Since, now_ns: u64) -> (Vec<Metric>, u64) {
    let mut count = 0;
    let metrics = registry.families().map(|(family, series)| {
        count += series.len() as u64;
        let names = registry.labels(family);
        let points = series.iter().map(|(labels, point)| (attributes(&names, labels), point));
        let started_ns = match family.name {
            name if HANDED_ON.iter().any(|id| id.family().name == name) => since.first,
            _ if registry.is_of_builds(family) => since.builds,
            _ => since.agent,
        };
        metric(family, points, (started_ns, now_ns))
    });
    let metrics = metrics.collect();
    (metrics, count)
}

/// Empty ones are left out; those that the conventions have are called as there.
fn attributes(names: &[&str], labels: &Labels) -> Vec<KeyValue> {
    let pairs = names.iter().zip(labels).filter(|(_, value)| !value.is_empty());
    let all = pairs.fold(Attributes::default(), |all, (name, value)| match *name {
        "server_address" => all.text("server.address", &**value),
        "server_port" => all.integer("server.port", value.parse::<u16>().ok()),
        // A status that is an error is its type, too.
        "http_response_status_code" => match value.parse::<u16>() {
            Ok(status) if status >= 400 => {
                all.integer("http.response.status_code", Some(status)).text("error.type", &**value)
            }
            Ok(status) => all.integer("http.response.status_code", Some(status)),
            // One that stands for several: nobody knows whether it is an error.
            Err(_) => all,
        },
        "error_type" => all.text("error.type", &**value),
        name => all.text(name, &**value),
    });
    let is_http = names.contains(&"server_address");
    let all = if is_http { all.text("http.request.method", "GET") } else { all };
    all.list()
}

/// The name that the conventions have for it, else ours.
fn name(family: &Family) -> &'static str {
    match family.name {
        "http_client_request_duration_seconds" => "http.client.request.duration",
        name => name,
    }
}

fn metric<'a>(
    family: &Family,
    points: impl Iterator<Item = (Vec<KeyValue>, &'a Point)>,
    (started_ns, now_ns): (u64, u64),
) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let mut numbers = Vec::new();
    let mut durations = Vec::new();
    for (attributes, point) in points {
        match point {
            Point::Value(value) => numbers.push(NumberDataPoint {
                attributes,
                start_time_unix_nano: started_ns,
                time_unix_nano: now_ns,
                value: Some(Value::AsDouble(*value)),
                ..NumberDataPoint::default()
            }),
            Point::Histogram(all) => durations.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: started_ns,
                time_unix_nano: now_ns,
                sum: Some(all.sum),
                explicit_bounds: BUCKETS.to_vec(),
                ..counts(all)
            }),
        }
    }
    let data = match family.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers,
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: durations,
            aggregation_temporality: cumulative,
        }),
    };
    // Without a unit where it is a number of things: of "1" Prometheus makes `_ratio` in the name of a
    // gauge.
    let unit = match family.name {
        name if name.contains("_seconds") => "s",
        name if name.contains("_bytes") => "By",
        _ => "",
    };
    Metric {
        name: name(family).to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The protocol has whole numbers; their sum is the count.
fn counts(all: &metrics::Histogram) -> HistogramDataPoint {
    let counts = all.buckets.iter().chain([&all.longer]).map(|count| count.round() as u64);
    let bucket_counts: Vec<u64> = counts.collect();
    let count = bucket_counts.iter().sum();
    HistogramDataPoint { count, bucket_counts, ..HistogramDataPoint::default() }
}
