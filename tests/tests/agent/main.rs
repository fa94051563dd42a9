//! The fleet agent, on the machine that we run on: real `go` commands under the real programs.

mod faults;
mod running;
mod sampling;
mod surroundings;
mod truth;
