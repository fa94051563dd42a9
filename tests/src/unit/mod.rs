//! The agent from its package under a real systemd, from the installation to the removal: what the
//! unit promises, held to what the kernel, systemd and the servers of the lab say.
//!
//! For a machine of its own: it installs, kills and removes what there is.

mod container;
mod rows;
mod systemd;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxytrace::agent::options::STATE;
use proxytrace::agent::state::State;

use crate::toolchain::Toolchain;
use crate::waiting::Waiting;
use rows::{LOGS, Ran, Seen, job};
use systemd::{Unit, read, text, until};

const AGENT: Unit = Unit("proxytrace-agent.service");
const PROGRAM: &str = "/usr/bin/proxytrace";
/// What the package has for an administrator to change.
const SETTINGS: &str = "/etc/proxytrace/agent.toml";
/// The kill switch, where these have it.
const SWITCH: &str = "/etc/proxytrace/off";
/// Where it keeps something itself.
const OWN: [&str; 4] = ["/etc/proxytrace", LOGS, "/var/lib/proxytrace", "/run/proxytrace"];

/// The capabilities that remain, by their numbers in `include/uapi/linux/capability.h`:
/// `DAC_READ_SEARCH`, `SYS_PTRACE`, `PERFMON`, `BPF`; and `SYS_ADMIN` where each probe is an event.
const KEPT: [u32; 4] = [2, 19, 38, 39];
const ADMINISTRATOR: u32 = 21;
/// Filtered system calls, in `/proc/PID/status`.
const FILTERED: &str = "2";
/// The places of a go command where there is a probe, at least.
const PROBES: usize = 20;
/// The memory that the unit may have is far above this.
const MEMORY: u64 = 160 << 20;

/// How long what is started anew may take beyond what the unit says, in a machine that is emulated.
const SLACK: Duration = Duration::from_mins(1);

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
    settings(1.0)?;
    start().context("starting")?;
    steps.done("active once it watches");
    privileges(backend).context("privileges")?;
    steps.done("no more privileges than are needed");
    watches(toolchain, backend).context("watching")?;
    steps.done("builds equal the servers' logs, for Prometheus too");
    container::check(toolchain).context("containers")?;
    steps.done("containers and pods have their names");
    reload().context("reloading")?;
    steps.done("reloaded");
    switch(toolchain).context("the kill switch")?;
    steps.done("off and on by the kill switch");
    resources()?;
    watchdog(toolchain).context("the watchdog")?;
    steps.done("stopped by SIGSTOP, and started anew by the watchdog");
    killed(toolchain).context("killed")?;
    steps.done("killed, and started anew");
    restart(package, toolchain).context("restarting")?;
    steps.done("restarted, by hand and by an upgrade");
    stop(toolchain).context("stopping")?;
    steps.done("stopped");
    remove(package, toolchain).context("removing")?;
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
    for part in ["time=", "level=info", "share=1 ", "toolchains=1 "] {
        ensure!(watching.contains(part), "no {part} in {watching}, {:?}", status()?);
    }
    until("written its state", || Ok(Path::new(STATE).exists().then_some(())))?;
    runs(0)?;
    says("watching 100.000% of builds: ")?;
    ensure!(AGENT.is("is-enabled")? == "enabled", "it is not enabled");
    Ok(())
}

/// A field of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Result<String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    Ok(value.with_context(|| format!("no {name} in {status}"))?.to_owned())
}

fn privileges(backend: &str) -> Result<()> {
    let pid = AGENT.shown()?.pid()?;
    let more = (backend == "perf").then_some(ADMINISTRATOR);
    let kept: u64 = KEPT.into_iter().chain(more).map(|bit| 1_u64 << bit).sum();
    let mut tasks = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for (set, expected) in
            [("CapEff", kept), ("CapPrm", kept), ("CapBnd", kept), ("CapInh", 0), ("CapAmb", 0)]
        {
            let found = u64::from_str_radix(&field(&status, set)?, 16)?;
            ensure!(found == expected, "{set} is {found:x} and not {expected:x}");
        }
        ensure!(field(&status, "NoNewPrivs")? == "1", "it may get new privileges");
        ensure!(field(&status, "Seccomp")? == FILTERED, "its system calls are not filtered");
        tasks += 1;
    }
    ensure!(tasks > 0, "it has no thread");
    // It sees the file systems of its unit, and may write to its own directories alone.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let options = |place: &str| {
        // What was mounted last is what is there.
        let mut lines = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find(|words| words[1] == place).map(|words| words[3].to_owned())
    };
    for (place, expected) in [("/", "ro"), (LOGS, "rw"), ("/run/proxytrace", "rw")] {
        let options = options(place).with_context(|| format!("{place} is no mount: {mounts}"))?;
        ensure!(options.split(',').any(|word| word == expected), "{place} is {options}");
    }
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
    attached(backend)?;
    let waiting = Waiting::start(toolchain, [])?;
    ensure!(waiting.probes()? > PROBES, "{} probes", waiting.probes()?);
    Ok(())
}

/// How probes are attached, by the descriptors that hold them.
fn attached(expected: &str) -> Result<()> {
    const EACH: [&str; 2] = ["anon_inode:[perf_event]", "anon_inode:bpf_link"];
    let mut held = 0;
    for descriptor in fs::read_dir(format!("/proc/{}/fd", AGENT.shown()?.pid()?))? {
        let target = fs::read_link(descriptor?.path())?;
        held += usize::from(EACH.iter().any(|kind| target.as_os_str() == *kind));
    }
    // There are a few links beside those of probes.
    let found = if held > 2 * PROBES { "perf" } else { "uprobe-multi" };
    ensure!(found == expected, "attached by {found} and not {expected}: {held} descriptors");
    Ok(())
}

fn reload() -> Result<()> {
    let pid = runs(0)?;
    settings(0.25)?;
    let state = self::state()?;
    let (sample, share) = (state.sample, state.health.share);
    ensure!((sample, share) == (0.25, 0.25), "{sample}, {share}");
    says("watching 25.000% of builds: ")?;
    until("told Prometheus", || {
        let told = rows::metric("proxytrace_sample_share")?;
        Ok(((told - 0.25).abs() < 1e-9).then_some(()))
    })?;
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
    Ran::new("unit-on", "healthy-h1", toolchain)?.is_seen(toolchain)?;
    ensure!(runs(0)? == pid, "another process");
    Ok(())
}

fn resources() -> Result<()> {
    let current = AGENT.number("memory.current").context("memory is not counted")?;
    // Since Linux 5.19.
    let peak = AGENT.number("memory.peak").unwrap_or(current);
    let tasks = AGENT.number("pids.peak").or(AGENT.number("pids.current")).unwrap_or(0);
    let mib = |bytes: u64| bytes >> 20;
    println!("ok unit: {} MiB, at most {} MiB, {tasks} threads", mib(current), mib(peak));
    let events = fs::read_to_string(AGENT.group()?.join("memory.events"))?;
    let killed = events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0");
    ensure!(!killed && current < MEMORY, "{current} bytes: {events}");
    Ok(())
}

/// A time of the unit's, as systemd has it.
fn seconds(property: &str) -> Result<Duration> {
    let shown = AGENT.shown()?;
    let value = shown.get(property);
    let span: jiff::SignedDuration =
        value.parse().with_context(|| format!("{property}={value}"))?;
    Ok(Duration::try_from(span)?)
}

/// Another process runs, and has counted what was running when it began.
fn is_new(restarts: u32, old: i32, missed: u64) -> Result<()> {
    until("said so", || Ok(runs(restarts).ok()))?;
    let pid = runs(restarts)?;
    ensure!(pid != old, "the same process");
    let state = state()?;
    ensure!(i32::try_from(state.pid)? == pid, "another's state");
    ensure!(state.health.missed == missed, "{} that ran before", state.health.missed);
    ensure!(state.health.lost == 0 && state.health.late == 0, "{:?}", state.health);
    Ok(())
}

fn watchdog(toolchain: &Toolchain) -> Result<()> {
    let pid = runs(0)?;
    let limit = seconds("WatchdogUSec")?;
    let waits = seconds("RestartUSec")?;
    let waiting = Waiting::start(toolchain, job("unit-stopped"))?;
    kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    let stopped = Instant::now();
    // Nobody waits for an agent that does not move.
    let lost = Ran::new("unit-unseen", "healthy-h1", toolchain)?;
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
    is_new(1, pid, 1)?;
    ensure!(waiting.probes()? > PROBES, "the new one has no probes");
    ensure!(rows::builds(&lost.run)?.is_empty(), "somebody saw {}", lost.run);
    Ran::new("unit-after-watchdog", "redirect-403", toolchain)?.is_seen(toolchain)?;
    let journal = AGENT.journal()?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    Ok(())
}

fn killed(toolchain: &Toolchain) -> Result<()> {
    let pid = runs(1)?;
    let waits = seconds("RestartUSec")?;
    let waiting = Waiting::start(toolchain, job("unit-killed"))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    until("without probes", || Ok((waiting.probes()? == 0).then_some(())))?;
    let said = status()?;
    ensure!(said.0 == Some(1) && said.1.contains("not running: last heard of"), "{said:?}");
    AGENT.until("started anew", waits + SLACK, |shown| {
        shown.get("ActiveState") == "active" && shown.get("NRestarts") == "2"
    })?;
    is_new(2, pid, 1)?;
    Ran::new("unit-after-kill", "not-found-next", toolchain)?.is_seen(toolchain).map(drop)
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

fn restart(package: &Path, toolchain: &Toolchain) -> Result<()> {
    let waiting = Waiting::start(toolchain, job("unit-restarted"))?;
    let pid = runs(2)?;
    until("met", || Ok((state()?.health.running == 1).then_some(())))?;
    let other = other_machine(toolchain)?;
    AGENT.control(&["restart"])?;
    // Whoever restarts it by hand begins to count anew.
    is_new(0, pid, 1)?;
    // What the old one knew of the build it has handed on.
    ensure!(!Seen::of("unit-restarted")?.build.complete, "what was cut off is taken for all");

    let refused = state()?.health.refused;
    let said = AGENT.journal()?;
    let told = said.contains(&format!("msg=\"a go command gets no probes\" exe={other} "));
    ensure!(refused > 0 && told, "{refused} refused: {said}");

    let (pid, text) = (runs(0)?, fs::read_to_string(SETTINGS)?);
    dpkg(&["--install"], package)?;
    is_new(0, pid, 1)?;
    ensure!(fs::read_to_string(SETTINGS)? == text, "the upgrade has changed the settings");
    ensure!(AGENT.is("is-enabled")? == "enabled", "the upgrade has disabled it");
    drop(waiting);
    Ran::new("unit-after-upgrade", "healthy-h1", toolchain)?.is_seen(toolchain).map(drop)
}

fn stop(toolchain: &Toolchain) -> Result<()> {
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
    let said = status()?;
    ensure!(said.0 == Some(1) && said.1.contains("not running: ended at"), "{said:?}");
    let journal = AGENT.journal()?;
    ensure!(journal.contains("msg=ended chosen="), "{journal}");
    Ok(())
}

fn remove(package: &Path, toolchain: &Toolchain) -> Result<()> {
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
