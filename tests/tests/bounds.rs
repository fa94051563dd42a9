//! What is longer than proxytrace reads is cut, and said to be; and what the kernel has to verify is
//! bounded.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Request, Trace};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};
use serde_json::Value;

/// Traces `go mod download`, changed by `change`, where only the second proxy has anything.
fn trace(change: impl FnOnce(&mut Command)) -> Result<Option<Trace>> {
    if !cases::can_start() {
        return Ok(None);
    }
    let scenario = Scenario::find("not-found-next").context("no such scenario")?;
    let lab = Lab::start(scenario, &Toolchain::newest()?)?;
    let json = lab.module_dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).args(["--", "go", "mod", "download"]);
    change(&mut command);
    let output = lab.output(command)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(serde_json::from_slice(&fs::read(&json)?)?))
}

#[test]
fn a_long_url_is_cut_and_named() -> Result<()> {
    let long = format!("https://proxy.lab/{},https://mirror.lab", "x".repeat(6000));
    let Some(trace) = trace(|command| _ = command.env("GOPROXY", long))? else { return Ok(()) };
    let attempts: Vec<_> = trace.chains.iter().flat_map(|chain| &chain.attempts).collect();
    let requests = attempts.iter().flat_map(|attempt| &attempt.requests);
    let (cut, whole): (Vec<&Request>, Vec<&Request>) =
        requests.partition(|request| request.cut.contains(&"url".to_owned()));
    ensure!(!cut.is_empty() && !whole.is_empty(), "{} cut, {} whole", cut.len(), whole.len());
    ensure!(cut.iter().all(|request| request.host == "proxy.lab" && request.url.len() > 4096));
    ensure!(whole.iter().all(|request| request.host == "mirror.lab"));
    ensure!(trace.capture.lost == 0, "a cut is no loss");
    Ok(())
}

#[test]
fn an_environment_that_is_not_read_to_its_end_is_a_loss() -> Result<()> {
    let trace = trace(|command| {
        command.env("A", "x".repeat(90_000)).env("B", "x".repeat(90_000));
    })?;
    let Some(trace) = trace else { return Ok(()) };
    ensure!(trace.capture.lost == 1 && !trace.capture.complete, "{:?}", trace.capture);
    ensure!(trace.findings.iter().any(|finding| finding.code == "PT900"));
    Ok(())
}

/// Instructions that the kernel may walk when it verifies the program on Go's functions, the largest:
/// more than half of the time that starting takes is verification. On Linux 6.18 they are 5,800.
const VERIFIED: u64 = 8_000;

/// What is loaded, as the descriptors of the process that traces say (proc(5), `fdinfo`).
#[test]
fn the_program_is_quickly_verified() -> Result<()> {
    if !cases::can_trace() {
        return Ok(());
    }
    let mut traced = Command::new(cases::proxytrace());
    // The shell's own descriptors come and go.
    traced.args(["-q", "--", "sh", "-c", "cat /proc/$PPID/fdinfo/* 2>/dev/null"]);
    let said = String::from_utf8(traced.output()?.stdout)?;
    let mut sizes = said.lines().filter_map(|line| line.strip_prefix("verified_insns:\t"));
    ensure!(said.contains("prog_tag:"), "no program: {said}");
    let Some(size) = sizes.next() else {
        cases::not_here("this kernel does not say what it verified (Linux 5.16)");
        return Ok(());
    };
    ensure!(size.parse::<u64>()? <= VERIFIED, "{size}");
    Ok(())
}

/// What one request of a download may take: hits of probes, those that are single-stepped, which cost
/// twenty times as much, and bytes of records. Counts repeat where times do not.
struct Most {
    hits: f64,
    stepped: f64,
    bytes: f64,
}

/// By the first release that is so: Go 1.19 has functions that begin and end with what the kernel steps.
const MOST: [(u16, Most); 2] = [
    (19, Most { hits: 10.5, stepped: 3.5, bytes: 850.0 }),
    (21, Most { hits: 10.5, stepped: 0.05, bytes: 850.0 }),
];

#[test]
fn a_request_takes_few_hits_and_bytes() -> Result<()> {
    if !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("bench").context("no such scenario")?;
    for toolchain in cases::toolchains(&VERSIONS) {
        let lab = Lab::start(scenario, &toolchain)?;
        let [counts, trace] = ["counts.json", "trace.json"].map(|name| lab.module_dir().join(name));
        let mut command = lab.command(cases::proxytrace());
        command.arg("--cost").arg(&counts).arg("--json").arg(&trace);
        command.args(["--", "go", "mod", "download"]);
        let output = lab.output(command)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let counts: Value = serde_json::from_slice(&fs::read(counts)?)?;
        let trace: Trace = serde_json::from_slice(&fs::read(trace)?)?;
        let requests = f64::from(u32::try_from(lab.log().len())?);
        let each = |value: &Value| value.as_f64().unwrap_or(f64::NAN) / requests;
        let (mut hits, mut stepped) = (0.0, 0.0);
        for probe in counts["probes"].as_array().context("no probes")? {
            hits += each(&probe["hits"]);
            stepped += if probe["emulated"] == true { 0.0 } else { each(&probe["hits"]) };
        }
        let bytes = each(&counts["bytes"]);
        let version = &toolchain.version;
        eprintln!("{version}: {hits:.2} hits, {stepped:.2} stepped, {bytes:.0} bytes");
        let (_, most) = MOST
            .iter()
            .rfind(|(since, _)| toolchain.minor() >= *since)
            .context("a release without bounds")?;
        ensure!(hits > 5.0 && hits <= most.hits, "{version}: {hits} hits");
        ensure!(stepped <= most.stepped, "{version}: {stepped} stepped hits");
        ensure!(bytes > 100.0 && bytes <= most.bytes, "{version}: {bytes} bytes");
        ensure!(trace.capture.lost == 0 && trace.capture.complete, "{:?}", trace.capture);
    }
    Ok(())
}
