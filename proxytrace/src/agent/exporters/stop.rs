//! The end, announced.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

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

    /// Does something, no longer than there is time for it: the end may be announced meanwhile.
    pub(super) async fn bound<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        if !self.is_set() {
            let mut announced = pin!(self.0.changed());
            let early = std::future::poll_fn(|context| {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(done));
                }
                announced.as_mut().poll(context).map(|_| None)
            });
            if let Some(done) = early.await {
                return Some(done);
            }
        }
        timeout_at(self.deadline(), work).await.ok()
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
