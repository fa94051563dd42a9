//! `cargo xtask run`: trace a command, or show what that looks like.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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
    which("go").and_then(|go| goroot_of(&go)).map_or_else(|| go::install(go::NEWEST), Ok)
}

/// The GOROOT of a go that can be traced. It may not run: version managers put commands on the path
/// for which no version is chosen.
fn goroot_of(go: &Path) -> Option<PathBuf> {
    let said = read(Command::new(go).args(["env", "GOVERSION", "GOROOT"])).ok()?;
    let (version, goroot) = said.split_once('\n')?;
    is_traced(version).then(|| goroot.into())
}

/// Whether a go of a version such as `go1.27.3` can be traced: its minor version is one of ours, or
/// newer than they are, as then it may be.
fn is_traced(version: &str) -> bool {
    let found = version.strip_prefix("go").and_then(minor);
    go::VERSIONS.map(minor).contains(&found) || found > minor(go::NEWEST)
}

/// 27 of `1.27.3`.
fn minor(version: &str) -> Option<u16> {
    let rest = version.strip_prefix("1.")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_does_not_run_is_none() {
        for go in ["false", "true", "/nonexistent/go"] {
            assert_eq!(goroot_of(Path::new(go)), None, "{go}");
        }
    }

    #[test]
    fn the_demonstration_has_a_go_that_can_be_traced() {
        for version in ["go1.19.8", "go1.21.13", "go1.24rc1", "go1.27.3", "go1.28", "go1.100.1"] {
            assert!(is_traced(version), "{version}");
        }
        // Before Go 1.16 nothing is said.
        for version in ["go1.18.10", "go1.20.14", "devel go1.28-0123456789", "go2.1", "go1.", ""] {
            assert!(!is_traced(version), "{version}");
        }
    }
}
