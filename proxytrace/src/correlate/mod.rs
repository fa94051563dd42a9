//! From events to the trace: processes, chains, attempts, requests, connections.
//!
//! What holds a trace together is the call structure of the go command (see [`goroutines`]); what a
//! request is about is read from its URL (see [`target`]). Three rules for what is not plain:
//!
//! - A process that walks the list for the same artifact again appends the attempts of the second
//!   walk to the same chain; a walk ends at an attempt whose `next` is `stop` or null.
//! - `direct` reached after proxies is an attempt without requests, with the outcome of what
//!   `direct` did; what it asked over HTTP is a chain of the artifact `go-get`. The requests to a
//!   proxy that a `mod` go-import names do belong to the attempt `direct`. Of several modules that a
//!   query tries at once, go has what it goes on to read; of the others the outcome is `unknown`.
//! - The checksum database is asked at one place, not by a walk: the attempt of a `sumdb-lookup` or
//!   a tile is the GOPROXY entry that said it supports the database, or `direct`, which has an index
//!   only if it is in the list. `sumdb-supported` is not found where no entry supports it.
//! - Contents that came but could not be verified fail their attempt with `checksum`; the request
//!   keeps its `ok`, except where another checksum is known to be the right one.
//! - What was in the module cache is a `cached` chain without attempts: `info`, `mod` and `zip`, on a
//!   complete capture alone. Lists are not kept there; what is kept of the checksum database goes
//!   unmentioned.
//! - A request that fits no protocol of go's is a chain of the artifact `vcs`: nothing else in the
//!   go command uses HTTP. So is a HEAD, which is of no module and no walk: `GOAUTH=git` makes it.
//!   go's telemetry child is left out.
//! - What another program asked over plain HTTP (see [`wire`]) is in the attempt for which go ran
//!   it, or else in a chain `vcs` of the process, without a module.
//!
//! Nothing panics on nonsense: a return without its enter is ignored, an enter without its return
//! leaves `unfinished`, a pid that nothing is known of is a process without a name.
#![forbid(unsafe_code)]

mod cache;
mod chains;
mod connection;
mod context;
mod dial;
pub(crate) mod failure;
mod fetch;
mod goroutines;
mod process;
pub(crate) mod story;
pub(crate) mod target;
mod vcs;
mod walk;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use foldhash::HashMap;

use crate::event::{End, Event, Start, What};
use crate::model::{
    Capture, Chain, Command, NetrcLine, Outcome, ProcessId, Requirement, SCHEMA, Trace,
};

use self::chains::{At, Chains};
use self::connection::Connections;
use self::context::Context;
use self::dial::Dials;
use self::goroutines::Goroutines;
use self::process::Processes;
use self::wire::Wire;

/// Builds a [`Trace`] from events in time order. Constant work per event.
#[derive(Debug)]
pub struct Correlator {
    start: Start,
    processes: Processes,
    goroutines: Goroutines,
    chains: Chains,
    connections: Connections,
    /// Version control tools that are running, and what they fetch.
    commands: HashMap<ProcessId, At>,
    /// The pid of the last program that a goroutine ran.
    ran: HashMap<(ProcessId, u64), u32>,
    /// Children whose start was reported before their exec, by pid.
    spawned: HashMap<u32, Event>,
    dials: Dials,
    wire: Wire,
    /// Where modules were asked for.
    requirements: Vec<Requirement>,
    /// Lines of netrc files that were passed over.
    netrc: Vec<NetrcLine>,
    capture: Capture,
}

impl Correlator {
    /// Begins a trace.
    pub fn new(start: &Start) -> Self {
        Self {
            start: start.clone(),
            processes: Processes::default(),
            goroutines: Goroutines::default(),
            chains: Chains::default(),
            connections: Connections::default(),
            commands: HashMap::default(),
            ran: HashMap::default(),
            spawned: HashMap::default(),
            dials: Dials::default(),
            requirements: Vec::new(),
            netrc: Vec::new(),
            wire: Wire::default(),
            capture: Capture {
                backend: start.backend.clone(),
                wire: start.wire.clone(),
                ..Capture::default()
            },
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: Event) {
        match event.what {
            // Nothing that happened: found when all had.
            What::Requirement(requirement) => return self.requirements.push(requirement),
            What::Netrc(line) => return self.netrc.push(line),
            _ => {}
        }
        self.capture.events += 1;
        match &event.what {
            What::Fork { child } => self.processes.fork(event.pid, *child),
            What::Exec { exe, argv } => {
                let before = self.processes.current(event.pid);
                self.processes.become_image(&event, exe, argv);
                if let Some(before) = before {
                    self.forget(before);
                }
                if let Some(spawn) = self.spawned.remove(&event.pid) {
                    self.spawn(&spawn, event.pid);
                }
            }
            What::Exit { code, signal } => {
                self.spawned.remove(&event.pid);
                if let Some(ended) = self.processes.exit(&event, *code, *signal) {
                    self.forget(ended);
                    self.end_command(ended, *code);
                    if self.is_go(ended) {
                        self.chains.end_process(ended);
                    }
                }
            }
            What::GoStart { go_version, exe, argv, config, surroundings } => {
                let id = self.processes.go_start(&event, go_version, exe, argv, config);
                self.processes.surround(id, surroundings);
            }
            What::Tcp { socket, local, remote, state } => {
                // Sockets outlive their process by a moment, and then are nobody's.
                let known = self.connections.owner(*socket);
                let ours = || self.processes.knows(event.pid).then(|| self.processes.of(&event));
                if let Some(process) = known.or_else(ours) {
                    let (socket, ends) = ((*socket, *state), (*local, *remote));
                    self.connections.tcp(event.time, process, socket, ends);
                }
            }
            What::Stderr { text } => {
                let process = self.processes.of(&event);
                self.processes.wrote(process, text);
                if event.goroutine.is_some() {
                    self.push_go(event);
                }
            }
            What::CommandEnded { stderr } => {
                let process = self.processes.of(&event);
                let key = event.goroutine.map(|goroutine| (process, goroutine.id));
                let pid = key.and_then(|key| self.ran.get(&key).copied());
                if let Some(child) = pid.and_then(|pid| self.processes.child(process, pid)) {
                    self.processes.wrote(child, stderr);
                }
            }
            What::Attach(attach) => self.capture.attach.push(attach.clone()),
            What::Lost { count } => self.capture.lost = self.capture.lost.saturating_add(*count),
            What::WatchEnded { reason } => self.capture.watch_ended = Some(reason.clone()),
            // The exec that it announces says it all.
            What::Toolchain { .. } => {}
            What::Spawn { child } => self.spawn(&event, *child),
            What::WireRequest { .. } | What::WireResponse { .. } | What::WireLost { .. } => {
                let process = self.processes.of(&event);
                self.wire.push(&event.what, event.time, process, &self.connections);
            }
            What::Resolve { .. }
            | What::Resolved { .. }
            | What::Query { .. }
            | What::Exchange { .. }
            | What::Dial { .. }
            | What::TlsEnter { .. }
            | What::CertificateWanted
            | What::TlsState { .. }
            | What::TlsReturn { .. } => {
                let process = self.processes.of(&event);
                if !self.processes.get(process).telemetry {
                    self.dials.push(&event, process, &mut self.connections);
                }
            }
            _ => self.push_go(event),
        }
    }

    /// Whether a `go` command was seen to start there.
    fn is_go(&self, process: ProcessId) -> bool {
        self.processes.get(process).process.go_version.is_some()
    }

    /// A process ended, or became another image.
    fn forget(&mut self, process: ProcessId) {
        self.goroutines.forget(process);
        // These are gone through from end to end, and a build runs thousands of programs that have
        // nothing in them. What is of a `go` whose start was missed stays: no other has its number.
        if self.is_go(process) {
            self.ran.retain(|(owner, _), _| *owner != process);
            self.dials.forget(process);
            self.connections.forget(process);
        }
    }

    /// A goroutine started another program. `os.StartProcess` returns when the exec has closed what
    /// is to be closed, which can be before the exec is reported.
    fn spawn(&mut self, event: &Event, pid: u32) {
        let process = self.processes.of(event);
        if let Some(goroutine) = event.goroutine {
            self.ran.insert((process, goroutine.id), pid);
        }
        if self.processes.is_waiting(pid, process) {
            self.spawned.insert(pid, event.clone());
            return;
        }
        let Some(child) = self.processes.child(process, pid) else { return };
        let image = self.processes.get(process);
        if image.telemetry || !vcs::asks_a_server(&self.processes.get(child).process.argv) {
            return;
        }
        let mut context = Context {
            process,
            list: &image.list,
            chains: &mut self.chains,
            connections: &mut self.connections,
            wire: &mut self.wire,
        };
        if let Some(at) = self.goroutines.command(event, child, &mut context) {
            self.wire.command(child, at);
            let ended = &self.processes.get(child).process;
            if ended.ended_ns.is_some() {
                let outcome = self.outcome_of_command(child, ended.exit_code);
                self.chains.command_came_to(at, outcome);
            } else {
                self.commands.insert(child, at);
            }
        }
    }

    /// A version control tool ended: what it fetched is there, or is not.
    fn end_command(&mut self, process: ProcessId, code: Option<i32>) {
        if let Some(at) = self.commands.remove(&process) {
            let outcome = self.outcome_of_command(process, code);
            self.chains.command_came_to(at, outcome);
        }
    }

    /// Why a version control tool failed is known where a connection of it, or of the programs
    /// that it ran, did.
    fn outcome_of_command(&self, process: ProcessId, code: Option<i32>) -> Outcome {
        if code == Some(0) {
            return Outcome::Ok;
        }
        let errno = self.connections.last_errno(|owner| self.processes.descends(owner, process));
        errno.map_or(Outcome::Unknown, failure::of_errno)
    }

    /// Something happened inside of Go.
    fn push_go(&mut self, event: Event) {
        let process = self.processes.of(&event);
        let image = self.processes.get(process);
        if image.telemetry {
            return;
        }
        match &event.what {
            What::InfoRead { file } => {
                if let Some(had) = cache::of_file(file) {
                    self.chains.had(process, &had, event.time);
                }
            }
            What::SumEnter { module, version } => {
                self.chains.had(process, &cache::of_sum(module, version), event.time);
            }
            _ => {}
        }
        let mut context = Context {
            process,
            list: &image.list,
            chains: &mut self.chains,
            connections: &mut self.connections,
            wire: &mut self.wire,
        };
        self.goroutines.push(event, &mut context);
    }

    /// Chains that have ended since the last call, for who wants them before the trace ends. One
    /// that comes again replaces what it was: go can take a chain up once more. What was in the
    /// module cache is known at the end alone.
    pub fn take_ended(&mut self) -> Vec<Chain> {
        self.chains.take_ended(&self.processes)
    }

    /// Ends the trace: none is an end that nobody saw. Its findings are for [`crate::diagnose`].
    pub fn finish<'a>(self, end: impl Into<Option<&'a End>>) -> Trace {
        let end = end.into();
        let Self {
            start,
            processes,
            mut chains,
            mut connections,
            dials,
            wire,
            requirements,
            netrc,
            mut capture,
            ..
        } = self;
        let witnesses = wire.finish(&processes, &mut chains, &mut connections);
        capture.witnesses = capture.wire.is_some().then_some(witnesses);
        capture.complete = capture.lost == 0
            && witnesses.disagreed == 0
            && capture.watch_ended.is_none()
            && capture
                .attach
                .iter()
                .all(|exe| exe.missing.is_empty() && !exe.hooks.is_empty() && !exe.late);
        Trace {
            schema: SCHEMA.to_owned(),
            proxytrace: start.proxytrace,
            kernel: start.kernel,
            started_at: start.started_at,
            command: Command {
                argv: start.argv,
                exit_code: end.and_then(|end| end.exit_code),
                signal: end.and_then(|end| end.signal),
                duration_ns: end.map(|end| end.time),
            },
            chains: chains.into_model(&processes, capture.complete),
            processes: processes.into_model(),
            connections: connections.into_model(),
            lookups: dials.into_model(),
            requirements,
            netrc,
            findings: Vec::new(),
            capture,
        }
    }
}
