//! What proxytrace says about a run equals what the servers saw of it.

mod check_rejects;
mod processes;
mod strangers;

use std::path::Path;

use anyhow::Result;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{POSITION_INDEPENDENT, Toolchain};
use proxytrace_tests::{cases, confusion, ran};

#[test]
fn trace_equals_log() {
    let Some(proxytrace) = cases::built() else { return };
    let _table = confusion::Table;
    cases::for_each(|scenario, toolchain| run_and_check(&proxytrace, scenario, toolchain));
}

/// The kernel puts such a `go` elsewhere in memory than its file says. Types tell whether that is
/// reckoned with: those of connections, and of a chain of errors.
#[test]
fn trace_of_a_position_independent_go_equals_log() {
    let Some(proxytrace) = cases::built() else { return };
    let scenarios = ["demo", "redirect-closed-port", "all-direct-fails"]
        .map(|name| *Scenario::find(name).expect("a scenario of the lab"));
    cases::for_each_of(&scenarios, &POSITION_INDEPENDENT, |scenario, toolchain| {
        run_and_check(&proxytrace, scenario, toolchain)
    });
}

fn run_and_check(proxytrace: &Path, scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    ran::download(proxytrace, scenario, toolchain).map(drop)
}
