//! The eBPF side, loaded: programs, maps, and the probes put into executables.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use proxytrace_common::plan::{
    EXECUTABLES_MAX, HEADER_NAME_MAX, KernelOffsets, Layout, Recipe, Root, SITES_MAX, TypeKey,
    TypeRule,
};
use proxytrace_common::record::HEADERS;

use super::{multi, perf};
use crate::gobinary::Plan;

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYTRACE_BPF_OBJECT"));

/// The uprobe program for `uprobe_multi`.
const GO_MULTI: &str = "go_multi";
/// Program and raw tracepoint of what the kernel tells.
const TRACEPOINTS: [(&str, &str); 4] = [
    ("fork", "sched_process_fork"),
    ("exec", "sched_process_exec"),
    ("exit", "sched_process_exit"),
    ("tcp_state", "inet_sock_set_state"),
];

/// The ways to what goes over sockets, the cheapest first: name in the JSON contract, programs and
/// raw tracepoints.
const WIRE: [(&str, &[(&str, &str)]); 2] = [
    // Linux 6.3.
    ("socket", &[("socket_sent", "sock_send_length"), ("socket_received", "sock_recv_length")]),
    ("syscall", &[("system_call", "sys_exit")]),
];

/// How probes are put into executables.
enum Backend {
    /// One link an executable.
    Multi { program: multi::Program, links: Vec<multi::Link> },
    /// One perf event a probe.
    Perf(perf::Events),
}

/// The loaded eBPF side. Dropping it takes every probe out.
pub(super) struct Programs {
    ebpf: Ebpf,
    backend: Backend,
    events: RingBuf<MapData>,
    sites: u32,
    executables: u32,
    /// How what goes over sockets is seen, by its name in [`WIRE`].
    wire: Option<&'static str>,
    #[cfg(feature = "ebpf-log")]
    log: super::log::ProgramLog,
}

impl Programs {
    /// Loads everything; nothing is attached yet. `offsets` may come late: aya's loader first parses
    /// the kernel's BTF for itself, wanted or not.
    pub(super) fn load(
        offsets: impl FnOnce() -> anyhow::Result<KernelOffsets>,
    ) -> anyhow::Result<Self> {
        let mut loader = EbpfLoader::new();
        let offsets = offsets()?;
        let mut ebpf = loader
            .btf(None)
            .override_global("KERNEL", &offsets, true)
            .load(OBJECT)
            .context("cannot load the eBPF programs")?;
        let maps: Vec<(&str, &Map)> = ebpf.maps().collect();
        let backend = match multi::Program::load(OBJECT, GO_MULTI, &maps) {
            Ok(program) => Backend::Multi { program, links: Vec::new() },
            // Kernels before 6.6 do not know the attach type.
            Err(refused) => Backend::Perf(
                perf::Events::load(&mut ebpf).with_context(|| format!("{refused:#}"))?,
            ),
        };
        #[cfg(feature = "ebpf-log")]
        let log = super::log::attach(&mut ebpf)?;
        let names = ebpf.map_mut("HEADER_NAMES").context("no map HEADER_NAMES")?;
        let mut names = HashMap::<_, [u8; HEADER_NAME_MAX], u32>::try_from(names)?;
        for (name, tag) in HEADERS {
            let mut key = [0; HEADER_NAME_MAX];
            key[..name.len()].copy_from_slice(name.as_bytes());
            names.insert(key, u32::from(tag as u8), 0)?;
        }
        let events = ebpf.take_map("EVENTS").context("no map EVENTS")?;
        let events = RingBuf::try_from(events)?;
        Ok(Self {
            ebpf,
            backend,
            events,
            sites: 0,
            executables: 0,
            wire: None,
            #[cfg(feature = "ebpf-log")]
            log,
        })
    }

    /// Name of the way in which probes are attached, as in the JSON contract.
    pub(super) fn backend(&self) -> &'static str {
        match self.backend {
            Backend::Multi { .. } => "uprobe-multi",
            Backend::Perf(_) => "perf",
        }
    }

    /// Starts to follow processes and sockets, from the process `root` on. Its pid is that in
    /// `namespace`; none is the initial one.
    pub(super) fn follow(&mut self, root: u32, namespace: Option<u32>) -> anyhow::Result<()> {
        if let Some(namespace) = namespace {
            let map = self.ebpf.map_mut("ROOT").context("no map ROOT")?;
            let root = Root { pid: root, namespace, ..Root::default() };
            Array::<_, Root>::try_from(map)?.set(0, root, 0)?;
        } else {
            let tracked = self.ebpf.map_mut("TRACKED").context("no map TRACKED")?;
            HashMap::<_, u32, u32>::try_from(tracked)?.insert(root, 0, 0)?;
        }
        for (name, tracepoint) in TRACEPOINTS {
            self.attach(name, tracepoint)?;
        }
        // Without it there is one witness instead of two.
        self.wire = WIRE.into_iter().find_map(|(way, programs)| {
            let attached =
                programs.iter().try_for_each(|(name, tracepoint)| self.attach(name, tracepoint));
            attached.is_ok().then_some(way)
        });
        Ok(())
    }

    fn attach(&mut self, name: &str, tracepoint: &str) -> anyhow::Result<()> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut RawTracePoint = program.try_into()?;
        program.load().with_context(|| format!("cannot load the program {name}"))?;
        program.attach(tracepoint).with_context(|| format!("cannot attach to {tracepoint}"))?;
        Ok(())
    }

    /// How what goes over sockets is seen, as in the JSON contract; none if it is not.
    pub(super) fn wire(&self) -> Option<&'static str> {
        self.wire
    }

    /// Puts the probes of `plan` into the executable at `path`; yields its index in records.
    pub(super) fn probe(&mut self, path: &Path, plan: &Plan) -> anyhow::Result<u32> {
        let executable = self.executables;
        anyhow::ensure!(executable < EXECUTABLES_MAX, "more than {EXECUTABLES_MAX} Go toolchains");
        let count = u32::try_from(plan.sites.len())?;
        anyhow::ensure!(self.sites + count <= SITES_MAX, "more than {SITES_MAX} probes");

        let layouts = self.ebpf.map_mut("LAYOUTS").context("no map LAYOUTS")?;
        Array::<_, Layout>::try_from(layouts)?.set(executable, plan.layout, 0)?;
        let types = self.ebpf.map_mut("TYPES").context("no map TYPES")?;
        let mut types = HashMap::<_, TypeKey, TypeRule>::try_from(types)?;
        for (address, rule) in &plan.types {
            types.insert(TypeKey { address: *address, executable, padding: 0 }, rule, 0)?;
        }
        let recipes = self.ebpf.map_mut("SITES").context("no map SITES")?;
        let mut recipes = Array::<_, Recipe>::try_from(recipes)?;
        let mut sites = Vec::with_capacity(plan.sites.len());
        for (cookie, site) in (self.sites..).zip(&plan.sites) {
            recipes.set(cookie, Recipe { executable, ..site.recipe }, 0)?;
            sites.push((site.offset, u64::from(cookie)));
        }
        match &mut self.backend {
            Backend::Multi { program, links } => links.push(program.attach(path, &sites)?),
            Backend::Perf(events) => events.attach(path, &sites)?,
        }
        self.sites += count;
        self.executables += 1;
        Ok(executable)
    }

    /// Takes the probes out, in the background where that takes long.
    pub(super) fn leave(self) {
        if let Backend::Perf(events) = self.backend {
            events.leave();
        }
    }

    /// The records that have come in, oldest first, each given to `take`.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        #[cfg(feature = "ebpf-log")]
        self.log.flush();
        while let Some(record) = self.events.next() {
            take(&record);
        }
    }

    /// How many records the programs could not send, so far.
    pub(super) fn lost(&self) -> anyhow::Result<u64> {
        let lost = self.ebpf.map("LOST").context("no map LOST")?;
        Ok(Array::<_, u64>::try_from(lost)?.get(&0, 0)?)
    }
}

impl AsFd for Programs {
    /// Readable when there are records that should be read now.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
