//! What the agent hands to monitoring, on threads of its own: the capture loop never waits for it.
//!
//! One thread counts builds and fills queues; another one, where there is a network to serve,
//! answers Prometheus and sends what is in the queues; another one writes lines. What there is no
//! room for is counted.

mod disk;
mod files;
mod frame;
mod ledger;
mod lines;
mod network;
mod options;
mod outlets;
mod port;
mod post;
mod remote;
mod shared;
mod spool;
mod stop;
mod thread;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use self::ledger::Ledger;
use self::lines::Lines;
pub use self::options::{Listen, Options, Size};
use self::outlets::{Outlets, Ready};
use self::shared::Shared;
use self::thread::Thread;
use self::worker::{Message, Worker};
use crate::export::{Build, Delivery, Health};

/// So many builds may wait, and so many chains of them: what is in memory is bounded.
const BUILDS: usize = 256;
const CHAINS: usize = 20_000;

/// How much longer than it may take the end is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// How often things happen. Tests have less time than an agent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What was added to a queue may wait so long.
    pub flush: Duration,
    /// How often an empty queue is looked at.
    pub look: Duration,
    /// How often the textfile is written.
    pub textfile: Duration,
    /// How often metrics are sent by OTLP.
    pub metrics: Duration,
    /// How long a new series is shown as none, for readers to see it begin.
    pub youth: Duration,
    /// How long a POST may take.
    pub post: Duration,
    /// How long to wait after a failure; doubled with each.
    pub backoff: Duration,
    /// How long at most.
    pub backoff_most: Duration,
    /// How old a file of lines may become.
    pub file_age: Duration,
    /// How large, in bytes, before it is compressed.
    pub file_bytes: u64,
    /// How long the end may take.
    pub end: Duration,
}

impl Pace {
    /// The same, so many times as often; what receivers are given time for stays.
    fn faster(self, times: u32) -> Self {
        Pace {
            flush: self.flush / times,
            look: self.look / times,
            textfile: self.textfile / times,
            metrics: self.metrics / times,
            youth: self.youth / times,
            backoff: self.backoff / times,
            backoff_most: self.backoff_most / times,
            file_age: self.file_age / times,
            ..self
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            flush: Duration::from_secs(5),
            look: Duration::from_secs(2),
            textfile: Duration::from_secs(15),
            metrics: Duration::from_mins(1),
            youth: Duration::from_mins(1),
            post: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            backoff_most: Duration::from_mins(1),
            file_age: Duration::from_hours(1),
            file_bytes: 8 << 20,
            end: Duration::from_secs(5),
        }
    }
}

/// What was handed over and is not counted yet.
#[derive(Default)]
struct Waiting {
    builds: AtomicU64,
    chains: AtomicUsize,
}

impl Waiting {
    /// One build more; yields the chains that there were without.
    fn add(&self, chains: usize) -> usize {
        self.builds.fetch_add(1, Ordering::Relaxed);
        self.chains.fetch_add(chains, Ordering::Relaxed)
    }

    fn take(&self, chains: usize) {
        self.builds.fetch_sub(1, Ordering::Relaxed);
        self.chains.fetch_sub(chains, Ordering::Relaxed);
    }
}

/// As how many chains a build counts.
fn chains(build: &Build) -> usize {
    build.trace.chains.len().max(1)
}

/// All exporters.
pub struct Exporters {
    sender: SyncSender<Message>,
    waiting: Arc<Waiting>,
    /// Builds, of the way in.
    intake: Ledger,
    shared: Arc<Shared>,
    worker: Thread,
    pace: Pace,
}

impl Exporters {
    /// Opens everything that the options name, so that what is wrong with them is known at once.
    /// `health` is how the agent is now: some of its sums go on from those of the agent before.
    pub fn start(options: &Options, health: &Health) -> anyhow::Result<Self> {
        let pace = options.haste.map(|haste| Pace::default().faster(haste.get()));
        Self::start_with(options, health, pace.unwrap_or_default())
    }

    /// The same, at another pace, and without an agent.
    pub fn start_at(options: &Options, pace: Pace) -> anyhow::Result<Self> {
        Self::start_with(options, &Health::default(), pace)
    }

    fn start_with(options: &Options, health: &Health, pace: Pace) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::new(options.limits(), pace.youth, health));
        let intake = shared.ledger("intake");
        let ready = Ready::read(options, pace)?;
        outlets::try_textfile(options)?;
        let lines = Lines::open(options, pace, &shared.ledger("ndjson"))?;
        let outlets = Outlets::open(&ready, pace, &shared)?;
        let (sender, receiver) = sync_channel(BUILDS);
        let waiting = Arc::new(Waiting::default());
        let worker = Worker {
            receiver,
            waiting: Arc::clone(&waiting),
            shared: Arc::clone(&shared),
            intake: intake.clone(),
            ready,
            lines,
            outlets: Some(outlets),
            pace,
        };
        let worker = Thread::start("exporters", move || worker.run())?;
        Ok(Exporters { sender, waiting, intake, shared, worker, pace })
    }

    /// Goes on with other options, and says when that is done, or what is wrong with them: then the
    /// ones before stay, with what was in their files when they were read. Never waits. Sums go on,
    /// unless the bounds of labels change; what waits in memory is sent within a second or given up.
    pub fn reload(&self, options: Options, done: impl FnOnce(anyhow::Result<()>) + Send + 'static) {
        let message = Message::Options(Box::new(options), Box::new(done));
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            self.sender.try_send(message)
            && let Message::Options(_, done) = message
        {
            done(Err(anyhow::anyhow!("the exporters are busy; try again later")));
        }
    }

    /// Where metrics are served: of use where the port was left to the system.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.shared.address()
    }

    /// Hands a build over. Never waits: where there is no room, the build is dropped and counted.
    pub fn observe(&self, build: Build) {
        let chains = chains(&build);
        let before = self.waiting.add(chains);
        // One that is larger than the room for all gets in alone.
        let fits = before == 0 || before + chains <= CHAINS;
        if !fits || self.sender.try_send(Message::Build(Box::new(build))).is_err() {
            self.waiting.take(chains);
            self.intake.book().dropped.busy += 1;
        }
    }

    /// Says how the agent is. Never waits; where there is no room, the next one will do.
    pub fn health(&self, health: Health) {
        let _ = self.sender.try_send(Message::Health(Box::new(health)));
    }

    /// What became of everything so far, by exporter.
    pub fn deliveries(&self) -> Vec<(&'static str, Delivery)> {
        self.shared.deliveries()
    }

    /// How often each exporter has failed so far, and why the last time, of those that have.
    pub fn failures(&self) -> Vec<(&'static str, u64, String)> {
        self.shared.failures()
    }

    /// Counts, writes and sends what is left, as far as there is time for it ([`Pace::end`]), and
    /// says what became of everything. What is in a queue on disk stays there for the next start.
    pub fn finish(self) -> Vec<(&'static str, Delivery)> {
        // The worker ends with the last sender, if it is not gone already, and in time, unless a
        // disk keeps it from that.
        drop(self.sender);
        self.worker.end(self.pace.end + GRACE);
        // Of what it has not done by now nobody will know more.
        self.intake.book().dropped.ended += self.waiting.builds.load(Ordering::Relaxed);
        self.shared.deliveries()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::report::samples::healthy;

    #[test]
    fn what_a_disk_kept_from_being_counted_is_given_up() {
        let options = || Options { metrics: Some("off".parse().unwrap()), ..Options::default() };
        let pace = Pace { end: Duration::ZERO, ..Pace::default() };
        let exporters = Exporters::start_at(&options(), pace).unwrap();
        let (release, held) = channel::<()>();
        exporters.reload(options(), move |_| _ = held.recv());
        for _ in 0..3 {
            exporters.observe(Build::new(healthy()));
        }
        let all = exporters.finish();
        drop(release);
        let (name, intake) = all[0];
        assert_eq!((name, intake.sent, intake.dropped.ended), ("intake", 0, 3));
        assert_eq!(intake.dropped.all(), 3);
    }
}
