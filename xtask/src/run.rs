//! `cargo xtask run`: trace a command, or show what that looks like.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{as_root, cannot_run, read, shown, status, which};
use xtask::{bpf, go};

use crate::build;

/// Becomes the traced command; returns only where that fails.
pub(crate) fn run(command: &[OsString]) -> Result<()> {
    bpf::setup()?;
    // The release build is what users have, and its start-up is what they wait for: an unoptimised
    // proxytrace takes many times as long to read a Go executable.
    let programs = build::programs(true)?;
    let mut traced = if command.is_empty() {
        let mut lab = as_root(&programs.lab);
        lab.args(["run", "demo", "--go"]).arg(goroot()?).arg("--").arg(&programs.proxytrace);
        // What is healthy is one line without it.
        lab.args(["--verbose", "--", "go", "mod", "download"]);
        lab
    } else {
        let mut proxytrace = as_root(&programs.proxytrace);
        proxytrace.arg("--").args(command);
        proxytrace
    };
    status("Running", shown(&traced));
    // In our place: the terminal, its signals and the exit code are the command's.
    Err(traced.exec()).with_context(|| cannot_run(traced.get_program()))
}

/// The user's own Go, else one that is fetched.
fn goroot() -> Result<PathBuf> {
    let Some(go) = which("go") else {
        return go::install(go::NEWEST);
    };
    Ok(read(Command::new(go).args(["env", "GOROOT"]))?.into())
}
