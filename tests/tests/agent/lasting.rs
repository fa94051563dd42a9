//! What stays, and what is let go of.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::waiting::Waiting;

use crate::faults::copied;
use crate::running::{Agent, alone, can_run, job, version};

/// A sweep each second, and four without use are too long.
const SHORT: [(&str, &str); 2] = [("PROXYTRACE_SWEEP_TICKS", "1"), ("PROXYTRACE_IDLE", "4")];
/// Much longer than that.
const LONG: Duration = Duration::from_secs(12);

fn start(toolchain: &Toolchain, share: &str) -> Agent {
    let environment = SHORT.map(|(name, value)| (name, OsStr::new(value)));
    let agent = Agent::begin_with(toolchain, &["--sample", share], &environment);
    agent.watches();
    agent
}

/// Of builds that are passed over the agent is told nothing.
#[test]
fn a_toolchain_keeps_its_probes_as_long_as_it_is_used() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let toolchain = Toolchain::newest().unwrap();
    let agent = start(&toolchain, "0");
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let before = agent.state().health.executables;
    let is_known = || agent.state().health.executables > before;
    agent.until("met it", || {
        version(&new, "met");
        is_known()
    });
    // By many short ones.
    let began = Instant::now();
    while began.elapsed() < LONG {
        thread::sleep(Duration::from_millis(500));
        // Before it is met again.
        assert!(is_known(), "its probes are gone: {:#?}", agent.log());
        version(&new, "short");
    }
    // By a long one.
    let waiting = Waiting::start(&new, job("long")).unwrap();
    thread::sleep(LONG);
    assert!(waiting.probes().unwrap() > 20);
    drop(waiting);
    agent.until("let it go", || !is_known());
}

/// git's `fsmonitor--daemon`, credential caches and agents for keys stay when `go` has ended.
#[test]
fn what_a_build_leaves_running_does_not_keep_it() {
    if !can_run() {
        return;
    }
    let _alone = alone();
    let toolchain = Toolchain::newest().unwrap();
    let agent = start(&toolchain, "1");
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("go.mod", "module example.com/daemon\n");
    write("daemon.go", "package daemon\n\n//go:generate sh daemon.sh\n");
    write("daemon.sh", "sleep 600 >/dev/null 2>&1 & echo $! >pid\n");
    let before = agent.state().health;
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    command.arg("generate").current_dir(dir.path()).envs(job("daemon"));
    assert!(command.status().unwrap().success());
    agent.until("seen it end", || !agent.builds_of("daemon").is_empty());
    let [build] = &agent.builds_of("daemon")[..] else { panic!("one build") };
    assert_eq!(build.trace.command.exit_code, Some(0));
    assert!(build.trace.capture.complete, "{:?}", build.trace.capture);
    // Sweeps.
    thread::sleep(Duration::from_secs(4));
    let pid: i32 = fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    assert!(Path::new("/proc").join(pid.to_string()).exists());
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let after = agent.state().health;
    assert_eq!(after.abandoned, before.abandoned, "{:#?}", agent.log());
}
