//! Every scenario with every toolchain, as the tests go through them.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::Result;
use nix::unistd::geteuid;
pub use xtask::process::{not_here, skip};

use crate::chance;
use crate::scenario::Scenario;
use crate::toolchain::{POSITION_INDEPENDENT, Toolchain, VERSIONS};

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

/// Names of cases that are in no table of the lab but in a test; they can be chosen, too.
const OF_TESTS: [&str; 23] = [
    // Of servers.
    "chance",
    "configuration",
    "no-zip",
    "symptoms",
    // Ways in which a go comes to run.
    "build",
    "build, install, run",
    "env, exec",
    "exit codes",
    "get",
    "list -u",
    "make",
    "other namespaces",
    "python",
    "python, subprocess",
    "several at once",
    "shell",
    "telemetry",
    "tidy",
    "toolchain by PATH",
    "toolchain by proxy",
    "unforeseen in other namespaces",
    "vendor",
    "workspace",
];

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

/// Runs `check` on so many scenarios that are drawn and suit; the same one always with the same
/// release, where all of these are there.
///
/// What fails is run again. A go that ends in the midst of things leaves it open what the other end
/// saw of them: what fails once in a thousand runs is said, past the capture of a test that passes;
/// what fails twice is wrong.
pub fn for_each_drawn(
    count: usize,
    releases: &[&str],
    suits: impl Fn(&Scenario) -> bool,
    check: impl Fn(&Scenario, &Toolchain) -> Result<()> + Sync,
) {
    if !can_start() || !Chosen::scenarios().has("chance") {
        return;
    }
    let toolchains = toolchains(releases);
    let of = |seed: usize| toolchains.get(seed % toolchains.len().max(1));
    let drawn = chance::drawn(count, suits);
    let cases = drawn.iter().filter_map(|(seed, scenario)| Some((scenario, of(*seed)?)));
    let twice = |scenario: &Scenario, toolchain: &Toolchain| {
        check(scenario, toolchain).or_else(|error| {
            let at = format!("{} {}", scenario.name, toolchain.version);
            let _ = writeln!(io::stderr(), "at first: {at}: {error:#}");
            check(scenario, toolchain)
        })
    };
    check_all(cases, |scenario| scenario.name, |_| false, twice);
}

/// The toolchains of these releases, of which the environment may leave some.
pub fn toolchains(releases: &[&str]) -> Vec<Toolchain> {
    let chosen = Chosen::releases();
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
pub struct Chosen {
    /// Beginnings of names, separated by commas; all, if there is no such variable.
    beginnings: Option<String>,
    /// Every name, those of other tests too: what none of them begins with is a slip, and would have
    /// nothing tested.
    known: Vec<&'static str>,
}

impl Chosen {
    /// Of the scenarios, and of what else has a name in a table.
    pub fn scenarios() -> Self {
        let table = Scenario::all().iter().map(|scenario| scenario.name);
        Self::from(SCENARIOS_VAR, table.chain(OF_TESTS).collect())
    }

    fn releases() -> Self {
        Self::from(RELEASES_VAR, VERSIONS.into_iter().chain(POSITION_INDEPENDENT).collect())
    }

    fn from(variable: &str, known: Vec<&'static str>) -> Self {
        let beginnings = env::var(variable).ok();
        if let Some(value) = &beginnings {
            let slips = slips(value, &known);
            assert!(slips.is_empty(), "{variable}: no name begins with one of {slips:?}");
            skip(&format!("{variable} leaves those alone that begin with one of `{value}`"));
        }
        Self { beginnings, known }
    }

    /// Whether this one is left.
    pub fn has(&self, name: &str) -> bool {
        assert!(self.known.contains(&name), "`{name}` cannot be chosen: add it to `OF_TESTS`");
        let Some(beginnings) = &self.beginnings else { return true };
        beginnings.split(',').any(|beginning| name.starts_with(beginning))
    }
}

/// Those of the beginnings that no name has.
fn slips<'a>(beginnings: &'a str, known: &[&str]) -> Vec<&'a str> {
    let is_slip = |beginning: &&str| !known.iter().any(|name| name.starts_with(*beginning));
    beginnings.split(',').filter(is_slip).collect()
}

/// Whether this process may trace; skips aloud if not.
pub fn can_trace() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("tracing needs root, and so does the lab: it makes network and mount namespaces");
    }
    root
}

/// The newest toolchain that is there, if this process may start a lab to run it in; skips aloud if
/// not.
pub fn newest() -> Option<Toolchain> {
    if !can_trace() {
        return None;
    }
    Toolchain::newest().inspect_err(|error| skip(&format!("{error:#}"))).ok()
}

/// Whether this process may start a lab, and there is a go to be run in it; skips aloud if not.
pub fn can_start() -> bool {
    newest().is_some()
}

/// The program under test, if it is built; skips aloud if not.
pub fn built() -> Option<PathBuf> {
    let program = proxytrace();
    let is_built = program.is_file();
    if !is_built {
        skip(&format!("no {}: build it, or set PROXYTRACE_BIN", program.display()));
    }
    is_built.then_some(program)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_a_beginning() {
        let known = ["redirect-403", "retry-h1"];
        assert!(slips("redirect,retry-h1", &known).is_empty());
        assert_eq!(slips("redirect,retry-h3,403", &known), ["retry-h3", "403"]);
    }
}
