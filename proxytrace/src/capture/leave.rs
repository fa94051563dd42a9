//! Taking probes out when the command has ended.
//!
//! Closing what holds a probe waits until no CPU runs its program any more: twenty milliseconds for
//! all probes of an executable, or some for each on kernels without `uprobe_multi`. Closing the gate
//! waits in the same way, for nine. Nobody should wait for that who only wants their command's exit
//! code, so that a process of its own does.

use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, chdir, fork, getpid, getppid, pipe2, setsid};

use super::gate::Gate;
use super::turn::TakingOut;

/// How often the process that closes looks whether we are gone.
const GONE_INTERVAL: Duration = Duration::from_millis(10);

/// Leaves what holds probes to a process of their own, which takes them out when this one has ended,
/// and the gate, which it takes down at once: nobody may be held there now.
///
/// It holds nothing else of ours: neither a standard stream, for the end of which somebody may wait,
/// nor a place in the terminal's group, nor the directory, whose file system somebody may unmount.
pub(super) fn leave(held: &[OwnedFd], gate: Option<Gate>) {
    if held.is_empty() && gate.is_none() {
        return;
    }
    // Whoever closes the gate last waits for it: the child, when there is nobody at the other end.
    let Ok((read, write)) = pipe2(OFlag::O_CLOEXEC) else { return };
    let (parent, mut turn) = (getpid(), TakingOut::new());
    let gate_fd = gate.as_ref().map(|gate| gate.as_fd().as_raw_fd());
    let ours = held.iter().map(AsRawFd::as_raw_fd).chain([read.as_raw_fd()]);
    let mut kept: Vec<u32> = ours.chain(gate_fd).chain(turn.fd()).map(i32::cast_unsigned).collect();
    kept.sort_unstable();
    // SAFETY: the child makes system calls alone, as another thread may have held the allocator, and
    // ends without running anything of ours. Where it cannot be made, all is closed by this process.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        let _ = chdir(c"/");
        let mut next = 0;
        for &fd in &kept {
            close(next, fd);
            next = fd + 1;
        }
        close(next, u32::MAX);
        let _ = setsid();
        let _ = nix::unistd::read(&read, &mut [0]);
        if let Some(gate) = gate_fd.map(i32::cast_unsigned) {
            close(gate, gate + 1);
        }
        while getppid() == parent {
            thread::sleep(GONE_INTERVAL);
        }
        for fd in held.iter().map(|fd| fd.as_raw_fd().cast_unsigned()) {
            turn.wait();
            close(fd, fd + 1);
        }
        // SAFETY: as above; nothing of this process is left to be dropped.
        unsafe { libc::_exit(0) }
    }
    drop(gate);
    drop(write);
}

/// Closes the descriptors from `first` on, up to `end`, which stays open.
fn close(first: u32, end: u32) {
    if first < end {
        // SAFETY: nothing of this process uses them any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;
    use xtask::process::skip;

    use super::*;

    #[test]
    fn the_directory_is_free() {
        leave(&[File::open("/dev/null").unwrap().into()], None);
        let Ok(children) = fs::read_to_string("/proc/thread-self/children") else {
            return skip("no list of children");
        };
        let child: i32 = children.split_whitespace().last().unwrap().parse().unwrap();
        let place = format!("/proc/{child}/cwd");
        let is_free = (0..1000).any(|_| {
            thread::sleep(GONE_INTERVAL);
            fs::read_link(&place).is_ok_and(|place| place == Path::new("/"))
        });
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        waitpid(Pid::from_raw(child), None).unwrap();
        assert!(is_free);
    }
}
