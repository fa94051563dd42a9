//! Signals while a command is watched: the terminal's reach the command by itself, since it is in
//! our process group; those sent to us alone are passed on; none that can be taken ends us before the
//! command.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, getsid};

use super::child::Child;

/// What is not taken: signals that say what this process itself has done wrong, and SIGPIPE, which
/// Rust's runtime ignores, so that a write fails instead. All others are, those without names too.
const OURS: [Signal; 8] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGPIPE,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// By which somebody has us end.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// How long the report has, once the command has ended, before a signal ends us: whoever cancels a
/// build sends some to all processes, one after another.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// Signals, read instead of handled.
pub(super) struct Signals {
    fd: SignalFd,
    original: SigSet,
}

impl Signals {
    /// Takes them over.
    pub(super) fn take() -> nix::Result<Self> {
        let mut taken = SigSet::all();
        for signal in OURS {
            taken.remove(signal);
        }
        let mut original = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&taken), Some(&mut original))?;
        let fd = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, original })
    }

    /// The mask that we were started with: the command's.
    pub(super) fn original(&self) -> &SigSet {
        &self.original
    }

    /// Passes on what was sent to us by a process; what the terminal sent, the command has, and what it
    /// sent itself.
    pub(super) fn forward(&mut self, child: &Child) {
        while let Ok(Some(signal)) = self.fd.read_signal() {
            let number = signal.ssi_signo.cast_signed();
            let is_sent = signal.ssi_code != libc::SI_KERNEL
                // An alarm that was set before us was meant for whom we run: it outlives execve.
                || number == Signal::SIGALRM as i32
                // That the terminal is gone is told to the leader of its session alone.
                || (number == Signal::SIGHUP as i32 && leads_session());
            // A file of ours that has become too long says so as if we had sent it.
            let is_ours = signal.ssi_pid == std::process::id();
            if number != Signal::SIGCHLD as i32
                && is_sent
                && !is_ours
                && !is_below(signal.ssi_pid, child.pid())
            {
                child.forward(number);
            }
        }
    }

    /// The command has ended, and what came meanwhile was for it: whoever wants us to end later may
    /// end us, if we wait for somebody who does not read what we write.
    pub(super) fn let_us_be_ended(self) {
        let Self { fd, original } = self;
        let ending = ending(&original);
        // By a thread that does nothing else. Without it all is as it was.
        let _ = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            thread::sleep(REPORT_TIME);
            // What waits for us would end us at once.
            while let Ok(Some(_)) = fd.read_signal() {}
            if ending.thread_unblock().is_ok() {
                loop {
                    thread::park();
                }
            }
        });
    }

    /// Stops as the command has, until we are continued: then it is, too, by the signal that
    /// continued us, which is passed on like all others.
    pub(super) fn stop_ourselves() {
        // It cannot fail, nor be blocked.
        let _ = raise(Signal::SIGSTOP);
    }
}

/// What ends us, of what was not blocked when we were started.
fn ending(original: &SigSet) -> SigSet {
    ENDING.into_iter().filter(|signal| !original.contains(*signal)).collect()
}

fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// Whether a process is the command, or one that it started: what it sends to whoever has started it
/// is not for itself. Zero is nobody that can be seen from here.
fn is_below(pid: u32, command: Pid) -> bool {
    let mut pid = pid.cast_signed();
    for _ in 0..ANCESTORS {
        if pid == command.as_raw() {
            return true;
        }
        let Some(parent) = (pid > 1).then(|| parent(pid)).flatten() else { return false };
        pid = parent;
    }
    false
}

/// How far it is looked for whoever started a process.
const ANCESTORS: usize = 64;

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it can have anything in it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_blocked_before_us_stays_blocked() {
        let blocked: SigSet = [Signal::SIGINT, Signal::SIGUSR1].into_iter().collect();
        let ours = ending(&blocked);
        for (signal, ends) in [
            (Signal::SIGTERM, true),
            (Signal::SIGHUP, true),
            (Signal::SIGINT, false),
            (Signal::SIGUSR1, false),
            (Signal::SIGUSR2, false),
        ] {
            assert_eq!(ours.contains(signal), ends, "{signal}");
        }
    }
}
