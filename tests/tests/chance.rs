//! Scenarios drawn by chance: whatever comes of them, the trace equals the log.

use proxytrace_tests::toolchain::VERSIONS;
use proxytrace_tests::{cases, ran};

/// How many are drawn for each release.
const SEEDS: usize = 20;

#[test]
fn whatever_comes_equals_the_log() {
    let Some(proxytrace) = cases::built() else { return };
    let any = |_: &_| true;
    cases::for_each_drawn(SEEDS * VERSIONS.len(), &VERSIONS, any, |scenario, toolchain| {
        ran::whatever_comes(&proxytrace, scenario, toolchain)
    });
}
