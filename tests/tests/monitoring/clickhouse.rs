//! `ClickHouse`'s engine: the schema, inserts over HTTP, the files, and every query against what the
//! traces say.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a test are small"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proxytrace::agent::exporters::{Exporters, Options};
use proxytrace::export::Build;
use proxytrace::model::{Attempt, Cause, Next, Outcome, Request};
use proxytrace_tests::python::python;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::engines::{Engine, curl, engines, monitoring};

pub(crate) const TABLES: [&str; 3] = ["builds", "chains", "findings"];
/// Builds count differently.
pub(crate) const SHARES: [f64; 3] = [0.5, 0.125, 0.25];

pub(crate) struct ClickHouse {
    pub(crate) url: String,
    /// That of the agent, and of who asks.
    pub(crate) database: &'static str,
    _engine: Engine,
}

impl ClickHouse {
    pub(crate) fn start(engines: &Path, directory: &Path) -> Self {
        Self::start_as(engines, directory, None)
    }

    /// A server of this configuration.
    pub(crate) fn start_as(engines: &Path, directory: &Path, configuration: Option<&Path>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitoring/clickhouse.py");
        let mut command = python();
        // It would leave compiled modules among the sources.
        command.arg("-B").arg(script).arg(directory).args(configuration);
        command.env("PYTHONPATH", engines.join("python"));
        let (engine, port) = Engine::start_on_port(&mut command);
        let url = format!("http://127.0.0.1:{port}/");
        let server = ClickHouse { url, database: "proxytrace", _engine: engine };
        for statement in statements(&monitoring().join("clickhouse/schema.sql")) {
            server.run(&statement);
        }
        server
    }

    /// An agent that writes lines, and inserts them here.
    pub(crate) fn options(&self, files: &Path) -> Options {
        Options {
            metrics: Some("off".parse().unwrap()),
            clickhouse: Some(format!("{}?database={}", self.url, self.database)),
            ndjson: Some(files.to_owned()),
            ..Options::default()
        }
    }

    fn post(&self, parameters: &str, body: &str) -> Option<String> {
        let url = format!("{}?database={}{parameters}", self.url, self.database);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), body).unwrap();
        curl(&["--data-binary", &format!("@{}", file.path().display()), &url])
    }

    #[track_caller]
    pub(crate) fn run(&self, statement: &str) -> String {
        let url = &self.url;
        let answer = curl(&["--data-binary", statement, url]);
        answer.unwrap_or_else(|| panic!("refused: {statement}"))
    }

    pub(crate) fn rows(&self, parameters: &str, query: &str) -> Vec<Vec<Value>> {
        let answer = self.post(parameters, query).unwrap_or_else(|| panic!("refused: {query}"));
        let lines = answer.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn count(&self, table: &str) -> u64 {
        let rows = self.rows("", &format!("SELECT count() FROM {table}"));
        number(&rows[0][0]) as u64
    }

    /// Every query that is shipped, by name.
    pub(crate) fn queries(&self, change: &str) -> BTreeMap<String, Vec<Vec<Value>>> {
        let files = fs::read_dir(monitoring().join("clickhouse/queries")).unwrap();
        let mut all = BTreeMap::new();
        for path in files.map(|entry| entry.unwrap().path()) {
            let query = fs::read_to_string(&path).unwrap();
            let parameters = format!("&param_change={}", change.replace(' ', "%20"));
            let parameters = if query.contains("{change:") { &*parameters } else { "" };
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            all.insert(name, self.rows(parameters, &query));
        }
        all
    }
}

pub(crate) fn statements(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let code: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    let code = code.join("\n");
    code.split(";\n").map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

/// 64-bit integers may be texts.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Sums by what is in the first columns.
pub(crate) fn sums(
    rows: &[Vec<Value>],
    keys: usize,
    values: usize,
) -> BTreeMap<Vec<String>, Vec<f64>> {
    let sums = rows.iter().map(|row| {
        let key = row[..keys].iter().map(text).collect();
        (key, row[keys..keys + values].iter().map(number).collect())
    });
    sums.collect()
}

#[derive(Default)]
pub(crate) struct Expected(pub(crate) BTreeMap<Vec<String>, Vec<f64>>);

impl Expected {
    pub(crate) fn add(&mut self, key: &[&str], build: &Build, values: &[bool]) {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        let sums = self.0.entry(key).or_insert_with(|| vec![0.0; values.len()]);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += if *value { 1.0 / build.share } else { 0.0 };
        }
    }
}

/// Builds whose attempts have redirects, and ended otherwise than by a failure of who was asked.
fn ended_well_enough(builds: &[Build]) -> Vec<Build> {
    let redirected = |build: &&Build| {
        builds::attempts(&[(*build).clone()]).any(|one| redirects(one).count() > 0)
    };
    let build = builds.iter().find(redirected).expect("a recording with redirects");
    let ended = |outcome: Outcome| {
        let mut build = build.clone();
        for attempt in build.trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts) {
            attempt.outcome = outcome;
            if let Some(last) = attempt.requests.last_mut() {
                // With a checksum that nobody vouched for.
                last.outcome = Outcome::Ok;
            }
        }
        build
    };
    [Outcome::Canceled, Outcome::Unfinished, Outcome::Unknown, Outcome::Checksum].map(ended).into()
}

/// Whether a fetch failed where its only redirect led to.
fn failed_after_redirect(attempt: &Attempt) -> bool {
    failed(attempt) && redirects(attempt).count() == 1
}

/// Of which a fetch failed after two redirects: the first of them led well.
fn redirected_on(golden: &[Build]) -> Build {
    const BETWEEN: &str = "between.lab";
    let found =
        |build: &&Build| builds::attempts(std::slice::from_ref(*build)).any(failed_after_redirect);
    let mut build = golden.iter().find(found).expect("a redirect to what fails").clone();
    let mut attempts = build.trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts);
    let attempt = attempts.find(|attempt| failed_after_redirect(attempt)).unwrap();
    let first = redirects(attempt).next().unwrap().0.clone();
    let at = attempt.requests.iter().position(|request| request.id == first.id).unwrap();
    for request in &mut attempt.requests {
        if request.cause == Cause::Redirect && request.follows == Some(first.id) {
            request.follows = Some(u32::MAX);
        }
    }
    attempt.requests[at].location = Some(format!("https://{BETWEEN}/x"));
    let between = Request {
        id: u32::MAX,
        cause: Cause::Redirect,
        follows: Some(first.id),
        host: BETWEEN.to_owned(),
        ..first
    };
    attempt.requests.insert(at + 1, between);
    build
}

/// Of which a second process, of another release of go, found something: go switched toolchains.
fn switched(golden: &[Build]) -> Build {
    let found = |build: &&Build| build.trace.findings.iter().any(|it| it.chain.is_some());
    let mut build = golden.iter().find(found).unwrap().clone();
    let mut second = build.trace.processes[0].clone();
    (second.id, second.go_version) = (1_000, Some("go1.99.0".to_owned()));
    let chain = build.trace.findings.iter().find_map(|finding| finding.chain).unwrap();
    let chains = build.trace.chains.iter_mut();
    chains.filter(|one| one.id == chain).for_each(|one| one.process = second.id);
    build.trace.processes.push(second);
    build
}

/// The release of go that a chain is of, else that of the first process.
pub(crate) fn release(build: &Build, chain: Option<u32>) -> String {
    let chain = build.trace.chains.iter().find(|one| Some(one.id) == chain);
    let of = |process: u32| {
        build.trace.processes.iter().find(|one| one.id == process)?.go_version.clone()
    };
    let first = || build.trace.processes.iter().find_map(|one| one.go_version.clone());
    chain.and_then(|chain| of(chain.process)).or_else(first).unwrap()
}

/// Seconds within which 95 % of attempts ended, each as often as its build counts.
fn p95<'a>(attempts: impl Iterator<Item = (&'a Build, &'a Attempt)>) -> Option<f64> {
    let mut times = Vec::new();
    let is_open = |outcome| matches!(outcome, Outcome::Unfinished | Outcome::Canceled);
    for (build, attempt) in attempts {
        if is_open(attempt.outcome) || attempt.requests.iter().any(|one| is_open(one.outcome)) {
            continue;
        }
        // Without what go sends again.
        let sent_again = attempt.requests.iter().position(|one| one.cause == Cause::AuthResend);
        let requests = &attempt.requests[..sent_again.unwrap_or(attempt.requests.len())];
        let ends = requests
            .iter()
            .map(|one| Some(one.started_ns + one.duration_ns? + one.body_ns.unwrap_or(0)));
        if let (Some(first), Some(ends)) = (requests.first(), ends.collect::<Option<Vec<u64>>>()) {
            let end = ends.into_iter().max().unwrap();
            times.extend(vec![end - first.started_ns; (1.0 / build.share) as usize]);
        }
    }
    times.sort_unstable();
    let at = (0.95 * times.len() as f64).ceil() as usize;
    Some(*times.get(at.checked_sub(1)?)? as f64 / 1e9)
}

fn failed(attempt: &Attempt) -> bool {
    let unverified = attempt.outcome == Outcome::Checksum
        && attempt.requests.last().is_some_and(|last| last.outcome == Outcome::Ok);
    !unverified
        && !matches!(
            attempt.outcome,
            Outcome::Ok
                | Outcome::NotFound
                | Outcome::Canceled
                | Outcome::Unfinished
                | Outcome::Unknown
        )
}

/// Why an attempt failed: the status of who answered, or a word.
fn reason(attempt: &Attempt) -> String {
    let of_status =
        matches!(attempt.outcome, Outcome::HttpError | Outcome::ProxyRefused | Outcome::BadContent);
    let status = attempt.requests.last().and_then(|last| last.status);
    match (status.filter(|status| of_status && *status != 200), attempt.outcome) {
        (Some(status), _) => status.to_string(),
        (None, Outcome::TlsUnknownAuthority) => "tls_unknown_ca".to_owned(),
        (None, Outcome::RedirectRefused) => "redirect_insecure".to_owned(),
        (None, outcome) => text(&json!(outcome)).replace('-', "_"),
    }
}

fn redirects(attempt: &Attempt) -> impl Iterator<Item = (&Request, String)> {
    let until = attempt.requests.iter().position(|request| request.cause == Cause::AuthResend);
    let first = &attempt.requests[..until.unwrap_or(attempt.requests.len())];
    first.iter().filter_map(|request| {
        let location =
            request.location.as_deref().filter(|_| request.status.unwrap() / 100 == 3)?;
        let host = match location.split_once("://") {
            Some((_, rest)) => rest.split('/').next().unwrap().to_owned(),
            None => request.host.clone(),
        };
        Some((request, host))
    })
}

/// The groups of the hosts on which the early builds were, and the late ones.
pub(crate) const GROUPS: [&str; 2] = ["ci", "nightly"];

#[test]
fn queries_say_what_the_traces_say() {
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let server = ClickHouse::start(&engines, &directory.path().join("db"));
    let files = directory.path().join("files");
    let golden = builds::all();
    let mut early = builds::at(&golden[..6], &builds::ago(50 * 60));
    let mut late = builds::at(&golden, &builds::ago(60));
    late.extend(builds::at(&ended_well_enough(&golden), &builds::ago(90)));
    late.extend(builds::at(&[switched(&golden)], &builds::ago(120)));
    late.extend(builds::at(&[redirected_on(&golden)], &builds::ago(150)));
    late.extend(builds::at(&[builds::probed(&golden)], &builds::ago(180)));
    for (build, share) in early.iter_mut().chain(&mut late).zip(SHARES.into_iter().cycle()) {
        build.share = share;
    }
    let change = builds::ago(30 * 60);
    let change = change[..19].replace('T', " ");
    let all: Vec<Build> = early.iter().chain(&late).cloned().collect();
    let sides = [(GROUPS[0], &early), (GROUPS[1], &late)];
    let deliveries = sides.map(|(group, builds)| {
        let options = server.options(&files.join(group));
        let options = Options { host_group: Some(group.to_owned()), ..options };
        let exporters = Exporters::start_at(&options, FAST).unwrap();
        for build in builds {
            exporters.observe(build.clone());
        }
        exporters.finish().into_iter().collect::<BTreeMap<_, _>>()
    });
    let counts = [
        all.len(),
        all.iter().map(|build| build.trace.chains.len()).sum(),
        all.iter().map(|build| build.trace.findings.len()).sum(),
    ];
    for (table, count) in TABLES.iter().zip(counts) {
        let name = format!("clickhouse-{table}");
        let of_table = deliveries.each_ref().map(|all| all[name.as_str()]);
        let told = of_table.iter().fold((0, 0), |(sent, dropped), delivery| {
            (sent + delivery.sent, dropped + delivery.dropped.all())
        });
        assert_eq!(told, (count as u64, 0), "{deliveries:#?}");
        assert_eq!(server.count(table), count as u64, "{table}");
    }
    let answers = server.queries(&change);
    check(&answers, &early, &late);

    // The same from the files.
    for table in TABLES {
        server.run(&format!("TRUNCATE TABLE proxytrace.{table}"));
        assert_eq!(server.count(table), 0);
        let mut lines = 0;
        for path in GROUPS.iter().flat_map(|group| of_table(&files.join(group), table)) {
            let text = read(&path);
            lines += text.lines().count() as u64;
            let settings = "&date_time_input_format=best_effort&input_format_skip_unknown_fields=1";
            let insert = format!("{settings}&query=INSERT+INTO+{table}+FORMAT+JSONEachRow");
            server.post(&insert, &text).unwrap();
        }
        assert_eq!(server.count(table), lines);
    }
    assert_eq!(server.queries(&change), answers);

    // Sent once more, it is there once.
    let path = of_table(&files.join(GROUPS[0]), "builds").remove(0);
    let again = "&insert_deduplication_token=abc&date_time_input_format=best_effort&input_format_skip_unknown_fields=1&query=INSERT+INTO+builds+FORMAT+JSONEachRow";
    let before = server.count("builds");
    let more = read(&path).lines().count() as u64;
    server.post(again, &read(&path)).unwrap();
    server.post(again, &read(&path)).unwrap();
    assert_eq!(server.count("builds"), before + more);
}

fn check(answers: &BTreeMap<String, Vec<Vec<Value>>>, early: &[Build], late: &[Build]) {
    let all: Vec<Build> = early.iter().chain(late).cloned().collect();
    let groups = [GROUPS[0]].repeat(early.len()).into_iter().chain([GROUPS[1]].repeat(late.len()));
    let (mut proxies, mut targets) = (Expected::default(), Expected::default());
    for (build, group) in all.iter().zip(groups) {
        for chain in build.trace.chains.iter().filter(|chain| !builds::is_of_none(chain)) {
            for attempt in &chain.attempts {
                let (served, absent) =
                    (attempt.outcome == Outcome::Ok, attempt.outcome == Outcome::NotFound);
                let unfinished = attempt.outcome == Outcome::Unfinished;
                let what = [true, served, absent, failed(attempt), unfinished];
                proxies.add(&[&attempt.proxy], build, &what);
                let mut redirects = redirects(attempt).peekable();
                while let Some((_, host)) = redirects.next() {
                    // It is the last one that leads to where it failed.
                    let failed = failed(attempt) && redirects.peek().is_none();
                    targets.add(&[group, &attempt.proxy, &host], build, &[true, failed]);
                }
            }
        }
    }
    assert_eq!(sums(&answers["worst-proxies-now"], 1, 5), proxies.0);
    assert!((3..5).all(|at| proxies.0.values().any(|sums| sums[at] > 0.0)), "{:?}", proxies.0);
    for row in &answers["worst-proxies-now"] {
        let (served, failures) = (number(&row[2]), number(&row[4]));
        assert_same(&row[6], share(failures, served).map(|failed| 1.0 - failed), row);
        let proxy = text(&row[0]);
        let of_proxy = || attempts(&all, &proxy);
        assert_same(&row[7], p95(of_proxy()), row);
        let reasons: BTreeSet<String> =
            of_proxy().filter(|(_, it)| failed(it)).map(|(_, it)| reason(it)).collect();
        assert_eq!(row[8], json!(reasons), "{row:?}");
    }
    assert_eq!(sums(&answers["redirect-targets"], 3, 2), targets.0);
    assert!(targets.0.len() >= 3, "{:?}", targets.0);
    assert!(targets.0.values().any(|sums| sums[1] > 0.0), "{:?}", targets.0);
    falls_to_direct(&answers["falls-to-direct"], &all);

    let mut findings = Expected::default();
    for build in &all {
        for finding in &build.trace.findings {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            let version = release(build, finding.chain);
            findings.add(&[&version, &finding.code, &severity], build, &[true]);
        }
    }
    let rows: Vec<Vec<Value>> = answers["findings-by-release"]
        .iter()
        .map(|row| vec![row[0].clone(), row[1].clone(), row[3].clone(), row[4].clone()])
        .collect();
    assert_eq!(sums(&rows, 3, 1), findings.0);
    for row in &answers["findings-by-release"] {
        let has_it = |build: &&Build| {
            let chains = build.trace.chains.iter().map(|chain| Some(chain.id));
            chains.chain([None]).any(|chain| release(build, chain) == text(&row[0]))
        };
        let builds: f64 = all.iter().filter(has_it).map(|build| 1.0 / build.share).sum();
        assert_same(&row[5], Some(builds), row);
        assert_same(&row[6], Some(number(&row[4]) / builds), row);
    }

    before_and_after(&answers["before-and-after"], early, late);
}

/// Rows of what no proxy served, by module, entry and reason.
pub(crate) fn falls_to_direct(rows: &[Vec<Value>], builds: &[Build]) {
    let mut direct = Expected::default();
    let mut fallen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for build in builds {
        let mut of_build = BTreeSet::new();
        for chain in build.trace.chains.iter().filter(|chain| !builds::is_of_none(chain)) {
            for attempt in &chain.attempts {
                let (Some(Next::Direct), Some(module)) = (attempt.next, &chain.module) else {
                    continue;
                };
                let mut requests = attempt.requests.iter().rev();
                let last = requests.find(|request| request.cause != Cause::ConnectTunnel);
                let status = last.and_then(|last| last.status);
                let reason = match (status, attempt.outcome) {
                    (Some(status), _) => status.to_string(),
                    (None, Outcome::ConnectRefused) => "connect_refused".to_owned(),
                    (None, other) => panic!("a reason that no recording had: {other:?}"),
                };
                direct.add(&[module, &attempt.proxy, &reason], build, &[true]);
                of_build.insert(vec![module.clone(), attempt.proxy.clone(), reason]);
            }
        }
        for key in of_build {
            *fallen.entry(key).or_default() += 1;
        }
    }
    assert_eq!(sums(rows, 3, 1), direct.0);
    assert!(!direct.0.is_empty());
    for row in rows {
        let key: Vec<String> = row[..3].iter().map(text).collect();
        assert_eq!((number(&row[4]), number(&row[5])), (fallen[&key] as f64, 1.0), "{row:?}");
    }
}

fn before_and_after(rows: &[Vec<Value>], early: &[Build], late: &[Build]) {
    let mut sides = Expected::default();
    for (builds, is_early) in [(early, true), (late, false)] {
        for build in builds {
            for attempt in builds::attempts(std::slice::from_ref(build)) {
                sides.add(&[&attempt.proxy], build, &[is_early, !is_early]);
            }
        }
    }
    assert_eq!(sums(rows, 1, 2), sides.0);
    for row in rows {
        let proxy = text(&row[0]);
        let shares = [(early, 3, 5), (late, 4, 6)].map(|(builds, failing, slow)| {
            let of_proxy = || attempts(builds, &proxy);
            assert_same(&row[slow], p95(of_proxy()), row);
            let weigh = |is_it: fn(&Attempt) -> bool| -> f64 {
                of_proxy().filter(|(_, it)| is_it(it)).map(|(build, _)| 1.0 / build.share).sum()
            };
            let expected = share(weigh(failed), weigh(|it| it.outcome == Outcome::Ok));
            assert_same(&row[failing], expected, row);
            expected
        });
        assert_difference(shares, row);
    }
    assert!(rows.iter().any(|row| number(&row[7]) != 0.0 && !row[7].is_null()), "{rows:?}");
}

/// How far what failed before and after is apart, in the last column; nothing where one is of nothing.
pub(crate) fn assert_difference(shares: [Option<f64>; 2], row: &[Value]) {
    let [Some(before), Some(after)] = shares else {
        return assert_eq!(row[7], Value::Null, "{row:?}");
    };
    assert_same(&row[7], Some(after - before), row);
}

/// The attempts at an entry, with their builds.
fn attempts<'a>(
    builds: &'a [Build],
    proxy: &'a str,
) -> impl Iterator<Item = (&'a Build, &'a Attempt)> {
    let all = builds.iter().flat_map(|build| {
        builds::attempts(std::slice::from_ref(build)).map(move |attempt| (build, attempt))
    });
    all.filter(move |(_, attempt)| attempt.proxy == proxy)
}

/// How much failed of what was served or failed.
pub(crate) fn share(failed: f64, served: f64) -> Option<f64> {
    (failed + served > 0.0).then(|| failed / (failed + served))
}

/// Its last digits are lost on the way through a text. Of nothing there is no share, and no quantile.
pub(crate) fn assert_same(told: &Value, expected: Option<f64>, row: &[Value]) {
    let told = Some(number(told)).filter(|told| told.is_finite());
    let same = match (told, expected) {
        (Some(told), Some(expected)) => (told - expected).abs() < 1e-9,
        (told, expected) => told.unwrap_or(0.0) == 0.0 && expected.is_none(),
    };
    assert!(same, "{row:?}: {expected:?}");
}

pub(crate) fn of_table(files: &Path, table: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(table))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no {table} in {}", files.display());
    paths
}

pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&*bytes);
        std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
        return text;
    }
    String::from_utf8(bytes).unwrap()
}
