//! What watching took, counted for the benchmark: counts repeat where times do not.

use serde::Serialize;

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
