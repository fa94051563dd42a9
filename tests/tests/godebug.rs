//! Settings under which go checks itself or takes another way: it ends as it does without us, and
//! the trace is as complete.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

/// Runs `go mod download` with and without proxytrace; yields the protocols of the requests.
fn compare(godebug: &str) -> Result<Option<Vec<String>>> {
    if !cases::can_start() {
        return Ok(None);
    }
    let scenario = Scenario::find("demo").context("no such scenario")?;
    let toolchain = Toolchain::newest()?;

    let bare = Lab::start(scenario, &toolchain)?;
    let mut command = bare.command("go");
    command.args(["mod", "download"]).env("GODEBUG", godebug);
    let expected = bare.output(command)?;

    let lab = Lab::start(scenario, &toolchain)?;
    let json = lab.module_dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.arg("--quiet").arg("--json").arg(&json).args(["--", "go", "mod", "download"]);
    command.env("GODEBUG", godebug);
    let traced = lab.output(command)?;

    ensure!(expected.status == traced.status, "{} and {}", expected.status, traced.status);
    ensure!(expected.stdout == traced.stdout && expected.stderr == traced.stderr, "{traced:?}");
    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    ensure!(trace.capture.complete, "{:?}", trace.capture);
    let requests: Vec<_> = trace
        .chains
        .iter()
        .flat_map(|chain| &chain.attempts)
        .flat_map(|attempt| &attempt.requests)
        .collect();
    let mut asked: Vec<_> = requests.iter().map(|it| (it.url.clone(), it.status)).collect();
    let mut seen: Vec<_> = lab.log().into_iter().map(|it| (it.url, it.status)).collect();
    asked.sort_unstable();
    seen.sort_unstable();
    assert_eq!(asked, seen);
    let protocols = requests.into_iter().filter_map(|request| request.protocol.as_deref());
    Ok(Some(protocols.map(str::to_owned).collect()))
}

#[test]
fn fips140_on() -> Result<()> {
    let protocols = compare("fips140=on")?;
    ensure!(protocols.is_none_or(|all| all.iter().all(|protocol| protocol == "HTTP/2.0")));
    Ok(())
}

#[test]
fn http2client_0() -> Result<()> {
    let protocols = compare("http2client=0")?;
    ensure!(protocols.is_none_or(|all| all.iter().all(|protocol| protocol == "HTTP/1.1")));
    Ok(())
}
