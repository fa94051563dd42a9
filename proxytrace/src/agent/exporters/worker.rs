//! The thread that counts and writes, and the one with the network.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::files::Files;
use super::ledger::{Ledger, lock};
use super::port::Port;
use super::remote::{self, Remotes, Signal};
use super::shared::{Shared, now_ns};
use super::spool::Spool;
use super::{Pace, spawn, textfile};
use crate::export::rows::{self, Record};
use crate::export::{Build, Health, Host, otlp};

/// What the worker is told.
pub(super) enum Message {
    Build(Box<Build>),
    Health(Box<Health>),
}

/// Where lines go.
pub(super) enum Lines {
    Stdout,
    Files(Box<Files>),
}

/// The thread that counts and writes.
pub(super) struct Worker {
    pub(super) receiver: Receiver<Message>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) shared: Arc<Shared>,
    pub(super) intake: Ledger,
    pub(super) host: Host,
    pub(super) queues: Vec<(Signal, Arc<Mutex<Spool>>)>,
    pub(super) lines: Option<Lines>,
    pub(super) lines_ledger: Ledger,
    pub(super) textfile: Option<(PathBuf, Ledger)>,
    pub(super) network: Option<Network>,
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
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() >= self.pace.flush {
                flushed = Instant::now();
                self.flush();
            }
            if written.elapsed() >= self.pace.textfile {
                written = Instant::now();
                self.write_textfile();
            }
        }
        self.flush();
        if let Some(network) = self.network.take() {
            network.end(self.pace.end);
        }
        for (_, spool) in &self.queues {
            lock(spool).end();
        }
        self.write_textfile();
    }

    fn build(&mut self, build: &Build) {
        self.shared.change(|registry| registry.observe(build));
        let needs_rows =
            self.lines.is_some() || self.queues.iter().any(|(signal, _)| is_rows(*signal));
        let all = if needs_rows { rows::lines(build, &self.host) } else { Default::default() };
        for (record, lines) in Record::ALL.into_iter().zip(&all) {
            self.write(record, lines);
        }
        for (signal, spool) in &self.queues {
            let push = |payload: &[u8], count| lock(spool).push(payload, count);
            match signal {
                Signal::Spans => {
                    for message in otlp::spans(build, &self.host) {
                        push(&message.bytes, message.count);
                    }
                }
                Signal::Logs => {
                    if let Some(message) = otlp::logs(build, &self.host, now_ns()) {
                        push(&message.bytes, message.count);
                    }
                }
                Signal::Rows(record) => {
                    let lines = &all[*record as usize];
                    push(&lines.bytes, lines.count);
                }
            }
        }
        self.waiting.fetch_sub(build.trace.chains.len().max(1), Ordering::Relaxed);
        self.intake.book().sent += 1;
    }

    fn write(&mut self, record: Record, lines: &rows::Lines) {
        match &mut self.lines {
            Some(Lines::Files(files)) => files.write(record, lines),
            Some(Lines::Stdout) => {
                let mut stdout = io::stdout().lock();
                match stdout.write_all(&lines.bytes).and_then(|()| stdout.flush()) {
                    Ok(()) => self.lines_ledger.book().sent += lines.count,
                    Err(_) => self.lines_ledger.book().dropped.disk += lines.count,
                }
            }
            None => {}
        }
    }

    fn flush(&mut self) {
        for (_, spool) in &self.queues {
            lock(spool).complete();
        }
        if let Some(Lines::Files(files)) = &mut self.lines {
            files.tick();
        }
    }

    fn write_textfile(&self) {
        let Some((path, ledger)) = &self.textfile else { return };
        match textfile::replace(path, &self.shared.text()) {
            Ok(()) => ledger.book().sent += 1,
            Err(_) => ledger.book().failures += 1,
        }
    }
}

fn is_rows(signal: Signal) -> bool {
    matches!(signal, Signal::Rows(_))
}

/// The thread with the network.
pub(super) struct Network {
    thread: JoinHandle<()>,
    stop: watch::Sender<Option<Instant>>,
}

/// Starts it, if there is anything for it to do.
pub(super) fn network(
    port: Option<Port>,
    remotes: Remotes,
    shared: &Arc<Shared>,
    pace: Pace,
) -> io::Result<Option<Network>> {
    if port.is_none() && remotes.queues.is_empty() {
        return Ok(None);
    }
    let (sender, stop) = remote::stop();
    let shared = Arc::clone(shared);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = spawn("network", move || {
        run(&runtime, async move {
            let mut senders = JoinSet::new();
            if let Some(port) = port {
                tokio::spawn(port.serve(Arc::clone(&shared)));
            }
            for queue in remotes.queues {
                senders.spawn(queue.run(pace, stop.clone()));
            }
            if let Some(metrics) = remotes.metrics {
                senders.spawn(remote::metrics(metrics, Arc::clone(&shared), pace, stop.clone()));
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

fn run(runtime: &Runtime, all: impl Future<Output = ()>) {
    runtime.block_on(all);
}

impl Network {
    /// Ends it; what is in the queues has so long.
    fn end(self, time: Duration) {
        let _ = self.stop.send(Some(Instant::now() + time));
        let _ = self.thread.join();
    }
}
