//! What proxytrace says about a run equals what the servers saw of it.

mod check;
mod check_rejects;
mod confusion;
mod processes;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{POSITION_INDEPENDENT, Toolchain};

#[test]
fn trace_equals_log() {
    let Some(proxytrace) = built() else { return };
    cases::for_each(|scenario, toolchain| run_and_check(&proxytrace, scenario, toolchain));
    confusion::write();
}

/// The kernel puts such a `go` elsewhere in memory than its file says. Types tell whether that is
/// reckoned with: those of connections, and of a chain of errors.
#[test]
fn trace_of_a_position_independent_go_equals_log() {
    let Some(proxytrace) = built() else { return };
    let scenarios = ["demo", "redirect-closed-port", "all-direct-fails"]
        .map(|name| Scenario::find(name).expect("a scenario of the lab").clone());
    cases::for_each_of(&scenarios, &POSITION_INDEPENDENT, |scenario, toolchain| {
        run_and_check(&proxytrace, scenario, toolchain)
    });
}

/// The program under test; none, aloud, if it is not built.
fn built() -> Option<PathBuf> {
    let proxytrace = cases::proxytrace();
    if !proxytrace.is_file() {
        let path = proxytrace.display();
        cases::skip(&format!("no {path}: build it, or set PROXYTRACE_BIN"));
        return None;
    }
    Some(proxytrace)
}

fn run_and_check(proxytrace: &PathBuf, scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(scenario, toolchain)?;
    let json = lab.module_dir().join("trace.json");
    let before = [proxytrace.as_os_str(), "--json".as_ref(), json.as_os_str(), "--".as_ref()];
    let command = lab.command_of(scenario, &before);
    let output = lab.output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);

    ensure!(output.status.success() == scenario.succeeds, "{}: {stderr}", output.status);
    ensure!(output.stdout.is_empty() || !scenario.is_plain(), "stdout is not that of go");
    if scenario.is_healthy() && scenario.is_plain() {
        ensure!(stderr.lines().count() == 1, "not a report of one line: {stderr}");
    }
    let json = fs::read(&json).with_context(|| format!("no trace: {stderr}"))?;
    let trace: Trace = serde_json::from_slice(&json).context("the trace is not as in the model")?;
    ensure!(
        trace.command.exit_code == output.status.code(),
        "exit code {:?} in the trace, {} in fact",
        trace.command.exit_code,
        output.status
    );
    let versions = trace.processes.iter().filter_map(|process| process.go_version.as_deref());
    ensure!(versions.clone().any(|version| version == toolchain.version), "not the go we ran");
    confusion::note(scenario, toolchain, &check::found(&trace));
    if !scenario.is_plain() {
        return check::findings(&trace, scenario, toolchain)
            .with_context(|| format!("stderr: {stderr}"));
    }
    check::equals(&trace, &lab.log())
        .and_then(|()| check::walks(&trace, scenario.goproxy))
        .and_then(|()| check::connections(&trace, &lab.connections(), &lab.log(), scenario))
        .and_then(|()| check::lookups(&trace, &lab.queries()))
        .and_then(|()| check::cached(&trace, scenario))
        .and_then(|()| check::findings(&trace, scenario, toolchain))
        .with_context(|| format!("stderr: {stderr}"))
}
