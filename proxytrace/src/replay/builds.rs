//! The builds of a recording, each by itself: what is in memory is what was running at a time.
//!
//! A build is a `go` command that no other one started, and all that it starts. What was lost, had
//! no probes or was looked up at the end is said of each build, as it is of the whole: it may be
//! any build's.

use std::collections::VecDeque;
use std::mem;

use foldhash::HashMap;

use super::CUT;
use crate::correlate::Correlator;
use crate::diagnose::diagnose;
use crate::event::{End, Event, Start, TcpState, What};
use crate::model::Trace;
use crate::recording::{Error, Reader};

/// Sockets are closed a moment after their process has ended; so long are they waited for, in
/// nanoseconds.
const LINGER: u64 = 1_000_000_000;

/// What is true of all builds of a recording, read from it once before they are told.
#[derive(Debug)]
pub struct Survey {
    everywhere: Vec<Event>,
    /// Whether it stops before its end.
    is_cut: bool,
    /// What is wrong with the recording, if anything.
    pub broken: Option<Error>,
}

impl Survey {
    /// Reads a recording to its end.
    pub fn of(mut reader: Reader<impl std::io::BufRead>) -> Self {
        let (mut everywhere, mut broken, mut lost) = (Vec::<Event>::new(), None, 0_u64);
        for event in &mut reader {
            match event {
                Ok(Event { what: What::Lost { count }, .. }) => lost = lost.saturating_add(count),
                Ok(event) if is_everywhere(&event.what) => {
                    // Each build is told all of it: what is said again need not be.
                    if everywhere.iter().all(|known| known.what != event.what) {
                        everywhere.push(event);
                    }
                }
                Ok(_) => {}
                Err(error) => broken = Some(error),
            }
        }
        if lost > 0 {
            let what = What::Lost { count: lost };
            everywhere.push(Event { time: reader.end().time, pid: 0, goroutine: None, what });
        }
        Self { everywhere, is_cut: reader.is_cut(), broken }
    }
}

/// What is no build's own.
fn is_everywhere(what: &What) -> bool {
    matches!(
        what,
        What::Attach(_)
            | What::WatchEnded { .. }
            | What::Lost { .. }
            | What::Requirement(_)
            | What::Netrc(_)
    )
}

/// Hands the builds of a recording to `each`, with their findings, as they end. What programs asked
/// by plain HTTP that are of no build is counted.
///
/// # Errors
///
/// Those of `each`, at the first of which it ends.
pub fn builds<E>(
    reader: Reader<impl std::io::BufRead>,
    survey: Survey,
    mut each: impl FnMut(Trace) -> Result<(), E>,
) -> Result<u64, E> {
    let mut builds = Builds::new(reader.start().clone(), survey);
    // What is wrong with it the survey has said.
    for event in reader.map_while(Result::ok) {
        builds.push(event);
        mem::take(&mut builds.done).into_iter().try_for_each(&mut each)?;
    }
    let outside = builds.outside;
    builds.finish().into_iter().try_for_each(each)?;
    Ok(outside)
}

/// Names a build: they are counted.
type Number = u64;

/// Those that are running, and what tells whose an event is.
struct Builds {
    start: Start,
    everywhere: Vec<Event>,
    is_cut: bool,
    running: HashMap<Number, Running>,
    count: Number,
    of_pid: HashMap<u32, Number>,
    of_socket: HashMap<u64, Number>,
    /// What pids of no build have become: one of these may turn out to be a `go`.
    images: HashMap<u32, Event>,
    /// Those whose processes have ended, in that order.
    ended: VecDeque<Number>,
    done: Vec<Trace>,
    /// Requests of no build.
    outside: u64,
}

struct Running {
    correlator: Correlator,
    root: u32,
    began: u64,
    processes: usize,
    /// That of its root, if it was seen.
    end: Option<End>,
    /// When the last of its processes ended, if all have.
    over: u64,
}

impl Builds {
    fn new(start: Start, Survey { everywhere, is_cut, .. }: Survey) -> Self {
        Self {
            start,
            everywhere,
            is_cut,
            running: HashMap::default(),
            count: 0,
            of_pid: HashMap::default(),
            of_socket: HashMap::default(),
            images: HashMap::default(),
            ended: VecDeque::new(),
            done: Vec::new(),
            outside: 0,
        }
    }

    fn push(&mut self, event: Event) {
        self.let_go(event.time);
        if is_everywhere(&event.what) {
            return;
        }
        let Some(number) = self.owner(&event) else {
            match event.what {
                What::Exec { .. } => _ = self.images.insert(event.pid, event),
                What::Exit { .. } => _ = self.images.remove(&event.pid),
                What::WireRequest { .. } => self.outside += 1,
                _ => {}
            }
            return;
        };
        match &event.what {
            What::Fork { child } => {
                let before = self.of_pid.insert(*child, number);
                self.enter(number);
                self.leave(before, event.time);
            }
            What::Exit { code, signal } => {
                let end = End { time: event.time, exit_code: *code, signal: *signal };
                if let Some(running) =
                    self.running.get_mut(&number).filter(|it| it.root == event.pid)
                {
                    running.end = Some(end);
                }
                let before = self.of_pid.remove(&event.pid);
                self.leave(before, event.time);
            }
            What::Tcp { socket, state: TcpState::Closed { .. }, .. } => {
                self.of_socket.remove(socket);
            }
            What::Tcp { socket, .. } => _ = self.of_socket.insert(*socket, number),
            _ => {}
        }
        if let Some(running) = self.running.get_mut(&number) {
            running.correlator.push(event);
        }
    }

    /// Whose an event is; a build begins with the first that only a `go` can have.
    fn owner(&mut self, event: &Event) -> Option<Number> {
        if let What::Tcp { socket, state, .. } = &event.what {
            // A socket that connects is a new one, whatever had its name before.
            let known = self.of_socket.get(socket).filter(|_| *state != TcpState::Connecting);
            return known.or_else(|| self.of_pid.get(&event.pid)).copied();
        }
        if let Some(&number) = self.of_pid.get(&event.pid) {
            return Some(number);
        }
        if let What::Fork { child } = event.what {
            // The pid comes back, and not as what it was.
            self.images.remove(&child);
            let before = self.of_pid.remove(&child);
            self.leave(before, event.time);
        }
        let of_go = event.goroutine.is_some() || matches!(event.what, What::GoStart { .. });
        of_go.then(|| self.begin(event))
    }

    fn begin(&mut self, event: &Event) -> Number {
        let number = self.count;
        self.count += 1;
        let image = self.images.remove(&event.pid);
        let argv = match (&event.what, image.as_ref().map(|image| &image.what)) {
            (What::GoStart { argv, .. }, _) | (_, Some(What::Exec { argv, .. })) => argv.clone(),
            _ => Vec::new(),
        };
        let began = image.as_ref().unwrap_or(event).time;
        let mut correlator = Correlator::new(&Start { argv, ..self.start.clone() });
        self.everywhere.iter().cloned().chain(image).for_each(|event| correlator.push(event));
        let running =
            Running { correlator, root: event.pid, began, processes: 0, end: None, over: 0 };
        self.running.insert(number, running);
        self.of_pid.insert(event.pid, number);
        self.enter(number);
        number
    }

    fn enter(&mut self, number: Number) {
        if let Some(running) = self.running.get_mut(&number) {
            running.processes += 1;
        }
    }

    /// A process of a build is no more.
    fn leave(&mut self, build: Option<Number>, time: u64) {
        let Some(number) = build else { return };
        let Some(running) = self.running.get_mut(&number) else { return };
        running.processes = running.processes.saturating_sub(1);
        if running.processes == 0 {
            running.over = running.over.max(time);
            self.ended.push_back(number);
        }
    }

    /// Ends the builds that nothing more is to come of.
    fn let_go(&mut self, now: u64) {
        let over = |running: &Running| running.over.saturating_add(LINGER) < now;
        while let Some(&number) = self.ended.front()
            && self.running.get(&number).is_none_or(over)
        {
            self.ended.pop_front();
            self.finish_one(number);
        }
    }

    fn finish_one(&mut self, number: Number) {
        let Some(Running { correlator, began, end, over, .. }) = self.running.remove(&number)
        else {
            return;
        };
        self.of_socket.retain(|_, of| *of != number);
        // What its root has started may have gone on for longer.
        let took = |end: End| End { time: end.time.max(over).saturating_sub(began), ..end };
        let mut trace = correlator.finish(end.map(took).as_ref());
        trace.findings = diagnose(&trace);
        self.done.push(trace);
    }

    /// The rest: what had not ended when the recording did, has no exit code and no duration.
    fn finish(mut self) -> Vec<Trace> {
        let mut rest: Vec<Number> = self.running.keys().copied().collect();
        rest.sort_unstable();
        for number in rest {
            // Unless the recording has said why: the last that is told stands.
            let says_why = |event: &Event| matches!(event.what, What::WatchEnded { .. });
            if self.is_cut
                && !self.everywhere.iter().any(says_why)
                && let Some(running) = self.running.get_mut(&number)
                && (running.end.is_none() || running.processes > 0)
            {
                let what = What::WatchEnded { reason: CUT.to_owned() };
                running.correlator.push(Event {
                    time: running.over,
                    pid: 0,
                    goroutine: None,
                    what,
                });
            }
            self.finish_one(number);
        }
        self.done
    }
}
