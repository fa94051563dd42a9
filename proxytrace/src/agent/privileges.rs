//! What the agent may do, once it watches: no more than it still needs.

use caps::{CapSet, Capability, CapsHashSet};

/// Capabilities that remain, and what for. New toolchains must get probes at any time.
const KEPT: [(Capability, &str); 4] = [
    (Capability::CAP_BPF, "maps"),
    (Capability::CAP_PERFMON, "probes, and programs that read memory"),
    (Capability::CAP_SYS_PTRACE, "the executable and the configuration files of any process"),
    (Capability::CAP_DAC_READ_SEARCH, "the same, where only their owners may read"),
];

/// Where each probe is an event of its own, patched kernels want it (CVE-2025-38466;
/// `perf_uprobe_event_init` in `kernel/events/core.c`, Linux 6.1).
const ADMINISTRATOR: Capability = Capability::CAP_SYS_ADMIN;

/// Gives up all other capabilities, for good: neither this process nor what it might execute gets
/// them back. To be called before there are other threads, as each has its own.
///
/// Landlock is of no use here: who is restricted by it may not look at the processes of others
/// (`Documentation/userspace-api/landlock.rst`, "Ptrace restrictions"), which is what the agent
/// does. System calls are limited by the unit of systemd.
///
/// `is_administrator` says whether probes are such that they take `CAP_SYS_ADMIN`.
pub(super) fn drop(is_administrator: bool) -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    let mut kept: CapsHashSet = KEPT.iter().map(|(capability, _)| *capability).collect();
    if is_administrator {
        kept.insert(ADMINISTRATOR);
    }
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = kept.intersection(&permitted).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    if permitted.contains(&Capability::CAP_SETPCAP) {
        let bounding = caps::read(None, CapSet::Bounding)?;
        for capability in bounding.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}
