//! A `go` that nobody foresaw, and one of a release that nobody knows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Confidence, Trace};
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::{cases, check};

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
    if cases::built().is_none() || !cases::can_start() {
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

/// As containers of one image have it: an overlay shows a file under a name and on a device of its
/// own, and the probes that were put in by one name are hit by whoever executes it by another.
#[test]
fn a_file_in_several_overlays_is_told_of_once() {
    for toolchain in cases::toolchains(&RELEASES) {
        let is_in_time = |&seconds: &u32| is_in_overlays(&toolchain, seconds).unwrap();
        assert!([0, 1, 4, 16].iter().any(is_in_time), "{}", toolchain.version);
    }
}

/// Whether the first run made the file known within so many seconds, as a busy machine may not.
fn is_in_overlays(toolchain: &Toolchain, seconds: u32) -> Result<bool> {
    const SCRIPT: &str = "set -e; mkdir none one two
        for overlay in one two; do
            mount -t overlay none -o lowerdir=$OTHER:$PWD/none $overlay
        done
        one/bin/go version >/dev/null; sleep $SECONDS_TO_WAIT
        one/bin/go mod download mod.lab/m01
        two/bin/go mod download mod.lab/m02
        $OTHER/bin/go mod download mod.lab/m03";
    if cases::built().is_none() || !cases::can_start() {
        return Ok(true);
    }
    let scenario = Scenario::find("healthy-h1").context("it is in the table")?;
    let (lab, other) = (Lab::start(scenario, toolchain)?, toolchain.other()?);
    let (output, trace) = traced_within(&["env"], &lab, SCRIPT, |command| {
        command.env("OTHER", &other.goroot).env("SECONDS_TO_WAIT", seconds.to_string());
    })?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut late = trace.capture.attach.iter().filter(|attach| attach.late).peekable();
    let is_missed = late.peek().is_some() && !trace.capture.complete;
    let requests = trace.chains.iter().flat_map(|chain| &chain.attempts);
    let requests = requests.flat_map(|attempt| &attempt.requests);
    let mut told: Vec<_> = requests.map(|it| (&*it.method, &it.url, it.status)).collect();
    let log = lab.log();
    let mut seen: Vec<_> = log.iter().map(|it| (&*it.method, &it.url, it.status)).collect();
    told.sort();
    seen.sort();
    if told != seen && is_missed {
        return Ok(false);
    }
    ensure!(told == seen, "{told:#?} instead of {seen:#?}: {:#?}", trace.capture);
    ensure!(late.all(|it| it.exe.ends_with("one/bin/go")), "{:#?}", trace.capture);
    let lower = other.goroot.join("bin/go");
    for (module, go) in
        [("m01", "one/bin/go"), ("m02", "two/bin/go"), ("m03", lower.to_str().context("text")?)]
    {
        let is_it = |argv: &[String]| argv.last() == Some(&format!("mod.lab/{module}"));
        let process = trace.processes.iter().find(|process| is_it(&process.argv));
        let exe = process.map(|process| &*process.exe);
        ensure!(exe.is_some_and(|exe| exe.ends_with(go)), "{module}: {exe:?}");
    }
    Ok(true)
}

/// As another user of a toolchain that has just been downloaded does it: its probes are taken out
/// and put in again, and who runs in it has none meanwhile.
#[test]
fn a_go_that_is_changed_while_it_runs_is_not_seen_all_the_time() {
    for toolchain in cases::toolchains(&RELEASES) {
        is_changed(&toolchain).unwrap();
    }
}

fn is_changed(toolchain: &Toolchain) -> Result<()> {
    // It waits for its configuration.
    const SCRIPT: &str = "mkfifo wait; cp $GOROOT/bin/go go; ./go version
        GOENV=$PWD/wait ./go version & until [ /proc/$!/exe -ef go ]; do sleep 0.01; done
        $MEANWHILE go; ./go version; echo >wait; wait";
    if cases::built().is_none() || !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("healthy-h1").context("it is in the table")?;
    for (meanwhile, lost) in [("chmod 700", 1), ("stat", 0)] {
        let lab = Lab::start(scenario, toolchain)?;
        let (output, trace) = traced_within(&["env"], &lab, SCRIPT, |command| {
            command.env("GOROOT", &toolchain.goroot).env("MEANWHILE", meanwhile);
        })?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let capture = &trace.capture;
        ensure!((capture.lost, capture.complete) == (lost, lost == 0), "{meanwhile}: {capture:#?}");
    }
    Ok(())
}

/// As by Ctrl-Z and `fg`.
#[test]
fn a_go_after_a_stop_is_met_in_time() {
    for toolchain in cases::toolchains(&RELEASES) {
        is_continued(&toolchain).unwrap();
    }
}

fn is_continued(toolchain: &Toolchain) -> Result<()> {
    // Whoever continues both has not stopped with them. To hold execs again takes a moment.
    const SCRIPT: &str = "cp $GOROOT/bin/go go
        (until grep -q '^State:.T' /proc/$PPID/status; do sleep 0.01; done
        kill -CONT $PPID $$) & kill -TSTP $$
        wait; sleep 1; exec ./go version";
    if cases::built().is_none() || !cases::can_start() {
        return Ok(());
    }
    let scenario = Scenario::find("healthy-h1").context("it is in the table")?;
    let lab = Lab::start(scenario, toolchain)?;
    let (output, trace) = traced_within(&["env"], &lab, SCRIPT, |command| {
        // An orphaned process group would not stop.
        command.env("GOROOT", &toolchain.goroot).process_group(0);
    })?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let is_seen = trace.processes.iter().any(|process| process.go_version.is_some());
    ensure!(is_seen && trace.capture.complete, "{:#?}", trace.capture);
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
    if cases::built().is_none() || !cases::can_start() {
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
    check::walks(&trace, scenario.goproxy)?;
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
