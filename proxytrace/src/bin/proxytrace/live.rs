//! A line about how far the run is, on a terminal that the command writes to as well.
//!
//! What the command writes goes to the terminal without us, and must look as it would have. So:
//!
//! - The line stands *below* the cursor, and the cursor stays where the command left it. What the
//!   command writes next is where it would have been.
//! - It is drawn only when the terminal has been quiet, and taken away as soon as anybody writes to
//!   the terminal, which inotify tells. Nothing is erased but what is behind the cursor and below
//!   it: what the command wrote is neither.
//! - It is not drawn where somebody may read keys or draw a screen (no canonical mode, no echo),
//!   where another process group has the terminal, or where inotify is not to be had.
//!
//! What remains: where several lines come at once, in one write or faster than we are woken, the rest
//! of ours can stand right of the second one, on the screen alone. It stands at the right edge for
//! that. Killed, we leave one line that is written over.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, OutputFlags, tcgetattr};
use nix::unistd::{getpgrp, pipe, tcgetpgrp};
use proxytrace::event::Event;
use proxytrace::report::progress::Progress;

/// How long the terminal has to be quiet.
const QUIET: Duration = Duration::from_secs(2);
/// How often the line is drawn anew.
const INTERVAL: Duration = Duration::from_secs(1);

/// From the cursor to the end of the screen.
const ERASE: &str = "\x1b[J";

/// The line, and the thread that draws it.
pub(crate) struct Live {
    progress: Arc<Mutex<Progress>>,
    /// Closed to end the thread.
    end: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Begins, where stderr is a terminal on which it does no harm.
    pub(crate) fn start() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let writes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        writes.add_watch("/proc/self/fd/2", AddWatchFlags::IN_MODIFY).ok()?;
        let (ended, end) = pipe().ok()?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let line = Line {
            progress: Arc::clone(&progress),
            origin: Instant::now(),
            writes,
            ended,
            quiet_since: Instant::now(),
            drawn: None,
        };
        let thread = thread::Builder::new().name("live".into()).spawn(move || line.run()).ok()?;
        Some(Live { progress, end: Some(end), thread: Some(thread) })
    }

    /// Takes the next event.
    pub(crate) fn event(&self, event: &Event) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl Drop for Live {
    /// Takes the line away.
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Line {
    progress: Arc<Mutex<Progress>>,
    /// When the trace began.
    origin: Instant,
    writes: Inotify,
    ended: OwnedFd,
    quiet_since: Instant,
    /// When the line was drawn, if it stands.
    drawn: Option<Instant>,
}

impl Line {
    fn run(mut self) {
        // A terminal that became somebody else's meanwhile must not stop us.
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTOU);
        if stops.thread_block().is_err() {
            return;
        }
        loop {
            let mut fds = [
                PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.writes.as_fd(), PollFlags::POLLIN),
            ];
            let now = Instant::now();
            let due = self.drawn.map_or(self.quiet_since + QUIET, |drawn| drawn + INTERVAL);
            let wait = due.saturating_duration_since(now).max(Duration::from_millis(20));
            let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut fds, wait);
            let is = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            let (ended, written) = (is(&fds[0]), is(&fds[1]));
            if written {
                self.quiet_since = Instant::now();
                self.forget_writes();
            }
            if ended || written {
                self.erase();
            } else if Instant::now() >= due {
                self.draw();
            }
            if ended {
                return;
            }
        }
    }

    /// Where writes cannot be told apart any more nothing is drawn either: they count as one.
    fn forget_writes(&self) {
        while self.writes.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    fn draw(&mut self) {
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let line = self.progress.lock().unwrap_or_else(PoisonError::into_inner).line(now);
        let Some(line) = line.filter(|_| is_ours_to_draw_on()) else {
            self.erase();
            // To be looked at again when the next would be due.
            self.quiet_since = Instant::now();
            return;
        };
        let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
        // The last column stays free: some terminals go to the next line behind it.
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        // At the right edge, where the lines of others seldom reach.
        let column = width.saturating_sub(line.chars().count()).max(1);
        // Room for a line below (VT, CUU); there and back (DECSC, CUD, CHA, DECRC).
        self.write(&format!("\x0b\x1b[A\x1b7\x1b[B\x1b[2K\x1b[{column}G\x1b[2m{line}\x1b[0m\x1b8"));
        self.drawn = Some(Instant::now());
    }

    fn erase(&mut self) {
        if self.drawn.take().is_some() {
            self.write(ERASE);
        }
    }

    /// In one piece, which the terminal does not mix with the writes of others.
    fn write(&self, bytes: &str) {
        let _ = io::stderr().write_all(bytes.as_bytes());
        self.forget_writes();
    }
}

/// Whether the terminal is in the state in which programs write lines, and ours to write to.
fn is_ours_to_draw_on() -> bool {
    let stderr = io::stderr();
    let lines = tcgetattr(stderr.as_fd()).is_ok_and(|terminal| {
        terminal.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
            && terminal.output_flags.contains(OutputFlags::OPOST)
    });
    lines && tcgetpgrp(stderr.as_fd()).is_ok_and(|group| group == getpgrp())
}
