//! What `proxytrace log` rebuilds from the `-x` output of real releases is what the servers saw, as
//! far as go prints it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use proxytrace::golog;
use proxytrace::model::{Cause, Confidence, Severity};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{self as lab, Action, Host, Protocol, Rule, Scenario, Trouble};
use proxytrace_tests::toolchain::Toolchain;

/// The oldest, those between which something changed, and the newest.
const RELEASES: &[&str] = &["1.19.8", "1.21.13", "1.24.11", "1.27.3"];

#[test]
fn logs_say_what_the_servers_saw() {
    let quick = |scenario: &&Scenario| {
        let slow = |trouble| {
            matches!(trouble, Trouble::Deaf | Trouble::Silent | Trouble::NameServerSilent)
        };
        scenario.is_repeatable()
            && scenario.modules.count <= 12
            && !scenario.hosts.iter().any(|host| host.trouble.is_some_and(slow))
    };
    let scenarios: Vec<Scenario> = Scenario::all().iter().filter(quick).copied().collect();
    cases::for_each_of(&scenarios, RELEASES, check);
}

fn check(scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(scenario, toolchain)?;
    let mut command = lab.command("go");
    command.args(["mod", "download", "-x"]);
    let output = lab.output(command)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (trace, _) = golog::read(&*output.stderr)?;

    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests);
    let printed: BTreeSet<(String, u16)> = requests
        .filter(|request| request.cause == Cause::Initial)
        .filter_map(|request| Some((place(&request.url)?, request.status?)))
        .collect();
    let log = lab.log();
    let seen: BTreeSet<(String, u16)> =
        log.iter().filter_map(|entry| Some((place(&entry.url)?, entry.status?))).collect();
    // After a redirect go prints the status of the last answer with the first URL.
    let redirected: BTreeSet<&str> = seen
        .iter()
        .filter(|(_, status)| (300..400).contains(status))
        .map(|(place, _)| place.as_str())
        .collect();
    let last = |status: u16| seen.iter().any(|(_, seen)| *seen == status);
    for (place, status) in &printed {
        let known = seen.contains(&(place.clone(), *status))
            || (redirected.contains(place.as_str()) && last(*status));
        ensure!(known, "{place} answered {status} in the log alone: {text}");
    }
    // What was asked first is in it; a command that ended may have been asking still.
    if output.status.success() {
        let asked = |(place, status): &&(String, u16)| {
            !(300..400).contains(status) && !printed.iter().any(|(printed, _)| printed == place)
        };
        let targets = !redirected.is_empty();
        let missing: Vec<_> = seen.iter().filter(asked).collect();
        ensure!(missing.is_empty() || targets, "{missing:?} not in the log: {text}");
    }
    // That a body ended too early is not in it.
    let mut rules = scenario.hosts.iter().flat_map(|host| host.rules);
    let has_bodies = !rules.any(|rule| matches!(rule.action, Action::Truncate | Action::Hang(_)));
    let mut findings = scenario.findings.iter();
    let tellable = findings.any(|(code, severity)| {
        *severity == lab::Severity::Error && golog::POSSIBLE.contains(code)
    });
    let told = trace.findings.iter().any(|finding| finding.severity == Severity::Error);
    ensure!(told || !tellable || !has_bodies, "no root in {:?}: {text}", trace.findings);
    for finding in trace.findings.iter().filter(|finding| finding.severity > Severity::Note) {
        ensure!(!scenario.succeeds || !scenario.is_quiet(), "false alarm: {finding:?}: {text}");
        ensure!(finding.confidence == Confidence::Possible, "{finding:?}");
    }
    Ok(())
}

/// What `go get` says of a module, rather than of one at a version.
#[test]
fn a_module_that_cannot_be_asked_about_has_a_root() {
    let scenarios = ["forbidden", "overloaded"].map(|name| *Scenario::find(name).unwrap());
    cases::for_each_of(&scenarios, RELEASES, |scenario, toolchain| {
        let lab = Lab::start(scenario, toolchain)?;
        let mut command = lab.command("go");
        command.args(["get", "-x", "mod.lab/m01@latest"]);
        let output = lab.output(command)?;
        let (trace, _) = golog::read(&*output.stderr)?;
        let said = trace.findings.iter().any(|finding| finding.severity == Severity::Error);
        ensure!(said, "{:?}: {}", trace.findings, String::from_utf8_lossy(&output.stderr));
        Ok(())
    });
}

/// What go says of packages and of imports has no `go: ` in front.
#[test]
fn a_build_that_cannot_get_a_package_has_a_root() {
    const NO_ZIP: Scenario = Scenario {
        name: "no-zip",
        about: "the proxy forbids what a module contains",
        modules: Modules { prefix: "mod.lab/m", count: 1, others: &[] },
        goproxy: "https://proxy.lab",
        hosts: &[Host {
            name: "proxy.lab",
            protocol: Protocol::H2,
            rules: &[
                Rule { pattern: "*.zip", action: Action::Status(403, &[]) },
                Rule { pattern: "*", action: Action::Serve },
            ],
            trouble: None,
        }],
        succeeds: false,
        ..Scenario::BASE
    };
    cases::for_each_of(&[NO_ZIP], RELEASES, |scenario, toolchain| {
        let tidy = ["mod", "tidy", "-x"];
        for words in [["build", "-x", "."], ["test", "-x", "."], tidy] {
            // Before, tidying does not tell what it asks for.
            if words == tidy && toolchain.minor() < 21 {
                continue;
            }
            let lab = Lab::start(scenario, toolchain)?;
            let mut command = lab.command("go");
            command.args(words);
            let output = lab.output(command)?;
            let (trace, _) = golog::read(&*output.stderr)?;
            let codes: Vec<_> = trace.findings.iter().map(|it| (&*it.code, it.severity)).collect();
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(codes.contains(&("PT302", Severity::Error)), "{words:?}: {codes:?}: {text}");
        }
        Ok(())
    });
}

/// Host and path.
fn place(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://").context("a URL").ok()?;
    Some(rest.to_owned())
}
