use std::time::{Duration, Instant};

use super::*;
use crate::export::Dropped;
use crate::model::Outcome;
use crate::report::samples::{forbidden, healthy};

fn registry(limits: Limits) -> Registry {
    Registry::new(limits, 0.0)
}

fn all(registry: &Registry) -> usize {
    registry.families().map(|(_, series)| series.len()).sum()
}

#[test]
fn a_build_counts_for_those_that_were_passed_over() {
    let mut registry = registry(Limits::default());
    let build = Build { share: 0.05, ..Build::new(forbidden()) };
    for _ in 0..3 {
        registry.observe(&build);
    }
    assert_eq!(registry.value("proxytrace_builds_total", &["failure"]), Some(60.0));
    assert_eq!(registry.value("proxytrace_builds_observed_total", &[]), Some(3.0));
    let errors = registry.value("go_mod_fetch_errors_total", &["https://proxy.example", "403"]);
    let failed = build.trace.chains.iter().filter(|chain| chain.outcome == Outcome::HttpError);
    assert_eq!(errors, Some(60.0 * failed.count() as f64));
}

const YOUTH: Duration = Duration::from_mins(1);

/// What appears with a value has not grown, as Prometheus counts.
#[test]
fn new_series_begin_at_none() {
    const FAILED: (&str, [&str; 2]) =
        ("go_mod_fetch_errors_total", ["https://proxy.example", "403"]);
    const DURATIONS: (&str, [&str; 2]) =
        ("go_mod_fetch_duration_seconds", ["https://proxy.example", "zip"]);
    let mut registry = registry(Limits::default()).beginning_at_none(YOUTH);
    let both = |registry: &Registry| {
        (registry.value(FAILED.0, &FAILED.1), registry.value(DURATIONS.0, &DURATIONS.1))
    };
    let began = Instant::now();
    registry.show(began);
    assert_eq!(both(&registry), (None, None));
    let build = Build::new(forbidden());
    registry.observe(&build);
    registry.observe(&build);
    // Nobody has come yet, however long that takes.
    let first = began + 10 * YOUTH;
    registry.show(first);
    assert_eq!(both(&registry), (Some(0.0), Some(0.0)));
    registry.observe(&build);
    registry.show(first + YOUTH / 2);
    assert_eq!(both(&registry), (Some(0.0), Some(0.0)));
    let count = build.trace.chains.len() as f64;
    registry.show(first + YOUTH);
    assert_eq!(both(&registry), (Some(3.0 * count), Some(3.0 * count)));
    // It is known now.
    registry.observe(&build);
    assert_eq!(both(&registry), (Some(4.0 * count), Some(4.0 * count)));

    let mut trace = forbidden();
    trace.findings.truncate(1);
    let found = trace.findings[0].code.clone();
    trace.findings[0].severity = crate::model::Severity::Note;
    registry.observe(&Build::new(trace));
    let of_code =
        |registry: &Registry| registry.value("proxytrace_findings_total", &[&found, "note"]);
    registry.show(first + 2 * YOUTH);
    assert_eq!(of_code(&registry), Some(0.0));
    // At the end nobody comes again.
    registry.settle();
    assert_eq!(of_code(&registry), Some(1.0));
}

/// Builds may be over before anybody comes.
#[test]
fn sums_without_labels_begin_at_none() {
    let mut registry = registry(Limits::default()).beginning_at_none(YOUTH);
    let build = Build::new(forbidden());
    registry.observe(&build);
    registry.observe(&build);
    let first = Instant::now();
    for (time, expected) in [(first, 0.0), (first + YOUTH / 2, 0.0), (first + YOUTH, 2.0)] {
        registry.show(time);
        assert_eq!(registry.value("proxytrace_builds_observed_total", &[]), Some(expected));
    }
    registry.observe(&build);
    assert_eq!(registry.value("proxytrace_builds_observed_total", &[]), Some(3.0));
}

/// Most of what an agent misses it has missed before anybody comes; what goes on from the agent
/// before, and what goes up and down, is as it is.
#[test]
fn what_the_agent_says_of_itself_begins_at_none() {
    let mut registry = registry(Limits::default()).beginning_at_none(YOUTH);
    let health = Health { missed: 7, unwatched: 5, executables: 2, ..Health::default() };
    let torn =
        Delivery { dropped: Dropped { torn: 3, ..Dropped::default() }, ..Delivery::default() };
    let told = |registry: &Registry| {
        [
            registry.value("proxytrace_builds_missed_total", &[]),
            registry.value("proxytrace_export_dropped_total", &["ndjson", "torn"]),
            registry.value("proxytrace_builds_unwatched_total", &[]),
            registry.value("proxytrace_executables", &[]),
        ]
    };
    let first = Instant::now();
    for (time, missed, expected) in [
        (first, 7, [0.0, 0.0, 5.0, 2.0]),
        (first + YOUTH / 2, 8, [0.0, 0.0, 5.0, 2.0]),
        (first + YOUTH, 9, [9.0, 3.0, 5.0, 2.0]),
        (first + 2 * YOUTH, 10, [10.0, 3.0, 5.0, 2.0]),
    ] {
        registry.health(&Health { missed, ..health.clone() });
        registry.delivery("ndjson", &torn);
        registry.show(time);
        assert_eq!(told(&registry), expected.map(Some));
        // Other bounds are no other beginning.
        registry.limit(Limits { values: 7, ..Limits::default() });
        assert_eq!(told(&registry), expected.map(Some));
    }
}

/// A share that is none must not make everything endless.
#[test]
fn a_share_that_is_none_counts_once() {
    for share in [0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        let mut registry = registry(Limits::default());
        registry.observe(&Build { share, ..Build::new(healthy()) });
        assert_eq!(registry.value("proxytrace_builds_total", &["success"]), Some(1.0), "{share}");
    }
}

#[test]
fn absence_is_no_error_of_a_proxy() {
    let mut trace = forbidden();
    for chain in &mut trace.chains {
        for attempt in &mut chain.attempts {
            attempt.outcome = Outcome::NotFound;
        }
    }
    let mut registry = registry(Limits::default());
    registry.observe(&Build::new(trace));
    assert!(registry.families().all(|(family, _)| family.name != "go_mod_fetch_errors_total"));
}

#[test]
fn too_many_values_become_other() {
    let limits = Limits { values: 10, modules: Some(5), ..Limits::default() };
    let mut registry = registry(limits);
    for number in 0..1_000 {
        let mut trace = forbidden();
        for chain in &mut trace.chains {
            chain.module = Some(format!("example.com/m{number}"));
            for attempt in &mut chain.attempts {
                attempt.proxy = format!("https://proxy{number}.example");
                for request in &mut attempt.requests {
                    request.host = format!("storage{number}.example");
                }
            }
        }
        registry.observe(&Build::new(trace));
    }
    let (_, fetches) = registry.families().next().unwrap();
    let seen = |at: usize| {
        let values: std::collections::BTreeSet<_> = fetches.keys().map(|key| &key[at]).collect();
        values.len()
    };
    assert_eq!((seen(0), seen(3)), (11, 6));
    assert!(registry.value("proxytrace_label_overflows_total", &["proxy"]).unwrap() > 900.0);
    let total: f64 = fetches
        .values()
        .map(|point| match point {
            Point::Value(value) => *value,
            Point::Histogram(_) => unreachable!(),
        })
        .sum();
    let attempts: usize = forbidden().chains.iter().map(|chain| chain.attempts.len()).sum();
    assert_eq!(Some(total), Some((1_000 * attempts) as f64), "what overflows still counts");
}

/// They would fill labels, as an agent runs for months.
#[test]
fn proxies_of_tests_are_few() {
    let mut registry = registry(Limits { values: 10, ..Limits::default() });
    for number in 0..300 {
        let host = format!("127.0.0.1:{}", 40_000 + number);
        for proxy in [format!("http://{host}/mod"), format!("file:///tmp/TestX{number}/001")] {
            let mut trace = forbidden();
            for attempt in trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts) {
                proxy.clone_into(&mut attempt.proxy);
                attempt.requests.iter_mut().for_each(|request| host.clone_into(&mut request.host));
            }
            registry.observe(&Build::new(trace));
        }
    }
    registry.observe(&Build::new(forbidden()));
    let errors = ["http://127.0.0.1", "file:///tmp", "https://proxy.example"]
        .map(|proxy| registry.value("go_mod_fetch_errors_total", &[proxy, "403"]));
    let of_one = errors[2].unwrap();
    assert_eq!(errors, [300.0 * of_one, 300.0 * of_one, of_one].map(Some));
    for label in ["proxy", "target_host", "server_port"] {
        assert_eq!(registry.value("proxytrace_label_overflows_total", &[label]), None, "{label}");
    }

    for (proxy, label) in [
        ("http://localhost:54321", "http://localhost"),
        ("https://[::1]:54321/a/b", "https://[::1]"),
        ("http://localhost:3000/mod", "http://localhost:3000/mod"),
        ("https://proxy.example:54321", "https://proxy.example:54321"),
        ("file:///var/tmp/x", "file:///var/tmp"),
        ("file:///tmpfs/x", "file:///tmpfs/x"),
        ("file:///srv/go", "file:///srv/go"),
        ("direct", "direct"),
    ] {
        assert_eq!(labels::proxy(proxy), label);
    }
}

#[test]
fn too_many_series_become_other() {
    let limits = Limits { values: 1_000, series: 20, ..Limits::default() };
    let mut registry = registry(limits);
    for number in 0..500 {
        let mut trace = forbidden();
        for attempt in trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts) {
            attempt.proxy = format!("https://proxy{number}.example");
        }
        registry.observe(&Build::new(trace));
    }
    assert!(all(&registry) < 80, "{}", all(&registry));
    assert!(registry.value("proxytrace_label_overflows_total", &["series"]).unwrap() > 400.0);
}

/// An answer of which the host is not told any more is no error yet.
#[test]
fn what_is_empty_stays_so_where_there_are_too_many_series() {
    let mut registry = registry(Limits { series: 0, ..Limits::default() });
    let mut trace = forbidden();
    let request = trace.chains[0].attempts[0].requests[0].clone();
    trace.chains.truncate(1);
    trace.chains[0].attempts.truncate(1);
    trace.chains[0].attempts[0].requests = vec![Request { status: Some(200), ..request }];
    registry.observe(&Build::new(trace));
    let name = "http_client_request_duration_seconds";
    assert_eq!(registry.value(name, &["other", "other", "other", ""]), Some(1.0));
    assert_eq!(registry.value(name, &["other", "other", "other", "other"]), None);
}

/// What is bounded is what a reader gets, however servers and users fill it.
#[test]
fn the_page_is_bounded() {
    let page = |name: &dyn Fn(usize) -> String| {
        let limits = Limits { values: 1_000, ..Limits::default() };
        let mut registry = registry(limits);
        let attempt = forbidden().chains[0].attempts[0].clone();
        for number in 0..20 {
            let mut trace = forbidden();
            trace.chains.truncate(1);
            let attempts = (0..100_u16).map(|status| {
                let mut attempt = attempt.clone();
                attempt.proxy = format!("https://{}", name(number));
                for request in &mut attempt.requests {
                    (request.host, request.status) = (name(number), Some(400 + status));
                }
                attempt
            });
            trace.chains[0].attempts = attempts.collect();
            registry.observe(&Build::new(trace));
        }
        let mut bytes = Vec::new();
        super::super::prometheus::write(&registry, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let text = page(&|number| format!("host{number}"));
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series > 9_000 && series < 10_500, "{series}");
    // Each of these takes eight times its length.
    let text = page(&|number| format!("{number}{}", "\u{1}".repeat(180)));
    assert!(text.len() > 3 << 20 && text.len() < 5 << 20, "{}", text.len());
}

#[test]
fn a_long_value_is_other() {
    let mut trace = forbidden();
    trace.chains[0].attempts[0].proxy = format!("https://{}", "x".repeat(1_000_000));
    let mut registry = registry(Limits::default());
    registry.observe(&Build::new(trace));
    let mut bytes = Vec::new();
    super::super::prometheus::write(&registry, &mut bytes).unwrap();
    assert!(bytes.len() < 100_000, "{}", bytes.len());
}

#[test]
fn health_is_as_it_is_said() {
    let mut registry = registry(Limits::default());
    let health = Health {
        refused: 10,
        refused_for_room: 2,
        refused_for_machine: 4,
        refused_by_kernel: 1,
        ..Health::default()
    };
    registry.health(&Health { share: 0.25, wished: 0.5, cpu_ns: 1_500_000_000, lost: 7, ..health });
    assert_eq!(registry.value("proxytrace_sample_share", &[]), Some(0.25));
    assert_eq!(registry.value("proxytrace_sample_share_wished", &[]), Some(0.5));
    assert_eq!(registry.value("proxytrace_cpu_seconds_total", &[]), Some(1.5));
    assert_eq!(registry.value("proxytrace_events_dropped_total", &[]), Some(7.0));
    let refused = |why| registry.value("proxytrace_executables_refused_total", &[why]);
    let all = ["release", "room", "machine", "kernel"].map(refused);
    assert_eq!(all, [3.0, 2.0, 4.0, 1.0].map(Some));
}
