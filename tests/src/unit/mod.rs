//! The agent from its package under a real systemd, from the installation to the removal: what the
//! unit promises, held to what the kernel, systemd and the servers of the lab say.
//!
//! For a machine of its own: it installs, kills and removes what there is.

mod container;
mod ends;
mod rights;
mod rows;
mod systemd;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use proxytrace::agent::options::STATE;
use proxytrace::agent::state::State;

use crate::toolchain::Toolchain;
use crate::waiting::Waiting;
use rows::{LOGS, Ran, Seen, job};
use systemd::{PATIENCE, Shown, Unit, read, text, until};

const AGENT: Unit = Unit("proxytrace-agent.service");
const PROGRAM: &str = "/usr/bin/proxytrace";
/// What the package has for an administrator to change.
const SETTINGS: &str = "/etc/proxytrace/agent.toml";
/// The kill switch, where these have it.
const SWITCH: &str = "/etc/proxytrace/off";
/// The places of a go command where there is a probe, at least.
const PROBES: usize = 20;

/// Tells how far it is.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        println!("ok unit: {what}, {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

/// Installs the package, has systemd run the agent in every way that there is, and removes it.
pub fn check(package: &Path, toolchain: &Toolchain, backend: &str) -> Result<()> {
    let mut steps = Steps(Instant::now());
    install(package).context("installing")?;
    steps.done("installed, and neither enabled nor started");
    refuses().context("wrong settings")?;
    steps.done("with wrong settings not started anew");
    settings(1.0)?;
    start().context("starting")?;
    steps.done("active once it watches");
    rights::privileges(backend).context("privileges")?;
    steps.done("no more privileges than are needed");
    watches(toolchain, backend).context("watching")?;
    steps.done("builds equal the servers' logs, for Prometheus too");
    container::check(toolchain).context("containers")?;
    steps.done("containers and pods have their names");
    reload().context("reloading")?;
    steps.done("reloaded");
    switch(toolchain).context("the kill switch")?;
    steps.done("off and on by the kill switch");
    rights::resources()?;
    ends::watchdog(toolchain).context("the watchdog")?;
    steps.done("stopped by SIGSTOP, and started anew by the watchdog");
    ends::killed(toolchain).context("killed")?;
    steps.done("killed, and started anew");
    ends::restart(package, toolchain).context("restarting")?;
    steps.done("restarted, by hand and by an upgrade");
    ends::stop(toolchain).context("stopping")?;
    steps.done("stopped");
    ends::remove(package, toolchain).context("removing")?;
    steps.done("removed while it ran, and purged");
    Ok(())
}

fn dpkg(arguments: &[&str], what: impl AsRef<Path>) -> Result<()> {
    let mut dpkg = Command::new("dpkg");
    read(dpkg.args(arguments).arg(what.as_ref()).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

fn install(package: &Path) -> Result<()> {
    dpkg(&["--install"], package)?;
    let (enabled, active) = (AGENT.is("is-enabled")?, AGENT.is("is-active")?);
    ensure!((&*enabled, &*active) == ("disabled", "inactive"), "{enabled}, {active}");
    let never = status()?;
    ensure!(never.0 == Some(1) && never.1.contains("it was never started"), "{never:?}");
    Ok(())
}

/// Changes the settings as an administrator would: this share, no budgets, lines in files.
fn settings(share: f64) -> Result<()> {
    let old = fs::read_to_string(SETTINGS)?;
    let lines = old.lines().filter(|line| !line.starts_with("max-")).map(|line| {
        if line.starts_with("sample = ") {
            format!("sample = {share:.2}")
        } else {
            line.strip_prefix("# ").filter(|line| line.starts_with("ndjson")).unwrap_or(line).into()
        }
    });
    let new = lines.collect::<Vec<String>>().join("\n") + "\n";
    ensure!(new.contains(&format!("\nndjson = \"{LOGS}\"\n")), "{new}");
    Ok(fs::write(SETTINGS, new)?)
}

/// What `agent status` exits with and says.
fn status() -> Result<(Option<i32>, String)> {
    let output = Command::new(PROGRAM).args(["agent", "status"]).output()?;
    Ok((output.status.code(), text(&output.stdout) + &text(&output.stderr)))
}

/// How it does, from now on: it writes that when it has read its settings again.
fn state() -> Result<State> {
    let asked = Timestamp::now();
    AGENT.control(&["reload"])?;
    until("written its state", || {
        Ok(State::read(Path::new(STATE)).ok().filter(|state| state.written_at > asked))
    })
}

/// Whether it runs as it should, as systemd and it itself tell; yields its pid.
fn runs(restarts: u32) -> Result<i32> {
    let shown = AGENT.shown()?;
    let restarts = restarts.to_string();
    shown.ensure(&[
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("Result", "success"),
        ("NRestarts", &restarts),
    ])?;
    let pid = shown.pid()?;
    let (code, said) = status()?;
    ensure!(code == Some(0) && said.contains(&format!("(pid {pid}, version ")), "{code:?} {said}");
    Ok(pid)
}

/// Waits until systemd shows this of it.
fn says(what: &str) -> Result<()> {
    until(&format!("said to systemd: {what}"), || {
        Ok(AGENT.shown()?.get("StatusText").starts_with(what).then_some(()))
    })
}

/// What is wrong with its settings is said once: whoever is started anew would end in the same way.
fn refuses() -> Result<()> {
    let right = fs::read(SETTINGS)?;
    fs::write(SETTINGS, "sample = 7\n")?;
    AGENT.control(&["start", "--no-block"])?;
    let failed = |shown: &Shown| shown.get("ActiveState") == "failed";
    let (shown, _) = AGENT.until("failed", PATIENCE, failed)?;
    shown.ensure(&[("Result", "exit-code"), ("ExecMainStatus", "2"), ("NRestarts", "0")])?;
    let journal = AGENT.journal()?;
    ensure!(journal.contains(&format!("{SETTINGS} is wrong")), "{journal}");
    fs::write(SETTINGS, right)?;
    AGENT.control(&["reset-failed"])
}

fn start() -> Result<()> {
    AGENT.control(&["enable"])?;
    AGENT.control(&["start", "--no-block"])?;
    let mut activating = 0;
    until("active", || {
        let shown = AGENT.shown()?;
        match shown.get("ActiveState") {
            "active" => return Ok(Some(())),
            // Before that it only means to start it.
            "activating" => activating += 1,
            other => ensure!(other == "inactive", "{other}, {}", AGENT.journal()?),
        }
        Ok(None)
    })?;
    // It takes a while to be ready, and is not active until then.
    ensure!(activating > 0, "it was active at once");
    let journal = AGENT.journal()?;
    let watching = journal.lines().find(|line| line.contains("msg=watching"));
    let watching = watching.with_context(|| format!("active, and not watching: {journal}"))?;
    ensure!(!journal.contains("refuses the agent no system calls"), "{journal}");
    for part in ["time=", "level=info", "share=1 ", "toolchains=1 "] {
        ensure!(watching.contains(part), "no {part} in {watching}, {:?}", status()?);
    }
    until("written its state", || Ok(Path::new(STATE).exists().then_some(())))?;
    runs(0)?;
    says("watching 100.000% of builds: ")?;
    ensure!(AGENT.is("is-enabled")? == "enabled", "it is not enabled");
    Ok(())
}

fn watches(toolchain: &Toolchain, backend: &str) -> Result<()> {
    let scenarios = ["healthy-h1", "redirect-403", "not-found-next"];
    let names = scenarios.map(|scenario| format!("unit-{scenario}"));
    let ran =
        scenarios.iter().zip(&names).map(|(scenario, name)| Ran::new(name, scenario, toolchain));
    let ran = ran.collect::<Result<Vec<Ran>>>()?;
    for ran in &ran {
        let seen = ran.is_seen(toolchain)?;
        ensure!((&*seen.build.container, &*seen.build.pod) == ("", ""), "{seen:?}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let count = ran.len() as f64;
    let served = rows::served(ran.iter());
    // What is new is shown as 0 for a while, so that its first increase is one.
    let told = until("told Prometheus of them", || {
        let told = rows::answered()?;
        let all: (u64, u64) = (told.values().sum(), served.values().sum());
        Ok((all.0 >= all.1).then_some(told))
    })?;
    ensure!(told == served, "Prometheus is told {told:?}, and the servers answered {served:?}");
    for (name, expected) in [
        ("proxytrace_builds_observed_total", count),
        ("proxytrace_builds_incomplete_total", 0.0),
        ("proxytrace_events_dropped_total", 0.0),
        ("proxytrace_builds_late_total", 0.0),
        ("proxytrace_builds_missed_total", 0.0),
    ] {
        let value = rows::metric(name)?;
        ensure!((value - expected).abs() < f64::EPSILON, "{name} is {value}, not {expected}");
    }
    let health = state()?.health;
    ensure!(health.lost == 0 && health.late == 0 && health.abandoned == 0, "{health:?}");
    rights::attached(backend)?;
    let waiting = Waiting::start(toolchain, [])?;
    ensure!(waiting.probes()? > PROBES, "{} probes", waiting.probes()?);
    Ok(())
}

fn reload() -> Result<()> {
    let pid = runs(0)?;
    settings(0.25)?;
    let state = self::state()?;
    let (sample, share) = (state.health.wished, state.health.share);
    ensure!((sample, share) == (0.25, 0.25), "{sample}, {share}");
    says("watching 25.000% of builds: ")?;
    for name in ["proxytrace_sample_share", "proxytrace_sample_share_wished"] {
        until("told Prometheus", || {
            let told = rows::metric(name)?;
            Ok(((told - 0.25).abs() < 1e-9).then_some(()))
        })?;
    }
    // A wrong file changes nothing.
    let right = fs::read_to_string(SETTINGS)?;
    fs::write(SETTINGS, format!("sampel = 1\n{right}"))?;
    AGENT.control(&["reload"])?;
    until("refused the file", || {
        Ok(AGENT.journal()?.contains("the settings stay as they were").then_some(()))
    })?;
    let share = self::state()?.health.share;
    ensure!((share - 0.25).abs() < 1e-9, "{share}");
    fs::write(SETTINGS, right)?;
    settings(1.0)?;
    self::state()?;
    says("watching 100.000% of builds: ")?;
    ensure!(runs(0)? == pid, "another process");
    Ok(())
}

fn switch(toolchain: &Toolchain) -> Result<()> {
    let pid = runs(0)?;
    let waiting = Waiting::start(toolchain, job("unit-cut"))?;
    fs::write(SWITCH, "")?;
    until("without probes", || Ok((waiting.probes()? == 0).then_some(())))?;
    until("off", || Ok(status()?.1.contains("the kill switch is on").then_some(())))?;
    let (code, said) = status()?;
    ensure!(code == Some(0), "{said}");
    says("the kill switch is on")?;
    ensure!(!Seen::of("unit-cut")?.build.complete, "what was cut off is taken for all");
    fs::remove_file(SWITCH)?;
    // With the privileges that have remained.
    until("on again", || Ok((waiting.probes()? > PROBES).then_some(())))?;
    until("said so", || Ok((!self::state()?.is_off).then_some(())))?;
    Ran::new("unit-on", "healthy-plain", toolchain)?.is_seen(toolchain)?;
    ensure!(runs(0)? == pid, "another process");
    Ok(())
}
