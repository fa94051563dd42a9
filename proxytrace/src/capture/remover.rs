//! Taking probes out while others stay.
//!
//! That waits for RCU, seconds long on kernels without `uprobe_multi`, which nobody else should. One
//! thread does it for all, one after the other: a service may have few, and many containers can end at
//! a time.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::rights;
use super::turn::take_out;

/// Whether probes are out.
#[derive(Debug, Default)]
pub(super) struct Out(Arc<AtomicBool>);

impl Out {
    pub(super) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Those that may still be at it.
static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// The thread that takes probes out. It ends when this is dropped, and all are out.
pub(super) struct Remover(Sender<(Vec<OwnedFd>, Arc<AtomicBool>)>);

impl Remover {
    pub(super) fn start() -> Self {
        let (sender, receiver) = channel::<(Vec<OwnedFd>, Arc<AtomicBool>)>();
        let remove = move || {
            rights::keep(&[]);
            for (held, is_out) in receiver {
                out(held, &is_out);
            }
        };
        // Without the thread nobody receives: see below.
        if let Ok(thread) = thread::Builder::new().name("probes".to_owned()).spawn(remove) {
            let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
        Self(sender)
    }

    /// Waits for those that were dropped. A process that ends kills its threads, and who is killed
    /// while it takes a probe out leaves it where it is: the kernel gives up to get at the memory.
    pub(super) fn finish() {
        let threads = std::mem::take(&mut *THREADS.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that panicked has closed what it had.
            let _ = thread.join();
        }
    }

    /// Has the probes taken out that this holds.
    pub(super) fn remove(&self, held: Vec<OwnedFd>) -> Out {
        let is_out = Arc::new(AtomicBool::new(false));
        if let Err(SendError((held, is_out))) = self.0.send((held, Arc::clone(&is_out))) {
            out(held, &is_out);
        }
        Out(is_out)
    }
}

fn out(held: Vec<OwnedFd>, is_out: &AtomicBool) {
    take_out(held);
    is_out.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _, pipe};
    use std::time::{Duration, Instant};

    use super::*;

    fn held() -> (PipeReader, Vec<OwnedFd>) {
        let (reader, writer) = pipe().unwrap();
        (reader, vec![writer.into()])
    }

    #[test]
    fn closes_in_the_background_what_holds_probes() {
        let remover = Remover::start();
        let many: Vec<_> = (0..40).map(|_| held()).collect();
        let outs: Vec<_> =
            many.into_iter().map(|(reader, held)| (reader, remover.remove(held))).collect();
        let began = Instant::now();
        for (mut reader, out) in outs {
            // Ends when the other end is closed.
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            while !out.is_done() {
                assert!(began.elapsed() < Duration::from_mins(1));
                thread::yield_now();
            }
        }
    }

    #[test]
    fn those_that_were_dropped_are_waited_for() {
        let remover = Remover::start();
        let outs: Vec<_> = (0..40).map(|_| remover.remove(held().1)).collect();
        drop(remover);
        Remover::finish();
        assert!(outs.iter().all(Out::is_done));
    }

    #[test]
    fn closes_at_once_where_there_can_be_no_thread() {
        let (sender, _) = channel();
        let (mut reader, held) = held();
        assert!(Remover(sender).remove(held).is_done());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
