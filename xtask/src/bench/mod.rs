//! `cargo xtask bench`: what tracing costs, beside doing without and beside bpftrace.

pub(crate) mod agent;
mod counts;
pub(crate) mod downloads;
mod series;

use std::path::Path;
use std::{fs, thread};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xtask::process::{as_root, is_root, read, status, warning};
use xtask::{apt, bpf, go, workspace};

use crate::build::{self, Programs};
use series::{Series, Way, interleaved, table};

/// Rounds of the start-up benchmark, and of the downloads, which take longer.
const ROUNDS: usize = 10;
const DOWNLOAD_ROUNDS: usize = 8;
/// Modules of the work in the second benchmark: 800 requests, a quarter of them redirected.
const MODULES: usize = 200;
const REQUESTS: u32 = 800;

/// Measures, prints the tables, and writes `target/bench.json`.
pub(crate) fn bench() -> Result<()> {
    bpf::setup()?;
    apt::provide("bpftrace", "bpftrace")?;
    let version = go::VERSIONS[go::VERSIONS.len() - 1];
    let goroot = go::install(version)?;
    if !is_root() {
        warning("sudo's own time is in every row: the differences hold, the ratios are too small");
    }
    // What users have is a release build.
    let programs = build::programs(true)?;

    status("Measuring", format_args!("`go version`, {ROUNDS} rounds"));
    let go = goroot.join("bin/go");
    let start = start_up(&programs, go.to_str().context("the cache's path is not text")?)?;
    status("Measuring", format_args!("downloads of {MODULES} modules, {DOWNLOAD_ROUNDS} rounds"));
    let (downloads, counts) = downloads(&programs, &goroot)?;

    println!("`go version`, go {version}, {ROUNDS} rounds\n{}", table(&start));
    println!(
        "`go mod download` of {MODULES} modules from the lab, go {version}, {DOWNLOAD_ROUNDS} \
         rounds\n{}",
        table(&downloads)
    );
    println!("{}", counts::table(&counts, REQUESTS));
    let file = workspace().join("target/bench.json");
    let result = json!({
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "cpus": thread::available_parallelism()?,
        "go": version,
        "start_up": start.iter().map(Series::to_json).collect::<Vec<_>>(),
        "downloads": {
            "modules": MODULES,
            "ways": downloads.iter().map(Series::to_json).collect::<Vec<_>>(),
            "counts": counts,
        },
    });
    fs::create_dir_all(workspace().join("target"))?;
    fs::write(&file, format!("{result:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    status("Wrote", file.display());
    Ok(())
}

/// A command that does next to nothing: what remains is starting and stopping.
fn start_up(programs: &Programs, go: &str) -> Result<Vec<Series>> {
    let proxytrace = || {
        let mut command = as_root(&programs.proxytrace);
        command.args(["--", go, "version"]);
        command
    };
    let bare = || {
        let mut command = as_root(go);
        command.arg("version");
        command
    };
    let bpftrace = || {
        let mut command = as_root("bpftrace");
        command.args(["-e", &format!("uprobe:{go}:main.main {{}}")]);
        command.args(["-c", &format!("{go} version")]);
        command
    };
    let ways: [Way<'_>; 3] =
        [("bare", &bare), ("proxytrace", &proxytrace), ("bpftrace, one uprobe", &bpftrace)];
    interleaved(ROUNDS, &ways, || Ok(()))
}

/// The lab puts the proxies on the air once, and runs us in there to do the measuring: its own work
/// is in nobody's account.
fn downloads(programs: &Programs, goroot: &Path) -> Result<(Vec<Series>, Value)> {
    let mut lab = as_root(&programs.lab);
    lab.args(["run", "bench", "--modules", &MODULES.to_string(), "--go"]).arg(goroot);
    lab.arg("--").arg(std::env::current_exe()?).arg("bench-downloads").arg(&programs.proxytrace);
    let measured: Value = serde_json::from_str(&read(&mut lab)?)?;
    Ok((Series::from_json(&measured["series"].to_string())?, measured["counts"].clone()))
}
