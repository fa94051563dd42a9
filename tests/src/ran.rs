//! Commands that run in the lab and are watched there, and whether what is told of them is so.

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Attempt, Chain, Trace};

use crate::check;
use crate::confusion;
use crate::lab::Lab;
use crate::log::{Accepted, Entry, Query};
use crate::scenario::Scenario;
use crate::told;
use crate::toolchain::Toolchain;

/// A command that ran under proxytrace in the lab.
struct Ran {
    lab: Lab,
    output: Output,
    stderr: String,
    trace: Trace,
}

/// Whether a text has what netrc, GOAUTH and GOPROXY have of the password, or what goes over the wire.
pub fn has_secret(text: &str) -> bool {
    [":secret", "dXNlcjpzZWNyZXQ"].iter().any(|secret| text.contains(secret))
}

impl Ran {
    /// Runs the command of a scenario to its end; if it records, its recording has to be the same
    /// trace again, and nothing to be told that is secret.
    fn new(
        proxytrace: &Path,
        scenario: &Scenario,
        toolchain: &Toolchain,
        records: bool,
    ) -> Result<Self> {
        let lab = Lab::start(scenario, toolchain)?;
        let json = lab.module_dir().join("trace.json");
        let recording = lab.module_dir().join("recording");
        let mut before = vec![proxytrace.as_os_str(), "--json".as_ref(), json.as_os_str()];
        if records {
            before.extend(["--record".as_ref(), recording.as_os_str()]);
        }
        before.push("--".as_ref());
        let output = lab.output(lab.command_of(scenario, &before))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = fs::read(&json).with_context(|| format!("no trace: {stderr}"))?;
        let text = String::from_utf8(json.clone())?;
        let trace = without_users(&text)?;
        if records {
            let again = lab.module_dir().join("again.json");
            let mut replay = lab.command(proxytrace);
            replay.arg("replay").arg("--json").arg(&again).arg(&recording);
            let replayed = lab.output(replay)?;
            let said = String::from_utf8_lossy(&replayed.stderr);
            let again = fs::read(&again).with_context(|| format!("no replay: {said}"))?;
            ensure!(again == json, "its recording is another trace");
            // go shows the password in the URL that redirected to http, and all with http2debug.
            let theirs = ["go: ", "# get ", "http2: "];
            let ours = |line: &&str| !theirs.iter().any(|theirs| line.starts_with(theirs));
            let mut shown = stderr.lines().filter(ours).chain(text.lines());
            let told = shown.find(|line| has_secret(line));
            ensure!(told.is_none(), "a secret is told: {told:?}");
        }
        ensure!(
            trace.command.exit_code == output.status.code(),
            "exit code {:?} in the trace, {} in fact",
            trace.command.exit_code,
            output.status
        );
        let mut versions =
            trace.processes.iter().filter_map(|process| process.go_version.as_deref());
        // One that was killed may not have come to say which it is.
        let is_it =
            trace.command.signal.is_some() || versions.any(|version| version == toolchain.version);
        ensure!(is_it, "not the go we ran");
        Ok(Self { lab, output, stderr, trace })
    }

    /// What the lab has seen of it.
    fn seen(&self) -> Seen {
        Seen::of(&self.lab, &self.output)
    }
}

/// What servers and caller saw of a command.
#[derive(Debug)]
pub struct Seen {
    /// What servers were asked.
    pub log: Vec<Entry>,
    /// The connections that they accepted.
    pub connections: Vec<Accepted>,
    /// What the name server was asked.
    pub queries: Vec<Query>,
    /// What the command wrote to stderr.
    pub stderr: String,
    /// Whether it ended with 0.
    pub succeeded: bool,
}

impl Seen {
    /// Of a command that has ended in the lab.
    pub fn of(lab: &Lab, output: &Output) -> Self {
        Self {
            log: lab.log(),
            connections: lab.connections(),
            queries: lab.queries(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            succeeded: output.status.success(),
        }
    }

    /// Compares a trace with it; sockets are a witness of their own, where they were looked at.
    pub fn equals(&self, trace: &Trace, scenario: &Scenario) -> Result<()> {
        if trace.capture.witnesses.is_some() {
            check::equals(trace, &self.log)?;
        } else {
            check::equals_as_go_saw_it(trace, &self.log)?;
        }
        check::connections(trace, &self.connections, &self.log, scenario, false)?;
        check::lookups(trace, &self.queries)
    }

    /// Whether a trace of a scenario that is drawn, and says nothing of what comes of it, has what is
    /// so whatever that is.
    pub fn is_told(&self, trace: &Trace, scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
        // Of a script, that says little of what the go commands in it came to.
        let is_script = scenario.command[0] == "sh";
        let succeeds = if is_script { !check::failed(trace) } else { self.succeeded };
        let scenario = Scenario { succeeds, ..*scenario };
        // What is private has an entry before all others.
        let is_private =
            scenario.environment.iter().any(|(name, _)| ["GOPRIVATE", "GONOPROXY"].contains(name));
        let goproxy = if is_private { "noproxy," } else { "" }.to_owned() + scenario.goproxy;
        let goproxy = goproxy.replace("user:secret@", "");
        let downloads = scenario.command == Scenario::BASE.command;
        let equals = || {
            let log = check::tunnels_aside(trace, &self.log)?;
            check::equals_drawn(trace, &log)?;
            check::connections(trace, &self.connections, &log, &scenario, true)?;
            check::lookups(trace, &self.queries)
        };
        equals()
            .and_then(|()| check::entries(trace, &goproxy, true))
            .and_then(|()| if downloads { check::ends(trace, true) } else { Ok(()) })
            .and_then(|()| check::roots(trace, true))
            .and_then(|()| told::check(trace, &self.log, &self.stderr, &scenario, toolchain))
            .with_context(|| {
                let chains: Vec<_> = trace.chains.iter().map(outline).collect();
                format!("{scenario:#?}\nchains: {chains:#?}\nstderr: {}", self.stderr)
            })
    }
}

/// A trace in whose URLs there is no user, as servers are asked.
pub fn without_users(json: &str) -> Result<Trace> {
    let trace = serde_json::from_str(&json.replace("REDACTED@", ""));
    trace.context("the trace is not as in the model")
}

/// Runs the command of a scenario under proxytrace, and compares what that says with the log,
/// with what the scenario expects and with what the command did.
pub fn download(proxytrace: &Path, scenario: &Scenario, toolchain: &Toolchain) -> Result<Trace> {
    let ran = Ran::new(proxytrace, scenario, toolchain, false)?;
    let Ran { output, stderr, trace, .. } = &ran;
    ensure!(output.status.success() == scenario.succeeds, "{}: {stderr}", output.status);
    let plain = scenario.is_plain();
    ensure!(output.stdout.is_empty() || !plain, "stdout is not that of go");
    if scenario.is_healthy() && plain {
        ensure!(stderr.lines().count() == 1, "not a report of one line: {stderr}");
    }
    confusion::note(scenario, toolchain, &check::found(trace));
    let compared = if plain {
        ran.seen()
            .equals(trace, scenario)
            .and_then(|()| check::walks(trace, scenario.goproxy))
            .and_then(|()| check::cached(trace, scenario))
    } else {
        Ok(())
    };
    compared
        .and_then(|()| check::findings(trace, scenario, toolchain))
        .with_context(|| format!("stderr: {stderr}"))?;
    Ok(ran.trace)
}

/// The same of a scenario that is drawn: what is so whatever comes of it.
pub fn whatever_comes(proxytrace: &Path, scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    let ran = Ran::new(proxytrace, scenario, toolchain, true)?;
    ran.seen().is_told(&ran.trace, scenario, toolchain)
}

/// A chain in a line.
fn outline(chain: &Chain) -> String {
    let attempt = |it: &Attempt| format!("{} {:?} {:?}", it.proxy, it.outcome, it.next);
    let attempts: Vec<_> = chain.attempts.iter().map(attempt).collect();
    let at = chain.version.as_deref().unwrap_or_default();
    let module = chain.module.as_deref().unwrap_or_default();
    format!("{module}@{at} {:?} {:?}: {}", chain.artifact, chain.outcome, attempts.join("; "))
}
