//! Signals, read instead of handled.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those that the agent heeds.
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn take() -> anyhow::Result<Self> {
        let taken: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        taken.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&taken, flags)?))
    }

    pub(super) fn next(&self) -> Option<Signal> {
        let signal = self.0.read_signal().ok()??;
        Signal::try_from(signal.ssi_signo.cast_signed()).ok()
    }

    pub(super) fn wait(&self, limit: Duration) {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
