//! `cargo xtask test`: everything, with what it needs.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;
use xtask::process::{in_ci, is_root, required_in_ci, run, status, warning, which};
use xtask::{apt, bpf, engines, go, readers, workspace};

use crate::build::{self, cargo};
use crate::dist::{self, Pace};
use crate::{fuzz, layouts, vm};

/// Programs that tests run, Debian's packages of them, and the units by which those serve.
const PROGRAMS: [(&str, &str, &[&str]); 11] = [
    ("/usr/bin/curl", "curl", &[]),
    ("/usr/bin/python3", "python3", &[]),
    ("sudo", "sudo", &[]),
    ("git", "git", &[]),
    ("/usr/sbin/nginx", "nginx-light", &["nginx.service"]),
    ("/usr/sbin/squid", "squid", &["squid.service"]),
    ("/usr/sbin/fcgiwrap", "fcgiwrap", &["fcgiwrap.socket", "fcgiwrap.service"]),
    ("/usr/bin/ssh", "openssh-client", &[]),
    ("/usr/sbin/sshd", "openssh-server", &["ssh.socket", "ssh.service"]),
    ("chromium", "chromium", &[]),
    ("systemd-analyze", "systemd", &[]),
];

/// Checks that ask nothing of the machine: what to do about a failure, and cargo's arguments.
const CHECKS: [(&str, &[&str]); 2] = [
    ("run `cargo fmt`", &["fmt", "--all", "--check"]),
    ("see above", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
];

/// Names the program under test to the tests.
const BIN_VAR: &str = "PROXYTRACE_BIN";

/// Where readers or engines are that could not be had: without a word the tests would take what is
/// usually there, of which a part may be missing.
const NOWHERE: &str = "/nonexistent";

const GIGABYTE: u64 = 1_000_000_000;

/// What a first run of everything takes below the workspace, in bytes.
const ROOM: u64 = 10 * GIGABYTE;

/// Has the tests in virtual machines run on all kernels.
const ALL: &str = "--all";

/// Sets up, checks, builds and tests; without arguments, in virtual machines too.
pub(crate) fn test(arguments: &[OsString]) -> Result<()> {
    let (all, arguments) = match arguments {
        [first, rest @ ..] if first == ALL => (true, rest),
        _ => (false, arguments),
    };
    tell_of_little_room();
    bpf::setup()?;
    for (program, package, units) in PROGRAMS {
        apt::provide_without_serving(program, package, units)?;
    }
    // The tests of what is not there say that they are skipped.
    for version in go::VERSIONS {
        required_in_ci(go::install(version))?;
    }
    for version in go::POSITION_INDEPENDENT {
        required_in_ci(go::install_position_independent(version))?;
    }
    for version in go::ARM64 {
        required_in_ci(go::install_arm64(version))?;
    }
    let readers = required_in_ci(readers::install())?;
    let engines = required_in_ci(engines::install())?;
    check()?;
    // The table of layouts is checked against the newest release: releases do not change, and each
    // takes a minute the first time, to build its go command.
    required_in_ci(layouts::layouts(true, &[go::NEWEST.to_owned()]))?;

    let programs = build::programs(false)?;
    status("Testing", "the workspace");
    let scratch = scratch()?;
    let mut test = cargo();
    test.env(BIN_VAR, &programs.proxytrace).env(go::ROOT_DIR_VAR, go::root_dir()?);
    test.env("TMPDIR", scratch.path());
    // Readers and engines were installed by it, and for it.
    test.env(go::PYTHON_VAR, go::with_pip().unwrap_or("python3"));
    for (name, directory) in [(readers::DIR_VAR, readers), (engines::DIR_VAR, engines)] {
        test.env(name, directory.unwrap_or_else(|| NOWHERE.into()));
    }
    if !is_root() {
        // Tests of the kernel's side need root; what is built stays the user's.
        test.arg("--config").arg(through_sudo()?);
    }
    test.arg("test");
    if arguments.is_empty() {
        // Beside arguments it would overrule a `--package` among them.
        test.arg("--workspace");
    }
    run(test.args(arguments))?;
    drop(scratch);
    if arguments.is_empty() {
        package()?;
        machines(all)?;
    }
    if in_ci() {
        // Elsewhere it is not worth the minutes that everything takes to be compiled for it.
        fuzz::fuzz(fuzz::SECONDS)?;
    }
    Ok(())
}

/// Where the tests make their temporary files, for every user as /tmp is: a test that fails, and a
/// child of go that writes when its test is over, leave nothing behind.
fn scratch() -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("proxytrace-test-").tempdir()?;
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o1777))?;
    Ok(dir)
}

/// What is built takes room, and that there is none is hard to tell from what a compiler says.
fn tell_of_little_room() {
    let Ok(disk) = statvfs(workspace()) else { return };
    let free = disk.blocks_available() * disk.fragment_size();
    if free < ROOM {
        warning(format_args!(
            "{} GB are free in {}; a first run of everything takes some {} GB there",
            free / GIGABYTE,
            workspace().display(),
            ROOM / GIGABYTE,
        ));
    }
}

/// The package of what was tested just now is made, installed and used.
fn package() -> Result<()> {
    if which("apt-get").is_none() && !in_ci() {
        warning("skipped: without apt no package is installed");
        return Ok(());
    }
    dist::dist(Pace::Quick)
}

/// The kernels come from Debian's mirror, through apt.
fn machines(all: bool) -> Result<()> {
    if which("apt-get").is_none() && !in_ci() {
        warning("skipped: without apt there are no kernels for virtual machines");
        return Ok(());
    }
    vm::vm(all, "")
}

/// Outside of CI a failed check must not keep anyone from testing half-done work.
fn check() -> Result<()> {
    for (advice, arguments) in CHECKS {
        required_in_ci(run(cargo().args(arguments)).context(advice))?;
    }
    // Clippy reads the eBPF side as an empty program, unless it is told the target.
    let target_dir = workspace().join("target/bpf-lint");
    required_in_ci(bpf::lint(bpf::Workspace {
        root: workspace(),
        target_dir: &target_dir,
        arch: std::env::consts::ARCH,
        log: false,
    }))?;
    Ok(())
}

/// The setting that makes cargo run test programs through sudo. sudo replaces PATH whatever it is
/// told to keep, so that `env` sets it again.
fn through_sudo() -> Result<String> {
    let path = std::env::var("PATH").context("PATH is not text")?;
    if path.contains(['"', '\\']) {
        bail!("PATH holds a quote or a backslash, and cannot be handed on through sudo");
    }
    let wait = if in_ci() { "--non-interactive" } else { "--prompt=[sudo] password for %u: " };
    let runner = ["sudo", wait, "--preserve-env", "--", "env", &format!("PATH={path}")];
    Ok(format!("target.'cfg(unix)'.runner = {runner:?}"))
}
