//! Can this machine trace, and if not, what is to be done? Everything is found out by trying it,
//! and nothing is changed.
#![forbid(unsafe_code)]

mod host;
mod toolchains;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use self::host::Host;
use crate::capture;
use crate::report::escape::{LONG, NAME, escape};

pub use self::toolchains::Toolchain;

/// The name and version of the document that `--json` writes.
pub const SCHEMA: &str = "proxytrace.doctor/v1";

/// What was found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of proxytrace.
    pub proxytrace: &'static str,
    /// `uname -r`.
    pub kernel: String,
    /// `x86_64`.
    pub machine: &'static str,
    /// Whether there is nothing in the way.
    pub can_trace: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The go commands of this machine.
    pub toolchains: Vec<Toolchain>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// How it is.
    pub state: State,
    /// In words.
    pub detail: String,
    /// What to do.
    pub advice: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Tracing works without it, and less well.
    Lacking,
    /// It is in the way of tracing.
    Missing,
}

impl Check {
    fn new(what: &str, state: State, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state, detail: detail.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Looks at everything.
pub fn examine() -> Report {
    let host = Host::read();
    let toolchains = toolchains::find();
    let known = toolchains.iter().find(|go| go.probes.is_some());
    let go: Option<PathBuf> = known.map(|go| PathBuf::from(&go.path));
    let mut checks = vec![host.privileges()];
    checks.extend(host.locked_memory());
    checks.extend(host.namespace());
    checks.extend(host.lockdown());
    let privileged = checks[0].state != State::Missing;
    for trial in capture::trials(go.as_deref()) {
        let (state, detail) = match trial.result {
            Ok(how) => (State::Ok, how),
            Err(why) if trial.needed => (State::Missing, why),
            Err(why) => (State::Lacking, why),
        };
        let check = Check::new(trial.what, state, detail);
        checks.push(match (state, host.advice(trial.what, privileged)) {
            (State::Ok, _) | (_, None) => check,
            (_, Some(advice)) => check.advise(advice),
        });
    }
    checks.extend(host.container(&checks));
    if known.is_none() {
        let detail = "no go command that can be traced was found";
        let advice = "put one on PATH, or give its path to proxytrace: the list of releases is in \
                      the README";
        checks.push(Check::new("go", State::Lacking, detail).advise(advice));
    }
    Report {
        schema: SCHEMA,
        proxytrace: env!("CARGO_PKG_VERSION"),
        kernel: host.kernel.clone(),
        machine: std::env::consts::ARCH,
        can_trace: checks.iter().all(|check| check.state != State::Missing),
        checks,
        toolchains,
    }
}

/// The report for a person: one screen.
pub fn render(report: &Report) -> String {
    let mut text = format!(
        "proxytrace {} on Linux {} ({})\n",
        report.proxytrace,
        escape(&report.kernel, NAME),
        report.machine
    );
    let width = report.checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
    let mut said: Vec<&str> = Vec::new();
    for check in &report.checks {
        let mark = match check.state {
            State::Ok => "ok     ",
            State::Lacking => "lacking",
            State::Missing => "MISSING",
        };
        let detail = escape(&check.detail, LONG);
        let _ = writeln!(text, "  {mark}  {:width$}  {detail}", check.what);
        // The same advice serves several.
        if let Some(advice) = check.advice.as_deref().filter(|advice| !said.contains(advice)) {
            let _ = writeln!(text, "           {:width$}  = help: {}", "", escape(advice, LONG));
            said.push(advice);
        }
    }
    if !report.toolchains.is_empty() {
        text += "go commands\n";
    }
    for go in &report.toolchains {
        let version = escape(go.version.as_deref().unwrap_or("?"), NAME);
        let mark = if go.probes.is_some() { "ok     " } else { "lacking" };
        let found = match (&go.probes, &go.nearest, &go.problem) {
            (Some(probes), Some(nearest), _) => {
                format!("{probes} probes, with the layout of {nearest}, which fits")
            }
            (Some(probes), ..) => format!("{probes} probes"),
            (None, _, problem) => escape(problem.as_deref().unwrap_or("unknown"), LONG),
        };
        let _ = writeln!(text, "  {mark}  {}  {version}: {found}", escape(&go.path, LONG));
        if !go.missing.is_empty() {
            let missing = escape(&go.missing.join(", "), LONG);
            let _ = writeln!(text, "           no probe in {missing}");
        }
    }
    let verdict = if report.can_trace {
        "this machine can trace"
    } else {
        "this machine cannot trace as it is: see MISSING"
    };
    let _ = writeln!(text, "\nproxytrace: {verdict}");
    text
}
