//! What the agent hands on is what the servers saw.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use proxytrace::export::metrics::{Limits, Registry};
use proxytrace::export::{self, Health, Origin, prometheus};
use proxytrace::model::Witness;
use proxytrace_tests::cases;
use proxytrace_tests::chance;
use proxytrace_tests::check;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::ran::{self, Seen};
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};

use crate::running::{Agent, Build, RUN, alone, job};

/// How many builds there are, one scenario after another.
const RUNS: usize = 250;
/// Says otherwise: 2,000 take ten minutes.
const RUNS_VAR: &str = "AGENT_RUNS";
/// How many values a label may have: hosts and modules of all scenarios.
const VALUES: usize = 10_000;
/// How many at a time.
const PARALLEL: usize = 4;

/// How many labs of each of these stay for a while, as most places do where a build has ended: the
/// agent may not have read yet what its user's files said.
const KEPT: usize = 8;

/// What became of one run: the exit code of its command, and what its servers saw.
struct Run<'a> {
    name: String,
    scenario: &'static Scenario,
    toolchain: &'a Toolchain,
    code: Option<i32>,
    seen: Seen,
}

#[test]
fn every_build_equals_the_log_of_its_servers() {
    let Some((_alone, toolchain)) = alone() else { return };
    let (many, scenarios) = of_table();
    let toolchains = releases(&toolchain);
    let all = Runs { scenarios: &scenarios, toolchains: &toolchains, count: many, again: false };
    let watched = watch_all(&toolchain, "1", &all, |agent, run| {
        agent.until("seen the build", || !agent.builds_of(&run.name).is_empty());
        let builds = agent.builds_of(&run.name);
        ensure!(builds.len() == 1, "{} builds", builds.len());
        compare(run, &builds[0], 1.0)
    });
    let (builds, metrics, health, runs) = watched;
    let mut answered = Answered::new();
    for run in &runs {
        count(&run.seen.log, &mut answered);
    }
    count_others(&builds, &mut answered);
    assert_eq!(counted(&metrics), answered, "what Prometheus is told");
    assert!(metrics.contains(&format!("\nproxytrace_builds_observed_total {}\n", builds.len())));
    equals_the_builds(&metrics, &builds);
    for family in OF_BUILDS {
        assert!(metrics.lines().any(|line| line.starts_with(family)), "no {family}");
    }
    assert!(health.resident < 64 << 20, "{} bytes resident", health.resident);
    eprintln!("{} builds: {health:?}", runs.len());
}

/// How many are drawn.
const DRAWN: usize = 120;

/// Of scenarios that nobody thought of, too, what the agent tells is what the servers saw.
#[test]
fn every_drawn_build_equals_the_log_of_its_servers() {
    let Some((_alone, toolchain)) = alone() else { return };
    // A go that is run itself is one build.
    let is_one = |scenario: &Scenario| scenario.command[0] == "go";
    let leak = |(_, scenario)| -> &'static Scenario { Box::leak(Box::new(scenario)) };
    let scenarios: Vec<_> = chance::drawn(DRAWN, is_one).into_iter().map(leak).collect();
    let check = |agent: &Agent, run: &Run| {
        agent.until("seen the build", || !agent.builds_of(&run.name).is_empty());
        let builds = agent.builds_of(&run.name);
        ensure!(builds.len() == 1, "{} builds", builds.len());
        let build = &builds[0];
        ensure!(build.trace.command.exit_code == run.code, "{:?}", build.trace.command);
        let json = serde_json::to_string(&build.trace)?;
        ensure!(!ran::has_secret(&json), "a secret is told: {json}");
        run.seen.is_told(&ran::without_users(&json)?, run.scenario, run.toolchain)
    };
    let toolchains = releases(&toolchain);
    let runs = Runs {
        scenarios: &scenarios,
        toolchains: &toolchains,
        count: scenarios.len(),
        again: true,
    };
    watch_all(&toolchain, "1", &runs, check);
}

/// One in so many is chosen.
const ONE_IN: u32 = 10;

/// Of those that were chosen everything is told, and of the others nothing; what is told of all is
/// the sum of what the servers saw of those, scaled, which is as near to what they saw in all as
/// chance allows.
#[test]
fn a_tenth_of_the_builds_speaks_for_all() {
    let Some((_alone, toolchain)) = alone() else { return };
    let (many, scenarios) = of_table();
    let toolchains = releases(&toolchain);
    let all = Runs { scenarios: &scenarios, toolchains: &toolchains, count: many, again: false };
    let (builds, metrics, health, runs) = watch_all(&toolchain, "10%", &all, |_, _| Ok(()));
    let mut answered = Answered::new();
    let (mut chosen, mut failures) = (Vec::new(), Vec::new());
    for run in &runs {
        let of_it: Vec<&Build> = builds.iter().filter(|build| is_of(build, &run.name)).collect();
        let [build] = of_it[..] else {
            assert!(of_it.is_empty(), "{} builds of {}", of_it.len(), run.name);
            continue;
        };
        chosen.push(run);
        count(&run.seen.log, &mut answered);
        if let Err(error) = compare(run, build, 1.0 / f64::from(ONE_IN)) {
            failures.push(format!("{}, {}: {error:#}", run.name, run.scenario.name));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    count_others(&builds, &mut answered);
    for count in answered.values_mut() {
        *count *= u64::from(ONE_IN);
    }
    assert_eq!(counted(&metrics), answered, "what Prometheus is told");
    equals_the_builds(&metrics, &builds);

    let answers = |is_it: fn(u16) -> bool| {
        move |run: &Run<'_>| {
            run.seen.log.iter().filter(|entry| entry.status.is_some_and(is_it)).count()
        }
    };
    is_near("builds", &chosen, &runs, |_| 1);
    is_near("answers", &chosen, &runs, answers(|_| true));
    is_near("redirects", &chosen, &runs, answers(|status| status / 100 == 3));
    is_near("errors", &chosen, &runs, answers(|status| status >= 400));
    eprintln!("{} of {} builds: {health:?}", chosen.len(), runs.len());
}

/// Whether what is told of all runs is within five standard deviations.
fn is_near(what: &str, chosen: &[&Run<'_>], runs: &[Run<'_>], count: impl Fn(&Run<'_>) -> usize) {
    let count = |run: &Run<'_>| f64::from(u32::try_from(count(run)).unwrap());
    let one_in = f64::from(ONE_IN);
    let told = chosen.iter().map(|run| count(run)).sum::<f64>() * one_in;
    let fact: f64 = runs.iter().map(count).sum();
    // Each run is chosen, or not, by itself.
    let squares: f64 = runs.iter().map(|run| count(run).powi(2)).sum();
    let deviation = (squares * (one_in - 1.0)).sqrt();
    eprintln!("{what}: {told} of {fact}, {:+.2} deviations", (told - fact) / deviation);
    assert!(deviation > 0.0, "no {what}");
    assert!((told - fact).abs() < 5.0 * deviation, "{what}: {told} instead of {fact}");
}

/// Every count of what builds did is the sum over those that were handed on, each of which was held to
/// the log of its servers: none is missing, or there twice. (How a build is counted `monitoring` tests.)
fn equals_the_builds(metrics: &str, builds: &[Build]) {
    // Sums of seconds depend on their order in the last digit.
    let of_builds = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| OF_BUILDS.iter().any(|it| line.starts_with(it)));
        lines.filter(|line| !line.contains("_sum")).map(str::to_owned).collect()
    };
    let limits = Limits { values: VALUES, ..Limits::default() };
    let expected = of_builds(&told_of(builds, limits));
    assert_eq!(of_builds(metrics), expected);
}

/// What Prometheus would be told of these builds.
pub(crate) fn told_of(builds: &[Build], limits: Limits) -> String {
    let mut registry = Registry::new(limits, 0.0);
    for Build { share, trace, .. } in builds {
        let origin = Origin::default();
        registry.observe(&export::Build { share: *share, trace: trace.clone(), origin });
    }
    registry.settle();
    let mut text = Vec::new();
    prometheus::write(&registry, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// How metrics begin that come from builds alone.
const OF_BUILDS: [&str; 10] = [
    "go_mod_fetch_total",
    "go_mod_fetch_success_total",
    "go_mod_fetch_errors_total",
    "go_mod_fetch_duration_seconds",
    "go_mod_operations_total",
    "go_mod_redirects_total",
    "go_mod_fallbacks_total",
    "go_mod_goauth_resends_total",
    "proxytrace_findings_",
    "proxytrace_builds_total",
];

/// What is run beside an agent.
struct Runs<'a> {
    scenarios: &'a [&'static Scenario],
    /// By which releases, one after another.
    toolchains: &'a [Toolchain],
    /// How many, one scenario after another.
    count: usize,
    /// Whether what fails is run once more (see `cases::for_each_drawn`).
    again: bool,
}

impl<'a> Runs<'a> {
    /// The scenario of a run, or the next one that its release knows.
    fn of(&self, number: usize) -> (&'static Scenario, &'a Toolchain) {
        // Another one in each round of the scenarios.
        let turn = number / self.scenarios.len() + number % self.scenarios.len();
        let toolchain = &self.toolchains[turn % self.toolchains.len()];
        let mut scenarios = self.scenarios.iter().cycle().skip(number % self.scenarios.len());
        let scenario = scenarios.find(|scenario| toolchain.minor() >= scenario.since);
        (scenario.expect("one for all releases"), toolchain)
    }
}

/// The table's scenarios that suit.
fn of_table() -> (usize, Vec<&'static Scenario>) {
    let count = std::env::var(RUNS_VAR).ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let is_fit = |scenario: &&Scenario| scenario.is_plain() && !scenario.waits();
    (count, Scenario::all().iter().filter(is_fit).collect())
}

/// The newest release, and in turn with it each of the others.
fn releases(newest: &Toolchain) -> Vec<Toolchain> {
    let others = cases::toolchains(&VERSIONS).into_iter();
    let others = others.filter(|other| other.version != newest.version);
    let all: Vec<_> = others.flat_map(|other| [newest.clone(), other]).collect();
    if all.is_empty() { vec![newest.clone()] } else { all }
}

/// Runs all of these beside an agent with this share, `check` after each. Yields what the agent handed
/// on, what it told Prometheus and of itself, and the runs.
fn watch_all<'a>(
    toolchain: &Toolchain,
    share: &str,
    of: &Runs<'a>,
    check: impl Fn(&Agent, &Run<'a>) -> Result<()> + Sync,
) -> (Vec<Build>, String, Health, Vec<Run<'a>>) {
    let directory = tempfile::tempdir().unwrap();
    let textfile = directory.path().join("proxytrace.prom");
    let values = VALUES.to_string();
    let options = ["--sample", share, "--label-values", &values, "--textfile"];
    let options = [&options[..], &[textfile.to_str().unwrap()]].concat();
    // Of one that it meets it may miss the first events.
    let known = of.toolchains.iter().map(|toolchain| toolchain.goroot.join("bin"));
    let path = std::env::join_paths(known).unwrap();
    let agent = Agent::begin_with(toolchain, &options, &[("PATH", &path)]);
    agent.watches();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                let mut labs = VecDeque::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= of.count {
                        break;
                    }
                    let (scenario, by) = of.of(number);
                    let run = |number| run(number, scenario, by, |run| check(&agent, run));
                    let checked = run(number).or_else(|error| {
                        if !of.again {
                            return Err(error);
                        }
                        eprintln!("at first: {}, {}: {error:#}", scenario.name, by.version);
                        run(number + of.count)
                    });
                    match checked {
                        Ok((run, lab)) => {
                            done.lock().unwrap().push(run);
                            labs.push_back(lab);
                            labs.drain(..labs.len().saturating_sub(KEPT));
                        }
                        Err(error) => {
                            let of = format!("{number}, {}, {}", scenario.name, by.version);
                            let failure = format!("{of}: {error:#}");
                            failures.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let health = agent.state().health;
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        of.count,
        failures.join("\n")
    );
    assert_eq!((health.lost, health.abandoned), (0, 0));
    let metrics = fs::read_to_string(&textfile).unwrap();
    (builds, metrics, health, done.into_inner().unwrap())
}

/// How many answers each host gave with each status.
type Answered = BTreeMap<(String, u16), u64>;

fn count(log: &[Entry], answered: &mut Answered) {
    for entry in log {
        let Some(status) = entry.status else { continue };
        let rest = entry.url.split_once("://").map_or(&*entry.url, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap().rsplit('@').next().unwrap();
        let port = if entry.url.starts_with("http://") { 80 } else { 443 };
        *answered.entry((with_port(host, port), status)).or_default() += 1;
    }
}

/// A host with its port; this one if it has none. Of loopback one that the system gave is not told.
fn with_port(host: &str, port: u16) -> String {
    match host.rsplit_once(':') {
        Some((name @ ("127.0.0.1" | "localhost"), port))
            if port.parse::<u16>().is_ok_and(|port| port >= 32_768) =>
        {
            format!("{name}:")
        }
        Some(_) => host.to_owned(),
        None => format!("{host}:{port}"),
    }
}

/// The same, from the text of the metrics.
fn counted(metrics: &str) -> Answered {
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("http_client_request_duration_seconds_count{")?;
        let label =
            |name: &str| rest.split_once(&format!("{name}=\"")).unwrap().1.split('"').next();
        let status = label("http_response_status_code").unwrap().parse().ok()?;
        // A share is a number of 32 bits, and a tenth is none.
        let count: f64 = rest.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((count - count.round()).abs() < 1e-6 * count, "{count}");
        let count = format!("{count:.0}").parse().unwrap();
        let (address, port) = (label("server_address").unwrap(), label("server_port").unwrap());
        Some(((format!("{address}:{port}"), status), count))
    });
    lines.collect()
}

/// What else was built on this machine meanwhile was seen, too, and is in no log.
fn count_others(builds: &[Build], answered: &mut Answered) {
    for build in builds.iter().filter(|build| !is_ours(build)) {
        let attempts = build.trace.chains.iter().flat_map(|chain| &chain.attempts);
        let requests = attempts.flat_map(|attempt| &attempt.requests);
        for request in
            requests.filter(|one| one.witness != Witness::Wire && one.method != "CONNECT")
        {
            if let Some(status) = request.status {
                let port = if request.url.starts_with("http://") { 80 } else { 443 };
                *answered.entry((with_port(&request.host, port), status)).or_default() += 1;
            }
        }
    }
}

fn is_ours(build: &Build) -> bool {
    build.job.get(RUN).is_some_and(|run| run.starts_with("truth-"))
}

fn is_of(build: &Build, run: &str) -> bool {
    build.job.get(RUN).is_some_and(|name| name == run)
}

/// Runs one, and `check` while its servers are still there.
fn run<'a>(
    number: usize,
    scenario: &'static Scenario,
    toolchain: &'a Toolchain,
    check: impl FnOnce(&Run<'a>) -> Result<()>,
) -> Result<(Run<'a>, Lab)> {
    let name = format!("truth-{number}");
    let lab = Lab::start(scenario, toolchain)?;
    let mut command = lab.command_of(scenario, &[]);
    command.envs(job(&name));
    let output = lab.output(command)?;
    let code = output.status.code();
    let seen = Seen::of(&lab, &output);
    let run = Run { name, scenario, toolchain, code, seen };
    check(&run)?;
    Ok((run, lab))
}

/// By everything that a trace of the command itself would be compared by.
fn compare(run: &Run<'_>, build: &Build, of: f64) -> Result<()> {
    let Run { scenario, toolchain, code, seen, .. } = run;
    let Build { trace, share, .. } = build;
    ensure!(seen.succeeded == scenario.succeeds, "{}", seen.stderr);
    ensure!((share - of).abs() < 1e-9, "a share of {share}");
    ensure!(trace.command.exit_code == *code, "{:?}", trace.command);
    seen.equals(trace, scenario)?;
    check::walks(trace, scenario.goproxy)?;
    check::cached(trace, scenario)?;
    check::findings(trace, scenario, toolchain).context("findings")
}
