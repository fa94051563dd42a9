//! The service manager: it is told how the agent does, and holds what is to outlive it.

use sd_notify::NotifyState;

use crate::capture::host::{Host, KEPT};

/// Tells it something.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(state);
}

/// Tells it that settings are being read again.
pub(super) fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Has it hold what counts builds while there is no agent, in place of what it held before.
pub(super) fn keep(host: Option<&Host>) {
    forget();
    let Some(Ok(counting)) = host.map(Host::counting) else { return };
    for (name, fd) in counting {
        // Maps say that something is wrong to whoever polls them, and systemd would let go of them.
        let unpolled = NotifyState::Custom("FDPOLL=0");
        let store = [NotifyState::FdStore, NotifyState::FdName(name), unpolled];
        let _ = sd_notify::notify_with_fds(&store, &[fd]);
    }
}

/// Has it hold nothing more.
pub(super) fn forget() {
    for name in KEPT {
        notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}
