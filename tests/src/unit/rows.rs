//! What the agent wrote of builds, in its files and for Prometheus, and what servers saw of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::systemd::until;
use crate::lab::Lab;
use crate::log::Entry;
use crate::scenario::{Scenario, Severity};
use crate::toolchain::Toolchain;

/// Where the settings have files of lines written, which the unit makes a place for.
pub(super) const LOGS: &str = "/var/log/proxytrace";
/// What it found in toolchains.
pub(super) const CACHE: &str = "/var/cache/proxytrace";
/// Where Prometheus is answered, as the settings in the package have it.
const METRICS: &str = "127.0.0.1:9478";
/// What names a build.
const RUN: &str = "cicd.pipeline.run.id";

/// The environment of a job of this name.
pub(super) fn job(run: &str) -> [(&'static str, String); 2] {
    [("GITHUB_ACTIONS", "true".to_owned()), ("GITHUB_RUN_ID", run.to_owned())]
}

/// A build that was run, and what came of it.
pub(super) struct Ran {
    pub(super) run: String,
    pub(super) scenario: &'static Scenario,
    pub(super) lab: Lab,
    pub(super) code: Option<i32>,
}

impl Ran {
    /// Runs the command of a scenario, of which the agent is not told.
    pub(super) fn new(run: &str, scenario: &str, toolchain: &Toolchain) -> Result<Self> {
        let scenario = Scenario::find(scenario).context("no such scenario")?;
        let lab = Lab::start(scenario, toolchain)?;
        let mut command = lab.command_of(scenario, &[]);
        command.envs(job(run));
        let output = lab.output(command)?;
        ensure!(output.status.success() == scenario.succeeds, "{output:?}");
        Ok(Self { run: run.to_owned(), scenario, lab, code: output.status.code() })
    }

    /// Waits for what the agent wrote of it, which is all that the servers saw.
    pub(super) fn is_seen(&self, toolchain: &Toolchain) -> Result<Seen> {
        let seen = Seen::of(&self.run)?;
        seen.equals(self, toolchain).with_context(|| format!("build {}", self.run))?;
        Ok(seen)
    }
}

/// A line for a build (`proxytrace.fleet/v1`), as far as it is compared.
#[derive(Debug, Deserialize)]
pub(super) struct Build {
    #[serde(rename = "build")]
    id: String,
    pub(super) container: String,
    pub(super) pod: String,
    pub(super) job: BTreeMap<String, String>,
    go_version: String,
    exit_code: Option<i32>,
    chains: usize,
    findings: usize,
    lost: u64,
    pub(super) complete: bool,
}

#[derive(Debug, Deserialize)]
struct Chain {
    build: String,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    requests: Vec<Request>,
}

#[derive(Debug, Deserialize)]
struct Request {
    host: String,
    status: Option<u16>,
    protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    build: String,
    code: String,
    severity: String,
}

/// All lines of a build.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) build: Build,
    chains: Vec<Chain>,
    findings: Vec<Finding>,
}

impl Seen {
    /// Waits for the build of a job.
    pub(super) fn of(run: &str) -> Result<Self> {
        until(&format!("seen {run}"), || {
            let mut builds = builds(run)?;
            ensure!(builds.len() < 2, "it came {} times", builds.len());
            let Some(build) = builds.pop() else { return Ok(None) };
            let mut chains: Vec<Chain> = lines("chains")?;
            let mut findings: Vec<Finding> = lines("findings")?;
            chains.retain(|chain| chain.build == build.id);
            findings.retain(|finding| finding.build == build.id);
            // The last of them are written last.
            let whole = (chains.len(), findings.len()) == (build.chains, build.findings);
            Ok(whole.then_some(Self { build, chains, findings }))
        })
    }

    fn equals(&self, ran: &Ran, toolchain: &Toolchain) -> Result<()> {
        let Self { build, chains, findings } = self;
        ensure!(build.complete && build.lost == 0, "incomplete: {build:?}");
        ensure!(build.exit_code == ran.code, "{:?} and not {:?}", build.exit_code, ran.code);
        ensure!(build.go_version == toolchain.version, "{}", build.go_version);
        let attempts = chains.iter().flat_map(|chain| &chain.attempts);
        let requests = attempts.flat_map(|attempt| &attempt.requests);
        let mut seen: Vec<_> = requests
            .map(|one| (one.host.clone(), one.status, one.protocol.clone().unwrap_or_default()))
            .collect();
        let log = ran.lab.log();
        let mut served: Vec<_> = log
            .iter()
            .map(|entry| (authority(entry).to_owned(), entry.status, entry.protocol.clone()))
            .collect();
        seen.sort();
        served.sort();
        ensure!(!served.is_empty() && seen == served, "{seen:?}, and the servers saw {served:?}");
        let found: BTreeSet<_> =
            findings.iter().map(|one| (one.code.as_str(), one.severity.as_str())).collect();
        let expected = ran.scenario.expected(toolchain);
        let expected: BTreeSet<_> =
            expected.into_iter().map(|(code, severity)| (code, word(severity))).collect();
        ensure!(found == expected, "{found:?} found, and not {expected:?}");
        Ok(())
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// What was written of the builds of a job.
pub(super) fn builds(run: &str) -> Result<Vec<Build>> {
    let mut builds: Vec<Build> = lines("builds")?;
    builds.retain(|build| build.job.get(RUN).is_some_and(|name| name == run));
    Ok(builds)
}

/// The lines of a kind.
fn lines<T: DeserializeOwned>(kind: &str) -> Result<Vec<T>> {
    let path = Path::new(LOGS).join(kind).with_extension("ndjson");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // The last may be half-written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// What Prometheus is told.
pub(super) fn metrics() -> Result<String> {
    let mut stream = TcpStream::connect(METRICS).context("nobody answers Prometheus")?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {METRICS}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{head}");
    Ok(body.to_owned())
}

/// The value of a metric without labels.
pub(super) fn metric(name: &str) -> Result<f64> {
    let text = metrics()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

/// How many answers each host gave with each status, as Prometheus is told.
pub(super) fn answered() -> Result<BTreeMap<(String, u16), u64>> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let text = metrics()?;
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("http_client_request_duration_seconds_count{")?;
        let status = label(rest, "http_response_status_code")?.parse().ok()?;
        let host = label(rest, "server_address")?;
        Some(((host, status), rest.rsplit(' ').next()?.parse().ok()?))
    });
    Ok(lines.fold(BTreeMap::new(), |mut sums, (key, count): (_, u64)| {
        *sums.entry(key).or_default() += count;
        sums
    }))
}

/// The same, as the servers of builds have it.
pub(super) fn served<'a>(ran: impl Iterator<Item = &'a Ran>) -> BTreeMap<(String, u16), u64> {
    let mut sums = BTreeMap::new();
    for entry in ran.flat_map(|ran| ran.lab.log()) {
        let Some(status) = entry.status else { continue };
        let host = authority(&entry).split(':').next().unwrap_or_default().to_owned();
        *sums.entry((host, status)).or_default() += 1;
    }
    sums
}

/// Host, and port if it is not the scheme's.
fn authority(entry: &Entry) -> &str {
    let rest = entry.url.split_once("://").map_or(&*entry.url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}
