//! The plan of a `go` is kept, and the next run does as well with it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

/// Requests of a traced `go mod download` whose plans are kept there.
fn requests(caches: &Path) -> Result<Vec<String>> {
    let scenario = Scenario::find("not-found-next").context("no such scenario")?;
    let lab = Lab::start(scenario, &Toolchain::newest()?)?;
    let json = lab.module_dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.env("XDG_CACHE_HOME", caches).env_remove("SUDO_UID");
    command.arg("--json").arg(&json).args(["--", "go", "mod", "download"]);
    let output = lab.output(command)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    ensure!(trace.capture.complete, "{:?}", trace.capture);
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    let mut requests: Vec<String> = attempts
        .flat_map(|attempt| &attempt.requests)
        .map(|request| format!("{} {:?}", request.url, request.status))
        .collect();
    requests.sort();
    Ok(requests)
}

#[test]
fn a_plan_is_kept_and_serves_again() -> Result<()> {
    if !cases::can_start() {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let fresh = requests(home.path())?;
    ensure!(!fresh.is_empty());
    let place = home.path().join("proxytrace/plans");
    let plans: Vec<_> = fs::read_dir(&place)?.collect::<Result<_, _>>()?;
    ensure!(plans.len() == 1, "{plans:?}");
    let plan = plans[0].path();
    // One that is written is a new file.
    let inode = || fs::metadata(&plan).map(|metadata| metadata.ino());
    let first = inode()?;
    ensure!(requests(home.path())? == fresh);
    ensure!(inode()? == first, "it was analysed again");

    let whole = fs::read(&plan)?;
    fs::write(&plan, &whole[..whole.len() / 2])?;
    ensure!(requests(home.path())? == fresh, "with half of a plan");
    ensure!(fs::read(&plan)? == whole, "it was not replaced");
    Ok(())
}
