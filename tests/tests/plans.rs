//! The plan of a `go` is kept, and the next run does as well with it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::user::{NOBODY, Place, Who, give};

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

/// The plan that is kept there.
fn only_plan(caches: &Path) -> Result<PathBuf> {
    let plans = fs::read_dir(caches.join("proxytrace/plans"))?;
    let plans: Vec<_> = plans.collect::<Result<_, _>>()?;
    ensure!(plans.len() == 1, "{plans:?}");
    Ok(plans[0].path())
}

#[test]
fn a_plan_is_kept_and_serves_again() -> Result<()> {
    if !cases::can_start() {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let fresh = requests(home.path())?;
    ensure!(!fresh.is_empty());
    let plan = only_plan(home.path())?;
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

/// Has somebody trace `go version`, and keep plans there.
fn version(place: &Place, who: Who, caches: &Path) -> Result<()> {
    let json = place.home().join("trace.json");
    let mut command = place.command(who);
    command.env("XDG_CACHE_HOME", caches).stdin(Stdio::null());
    let output = command.arg("--json").arg(&json).args(["--", "go", "version"]).output()?;
    ensure!(output.status.success(), "{who:?}: {output:?}");
    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    let attach = &trace.capture.attach;
    ensure!(attach.iter().any(|attach| !attach.hooks.is_empty()), "{who:?}: {attach:?}");
    // The next is somebody else's.
    Ok(fs::remove_file(&json)?)
}

/// What a run does with a plan that is there.
#[derive(Debug, Eq, PartialEq)]
enum Fate {
    Used,
    Replaced,
    LeftAlone,
}

fn fate(plan: &Path, run: impl FnOnce() -> Result<()>) -> Result<Fate> {
    // Open until the end, so that no other file gets its number.
    let before = File::open(plan)?;
    // Whoever uses one says when that was.
    before.set_modified(SystemTime::UNIX_EPOCH)?;
    run()?;
    let after = fs::metadata(plan)?;
    if after.ino() != before.metadata()?.ino() {
        return Ok(Fate::Replaced);
    }
    let is_used = after.modified()? != SystemTime::UNIX_EPOCH;
    Ok(if is_used { Fate::Used } else { Fate::LeftAlone })
}

/// As of a user to whom somebody gave the capabilities, and nothing else.
#[test]
fn a_users_plan_is_theirs_and_nobody_elses_is_believed() -> Result<()> {
    let Some(toolchain) = cases::newest() else { return Ok(()) };
    let Some(place) = Place::new()? else { return Ok(()) };
    place.add_go(&toolchain)?;
    let caches = place.home().join("caches");
    let run = || version(&place, Who::Entitled, &caches);
    run()?;
    let plan = only_plan(&caches)?;
    // The file, and the directories that are made for it.
    for path in plan.ancestors().take(4) {
        let metadata = fs::metadata(path)?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        ensure!(
            owner == NOBODY && mode & 0o777 == mode & 0o700,
            "{}: {owner}, {mode:o}",
            path.display()
        );
    }
    ensure!(fate(&plan, run)? == Fate::Used);

    // One that another has put there.
    chown(&plan, Some(0), Some(0))?;
    fs::set_permissions(&plan, Permissions::from_mode(0o644))?;
    let with_others = fate(&plan, run)?;
    ensure!(with_others == Fate::Replaced, "another's plan: {with_others:?}");
    ensure!(fs::metadata(&plan)?.uid() == NOBODY);

    // Where another may put what they like.
    chown(&caches, Some(0), Some(0))?;
    fs::set_permissions(&caches, Permissions::from_mode(0o755))?;
    let where_others = fate(&plan, run)?;
    ensure!(where_others == Fate::LeftAlone, "in another's directory: {where_others:?}");
    Ok(())
}

/// With a plan that they made they would do what only the program may.
#[test]
fn whoever_has_their_rights_from_the_programs_file_has_no_plans() -> Result<()> {
    let Some(toolchain) = cases::newest() else { return Ok(()) };
    let Some(place) = Place::new()? else { return Ok(()) };
    if !place.give_by_file()? {
        return Ok(());
    }
    place.add_go(&toolchain)?;
    let nothing = place.home().join("nothing");
    version(&place, Who::Nobody, &nothing)?;
    ensure!(!nothing.exists(), "something is kept");

    // One that this program has kept for this `go`, for root.
    let caches = place.home().join("caches");
    version(&place, Who::Root, &caches)?;
    let plan = only_plan(&caches)?;
    ensure!(fate(&plan, || version(&place, Who::Root, &caches))? == Fate::Used);
    give(&caches)?;
    let theirs = fate(&plan, || version(&place, Who::Nobody, &caches))?;
    ensure!(theirs == Fate::LeftAlone, "a plan of theirs: {theirs:?}");
    Ok(())
}
