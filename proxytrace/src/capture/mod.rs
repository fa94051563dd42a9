//! The one room with privileges, `unsafe` and the kernel: runs the command, watches it, and yields
//! events.
//!
//! The order at the start: the command is forked and waits ([`child`]); the programs are loaded
//! ([`program`]) while its executable is read ([`executables`]); its execs are watched ([`gate`]);
//! then it may go. At no point does its life depend on ours.

mod bpf;
mod btf;
mod caller;
mod child;
mod clock;
mod cost;
mod credentials;
mod decode;
mod descriptors;
mod doubts;
mod environment;
mod executables;
mod executed;
mod gate;
pub mod heap;
pub mod host;
mod leave;
mod limit;
#[cfg(feature = "ebpf-log")]
mod log;
mod mapped;
mod mounts;
mod multi;
mod object;
mod perf;
mod pids;
mod plans;
mod program;
mod record;
mod regular;
mod remover;
mod rights;
mod signals;
mod slots;
mod sockets;
mod sudo;
mod surroundings;
mod trial;
mod turn;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

pub use caller::{append_output, environment_of_caller, open_output, remove_output};
pub use cost::{Cost, Probe};
pub(crate) use executables::in_memory;
pub use limit::limit;
pub use trial::{Trial, trials};

use crate::event::{End, Event, Start, What};
use crate::redact;
use caller::Invoker;
use child::{Change, Child};
use clock::monotonic_now;
use decode::Decoder;
use doubts::Doubts;
use executables::{Executables, Identity, Met};
use gate::Gate;
use pids::Pids;
use program::Programs;
use signals::Signals;

/// How often the ring is emptied when nothing is urgent, in milliseconds. Waking up for each event
/// would cost more than all probes together.
const DRAIN_INTERVAL_MS: u16 = 20;

/// Takes what capture says.
pub trait Sink {
    /// The trace begins; the command has not started yet.
    fn start(&mut self, start: &Start) -> anyhow::Result<()>;
    /// Something happened. An error ends the watch, not the command.
    fn event(&mut self, event: Event) -> anyhow::Result<()>;
    /// Where to count what watching takes, if that is wanted; asked before the start and at the end.
    fn cost(&mut self) -> Option<&mut Cost> {
        None
    }
}

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such command.
    #[error("no such command: {0}")]
    NoSuchCommand(String),
    /// The command cannot be executed.
    #[error("cannot execute {0}: {1}")]
    NotExecutable(String, std::io::Error),
    /// This machine, or these privileges, do not allow tracing.
    #[error("{why}")]
    CannotTrace {
        /// What is in the way.
        why: String,
        /// What to do about it.
        advice: Option<&'static str>,
    },
}

/// Decodes records as if the kernel had sent them, and says how many were events: for fuzzing, and for
/// the benchmark.
#[doc(hidden)]
pub fn decode_records<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let (mut decoder, executables) = (Decoder::new(0, Pids::new(true)), Executables::default());
    let (mut events, mut count) = (Vec::new(), 0);
    for record in records {
        let _ = decoder.decode(record, &executables, &mut events);
        count += events.len();
        events.clear();
    }
    count
}

/// Runs a command and watches it to its end.
///
/// The command's standard streams, terminal, process group and exit are its own. An error means
/// that it was not run; where it is the watch that fails, the command runs on to its end without.
pub fn run(argv: &[OsString], sink: &mut dyn Sink) -> anyhow::Result<End> {
    let name = argv.first().context("no command given")?;
    // It may be a whole command, in quotes.
    let shown = redact::argument(&name.to_string_lossy());
    let invoker = Invoker::find();
    let program = invoker.resolve(name).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NoSuchCommand(shown.clone()),
        _ => Error::NotExecutable(shown.clone(), error),
    })?;
    check_privileges()?;
    let namespace = pids::our_namespace()?;

    let mut signals = Signals::take()?;
    // From here to the fork there is one thread.
    let mut child = Child::fork(&program, argv, &invoker, signals.original())?;
    descriptors::make_room();
    let counting = sink.cost().is_some();
    let mut session = match Session::set_up(&child, &program, &invoker, namespace, counting) {
        Ok(session) => session,
        Err(error) => {
            child.abandon();
            return Err(cannot_trace(&error).into());
        }
    };
    let start = Start {
        proxytrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_release(),
        started_at: jiff::Timestamp::now().to_string(),
        argv: redact::arguments(
            &argv.iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        ),
        backend: session.programs.backend().to_owned(),
        wire: session.programs.wire().map(str::to_owned),
    };
    if let Err(error) = sink.start(&start) {
        child.abandon();
        return Err(error);
    }
    child.start().context("the command is gone before it began")?;
    let end = match session.watch(&child, &mut signals, sink) {
        Ok(end) => end,
        Err(error) => session.give_up(&error, &child, &mut signals, sink),
    };
    if let Some(cost) = sink.cost() {
        *cost = Cost { probes: session.programs.hits()?, ..session.cost };
    }
    let Session { programs, gate, .. } = session;
    programs.leave(gate);
    signals.let_us_be_ended();
    match child.failure() {
        Some(error) => Err(Error::NotExecutable(shown, error).into()),
        None => Ok(end),
    }
}

/// Everything that watches one command.
struct Session {
    programs: Programs,
    executables: Executables,
    gate: Option<Gate>,
    decoder: Decoder,
    /// `CLOCK_MONOTONIC` when the trace began.
    origin: u64,
    doubts: Doubts,
    lost: u64,
    /// Records that could not be read, and have not been told of.
    malformed: u64,
    /// Counts; the probes' own are with the programs.
    cost: Cost,
    /// Events of this turn, to be put in order.
    turn: Vec<Event>,
}

impl Session {
    fn set_up(
        child: &Child,
        program: &Path,
        invoker: &Invoker,
        namespace: Option<u32>,
        counting: bool,
    ) -> anyhow::Result<Self> {
        let (programs, prepared) = thread::scope(|scope| {
            let offsets = scope.spawn(btf::kernel_offsets);
            // Where the command is no `go` itself, the `go` that it is likeliest to start.
            let prepared = scope.spawn(|| {
                Executables::prepare(program).or_else(|| {
                    invoker.foresee("go".as_ref()).ok().and_then(|go| Executables::prepare(&go))
                })
            });
            let offsets = || {
                let offsets = offsets.join().map_err(|_| anyhow!("reading the BTF failed"))?;
                Ok(offsets?)
            };
            // While it is read, the executable is as much memory as all the rest.
            let mut plan = None;
            let read = || plan = prepared.join().unwrap_or(None);
            let programs = Programs::load(offsets, read, counting);
            (programs, plan)
        });
        let mut programs = programs?;
        let origin = monotonic_now();
        programs.follow(child.pid().as_raw().cast_unsigned(), namespace)?;
        let gate = child.has_own_mounts().then(|| Gate::new(child.pid().as_raw()));
        let mut session = Self {
            programs,
            executables: Executables::default(),
            // Without one, what comes late is met at its exec, and said to be late.
            gate: gate.and_then(Result::ok),
            decoder: Decoder::new(origin, Pids::new(namespace.is_none())),
            origin,
            doubts: Doubts::default(),
            lost: 0,
            malformed: 0,
            cost: Cost::default(),
            turn: Vec::new(),
        };
        if let Some(prepared) = prepared {
            session.executables.foresee(prepared, &mut session.programs);
        }
        Ok(session)
    }

    /// Watches until the command has ended.
    fn watch(
        &mut self,
        child: &Child,
        signals: &mut Signals,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<End> {
        loop {
            self.wait(signals);
            self.open_gate();
            self.drain(sink)?;
            signals.forward(child);
            let Some(end) = self.ended(child)? else { continue };
            if let Err(error) = self.drain(sink).and_then(|()| self.settle_doubts(sink)) {
                self.end_watch(&error, sink);
            }
            return Ok(end);
        }
    }

    /// The command's end, if it has come to it.
    fn ended(&mut self, child: &Child) -> anyhow::Result<Option<End>> {
        let (exit_code, signal) = match child.poll()? {
            Some(Change::Exited(code)) => (code, None),
            Some(Change::Killed(signal)) => (128 + signal, Some(signal)),
            // Somebody stopped this one process, and may continue it without a word to us.
            Some(Change::Stopped(libc::SIGSTOP)) | None => return Ok(None),
            Some(Change::Stopped(_)) => {
                // Not all that it has started need have stopped, and nobody answers at the gate
                // meanwhile. Where there is none already, nobody will answer later.
                self.open_gate();
                let closed = self.gate.take().map(Gate::close);
                // Whoever waits for us must see that the job has stopped.
                Signals::stop_ourselves();
                self.gate = closed.and_then(|mounts| Gate::again(child.pid().as_raw(), &mounts));
                return Ok(None);
            }
        };
        Ok(Some(End { time: self.now(), exit_code: Some(exit_code), signal }))
    }

    /// The watch has failed: the command goes on to its end without, and we wait for it.
    fn give_up(
        &mut self,
        error: &anyhow::Error,
        child: &Child,
        signals: &mut Signals,
        sink: &mut dyn Sink,
    ) -> End {
        // Whoever is held at the gate may pass, and whoever comes.
        self.gate = None;
        self.end_watch(error, sink);
        loop {
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(DRAIN_INTERVAL_MS));
            signals.forward(child);
            match self.ended(child) {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                // It is not there to be waited for: how it ends is somebody else's to know.
                Err(_) => return End { time: self.now(), exit_code: None, signal: None },
            }
        }
    }

    fn end_watch(&self, error: &anyhow::Error, sink: &mut dyn Sink) {
        let what = What::WatchEnded { reason: format!("{error:#}") };
        // If it was `sink` that failed, it may fail again.
        let _ = sink.event(Event { time: self.now(), pid: 0, goroutine: None, what });
    }

    /// Until there is something to do, or the ring should be looked at.
    fn wait(&self, signals: &Signals) {
        let mut fds = vec![
            PollFd::new(self.programs.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(gate) = &self.gate {
            fds.push(PollFd::new(gate.as_fd(), PollFlags::POLLIN));
        }
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, PollTimeout::from(DRAIN_INTERVAL_MS));
    }

    /// Lets pass whoever waits in `execve`, its executable having got its probes.
    fn open_gate(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        gate.admit(|file| {
            if let Ok(file) = file.try_clone_to_owned() {
                self.admit(&file.into());
            }
        });
        self.gate = Some(gate);
    }

    /// Puts probes into an executable that has none yet, before anyone runs in it.
    fn admit(&mut self, file: &File) {
        if let Some(attach) = self.executables.recall(file) {
            return self.push(0, What::Attach(attach));
        }
        let is_again = self.release_former(file, 0);
        if let Met::New(identity, attach) = self.executables.see(file.as_fd(), &mut self.programs) {
            if is_again {
                self.doubts.renewed(identity, attach.clone(), self.now());
            }
            self.push(0, What::Attach(attach));
        }
    }

    /// Takes the probes out of what this file was, if that had some and the file has changed since.
    /// A change of its metadata is enough, so that it may be run all the while: what others than
    /// `pid` do in it until it has probes again is lost.
    fn release_former(&mut self, file: &File, pid: u32) -> bool {
        let Some(index) = self.executables.written_over(file) else { return false };
        // Who runs.
        self.read_records();
        let is_run = Identity::of(file).is_ok_and(|file| {
            self.decoder.pids.others(pid).any(|process| file.is_run_by(&process))
        });
        if is_run {
            self.push(0, What::Lost { count: 1 });
        }
        self.programs.release_now(index);
        // What is said under its number, before another has that.
        self.read_records();
        true
    }

    /// The same where a process runs in it already, since this time.
    fn meet(&mut self, file: &File, pid: u32, since: u64) {
        // What is yet to be done may take longer than the process.
        self.executables.runs(pid, file);
        if let Some(attach) = self.executables.recall(file) {
            return self.push(0, What::Attach(attach));
        }
        self.release_former(file, pid);
        match self.executables.see(file.as_fd(), &mut self.programs) {
            Met::New(identity, attach) => self.doubts.met(pid, identity, attach, self.now()),
            Met::Before(identity) => self.doubts.runs(pid, identity, since),
            Met::Other => {}
        }
    }

    /// Adds an event of our own.
    fn push(&mut self, pid: u32, what: What) {
        self.turn.push(Event { time: self.now(), pid, goroutine: None, what });
    }

    fn now(&self) -> u64 {
        monotonic_now().saturating_sub(self.origin)
    }

    /// Reads what has come in and hands it on, in time order.
    fn drain(&mut self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        self.cost.turns += 1;
        self.read_records();
        let dropped = self.programs.lost()?;
        let count = dropped - self.lost + std::mem::take(&mut self.malformed);
        self.lost = dropped;
        if count > 0 {
            self.push(0, What::Lost { count });
        }
        put_in_order(&mut self.turn);
        let seen = self.turn.len();
        self.meet_executables();
        if self.turn.len() > seen {
            put_in_order(&mut self.turn);
        }
        self.turn.drain(..).try_for_each(|event| sink.event(event))
    }

    /// Reads what has come in, into this turn's events.
    fn read_records(&mut self) {
        let Self { programs, decoder, executables, turn, malformed, cost, .. } = self;
        let _ = programs.drain(|record| {
            cost.records += 1;
            cost.bytes += record.len() as u64;
            *malformed += u64::from(decoder.decode(record, executables, turn).is_err());
            ControlFlow::Continue(())
        });
    }

    /// Looks at what has been executed past the gate, and at what was in doubt, in the order in
    /// which that happened.
    fn meet_executables(&mut self) {
        let mut seen = 0;
        // To meet one may be to read more records, in which there are others.
        while seen < self.turn.len() {
            let start = seen;
            seen = self.turn.len();
            self.meet_those_from(start);
            put_in_order(&mut self.turn[seen..]);
        }
    }

    /// The same for this turn's events from the one at this place on, which are in order.
    fn meet_those_from(&mut self, start: usize) {
        let mut last = HashMap::new();
        let mut news = Vec::new();
        for Event { pid, time, what, .. } in &self.turn[start..] {
            match what {
                What::Exec { exe, .. } => {
                    last.insert(*pid, news.len());
                    news.push((*pid, *time, exe.clone(), false));
                }
                What::GoStart { exe, .. } => news.push((*pid, *time, exe.clone(), true)),
                _ => {}
            }
        }
        for (place, (pid, time, exe, is_started)) in news.into_iter().enumerate() {
            let attach = if is_started {
                self.doubts.starts(pid, |met| self.executables.are_one(met, &exe))
            } else {
                self.doubts.executes(pid)
            };
            if let Some(attach) = attach {
                self.push(pid, What::Attach(attach));
            }
            if is_started {
                continue;
            }
            let still = last.get(&pid) == Some(&place);
            match self.executed(pid, &exe, still) {
                Ok(file) => {
                    self.meet(&file, pid, time);
                    let process = self.decoder.pids.directory(pid);
                    let is_go = executables::is_go_command;
                    if let Some(go) = executed::interpreted(&process, exe.as_ref(), &file, is_go) {
                        self.meet(&go, pid, time);
                    }
                }
                // A process that has ended since is not found, and has not been missed for long.
                Err(error) => {
                    let path = executed::path_of(&self.decoder.pids.directory(pid), &exe, still);
                    let attach = path.and_then(|path| self.executables.unread(&path, &error));
                    if let Some(attach) = attach {
                        self.push(pid, What::Attach(attach));
                    }
                }
            }
        }
    }

    /// What a process runs in, or if it has become another program since, has run in.
    fn executed(&self, pid: u32, exe: &str, still: bool) -> io::Result<File> {
        let process = self.decoder.pids.directory(pid);
        if still {
            return regular::open(&process.join("exe"));
        }
        executed::open(&process, exe.as_ref())
    }

    /// What is still in doubt at the end was late.
    fn settle_doubts(&mut self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        for (pid, attach) in self.doubts.rest() {
            self.push(pid, What::Attach(attach));
        }
        self.drain(sink)
    }
}

/// Puts events in the order of their times; those of one time stay in that in which they came.
/// Nearly all are in place: a record is out of it by the moment between its time and its way into
/// the ring. A sort would move them all.
fn put_in_order(events: &mut [Event]) {
    for at in 1..events.len() {
        let time = events[at].time;
        if events[at - 1].time > time {
            let before = events[..at].iter().rposition(|event| event.time <= time);
            events[before.map_or(0, |last| last + 1)..=at].rotate_right(1);
        }
    }
}

/// The text of a regular file of reasonable size, such as a go.mod.
pub fn read_file(path: &Path) -> Option<String> {
    regular::read_small_file(path)
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

/// Capabilities (`include/uapi/linux/capability.h`).
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// Refuses early, with what to do, what would fail later with an errno.
fn check_privileges() -> Result<(), Error> {
    let effective = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?.trim();
            u64::from_str_radix(line, 16).ok()
        })
        .unwrap_or(u64::MAX);
    if effective & SYS_ADMIN != 0 || effective & (BPF | PERFMON) == BPF | PERFMON {
        return Ok(());
    }
    Err(Error::CannotTrace {
        why:
            "tracing needs privileges that this user does not have: run it as `sudo proxytrace -- \
              …` (the command itself still runs as you); `proxytrace doctor` says more"
                .to_owned(),
        advice: None,
    })
}

/// The first Linux in which maps count as memory of their control group, not against
/// `RLIMIT_MEMLOCK`.
const UNLOCKED: (u32, u32) = (5, 11);

/// Says what to do about a kernel that does not let us trace.
fn cannot_trace(error: &anyhow::Error) -> Error {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        // What the verifier says to that is long, and beside the point.
        return Error::CannotTrace {
            why:
                "cannot trace on this machine: the kernel is locked down (confidentiality), which \
                  forbids eBPF programs that read memory"
                    .to_owned(),
            advice: Some(
                "boot with lockdown=integrity or without lockdown; `proxytrace doctor` says more",
            ),
        };
    }
    let denied = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.raw_os_error() == Some(libc::EPERM))
    });
    // Whoever may raise it has done so by now.
    let is_limited = || {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK);
        limit.is_ok_and(|(soft, _)| soft != RLIM_INFINITY)
    };
    let advice = if denied && *program::RELEASE < UNLOCKED && is_limited() {
        "before Linux 5.11 its maps are locked memory: `ulimit -l unlimited` as root, or \
         CAP_SYS_RESOURCE; `proxytrace doctor` says more"
    } else if Path::new(btf::KERNEL_BTF).exists() {
        "`proxytrace doctor` tries what it needs, one thing after another, and says what is in the \
         way; in a container, start it with --privileged"
    } else {
        "this kernel does not show its types; it needs CONFIG_DEBUG_INFO_BTF=y, as the kernels of \
         all larger distributions have; `proxytrace doctor` says more"
    };
    Error::CannotTrace {
        why: format!("cannot trace on this machine: {error:#}"),
        advice: Some(advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_stay_as_they_came() {
        let event = |(time, pid)| Event { time, pid, goroutine: None, what: What::WalkEnter };
        let times = [(9, 0), (1, 1), (1, 2), (3, 3), (2, 4), (3, 5), (0, 6), (9, 7), (1, 8)];
        let mut events = times.map(event);
        let mut sorted = events.clone();
        sorted.sort_by_key(|event| event.time);
        put_in_order(&mut events);
        assert_eq!(events, sorted);
        put_in_order(&mut []);
    }
}
