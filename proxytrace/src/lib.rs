//! proxytrace: see which module proxy was asked, who answered, and why the go command went on.
//!
//! One direction, from room to room:
//!
//! - [`capture`]: runs a command and watches it from the kernel; the one that is privileged
//! - [`event`]: what capture yields
//! - [`correlate`]: joins events into a trace
//! - [`model`]: the trace
//! - [`diagnose`]: finds what is wrong in a trace
//! - [`report`]: writes a trace and its findings down, for people and for programs
//!
//! What they ask:
//!
//! - [`gobinary`]: where to look in a Go executable
//! - [`goenv`]: the settings of a go command, and where each comes from
//! - [`gomod`]: the lines of go.mod and go.work that ask for something
//! - `goproxy`: the list that go walks, and when it goes on; `gosumdb`, the checksum database that
//!   it asks; `status`, what an answer means to it; `public`, who serves everybody; `roots`, the
//!   authorities that it trusts
//! - [`netrc`]: credentials for a host, and lines that go passes over
//! - [`redact`]: takes secrets out of what capture read
//! - [`url`]: URLs as Go writes them
//! - [`wire`]: plain HTTP/1 as it went over sockets
//!
//! What is built of them:
//!
//! - [`agent`]: watches a share of the builds of a host, for months
//! - [`compare`]: what is different between two traces
//! - [`doctor`]: whether this machine can trace, and what to do if not
//! - [`export`]: what goes out to monitoring
//! - [`golog`]: a trace from the output of `go mod download -x` alone
//! - [`preflight`]: asks each entry of GOPROXY whether it works
//! - [`recording`]: the events of a trace as a file
//! - [`replay`]: from a recording to what a run would have reported
//! - [`rewalk`]: the same answers, walked under another GOPROXY
//!
//! The program, in `bin/proxytrace`, reads the command line and puts these together.

pub mod agent;
pub mod capture;
pub mod compare;
pub mod correlate;
pub mod diagnose;
pub mod doctor;
pub mod event;
pub mod export;
mod forward;
pub mod gobinary;
pub mod goenv;
pub mod golog;
pub mod gomod;
mod goproxy;
mod gosumdb;
pub mod model;
pub mod netrc;
pub mod preflight;
mod public;
pub mod recording;
pub mod redact;
pub mod replay;
pub mod report;
pub mod rewalk;
mod roots;
mod status;
pub mod url;
pub mod wire;
