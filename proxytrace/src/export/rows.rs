//! Lines of JSON for files and for `ClickHouse`: `proxytrace.fleet/v1`.
//!
//! Three kinds of records, each for a table of its own (`monitoring/clickhouse/schema.sql`): a
//! build, a chain with its attempts and requests, a finding. Each line stands for itself: whatever
//! it is grouped by is in it. Members are added and never renamed, retyped or taken away before a
//! version 2. Times are RFC 3339 in UTC, durations nanoseconds; unknown is null.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::fetch::{self, Fetch};
use super::{Build, BuildId, Host, names};
use crate::model::{Attempt, Chain, ChainId, Confidence, Finding, Request, Role};
use crate::report::json;

/// The name and version of the contract.
pub const SCHEMA: &str = "proxytrace.fleet/v1";

/// A kind of record.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Record {
    /// A build.
    Build,
    /// A chain.
    Chain,
    /// A finding.
    Finding,
}

impl Record {
    /// Every kind.
    pub const ALL: [Record; 3] = [Record::Build, Record::Chain, Record::Finding];

    /// The name of its table and of its files.
    pub fn table(self) -> &'static str {
        match self {
            Record::Build => "builds",
            Record::Chain => "chains",
            Record::Finding => "findings",
        }
    }
}

/// What a build is in lines of one kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lines {
    /// Each with its end.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u64,
}

/// The lines of a build, kind by kind in the order of [`Record::ALL`].
pub fn lines(build: &Build, host: &Host) -> [Lines; 3] {
    let id = build.id(host).to_string();
    let common = Common::new(build, host, &id);
    let mut all: [Lines; 3] = Default::default();
    all[0].push(&build_row(build, &common));
    let probes = crate::diagnose::fruitless_probes(&build.trace);
    for chain in &build.trace.chains {
        all[1].push(&chain_row(build, &common, chain, probes.contains(&chain.id)));
    }
    for finding in &build.trace.findings {
        all[2].push(&finding_row(build, &common, finding));
    }
    all
}

impl Lines {
    /// The same in pieces of whole lines, with the number of lines of each: no longer than `most`
    /// bytes, unless one line is.
    pub fn pieces(&self, most: usize) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        let mut rest = &*self.bytes;
        std::iter::from_fn(move || {
            let (mut length, mut count) = (0, 0);
            for line in rest.split_inclusive(|byte| *byte == b'\n') {
                if count > 0 && length + line.len() > most {
                    break;
                }
                length += line.len();
                count += 1;
            }
            let (piece, after) = rest.split_at(length);
            rest = after;
            (count > 0).then_some((piece, count))
        })
    }

    fn push(&mut self, row: &impl Serialize) {
        json::value(row, &mut self.bytes).expect("rows have keys that are text");
        self.bytes.push(b'\n');
        self.count += 1;
    }
}

/// What every line says.
#[derive(Clone, Serialize)]
struct Common<'a> {
    schema: &'static str,
    build: &'a str,
    host: &'a str,
    host_group: &'a str,
    container: &'a str,
    pod: &'a str,
    /// How many builds this one stands for.
    weight: f64,
    proxytrace: &'a str,
}

#[derive(Serialize)]
struct BuildRow<'a> {
    record: &'static str,
    time: String,
    #[serde(flatten)]
    common: &'a Common<'a>,
    kernel: &'a str,
    go_version: &'a str,
    argv: &'a [String],
    job: &'a BTreeMap<&'static str, String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    duration_ns: Option<u64>,
    processes: usize,
    chains: usize,
    requests: usize,
    findings: usize,
    lost: u64,
    complete: bool,
}

#[derive(Serialize)]
struct ChainRow<'a> {
    record: &'static str,
    time: String,
    #[serde(flatten)]
    common: &'a Common<'a>,
    go_version: &'a str,
    chain: ChainId,
    module: &'a str,
    version: &'a str,
    artifact: &'static str,
    outcome: &'static str,
    /// A query of another path that found nothing: no fetch.
    probe: bool,
    duration_ns: Option<u64>,
    attempts: Vec<AttemptRow<'a>>,
}

#[derive(Serialize)]
struct AttemptRow<'a> {
    proxy: Cow<'a, str>,
    index: Option<u32>,
    outcome: &'static str,
    error_type: Option<Cow<'static, str>>,
    next: Option<&'static str>,
    duration_ns: Option<u64>,
    requests: Vec<RequestRow<'a>>,
}

#[derive(Serialize)]
struct RequestRow<'a> {
    cause: &'static str,
    host: &'a str,
    status: Option<u16>,
    /// The host that a redirect leads to.
    target_host: Option<String>,
    /// Whether it, or what it follows, was sent again because of a 4xx, and came to one again.
    resent: bool,
    protocol: Option<&'a str>,
    remote_addr: Option<&'a str>,
    error_type: Option<Cow<'static, str>>,
    duration_ns: Option<u64>,
    ttfb_ns: Option<u64>,
    body_ns: Option<u64>,
    body_bytes: Option<u64>,
}

#[derive(Serialize)]
struct FindingRow<'a> {
    record: &'static str,
    time: String,
    #[serde(flatten)]
    common: &'a Common<'a>,
    go_version: &'a str,
    code: &'a str,
    slug: &'a str,
    severity: &'static str,
    role: &'static str,
    confidence: &'static str,
    chain: Option<ChainId>,
    module: &'a str,
    version: &'a str,
    chains: usize,
    proxy: Cow<'a, str>,
    message: &'a str,
}

impl<'a> Common<'a> {
    fn new(build: &'a Build, host: &'a Host, id: &'a str) -> Self {
        Common {
            schema: SCHEMA,
            build: id,
            host: &host.name,
            host_group: &host.group,
            container: build.origin.container.as_deref().unwrap_or(""),
            pod: build.origin.pod.as_deref().unwrap_or(""),
            weight: build.weight(),
            proxytrace: &build.trace.proxytrace,
        }
    }
}

fn build_row<'a>(build: &'a Build, common: &'a Common<'a>) -> BuildRow<'a> {
    let trace = &build.trace;
    let attempts = || trace.chains.iter().flat_map(|chain| &chain.attempts);
    BuildRow {
        record: "build",
        time: build.time(0).to_string(),
        common,
        kernel: &trace.kernel,
        go_version: build.go_version(None),
        argv: &trace.command.argv,
        job: &build.origin.job,
        exit_code: trace.command.exit_code,
        signal: trace.command.signal,
        duration_ns: trace.command.duration_ns,
        processes: trace.processes.len(),
        chains: trace.chains.len(),
        requests: attempts().map(|attempt| attempt.requests.len()).sum(),
        findings: trace.findings.len(),
        lost: trace.capture.lost,
        complete: trace.capture.complete,
    }
}

fn chain_row<'a>(
    build: &'a Build,
    common: &'a Common<'a>,
    chain: &'a Chain,
    probe: bool,
) -> ChainRow<'a> {
    let attempts = chain.attempts.iter().enumerate().map(|(at, attempt)| {
        attempt_row(&Fetch { chain, attempt, next: chain.attempts.get(at + 1) })
    });
    ChainRow {
        record: "chain",
        time: build.time(chain.started_ns).to_string(),
        common,
        go_version: build.go_version(Some(chain.process)),
        chain: chain.id,
        module: chain.module.as_deref().unwrap_or(""),
        version: chain.version.as_deref().unwrap_or(""),
        artifact: names::kind(chain.artifact),
        outcome: names::outcome(chain.outcome),
        probe,
        duration_ns: chain.duration_ns,
        attempts: attempts.collect(),
    }
}

fn attempt_row<'a>(fetch: &Fetch<'a>) -> AttemptRow<'a> {
    let attempt: &Attempt = fetch.attempt;
    let again = fetch::resent(&attempt.requests);
    let row = |request: &'a Request| RequestRow {
        cause: names::cause(request.cause),
        host: &request.host,
        status: request.status,
        target_host: fetch::redirect(request, &attempt.requests),
        resent: again.contains(&request.id),
        protocol: request.protocol.as_deref(),
        remote_addr: request.remote_addr.as_deref(),
        error_type: fetch::failure(attempt, request),
        duration_ns: request.duration_ns,
        ttfb_ns: request.ttfb_ns,
        body_ns: request.body_ns,
        body_bytes: request.body_bytes,
    };
    let attempt: &'a Attempt = fetch.attempt;
    AttemptRow {
        proxy: fetch::entry(&attempt.proxy),
        index: attempt.index,
        outcome: fetch.outcome(),
        error_type: fetch.reason(),
        next: attempt.next.map(names::next),
        duration_ns: fetch.duration_ns(),
        requests: fetch::sent_by_go(attempt).map(row).collect(),
    }
}

fn finding_row<'a>(
    build: &'a Build,
    common: &'a Common<'a>,
    finding: &'a Finding,
) -> FindingRow<'a> {
    let chain = build.trace.chains.iter().find(|chain| Some(chain.id) == finding.chain);
    let evidence = |attempt: &&Attempt| {
        attempt.requests.iter().any(|request| finding.requests.contains(&request.id))
    };
    let attempt = chain
        .and_then(|chain| chain.attempts.iter().find(evidence).or_else(|| chain.attempts.last()));
    FindingRow {
        record: "finding",
        time: build.time(chain.map_or(0, |chain| chain.started_ns)).to_string(),
        common,
        go_version: build.go_version(chain.map(|chain| chain.process)),
        code: &finding.code,
        slug: &finding.slug,
        severity: names::severity(finding.severity),
        role: match finding.role {
            Role::Root => "root",
            Role::Contributing => "contributing",
        },
        confidence: match finding.confidence {
            Confidence::Certain => "certain",
            Confidence::Possible => "possible",
        },
        chain: finding.chain,
        module: finding.module.as_deref().unwrap_or(""),
        version: finding.version.as_deref().unwrap_or(""),
        chains: finding.chains.len(),
        proxy: attempt.map_or(Cow::Borrowed(""), |attempt| fetch::entry(&attempt.proxy)),
        message: &finding.message,
    }
}

impl BuildId {
    /// Half of it, for what has room for 8 bytes alone.
    pub(super) fn half(self) -> u64 {
        self.0.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::forbidden;
    use serde_json::Value;

    fn rows(lines: &Lines) -> Vec<Value> {
        let text = std::str::from_utf8(&lines.bytes).unwrap();
        let rows: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len() as u64, lines.count);
        rows
    }

    #[test]
    fn a_line_for_each_of_them() {
        let build = Build { share: 0.1, ..Build::new(forbidden()) };
        let host = Host { name: "h".to_owned(), group: "g".to_owned(), ..Host::default() };
        let [builds, chains, findings] = lines(&build, &host);
        assert_eq!(builds.count, 1);
        assert_eq!(chains.count, build.trace.chains.len() as u64);
        assert_eq!(findings.count, build.trace.findings.len() as u64);
        let id = build.id(&host).to_string();
        for row in [builds, chains, findings].iter().flat_map(rows) {
            assert_eq!((&row["schema"], &row["build"]), (&SCHEMA.into(), &id.as_str().into()));
            assert_eq!((&row["host_group"], &row["weight"]), (&"g".into(), &10.0.into()));
            assert!(row["time"].as_str().unwrap().ends_with('Z'));
        }
    }

    #[test]
    fn pieces_are_of_whole_lines() {
        let lines = Lines { bytes: b"a\nbb\nccccccc\ndd\n".to_vec(), count: 4 };
        let pieces = |most| lines.pieces(most).collect::<Vec<_>>();
        let expected: [(&[u8], u64); 3] = [(b"a\nbb\n", 2), (b"ccccccc\n", 1), (b"dd\n", 1)];
        assert_eq!(pieces(6), expected);
        assert_eq!(pieces(100), [(&*lines.bytes, 4)]);
        assert_eq!(Lines::default().pieces(1).next(), None);
    }

    #[test]
    fn requests_are_in_their_attempts() {
        let build = Build::new(forbidden());
        let [_, chains, _] = lines(&build, &Host::default());
        let rows = rows(&chains);
        let attempt = &rows[0]["attempts"][0];
        assert_eq!(attempt["proxy"], "https://proxy.example");
        assert_eq!(attempt["error_type"], "403");
        let requests = attempt["requests"].as_array().unwrap();
        assert_eq!(requests.len(), build.trace.chains[0].attempts[0].requests.len());
        assert_eq!(requests[0]["status"], 302);
        assert!(requests[0]["target_host"].is_string());
        assert_eq!(requests[1]["target_host"], Value::Null);
    }
}
