//! Every scenario with every toolchain, as the tests go through them.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::Result;
use nix::unistd::geteuid;

use crate::scenario::Scenario;
use crate::toolchain::{Toolchain, VERSIONS};

/// How many cases run at a time.
const PARALLEL: usize = 2;
/// How many cases run beside them of those that wait for time-outs.
const WAITING: usize = 8;

/// Leaves, for work on one of them, the scenarios whose name begins with one of these, separated by
/// commas.
const SCENARIOS_VAR: &str = "LAB_SCENARIOS";
/// The same for releases of Go.
const RELEASES_VAR: &str = "LAB_RELEASES";
/// Names a file to which each test adds a table of its results.
const TABLE_VAR: &str = "LAB_TABLE";

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
    let names = Chosen::scenarios();
    let toolchains = toolchains(releases);
    let cases = toolchains
        .iter()
        .flat_map(|toolchain| scenarios.iter().map(move |scenario| (scenario, toolchain)))
        .filter(|(scenario, toolchain)| toolchain.minor() >= scenario.since)
        .filter(|(scenario, _)| names.has(scenario.name));
    check_all(cases, |scenario| scenario.name, Scenario::waits, check);
}

/// The toolchains of these releases, of which the environment may leave some.
pub fn toolchains(releases: &[&str]) -> Vec<Toolchain> {
    let chosen = Chosen::from(RELEASES_VAR);
    let mut toolchains = Vec::new();
    for release in releases.iter().filter(|release| chosen.has(release)) {
        match Toolchain::find(release) {
            Ok(toolchain) => toolchains.push(toolchain),
            Err(error) => skip(&format!("Go {release}: {error:#}")),
        }
    }
    toolchains
}

/// Runs `check` on all these cases, some at a time, and panics with all that failed.
pub fn check_all<'a, T: Sync + 'a>(
    cases: impl Iterator<Item = (&'a T, &'a Toolchain)> + Send,
    name: impl Fn(&T) -> &'a str + Sync,
    waits: impl Fn(&T) -> bool,
    check: impl Fn(&T, &Toolchain) -> Result<()> + Sync,
) {
    let (waiting, quick): (Vec<_>, Vec<_>) = cases.partition(|(what, _)| waits(what));
    let queues = [(PARALLEL, quick), (WAITING, waiting)]
        .map(|(threads, cases)| (threads, Mutex::new(cases.into_iter())));
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (threads, queue) in &queues {
            for _ in 0..*threads {
                scope.spawn(|| {
                    // The lock is not held while the case runs.
                    let next = || queue.lock().expect("no panic while locked").next();
                    while let Some((what, toolchain)) = next() {
                        let failure = check(what, toolchain).err().map(|e| format!("{e:#}"));
                        let result = (name(what), toolchain.version.clone(), failure);
                        results.lock().expect("no panic while locked").push(result);
                    }
                });
            }
        }
    });
    let results = results.into_inner().expect("no panic while locked");
    if let Some(file) = env::var_os(TABLE_VAR) {
        add_table(Path::new(&file), &results).expect("the table can be written");
    }
    let failures: Vec<_> = results
        .iter()
        .filter_map(|(name, version, failure)| {
            Some(format!("{name} {version}: {}", failure.as_ref()?))
        })
        .collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

/// Adds a table of the results, under the name of the test, in Markdown.
fn add_table(file: &Path, results: &[(&str, String, Option<String>)]) -> io::Result<()> {
    let minor = |version: &str| version.split('.').nth(1).and_then(|n| n.parse::<u16>().ok());
    let mut versions: Vec<&str> = results.iter().map(|(_, version, _)| version.as_str()).collect();
    versions.sort_by_key(|version| minor(version));
    versions.dedup();
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in results {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let test = thread::current();
    // Into bytes, as one write is not mixed with those of other tests.
    let mut table = Vec::new();
    writeln!(table, "## {}\n", test.name().unwrap_or("?"))?;
    writeln!(table, "| | {} |", versions.join(" | "))?;
    writeln!(table, "|---|{}", "---|".repeat(versions.len()))?;
    for name in names {
        let cell = |version: &&str| {
            let is_it = |(n, v, _): &&(&str, String, Option<String>)| *n == name && v == version;
            match results.iter().find(is_it) {
                Some((.., None)) => "ok",
                Some(_) => "FAILED",
                None => "–",
            }
        };
        let cells: Vec<&str> = versions.iter().map(cell).collect();
        writeln!(table, "| {name} | {} |", cells.join(" | "))?;
    }
    let good = results.iter().filter(|(.., failure)| failure.is_none()).count();
    writeln!(table, "\n{good} of {} cases.\n", results.len())?;
    OpenOptions::new().create(true).append(true).open(file)?.write_all(&table)
}

/// What a variable of the environment leaves of the cases.
pub struct Chosen(Option<String>);

impl Chosen {
    /// Of the scenarios, and of what else has a name in a table.
    pub fn scenarios() -> Self {
        Self::from(SCENARIOS_VAR)
    }

    /// All, if there is no such variable.
    fn from(variable: &str) -> Self {
        let value = env::var(variable).ok();
        if let Some(value) = &value {
            skip(&format!("{variable} leaves those alone that begin with one of `{value}`"));
        }
        Chosen(value)
    }

    /// Whether this one is left.
    pub fn has(&self, name: &str) -> bool {
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
