//! The fleet agent, on the machine that we run on: real `go` commands under the real programs.

mod clock;
mod containers;
mod counters;
#[path = "../monitoring/engines.rs"]
#[expect(dead_code, reason = "of the other tests' engines some are not used here")]
mod engines;
mod faults;
mod lasting;
mod operations;
mod outages;
mod places;
mod rights;
mod running;
mod sampling;
mod secrets;
mod service;
#[path = "../monitoring/sink.rs"]
mod sink;
mod succession;
mod surroundings;
mod truth;
