//! Event sequences as go produces them, and the traces that come of them.

mod dials;
mod nonsense;
mod processes;
pub(crate) mod scenarios;
pub(crate) mod script;
mod verification;
mod walks;
mod wire;
