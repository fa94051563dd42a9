//! Many `go` commands at once, with a collector and a scheduler that never rest: each function that
//! was entered is left, each request is matched, nothing is lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;

use anyhow::{Context as _, Result, ensure};
use proxytrace::event::What;
use proxytrace::model::Trace;
use proxytrace::recording::Reader;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

/// Processes at a time.
const PROCESSES: usize = 80;

/// Starts them all, each with a module cache of its own, and fails if one does.
const SCRIPT: &str = r#"
for i in $(seq "$1"); do GOMODCACHE=$(mktemp -d) go mod download & pids="$pids $!"; done
for pid in $pids; do wait "$pid" || exit 1; done
"#;

#[test]
fn eighty_at_once() -> Result<()> {
    if !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("not-found-next").context("no such scenario")?;
    let lab = Lab::start(scenario, &Toolchain::newest()?)?;
    let (json, recording) = (lab.module_dir().join("json"), lab.module_dir().join("recording"));
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).arg("--record").arg(&recording);
    command.args(["--", "sh", "-c", SCRIPT, "sh", &PROCESSES.to_string()]);
    command.env("GOGC", "1").env("GOMAXPROCS", "8");
    let output = lab.output(command)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    // A silent fall back to perf events would be a defect: this is where it would show.
    ensure!(trace.capture.backend == expected_backend(&trace.kernel)?, "{}", trace.capture.backend);
    ensure!(trace.capture.lost == 0 && trace.capture.complete, "{:?}", trace.capture);
    let commands = trace.processes.iter().filter(|process| process.go_version.is_some()).count();
    assert_eq!(commands, PROCESSES);

    let mut asked: Vec<(String, Option<u16>)> = trace
        .chains
        .iter()
        .flat_map(|chain| &chain.attempts)
        .flat_map(|attempt| &attempt.requests)
        .map(|request| (request.url.clone(), request.status))
        .collect();
    let mut seen: Vec<_> = lab.log().into_iter().map(|entry| (entry.url, entry.status)).collect();
    asked.sort_unstable();
    seen.sort_unstable();
    ensure!(asked == seen, "{} requests in the trace, {} in the log", asked.len(), seen.len());

    let counts = count(&recording)?;
    for (entry, exit) in [
        ("walk-enter", "walk-return"),
        ("send-enter", "send-return"),
        ("request-enter", "request-return"),
    ] {
        let (entries, exits) = (counts.get(entry), counts.get(exit));
        ensure!(entries.is_some() && entries == exits, "{entry}: {entries:?}, {exit}: {exits:?}");
    }
    assert_eq!(counts.get("try"), counts.get("request-enter"), "a request went out twice, or not");
    Ok(())
}

/// What the kernel's release promises: `uprobe_multi` came with Linux 6.6.
fn expected_backend(release: &str) -> Result<&'static str> {
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (major, minor) =
        (numbers.next().context("no release")??, numbers.next().context("no minor")??);
    Ok(if (major, minor) >= (6, 6) { "uprobe-multi" } else { "perf" })
}

/// How many events of each kind a recording has.
fn count(recording: &std::path::Path) -> Result<BTreeMap<&'static str, usize>> {
    let mut counts = BTreeMap::new();
    for event in Reader::new(BufReader::new(fs::File::open(recording)?))? {
        let kind = match event?.what {
            What::WalkEnter => "walk-enter",
            What::WalkReturn { .. } => "walk-return",
            What::SendEnter => "send-enter",
            What::SendReturn { .. } => "send-return",
            What::RequestEnter { .. } => "request-enter",
            What::RequestReturn { .. } => "request-return",
            What::Try { .. } => "try",
            _ => continue,
        };
        *counts.entry(kind).or_default() += 1;
    }
    Ok(counts)
}
