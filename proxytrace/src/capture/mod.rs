//! The one room with privileges, `unsafe` and the kernel.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::event::{End, Event, Start};

/// Takes what capture says.
pub trait Sink {
    /// The trace begins; the command has not started yet.
    fn start(&mut self, start: &Start) -> anyhow::Result<()>;
    /// Something happened.
    fn event(&mut self, event: Event) -> anyhow::Result<()>;
}

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such command.
    #[error("no such command: {0}")]
    NoSuchCommand(String),
    /// The command cannot be executed.
    #[error("cannot execute {0}: {1}")]
    NotExecutable(String, io::Error),
    /// This machine, or these privileges, do not allow tracing.
    #[error("{0}")]
    CannotTrace(String),
}

/// Stands for the real thing.
pub fn run(_argv: &[OsString], _sink: &mut dyn Sink) -> anyhow::Result<End> {
    Err(Error::CannotTrace("capture is not there yet".to_owned()).into())
}

/// Stands for the real thing.
pub fn create_output(path: &Path) -> io::Result<File> {
    File::create(path)
}
