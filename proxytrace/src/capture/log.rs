//! Log lines of the eBPF programs, in builds with the feature `ebpf-log`.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// The reader of the programs' log.
pub(super) type ProgramLog = EbpfLogger<Stderr>;

/// Reads the log of a program, which is that of all.
pub(super) fn attach(program: &OwnedFd) -> anyhow::Result<ProgramLog> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
    let id = id.and_then(|id| id.trim().parse().ok()).context("the program has no id")?;
    Ok(EbpfLogger::init_from_id_with_logger(id, Stderr)?)
}

/// Writes each line to stderr.
#[derive(Debug)]
pub(super) struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("ebpf {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}
