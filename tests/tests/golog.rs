//! What `proxytrace log` rebuilds from the `-x` output of real releases is what the servers saw, as
//! far as go prints it.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use proxytrace::golog;
use proxytrace::model::{Cause, Confidence, Finding, Request, Severity, Trace};
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

/// How many are drawn.
const DRAWN: usize = 80;

/// Of what is drawn, what the log tells is what a trace of the same run has.
#[test]
fn logs_of_what_is_drawn_say_what_a_trace_says() {
    let Some(proxytrace) = cases::built() else { return };
    // What is wrong with a body is not in it, nor what was wanted in a handshake, nor what a tile of
    // the checksum database was wanted for, nor that go went on for what it could not verify.
    let suits = |scenario: &Scenario| {
        use Action::{Body, Hang, Html, Page, Truncate};
        let mut rules = scenario.hosts.iter().flat_map(|host| host.rules);
        let is_bad =
            |it: &Rule| matches!(it.action, Truncate | Hang(_) | Html | Page(..) | Body(..));
        scenario.is_repeatable()
            && !rules.any(is_bad)
            && !scenario.is_up_to_connections()
            && !scenario.breaks_tiles()
            && (!scenario.breaks_sums() || !scenario.goproxy.contains('|'))
    };
    cases::for_each_drawn(DRAWN, RELEASES, suits, |scenario, toolchain| {
        let lab = Lab::start(scenario, toolchain)?;
        let file = lab.dir().join("trace.json");
        let mut command = lab.command(&proxytrace);
        command.arg("--json").arg(&file);
        command.args(["--", "sh", "-c", "go mod download -x 2>go.log"]);
        let output = lab.output(command)?;
        let log = fs::read(lab.module_dir().join("go.log"))?;
        let text = String::from_utf8_lossy(&log);
        let traced: Trace = serde_json::from_slice(&fs::read(&file)?)?;
        let (told, _) = golog::read(&*log)?;
        agree(&told, &traced, output.status.success())
            .with_context(|| format!("{scenario:#?}\n{text}"))
    });
}

/// Whether what is rebuilt says nothing else than the trace of the same run.
fn agree(told: &Trace, traced: &Trace, succeeded: bool) -> Result<()> {
    let seen: BTreeSet<(&str, Option<u16>)> = requests(traced).map(asked).collect();
    for request in requests(told).filter(|it| it.cause == Cause::Initial && it.status.is_some()) {
        let redirected =
            requests(traced).any(|it| it.url == request.url && matches!(it.status, Some(300..400)));
        ensure!(redirected || seen.contains(&asked(request)), "not asked: {request:?}");
    }
    let errors = |trace: &Trace| -> BTreeSet<String> {
        let is_error = |it: &&Finding| it.severity == Severity::Error;
        trace.findings.iter().filter(is_error).map(|it| it.code.clone()).collect()
    };
    let (said, known) = (errors(told), errors(traced));
    ensure!(!succeeded || said.is_empty(), "it succeeded: {:?}", told.findings);
    let tellable = known.iter().any(|code| golog::POSSIBLE.contains(&code.as_str()));
    ensure!(!tellable || !said.is_empty(), "nothing in place of {known:?}");
    // Neither that a redirect led to who answered is in it, nor Retry-After.
    let of_target = |code: &String| known.contains("PT006") && BY_STATUS.contains(&code.as_str());
    let waits = |code: &String| known.contains("PT408") && code == "PT409";
    let other = said.difference(&known).find(|code| !of_target(code) && !waits(code));
    ensure!(other.is_none(), "{said:?} is said, and {known:?} is so");
    Ok(())
}

/// Findings that a status is enough for.
const BY_STATUS: [&str; 6] = ["PT301", "PT302", "PT402", "PT408", "PT409", "PT410"];

fn requests(trace: &Trace) -> impl Iterator<Item = &Request> {
    trace.chains.iter().flat_map(|it| &it.attempts).flat_map(|it| &it.requests)
}

fn asked(request: &Request) -> (&str, Option<u16>) {
    (&request.url, request.status)
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
