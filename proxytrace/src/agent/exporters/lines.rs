//! Lines of JSON in files or on stdout, written by a thread of its own: who reads them may be slow
//! or not read at all, and a disk may hang. Nobody else waits for that.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;

use super::Pace;
use super::files::{Files, Rotation};
use super::ledger::{Ledger, lock};
use super::options::Options;
use super::thread::Thread;
use crate::export::rows::{self, Record};

/// The lines of a build, kind by kind.
pub(super) type Rows = [rows::Lines; Record::ALL.len()];

/// So many bytes may wait for whoever takes them.
const ROOM: usize = 2 << 20;

/// The thread.
pub(super) struct Lines {
    /// Where they go; what is open there stays so, whatever else changes.
    place: PathBuf,
    sender: Sender<Work>,
    waiting: Arc<Mutex<Waiting>>,
    ledger: Ledger,
    thread: Thread,
}

enum Work {
    Build(Arc<Rows>),
    /// How much of compressed files of a kind is kept, in bytes.
    Keep(u64),
}

/// What the thread has not done yet.
#[derive(Default)]
struct Waiting {
    bytes: usize,
    lines: u64,
    /// Nobody waits for the rest any more: it is counted, and not to be written.
    is_over: bool,
}

impl Lines {
    /// Opens where they are to go, if they are; what is wrong with that is known at once.
    pub(super) fn open(
        options: &Options,
        pace: Pace,
        ledger: &Ledger,
    ) -> anyhow::Result<Option<Self>> {
        let Some(directory) = options.ndjson.clone() else { return Ok(None) };
        let rotation =
            Rotation { bytes: pace.file_bytes, age: pace.file_age, keep: options.keep() };
        let (sender, receiver) = channel();
        let (opened, answer) = sync_channel(1);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let writer = Writer { receiver, waiting: Arc::clone(&waiting), ledger: ledger.clone() };
        let (path, step) = (directory.clone(), pace.flush);
        let thread = Thread::start("lines", move || writer.run(&path, rotation, &opened, step))?;
        let failed = || format!("cannot write files in {}", directory.display());
        match answer.recv_timeout(pace.end) {
            Ok(opened) => opened.with_context(failed)?,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)).with_context(failed)?,
        }
        Ok(Some(Lines { place: directory, sender, waiting, ledger: ledger.clone(), thread }))
    }

    /// Whether they go where these options have it.
    pub(super) fn is_at(&self, options: &Options) -> bool {
        options.ndjson.as_ref() == Some(&self.place)
    }

    /// Other bounds of what is kept.
    pub(super) fn keep(&self, options: &Options) {
        let _ = self.sender.send(Work::Keep(options.keep()));
    }

    /// Hands a build over. Never waits: what there is no room for is dropped and counted.
    pub(super) fn write(&self, rows: &Arc<Rows>) {
        let (bytes, lines) = size(rows);
        let mut waiting = lock(&self.waiting);
        // One that is larger than the room for all gets in alone.
        let fits = waiting.bytes == 0 || waiting.bytes + bytes <= ROOM;
        if fits && self.sender.send(Work::Build(Arc::clone(rows))).is_ok() {
            waiting.bytes += bytes;
            waiting.lines += lines;
        } else {
            self.ledger.book().dropped.full += lines;
        }
    }

    /// Nothing more comes: writes the rest, as far as there is time for it.
    pub(super) fn close(self) -> Closing {
        let Lines { waiting, ledger, thread, .. } = self;
        Closing { waiting, ledger, thread }
    }
}

/// Lines of which there come no more.
pub(super) struct Closing {
    waiting: Arc<Mutex<Waiting>>,
    ledger: Ledger,
    thread: Thread,
}

impl Closing {
    /// Waits for the rest, no longer than this; what is left then is counted.
    pub(super) fn end(self, time: Duration) {
        if !self.thread.end(time) {
            let mut waiting = lock(&self.waiting);
            waiting.is_over = true;
            self.ledger.book().dropped.ended += std::mem::take(&mut waiting.lines);
        }
    }
}

/// How many bytes, and how many lines.
fn size(rows: &Rows) -> (usize, u64) {
    rows.iter().fold((0, 0), |(bytes, lines), one| (bytes + one.bytes.len(), lines + one.count))
}

/// What the thread works with.
struct Writer {
    receiver: Receiver<Work>,
    waiting: Arc<Mutex<Waiting>>,
    ledger: Ledger,
}

/// Where lines go.
enum Place {
    Stdout,
    Files(Box<Files>),
}

impl Writer {
    fn run(
        self,
        path: &Path,
        rotation: Rotation,
        opened: &SyncSender<io::Result<()>>,
        step: Duration,
    ) {
        let mut place = match self.open(path, rotation) {
            Ok(place) => {
                // Who asked may not wait any more.
                if opened.send(Ok(())).is_err() {
                    return;
                }
                place
            }
            Err(error) => return opened.send(Err(error)).unwrap_or_default(),
        };
        // It may take long, where much was left.
        if let Place::Files(files) = &place {
            files.tidy();
        }
        loop {
            match (self.receiver.recv_timeout(step), &mut place) {
                (Ok(Work::Build(rows)), place) => {
                    if self.write(place, &rows).is_none() {
                        return;
                    }
                }
                (Ok(Work::Keep(bytes)), Place::Files(files)) => files.keep(bytes),
                (Ok(Work::Keep(_)), Place::Stdout) | (Err(RecvTimeoutError::Timeout), _) => {}
                (Err(RecvTimeoutError::Disconnected), _) => return,
            }
            if let Place::Files(files) = &mut place {
                files.tick();
            }
        }
    }

    fn open(&self, path: &Path, rotation: Rotation) -> io::Result<Place> {
        if path.as_os_str() == "-" {
            return Ok(Place::Stdout);
        }
        let files = Files::open(path.to_owned(), rotation, self.ledger.clone())?;
        Ok(Place::Files(Box::new(files)))
    }

    /// Writes a build, and counts what came of it; none where that was done already, by whoever
    /// did not wait.
    fn write(&self, place: &mut Place, rows: &Rows) -> Option<()> {
        if lock(&self.waiting).is_over {
            return None;
        }
        let (mut written, mut failed) = (0, 0);
        for (record, lines) in Record::ALL.into_iter().zip(rows) {
            let result = match place {
                Place::Files(files) => files.write(record, lines),
                Place::Stdout => {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&lines.bytes).and_then(|()| stdout.flush())
                }
            };
            match result {
                Ok(()) => written += lines.count,
                Err(error) => {
                    failed += lines.count;
                    self.ledger.refused(error.to_string());
                }
            }
        }
        let mut waiting = lock(&self.waiting);
        if waiting.is_over {
            return None;
        }
        waiting.bytes -= size(rows).0;
        waiting.lines -= written + failed;
        let mut book = self.ledger.book();
        book.sent += written;
        book.dropped.disk += failed;
        Some(())
    }
}
