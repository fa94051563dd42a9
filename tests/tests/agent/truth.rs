//! What the agent hands on is what the servers saw.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::Witness;
use proxytrace_tests::check;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

use crate::running::{Agent, Build, RUN, alone, can_run, job};

/// How many builds there are, one scenario after another.
const RUNS: usize = 160;
/// Says otherwise: 2,000 take a quarter of an hour.
const RUNS_VAR: &str = "AGENT_RUNS";
/// How many at a time.
const PARALLEL: usize = 4;

/// What became of one run: the lab, the exit code of its command.
struct Run {
    name: String,
    scenario: &'static Scenario,
    lab: Lab,
    code: Option<i32>,
}

#[test]
fn every_build_equals_the_log_of_its_servers() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let toolchain = Toolchain::newest().unwrap();
    let runs = std::env::var(RUNS_VAR).ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let is_fit = |scenario: &&Scenario| {
        let is_known = toolchain.minor() >= scenario.since;
        scenario.is_plain() && !scenario.waits() && is_known
    };
    let scenarios: Vec<&Scenario> = Scenario::all().iter().filter(is_fit).collect();
    let directory = tempfile::tempdir().unwrap();
    let textfile = directory.path().join("proxytrace.prom");
    let options = ["--sample", "1", "--label-values", "10000", "--textfile"];
    let options = [&options[..], &[textfile.to_str().unwrap()]].concat();
    let agent = Agent::start(&toolchain, &options);
    let answered: Mutex<Answered> = Mutex::default();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let scenario = scenarios[number % scenarios.len()];
                    let checked = run(number, scenario, &toolchain).and_then(|run| {
                        count(&run.lab.log(), &mut answered.lock().unwrap());
                        compare(&run, &agent, &toolchain)
                    });
                    if let Err(error) = checked {
                        let failure = format!("{number}, {}: {error:#}", scenario.name);
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let state = agent.state();
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
    let mut answered = answered.into_inner().unwrap();
    // What else was built on this machine meanwhile was seen, too, and is in no log.
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
    let metrics = fs::read_to_string(&textfile).unwrap();
    assert_eq!(counted(&metrics), answered, "what Prometheus is told");
    assert!(metrics.contains(&format!("\nproxytrace_builds_observed_total {}\n", builds.len())));
    assert_eq!((state.health.lost, state.health.abandoned), (0, 0));
    assert!(state.health.resident < 64 << 20, "{} bytes resident", state.health.resident);
    eprintln!("{runs} builds: {:?}", state.health);
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

/// A host with its port; this one if it has none.
fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

/// The same, from the text of the metrics.
fn counted(metrics: &str) -> Answered {
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("http_client_request_duration_seconds_count{")?;
        let label =
            |name: &str| rest.split_once(&format!("{name}=\"")).unwrap().1.split('"').next();
        let status = label("http_response_status_code").unwrap().parse().ok()?;
        let count = rest.rsplit(' ').next().unwrap().parse().unwrap();
        let (address, port) = (label("server_address").unwrap(), label("server_port").unwrap());
        Some(((format!("{address}:{port}"), status), count))
    });
    lines.collect()
}

fn is_ours(build: &Build) -> bool {
    build.job.get(RUN).is_some_and(|run| run.starts_with("truth-"))
}

fn run(number: usize, scenario: &'static Scenario, toolchain: &Toolchain) -> Result<Run> {
    let name = format!("truth-{number}");
    let lab = Lab::start(scenario, toolchain)?;
    let mut command = lab.command_of(scenario, &[]);
    command.envs(job(&name));
    let output = lab.output(command)?;
    ensure!(output.status.success() == scenario.succeeds, "{output:?}");
    Ok(Run { name, scenario, lab, code: output.status.code() })
}

/// By everything that a trace of the command itself would be compared by.
fn compare(run: &Run, agent: &Agent, toolchain: &Toolchain) -> Result<()> {
    let Run { name, scenario, lab, code } = run;
    agent.until("seen the build", || !agent.builds_of(name).is_empty());
    let builds = agent.builds_of(name);
    ensure!(builds.len() == 1, "{} builds", builds.len());
    let Build { trace, share, .. } = &builds[0];
    ensure!((share - 1.0).abs() < f64::EPSILON, "a share of {share}");
    ensure!(trace.command.exit_code == *code, "{:?}", trace.command);
    check::equals_as_go_saw_it(trace, &lab.log())?;
    check::walks(trace, scenario.goproxy)?;
    check::connections(trace, &lab.connections(), &lab.log(), scenario)?;
    check::lookups(trace, &lab.queries())?;
    check::cached(trace, scenario)?;
    check::findings(trace, scenario, toolchain).context("findings")
}
