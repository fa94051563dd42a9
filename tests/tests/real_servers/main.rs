//! Servers as people run them, in front of the lab, beside it and in place of it: what proxytrace
//! says equals their logs, and the root of each failure is shown.

mod children;
mod git;
mod nginx;
mod squid;
mod ssh;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Finding, Request, Role, Severity, Trace, Witnesses};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Host, Scenario};
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};

/// Calls `check` with every toolchain, unless this machine lacks one of the programs.
fn with_each_go(programs: &[&str], check: impl Fn(&Toolchain) -> Result<()>) {
    if !cases::can_start() || cases::built().is_none() {
        return;
    }
    if let Some(missing) = programs.iter().find(|program| !Path::new(program).is_file()) {
        return cases::skip(&format!("no {missing}"));
    }
    for release in VERSIONS {
        match Toolchain::find(release) {
            Ok(toolchain) => check(&toolchain).with_context(|| format!("go {release}")).unwrap(),
            Err(error) => cases::skip(&format!("Go {release}: {error:#}")),
        }
    }
}

/// A scenario whose outcome the test itself checks.
const fn scenario(
    name: &'static str,
    goproxy: &'static str,
    prefix: &'static str,
    hosts: &'static [Host],
) -> Scenario {
    Scenario {
        name,
        about: "",
        modules: Modules { prefix, count: 1, others: &[] },
        goproxy,
        hosts,
        ..Scenario::BASE
    }
}

/// A command and what proxytrace said about it.
struct Traced {
    trace: Trace,
    /// The whole of the file.
    json: String,
}

/// `go mod download` in a lab, with changes to its environment.
fn trace(lab: &Lab, change: impl Fn(&mut Command)) -> Result<Traced> {
    trace_command(lab, &["go", "mod", "download"], change)
}

/// A command in a lab, with changes to its environment.
fn trace_command(lab: &Lab, argv: &[&str], change: impl Fn(&mut Command)) -> Result<Traced> {
    let path = lab.module_dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&path).arg("--").args(argv);
    change(&mut command);
    let output = lab.output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = fs::read_to_string(path).with_context(|| format!("no trace: {stderr}"))?;
    let trace: Trace = serde_json::from_str(&json)?;
    ensure!(trace.capture.complete, "incomplete: {:?}", trace.capture);
    let witnesses = trace.capture.witnesses.context("the sockets were not asked")?;
    let agreed = witnesses.agreed;
    ensure!(witnesses == Witnesses { agreed, ..Witnesses::default() }, "{witnesses:?}");
    Ok(Traced { trace, json })
}

impl Traced {
    fn requests(&self) -> impl Iterator<Item = &Request> {
        let attempts = self.trace.chains.iter().flat_map(|chain| &chain.attempts);
        attempts.flat_map(|attempt| &attempt.requests)
    }

    /// The one root of all that failed; beside it there are the findings of these codes, and no
    /// others.
    fn root(&self, beside: &[&str]) -> Result<&Finding> {
        let (roots, others): (Vec<_>, Vec<_>) =
            self.trace.findings.iter().partition(|finding| finding.role == Role::Root);
        let [root] = *roots else { anyhow::bail!("not one root: {:#?}", self.trace.findings) };
        are_of(&others, beside)?;
        Ok(root)
    }

    /// Whether all went well, with notes of these codes and nothing else found.
    fn is_healthy(&self, notes: &[&str]) -> Result<()> {
        ensure!(self.trace.command.exit_code == Some(0), "failed: {:#?}", self.trace.findings);
        let findings: Vec<_> = self.trace.findings.iter().collect();
        let quiet = findings.iter().all(|finding| finding.severity == Severity::Note);
        ensure!(quiet, "false alarm: {findings:#?}");
        are_of(&findings, notes)
    }
}

/// Whether findings are of these codes, each once. That go ≥ 1.24 asks again after a 4xx is beside the
/// point everywhere.
fn are_of(findings: &[&Finding], codes: &[&str]) -> Result<()> {
    let resent = |code: &&str| *code == "PT002";
    let found = findings.iter().map(|finding| finding.code.as_str());
    let mut found: Vec<&str> = found.filter(|code| !resent(code)).collect();
    found.sort_unstable();
    ensure!(found == codes, "{found:?} found, and not {codes:?}: {findings:#?}");
    Ok(())
}
