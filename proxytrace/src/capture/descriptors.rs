//! Room for what we hold open: each process at the gate takes a descriptor, and each probe on kernels
//! without `uprobe_multi`. Where there is none left, the kernel denies the exec.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than all toolchains take that there is room for.
const WANTED: u64 = 1 << 16;

/// Raises the limit of this process, as far as it may.
pub(super) fn make_room() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.max(WANTED);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
