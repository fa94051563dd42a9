//! `cargo xtask test`: everything, with what it needs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;
use xtask::process::{in_ci, is_root, required_in_ci, run, status, warning, which};
use xtask::{apt, bpf, engines, go, readers, workspace};

use crate::build::{self, cargo};
use crate::dist::{self, Pace};
use crate::{fuzz, layouts, vm};

/// Programs that tests run, Debian's packages of them, and the units by which those serve.
const PROGRAMS: [(&str, &str, &[&str]); 12] = [
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
    ("/usr/sbin/setcap", "libcap2-bin", &[]),
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

/// What is handed on through sudo, for cargo and the tests to look at: these variables, and those
/// that begin so.
const HANDED_ON: [&str; 6] = ["CARGO", "CARGO_HOME", "CI", "HOME", "PATH", "TMPDIR"];
const HANDED_ON_FROM: [&str; 8] =
    ["AGENT_", "INSTA_", "LAB_", "PROPERTIES_", "PROXYTRACE_", "RUSTUP_", "RUST_", "XDG_"];

/// Variables, by their names.
type Environment = BTreeMap<OsString, OsString>;

const GIGABYTE: u64 = 1_000_000_000;

/// What a first run of everything takes below the workspace, in bytes.
const ROOM: u64 = 10 * GIGABYTE;

/// Sets up, checks, builds and tests; without arguments, in virtual machines too, of all kernels or
/// some.
pub(crate) fn test(all: bool, arguments: &[OsString]) -> Result<()> {
    tell_of_little_room();
    bpf::setup()?;
    check()?;
    // The tests of what is not there say that they are skipped.
    for (program, package, units) in PROGRAMS {
        required_in_ci(apt::provide_without_serving(program, package, units))?;
    }
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
        let runner = through_sudo(&environment_of(&test))?;
        test.arg("--config").arg(runner);
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

/// The environment that a command gets.
fn environment_of(command: &Command) -> Environment {
    let mut environment: Environment = std::env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => environment.insert(name.to_owned(), value.to_owned()),
            None => environment.remove(name),
        };
    }
    environment
}

/// The setting that makes cargo run test programs through sudo. Whatever that is told to keep, it
/// replaces PATH, and sudo-rs keeps nothing: `env` sets what is needed.
fn through_sudo(environment: &Environment) -> Result<String> {
    let wait = if in_ci() { "--non-interactive" } else { "--prompt=[sudo] password for %u: " };
    let mut runner: Vec<String> = ["sudo", wait, "--preserve-env", "--", "env"].map(quoted).into();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| is_handed_on(name)) else { continue };
        let refused = || format!("{name} is not UTF-8, and cannot be handed on through sudo");
        let value = value.to_str().with_context(refused)?;
        runner.push(quoted(&format!("{name}={value}")));
    }
    Ok(format!("target.'cfg(unix)'.runner = [{}]", runner.join(", ")))
}

/// Whether tests need a variable. None of these has secrets, as those for registries and their
/// proxies: everybody sees arguments.
fn is_handed_on(name: &str) -> bool {
    HANDED_ON.contains(&name) || HANDED_ON_FROM.iter().any(|start| name.starts_with(start))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // None of them has more digits.
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn what_tests_need_is_handed_on_through_sudo() {
        let of = |variables: &[(&str, &str)]| {
            let environment: Environment =
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let runner = through_sudo(&environment).unwrap();
            let (_, after) = runner.split_once(r#""--", "env""#).unwrap();
            after.to_owned()
        };
        assert_eq!(of(&[]), "]");
        let kept = [
            ("USER", "me"),
            ("CIRCLE", "1"),
            ("CARGO_REGISTRY_TOKEN", "s3cret"),
            ("CARGO_HTTP_PROXY", "http://u:s3cret@h"),
        ];
        assert_eq!(of(&kept), "]");
        let all = [("PATH", "/bin"), ("CI", ""), ("LAB_TABLE", "t"), ("PROXYTRACE_BIN", "/p")];
        assert_eq!(of(&all), r#", "CI=", "LAB_TABLE=t", "PATH=/bin", "PROXYTRACE_BIN=/p"]"#);
        let more = [("CARGO_HOME", "/c"), ("PROPERTIES_VARIANTS", "8")];
        assert_eq!(of(&more), r#", "CARGO_HOME=/c", "PROPERTIES_VARIANTS=8"]"#);
        let odd = of(&[("PATH", "/a \"b\"\\c'd\n\u{7f}é")]);
        assert_eq!(odd, r#", "PATH=/a \"b\"\\c'd\u000A\u007Fé"]"#);
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        let environment = |name: &str| Environment::from([(name.into(), bytes.clone())]);
        assert!(through_sudo(&environment("HOME")).is_err());
        assert!(through_sudo(&environment("OTHER")).is_ok());
    }

    #[test]
    fn a_command_has_what_it_is_given_and_not_what_it_is_denied() {
        let mut command = Command::new("true");
        command.env(BIN_VAR, "/p").env_remove("PATH");
        let environment = environment_of(&command);
        assert_eq!(environment.get(OsStr::new(BIN_VAR)), Some(&"/p".into()));
        assert_eq!(environment.get(OsStr::new("PATH")), None);
    }
}
