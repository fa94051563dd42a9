//! What is measured: parts, as data.

/// One part of the benchmark.
pub(crate) struct Part {
    /// As the command line has it.
    pub(crate) name: &'static str,
    /// What is done, in the heading of its table.
    pub(crate) about: &'static str,
    /// The scenario of the lab that it is done in.
    pub(crate) scenario: &'static str,
    /// Modules of the scenario's main module.
    pub(crate) modules: u32,
    pub(crate) work: Work,
    /// Ways that take turns with one another, the first without anything, and how many rounds.
    pub(crate) groups: &'static [(usize, &'static [Way])],
    /// Whether what the trace takes is counted once, apart from the time.
    pub(crate) is_counted: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// `go version`: what remains is starting and stopping.
    Version,
    /// `go mod download` into an empty cache.
    Download,
    /// The same with `GOMAXPROCS=8` on however few CPUs, for what is lost.
    Crowded,
}

/// What is beside the go command, or around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Bare,
    /// Bare once more: what differs between the two is noise.
    Control,
    Proxytrace,
    /// A program that does nothing at the addresses that proxytrace probes.
    Limit,
    Verbose,
    Strace,
    Tcpdump,
    BpftraceOne,
    BpftraceAll,
    Mitmproxy,
}

use Way::{
    Bare, BpftraceAll, BpftraceOne, Control, Limit, Mitmproxy, Proxytrace, Strace, Tcpdump, Verbose,
};

impl Way {
    /// As the tables have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bare => "bare",
            Control => "bare, control",
            Proxytrace => "proxytrace",
            Limit => "limit: empty program",
            Verbose => "go -x",
            Strace => "strace --seccomp-bpf",
            Tcpdump => "tcpdump",
            BpftraceOne => "bpftrace, 1 uprobe",
            BpftraceAll => "bpftrace, our entries",
            Mitmproxy => "mitmproxy, HAR",
        }
    }
}

/// Requests of a download for each module: `.info`, `.mod`, `.zip` answered 302, and what that
/// names.
pub(crate) const REQUESTS_PER_MODULE: u32 = 4;

const OURS: &[Way] = &[Bare, Control, Proxytrace, Limit];
/// Those that take seconds to start and to stop.
const SLOW: &[Way] = &[Bare, Proxytrace, Tcpdump, BpftraceAll, Mitmproxy];

pub(crate) const PARTS: [Part; 6] = [
    Part {
        name: "version",
        about: "`go version`: starting and stopping",
        scenario: "bench",
        modules: 1,
        work: Work::Version,
        groups: &[
            (20, &[Bare, Control, Proxytrace, Limit, Strace]),
            (4, &[Bare, Tcpdump, BpftraceOne, BpftraceAll, Mitmproxy]),
        ],
        is_counted: false,
    },
    Part {
        name: "200",
        about: "200 modules over HTTP/2 and TLS, with redirects",
        scenario: "bench",
        modules: 200,
        work: Work::Download,
        groups: &[(40, &[Bare, Control, Proxytrace, Limit, Verbose, Strace]), (4, SLOW)],
        is_counted: true,
    },
    Part {
        name: "50",
        about: "50 modules over HTTP/2 and TLS, with redirects",
        scenario: "bench",
        modules: 50,
        work: Work::Download,
        groups: &[(80, OURS)],
        is_counted: true,
    },
    Part {
        name: "1000",
        about: "1,000 modules over HTTP/2 and TLS, with redirects",
        scenario: "bench",
        modules: 1000,
        work: Work::Download,
        groups: &[(16, OURS)],
        is_counted: true,
    },
    Part {
        name: "plain",
        about: "200 modules over HTTP/1.1 without TLS, with redirects",
        scenario: "bench-plain",
        modules: 200,
        work: Work::Download,
        groups: &[(12, OURS)],
        is_counted: true,
    },
    Part {
        name: "crowd",
        about: "1,000 modules with GOMAXPROCS=8",
        scenario: "bench",
        modules: 1000,
        work: Work::Crowded,
        groups: &[(4, &[Bare, Proxytrace])],
        is_counted: true,
    },
];

/// The part that runs no go: the rooms that are pure, by Criterion.
pub(crate) const ROOMS: &str = "rooms";

impl Part {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        PARTS.iter().find(|part| part.name == name)
    }

    pub(crate) fn requests(&self) -> u32 {
        self.modules * REQUESTS_PER_MODULE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_begins_without_anything() {
        for part in &PARTS {
            assert!(part.groups.iter().all(|(_, ways)| ways[0] == Bare), "{}", part.name);
        }
    }
}
