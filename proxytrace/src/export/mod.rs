//! What goes out to monitoring: pure, as [`report`](crate::report) is. Nothing is kept or queried
//! here; there are engines for that.
//!
//! [`metrics`] are sums, which [`prometheus`] and [`otlp`] write; [`otlp`] also has chains as spans
//! and findings as log records, [`rows`] has them as lines of JSON. Each fact has one definition,
//! for all of them: see `fetch`.
#![forbid(unsafe_code)]

mod fetch;
pub mod metrics;
mod names;
pub mod otlp;
pub mod prometheus;
pub mod rows;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use jiff::{SignedDuration, Timestamp};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::model::Trace;

/// One build that was seen: a `go` command and all that it started.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// All of it, with its findings.
    pub trace: Trace,
    /// The share of builds that were chosen when this one was: above 0, at most 1. It stands for
    /// `1 / share` builds.
    pub share: f64,
    /// Where it ran.
    pub origin: Origin,
}

/// Where a build ran.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// Id of its container, from its control group.
    pub container: Option<String>,
    /// Uid of its Kubernetes pod, from its control group.
    pub pod: Option<String>,
    /// What its environment says of the CI job, by OpenTelemetry's names (`cicd.pipeline.name`).
    pub job: BTreeMap<&'static str, String>,
}

/// The machine that the agent runs on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What tells it from others of its name: a hash of its machine id (machine-id(5)).
    pub id: Option<String>,
    /// What it is to be compared with others by: a pool, a site, an image.
    pub group: String,
}

/// What the agent says of itself, in sums since it began unless said otherwise.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Health {
    /// The share of builds that are chosen now.
    pub share: f64,
    /// The share that is wished for.
    pub wished: f64,
    /// Builds that were chosen, and that were passed over.
    pub chosen: u64,
    /// See `chosen`.
    pub passed_over: u64,
    /// Chosen builds that have not ended now.
    pub running: u64,
    /// Events that arrived.
    pub events: u64,
    /// Events that were lost.
    pub lost: u64,
    /// Executables with probes now.
    pub executables: u64,
    /// `go` commands that could not be given probes.
    pub refused: u64,
    /// Of `refused`, those for which there was no room: the next time there may be some.
    pub refused_for_room: u64,
    /// Of `refused`, those that are for another machine, and run in an emulator.
    pub refused_for_machine: u64,
    /// Of `refused`, those into which the kernel put no probes, or that it did not let us open or
    /// watch.
    pub refused_by_kernel: u64,
    /// Builds of which the beginning was missed.
    pub late: u64,
    /// Builds that are not seen, as they were running already when the watch began, or were gone
    /// before it was known that their executable is a `go` command.
    pub missed: u64,
    /// Builds that were given up, because they were too many or too large, or of which nothing came.
    pub abandoned: u64,
    /// Builds that were chosen before this agent began, since the first on this host, and of which none
    /// tells; where a service manager holds what counts them. They are not among the missed.
    pub unwatched: u64,
    /// How long there was no agent between this one and those, in nanoseconds.
    pub unwatched_ns: u64,
    /// When the first of those began, in nanoseconds since 1970; 0 if this one is the first.
    pub unwatched_since_ns: u64,
    /// Processor time of the agent in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory now in bytes.
    pub resident: u64,
}

/// What became of the records that one exporter was given, in sums since the agent began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delivery {
    /// Records that were handed over.
    pub sent: u64,
    /// Attempts that failed and are made again.
    pub failures: u64,
    /// Bytes that wait now, where there is a queue.
    pub queued_bytes: Option<u64>,
    /// Records that were given up.
    pub dropped: Dropped,
}

/// Records that were given up, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// The channel into the exporters was full.
    pub busy: u64,
    /// The queue was full.
    pub full: u64,
    /// The receiver does not want them.
    pub refused: u64,
    /// They could not be written.
    pub disk: u64,
    /// A file of the queue was cut off, is no such file or cannot be read.
    pub torn: u64,
    /// The agent ended before they were sent.
    pub ended: u64,
    /// What they lead through was closed, and could not be opened again.
    pub closed: u64,
}

impl Dropped {
    /// Each reason, and how many.
    pub fn reasons(&self) -> [(&'static str, u64); 7] {
        [
            ("busy", self.busy),
            ("full", self.full),
            ("refused", self.refused),
            ("disk", self.disk),
            ("torn", self.torn),
            ("ended", self.ended),
            ("closed", self.closed),
        ]
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.reasons().iter().map(|(_, dropped)| dropped).sum()
    }
}

/// Names a build among all builds of all hosts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BuildId(pub [u8; 16]);

impl Build {
    /// Of a host on which all builds are chosen, and nothing is known of where it ran.
    pub fn new(trace: Trace) -> Self {
        Build { trace, share: 1.0, origin: Origin::default() }
    }

    /// How many builds it stands for.
    pub fn weight(&self) -> f64 {
        // A share that is none must not spoil sums that are kept for months.
        if self.share > 0.0 && self.share <= 1.0 { 1.0 / self.share } else { 1.0 }
    }

    /// Its name: the same for the same build, so that what is sent twice can be told.
    pub fn id(&self, host: &Host) -> BuildId {
        let mut context = Context::new(&SHA256);
        let first = self.trace.processes.first();
        let pid = first.map_or(0, |process| process.pid).to_string();
        let begun = first.map_or(0, |process| process.started_ns).to_string();
        for part in [
            host.id.as_deref().unwrap_or(""),
            &host.name,
            &self.trace.started_at,
            &pid,
            &begun,
            &self.trace.capture.events.to_string(),
        ] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&context.finish().as_ref()[..16]);
        BuildId(id)
    }

    /// When something happened that the trace has in nanoseconds.
    fn time(&self, ns: u64) -> Timestamp {
        let began: Timestamp = self.trace.started_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let since = SignedDuration::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX));
        began.checked_add(since).unwrap_or(began)
    }

    /// The version of the go command that a process is, else of the first that there is.
    fn go_version(&self, process: Option<u32>) -> &str {
        let versions = || {
            let all = self.trace.processes.iter();
            all.filter_map(|one| Some((one.id, one.go_version.as_deref()?)))
        };
        let own = process.and_then(|id| versions().find(|(of, _)| *of == id));
        own.or_else(|| versions().next()).map_or("", |(_, version)| version)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::healthy;

    #[test]
    fn a_build_has_one_name() {
        let host = Host { name: "h1".to_owned(), ..Host::default() };
        let build = Build::new(healthy());
        assert_eq!(build.id(&host), build.clone().id(&host));
        assert_eq!(build.id(&host).to_string().len(), 32);
        let other = Host { name: "h2".to_owned(), ..Host::default() };
        assert_ne!(build.id(&host), build.id(&other));
    }

    #[test]
    fn a_time_beyond_time_is_no_panic() {
        let mut build = Build::new(healthy());
        assert_eq!(build.time(1_000_000_000).to_string(), "2026-01-02T03:04:06Z");
        let _ = build.time(u64::MAX);
        build.trace.started_at = "yesterday".to_owned();
        let _ = build.time(u64::MAX);
    }
}
