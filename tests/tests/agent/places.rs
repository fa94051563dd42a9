//! Where toolchains are looked for, and what if there are too many of them.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proxytrace_tests::cases;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};

use crate::running::{Agent, alone, job};

/// Whoever opens a FIFO waits until somebody writes to it.
#[test]
fn what_is_no_file_holds_nobody() {
    let Some((_alone, toolchain)) = alone() else { return };
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("golang.org/toolchain@v0.0.1-go1.99/bin");
    fs::create_dir_all(&place).unwrap();
    mkfifo(&place.join("go"), Mode::S_IRWXU).unwrap();
    let environment = [("GOMODCACHE", cache.path().as_os_str())];
    Agent::begin_with(&toolchain, &["--sample", "1"], &environment).watches();
}

/// Each probe may take one; whoever starts an agent by hand may have few.
#[test]
fn there_is_room_for_descriptors() {
    let Some((_alone, toolchain)) = alone() else { return };
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"]).arg(cases::proxytrace());
    let agent = Agent::spawn(few, &toolchain, &[], &[], None);
    agent.watches();
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers = files.split_whitespace().filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    let [soft, hard] = numbers[..] else { panic!("{files}") };
    assert!(soft == hard && soft > 256, "{files}");
}

/// With room for one that was not foreseen, another takes its place; the next build of that is seen.
#[test]
fn another_toolchain_finds_room() {
    let Some((_alone, _)) = alone() else { return };
    let toolchains: Vec<Toolchain> =
        VERSIONS.iter().rev().flat_map(|release| Toolchain::find(release)).take(3).collect();
    let [foreseen, second, third] = &toolchains[..] else { panic!("three toolchains") };
    let known = Agent::start(foreseen, &["--sample", "1"]).state().health.executables;
    let room = (known + 1).to_string();
    let room = [("PROXYTRACE_TOOLCHAINS", OsStr::new(&room))];
    let agent = Agent::begin_with(foreseen, &["--sample", "1"], &room);
    agent.watches();
    let run = |toolchain: &Toolchain, name: &str| {
        let home = tempfile::tempdir().unwrap();
        let status = Command::new(toolchain.goroot.join("bin/go"))
            .arg("version")
            .env("HOME", home.path())
            .envs(job(name))
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    // The first run of what was not foreseen may have ended before it is met.
    let seen = |toolchain: &Toolchain, name: &str| {
        run(toolchain, name);
        agent.builds_of(name).iter().any(|build| build.trace.capture.complete)
    };
    agent.until("met the second", || seen(second, "second"));
    assert_eq!(agent.state().health.refused, 0);
    agent.until("found room for the third", || seen(third, "third"));
    let health = agent.state().health;
    assert!(health.refused > 0, "there was room for three");
    assert_eq!(health.refused, health.refused_for_room, "all of these releases are known");
}
