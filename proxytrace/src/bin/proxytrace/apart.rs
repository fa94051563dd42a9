//! Writing by a thread of its own: whoever reads what we write may be slow, or not read at all, and the
//! command must not wait for that. What is written to a file nobody holds up, and so it is there at
//! once: it outlives us if we are killed.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// Bytes that may wait to be written; who is further behind than that is given up.
const WAITING_MAX: usize = 16 << 20;

/// An output whose writes do not wait. What fails is told at a later write, or at `flush`, which waits
/// until all is written.
pub(crate) struct Apart<W> {
    state: State<W>,
    waiting: Arc<AtomicUsize>,
}

enum State<W> {
    /// Without a thread: before the first write, and after a flush.
    Idle(W),
    Writing(Sender<Vec<u8>>, JoinHandle<io::Result<W>>),
    /// Nobody is held up by it any more.
    Direct(W),
    /// It has failed, and that was told.
    Failed,
}

impl<W: Write + AsFd + Send + 'static> Apart<W> {
    pub(crate) fn new(output: W) -> Self {
        let state = if is_regular(&output) { State::Direct(output) } else { State::Idle(output) };
        Self { state, waiting: Arc::default() }
    }

    /// From here on writes wait until they are done.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.join()?;
        self.state = match mem::replace(&mut self.state, State::Failed) {
            State::Idle(output) => State::Direct(output),
            other => other,
        };
        Ok(())
    }

    /// What the thread failed with: it ends by itself only where it did.
    fn failed(&mut self) -> io::Result<usize> {
        self.join().and(Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits for the thread to end.
    fn join(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Writing(pieces, thread) => {
                drop(pieces);
                let ended = thread.join().map_err(|_| io::Error::other("the writer panicked"))?;
                self.state = State::Idle(ended?);
                Ok(())
            }
            State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
            other => {
                self.state = other;
                Ok(())
            }
        }
    }
}

impl<W: Write + AsFd + Send + 'static> Write for Apart<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let State::Direct(output) = &mut self.state {
            return output.write(bytes);
        }
        if self.waiting.load(Ordering::Relaxed) + bytes.len() > WAITING_MAX {
            if matches!(&self.state, State::Writing(_, thread) if thread.is_finished()) {
                return self.failed();
            }
            // Without waiting for the thread, which may never end.
            self.state = State::Failed;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader is too slow"));
        }
        self.state = match mem::replace(&mut self.state, State::Failed) {
            State::Idle(output) => {
                let (sender, pieces) = mpsc::channel();
                let waiting = Arc::clone(&self.waiting);
                let thread = thread::Builder::new()
                    .name("output".to_owned())
                    .spawn(move || write_all(output, &pieces, &waiting))?;
                State::Writing(sender, thread)
            }
            other => other,
        };
        if let State::Writing(pieces, _) = &self.state {
            self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
            if pieces.send(bytes.to_vec()).is_ok() {
                return Ok(bytes.len());
            }
        }
        self.failed()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.join()?;
        match &mut self.state {
            State::Idle(output) | State::Direct(output) => output.flush(),
            _ => Ok(()),
        }
    }
}

/// Whether an output is a file, and not a pipe, a terminal or a socket, behind which somebody reads.
fn is_regular(output: &impl AsFd) -> bool {
    let file = output.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).as_ref().is_ok_and(Metadata::is_file)
}

fn write_all<W: Write>(
    mut output: W,
    pieces: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
) -> io::Result<W> {
    for piece in pieces {
        output.write_all(&piece)?;
        waiting.fetch_sub(piece.len(), Ordering::Relaxed);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn all_is_written_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Apart::new(writer);
        let read = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        let mut expected = Vec::new();
        for round in 0..2 {
            for number in 0..50_000u32 {
                let line = format!("{round} {number}\n");
                output.write_all(line.as_bytes()).unwrap();
                expected.extend(line.into_bytes());
            }
            output.flush().unwrap();
            output.wait().unwrap();
        }
        drop(output);
        assert!(read.join().unwrap().unwrap() == expected);
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output = Apart::new(writer);
        let piece = vec![0; 1 << 16];
        let mut written = 0;
        let error = loop {
            match output.write(&piece) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
            assert!(written <= 2 * WAITING_MAX);
        };
        assert!(written >= WAITING_MAX);
        assert_eq!(error.to_string(), "its reader is too slow");
        assert!(output.write(&piece).is_err());
        // Does not wait, either.
        assert!(output.flush().is_err());
        drop(reader);
    }

    #[test]
    fn what_is_in_a_file_is_there_at_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Apart::new(file.reopen().unwrap());
        output.write_all(b"a line\n").unwrap();
        let mut written = String::new();
        file.read_to_string(&mut written).unwrap();
        assert_eq!(written, "a line\n");
    }

    /// Nobody reads what the thread could not write, however much it is.
    #[test]
    fn what_failed_is_no_slow_reader() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut output = Apart::new(full);
        output.write_all(&vec![0; WAITING_MAX]).unwrap();
        while matches!(&output.state, State::Writing(_, thread) if !thread.is_finished()) {
            thread::yield_now();
        }
        let error = output.write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }

    #[test]
    fn a_failure_is_told_later() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut output = Apart::new(writer);
        output.write_all(b"x").unwrap();
        assert_eq!(output.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(output.write_all(b"x").is_err());
    }
}
