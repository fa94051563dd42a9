//! The agent, and builds beside it that know nothing of it: what it hands on is what the servers saw.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxytrace::agent::state::State;
use proxytrace::model::Trace;
use serde::Deserialize;

use crate::check;
use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::toolchain::Toolchain;

/// One that is whole, one that fails, one that goes on.
const SCENARIOS: [&str; 3] = ["healthy-h1", "redirect-403", "not-found-next"];
/// What names a build.
const RUN: &str = "cicd.pipeline.run.id";

/// What of a line of `--once` is compared.
#[derive(Deserialize)]
struct Build {
    job: BTreeMap<String, String>,
    trace: Trace,
}

/// Ends with us.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has an agent watch so many builds, and compares; yields the trace of the last.
pub fn watch(proxytrace: &Path, toolchain: &Toolchain, builds: usize) -> Result<Trace> {
    let dir = tempfile::tempdir()?;
    let (seen, state) = (dir.path().join("seen"), dir.path().join("state.json"));
    let mut agent = start(proxytrace, toolchain, &seen, &state)?;
    // They stay until all has been compared, and with them the files of their users.
    let mut labs = Vec::new();
    for (number, name) in SCENARIOS.iter().cycle().take(builds).enumerate() {
        let scenario = Scenario::find(name).context("no such scenario")?;
        let lab = Lab::start(scenario, toolchain)?;
        let mut command = lab.command_of(scenario, &[]);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_RUN_ID", number.to_string());
        let output = lab.output(command)?;
        ensure!(output.status.success() == scenario.succeeds, "{output:?}");
        labs.push((scenario, lab));
    }
    kill(Pid::from_raw(agent.0.id().cast_signed()), Signal::SIGTERM)?;
    let status = agent.0.wait()?;
    ensure!(status.success(), "the agent ended with {status}");
    let health = State::read(&state)?.health;
    ensure!(health.lost == 0 && health.late == 0 && health.abandoned == 0, "{health:?}");

    let text = fs::read_to_string(&seen)?;
    let mut all: BTreeMap<String, Trace> = BTreeMap::new();
    for line in text.lines() {
        let mut build: Build = serde_json::from_str(line)?;
        let Some(run) = build.job.remove(RUN) else { continue };
        ensure!(all.insert(run.clone(), build.trace).is_none(), "build {run} came twice");
    }
    ensure!(all.len() == builds, "{} builds of {builds}", all.len());
    for (number, (scenario, lab)) in labs.iter().enumerate() {
        let trace = &all[&number.to_string()];
        check::equals_as_go_saw_it(trace, &lab.log())
            .and_then(|()| check::walks(trace, scenario.goproxy))
            .and_then(|()| check::findings(trace, scenario, toolchain))
            .with_context(|| format!("build {number}, {}", scenario.name))?;
    }
    let last = builds.checked_sub(1).context("at least one build")?;
    all.remove(&last.to_string()).context("the last build")
}

/// Starts one that watches all builds with this toolchain, and waits until it does.
fn start(proxytrace: &Path, toolchain: &Toolchain, seen: &Path, state: &Path) -> Result<Agent> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = [toolchain.goroot.join("bin")].into_iter().chain(std::env::split_paths(&inherited));
    let mut command = Command::new(proxytrace);
    command.args(["agent", "--once", "--for", "1h", "--sample", "1", "--state"]).arg(state);
    command.env("PATH", std::env::join_paths(path)?);
    command.stdin(Stdio::null()).stdout(File::create(seen)?).stderr(Stdio::piped());
    let mut agent = Agent(command.spawn().context("cannot run the agent")?);
    let mut log = BufReader::new(agent.0.stderr.take().context("a pipe")?).lines();
    let mut said = Vec::new();
    loop {
        let line = log.next().with_context(|| format!("the agent has ended: {said:?}"))??;
        if line.contains("msg=watching") {
            break;
        }
        said.push(line);
    }
    // Whoever writes must be read.
    thread::spawn(move || log.for_each(drop));
    Ok(agent)
}
