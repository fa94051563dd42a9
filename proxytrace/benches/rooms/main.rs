//! How fast each room is, on one core. `cargo bench -p proxytrace`.

mod records;
mod synthetic;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::{fs, io};

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use proxytrace::capture;
use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::event::Event;
use proxytrace::export::metrics::{Limits, Registry};
use proxytrace::export::{Build, Host, otlp, rows};
use proxytrace::gobinary;
use proxytrace::model::Trace;
use proxytrace::recording::{Reader, Writer};
use proxytrace::report::{self, FORMATS, terminal};

/// Events of the synthetic trace.
const EVENTS: usize = 1_000_000;
/// Requests of the trace that formats are timed on, or a few more.
const REQUESTS: usize = 5000;

fn correlated(events: Vec<Event>) -> Trace {
    let mut correlator = Correlator::new(&synthetic::start());
    for event in events {
        correlator.push(event);
    }
    correlator.finish(&synthetic::END)
}

fn diagnosed(mut trace: Trace) -> Trace {
    trace.findings = diagnose(&trace);
    trace
}

fn rooms(criterion: &mut Criterion) {
    let events = synthetic::events(EVENTS);
    let elements = Throughput::Elements(events.len() as u64);

    let mut group = criterion.benchmark_group("trace of 1 M events");
    group.sample_size(10).throughput(elements);
    let records = records::of(&events);
    assert!(records.len() > EVENTS * 9 / 10, "most events come of a record each");
    group.bench_function("decode", |bencher| {
        bencher.iter(|| capture::decode_records(records.iter().map(Vec::as_slice)));
    });
    drop(records);
    // The events are the trace's; letting go of it counts, as that of the others does.
    let correlate = |bencher: &mut Bencher<'_>, then: fn(Trace) -> Trace| {
        let all = || events.clone();
        bencher.iter_batched(all, |events| drop(then(correlated(events))), BatchSize::PerIteration);
    };
    group.bench_function("correlate", |bencher| correlate(bencher, |trace| trace));
    let trace = correlated(events.clone());
    group.bench_function("diagnose", |bencher| bencher.iter(|| diagnose(&trace)));
    group.bench_function("correlate and diagnose", |bencher| correlate(bencher, diagnosed));
    let trace = diagnosed(trace);
    assert_eq!(trace.findings.iter().filter(|finding| finding.code == "PT006").count(), 1);
    let options =
        terminal::Options { color: false, width: Some(100), verbose: false, quiet: false };
    group.bench_function("report to a terminal", |bencher| {
        bencher.iter(|| terminal::render(&trace, &options));
    });
    for format in &FORMATS {
        group.bench_function(format!("report as {}", format.name), |bencher| {
            bencher.iter(|| report::write(format, &trace, io::sink()));
        });
    }
    group.finish();

    let chains = Throughput::Elements(trace.chains.len() as u64);
    let (build, host) = (Build::new(trace), Host::default());
    let mut group = criterion.benchmark_group("chains of 1 M events, for monitoring");
    group.sample_size(10).throughput(chains);
    group.bench_function("count", |bencher| {
        let mut registry = Registry::new(Limits::default(), 0.0);
        bencher.iter(|| registry.observe(&build));
    });
    group.bench_function("spans", |bencher| bencher.iter(|| otlp::spans(&build, &host)));
    group.bench_function("lines", |bencher| bencher.iter(|| rows::lines(&build, &host)));
    group.finish();

    let recording = recording(&events);
    let mut group = criterion.benchmark_group("recording of 1 M events");
    group.sample_size(10).throughput(Throughput::Bytes(recording.len() as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| Reader::new(&*recording).expect("a recording").map(black_box).count());
    });
    group.finish();
}

/// What a long build asks for; each format is to be written in less than a second.
fn formats(criterion: &mut Criterion) {
    let traces = (1..).map(|turn| diagnosed(correlated(synthetic::events(turn * 5000))));
    let requests = |trace: &Trace| {
        let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
        attempts.map(|attempt| attempt.requests.len()).sum::<usize>()
    };
    let trace = traces.into_iter().find(|trace| requests(trace) >= REQUESTS).expect("it grows");
    let mut group = criterion.benchmark_group(format!("formats of {} requests", requests(&trace)));
    group.sample_size(20).throughput(Throughput::Elements(requests(&trace) as u64));
    for format in &FORMATS {
        group.bench_function(format.name, |bencher| {
            bencher.iter(|| report::write(format, &trace, io::sink()));
        });
    }
    for (name, verbose) in [("text", false), ("text -v", true)] {
        let options = terminal::Options { verbose, ..terminal::Options::default() };
        group.bench_function(name, |bencher| bencher.iter(|| terminal::render(&trace, &options)));
    }
    group.finish();
}

fn recording(events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &synthetic::start()).expect("memory takes all");
    for event in events {
        writer.event(event).expect("memory takes all");
    }
    writer.finish(synthetic::END).expect("memory takes all")
}

fn plan(criterion: &mut Criterion) {
    let Some(go) = newest_go() else {
        eprintln!("no plan is measured: there is no Go toolchain; run `cargo xtask test` first");
        return;
    };
    let file = fs::read(&go).expect("a go command");
    criterion.bench_function("plan of a go command", |bencher| {
        bencher.iter(|| gobinary::plan(&file).expect("a plan"));
    });
}

/// The newest release of those that `cargo xtask` has installed: what has a suffix, as `1.27.3-pie`,
/// is built otherwise, or for another machine.
fn newest_go() -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache/proxytrace/go");
    let roots = fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let go = |root: &Path| {
        let paths = [root.join("bin/go"), root.join("go/bin/go")];
        paths.into_iter().find(|path| path.is_file())
    };
    let release = |root: &Path| -> Option<Vec<u32>> {
        let name = root.file_name()?.to_str()?;
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    let all = roots.filter_map(|root| Some((release(&root)?, go(&root)?)));
    all.max().map(|(_, go)| go)
}

criterion_group!(benches, formats, rooms, plan);
criterion_main!(benches);
