//! The clock is set while the agent runs: for the agent alone, by a library between it and the system.

use std::ffi::OsStr;
use std::fs;

use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use serde_json::Value;

use crate::engines::engines;
use crate::outages::{came, spans_of};
use crate::running::{Agent, RUN, alone, changed, job, lines};
use crate::sink::{Post, Sink};

/// By so many hours the clock is wrong, one after the other.
const HOURS: [i64; 4] = [0, 26, -50, 0];

/// When a sum of metrics began and ended, in nanoseconds since 1970.
fn times(posts: &[Post]) -> Vec<(u64, u64)> {
    let requests = posts.iter().map(|post| ExportMetricsServiceRequest::decode(&*post.body));
    let metrics = requests
        .flat_map(|request| request.unwrap().resource_metrics)
        .flat_map(|resource| resource.scope_metrics)
        .flat_map(|scope| scope.metrics);
    let sums = metrics.filter_map(|metric| match metric.data? {
        Data::Sum(sum) => Some(sum.data_points),
        _ => None,
    });
    sums.flatten().map(|point| (point.start_time_unix_nano, point.time_unix_nano)).collect()
}

#[test]
fn the_clock_is_set_forward_and_back() {
    let Some((_alone, toolchain)) = alone() else { return };
    let Some(engines) = engines() else { return };
    let lab = Lab::start(Scenario::find("healthy-plain").unwrap(), &toolchain).unwrap();
    let sink = Sink::start(|_| 200);
    let dir = tempfile::tempdir().unwrap();
    let (clock, files) = (dir.path().join("clock"), dir.path().join("files"));
    // Written beside it and put in its place: whoever reads it sees the one or the other.
    let set = |hours: i64| {
        fs::write(dir.path().join("new"), format!("{:+}s\n", hours * 3600)).unwrap();
        fs::rename(dir.path().join("new"), &clock).unwrap();
    };
    set(HOURS[0]);
    let library = format!("usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    let environment = [
        ("LD_PRELOAD", engines.join(library).into_os_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.clone().into_os_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_DISABLE_SHM", "1".into()),
    ];
    let environment: Vec<(&str, &OsStr)> =
        environment.iter().map(|(name, value)| (*name, &**value)).collect();
    // An hour is 1.8 s, after which a file is changed.
    let options = ["--sample", "1", "--max-cpu", "100%", "--haste", "2000", "--metrics", "off"];
    let outlets = ["--otlp", &sink.url(), "--ndjson", files.to_str().unwrap()];
    let options = [&options[..], &outlets].concat();
    let agent = Agent::begin_with(&toolchain, &options, &environment);
    agent.watches();

    for (turn, hours) in HOURS.into_iter().enumerate() {
        set(hours);
        let name = format!("clock-{turn}");
        let mut command = lab.command("go");
        command.args(["mod", "download"]).envs(job(&name));
        command.env("GOMODCACHE", lab.dir().join("caches").join(&name));
        let output = lab.output(command).unwrap();
        assert!(output.status.success(), "{output:?}");
        agent.until("seen the build", || agent.builds_of(&name).len() == 1);
        let trace = &agent.builds_of(&name)[0].trace;
        assert!(trace.capture.complete, "{:?}", trace.capture);
        // What took how long is of another clock.
        let took = trace.command.duration_ns.unwrap();
        assert!(took < 60_000_000_000, "{took} ns");
        let began: Timestamp = trace.started_at.parse().unwrap();
        let off = began.duration_since(Timestamp::now()) - SignedDuration::from_hours(hours);
        assert!(off.abs() < SignedDuration::from_mins(2), "{began}, hours: {hours}");
        // Sums are sent by the new clock, too, and none ends before it begins.
        let before = sink.taken("/v1/metrics").len();
        agent.until("sent sums", || sink.taken("/v1/metrics").len() > before + 1);
        // The last one is in the file that grows.
        if turn + 1 < HOURS.len() {
            agent.until("changed its file", || changed(&files).len() > turn);
        }
    }
    for (began, ended) in times(&sink.taken("/v1/metrics")) {
        assert!(0 < began && began <= ended, "{began} to {ended}");
    }
    agent.until("sent all spans", || came(&sink).0 >= spans_of(&agent.builds()));
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    assert_eq!(came(&sink), (spans_of(&builds), spans_of(&builds)));
    // By their names, by which the oldest are removed, files are in order.
    let text = lines(&files);
    assert_eq!(text.lines().count(), builds.len());
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let turn = |row: Value| row["job"][RUN].as_str()?.strip_prefix("clock-")?.parse().ok();
    let turns: Vec<usize> = rows.filter_map(turn).collect();
    assert!(turns.iter().copied().eq(0..HOURS.len()), "{turns:?}");
    let worried = log.iter().find(|line| !line.contains("level=info"));
    assert_eq!(worried, None, "nothing was lost, and no budget exceeded");
}
