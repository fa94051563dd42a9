//! Each build of many is what it would be alone, and is told while the others are still read.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::{CUT, Survey, builds, replay};
use crate::event::{End, Event, Start, TcpState, What};
use crate::model::{Outcome, Trace};
use crate::recording::{Reader, Writer};

/// The recordings of real runs, of one `go` each.
fn recordings() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "ndjson"));
    paths.sort();
    assert!(paths.len() > 20);
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn read(recording: &[u8]) -> (Start, Vec<Event>, End) {
    let mut reader = Reader::new(recording).unwrap();
    let start = reader.start().clone();
    let events = (&mut reader).map(Result::unwrap).collect();
    (start, events, reader.end())
}

fn write(start: &Start, events: &[Event], end: End) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), start).unwrap();
    for event in events {
        writer.event(event).unwrap();
    }
    writer.finish(end).unwrap()
}

fn by_build(recording: &[u8]) -> (Vec<Trace>, u64) {
    let mut all = Vec::new();
    let survey = Survey::of(Reader::new(recording).unwrap());
    assert!(survey.broken.is_none());
    let outside = builds(Reader::new(recording).unwrap(), survey, |trace| {
        all.push(trace);
        Ok::<_, Infallible>(())
    });
    (all, outside.unwrap())
}

/// As another process, whose sockets are others, at another time.
fn moved(mut event: Event, number: u32, later: u64) -> Event {
    let pid = |pid: u32| if pid == 0 { 0 } else { pid + number * 100_000 };
    event.time += later;
    event.pid = pid(event.pid);
    match &mut event.what {
        What::Fork { child } | What::Spawn { child } => *child = pid(*child),
        What::Tcp { socket, .. }
        | What::WireRequest { socket, .. }
        | What::WireResponse { socket, .. }
        | What::WireLost { socket } => *socket += u64::from(number) << 48,
        _ => {}
    }
    event
}

fn event(time: u64, pid: u32, what: What) -> Event {
    Event { time, pid, goroutine: None, what }
}

const LAST: u64 = 900_000_000_000;
const END: End = End { time: LAST, exit_code: Some(2), signal: None };

#[test]
fn a_recording_that_is_cut_has_no_end() {
    for recording in recordings() {
        let (trace, broken) = replay(Reader::new(&recording[..recording.len() - 5]).unwrap());
        assert!(broken.is_none());
        assert_eq!((trace.command.exit_code, trace.command.duration_ns), (None, None));
    }
}

#[test]
fn a_recording_that_is_cut_says_so() {
    for recording in recordings() {
        let cut = &recording[..recording.len() - 5];
        let (whole, _) = replay(Reader::new(cut).unwrap());
        // By then its build had ended.
        let missed = |trace: &Trace| {
            let found = trace.findings.iter().find(|found| found.code == "PT900");
            found.unwrap().message.clone()
        };
        assert!(missed(&whole).contains(CUT), "{}", missed(&whole));
        let (builds, _) = by_build(cut);
        assert!(builds.iter().all(|build| !missed(build).contains(CUT)));
        let (builds, _) = by_build(&recording[..recording.len() / 2]);
        assert!(builds.iter().all(|build| missed(build).contains(CUT)));
        assert!(!builds.is_empty());
    }
}

#[test]
fn one_build_is_the_whole() {
    for recording in recordings() {
        let (whole, _) = replay(Reader::new(&recording[..]).unwrap());
        let (all, outside) = by_build(&recording);
        let [build] = &all[..] else { panic!("{} builds", all.len()) };
        assert_eq!(outside, 0);
        let took = build.command.duration_ns;
        assert!(took.is_some() && took <= whole.command.duration_ns);
        let mut build = build.clone();
        build.command.duration_ns = whole.command.duration_ns;
        assert_eq!(build, whole);
    }
}

#[test]
fn builds_at_once_are_what_each_is_alone() {
    let recordings = recordings();
    let mut events = vec![event(0, 7, What::Exec { exe: "make".into(), argv: vec![] })];
    for (number, recording) in (1..).zip(&recordings) {
        let (_, own, _) = read(recording);
        events.extend(own.into_iter().map(|event| moved(event, number, 0)));
    }
    events.sort_by_key(|event| event.time);
    let (all, _) = by_build(&write(&Start::default(), &events, END));
    assert_eq!(all.len(), recordings.len());
    for (number, recording) in (1..).zip(&recordings) {
        let (alone, _) = replay(Reader::new(&recording[..]).unwrap());
        let pid = alone.processes[0].pid + number * 100_000;
        let same = |build: &&Trace| build.processes[0].pid == pid;
        let build = all.iter().find(same).unwrap();
        assert_eq!(build.chains, alone.chains);
        assert_eq!(build.connections, alone.connections);
        assert_eq!(build.command.exit_code, alone.command.exit_code);
        assert_eq!(build.command.argv, alone.command.argv);
        // Lines that asked for modules are found for all: the others have the same names.
        let told = |trace: &Trace| {
            let findings = trace.findings.iter().cloned();
            findings.map(|one| crate::model::Finding { sources: vec![], ..one }).collect::<Vec<_>>()
        };
        assert_eq!(told(build), told(&alone));
    }
}

/// Counts the lines that were read.
struct Counting<'a>(&'a [u8], &'a Cell<usize>);

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Counting<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.0)
    }

    fn consume(&mut self, amount: usize) {
        self.1.set(self.1.get() + memchr::memchr_iter(b'\n', &self.0[..amount]).count());
        self.0.consume(amount);
    }
}

#[test]
fn a_build_is_told_before_the_next_but_one_is_read() {
    let (_, own, _) = read(&recordings()[0]);
    let numbers = 0..40_u32;
    let many: Vec<Event> = numbers
        .clone()
        .flat_map(|number| {
            own.iter().map(move |event| moved(event.clone(), number, u64::from(number) << 34))
        })
        .collect();
    let recording = write(&Start::default(), &many, END);
    let survey = Survey::of(Reader::new(&recording[..]).unwrap());
    let lines = Cell::new(0);
    let mut told = 0;
    builds(Reader::new(Counting(&recording, &lines)).unwrap(), survey, |trace| {
        told += 1;
        assert!(!trace.chains.is_empty());
        assert!(lines.get() <= own.len() * (told + 1), "{} lines for {told} builds", lines.get());
        Ok::<_, Infallible>(())
    })
    .unwrap();
    assert_eq!(told, numbers.len());
}

#[test]
fn what_a_go_starts_is_of_its_build_and_nothing_else_is() {
    let (_, own, _) = read(&recordings()[0]);
    let go = own.iter().find(|event| matches!(event.what, What::Exec { .. })).unwrap().pid;
    let exit = own.iter().position(|event| matches!(event.what, What::Exit { .. })).unwrap();
    let time = own[exit].time;
    let asks = |socket| What::WireRequest {
        socket,
        number: 0,
        method: "GET".into(),
        url: "http://other.lab/".into(),
        headers: crate::event::Headers::new(),
        cut: vec![],
    };
    let connects =
        |socket| What::Tcp { socket, local: None, remote: None, state: TcpState::Connecting };
    let exec = |exe: &str| What::Exec { exe: exe.into(), argv: vec![exe.into()] };
    let mut events = own[..exit].to_vec();
    events.extend([
        // A tool of go's, which outlives it; and one of nobody's.
        event(time, go, What::Fork { child: 70 }),
        event(time, 70, exec("git")),
        event(time, 70, connects(1)),
        event(time, 70, asks(1)),
        event(time, 71, exec("curl")),
        event(time, 71, connects(2)),
        event(time, 71, asks(2)),
        own[exit].clone(),
        event(time + (1 << 40), 70, What::Exit { code: Some(0), signal: None }),
        // The pid comes back as nobody's.
        event(time + (2 << 40), 71, What::Fork { child: 70 }),
        event(time + (2 << 40), 70, exec("curl")),
        event(time + (2 << 40), 70, connects(3)),
        event(time + (2 << 40), 70, asks(3)),
    ]);
    let (all, outside) = by_build(&write(&Start::default(), &events, END));
    assert_eq!(outside, 2);
    let [build] = &all[..] else { panic!("{} builds", all.len()) };
    let ran: Vec<&str> = build.processes[1..].iter().map(|process| process.exe.as_str()).collect();
    assert_eq!(ran, ["git"]);
    let requests =
        build.chains.iter().flat_map(|chain| &chain.attempts).flat_map(|it| &it.requests);
    assert_eq!(requests.filter(|request| request.host == "other.lab").count(), 1);

    // Without their ends.
    let cut = &events[..exit];
    let (all, _) = by_build(&write(&Start::default(), cut, END));
    let [build] = &all[..] else { panic!("{} builds", all.len()) };
    assert_eq!((build.command.exit_code, build.command.duration_ns), (None, None));
    assert!(build.chains.iter().any(|chain| chain.outcome != Outcome::Unfinished));

    // With that of the go, but not that of its tool.
    let of_go = |event: &Event| event.pid == go && matches!(event.what, What::Exit { .. });
    let ended = events.iter().position(of_go).unwrap();
    let (all, _) = by_build(&write(&Start::default(), &events[..=ended], END));
    let [build] = &all[..] else { panic!("{} builds", all.len()) };
    assert!(build.command.exit_code.is_some());
    assert!(build.command.duration_ns.is_some_and(|took| took < time));

    // What is lost may be any build's.
    let lost = events.iter().cloned().chain([event(LAST, 0, What::Lost { count: 3 })]);
    let (all, _) = by_build(&write(&Start::default(), &lost.collect::<Vec<_>>(), END));
    assert_eq!((all[0].capture.lost, all[0].capture.complete), (3, false));
}

#[test]
fn whoever_takes_them_can_end_it() {
    let recording = &recordings()[0];
    let survey = Survey::of(Reader::new(&recording[..]).unwrap());
    let told = builds(Reader::new(&recording[..]).unwrap(), survey, |_| Err("enough"));
    assert_eq!(told, Err("enough"));
}
