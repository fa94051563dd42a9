//! Builds that are large, readers that do not read: what there is no room for is counted, and
//! nobody else waits for it.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::export::Build;
use proxytrace::model::Chain;
use serde_json::Value;

use crate::builds::{self, FAST};
use crate::engines::{curl, wait_for};
use crate::otlp::{spans, to};
use crate::sink::Sink;

/// Marks a process that is a test's own: its stdout is a pipe that nobody reads.
const APART: &str = "MONITORING_APART";

/// A build of so many chains.
fn large(chains: u32) -> Build {
    let golden = builds::all();
    let mut build = golden.into_iter().max_by_key(|build| build.trace.chains.len()).unwrap();
    let some = std::mem::take(&mut build.trace.chains);
    let chain = |id: u32| Chain { id, ..some[id as usize % some.len()].clone() };
    build.trace.chains = (0..chains).map(chain).collect();
    build
}

/// The largest builds are those that one wants to know most of.
#[test]
fn a_large_build_is_sent_whole_without_a_queue_on_disk() {
    const CHAINS: u32 = 3_000;
    let sink = Sink::start(|_| 200);
    let options = Options { clickhouse: Some(sink.url()), ..to(sink.url()) };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    exporters.observe(large(CHAINS));
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert!(deliveries.values().all(|one| one.dropped.all() == 0), "{deliveries:#?}");
    let posts: Vec<_> = sink
        .taken("/?query=INSERT+INTO+chains+")
        .into_iter()
        .map(|post| String::from_utf8(post.body).unwrap())
        .collect();
    // Receivers have limits; and a batch that is new has a name of its own.
    assert!(posts.len() > 1 && posts.iter().all(|post| post.len() < 2 << 20));
    let rows = posts.iter().flat_map(|post| post.lines());
    let chains: Vec<u64> = rows
        .map(|row| serde_json::from_str::<Value>(row).unwrap()["chain"].as_u64().unwrap())
        .collect();
    assert!(chains.into_iter().eq(0..u64::from(CHAINS)), "each once, in their order");
    let spans = spans(&sink.taken("/v1/traces")).len() as u64;
    assert_eq!(spans, deliveries["otlp-spans"].sent);
    assert!(spans > u64::from(CHAINS));
}

/// Run by the test below in a process of its own: its stdout is a pipe that is full.
#[test]
#[ignore = "a half of the test below, which starts it"]
fn nobody_reads_stdout() {
    if env::var_os(APART).is_none() {
        return;
    }
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let options = Options { metrics, ndjson: Some("-".into()), ..Options::default() };
    let pace = Pace { end: Duration::from_secs(1), ..FAST };
    let exporters = Exporters::start_at(&options, pace).unwrap();
    let url = format!("http://{}/metrics", exporters.metrics_address().unwrap());
    let golden = builds::all();
    let mut count = 0;
    while exporters.deliveries().iter().all(|(_, one)| one.dropped.full == 0) {
        for build in &golden {
            exporters.observe(build.clone());
        }
        count += golden.len();
        let counted = || {
            let (_, intake) =
                exporters.deliveries().into_iter().find(|(name, _)| *name == "intake")?;
            (intake.sent == count as u64).then_some(())
        };
        wait_for("all builds", counted);
    }
    let all = format!("proxytrace_builds_observed_total {count}\n");
    wait_for("metrics", || curl(&[&url]).filter(|text| text.contains(&all)));
    let began = Instant::now();
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    let took = began.elapsed();
    let lines = deliveries["ndjson"];
    let of_one = |build: &Build| 1 + build.trace.chains.len() + build.trace.findings.len();
    let handed_over =
        (0..count).map(|number| of_one(&golden[number % golden.len()])).sum::<usize>();
    let known = lines.sent + lines.dropped.all();
    eprintln!("{count} builds; {handed_over} lines, {known} accounted for, {took:?} to end");
    assert!(lines.dropped.ended > 0 && known == handed_over as u64, "{lines:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    eprintln!("ended");
    // The harness has something to say to the same stdout.
    std::process::exit(0);
}

/// Runs a test in a process of its own.
fn apart(test: &str) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(APART, "1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let lines = stderr.lines().map_while(Result::ok);
    std::thread::spawn(move || lines.into_iter().try_for_each(|it| sender.send(it)));
    let mut all = Vec::new();
    while let Ok(line) = said.recv_timeout(Duration::from_mins(1)) {
        all.push(line);
    }
    let said_all = Instant::now();
    let ended = loop {
        match child.try_wait().unwrap() {
            None if said_all.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            ended => break ended,
        }
    };
    let _ = child.kill();
    child.wait().unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{all:#?}");
    assert!(all.iter().any(|line| line == "ended"), "{all:#?}");
}

#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    apart("stalls::nobody_reads_stdout");
}

/// Servers and users fill all the room that there is for series; and nobody reads what was asked for.
#[test]
#[ignore = "a half of the test below, which starts it"]
fn nobody_reads_the_page() {
    if env::var_os(APART).is_none() {
        return;
    }
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let options = Options { metrics, ..Options::default() };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let address = exporters.metrics_address().unwrap();
    let hostile = |number: u16| format!("{number}{}", "\u{1}".repeat(180));
    for number in 0..20 {
        let mut build = large(1);
        let attempt = build.trace.chains[0].attempts[0].clone();
        let attempts = (0..100).map(|status| {
            let mut attempt = attempt.clone();
            attempt.proxy = format!("https://{}", hostile(number));
            for request in &mut attempt.requests {
                (request.host, request.status) = (hostile(number), Some(400 + status));
            }
            attempt
        });
        build.trace.chains[0].attempts = attempts.collect();
        exporters.observe(build);
    }
    let url = format!("http://{address}/metrics");
    let all = "\nproxytrace_builds_observed_total 20\n";
    let page = wait_for("all builds", || curl(&[&url]).filter(|text| text.contains(all))).len();
    assert!(page > 3 << 20, "{page} bytes");
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let mut reader = TcpStream::connect(address).unwrap();
            reader.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            // A page is good for a second: each of them gets another one.
            std::thread::sleep(Duration::from_millis(1_050));
            reader
        })
        .collect();
    let resident = crate::port::resident();
    eprintln!("{page} bytes a page, {} readers, {resident} KiB resident", readers.len());
    assert!(resident < 64 << 10, "{resident} KiB");
    // And others are answered.
    assert!(curl(&[&url]).is_some());
    eprintln!("ended");
    std::process::exit(0);
}

#[test]
fn pages_that_nobody_reads_are_few() {
    apart("stalls::nobody_reads_the_page");
}
