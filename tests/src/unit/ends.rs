//! How the agent comes to an end, and what begins in its place.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::rows::{self, CACHE, LOGS, Ran, Seen, job};
use super::systemd::{read, until};
use super::{AGENT, PROBES, SETTINGS, dpkg, runs, state, status};
use crate::toolchain::Toolchain;
use crate::waiting::Waiting;

/// Where it keeps something itself.
const OWN: [&str; 5] = ["/etc/proxytrace", LOGS, CACHE, "/var/lib/proxytrace", "/run/proxytrace"];
/// How long what is started anew may take beyond what the unit says, in a machine that is emulated.
const SLACK: Duration = Duration::from_mins(1);

/// A time of the unit's, as systemd has it.
fn seconds(property: &str) -> Result<Duration> {
    let shown = AGENT.shown()?;
    let value = shown.get(property);
    let span: jiff::SignedDuration =
        value.parse().with_context(|| format!("{property}={value}"))?;
    Ok(Duration::try_from(span)?)
}

/// Another process runs, and has counted what was running when it began, and of what those before it
/// were to tell and did not.
fn is_new(restarts: u32, old: i32, (missed, unwatched): (u64, u64)) -> Result<()> {
    until("said so", || Ok(runs(restarts).ok()))?;
    let pid = runs(restarts)?;
    ensure!(pid != old, "the same process");
    let state = state()?;
    ensure!(i32::try_from(state.pid)? == pid, "another's state");
    let counted = (state.health.missed, state.health.unwatched);
    ensure!(counted == (missed, unwatched), "{:?}", state.health);
    ensure!(state.health.unwatched_ns > 0, "{:?}", state.health);
    ensure!(state.health.lost == 0 && state.health.late == 0, "{:?}", state.health);
    Ok(())
}

pub(super) fn watchdog(toolchain: &Toolchain) -> Result<()> {
    let pid = runs(0)?;
    let limit = seconds("WatchdogUSec")?;
    let waits = seconds("RestartUSec")?;
    let waiting = Waiting::start(toolchain, job("unit-stopped"))?;
    kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    let stopped = Instant::now();
    // Nobody waits for an agent that does not move.
    let lost = Ran::new("unit-unseen", "healthy-plain", toolchain)?;
    AGENT.until("noticed", limit + SLACK, |shown| shown.get("MainPID") != pid.to_string())?;
    let noticed = stopped.elapsed();
    until("without probes", || Ok((waiting.probes()? == 0).then_some(())))?;
    let (shown, took) = AGENT.until("started anew", waits + SLACK, |shown| {
        shown.get("ActiveState") == "active" && shown.get("SubState") == "running"
    })?;
    shown.ensure(&[("NRestarts", "1")])?;
    println!(
        "ok unit: noticed after {} s of {}, started anew after {} s of {}",
        noticed.as_secs(),
        limit.as_secs(),
        took.as_secs(),
        waits.as_secs()
    );
    is_new(1, pid, (0, 2))?;
    ensure!(waiting.probes()? > PROBES, "the new one has no probes");
    ensure!(rows::builds(&lost.run)?.is_empty(), "somebody saw {}", lost.run);
    Ran::new("unit-after-watchdog", "healthy-plain", toolchain)?.is_seen(toolchain)?;
    let journal = AGENT.journal()?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    Ok(())
}

pub(super) fn killed(toolchain: &Toolchain) -> Result<()> {
    let pid = runs(1)?;
    let waits = seconds("RestartUSec")?;
    let waiting = Waiting::start(toolchain, job("unit-killed"))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    until("without probes", || Ok((waiting.probes()? == 0).then_some(())))?;
    // There is none now, and somebody counts all the same.
    read(Command::new(toolchain.goroot.join("bin/go")).arg("version"))?;
    let said = status()?;
    ensure!(said.0 == Some(1) && said.1.contains("not running: last heard of"), "{said:?}");
    AGENT.until("started anew", waits + SLACK, |shown| {
        shown.get("ActiveState") == "active" && shown.get("NRestarts") == "2"
    })?;
    is_new(2, pid, (0, 4))?;
    Ran::new("unit-after-kill", "healthy-plain", toolchain)?.is_seen(toolchain).map(drop)
}

/// A go command for another machine, where toolchains usually are; yields its path.
fn other_machine(toolchain: &Toolchain) -> Result<&'static str> {
    const PLACE: &str = "/usr/local/go-arm64/bin/go";
    /// Of `e_machine`, and what it is for arm64 (`include/uapi/linux/elf-em.h`).
    const MACHINE: (usize, u8) = (18, 183);
    let mut go = fs::read(toolchain.goroot.join("bin/go"))?;
    go[MACHINE.0] = MACHINE.1;
    fs::create_dir_all(Path::new(PLACE).parent().context("a directory")?)?;
    fs::write(PLACE, go)?;
    Ok(PLACE)
}

pub(super) fn restart(package: &Path, toolchain: &Toolchain) -> Result<()> {
    let waiting = Waiting::start(toolchain, job("unit-restarted"))?;
    let pid = runs(2)?;
    until("met", || Ok((state()?.health.running == 1).then_some(())))?;
    let other = other_machine(toolchain)?;
    AGENT.control(&["restart"])?;
    // Whoever restarts it by hand begins to count anew.
    is_new(0, pid, (1, 4))?;
    // What the old one knew of the build it has handed on.
    ensure!(!Seen::of("unit-restarted")?.build.complete, "what was cut off is taken for all");

    let refused = state()?.health.refused;
    let said = AGENT.journal()?;
    let told = said.contains(&format!("msg=\"a go command gets no probes\" exe={other} "));
    // Once, though the mounts of the unit are not those of the host.
    ensure!(refused == 1 && told, "{refused} refused: {said}");

    let (pid, text) = (runs(0)?, fs::read_to_string(SETTINGS)?);
    dpkg(&["--install"], package)?;
    is_new(0, pid, (1, 4))?;
    ensure!(fs::read_to_string(SETTINGS)? == text, "the upgrade has changed the settings");
    ensure!(AGENT.is("is-enabled")? == "enabled", "the upgrade has disabled it");
    drop(waiting);
    Ran::new("unit-after-upgrade", "healthy-plain", toolchain)?.is_seen(toolchain).map(drop)
}

pub(super) fn stop(toolchain: &Toolchain) -> Result<()> {
    let waiting = Waiting::start(toolchain, [])?;
    ensure!(waiting.probes()? > PROBES, "{} probes", waiting.probes()?);
    let limit = seconds("TimeoutStopUSec")?;
    let begun = Instant::now();
    AGENT.control(&["stop"])?;
    ensure!(begun.elapsed() < limit / 2, "{:?} of {limit:?}", begun.elapsed());
    AGENT.shown()?.ensure(&[
        ("ActiveState", "inactive"),
        ("Result", "success"),
        ("ExecMainStatus", "0"),
        ("MainPID", "0"),
    ])?;
    ensure!(waiting.probes()? == 0, "{} probes are left", waiting.probes()?);
    // Nor is anything held that counts.
    AGENT.shown()?.ensure(&[("NFileDescriptorStore", "0")])?;
    let said = status()?;
    ensure!(said.0 == Some(1) && said.1.contains("not running: ended at"), "{said:?}");
    let journal = AGENT.journal()?;
    ensure!(journal.contains("msg=ended chosen="), "{journal}");
    Ok(())
}

pub(super) fn remove(package: &Path, toolchain: &Toolchain) -> Result<()> {
    AGENT.control(&["start"])?;
    let waiting = Waiting::start(toolchain, [])?;
    ensure!(waiting.probes()? > PROBES, "{} probes", waiting.probes()?);
    dpkg(&["--remove"], "proxytrace")?;
    ensure!(AGENT.is("is-active")? != "active", "it runs on without its program");
    ensure!(waiting.probes()? == 0, "{} probes are left", waiting.probes()?);
    ensure!(Path::new(SETTINGS).exists(), "the settings are gone without a purge");
    // Whoever installs it again has it as it was.
    dpkg(&["--install"], package)?;
    ensure!(AGENT.is("is-enabled")? == "enabled", "it was enabled before");
    dpkg(&["--purge"], "proxytrace")?;
    let left: Vec<_> = OWN.iter().filter(|path| Path::new(path).exists()).collect();
    ensure!(left.is_empty(), "{left:?} are left");
    let load = AGENT.shown()?;
    load.ensure(&[("LoadState", "not-found")])?;
    let wants = Path::new("/etc/systemd/system/multi-user.target.wants").join(AGENT.0);
    ensure!(wants.symlink_metadata().is_err(), "{} is left", wants.display());
    Ok(())
}
