//! The thread that counts and writes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::lines::Lines;
use super::options::Options;
use super::outlets::{self, Outlets, Ready};
use super::shared::Shared;
use super::{Pace, Waiting, chains};
use crate::export::metrics::Registry;
use crate::export::{Build, Health, rows};

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
    pub(super) waiting: Arc<Waiting>,
    pub(super) shared: Arc<Shared>,
    pub(super) intake: Ledger,
    /// What is open, or is to be.
    pub(super) ready: Ready,
    pub(super) lines: Option<Lines>,
    /// None where neither new options nor those before could be opened: that is tried again.
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
                Ok(Message::Options(options, done)) => done(self.change(&options)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() >= self.pace.flush {
                flushed = Instant::now();
                self.ready.look_at_name();
                match &mut self.outlets {
                    Some(outlets) => outlets.flush(),
                    None => self.open_again(),
                }
            }
            if written.elapsed() >= self.pace.textfile {
                written = Instant::now();
                self.write_textfile();
            }
        }
        // Nobody comes to see more of them.
        self.shared.change(Registry::settle);
        let end = Instant::now() + self.pace.end;
        let lines = self.lines.take().map(Lines::close);
        if let Some(outlets) = &mut self.outlets {
            outlets.end(self.pace.end);
        }
        if let Some(lines) = lines {
            lines.end(end.saturating_duration_since(Instant::now()));
        }
        // What was given up in the end, too.
        self.write_textfile();
    }

    fn build(&mut self, build: &Build) {
        self.shared.change(|registry| registry.observe(build));
        let needs_rows = self.lines.is_some() || self.ready.needs_rows();
        let host = self.ready.host();
        let all = if needs_rows { rows::lines(build, host) } else { Default::default() };
        let all = Arc::new(all);
        if let Some(lines) = &self.lines {
            lines.write(&all);
        }
        match &mut self.outlets {
            Some(outlets) => {
                outlets.build(build, host, &all);
                self.intake.book().sent += 1;
            }
            None => self.intake.book().dropped.closed += 1,
        }
        self.waiting.take(chains(build));
    }

    /// What is open has to be closed first: it may be the same port, the same queue. What can be
    /// wrong with files that are read, is known before.
    fn change(&mut self, options: &Options) -> anyhow::Result<()> {
        let ready = Ready::read(options, self.pace)?;
        outlets::try_textfile(options)?;
        let same = self.lines.as_ref().is_some_and(|lines| lines.is_at(options));
        let lines = if same {
            None
        } else {
            Lines::open(options, self.pace, &self.shared.ledger("ndjson"))?
        };
        let time = self.pace.end.min(CHANGE);
        // All of it is closed then: it may be the same queue.
        let textfile = self.outlets.take().and_then(|mut outlets| {
            outlets.end(time);
            outlets.write_textfile(&self.shared);
            outlets.textfile()
        });
        let opened = Outlets::open(&ready, self.pace, &self.shared);
        let Ok(outlets) = opened else {
            self.open_again();
            return opened.map(drop);
        };
        self.outlets = Some(outlets);
        if let Some(before) = textfile.filter(|path| Some(path) != options.textfile.as_ref()) {
            outlets::remove_textfile(&before, &self.shared);
        }
        if same {
            self.lines.iter().for_each(|lines| lines.keep(options));
        } else if let Some(before) = std::mem::replace(&mut self.lines, lines) {
            before.close().end(time);
        }
        self.shared.limit(options.limits());
        self.ready = ready;
        self.write_textfile();
        Ok(())
    }

    /// Opens what was open before.
    fn open_again(&mut self) {
        match Outlets::open(&self.ready, self.pace, &self.shared) {
            Ok(outlets) => self.outlets = Some(outlets),
            Err(error) => self.intake.failed(format!("{error:#}")),
        }
    }

    fn write_textfile(&self) {
        if let Some(outlets) = &self.outlets {
            outlets.write_textfile(&self.shared);
        }
    }
}
