//! Scripts against variations of themselves.

use super::*;
use crate::correlate::tests::scenarios::{self, A, failing, got, zip};
use crate::correlate::tests::script::{Hop, Script, config, hop};
use crate::diagnose::diagnose;
use crate::golog;
use crate::model::{Command, Confidence, Finding, Severity, Trace};

fn diagnosed(script: &Script) -> Trace {
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    trace
}

/// `zip`s of some modules, all of them with these answers.
fn run(list: &str, modules: u64, hops: fn(&str) -> Vec<Hop>) -> Trace {
    let mut script = Script::new(list, 0);
    let tasks: Vec<_> = (0..modules)
        .map(|n| {
            let module = format!("x.lab/m{n}");
            got(n + 10, &module, &hops(&module))
        })
        .collect();
    script.run(&tasks);
    diagnosed(&script)
}

fn well(module: &str) -> Vec<Hop> {
    vec![hop(&zip(A, module), 200)]
}

/// `walk x.lab/m0@v1.0.0 (zip) +3: a → b`
fn brief(comparison: &Comparison) -> Vec<String> {
    let line = |d: &Difference| {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let more = if d.also.is_empty() { String::new() } else { format!(" +{}", d.also.len()) };
        format!("{:?} {}{more}: {} → {}", d.topic, d.subject, word(&d.a), word(&d.b))
    };
    comparison.differences.iter().map(line).collect()
}

#[test]
fn a_trace_equals_itself_whatever_its_numbers_are() {
    let trace = run(A, 4, well);
    assert!(compare(&trace, &trace).differences.is_empty());
    let mut renumbered = trace.clone();
    for chain in &mut renumbered.chains {
        chain.id += 100;
        chain.started_ns += 77;
        for request in chain.attempts.iter_mut().flat_map(|a| &mut a.requests) {
            request.id += 1000;
        }
    }
    renumbered.chains.reverse();
    assert!(compare(&trace, &renumbered).differences.is_empty());
}

#[test]
fn noproxy_is_part_of_the_way() {
    let a = run(A, 1, well);
    let mut b = a.clone();
    let mut noproxy = b.chains[0].attempts[0].clone();
    noproxy.proxy = "noproxy".to_owned();
    noproxy.outcome = crate::model::Outcome::Dns;
    noproxy.next = Some(crate::model::Next::NextEntry);
    noproxy.requests.clear();
    b.chains[0].attempts.insert(0, noproxy);
    let told = brief(&compare(&a, &b));
    assert!(told.iter().any(|line| line.contains("→ noproxy: (dns); https://")), "{told:?}");
}

#[test]
fn the_configuration_comes_before_what_it_did() {
    let a = run(A, 4, well);
    let b = failing("https://proxy.lab,direct", 4, scenarios::redirect_to_forbidden);
    let comparison = compare(&a, &diagnosed(&b));
    let lines = brief(&comparison);
    assert_eq!(
        lines[0],
        "Configuration GOPROXY: https://proxy.lab (environment) → https://proxy.lab,direct \
         (environment)"
    );
    let topics: Vec<Topic> = comparison.differences.iter().map(|d| d.topic).collect();
    assert!(topics.is_sorted(), "{topics:?}");
    assert!(lines.iter().any(|line| line.starts_with("Host ") && line.ends_with("none → asked")));
    assert!(lines.iter().any(|line| line.starts_with("Finding PT006: ")), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "Exit exit code: 0 → 1"), "{lines:#?}");
    // Forty modules that differ in the same way are one difference.
    let walks = comparison.differences.iter().filter(|d| d.topic == Topic::Walk);
    assert!(walks.clone().all(|walk| walk.also.len() == 3), "{lines:#?}");
    assert!(walks.count() > 0);
}

#[test]
fn the_release_comes_before_the_configuration_and_resends_are_no_difference() {
    let a = diagnosed(&scenarios::missing_then_next());
    let mut b = a.clone();
    for process in &mut b.processes {
        process.go_version = Some("go1.21.13".to_owned());
        process.config.extend(config(&[("GOSUMDB", "off")]));
    }
    // An older go sends what ended 4xx once.
    for attempt in b.chains.iter_mut().flat_map(|chain| &mut chain.attempts) {
        attempt.requests.retain(|request| request.cause != crate::model::Cause::AuthResend);
    }
    let lines = brief(&compare(&a, &b));
    assert_eq!(
        lines,
        [
            "GoVersion go mod download: go1.27.3 → go1.21.13",
            "Configuration GOSUMDB: none → off (environment)",
        ]
    );
}

#[test]
fn what_was_asked_on_one_side_alone_is_said() {
    let a = run(A, 2, well);
    let mut b = a.clone();
    b.chains.remove(1);
    assert_eq!(
        brief(&compare(&a, &b)),
        ["Walk x.lab/m1@v1.0.0 (zip): https://proxy.lab: 200 proxy.lab (ok) → none"]
    );
    b.processes[0].argv.push("-x".to_owned());
    let lines = brief(&compare(&a, &b));
    assert_eq!(lines[0], "Command go mod download: ran → none");
}

#[test]
fn what_one_side_cannot_know_is_no_difference() {
    let mut a = run(A, 2, well);
    "6.18.44".clone_into(&mut a.kernel);
    let mut cut = a.clone();
    cut.command.exit_code = None;
    assert!(compare(&a, &cut).differences.is_empty());
    let mut log = cut;
    log.kernel.clear();
    log.command = Command { argv: vec!["go".to_owned()], ..Command::default() };
    golog::BACKEND.clone_into(&mut log.capture.backend);
    (log.processes[0].argv, log.processes[0].go_version) = (log.command.argv.clone(), None);
    log.processes[0].config.clear();
    assert!(compare(&a, &log).differences.is_empty(), "{:?}", compare(&a, &log));
    // What a log does know counts.
    log.chains.pop();
    let (there, back) = (compare(&a, &log), compare(&log, &a));
    assert_eq!([there, back].map(|found| found.differences[0].topic), [Topic::Walk; 2]);
}

/// Which is another in each run.
#[test]
fn how_many_there_were_is_no_difference() {
    let mut a = diagnosed(&failing("https://proxy.lab", 3, scenarios::redirect_to_forbidden));
    a.findings.truncate(1);
    let fan = "https://proxy2.lab failed, and `|` sent go to 9 different hosts by itself";
    fan.clone_into(&mut a.findings[0].message);
    let mut b = a.clone();
    b.findings[0].message = fan.replace("to 9 ", "to 12 ");
    // Elsewhere a number says what it is about.
    assert_eq!(compare(&a, &b).differences.len(), 2);
    for trace in [&mut a, &mut b] {
        "PT107".clone_into(&mut trace.findings[0].code);
    }
    assert!(compare(&a, &b).differences.is_empty(), "{:?}", compare(&a, &b));
}

#[test]
fn what_is_said_more_than_once_counts_each_time() {
    let mut a = diagnosed(&failing("https://proxy.lab", 3, scenarios::redirect_to_forbidden));
    let first = a.findings[0].clone();
    let of =
        |chains, severity, confidence| Finding { severity, chains, confidence, ..first.clone() };
    a.findings = vec![of(vec![0, 1, 2], Severity::Error, Confidence::Certain)];
    let mut b = a.clone();
    b.findings.push(of(vec![0], Severity::Warning, Confidence::Possible));
    let (code, message) = (&first.code, &first.message);
    let told = format!(
        "Finding {code}: {message}: error, 3 chains → error, 3 chains; warning, 1 chain, possible"
    );
    assert_eq!(brief(&compare(&a, &b)), [told.as_str()]);
    b.findings.reverse();
    assert_eq!(brief(&compare(&a, &b)), [told]);
}

#[test]
fn times_count_where_they_differ_much() {
    let a = run(A, 5, well);
    let slower = |by: u64| {
        let mut b = a.clone();
        for request in
            b.chains.iter_mut().flat_map(|c| &mut c.attempts).flat_map(|a| &mut a.requests)
        {
            request.ttfb_ns = Some(by);
        }
        b
    };
    let few = slower(20_000_000);
    assert!(compare(&slower(10_000_000), &few).differences.is_empty());
    assert!(compare(&few, &slower(110_000_000)).differences.is_empty());
    assert_eq!(
        brief(&compare(&few, &slower(900_000_000))),
        ["Timing proxy.lab, time to first byte, median of 5 and 5: 20 ms → 900 ms"]
    );
}

#[test]
fn addresses_differ_where_they_have_none_in_common() {
    let a = run(A, 2, well);
    let at = |addresses: [&str; 2]| {
        let mut b = a.clone();
        for (chain, address) in b.chains.iter_mut().zip(addresses) {
            chain.attempts[0].requests[0].remote_addr = Some(address.to_owned());
        }
        b
    };
    let one = at(["10.0.0.1:443", "10.0.0.2:443"]);
    assert!(compare(&one, &at(["10.0.0.2:443", "10.0.0.3:443"])).differences.is_empty());
    assert_eq!(
        brief(&compare(&one, &at(["10.1.0.1:443", "10.1.0.1:443"]))),
        ["Address proxy.lab: 10.0.0.1:443, 10.0.0.2:443 → 10.1.0.1:443"]
    );
}
