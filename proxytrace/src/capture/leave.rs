//! Taking probes out when the command has ended.
//!
//! Closing what holds a probe waits until no CPU runs its program any more: twenty milliseconds for
//! all probes of an executable, or some for each on kernels without `uprobe_multi`. Nobody should
//! wait for that who only wants their command's exit code, so that a process of its own does.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::unistd::{ForkResult, fork, getpid, getppid, setsid};

/// How often the process that closes looks whether we are gone.
const GONE_INTERVAL: Duration = Duration::from_millis(10);

/// Leaves what holds probes to a process of their own, which takes them out when this one has ended.
///
/// It holds nothing else of ours: neither a standard stream, for the end of which somebody may wait,
/// nor a place in the terminal's group.
pub(super) fn leave(held: &[OwnedFd]) {
    if held.is_empty() {
        return;
    }
    let parent = getpid();
    // SAFETY: the child makes system calls alone, and ends without running anything of ours. Where
    // it cannot be made, the probes are closed by this process.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        let mut kept: Vec<u32> = held.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
        kept.sort_unstable();
        let mut next = 0;
        for fd in kept {
            close(next, fd);
            next = fd + 1;
        }
        close(next, u32::MAX);
        let _ = setsid();
        while getppid() == parent {
            thread::sleep(GONE_INTERVAL);
        }
        // SAFETY: as above; the kernel closes what is left.
        unsafe { libc::_exit(0) }
    }
}

/// Closes the descriptors from `first` on, up to `end`, which stays open.
fn close(first: u32, end: u32) {
    if first < end {
        // SAFETY: nothing of this process uses them any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) };
    }
}
