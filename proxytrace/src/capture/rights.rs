//! What a thread of ours may do.

pub(super) use caps::Capability;
use caps::{CapSet, CapsHashSet};

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
