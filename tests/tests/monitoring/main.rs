//! What the agent hands to monitoring, and what real engines make of it: Prometheus, an
//! OpenTelemetry collector, `ClickHouse`, `node_exporter`. They are started and ended here.

mod builds;
mod clickhouse;
mod cluster;
mod collector;
mod dashboard;
mod engines;
mod faults;
mod otlp;
mod port;
mod prometheus;
mod renewal;
mod sink;
mod stalls;
mod storage;
