//! What the agent may do, once it watches: no more than it still needs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, sock_filter};

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

/// System calls that the agent has no use for, and somebody who had got hold of it would have: to
/// become another program, to look into others or to change them, to change what is mounted, the
/// kernel, the clock, or who one is. The unit of systemd refuses others besides.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // musl has no name for it on arm64.
    #[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
];

/// Calls of x32 pass for those of x86-64, by other numbers (seccomp(2)): all are refused, as soon as
/// the number is loaded. Jumps in a filter are relative.
fn refuse_x32(program: &mut BpfProgram) {
    const X32: u32 = 0x4000_0000;
    let code = |code: u32| u16::try_from(code).expect("a code of classic BPF");
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let jump = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
    let end = code(libc::BPF_RET | libc::BPF_K);
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    // The number is the first field of `seccomp_data`.
    let loaded =
        program.iter().position(|instruction| instruction.code == load && instruction.k == 0);
    if cfg!(target_arch = "x86_64")
        && let Some(place) = loaded.map(|place| place + 1)
    {
        let instructions = [
            sock_filter { code: jump, jt: 0, jf: 1, k: X32 },
            sock_filter { code: end, jt: 0, jf: 0, k: refused },
        ];
        program.splice(place..place, instructions);
    }
}

/// Has the kernel refuse (`EPERM`) what is [`REFUSED`], for good, to all threads. An error where the
/// kernel has no such filters.
pub(super) fn refuse() -> anyhow::Result<()> {
    Ok(seccompiler::apply_filter_all_threads(&filter()?)?)
}

fn filter() -> anyhow::Result<BpfProgram> {
    let rules: BTreeMap<i64, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let machine = std::env::consts::ARCH.try_into().context("no filter for this machine")?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)?;
    let mut program: BpfProgram = filter.try_into()?;
    refuse_x32(&mut program);
    Ok(program)
}

/// Gives up all other capabilities, for good: neither this process nor what it might execute gets
/// them back. To be called before there are other threads than those that have given up theirs, as each
/// has its own.
///
/// Landlock is of no use here: who is restricted by it may not look at the processes of others
/// (`Documentation/userspace-api/landlock.rst`, "Ptrace restrictions"), which is what the agent
/// does.
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// A call's number, before it is compared with those that are refused.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_of_x32_are_refused_first() {
        let program = filter().unwrap();
        let at = program.iter().position(|instruction| instruction.k == 0x4000_0000).unwrap();
        let load = &program[at - 1];
        assert_eq!((u32::from(load.code), load.k), (libc::BPF_LD | libc::BPF_ABS, 0));
        let compares = |instruction: &sock_filter| REFUSED.contains(&instruction.k.into());
        assert!(!program[..at].iter().any(compares) && program[at..].iter().any(compares));
    }

    /// In a thread of its own, which alone has the filter.
    #[test]
    fn what_is_refused_is_refused_and_all_else_is_not() {
        let restricted = thread::spawn(|| {
            // `refuse` has it for all threads.
            seccompiler::apply_filter(&filter().expect("a filter")).expect("it is taken");
            assert_eq!(unshare(CloneFlags::CLONE_FS), Err(Errno::EPERM));
            let other = Command::new("/bin/true").status();
            assert_eq!(other.expect_err("another program").kind(), ErrorKind::PermissionDenied);
            assert!(std::fs::read_to_string("/proc/self/status").is_ok());
        });
        restricted.join().expect("no panic");
        unshare(CloneFlags::empty()).expect("no filter here");
    }
}
