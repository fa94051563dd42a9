//! What holds for every recording, however it is mutilated: no panic, and no certain finding that
//! the whole recording does not have.
//!
//! The changes are made by a generator with fixed seeds: what fails once fails always. For more of
//! them, and for other recordings than the golden ones, there are two variables of the environment:
//! `PROPERTIES_VARIANTS` and `PROPERTIES_RECORDINGS`, a directory.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::event::{End, Event, Headers, MissingHook, Start, What};
use proxytrace::model::{Confidence, Trace};
use proxytrace::recording::Reader;
use proxytrace::report::{self, json, terminal};

/// How many variants of a recording each property looks at, at most.
fn variants() -> usize {
    env::var("PROPERTIES_VARIANTS").map_or(32, |number| number.parse().expect("a number"))
}

/// Within this time the order of what happens on two CPUs is anybody's guess: between taking the
/// time of a record and its place in the ring.
const SIMULTANEOUS_NS: u64 = 50_000;

/// A recording, read.
struct Recording {
    name: String,
    start: Start,
    events: Vec<Event>,
    end: End,
    /// What is certain of it.
    certain: BTreeSet<Said>,
}

/// What a finding says: its code, its severity, and one of the modules that it is about.
type Said = (String, String, Option<String>);

fn golden() -> Vec<Recording> {
    let golden = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let dir = env::var_os("PROPERTIES_RECORDINGS").map_or_else(golden, PathBuf::from);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Recording {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let start = reader.start().clone();
    let events: Vec<Event> = reader.by_ref().map(Result::unwrap).collect();
    let end = reader.end();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut recording = Recording { name, start, events, end, certain: BTreeSet::new() };
    let trace = recording.trace(&recording.events);
    assert!(trace.capture.complete, "{} is not complete to begin with", recording.name);
    recording.certain = certain(&trace);
    recording
}

impl Recording {
    /// What comes of these events, reported in every way.
    fn trace(&self, events: &[Event]) -> Trace {
        let mut correlator = Correlator::new(&self.start);
        for event in events {
            correlator.push(event.clone());
        }
        let mut trace = correlator.finish(&self.end);
        trace.findings = diagnose(&trace);
        let options =
            terminal::Options { color: false, width: Some(80), verbose: true, quiet: false };
        let text = terminal::render(&trace, &options);
        let control = text.chars().find(|char| char.is_control() && *char != '\n');
        assert_eq!(control, None, "{}: {text:?}", self.name);
        report::write(&json::FORMAT, &trace, Vec::new()).unwrap();
        trace
    }

    /// Panics if these events make something certain that all of them do not.
    fn check(&self, events: &[Event], changed: &str) -> Trace {
        let trace = self.trace(events);
        let more: Vec<_> = certain(&trace).difference(&self.certain).cloned().collect();
        assert!(more.is_empty(), "{}, {changed}: certain of {more:?}", self.name);
        trace
    }

    /// The same, where something is known to be missing.
    fn check_incomplete(&self, events: &[Event], changed: &str) {
        let trace = self.check(events, changed);
        assert!(!trace.capture.complete, "{}, {changed}: taken for complete", self.name);
        assert!(certain(&trace).is_empty(), "{}, {changed}: certain of something", self.name);
        let told = trace.findings.iter().any(|finding| finding.code == "PT900");
        assert!(told, "{}, {changed}: nothing says so", self.name);
    }
}

/// What is certain of a trace. That it is incomplete always is.
fn certain(trace: &Trace) -> BTreeSet<Said> {
    let sure = trace.findings.iter().filter(|finding| finding.confidence == Confidence::Certain);
    sure.filter(|finding| finding.code != "PT900")
        .flat_map(|finding| {
            let said = |module| (finding.code.clone(), format!("{:?}", finding.severity), module);
            let modules = finding.modules.iter().cloned().map(Some);
            let none = finding.modules.is_empty().then_some(None);
            modules.chain(none).map(said).collect::<Vec<Said>>()
        })
        .collect()
}

/// `xorshift64*`: numbers without a pattern that matters here.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % bound.max(1)
    }
}

/// All places in a sequence, or as many of them as are looked at.
fn places(count: usize, numbers: &mut Numbers) -> Vec<usize> {
    if count <= variants() {
        return (0..count).collect();
    }
    (0..variants()).map(|_| numbers.below(count)).collect()
}

fn lost(event: &Event) -> Event {
    Event { time: event.time, pid: 0, goroutine: None, what: What::Lost { count: 1 } }
}

#[test]
fn a_recording_that_is_cut_is_certain_of_nothing() {
    let mut numbers = Numbers(1);
    for recording in golden() {
        for place in places(recording.events.len(), &mut numbers) {
            let mut events = recording.events[..place].to_vec();
            events.push(lost(&recording.events[place]));
            recording.check_incomplete(&events, &format!("cut at {place}"));
        }
    }
}

#[test]
fn events_that_are_dropped_take_the_certainty_with_them() {
    let mut numbers = Numbers(2);
    for recording in golden() {
        for place in places(recording.events.len(), &mut numbers) {
            let mut events = recording.events.clone();
            events[place] = lost(&recording.events[place]);
            recording.check_incomplete(&events, &format!("without {place}"));
            // And a run of them, which is said when there is room again.
            let count = numbers.below(40).min(events.len() - place - 1);
            events.drain(place..place + count);
            events[place] = lost(&recording.events[place]);
            recording.check_incomplete(&events, &format!("without {count} from {place}"));
        }
    }
}

#[test]
fn a_hook_that_is_missing_takes_the_certainty_with_it() {
    for recording in golden() {
        let mut events = recording.events.clone();
        let hooks: BTreeSet<String> = events
            .iter()
            .filter_map(|event| match &event.what {
                What::Attach(attach) => Some(attach.hooks.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        for gone in hooks {
            for event in &mut events {
                if let What::Attach(attach) = &mut event.what {
                    attach.hooks.retain(|hook| *hook != gone);
                    let reason = "not found".to_owned();
                    attach.missing = vec![MissingHook { hook: gone.clone(), reason }];
                }
            }
            recording.check_incomplete(&events, &format!("without {gone}"));
        }
    }
}

/// Whether two events may change places: each thread's own stay in order, as does what one causes
/// in another.
fn independent(one: &Event, other: &Event) -> bool {
    let free = |what: &What| {
        !matches!(
            what,
            What::Fork { .. }
                | What::Exec { .. }
                | What::Exit { .. }
                | What::GoStart { .. }
                | What::Spawn { .. }
                | What::Attach(_)
                | What::Lost { .. }
        )
    };
    let Some((first, second)) = one.goroutine.zip(other.goroutine) else {
        // What the kernel says of sockets, it says of different ones in any order.
        let socket = |event: &Event| match event.what {
            What::Tcp { socket, .. } => Some(socket),
            _ => None,
        };
        return matches!((socket(one), socket(other)), (Some(a), Some(b)) if a != b);
    };
    let related = one.pid == other.pid
        && (first.id == second.id || first.parent == second.id || second.parent == first.id);
    other.time.abs_diff(one.time) < SIMULTANEOUS_NS
        && !related
        && free(&one.what)
        && free(&other.what)
}

#[test]
fn what_happens_at_once_may_come_in_any_order() {
    for recording in golden() {
        for seed in 1..=variants() as u64 / 2 {
            let mut numbers = Numbers(seed);
            let mut events = recording.events.clone();
            for _ in 0..4 {
                for place in 1..events.len() {
                    if numbers.below(2) == 0 && independent(&events[place - 1], &events[place]) {
                        // Their times are those of their places: the reader is promised order.
                        let times = (events[place - 1].time, events[place].time);
                        events.swap(place - 1, place);
                        (events[place - 1].time, events[place].time) = times;
                    }
                }
            }
            let trace = recording.check(&events, &format!("shuffled by {seed}"));
            // All of it is there, so all of it is found.
            assert_eq!(certain(&trace), recording.certain, "{} by {seed}", recording.name);
        }
    }
}

/// What servers may write into a header, wisely or not.
fn garbage(numbers: &mut Numbers) -> String {
    const PIECES: &[&str] = &[
        "",
        " ",
        "/",
        "//",
        "\\",
        ":",
        "%",
        "%zz",
        "?",
        "#",
        "@",
        "é",
        "\u{202e}",
        "\u{1b}[2J",
        "\r\n",
        "\0",
        "https:",
        "http://[",
        "::1",
        "..",
        "\u{fffd}",
        "A",
        "=;,",
        "\t",
        "65536",
    ];
    (0..numbers.below(9)).map(|_| PIECES[numbers.below(PIECES.len())]).collect()
}

#[test]
fn garbage_in_headers_makes_nothing_certain() {
    for recording in golden() {
        for seed in 1..=variants() as u64 {
            let mut numbers = Numbers(seed);
            let mut events = recording.events.clone();
            for event in &mut events {
                match &mut event.what {
                    What::RequestReturn { headers, .. }
                    | What::RequestEnter { headers, .. }
                    | What::TunnelReturn { headers, .. } => spoil(headers, &mut numbers),
                    _ => {}
                }
            }
            let trace = recording.trace(&events);
            // go obeys the Location that it reads: that it did not obey the garbage is true.
            let true_of_it = |said: &&Said| said.0 != "PT011";
            let certain = certain(&trace);
            let more: Vec<_> = certain.difference(&recording.certain).filter(true_of_it).collect();
            assert!(more.is_empty(), "{}, garbage {seed}: certain of {more:?}", recording.name);
        }
    }
}

/// Overwrites some headers, and adds one that nobody has heard of.
fn spoil(headers: &mut Headers, numbers: &mut Numbers) {
    for (name, value) in headers.iter_mut() {
        if numbers.below(3) == 0 {
            *value = garbage(numbers);
        }
        // With an empty one go goes nowhere, and here it has gone on.
        if name == "Location" && value.is_empty() {
            value.push('x');
        }
    }
    if numbers.below(8) == 0 {
        let (name, value) = (garbage(numbers), garbage(numbers));
        headers.insert(name.into(), value);
    }
}
