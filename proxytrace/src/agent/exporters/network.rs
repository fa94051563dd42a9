//! The thread with the network.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Pace;
use super::outlets::named;
use super::port::Port;
use super::remote::{self, Remotes};
use super::shared::Shared;
use super::thread::Thread;
use crate::export::Host;

/// The thread.
pub(super) struct Network {
    thread: Thread,
    stop: watch::Sender<Option<Instant>>,
}

/// Starts it, if there is anything for it to do.
pub(super) fn start(
    port: Option<Port>,
    remotes: Remotes,
    host: Host,
    shared: &Arc<Shared>,
    pace: Pace,
) -> io::Result<Option<Network>> {
    if port.is_none() && remotes.queues.is_empty() {
        return Ok(None);
    }
    let (sender, stop) = remote::stop();
    let shared = Arc::clone(shared);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = Thread::start("network", move || {
        runtime.block_on(async move {
            let mut senders = JoinSet::new();
            if let Some(port) = port {
                tokio::spawn(port.serve(Arc::clone(&shared)));
            }
            for queue in remotes.queues {
                senders.spawn(queue.run(pace, stop.clone()));
            }
            if let Some(metrics) = remotes.metrics {
                let sums = move || shared.metrics(&named(&host));
                senders.spawn(remote::metrics(metrics, sums, pace, stop.clone()));
            }
            let mut stop = stop;
            while !stop.is_set() {
                stop.wait(Duration::from_hours(1)).await;
            }
            while senders.join_next().await.is_some() {}
        });
        // A name that is being looked up keeps nobody.
        runtime.shutdown_background();
    })?;
    Ok(Some(Network { thread, stop: sender }))
}

impl Network {
    /// Ends it; what is in the queues has so long.
    pub(super) fn end(self, time: Duration) {
        let _ = self.stop.send(Some(Instant::now() + time));
        // What it does itself, it ends in time; a directory of a queue may hang.
        self.thread.end(time + Duration::from_secs(1));
    }
}
