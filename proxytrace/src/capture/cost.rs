//! What watching took, counted for the benchmark: counts repeat where times do not.

use std::path::Path;

use serde::Serialize;

use super::credentials::status;
use crate::gobinary::{Site, Step};

/// Counts of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cost {
    /// Every probe of every executable.
    pub probes: Vec<Probe>,
    /// Records that came from the kernel.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often user space looked for them.
    pub turns: u64,
    /// The most memory of this process that was resident, in bytes; none if that is not known.
    pub peak_memory: Option<u64>,
}

impl Cost {
    /// With what is known only when all is done.
    #[must_use]
    pub fn at_the_end(self) -> Self {
        let peak = status(Path::new("/proc/self"), "VmHWM:");
        let kilobytes = peak.and_then(|peak| peak.strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Self { peak_memory: kilobytes.map(|kilobytes| 1024 * kilobytes), ..self }
    }
}

/// One probe.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// The function that it tells of.
    pub hook: String,
    /// What it records.
    pub kind: String,
    /// Link-time address.
    pub address: u64,
    /// Whether the kernel emulates the instruction there.
    pub emulated: bool,
    /// How often processes of the command came there.
    pub hits: u64,
}

impl Probe {
    pub(super) fn new(site: &Site) -> Self {
        let kind = proxytrace_common::record::Kind::from_number(site.recipe.kind);
        Self {
            hook: site.hook.clone(),
            kind: kind.map_or_else(String::new, |kind| format!("{kind:?}")),
            address: site.recipe.address,
            emulated: site.step == Step::Emulated,
            hits: 0,
        }
    }
}
