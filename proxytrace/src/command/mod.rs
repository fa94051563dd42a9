//! The commands beside `run` and `replay`, each with its arguments.

pub(crate) mod files;
pub(crate) mod preflight;
