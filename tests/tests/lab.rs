//! The lab itself: go meets what each scenario promises, and the log says so.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::{Protocol, Scenario};
use proxytrace_tests::toolchain::Toolchain;

/// Entries by host and status.
type Counts = BTreeMap<(&'static str, Option<u16>), usize>;

#[test]
fn go_meets_what_each_scenario_promises() {
    cases::for_each(|scenario, toolchain| {
        let lab = Lab::start(scenario, toolchain)?;
        let output = lab.output(lab.command_of(scenario, &[]))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() == scenario.succeeds, "{}: {stderr}", output.status);
        // Other commands say something when all is well, too.
        let silent = stderr.is_empty() || !scenario.is_plain();
        ensure!(silent == scenario.succeeds || !scenario.is_plain(), "stderr: {stderr}");

        let log = lab.log();
        answers_are_as_promised(scenario, toolchain, &log)?;
        log.iter().enumerate().try_for_each(|(index, entry)| entry_is_sound(scenario, index, entry))
    });
}

#[test]
fn a_command_sees_the_lab_and_nothing_else() {
    if !cases::can_start() {
        return;
    }
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("case-encoded").expect("it is in the table");
    let lab = Lab::start(scenario, &toolchain).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = lab.command(program);
        command.args(arguments);
        let output = lab.output(command).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let routes = run("cat", &["/proc/self/net/route"]);
    assert_eq!(routes.lines().count(), 1, "more than the heading: {routes}");
    assert_eq!(run("cat", &["/etc/hosts"]), "127.0.0.1 localhost\n");
    let variables = run("env", &[]);
    let foreign: Vec<_> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, value)| !name.starts_with("GO") && !value.contains("proxytrace-lab-"))
        .filter(|(name, _)| !["PATH", "TERM"].contains(name))
        .collect();
    assert!(foreign.is_empty(), "from outside: {foreign:?}");

    // Its servers answer it, and capitals are on the wire as go writes them.
    run("go", &["mod", "download"]);
    let log = lab.log();
    assert_eq!(log.len(), 6);
    assert!(log.iter().all(|entry| entry.url.contains("/mod.lab/%21upper0")), "{log:?}");
    let elsewhere = Lab::start(scenario, &toolchain).unwrap();
    assert!(elsewhere.log().is_empty());
}

fn answers_are_as_promised(
    scenario: &Scenario,
    toolchain: &Toolchain,
    log: &[Entry],
) -> Result<()> {
    let mut counts = Counts::new();
    for entry in log {
        *counts.entry((entry.host, entry.status)).or_default() += 1;
    }
    let mut promised = Counts::new();
    for answers in scenario.answers {
        let times = if answers.resent && toolchain.resends() { 2 } else { 1 };
        let key = (answers.host, answers.status);
        let count = match answers.count {
            Some(count) => count * times,
            // One or more: as many as there are, but not none.
            None => counts.get(&key).copied().unwrap_or(1),
        };
        *promised.entry(key).or_default() += count;
    }
    ensure!(counts == promised, "the log has {counts:?}, the scenario promises {promised:?}");
    Ok(())
}

fn entry_is_sound(scenario: &Scenario, index: usize, entry: &Entry) -> Result<()> {
    let host = scenario.hosts.iter().find(|host| host.name == entry.host);
    let (scheme, protocol) = match host.map(|host| host.protocol) {
        Some(Protocol::H2 | Protocol::H2At8443) => ("https", "HTTP/2.0"),
        Some(Protocol::H1) => ("https", "HTTP/1.1"),
        _ => ("http", "HTTP/1.1"),
    };
    ensure!(entry.sequence == index, "out of order: {entry:?}");
    ensure!(entry.scheme == scheme && entry.protocol == protocol, "not {protocol}: {entry:?}");
    if entry.method == "CONNECT" {
        return Ok(());
    }
    ensure!(entry.method == "GET", "not a GET: {entry:?}");
    // A forward proxy is asked for the URLs of others.
    if host.map(|host| host.protocol) == Some(Protocol::Forward) {
        return Ok(());
    }
    let port =
        if host.map(|host| host.protocol) == Some(Protocol::H2At8443) { ":8443" } else { "" };
    ensure!(entry.url.starts_with(&format!("{scheme}://{}{port}/", entry.host)), "url: {entry:?}");
    ensure!(entry.peer.ip().is_loopback() && entry.user_agent.is_some(), "client: {entry:?}");
    let redirects = matches!(entry.status, Some(301..=303 | 307 | 308));
    ensure!(entry.location.is_none() || redirects, "a location without a redirect: {entry:?}");
    Ok(())
}
