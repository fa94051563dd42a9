//! Whose turn it is to change probes, where each is changed by itself.
//!
//! The kernel has one lock for all probes of perf events, and where one is taken out it holds that
//! lock until RCU has come round: some ten milliseconds, a hundred on new kernels
//! (`perf_uprobe_destroy` in `kernel/trace/trace_event_perf.c`, `event_mutex`). Nobody waits for
//! probes to be taken out, but somebody's command waits for those that are put in: without more, as
//! long as the run before took to end. So who takes out lets pass who puts in, of whichever run. They
//! find each other by a lock on a file, for which nobody waits, so that nobody can be held by it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

/// Where the kernel says its number for these probes: all who use them can read it.
const FILE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// Who takes out looks at it for a moment only.
const SAY_TRIES: u32 = 5;
const SAY_INTERVAL: Duration = Duration::from_millis(1);
/// How long who takes out lets others pass: a minute in all.
const PASS_TRIES: u32 = 12_000;
const PASS_INTERVAL: Duration = Duration::from_millis(5);

/// Says that somebody puts probes in, as long as it lives.
pub(super) struct PuttingIn(#[expect(dead_code, reason = "its lock is what counts")] Option<File>);

impl PuttingIn {
    /// If it cannot be said, it takes longer.
    pub(super) fn say() -> Self {
        let locked = |file: &File| {
            (0..SAY_TRIES).any(|turn| {
                if turn > 0 {
                    thread::sleep(SAY_INTERVAL);
                }
                file.try_lock_shared().is_ok()
            })
        };
        Self(File::open(FILE).ok().filter(locked))
    }
}

/// Takes probes out, one by one.
pub(super) struct TakingOut {
    file: Option<File>,
    tries: u32,
}

impl TakingOut {
    pub(super) fn new() -> Self {
        Self { file: File::open(FILE).ok(), tries: PASS_TRIES }
    }

    /// What it needs open.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Returns when nobody puts probes in. Makes system calls alone.
    pub(super) fn wait(&mut self) {
        let Some(file) = &self.file else { return };
        while self.tries > 0 {
            if file.try_lock().is_ok() {
                let _ = file.unlock();
                return;
            }
            self.tries -= 1;
            thread::sleep(PASS_INTERVAL);
        }
    }
}

/// Closes what holds probes.
pub(super) fn take_out(held: Vec<OwnedFd>) {
    let mut turn = TakingOut::new();
    for fd in held {
        turn.wait();
        drop(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_out_lets_pass_who_puts_in() {
        // Others on this machine may be at it, too: that it goes on is not shown here.
        let mut out = TakingOut::new();
        assert!(out.fd().is_some(), "no {FILE}");
        let (first, second) = (PuttingIn::say(), PuttingIn::say());
        for left in [first, second] {
            out.tries = 2;
            out.wait();
            assert_eq!(out.tries, 0, "it did not wait");
            drop(left);
        }
    }
}
