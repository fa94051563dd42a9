//! What this process, and a thread of it, may do.

pub(super) use caps::Capability;
use caps::{CapSet, CapsHashSet};

/// Whether the program's file may have given this process its rights (setcap, setuid): then they are
/// of whoever starts it, and the kernel calls the start a secure one (`AT_SECURE`, getauxval(3)).
pub(super) fn are_of_the_file() -> bool {
    // SAFETY: it reads what the kernel told this process at its start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Has this thread give up all capabilities but these. It is a helper: where that fails it goes on.
pub(super) fn keep(kept: &[Capability]) {
    let _ = nix::sys::prctl::set_no_new_privs();
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let kept: CapsHashSet = permitted.into_iter().filter(|one| kept.contains(one)).collect();
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        let _ = caps::clear(None, set);
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        let _ = caps::set(None, set, &kept);
    }
}
