//! Prometheus scrapes the port; every rule and every panel has data. `node_exporter` reads the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::export::metrics::OTHER;
use proxytrace::export::{Build, Health};
use proxytrace::model::{Cause, Next, Outcome};
use serde_json::Value;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::dashboard;
use crate::engines::{Engine, PATIENCE, curl, curl_json, engines, free_port, monitoring, wait_for};
use crate::sink::Sink;

/// By what `node_exporter` tells when a textfile was written.
const MODIFIED: &str = "node_textfile_mtime_seconds";

fn port() -> Options {
    Options { metrics: Some("127.0.0.1:0".parse().unwrap()), ..Options::default() }
}

/// How the agent is, with something to show for everything.
fn health(turn: u64) -> Health {
    Health {
        share: 0.5,
        wished: 1.0,
        chosen: 10 * turn,
        passed_over: 10 * turn,
        running: 3,
        events: 1_000 * turn,
        lost: 30 * turn,
        executables: 2,
        refused: 5 * turn,
        refused_for_room: turn,
        refused_for_machine: turn,
        refused_by_kernel: turn,
        late: turn,
        missed: turn,
        abandoned: turn,
        unwatched: turn,
        unwatched_ns: turn * 1_000_000_000,
        unwatched_since_ns: 1,
        cpu_ns: 100_000_000 * turn,
        resident: 80 << 20,
    }
}

#[test]
fn rules_are_right() {
    let Some(engines) = engines() else { return };
    let promtool = engines.join("usr/bin/promtool");
    for arguments in [
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules.test.yml"],
    ] {
        let mut command = Command::new(&promtool);
        let output =
            command.args(arguments).current_dir(monitoring().join("prometheus")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
}

/// `promtool check metrics` knows the format, and what metrics are to be like.
#[test]
fn the_text_is_as_promtool_wants_it() {
    let Some(engines) = engines() else { return };
    let exporters = Exporters::start_at(&port(), FAST).unwrap();
    exporters.health(health(1));
    let builds = builds::all();
    let expected = format!("proxytrace_builds_observed_total {}\n", builds.len());
    for build in builds {
        exporters.observe(build);
    }
    let url = format!("http://{}/metrics", exporters.metrics_address().unwrap());
    let text = wait_for("metrics", || curl(&[&url]).filter(|text| text.contains(&expected)));
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    eprintln!("{samples} samples, {} bytes", text.len());
    // As many as `planning.md` counts with.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let of_plan = samples as f64 / crate::storage::planned("metrics, an agent");
    assert!((of_plan - 1.0).abs() < 0.05, "{samples} samples");
    let mut promtool = Command::new(engines.join("usr/bin/promtool"));
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    exporters.finish();
}

/// What is counted equals what the traces say, counted another way.
#[test]
fn sums_equal_the_traces() {
    let Some(engines) = engines() else { return };
    let exporters = Exporters::start_at(&port(), FAST).unwrap();
    let server = Server::start(&engines, exporters.metrics_address().unwrap().port());
    let builds = builds::all();
    let share = 0.25;
    for build in &builds {
        exporters.observe(Build { share, ..build.clone() });
    }
    let is = |name: &str, expected: f64| {
        wait_for(&format!("{name} = {expected}"), || {
            (server.value(&format!("sum({name})")) == Some(expected)).then_some(())
        });
    };
    let count = |count: usize| f64::from(u32::try_from(count).unwrap()) / share;
    is("proxytrace_builds_total", count(builds.len()));
    is("proxytrace_builds_observed_total", count(builds.len()) * share);
    let attempts = || builds::attempts(&builds);
    // No golden recording has a probe of another path.
    is("go_mod_fetch_total", count(attempts().count()));
    let ended = |outcome| attempts().filter(|attempt| attempt.outcome == outcome).count();
    is("go_mod_fetch_success_total", count(ended(Outcome::Ok)));
    is("go_mod_fetch_total{outcome='not-found'}", count(ended(Outcome::NotFound)));
    let bad_gateways = attempts().filter(|attempt| {
        attempt.outcome == Outcome::HttpError
            && attempt.requests.last().is_some_and(|last| last.status == Some(502))
    });
    is("go_mod_fetch_errors_total{error_type='502'}", count(bad_gateways.count()));
    let findings: usize = builds.iter().map(|build| build.trace.findings.len()).sum();
    is("proxytrace_findings_total", count(findings));
    let codes = builds.iter().map(|build| {
        let codes = build.trace.findings.iter().map(|found| (&found.code, found.severity as u8));
        codes.collect::<BTreeSet<_>>().len()
    });
    is("proxytrace_findings_observed_total", count(codes.sum()) * share);
    let resends: usize = attempts()
        .flat_map(|attempt| &attempt.requests)
        .filter(|request| request.cause == Cause::AuthResend)
        .count();
    assert!(resends > 0);
    is("go_mod_goauth_resends_total", count(resends));
    let went_on =
        attempts().filter(|attempt| matches!(attempt.next, Some(Next::NextEntry | Next::Direct)));
    is("go_mod_fallbacks_total", count(went_on.count()));
    let redirects: usize = attempts()
        .map(|attempt| {
            let sent_again = attempt
                .requests
                .iter()
                .position(|one| one.cause == Cause::AuthResend)
                .unwrap_or(attempt.requests.len());
            let before = attempt.requests[..sent_again].iter();
            before
                .filter(|one| one.location.is_some() && one.status.is_some_and(|s| s / 100 == 3))
                .count()
        })
        .sum();
    is("go_mod_redirects_total", count(redirects));
    exporters.finish();
}

/// Most failures are the first of their kind on their host, and builds may be over before the first
/// scrape: they have to be in rates.
#[test]
fn what_happens_once_is_in_increases() {
    let Some(engines) = engines() else { return };
    let pace = Pace { youth: std::time::Duration::from_secs(2), ..FAST };
    let exporters = Exporters::start_at(&port(), pace).unwrap();
    let share = 0.05;
    let builds = builds::all();
    for build in &builds {
        exporters.observe(Build { share, ..build.clone() });
    }
    let server = Server::start(&engines, exporters.metrics_address().unwrap().port());
    let count = |count: usize| f64::from(u32::try_from(count).unwrap());
    let findings: usize = builds.iter().map(|build| build.trace.findings.len()).sum();
    let findings = count(findings) / share;
    wait_for("all findings", || {
        (server.value("sum(proxytrace_findings_total)") == Some(findings)).then_some(())
    });
    for (name, expected) in [
        ("proxytrace_findings_total", findings),
        ("proxytrace_builds_observed_total", count(builds.len())),
    ] {
        // What Prometheus makes of the time after the last scrape is its own guess.
        let increase = server.value(&format!("sum(increase({name}[1h]))")).unwrap();
        assert!((increase / expected - 1.0).abs() < 0.2, "{name}: {increase} of {expected}");
    }
    let failed = "sum(increase(go_mod_fetch_errors_total[1h])) / sum(go_mod_fetch_errors_total)";
    let failed = server.value(failed).unwrap();
    assert!((failed - 1.0).abs() < 0.2, "{failed}");
    exporters.finish();
}

#[test]
fn every_panel_and_every_rule_has_data() {
    let Some(engines) = engines() else { return };
    let collector = Sink::start(|_| 503);
    let options = Options {
        otlp: Some(collector.url()),
        queue_size: Some("100KiB".parse().unwrap()),
        label_values: Some(4),
        ..port()
    };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let port = exporters.metrics_address().unwrap().port();
    let groups = ["ci", "dev"];
    let servers = [Server::start(&engines, port), Server::start_with(&engines, port, &groups)];
    // No recording lasts as long as it takes to find this, and none is incomplete.
    let mut builds = builds::all();
    let mut silent = builds.iter().find(|one| !one.trace.findings.is_empty()).unwrap().clone();
    // With one severity, as PT508 has.
    silent.trace.findings.truncate(1);
    silent.trace.findings.iter_mut().for_each(|finding| "PT508".clone_into(&mut finding.code));
    silent.trace.capture.complete = false;
    builds.insert(0, silent);
    let mut turn = 0;
    let mut grow = || {
        turn += 1;
        exporters.health(health(turn));
        for build in &builds {
            exporters.observe(build.clone());
        }
    };
    let mut missing = servers.each_ref().map(Server::expressions);
    for missing in &mut missing {
        assert!(missing.len() > 40, "{missing:#?}");
        // Of node_exporter: the next test.
        missing.retain(|_, expression| !expression.contains(MODIFIED));
    }
    let began = std::time::Instant::now();
    while missing.iter().any(|missing| !missing.is_empty()) && began.elapsed() < PATIENCE {
        grow();
        std::thread::sleep(std::time::Duration::from_millis(300));
        for (server, missing) in servers.iter().zip(&mut missing) {
            missing.retain(|_, expression| !server.has_data(expression));
        }
    }
    let is_there = missing.iter().all(BTreeMap::is_empty);
    assert!(is_there, "no data (of hosts without a group, and with one): {missing:#?}");
    for (server, groups) in servers.iter().zip([&[][..], &groups]) {
        // Prometheus itself has evaluated all rules, and none of them failed.
        for rule in server.rules() {
            assert_eq!(rule["health"], "ok", "{rule:#}");
            if rule["type"] == "recording" {
                let name = rule["name"].as_str().unwrap();
                let expected = groups.iter().copied().chain([""]).map(str::to_owned).collect();
                wait_for(&format!("{name} of {expected:?}"), || {
                    (server.groups(name) == expected).then_some(())
                });
            }
        }
        server.names_its_series(!groups.is_empty());
    }
    exporters.finish();
}

#[test]
fn node_exporter_reads_the_textfile() {
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let textfile = directory.path().join("proxytrace.prom");
    let metrics = Some("off".parse().unwrap());
    let options = Options { metrics, textfile: Some(textfile.clone()), ..Options::default() };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let port = free_port();
    let mut command = Command::new(engines.join("usr/bin/prometheus-node-exporter"));
    command
        .args(["--collector.disable-defaults", "--collector.textfile", "--log.level=error"])
        .arg(format!("--collector.textfile.directory={}", directory.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _node_exporter = Engine::start(&mut command);
    let builds = builds::all();
    for build in &builds {
        exporters.observe(build.clone());
    }
    let expected = format!("\nproxytrace_builds_observed_total {}\n", builds.len());
    let url = format!("http://127.0.0.1:{port}/metrics");
    let text = wait_for("the textfile", || curl(&[&url]).filter(|text| text.contains(&expected)));
    assert!(text.contains("\nnode_textfile_scrape_error 0\n"), "{text}");
    assert!(text.contains("go_mod_fetch_duration_seconds_bucket{"), "{text}");
    // By which an alert knows that nobody writes it any more.
    let modified = format!("\n{MODIFIED}{{file=\"{}\"}} ", textfile.display());
    assert!(text.contains(&modified), "{text}");
    // It was replaced while it was read.
    for _ in 0..20 {
        let text = curl(&[&url]).unwrap();
        assert!(text.contains(&expected) && text.contains("\nnode_textfile_scrape_error 0\n"));
    }
    exporters.finish();
    assert!(fs::read_to_string(&textfile).unwrap().contains(&expected));
}

/// Targets of Prometheus.
fn hosts(target: u16, groups: &[&str]) -> String {
    let target = format!("      - targets: ['127.0.0.1:{target}']\n");
    let of_group =
        |group| format!("{target}        labels: {{host_group: {group}, instance: {group}-1}}\n");
    if groups.is_empty() { target } else { groups.iter().map(of_group).collect() }
}

/// Prometheus with the rules that are shipped.
struct Server {
    url: String,
    _directory: TempDir,
    _engine: Engine,
}

impl Server {
    fn start(engines: &std::path::Path, target: u16) -> Self {
        Self::start_with(engines, target, &[])
    }

    /// With a host of each of these groups; they all have the same agent.
    fn start_with(engines: &std::path::Path, target: u16, groups: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let config = directory.path().join("prometheus.yml");
        let rules = monitoring().join("prometheus/rules.yml").canonicalize().unwrap();
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 300ms}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: proxytrace\n    static_configs:\n{}",
            rules.display(),
            hosts(target, groups),
        );
        fs::write(&config, text).unwrap();
        let port = free_port();
        let mut command = Command::new(engines.join("usr/bin/prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error");
        let engine = Engine::start(&mut command);
        let url = format!("http://127.0.0.1:{port}");
        wait_for("Prometheus", || curl(&[&format!("{url}/-/ready")]));
        Server { url, _directory: directory, _engine: engine }
    }

    fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let query = format!("query={expression}");
        let url = format!("{}/api/v1/query", self.url);
        let answer = curl_json(&["--get", "--data-urlencode", &query, &url]);
        let answer = answer.unwrap_or_else(|| panic!("Prometheus refuses {expression}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned()
    }

    /// The only value; none if there is none yet.
    fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression)?.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Whether there is a value that is a number.
    fn has_data(&self, expression: &str) -> bool {
        let result = self.query(expression).unwrap_or_default();
        result.iter().any(|one| one["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }

    /// The groups of hosts that series of a name are of.
    fn groups(&self, name: &str) -> BTreeSet<String> {
        let series = self.query(name).unwrap();
        let group = |one: &Value| one["metric"]["host_group"].as_str().unwrap_or("").to_owned();
        series.iter().map(group).collect()
    }

    /// Whether one can tell the lines of each panel, and the labels that name them are there.
    fn names_its_series(&self, has_groups: bool) {
        let mut names = BTreeSet::new();
        for target in dashboard::targets() {
            let series = self.query(&target.expression).unwrap();
            let metrics = || series.iter().map(|one| &one["metric"]);
            for label in target.labels() {
                let is_there = metrics().any(|metric| metric[label].is_string());
                assert!(
                    is_there || label == "host_group" && !has_groups,
                    "{}: {label}",
                    target.title
                );
            }
            for name in metrics().filter_map(|metric| target.name(metric)) {
                // Statuses and words that are too many are called alike.
                let is_new = names.insert((target.panel.clone(), name.clone()));
                assert!(is_new || name.ends_with(OTHER), "{}: {name} twice", target.title);
            }
        }
    }

    fn rules(&self) -> Vec<Value> {
        let answer = curl_json(&[&format!("{}/api/v1/rules", self.url)]).unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// Every expression of rules and of the dashboard, by where it stands. An alert that does not
    /// fire has no data: of those, what is compared with a limit.
    fn expressions(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for rule in self.rules() {
            let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
            if rule["type"] == "alerting" {
                let parts =
                    [" or ", " and ", " unless "].iter().fold(vec![query], |parts, word| {
                        parts.into_iter().flat_map(|part| part.split(word)).collect()
                    });
                for (number, part) in parts.into_iter().enumerate() {
                    // A limit is last: what is around it is of more than one part.
                    let part = part.trim().trim_matches(['(', ')']);
                    let part = part.trim_start_matches("on (instance) ");
                    let (left, limit) = part.rsplit_once(['<', '>', '=']).unwrap();
                    let left = left.trim_end_matches('=');
                    assert!(limit.trim().parse::<f64>().is_ok(), "{query}");
                    all.insert(format!("alert {name} {number}"), left.to_owned());
                }
            } else {
                all.insert(format!("rule {name}"), query.to_owned());
            }
        }
        for target in dashboard::targets() {
            assert!(all.insert(target.title, target.expression).is_none(), "a title twice");
        }
        all.extend(dashboard::lookups());
        all
    }
}
