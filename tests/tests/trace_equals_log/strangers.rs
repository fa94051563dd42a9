//! A `go` that nobody foresaw, and one of a release that nobody knows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Confidence, Trace};
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::{cases, check};

use super::built;
use super::processes::traced_within;

const RELEASES: [&str; 1] = ["1.27.3"];

/// Takes what holds an exec until probes are in.
const WITHOUT_HOLDING: [&str; 3] = ["setpriv", "--bounding-set=-sys_admin", "--"];

#[test]
fn what_becomes_another_go_at_once_is_not_passed_over() {
    for toolchain in cases::toolchains(&RELEASES) {
        becomes_another(&toolchain).unwrap();
    }
}

fn becomes_another(toolchain: &Toolchain) -> Result<()> {
    if built().is_none() || !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("healthy-h1").context("it is in the table")?;
    let (lab, other) = (Lab::start(scenario, toolchain)?, toolchain.other()?);
    let script = "mkdir tools; ln -s $ROOT/bin/go tools/$VERSION
        PATH=$PWD/tools:$PATH GOTOOLCHAIN=$VERSION+path $OTHER/bin/go mod download";
    let (output, trace) = traced_within(&WITHOUT_HOLDING, &lab, script, |command| {
        command
            .env("ROOT", &toolchain.goroot)
            .env("VERSION", &toolchain.version)
            .env("OTHER", &other.goroot);
    })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    let has = |version: &String| {
        trace.processes.iter().any(|process| process.go_version.as_ref() == Some(version))
    };
    ensure!(has(&toolchain.version), "{:#?}", trace.processes);
    // Either it was met in time, or it is said that it was not.
    let attach = &trace.capture.attach;
    let late = attach.iter().any(|it| it.late && it.go_version.as_ref() == Some(&other.version));
    ensure!(late != has(&other.version), "{:#?} {:#?}", trace.processes, trace.capture);
    ensure!(late != trace.capture.complete, "{:#?}", trace.capture);
    ensure!(late == stderr.contains("PT900"), "{stderr}");
    Ok(())
}

/// Another release, which has all functions where they are known to be: what is found of it is
/// possible at most.
#[test]
fn a_release_that_nobody_knows_is_named() {
    for toolchain in cases::toolchains(&RELEASES) {
        pretends(&toolchain).unwrap();
    }
}

fn pretends(toolchain: &Toolchain) -> Result<()> {
    const NEXT: &str = "go1.99.9";
    if built().is_none() || !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("forbidden").context("it is in the table")?;
    let lab = Lab::start(scenario, toolchain)?;
    let mut file = fs::read(toolchain.goroot.join("bin/go"))?;
    let find = |file: &[u8], words: &[u8]| file.windows(words.len()).position(|it| it == words);
    let info = find(&file, b"\xff Go buildinf:").context("no build info")?;
    let version = find(&file[info..], toolchain.version.as_bytes()).context("no version")?;
    file[info + version..][..NEXT.len()].copy_from_slice(NEXT.as_bytes());
    let go = lab.module_dir().join("go");
    fs::write(&go, &file)?;
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755))?;

    let (_, trace) = traced_within(&["env"], &lab, "./go mod download", |command| {
        command.env("GOROOT", &toolchain.goroot);
    })?;
    check::equals(&trace, &lab.log())?;
    ensure!(trace.capture.complete, "{:#?}", trace.capture);
    let nearest = |trace: &Trace| {
        let mut attach = trace.capture.attach.iter();
        attach.find(|it| it.go_version.as_deref() == Some(NEXT))?.nearest.clone()
    };
    ensure!(nearest(&trace).as_deref() == Some("go1.27"), "{:#?}", trace.capture);
    for (code, confidence) in [("PT302", Confidence::Possible), ("PT900", Confidence::Certain)] {
        let mut findings = trace.findings.iter();
        let found = findings.any(|it| it.code == code && it.confidence == confidence);
        ensure!(found, "{code}: {:#?}", trace.findings);
    }
    Ok(())
}
