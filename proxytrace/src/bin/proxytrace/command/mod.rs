//! The commands beside `run` and `replay`, each with its arguments.

pub(crate) mod agent;
pub(crate) mod builds;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod generate;
pub(crate) mod preflight;
