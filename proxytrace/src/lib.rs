//! proxytrace: see which module proxy was asked, who answered, and why the go command went on.
//!
//! One direction, five rooms: [`capture`] (privileged) yields [`event`]s, which [`correlate`] joins
//! into the [`model`], in which [`diagnose`] finds what is wrong, and [`report`] writes it down.
//! [`gobinary`] tells capture where to look in a Go executable, [`wire`] what plain HTTP says.

pub mod agent;
pub mod capture;
pub mod compare;
pub mod correlate;
pub mod diagnose;
pub mod doctor;
pub mod event;
pub mod export;
pub mod gobinary;
pub mod goenv;
pub mod golog;
pub mod gomod;
pub mod model;
pub mod netrc;
pub mod preflight;
mod public;
pub mod recording;
pub mod redact;
pub mod replay;
pub mod report;
pub mod rewalk;
pub mod url;
pub mod wire;
