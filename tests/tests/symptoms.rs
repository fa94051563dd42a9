//! Complaints that need two runs, or are none of the network's: what explains them.
//!
//! The others are scenarios of the table (`sumdb-hangs`, `sumdb-refused`, `all-direct-fails`) and of
//! `configuration.rs`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Artifact, Severity, Trace};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario};
use proxytrace_tests::toolchain::Toolchain;

const SERVED: &[Rule] = &[Rule { pattern: "*", action: Action::Serve }];
/// Every go.mod file is a page for people.
const PAGES: &[Rule] = &[
    Rule { pattern: "*.mod", action: Action::Html },
    Rule { pattern: "*", action: Action::Serve },
];

const WELL: Scenario = Scenario {
    name: "symptoms",
    about: "one proxy",
    modules: Modules { prefix: "mod.lab/m", count: 1, others: &[] },
    goproxy: "https://proxy.lab",
    hosts: &[Host { name: "proxy.lab", protocol: Protocol::H2, rules: SERVED, trouble: None }],
    ..Scenario::BASE
};

const POISONED: Scenario =
    Scenario { hosts: &[Host { rules: PAGES, ..WELL.hosts[0] }], succeeds: false, ..WELL };

#[test]
fn symptoms_are_explained_or_said_to_be_none() {
    if cases::built().is_none() {
        return;
    }
    cases::for_each_of(&[WELL], &["1.21.13", "1.27.3"], |_, toolchain| {
        off_works_where_all_is_cached(toolchain).context("off works, the proxy fails")?;
        devel_is_no_symptom(toolchain).context("(devel)")?;
        the_first_failure_persists(toolchain).context("the second build fails as well")?;
        what_is_not_recorded_is_not_known(toolchain).context("more headers than are recorded")
    });
}

fn trace(lab: &Lab, words: &[&str], environment: &[(&str, &str)]) -> Result<Trace> {
    let json = lab.dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).arg("--").args(words);
    command.envs(environment.iter().copied());
    let output = lab.output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = fs::read(&json).with_context(|| format!("no trace: {stderr}"))?;
    Ok(serde_json::from_slice(&json)?)
}

fn loud(trace: &Trace) -> Vec<&str> {
    let loud = trace.findings.iter().filter(|finding| finding.severity > Severity::Note);
    loud.map(|finding| finding.code.as_str()).collect()
}

/// Where a request has more headers than are recorded, it is not said that it had no credentials.
fn what_is_not_recorded_is_not_known(toolchain: &Toolchain) -> Result<()> {
    const UNKNOWN: &[Host] = &[Host {
        rules: &[Rule { pattern: "*", action: Action::Status(401, &[]) }],
        ..WELL.hosts[0]
    }];
    const HEADERS: &str = "#!/bin/sh
printf 'https://proxy.lab\\n\\n'
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do printf \"X-Lab-$n: $n\\n\"; done
printf '\\n'
";
    if toolchain.minor() < 24 {
        return Ok(());
    }
    let scenario = Scenario {
        environment: &[("GOAUTH", "{home}/goauth")],
        home: &[("goauth", HEADERS)],
        hosts: UNKNOWN,
        succeeds: false,
        ..WELL
    };
    let lab = Lab::start(&scenario, toolchain)?;
    let trace = trace(&lab, &["go", "mod", "download"], &[])?;
    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests);
    let mut cut = requests.filter(|request| request.cut.iter().any(|cut| cut == "headers"));
    let known = cut.clone().find(|request| request.credentials.is_some());
    ensure!(cut.next().is_some() && known.is_none(), "{:#?}", trace.chains);
    let message = &trace.findings[0].message;
    ensure!(!message.contains("no credentials"), "{message}");
    Ok(())
}

/// `GOPROXY=off` works: everything is in the module cache, and nobody is asked.
fn off_works_where_all_is_cached(toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(&WELL, toolchain)?;
    trace(&lab, &["go", "mod", "download"], &[])?;
    let before = lab.log().len();
    let cached = trace(&lab, &["go", "mod", "download"], &[("GOPROXY", "off")])?;
    ensure!(cached.command.exit_code == Some(0) && lab.log().len() == before, "it asked");
    ensure!(loud(&cached).is_empty(), "{:?}", cached.findings);
    ensure!(cached.findings.iter().any(|f| f.code == "PT606"), "{:?}", cached.findings);
    Ok(())
}

/// `(devel)` is what go calls the main module: no request is made for it, and nothing found.
fn devel_is_no_symptom(toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(&WELL, toolchain)?;
    fs::write(lab.module_dir().join("main.go"), "package main\n\nfunc main() {}\n")?;
    let command = ["go", "build", "-buildvcs=false", "-o", "../built", "."];
    let built = trace(&lab, &command, &[("CGO_ENABLED", "0")])?;
    ensure!(built.command.exit_code == Some(0), "{:?}", built.processes[0].stderr_tail);
    let mut version = lab.command("go");
    version.args(["version", "-m", "../built"]);
    let told = lab.output(version)?.stdout;
    let told = String::from_utf8_lossy(&told);
    ensure!(told.contains("(devel)"), "{told}");
    ensure!(loud(&built).is_empty(), "{:?}", built.findings);
    let about =
        |trace: &Trace| trace.chains.iter().any(|c| c.module.as_deref() == Some("main.lab/main"));
    ensure!(!about(&built), "the main module was asked for");
    Ok(())
}

/// A page that was taken for a go.mod stays in the module cache: the next run fails without asking.
fn the_first_failure_persists(toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(&POISONED, toolchain)?;
    let first = trace(&lab, &["go", "mod", "download"], &[])?;
    ensure!(loud(&first).contains(&"PT404"), "{:?}", first.findings);
    let second = trace(&lab, &["go", "mod", "download"], &[])?;
    ensure!(second.command.exit_code != Some(0), "it went well");
    let asked = second.chains.iter().any(|chain| {
        chain.artifact == Artifact::Mod && chain.attempts.iter().any(|a| !a.requests.is_empty())
    });
    ensure!(!asked, "the go.mod was asked for again");
    Ok(())
}
