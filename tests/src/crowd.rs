//! Many `go` commands at once, with a collector and a scheduler that never rest: each function that
//! was entered is left, each request is matched, nothing is lost.
//!
//! Where goroutines are preempted often, as under emulation, this is what shows that a function
//! which begins again, because it was preempted or its stack had to grow, is not taken for a second
//! call.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use proxytrace::event::What;
use proxytrace::model::Trace;
use proxytrace::recording::Reader;

use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::toolchain::Toolchain;

/// Starts them all, each with a module cache of its own beside the module, which goes with the lab,
/// and fails if one does.
const SCRIPT: &str = r#"
for i in $(seq "$1"); do GOMODCACHE=$(mktemp -d -p "$PWD") go mod download & pids="$pids $!"; done
for pid in $pids; do wait "$pid" || exit 1; done
"#;

/// Runs so many under proxytrace and compares.
pub fn download(proxytrace: &Path, toolchain: &Toolchain, processes: usize) -> Result<Trace> {
    let scenario = Scenario::find("not-found-next").context("no such scenario")?;
    let lab = Lab::start(scenario, toolchain)?;
    let (json, recording) = (lab.module_dir().join("json"), lab.module_dir().join("recording"));
    let mut command = lab.command(proxytrace);
    command.arg("--json").arg(&json).arg("--record").arg(&recording);
    command.args(["--", "sh", "-c", SCRIPT, "sh", &processes.to_string()]);
    command.env("GOGC", "1").env("GOMAXPROCS", "8");
    let output = lab.output(command)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    ensure!(trace.capture.lost == 0 && trace.capture.complete, "{:?}", trace.capture);
    let commands = trace.processes.iter().filter(|process| process.go_version.is_some()).count();
    ensure!(commands == processes, "{commands} processes of {processes}");

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
    for (entry, exit) in [("walk-enter", "walk-return"), ("request-enter", "request-return")] {
        let (entries, exits) = (counts.get(entry), counts.get(exit));
        ensure!(entries.is_some() && entries == exits, "{entry}: {entries:?}, {exit}: {exits:?}");
    }
    let (tries, requests) = (counts.get("try"), counts.get("request-enter"));
    ensure!(tries == requests, "{tries:?} of {requests:?} requests went out");
    ensure!(requests == Some(&seen.len()), "{requests:?} calls, {} requests", seen.len());
    Ok(trace)
}

/// How many events of each kind a recording has.
fn count(recording: &Path) -> Result<BTreeMap<&'static str, usize>> {
    let mut counts = BTreeMap::new();
    for event in Reader::new(BufReader::new(fs::File::open(recording)?))? {
        let kind = match event?.what {
            What::WalkEnter => "walk-enter",
            What::WalkReturn { .. } => "walk-return",
            What::RequestEnter { .. } => "request-enter",
            What::RequestReturn { .. } => "request-return",
            What::Try { .. } => "try",
            _ => continue,
        };
        *counts.entry(kind).or_default() += 1;
    }
    Ok(counts)
}
