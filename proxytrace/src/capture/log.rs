//! Log lines of the eBPF programs, in builds with the feature `ebpf-log`.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// The reader of the programs' log.
pub(super) type ProgramLog = EbpfLogger<Stderr>;

/// Reads the log of programs that were just loaded. To be called last: the reader takes the map out.
pub(super) fn attach(ebpf: &mut Ebpf) -> anyhow::Result<ProgramLog> {
    Ok(EbpfLogger::init_with_logger(ebpf, Stderr)?)
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
