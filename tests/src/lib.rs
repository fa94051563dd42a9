//! The lab: module proxies that misbehave on purpose, and log what they were asked.
//!
//! A [`Scenario`](scenario::Scenario) says which hosts exist and how each of them answers. A
//! [`Lab`](lab::Lab) puts them on the air in namespaces of its own, so that they have real names on
//! the default ports and nothing leaves the machine, and runs a command there. Its log is the
//! ground truth which a trace of that command must equal.

pub mod cases;
pub mod chance;
pub mod check;
pub mod confusion;
pub mod crowd;
pub mod fleet;
mod forward;
pub mod golden;
pub mod lab;
pub mod log;
pub mod modules;
mod names;
mod namespace;
pub mod python;
pub mod ran;
pub mod scenario;
mod server;
mod sumdb;
mod table;
pub mod terminal;
pub mod times;
mod told;
pub mod toolchain;
pub mod unit;
pub mod user;
pub mod waiting;
