//! Every scenario with every toolchain, as the tests go through them.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::Result;
use nix::unistd::geteuid;

use crate::scenario::Scenario;
use crate::toolchain::{Toolchain, VERSIONS};

/// How many cases run at a time: most of a case is waiting.
const PARALLEL: usize = 2;

/// Leaves, for work on one of them, the scenarios whose name begins with one of these, separated by
/// commas.
const SCENARIOS_VAR: &str = "LAB_SCENARIOS";
/// The same for releases of Go.
const RELEASES_VAR: &str = "LAB_RELEASES";

/// Runs `check` on every scenario with every toolchain, and panics with all that failed.
///
/// Skips aloud what this machine cannot run.
pub fn for_each(check: impl Fn(&Scenario, &Toolchain) -> Result<()> + Sync) {
    for_each_of(Scenario::all(), &VERSIONS, check);
}

/// Runs `check` on some scenarios with some toolchains, as [`for_each`] does on all.
pub fn for_each_of(
    scenarios: &[Scenario],
    releases: &[&str],
    check: impl Fn(&Scenario, &Toolchain) -> Result<()> + Sync,
) {
    if !can_start() {
        return;
    }
    let (names, chosen) = (Chosen::from(SCENARIOS_VAR), Chosen::from(RELEASES_VAR));
    let mut toolchains = Vec::new();
    for release in releases.iter().filter(|release| chosen.has(release)) {
        match Toolchain::find(release) {
            Ok(toolchain) => toolchains.push(toolchain),
            Err(error) => skip(&format!("Go {release}: {error:#}")),
        }
    }
    let cases = toolchains
        .iter()
        .flat_map(|toolchain| scenarios.iter().map(move |scenario| (scenario, toolchain)))
        .filter(|(scenario, toolchain)| toolchain.minor() >= scenario.since)
        .filter(|(scenario, _)| names.has(scenario.name));
    let cases = Mutex::new(cases);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    // The lock is not held while the case runs.
                    let case = cases.lock().expect("no panic while locked").next();
                    let Some((scenario, toolchain)) = case else { break };
                    if let Err(error) = check(scenario, toolchain) {
                        let failure = format!("{} {}: {error:#}", scenario.name, toolchain.version);
                        failures.lock().expect("no panic while locked").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic while locked");
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

/// What a variable of the environment leaves of the cases.
struct Chosen(Option<String>);

impl Chosen {
    /// All, if there is no such variable.
    fn from(variable: &str) -> Self {
        let value = env::var(variable).ok();
        if let Some(value) = &value {
            skip(&format!("{variable} leaves those alone that begin with one of `{value}`"));
        }
        Chosen(value)
    }

    fn has(&self, name: &str) -> bool {
        let Some(beginnings) = &self.0 else { return true };
        beginnings.split(',').any(|beginning| name.starts_with(beginning))
    }
}

/// Whether this process may start a lab; skips aloud if not.
pub fn can_start() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("the lab needs root: it makes network and mount namespaces");
    }
    root
}

/// Says that something is not tested. In CI that is a failure.
pub fn skip(reason: &str) {
    assert!(env::var_os("CI").is_none(), "must not be skipped in CI: {reason}");
    // Past the capture of libtest, which would hide it in a test that passes.
    let _ = writeln!(io::stderr(), "skipping test: {reason}");
}

/// The program under test: `$PROXYTRACE_BIN`, or the binary that cargo puts above the directory of
/// the running test.
pub fn proxytrace() -> PathBuf {
    env::var_os("PROXYTRACE_BIN").map_or_else(
        || {
            let test = env::current_exe().expect("the path of this test");
            let dir = test.parent().and_then(|deps| deps.parent());
            dir.expect("target/debug above deps").join("proxytrace")
        },
        PathBuf::from,
    )
}
