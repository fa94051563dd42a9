//! The end, announced.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Whether to stop, and until when.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<Option<std::time::Instant>>);

impl Stop {
    pub(super) fn new(receiver: watch::Receiver<Option<std::time::Instant>>) -> Self {
        Stop(receiver)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// When everything has to be over; far away as long as nobody wants to stop.
    pub(super) fn deadline(&self) -> Instant {
        let far = || std::time::Instant::now() + Duration::from_hours(1);
        Instant::from_std(self.0.borrow().unwrap_or_else(far))
    }

    /// Waits, no longer than until the end is announced.
    pub(super) async fn wait(&mut self, time: Duration) {
        if self.is_set() {
            return;
        }
        // If nobody can announce it any more, waiting is all there is.
        if let Ok(Err(_)) = timeout(time, self.0.changed()).await {
            tokio::time::sleep(time).await;
        }
    }
}
