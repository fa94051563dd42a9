//! Signals while a command is watched: the terminal's reach the command by itself, since it is in
//! our process group; those sent to us alone are passed on; none ends us before the command.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::child::Child;

/// Signals that would end or stop us. SIGCHLD says that the command has changed.
const TAKEN: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGALRM,
];

/// Signals, read instead of handled.
pub(super) struct Signals {
    fd: SignalFd,
    original: SigSet,
}

impl Signals {
    /// Takes them over for the rest of this process.
    pub(super) fn take() -> nix::Result<Self> {
        let taken: SigSet = TAKEN.into_iter().collect();
        let mut original = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&taken), Some(&mut original))?;
        let fd = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, original })
    }

    /// The mask that we were started with: the command's.
    pub(super) fn original(&self) -> &SigSet {
        &self.original
    }

    /// Passes on what was sent to us by a process; what the terminal sent, the command has.
    pub(super) fn forward(&mut self, child: &Child) {
        while let Ok(Some(signal)) = self.fd.read_signal() {
            let number = signal.ssi_signo.cast_signed();
            if number != Signal::SIGCHLD as i32 && signal.ssi_code != libc::SI_KERNEL {
                child.forward(number);
            }
        }
    }

    /// Stops as the command has, until we are continued with it.
    pub(super) fn stop_ourselves() {
        // It cannot fail, nor be blocked.
        let _ = raise(Signal::SIGSTOP);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
