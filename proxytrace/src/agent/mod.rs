//! The fleet agent: watches a share of the builds of a host, for months, and hands each on when it
//! has ended. It keeps and queries nothing itself.
//!
//! One loop: what comes from the kernel ([`capture::host`](crate::capture::host)) goes into the
//! builds that are running ([`builds`]); the share of them that is chosen follows the budgets
//! ([`share`]).
#![forbid(unsafe_code)]

mod builds;
pub mod exporters;
mod log;
mod machine;
mod manager;
pub mod options;
mod origin;
mod privileges;
mod refused;
mod replace;
mod share;
mod signals;
pub mod state;
mod supervisor;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use serde_json::json;

use crate::capture::heap;
use crate::capture::host::{self, Counts, Host, Predecessor};
use crate::export::{Build, Health};
use crate::report;
use builds::{Bounds, Builds};
use log::Log;
use manager::{forget, keep, notify, notify_reloading};
use options::{Options, Settings};
use refused::Refused;
use share::{Controller, Reason, Used};
use signals::Signals;
use state::State;
use supervisor::{FAILING, Supervisor};

/// How often the ring is looked at while builds are running, if it does not fill sooner.
const DRAIN: Duration = Duration::from_millis(100);
/// How often budgets and the kill switch are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the state is written and health handed on, and how often what no event tells of is
/// looked after: in ticks.
const STATE_TICKS: u64 = 5;
const SWEEP_TICKS: u64 = 60;
/// For tests: another number of ticks between two sweeps, and of builds at a time.
const SWEEP_VAR: &str = "PROXYTRACE_SWEEP_TICKS";
const BUILDS_VAR: &str = "PROXYTRACE_BUILDS_MAX";

/// What `--once` writes: a build a line, with its trace.
const SCHEMA: &str = "proxytrace.build/v1";

/// Watches until it is told to end.
pub fn run(options: &Options, settings: Settings) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    let result = watch(options, settings, &signals);
    // However far it came.
    host::finish();
    result
}

fn watch(options: &Options, settings: Settings, signals: &Signals) -> anyhow::Result<()> {
    let mut agent = Agent::new(options, settings)?;
    let result = agent.live(signals);
    if let Err(error) = &result {
        agent.log().error("the watch has failed", &[("error", &format!("{error:#}"))]);
    }
    agent.end();
    result
}

/// Where builds go.
struct Out {
    once: bool,
    handed_on: u64,
    /// None before the start and after the end.
    exporters: Option<Supervisor>,
}

impl Out {
    fn observe(&mut self, build: Build) -> io::Result<()> {
        self.handed_on += 1;
        if self.once {
            let Build { trace, share, origin } = &build;
            let build = json!({
                "schema": SCHEMA,
                "share": share,
                "container": origin.container,
                "pod": origin.pod,
                "job": origin.job,
                "trace": trace,
            });
            let mut line = Vec::new();
            // Somebody may look at it in a terminal.
            report::json::value(&build, &mut line)?;
            line.push(b'\n');
            io::stdout().write_all(&line)?;
        }
        if let Some(exporters) = &self.exporters {
            exporters.observe(build);
        }
        Ok(())
    }
}

struct Agent<'a> {
    options: &'a Options,
    settings: Settings,
    /// None while the kill switch is on.
    host: Option<Host>,
    builds: Builds,
    controller: Controller,
    out: Out,
    started: Instant,
    started_at: Timestamp,
    /// What hosts have counted that are not watched any more.
    before: Counts,
    /// Losses that the log tells of already.
    told_lost: u64,
    /// When the log told that the state cannot be written.
    told_unwritten: Option<Instant>,
    refused: Refused,
    gap: Gap,
    sweep_ticks: u64,
}

/// What was between this agent and those before it.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    builds: u64,
    time: Duration,
    /// When the first agent began, in nanoseconds since 1970; 0 if there was none.
    since_ns: u64,
}

impl Gap {
    /// What the agent before this one has written, if that can be read, and what was counted since.
    fn after(last: Option<&State>, counted: Option<u64>) -> Self {
        let counted = counted.unwrap_or(0);
        let Some(last) = last else { return Self { builds: counted, ..Self::default() } };
        let Health { unwatched, unwatched_ns, unwatched_since_ns, .. } = last.health;
        Self {
            builds: unwatched.saturating_add(counted),
            time: Duration::from_nanos(unwatched_ns) + last.age().unwrap_or_default(),
            since_ns: match unwatched_since_ns {
                0 => u64::try_from(last.started_at.as_nanosecond()).unwrap_or(0),
                since_ns => since_ns,
            },
        }
    }
}

impl<'a> Agent<'a> {
    fn new(options: &'a Options, settings: Settings) -> anyhow::Result<Self> {
        let before = Predecessor::take();
        heap::share();
        let controller = Controller::new(settings.sample(), settings.budgets());
        let bounds = Bounds::default();
        let bounds = Bounds { builds: of_a_test(BUILDS_VAR).unwrap_or(bounds.builds), ..bounds };
        let mut agent = Self {
            options,
            settings,
            host: None,
            builds: Builds::within(bounds),
            controller,
            out: Out { once: options.once, handed_on: 0, exporters: None },
            started: Instant::now(),
            started_at: Timestamp::now(),
            before: Counts::default(),
            told_lost: 0,
            told_unwritten: None,
            refused: Refused::default(),
            gap: Gap::default(),
            sweep_ticks: of_a_test(SWEEP_VAR).unwrap_or(SWEEP_TICKS),
        };
        if agent.settings.seed.is_none() && machine::id().is_none() {
            let alike = "no machine id: hosts of the same name choose alike; give each a --seed";
            agent.log().warn(alike, &[("name", &machine::name())]);
        }
        if agent.is_switched_off() {
            // What the one before left goes at once, whether or not this agent starts.
            forget();
            agent.log().warn("the kill switch is on: nothing is watched", &[]);
        } else {
            agent.watch(before)?;
        }
        agent.bridge();
        // Before there are other threads. While nothing is watched, nobody knows how probes will be
        // attached.
        let is_administrator = agent.host.as_ref().is_none_or(Host::takes_administrator);
        privileges::drop(is_administrator).context("cannot give up privileges")?;
        if let Err(error) = privileges::refuse() {
            let error = format!("{error:#}");
            agent.log().warn("the kernel refuses the agent no system calls", &[("error", &error)]);
        }
        agent.out.exporters = Some(Supervisor::start(&agent.settings.export, &agent.health()?)?);
        // Where this agent does not start, what the one before left goes on to count for the next.
        keep(agent.host.as_ref());
        Ok(agent)
    }

    fn log(&self) -> Log {
        Log {
            format: self.settings.log_format.unwrap_or_default(),
            level: self.settings.log_level.unwrap_or_default(),
        }
    }

    fn is_switched_off(&self) -> bool {
        self.settings.kill_switch.as_deref().is_some_and(Path::exists)
    }

    fn watch(&mut self, before: Predecessor) -> anyhow::Result<()> {
        let host = Host::watch(self.seed(), self.controller.share(), before)?;
        let Counts { executables, missed, .. } = host.counts()?;
        let fields: log::Fields<'_> = &[
            ("share", &self.controller.share()),
            ("toolchains", &executables),
            ("running_already", &missed),
        ];
        self.log().info("watching", fields);
        self.host = Some(host);
        Ok(())
    }

    /// Counts what was between this agent and the one before.
    fn bridge(&mut self) {
        let last = self.state_file().and_then(|path| State::read(path).ok());
        let counted = self.host.as_ref().and_then(Host::untold);
        self.gap = Gap::after(last.as_ref(), counted);
        let Some(age) = last.as_ref().and_then(State::age) else { return };
        let builds = counted.map_or("not counted".to_owned(), |builds| builds.to_string());
        let seconds = (age.as_secs_f64() * 10.0).round() / 10.0;
        self.log().info(
            "there was no agent for a while",
            &[("seconds", &seconds), ("builds_unwatched", &builds)],
        );
    }

    /// The loop.
    fn live(&mut self, signals: &Signals) -> anyhow::Result<()> {
        notify(&[NotifyState::Ready]);
        let end = self.options.duration.map(|duration| self.started + duration);
        let mut ticks = 0;
        let mut next_tick = self.started;
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(());
            }
            if now >= next_tick {
                self.tick(ticks)?;
                ticks += 1;
                next_tick = now + TICK;
            }
            let next = end.map_or(next_tick, |end| next_tick.min(end));
            let idle = next.saturating_duration_since(Instant::now());
            match &self.host {
                Some(host) if host.running() > 0 => {
                    host.wait(&[signals.as_fd()], idle.min(DRAIN));
                }
                Some(host) => host.wait(&[signals.as_fd()], idle),
                None => signals.wait(idle),
            }
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::SIGHUP => self.reload()?,
                    _ => return Ok(()),
                }
            }
            self.drain()?;
        }
    }

    /// What makes the choice that of this host.
    fn seed(&self) -> u64 {
        self.settings.seed.unwrap_or_else(seed_of_host)
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        if let Some(host) = &mut self.host {
            host.drain(&mut self.builds)?;
            for tree in self.builds.excess(host::now()) {
                host.give_up(tree)?;
            }
        }
        self.hand_on()?;
        self.host.as_mut().map_or(Ok(()), Host::told)
    }

    fn hand_on(&mut self) -> anyhow::Result<()> {
        for build in self.builds.take() {
            self.log().debug(
                "build",
                &[
                    ("command", &build.trace.command.argv.join(" ")),
                    ("chains", &build.trace.chains.len()),
                    ("findings", &build.trace.findings.len()),
                    ("complete", &build.trace.capture.complete),
                ],
            );
            self.out.observe(build).context("cannot write to stdout")?;
        }
        Ok(())
    }

    fn tick(&mut self, ticks: u64) -> anyhow::Result<()> {
        self.obey_kill_switch()?;
        let health = self.health()?;
        self.keep_budgets(&health)?;
        let log = self.log();
        if let Some(host) = &mut self.host {
            self.refused.tell(host.take_refused(), log);
        }
        if health.lost > self.told_lost {
            let count = health.lost - self.told_lost;
            self.log().warn("events were lost", &[("count", &count), ("all", &health.lost)]);
            self.told_lost = health.lost;
        }
        if ticks.is_multiple_of(STATE_TICKS) {
            let state = self.state(&health, false);
            self.write(&state);
            let log = self.log();
            if let Some(exporters) = &mut self.out.exporters {
                exporters.health(health, log);
            }
            notify(&[NotifyState::Status(&state.line())]);
        }
        // Each time: many new executables may make a tick one of many seconds.
        notify(&[NotifyState::Watchdog]);
        if (ticks + 1).is_multiple_of(self.sweep_ticks) {
            if let Some(host) = &mut self.host {
                host.sweep(&mut self.builds)?;
            }
            heap::trim();
        }
        Ok(())
    }

    fn obey_kill_switch(&mut self) -> anyhow::Result<()> {
        let off = self.is_switched_off();
        if off && self.host.is_some() {
            self.leave("the kill switch was turned on")?;
            forget();
            self.log().warn("the kill switch was turned on: nothing is watched", &[]);
        } else if !off && self.host.is_none() {
            self.watch(Predecessor::default())?;
            keep(self.host.as_ref());
        }
        Ok(())
    }

    /// Has the probes taken out, which may take seconds for each toolchain and holds nobody up, and
    /// hands on what was seen.
    fn leave(&mut self, reason: &str) -> anyhow::Result<()> {
        let Some(mut host) = self.host.take() else { return Ok(()) };
        host.retire(&mut self.builds)?;
        self.builds.give_up_all(reason, host::now());
        self.before = sum(self.before, host.counts()?);
        self.hand_on()?;
        host.told()
    }

    fn keep_budgets(&mut self, health: &Health) -> anyhow::Result<()> {
        // What nothing costs says nothing of how much there is room for.
        if self.host.is_none() {
            self.controller.rest();
            return Ok(());
        }
        let used = Used {
            time: self.started.elapsed(),
            cpu: Duration::from_nanos(health.cpu_ns),
            events: health.events,
        };
        let Some(change) = self.controller.observe(used) else { return Ok(()) };
        let cpu = format!("{:.2}%", change.cpu * 100.0);
        let events = format!("{:.0}/s", change.events);
        let fields: log::Fields<'_> =
            &[("from", &change.from), ("to", &change.to), ("cpu", &cpu), ("events", &events)];
        match change.reason {
            Reason::Cpu => self.log().warn("share lowered: too much processor time", fields),
            Reason::Events => self.log().warn("share lowered: too many events", fields),
            Reason::Room => self.log().info("share raised: there is room again", fields),
        }
        let seed = self.seed();
        self.host.as_mut().map_or(Ok(()), |host| host.choose(seed, change.to))
    }

    /// Reads the settings again. A wrong file changes nothing.
    fn reload(&mut self) -> anyhow::Result<()> {
        notify_reloading();
        match self.options.settings() {
            Err(error) => {
                let error = format!("{error:#}");
                self.log().error("the settings stay as they were", &[("error", &error)]);
            }
            Ok(settings) => {
                let is_new = (settings.sample(), settings.budgets())
                    != (self.settings.sample(), self.settings.budgets());
                self.settings = settings;
                if let Some(exporters) = &self.out.exporters {
                    exporters.reload(&self.settings.export, self.log());
                }
                if is_new {
                    self.controller.wish(self.settings.sample(), self.settings.budgets());
                }
                let seed = self.seed();
                if let Some(host) = &mut self.host {
                    host.choose(seed, self.controller.share())?;
                }
                let share = self.controller.share();
                self.log().info("settings read again", &[("share", &share)]);
            }
        }
        // Whoever asks next wants to know of these.
        let state = self.state(&self.health()?, false);
        self.write(&state);
        notify(&[NotifyState::Status(&state.line()), NotifyState::Ready]);
        Ok(())
    }

    fn health(&self) -> anyhow::Result<Health> {
        let now = self.host.as_ref().map_or(Ok(Counts::default()), Host::counts)?;
        let executables = now.executables;
        let counts = sum(self.before, now);
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let (user, system) = (usage.user_time(), usage.system_time());
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        Ok(Health {
            share: if self.host.is_some() { self.controller.share() } else { 0.0 },
            wished: self.settings.sample().get(),
            chosen: counts.chosen,
            passed_over: counts.passed_over,
            running: self.host.as_ref().map_or(0, Host::running) as u64,
            events: counts.events,
            lost: counts.lost,
            executables,
            refused: counts.refused,
            refused_for_room: counts.refused_for_room,
            refused_for_machine: counts.refused_for_machine,
            refused_by_kernel: counts.refused_by_kernel,
            late: counts.late,
            missed: counts.missed,
            abandoned: self.builds.abandoned + counts.unseen,
            unwatched: self.gap.builds,
            unwatched_ns: u64::try_from(self.gap.time.as_nanos()).unwrap_or(u64::MAX),
            unwatched_since_ns: self.gap.since_ns,
            cpu_ns: u64::try_from(micros(user) + micros(system)).unwrap_or(0) * 1_000,
            resident: resident().unwrap_or(0),
        })
    }

    /// How it does.
    fn state(&self, health: &Health, has_ended: bool) -> State {
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            written_at: Timestamp::now(),
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            boot_id: state::boot_id(),
            written_ns: u64::try_from(state::since_boot().as_nanos()).unwrap_or(u64::MAX),
            is_off: self.host.is_none() && !has_ended,
            has_ended,
            handed_on: self.out.handed_on,
            health: health.clone(),
        }
    }

    /// Where it is told how the agent does, if it is.
    fn state_file(&self) -> Option<&Path> {
        let is_wanted = !self.options.once || self.settings.state.is_some();
        is_wanted.then(|| self.settings.state())
    }

    fn write(&mut self, state: &State) {
        let Some(path) = self.state_file() else { return };
        let Err(error) = state.write(path) else { return };
        if self.told_unwritten.is_some_and(|at| at.elapsed() < FAILING) {
            return;
        }
        let (file, error) = (path.display().to_string(), error.to_string());
        let fields: log::Fields<'_> = &[("file", &file), ("error", &error)];
        self.log().warn("the state cannot be written", fields);
        self.told_unwritten = Some(Instant::now());
    }

    fn end(mut self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("taking probes out")]);
        if let Err(error) = self.leave("the agent ended") {
            self.log().error("what was running is lost", &[("error", &format!("{error:#}"))]);
        }
        let health = self.health().ok();
        if let Some(health) = &health {
            let state = self.state(health, true);
            self.write(&state);
        }
        let log = self.log();
        if let Some(mut exporters) = self.out.exporters.take() {
            if let Some(health) = &health {
                exporters.health(health.clone(), log);
            }
            exporters.finish(log);
        }
        let Some(health) = health else { return };
        let Health { chosen, passed_over, lost, late, abandoned, .. } = &health;
        self.log().info(
            "ended",
            &[
                ("chosen", chosen),
                ("passed_over", passed_over),
                ("handed_on", &self.out.handed_on),
                ("lost", lost),
                ("late", late),
                ("abandoned", abandoned),
            ],
        );
    }
}

/// The counts of two hosts.
fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        chosen: a.chosen + b.chosen,
        passed_over: a.passed_over + b.passed_over,
        events: a.events + b.events,
        lost: a.lost + b.lost,
        executables: 0,
        refused: a.refused + b.refused,
        refused_for_room: a.refused_for_room + b.refused_for_room,
        refused_for_machine: a.refused_for_machine + b.refused_for_machine,
        refused_by_kernel: a.refused_by_kernel + b.refused_by_kernel,
        late: a.late + b.late,
        missed: a.missed + b.missed,
        unseen: a.unseen + b.unseen,
    }
}

/// What makes the choice another one on each host.
fn seed_of_host() -> u64 {
    seed_of(machine::id(), &machine::name())
}

/// A hash of a machine id, if there is one, and a name.
fn seed_of(id: Option<&str>, name: &str) -> u64 {
    let text = format!("{}\n{name}", id.unwrap_or_default());
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let bytes = digest.as_ref().first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*bytes)
}

/// What a test has set in place of a number.
fn of_a_test<T: FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Resident memory in bytes.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::state::tests::state;
    use super::{Gap, Health, State, seed_of};

    /// That what the agent before has written is not there does not make it less.
    #[test]
    fn what_was_counted_between_agents_is_told() {
        for (before, counted, builds) in
            [(None, None, 0), (None, Some(3), 3), (Some(2), None, 2), (Some(2), Some(3), 5)]
        {
            let last = before.map(|unwatched| {
                let health = Health { unwatched, ..Health::default() };
                State { health, ..state() }
            });
            let gap = Gap::after(last.as_ref(), counted);
            assert_eq!((gap.builds, gap.since_ns > 0), (builds, last.is_some()), "{gap:?}");
        }
    }

    #[test]
    fn each_host_chooses_for_itself_and_always_alike() {
        let id = Some("0123456789abcdef0123456789abcdef");
        let other = Some("0123456789abcdef0123456789abcdee");
        // As it has always been: another one after an update would choose other builds.
        assert_eq!(seed_of(id, "build-1"), 0x6600_0141_a669_2ac6);
        assert_ne!(seed_of(other, "build-1"), seed_of(id, "build-1"));
        // Copies of an image have one id.
        assert_ne!(seed_of(id, "build-2"), seed_of(id, "build-1"));
        // Without an id the name is all that tells hosts apart.
        assert_ne!(seed_of(None, "build-1"), seed_of(id, "build-1"));
        assert_ne!(seed_of(None, "build-2"), seed_of(None, "build-1"));
        assert_eq!(seed_of(None, "build-1"), seed_of(Some(""), "build-1"));
    }
}
