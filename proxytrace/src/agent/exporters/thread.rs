//! Threads that nobody waits for longer than there is time: a write may hang for ever.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A thread.
pub(super) struct Thread {
    /// Nothing comes; it is closed with the end of the thread.
    running: Receiver<Infallible>,
}

impl Thread {
    /// Starts it.
    pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, running) = channel();
        let run = move || {
            // Dropped however it ends.
            let _running = sender;
            run();
        };
        std::thread::Builder::new().name(name.to_owned()).stack_size(1 << 20).spawn(run)?;
        Ok(Thread { running })
    }

    /// Waits for its end, no longer than this; says whether it has come.
    pub(super) fn end(&self, time: Duration) -> bool {
        self.running.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_hangs() {
        let (release, held) = channel::<()>();
        let thread = Thread::start("held", move || _ = held.recv()).unwrap();
        assert!(!thread.end(Duration::from_millis(10)));
        drop(release);
        assert!(thread.end(Duration::from_mins(1)));
        let broken = Thread::start("broken", || panic!("as it happens")).unwrap();
        assert!(broken.end(Duration::from_mins(1)));
    }
}
