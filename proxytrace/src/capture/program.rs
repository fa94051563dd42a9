//! The eBPF side, loaded: programs, maps, and the probes put into executables.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use aya::include_bytes_aligned;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::util::nr_cpus;
use aya_obj::generated::bpf_prog_type;
use proxytrace_common::host::{HostOffsets, Member, SEEN_MAX};
use proxytrace_common::plan::{
    EXECUTABLES_MAX, KernelOffsets, Layout, Owner, Recipe, Root, SITES_MAX, TypeKey, TypeRule,
};

use super::bpf::raw_tracepoint;
use super::gate::Gate;
use super::leave::leave;
use super::object::{Loaded, Settings, bytes};
use super::remover::{Out, Remover};
use super::slots::Slots;
use super::{cost, multi, perf};
use crate::gobinary::Plan;

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYTRACE_BPF_OBJECT"));

/// The map of the kernel's offsets: a section of the object.
const KERNEL: &str = ".data.kernel";
/// The uprobe program for `uprobe_multi`.
const GO_MULTI: &str = "go_multi";
/// Program and raw tracepoint of what the kernel tells.
const TRACEPOINTS: [(&str, Place); 4] = [
    ("fork", Place::Tracepoint("sched_process_fork")),
    ("exec", Place::Tracepoint("sched_process_exec")),
    ("exit", Place::Tracepoint("sched_process_exit")),
    ("tcp_state", Place::Tracepoint("inet_sock_set_state")),
];

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At a raw tracepoint.
    Tracepoint(&'static str),
    /// Where a function begins: a kprobe.
    Function(&'static str),
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name) | Self::Function(name) => name,
        }
    }

    fn kind(self) -> bpf_prog_type {
        match self {
            Self::Tracepoint(_) => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
            Self::Function(_) => bpf_prog_type::BPF_PROG_TYPE_KPROBE,
        }
    }

    /// How many copies of a program are attached here. What one does not see, since it is running
    /// already, another does; the programs tell once what both see (`once.rs` there).
    fn copies(self) -> usize {
        match self {
            // Interrupts change states, too. Since when the kernel passes over a program that is
            // running already, its release does not tell: distributions bring that into older ones.
            Self::Tracepoint("inet_sock_set_state") => 2,
            Self::Tracepoint(_) if *RELEASE >= PREEMPTIBLE => 2,
            _ => 1,
        }
    }
}

/// Programs, and where they run.
type Attachments = &'static [(&'static str, Place)];

/// The ways to what goes over sockets, the cheapest first: name in the JSON contract, and programs.
const WIRE: [(&str, Attachments); 3] = [
    // Linux 6.3.
    (
        "socket",
        &[
            ("socket_sent", Place::Tracepoint("sock_send_length")),
            ("socket_received", Place::Tracepoint("sock_recv_length")),
        ],
    ),
    (
        "kprobe",
        &[
            ("send_begins", Place::Function("tcp_sendmsg")),
            ("send_ends", Place::Function("tcp_push")),
            ("receive_ends", Place::Function("tcp_cleanup_rbuf")),
        ],
    ),
    ("syscall", &[("system_call", Place::Tracepoint("sys_exit"))]),
];

/// Bytes of the ring where all of a host is watched: what is mapped counts as our memory, twice, and
/// what is chosen is little.
const HOST_RING: u32 = 2 << 20;

/// No ring has more bytes (`EVENTS` in the programs' `maps.rs`).
const RING_MAX: usize = 4 << 20;

/// Files with probes that the kernel knows: of one there may be several names, in several mounts.
const KNOWN_MAX: u32 = 8 * EXECUTABLES_MAX;

/// For tests: leaves this one of the ways in [`WIRE`] alone.
const WIRE_VAR: &str = "PROXYTRACE_WIRE";
/// For tests: has probes attached one by one.
const PERF_VAR: &str = "PROXYTRACE_PERF";

/// For tests: how many executables may have probes.
const ROOM_VAR: &str = "PROXYTRACE_TOOLCHAINS";

/// The first Linux that may preempt a program on a tracepoint, in favour of another task.
const PREEMPTIBLE: (u32, u32) = (6, 19);

/// This Linux.
pub(super) static RELEASE: LazyLock<(u32, u32)> = LazyLock::new(|| {
    let release = super::kernel_release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
});

/// Entries of the maps of sockets, at least, and for each CPU: an LRU deals its places out to CPUs
/// by the hundred, and then removes what is needed (see `KEPT` in the programs' `maps.rs`).
const SOCKETS_MIN: u32 = 16_384;
/// See [`SOCKETS_MIN`].
const SOCKETS_PER_CPU: u32 = 256;

fn sockets_max(cpus: usize) -> u32 {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    cpus.saturating_mul(SOCKETS_PER_CPU).max(SOCKETS_MIN)
}

fn room() -> Option<u32> {
    let room: u32 = std::env::var(ROOM_VAR).ok()?.parse().ok()?;
    Some(room.min(EXECUTABLES_MAX))
}

/// How often is looked whether probes are out that somebody waits for.
const OUT_INTERVAL: Duration = Duration::from_millis(1);

/// How often is looked for what is kept for processes that have ended.
const KEPT_INTERVAL: Duration = Duration::from_mins(1);

/// How probes are put into executables.
enum Backend {
    /// One link an executable.
    Multi(multi::Program),
    /// One perf event a probe.
    Perf(perf::Events),
}

/// Probes in an executable, and the numbers that they use.
struct Probes {
    /// What keeps them in place.
    held: Vec<OwnedFd>,
    sites: Vec<u32>,
    types: Vec<u64>,
}

impl Backend {
    /// The best that this kernel knows.
    fn load(object: &Loaded) -> anyhow::Result<Self> {
        match multi::Program::load(object, GO_MULTI) {
            Ok(_) if std::env::var_os(PERF_VAR).is_some() => {
                Ok(Self::Perf(perf::Events::load(object)?))
            }
            Ok(program) => Ok(Self::Multi(program)),
            // Kernels before 6.6 do not know the attach type.
            Err(refused) => {
                let events = perf::Events::load(object);
                Ok(Self::Perf(events.with_context(|| format!("{refused:#}"))?))
            }
        }
    }

    /// The program on Go functions.
    #[cfg(feature = "ebpf-log")]
    fn program(&self) -> &OwnedFd {
        match self {
            Self::Multi(program) => &program.0,
            Self::Perf(events) => &events.program,
        }
    }

    /// Puts probes at `sites` (offset in the file, number), until what is returned is closed.
    fn attach(&self, file: &File, sites: &[(u64, u64)]) -> std::io::Result<Vec<OwnedFd>> {
        match self {
            Self::Multi(program) => Ok(vec![program.attach(file, sites)?]),
            Self::Perf(events) => events.attach(file, sites),
        }
    }
}

/// The loaded eBPF side. Dropping it takes every probe out.
pub(super) struct Programs {
    pub(super) object: Loaded,
    /// Programs for tracepoints, loaded ahead.
    ready: Vec<(&'static str, OwnedFd)>,
    /// What keeps programs on tracepoints, and on functions of the kernel; by their names.
    attached: Vec<(&'static str, OwnedFd)>,
    backend: Backend,
    events: RingBuf<MapData>,
    sites: Slots,
    executables: Slots,
    /// By the index of the executable.
    probed: BTreeMap<u32, Probes>,
    /// Those that are being taken out: their numbers are free when that is done.
    leaving: Vec<(u32, Vec<u32>, Out)>,
    /// Takes them out.
    remover: Option<Remover>,
    /// When was last looked for what is kept for processes that have ended.
    swept: Instant,
    /// Every probe, where their hits are counted.
    counted: Option<Vec<cost::Probe>>,
    /// How what goes over sockets is seen, by its name in [`WIRE`].
    wire: Option<&'static str>,
    #[cfg(feature = "ebpf-log")]
    log: super::log::ProgramLog,
}

impl Programs {
    /// Loads everything; nothing is attached yet. `offsets` may come late; `before_ring` comes to its
    /// end before the ring is mapped, which counts as our memory, twice.
    pub(super) fn load(
        offsets: impl FnOnce() -> anyhow::Result<KernelOffsets>,
        before_ring: impl FnOnce(),
        counting: bool,
    ) -> anyhow::Result<Self> {
        let entries = [("HITS", if counting { SITES_MAX } else { 1 })];
        Self::load_with(offsets, HostOffsets::default(), before_ring, counting, &entries)
    }

    /// The same, for all of a host.
    pub(super) fn load_for_host(kernel: KernelOffsets, host: HostOffsets) -> anyhow::Result<Self> {
        let entries = [("EVENTS", HOST_RING), ("KNOWN", KNOWN_MAX), ("SEEN", SEEN_MAX)];
        Self::load_with(|| Ok(kernel), host, || {}, false, &entries)
    }

    fn load_with(
        kernel: impl FnOnce() -> anyhow::Result<KernelOffsets>,
        host: HostOffsets,
        before_ring: impl FnOnce(),
        counting: bool,
        entries: &[(&str, u32)],
    ) -> anyhow::Result<Self> {
        let mut object = Loaded::parse(OBJECT).context("cannot read the eBPF programs")?;
        let count_hits = u32::from(counting);
        let sockets = sockets_max(nr_cpus().unwrap_or(1));
        let entries = [entries, &[("SOCKETS", sockets), ("STREAMS", sockets)]].concat();
        let settings = Settings {
            constants: &[("HOST", bytes(&host)), ("COUNT_HITS", bytes(&count_hits))],
            entries: &entries,
        };
        object.make(&settings)?;
        // The one on Go functions takes longer to verify than all others.
        let (backend, link, ready) = thread::scope(|scope| {
            let backend = scope.spawn(|| Backend::load(&object));
            let link = scope.spawn(multi::make_ready);
            let [(_, wire), ..] = WIRE;
            let places = TRACEPOINTS.iter().chain(wire);
            let places = places.flat_map(|it| std::iter::repeat_n(it, it.1.copies()));
            let ready = places
                .filter_map(|&(name, place)| Some((name, load(&object, name, place).ok()?)))
                .collect();
            (backend.join(), link.join(), ready)
        });
        object.write(KERNEL, bytes(&kernel()?))?;
        let backend = backend.map_err(|_| anyhow!("loading the eBPF programs failed"))??;
        #[cfg(feature = "ebpf-log")]
        let log = super::log::attach(backend.program())?;
        before_ring();
        let events = RingBuf::try_from(object.take_map("EVENTS")?)?;
        Ok(Self {
            object,
            ready,
            attached: link
                .ok()
                .and_then(Result::ok)
                .map(|link| (GO_MULTI, link))
                .into_iter()
                .collect(),
            backend,
            events,
            sites: Slots::below(SITES_MAX),
            executables: Slots::below(room().unwrap_or(EXECUTABLES_MAX)),
            probed: BTreeMap::new(),
            leaving: Vec::new(),
            remover: None,
            swept: Instant::now(),
            counted: counting.then(Vec::new),
            wire: None,
            #[cfg(feature = "ebpf-log")]
            log,
        })
    }

    /// Name of the way in which probes are attached, as in the JSON contract.
    pub(super) fn backend(&self) -> &'static str {
        match self.backend {
            Backend::Multi(_) => "uprobe-multi",
            Backend::Perf(_) => "perf",
        }
    }

    /// Starts to follow processes and sockets, from the process `root` on. Its pid is that in
    /// `namespace`; none is the initial one.
    pub(super) fn follow(&mut self, root: u32, namespace: Option<u32>) -> anyhow::Result<()> {
        if let Some(namespace) = namespace {
            let map = self.object.map_mut("ROOT")?;
            let root = Root { pid: root, namespace, ..Root::default() };
            Array::<_, Root>::try_from(map)?.set(0, root, 0)?;
        } else {
            let tracked = self.object.map_mut("TRACKED")?;
            HashMap::<_, u32, Member>::try_from(tracked)?.insert(root, Member::OF_COMMAND, 0)?;
        }
        self.follow_processes()?;
        let wanted = std::env::var(WIRE_VAR).ok();
        // Without it there is one witness instead of two.
        self.wire = WIRE.into_iter().find_map(|(way, programs)| {
            if wanted.as_ref().is_some_and(|wanted| wanted != way) {
                return None;
            }
            let before = self.attached.len();
            let attached = programs.iter().try_for_each(|(name, place)| self.attach(name, *place));
            if attached.is_err() {
                self.attached.truncate(before);
            }
            attached.is_ok().then_some(way)
        });
        Ok(())
    }

    /// Starts to follow processes and their connections.
    pub(super) fn follow_processes(&mut self) -> anyhow::Result<()> {
        TRACEPOINTS.iter().try_for_each(|(name, place)| self.attach(name, *place))
    }

    fn attach(&mut self, name: &'static str, place: Place) -> anyhow::Result<()> {
        for _ in 0..place.copies() {
            let program = match self.ready.iter().position(|(ready, _)| *ready == name) {
                Some(ready) => self.ready.swap_remove(ready).1,
                None => load(&self.object, name, place)?,
            };
            let attached = match place {
                Place::Tracepoint(name) => raw_tracepoint(&program, name).map_err(Into::into),
                Place::Function(name) => perf::on_function(&program, name),
            };
            let attached =
                attached.with_context(|| format!("cannot attach to {}", place.name()))?;
            self.attached.push((name, attached));
        }
        Ok(())
    }

    /// What keeps programs of these names where they are.
    pub(super) fn held(&self, names: &[&str]) -> impl Iterator<Item = BorrowedFd<'_>> {
        let held = self.attached.iter().filter(|(name, _)| names.contains(name));
        held.map(|(_, held)| held.as_fd())
    }

    /// How what goes over sockets is seen, as in the JSON contract; none if it is not.
    pub(super) fn wire(&self) -> Option<&'static str> {
        self.wire
    }

    /// Whether there is room for one more executable with so many probes.
    pub(super) fn has_room(&mut self, sites: usize) -> bool {
        self.reclaim();
        self.executables.free() > 0 && self.sites.free() >= sites
    }

    /// Whether probes are being taken out, and their room is not free yet.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Puts the probes of `plan` into the executable that it was made of; yields its index in records.
    /// Into the open file: by its name another one may be there, whose code nobody has read.
    pub(super) fn probe(&mut self, file: &File, plan: &Plan) -> anyhow::Result<u32> {
        self.reclaim();
        let executable = self.executables.take();
        let executable =
            executable.with_context(|| format!("more than {EXECUTABLES_MAX} Go toolchains"))?;
        let mut probes = Probes { held: Vec::new(), sites: Vec::new(), types: Vec::new() };
        let put = self.put(executable, file, plan, &mut probes);
        self.probed.insert(executable, probes);
        match put {
            Ok(()) => Ok(executable),
            Err(error) => {
                self.release(executable);
                Err(error)
            }
        }
    }

    fn put(
        &mut self,
        executable: u32,
        file: &File,
        plan: &Plan,
        probes: &mut Probes,
    ) -> anyhow::Result<()> {
        let sites = self.sites.take_many(plan.sites.len());
        probes.sites = sites.with_context(|| format!("more than {SITES_MAX} probes"))?;
        let layouts = self.object.map_mut("LAYOUTS")?;
        Array::<_, Layout>::try_from(layouts)?.set(executable, plan.layout, 0)?;
        let types = self.object.map_mut("TYPES")?;
        let mut types = HashMap::<_, TypeKey, TypeRule>::try_from(types)?;
        for (address, rule) in &plan.types {
            types.insert(TypeKey { address: *address, executable, padding: 0 }, rule, 0)?;
            probes.types.push(*address);
        }
        let recipes = self.object.map_mut("SITES")?;
        let mut recipes = Array::<_, Recipe>::try_from(recipes)?;
        let mut sites = Vec::with_capacity(plan.sites.len());
        for (&cookie, site) in probes.sites.iter().zip(&plan.sites) {
            recipes.set(cookie, Recipe { executable, ..site.recipe }, 0)?;
            sites.push((site.offset, u64::from(cookie)));
        }
        if let Some(counted) = &mut self.counted {
            counted.extend(plan.sites.iter().map(cost::Probe::new));
        }
        probes.held = self.backend.attach(file, &sites)?;
        Ok(())
    }

    /// Takes the probes out of an executable, and lets another have its numbers.
    pub(super) fn release(&mut self, executable: u32) {
        let Some(Probes { held, sites, types }) = self.probed.remove(&executable) else { return };
        let out = self.remover.get_or_insert_with(Remover::start).remove(held);
        self.leaving.push((executable, sites, out));
        let map = self.object.map_mut("TYPES");
        let map = map.and_then(|map| Ok(HashMap::<_, TypeKey, TypeRule>::try_from(map)?));
        if let Ok(mut rules) = map {
            for address in types {
                let _ = rules.remove(&TypeKey { address, executable, padding: 0 });
            }
        }
    }

    /// The same, and waits until no probe is left.
    pub(super) fn release_now(&mut self, executable: u32) {
        self.release(executable);
        let is_out = |(it, _, out): &(u32, _, Out)| *it != executable || out.is_done();
        while !self.leaving.iter().all(is_out) {
            thread::sleep(OUT_INTERVAL);
        }
    }

    /// Frees the numbers of what has been taken out.
    fn reclaim(&mut self) {
        let (done, leaving) =
            std::mem::take(&mut self.leaving).into_iter().partition(|(.., out)| out.is_done());
        self.leaving = leaving;
        for (executable, sites, _) in done {
            self.sites.give_back(sites);
            self.executables.give_back([executable]);
        }
    }

    /// Takes the probes out, and the gate down, in the background.
    pub(super) fn leave(self, gate: Option<Gate>) {
        let held = self.probed.into_values().flat_map(|probes| probes.held);
        let attached = self.attached.into_iter().map(|(_, held)| held);
        let held: Vec<OwnedFd> = held.chain(attached).collect();
        leave(&held, gate);
    }

    /// The records that have come in, oldest first, each given to `take`: all that were there when this
    /// began, and not many more, as they may come faster than they are taken. Says whether `take` has
    /// broken off.
    pub(super) fn drain(
        &mut self,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        #[cfg(feature = "ebpf-log")]
        self.log.flush();
        if self.swept.elapsed() >= KEPT_INTERVAL {
            self.swept = Instant::now();
            // What it leaves there is removed the next time.
            let _ = self.sweep();
        }
        let mut left = RING_MAX;
        while left > 0
            && let Some(record) = self.events.next()
        {
            take(&record)?;
            left = left.saturating_sub(record.len());
        }
        ControlFlow::Continue(())
    }

    /// Removes what is kept for processes that have ended while they waited for a command.
    fn sweep(&mut self) -> anyhow::Result<()> {
        let kept = HashMap::<_, Owner, u64>::try_from(self.object.map("KEPT")?)?;
        let tracked = HashMap::<_, u32, Member>::try_from(self.object.map("TRACKED")?)?;
        let is_over = |owner: &Owner| has_ended(&tracked.get(&owner.process, 0));
        let over: Vec<Owner> = kept.keys().filter_map(Result::ok).filter(is_over).collect();
        let mut kept = HashMap::<_, Owner, u64>::try_from(self.object.map_mut("KEPT")?)?;
        for owner in over {
            kept.remove(&owner)?;
        }
        Ok(())
    }

    /// How often each probe was hit; none if that is not counted.
    pub(super) fn hits(&mut self) -> anyhow::Result<Vec<cost::Probe>> {
        let mut probes = self.counted.take().unwrap_or_default();
        let hits = self.object.map("HITS")?;
        let hits = PerCpuArray::<_, u64>::try_from(hits)?;
        for (site, probe) in (0..).zip(&mut probes) {
            probe.hits = hits.get(&site, 0)?.iter().sum();
        }
        Ok(probes)
    }

    /// How many records the programs could not send, so far.
    pub(super) fn lost(&self) -> anyhow::Result<u64> {
        let lost = self.object.map("LOST")?;
        Ok(Array::<_, u64>::try_from(lost)?.get(&0, 0)?)
    }
}

impl AsFd for Programs {
    /// Readable when there are records that should be read now.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// Whether a process has ended that was followed, by what is found of it: other errors say nothing.
fn has_ended(found: &Result<Member, MapError>) -> bool {
    matches!(found, Err(MapError::KeyNotFound))
}

/// Loads a program for a place in the kernel.
fn load(object: &Loaded, name: &str, place: Place) -> anyhow::Result<OwnedFd> {
    object.program(name, place.kind(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_may_keep_places_for_sockets() {
        for (cpus, entries) in [(1, 16_384), (64, 16_384), (256, 65_536), (usize::MAX, u32::MAX)] {
            assert_eq!(sockets_max(cpus), entries, "{cpus}");
        }
    }

    /// On this Linux, whichever it is.
    #[test]
    fn what_interrupts_do_has_two_programs() {
        assert_eq!(Place::Tracepoint("inet_sock_set_state").copies(), 2);
        assert_eq!(Place::Function("inet_sock_set_state").copies(), 1);
    }

    /// What is kept for one that lives is wanted.
    #[test]
    fn a_process_that_is_found_nowhere_has_ended() {
        assert!(has_ended(&Err(MapError::KeyNotFound)));
        assert!(!has_ended(&Err(MapError::OutOfBounds { index: 1, max_entries: 1 })));
        assert!(!has_ended(&Ok(Member::OF_COMMAND)));
    }
}
