//! The thread that counts and writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Pace;
use super::ledger::Ledger;
use super::options::Options;
use super::outlets::{self, Outlets};
use super::shared::Shared;
use crate::export::metrics::Registry;
use crate::export::{Build, Health};

/// What the worker is told.
pub(super) enum Message {
    Build(Box<Build>),
    Health(Box<Health>),
    Options(Box<Options>, Done),
}

/// Is told what came of new options.
pub(super) type Done = Box<dyn FnOnce(anyhow::Result<()>) + Send>;

/// Between two sets of options nobody waits longer for a receiver.
const CHANGE: Duration = Duration::from_secs(1);

/// The thread that counts and writes.
pub(super) struct Worker {
    pub(super) receiver: Receiver<Message>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) shared: Arc<Shared>,
    pub(super) intake: Ledger,
    pub(super) options: Options,
    /// None where neither new options nor those before could be opened.
    pub(super) outlets: Option<Outlets>,
    pub(super) pace: Pace,
}

impl Worker {
    pub(super) fn run(mut self) {
        let (mut flushed, mut written) = (Instant::now(), Instant::now());
        self.write_textfile();
        let step = self.pace.flush.min(self.pace.textfile);
        loop {
            match self.receiver.recv_timeout(step) {
                Ok(Message::Build(build)) => self.build(&build),
                Ok(Message::Health(health)) => {
                    self.shared.change(|registry| registry.health(&health));
                }
                Ok(Message::Options(options, done)) => done(self.change(*options)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() >= self.pace.flush {
                flushed = Instant::now();
                if let Some(outlets) = &mut self.outlets {
                    outlets.flush();
                }
            }
            if written.elapsed() >= self.pace.textfile {
                written = Instant::now();
                self.write_textfile();
            }
        }
        // Nobody comes to see more of them.
        self.shared.change(Registry::settle);
        if let Some(outlets) = self.outlets.take() {
            outlets.end(self.pace.end, &self.shared);
        }
    }

    fn build(&mut self, build: &Build) {
        self.shared.change(|registry| registry.observe(build));
        if let Some(outlets) = &mut self.outlets {
            outlets.build(build);
        }
        self.waiting.fetch_sub(build.trace.chains.len().max(1), Ordering::Relaxed);
        self.intake.book().sent += 1;
    }

    /// What is open has to be closed first: it may be the same port, the same queue.
    fn change(&mut self, options: Options) -> anyhow::Result<()> {
        outlets::try_textfile(&options, &self.shared)?;
        if let Some(outlets) = self.outlets.take() {
            outlets.end(self.pace.end.min(CHANGE), &self.shared);
        }
        let opened = Outlets::open(&options, self.pace, &self.shared);
        match opened {
            Ok(outlets) => {
                self.outlets = Some(outlets);
                self.shared.limit(options.limits());
                self.options = options;
                self.write_textfile();
                Ok(())
            }
            Err(error) => {
                self.outlets = Outlets::open(&self.options, self.pace, &self.shared).ok();
                Err(error)
            }
        }
    }

    fn write_textfile(&self) {
        if let Some(outlets) = &self.outlets {
            outlets.write_textfile(&self.shared);
        }
    }
}
