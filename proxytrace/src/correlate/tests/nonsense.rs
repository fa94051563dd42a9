//! Events in no order, of no process, without their other half: nothing panics, nothing is lost.

use std::collections::HashSet;

use crate::event::{Goroutine, TcpState, What};
use crate::model::{Cause, Trace};

use super::scenarios;
use super::script::{GO, Script};

/// A small generator of numbers that look random (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

fn all() -> Vec<Script> {
    vec![
        scenarios::healthy(),
        scenarios::redirect_to_missing_then_next(),
        scenarios::downgrade("https://proxy.lab|direct"),
        scenarios::circle(),
        scenarios::outage_behind_pipe(),
        scenarios::direct_fails("https://proxy.lab,direct", 404),
        scenarios::probes([404, 200, 404], 0),
        scenarios::unverified("https://proxy.lab|direct", 410),
    ]
}

/// Each `RequestEnter` is one request of the trace; each further `Try` is a transport-retry.
fn assert_nothing_lost(script: &Script, trace: &Trace) {
    let enters =
        script.events.iter().filter(|e| matches!(e.what, What::RequestEnter { .. })).count();
    let requests: Vec<_> =
        trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests).collect();
    let retries = requests.iter().filter(|r| r.cause == Cause::TransportRetry).count();
    assert_eq!(requests.len(), enters + retries);
    let ids: HashSet<u32> = requests.iter().map(|request| request.id).collect();
    assert_eq!(ids.len(), requests.len());
    assert!(requests.iter().all(|r| r.follows.is_none_or(|id| id < r.id && ids.contains(&id))));
    let on_connections = requests.iter().filter(|request| request.connection.is_some()).count();
    let counted: u32 = trace.connections.iter().map(|connection| connection.requests).sum();
    assert_eq!(usize::try_from(counted).ok(), Some(on_connections));
}

#[test]
fn nothing_is_lost_in_order() {
    for script in all() {
        assert_nothing_lost(&script, &script.trace());
    }
}

#[test]
fn nothing_is_lost_in_disorder() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..200 {
        let mut events: Vec<_> = all().into_iter().flat_map(|script| script.events).collect();
        for _ in 0..=numbers.below(events.len()) {
            let (one, other) = (numbers.below(events.len()), numbers.below(events.len()));
            match round % 3 {
                0 => events.swap(one, other),
                1 => drop(events.remove(one)),
                _ => {
                    let goroutine = Goroutine { id: other as u64 % 5, parent: one as u64 % 5 };
                    events[one].goroutine = Some(goroutine);
                    events[other].pid = GO + u32::try_from(one % 3).expect("small");
                }
            }
            if events.is_empty() {
                break;
            }
        }
        let mut script = Script::new("https://proxy.lab,direct", 1);
        script.events = events;
        let trace = script.trace();
        assert_nothing_lost(&script, &trace);
        crate::diagnose::diagnose(&trace);
    }
}

#[test]
fn the_same_events_give_the_same_trace() {
    let bytes = || serde_json::to_vec(&scenarios::healthy().trace()).expect("a trace is JSON");
    assert_eq!(bytes(), bytes());
}

#[test]
fn halves_and_strangers_are_ignored() {
    let mut script = Script::new("https://proxy.lab", 0);
    let before = script.trace().processes.len();
    let error = None;
    for what in [
        What::WalkReturn { error: error.clone() },
        What::SendFailed { error },
        What::Fork { child: 4_000 },
    ] {
        script.push(GO, None, what);
    }
    let closed = TcpState::Closed { errno: 0 };
    script.push(3_999, None, What::Tcp { socket: 1, local: None, remote: None, state: closed });
    script.push(3_999, None, What::Fork { child: 3_998 });
    script.push(3_998, None, What::Exit { code: None, signal: Some(9) });
    let trace = script.trace();
    assert_eq!((trace.chains.len(), trace.connections.len()), (0, 0));
    assert_eq!(trace.processes.len(), before);
}

#[test]
fn a_watch_that_ended_early_is_no_complete_capture() {
    let mut script = scenarios::healthy();
    script.push(0, None, What::WatchEnded { reason: "no room".into() });
    let trace = script.trace();
    assert!(!trace.capture.complete);
    let findings = crate::diagnose::diagnose(&trace);
    let said = findings.iter().find(|finding| finding.code == "PT900").expect("a note");
    assert_eq!(said.message, "the watch ended before the command did (no room)");
}
