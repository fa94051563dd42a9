//! What a trace keeps and what a request costs, in allocations: they repeat where times do not.
//!
//! One test alone: others would allocate meanwhile.

use std::alloc::System;

use proxytrace::capture;
use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::event::What;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "../benches/rooms/records.rs"]
mod records;
#[path = "../benches/rooms/synthetic.rs"]
mod synthetic;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const EVENTS: usize = 100_000;

/// What a trace keeps of a request, in bytes, and how often memory is allocated for one: what was
/// measured when this was written, and a tenth more.
const KEPT: f64 = 1250.0;
const DECODE: f64 = 8.0;
const CORRELATE: f64 = 12.2;
const DIAGNOSE: f64 = 0.31;

#[test]
fn memory_is_that_of_the_chains() {
    let whole = Region::new(ALLOCATOR);
    let events = synthetic::events(EVENTS);
    let requests = events.iter().filter(|it| matches!(it.what, What::RequestEnter { .. })).count();
    let records = records::of(&events);

    let region = Region::new(ALLOCATOR);
    let decoded = capture::decode_records(records.iter().map(Vec::as_slice));
    let decoding = region.change();
    assert_eq!(decoded, records.len());
    let decoding = per(decoding.allocations, requests);
    drop(records);

    let region = Region::new(ALLOCATOR);
    let mut correlator = Correlator::new(&synthetic::start());
    for event in events {
        correlator.push(event);
    }
    let trace = correlator.finish(&synthetic::END);
    let correlating = region.change();
    // What came in the events may be kept as it is.
    let whole = whole.change();
    let region = Region::new(ALLOCATOR);
    let findings = diagnose(&trace);
    let diagnosing = region.change();
    assert!(!findings.is_empty());

    let kept = whole.bytes_allocated - whole.bytes_deallocated;
    let measured = [
        ("bytes kept of a request", per(kept, requests), KEPT),
        ("decode", decoding, DECODE),
        ("correlate", per(correlating.allocations, requests), CORRELATE),
        ("diagnose", per(diagnosing.allocations, requests), DIAGNOSE),
    ];
    let over: Vec<_> = measured.iter().filter(|(_, is, limit)| is > limit).collect();
    assert!(over.is_empty(), "more than before: {over:?} of {measured:?}");
}

fn per(count: usize, of: usize) -> f64 {
    let number = |count| f64::from(u32::try_from(count).expect("small"));
    number(count) / number(of)
}
