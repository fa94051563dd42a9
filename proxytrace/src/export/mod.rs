//! What goes out to monitoring: pure, as [`report`](crate::report) is. Nothing is kept or queried
//! here; there are engines for that.

use std::collections::BTreeMap;

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

/// What the agent says of itself, in sums since it began unless said otherwise.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Health {
    /// The share of builds that are chosen now.
    pub share: f64,
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
    /// Builds of which the beginning was missed.
    pub late: u64,
    /// Builds that were given up, because they were too many or too large.
    pub abandoned: u64,
    /// Processor time of the agent in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory now in bytes.
    pub resident: u64,
}
