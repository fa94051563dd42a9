//! Where builds run: other namespaces, other toolchains.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::DirEntryExt as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxytrace::event::Origin;
use proxytrace::export::Health;
use proxytrace_tests::toolchain::Toolchain;

use crate::faults::generating;
use crate::running::{Agent, Build, RUN, alone, job, version};

/// A root of its own with a `go` in it, as a container has: the first run makes it known. After each
/// it waits for a word.
const IN_A_CONTAINER: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
cp "$GOROOT/bin/go" /mnt/go
mkdir -p /mnt/home/.config/go
echo GOPROXY=$INSIDE >/mnt/home/.config/go/env
export HOME=/mnt/home
cd /mnt/home
for run in 1 2 3; do
    GITHUB_RUN_ID=container-$run /mnt/go list -m example.com/m@latest || echo failed
    read -r _
done
"#;

/// A server that lets each client wait for a moment, and then tells it nothing.
fn patient() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for client in server.incoming() {
            thread::sleep(Duration::from_millis(500));
            drop(client);
        }
    });
    url
}

#[test]
fn a_go_in_other_namespaces_is_met() {
    is_met_in(&[]);
}

/// As in containers that somebody starts without privileges.
#[test]
fn a_go_among_other_users_is_met() {
    is_met_in(&["--user", "--map-root-user"]);
}

fn is_met_in(namespaces: &[&str]) {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let before = agent.state().health.executables;
    let inside = patient();
    let mut shell = Command::new("unshare")
        .args(namespaces)
        .args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", IN_A_CONTAINER])
        .envs(job("container"))
        .env("GOROOT", &toolchain.goroot)
        .env_remove("GOPROXY")
        .env("GOSUMDB", "off")
        .env("INSIDE", &inside)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    for run in 1..=3 {
        assert_eq!(lines.next().expect("a line").unwrap(), "failed", "{run}");
        if run == 1 {
            agent.until("met it", || agent.state().health.executables > before);
        } else {
            let name = format!("container-{run}");
            agent.until("seen it", || !agent.builds_of(&name).is_empty());
        }
        writeln!(shell.stdin.as_ref().unwrap()).unwrap();
    }
    assert!(lines.next().is_none());
    shell.wait().unwrap();
    let state = agent.state();
    let builds = agent.builds();
    let first = builds
        .iter()
        .find(|build| build.trace.processes.iter().any(|process| process.exe == "/mnt/go"));
    // It was on its way before anybody knew of it: seen as a whole, or said to be late.
    let first = &first.expect("the first run is there").trace.capture;
    assert!(first.complete || first.attach.iter().any(|attach| attach.late), "{first:?}");
    assert_eq!(u64::from(!first.complete), state.health.late);
    for run in ["container-2", "container-3"] {
        let builds = agent.builds_of(run);
        assert_eq!(builds.len(), 1, "{run}");
        let trace = &builds[0].trace;
        assert!(trace.capture.complete, "{:?}", trace.capture);
        let go = &trace.processes[0];
        assert_eq!(go.exe, "/mnt/go");
        let proxy = &go.config["GOPROXY"];
        assert_eq!((&*proxy.value, proxy.origin), (&*inside, Origin::UserFile));
    }
}

/// Short `go`s that see a file of their user's which nobody else sees.
const SHORT: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/home/.config/go
echo GOPROXY=https://inside.lab >/mnt/home/.config/go/env
export HOME=/mnt/home
for run in 1 2 3 4 5; do GITHUB_RUN_ID=$1-$run "$GOROOT/bin/go" version; done
echo done
read -r _
"#;

/// Whoever started them lives on, or does not: then it is said that something is missing.
#[test]
fn what_is_gone_before_it_is_looked_at_is_seen_by_its_parent() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    for (name, parent_lives) in [("kept", true), ("gone", false)] {
        // Nobody looks until they are all over.
        agent.signal(libc::SIGSTOP);
        let mut shell = Command::new("unshare")
            .args(["--mount", "sh", "-c", SHORT, "sh", name])
            .envs(job(name))
            .env("GOROOT", &toolchain.goroot)
            .env_remove("GOPROXY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "done"));
        if !parent_lives {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
        agent.signal(libc::SIGCONT);
        for run in 1..=5 {
            let run = format!("{name}-{run}");
            agent.until("seen it", || !agent.builds_of(&run).is_empty());
            let trace = &agent.builds_of(&run)[0].trace;
            assert_eq!(trace.capture.complete, parent_lives, "{run}: {:?}", trace.capture);
            let proxy = trace.processes[0].config.get("GOPROXY");
            let proxy = proxy.map(|proxy| (&*proxy.value, proxy.origin));
            let inside = ("https://inside.lab", Origin::UserFile);
            assert_eq!(proxy == Some(inside), parent_lives, "{run}: {proxy:?}");
        }
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}

/// What runs when the agent begins is not seen, and that is counted; what it runs is known.
#[test]
fn what_runs_already_is_counted() {
    let Some((_alone, toolchain)) = alone() else { return };
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = format!("http://{}", silent.local_addr().unwrap());
    let mut shell = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(RUNS_ALREADY)
        .env("GOROOT", &toolchain.goroot)
        .env("GOSUMDB", "off")
        .env("GOPROXY", &inside)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let _waiting = silent.accept().unwrap();
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let health = agent.state().health;
    // Others may build on this machine, too.
    assert!(health.missed >= 1, "{health:?}");
    assert_eq!(health.late, 0);
    // The second run is of a file that is known since, in mounts that only it has.
    writeln!(shell.stdin.as_ref().unwrap()).unwrap();
    agent.until("seen the second", || !agent.builds_of("second").is_empty());
    drop(shell.stdin.take());
    let trace = &agent.builds_of("second")[0].trace;
    assert!(trace.capture.complete, "{:?}", trace.capture);
    assert!(agent.builds_of("first").is_empty());
    shell.wait().unwrap();
}

/// The first waits for an answer, until the agent is there; the mounts stay until the second one is
/// seen.
const RUNS_ALREADY: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
cp "$GOROOT/bin/go" /mnt/go
export HOME=/mnt GITHUB_ACTIONS=true
cd /mnt
GITHUB_RUN_ID=first /mnt/go list -m example.com/m@latest 2>/dev/null &
echo begun
read -r _ || true
kill $! 2>/dev/null || true
GITHUB_RUN_ID=second /mnt/go version
read -r _ || true
"#;

/// Of what is not seen, nothing is seen that it starts later.
#[test]
fn what_runs_already_starts_no_builds() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = "echo >started; while ! [ -e on ]; do sleep 0.1; done\n\
        GITHUB_RUN_ID=started \"$GO\" version\n";
    generating(dir.path(), script);
    let go = toolchain.goroot.join("bin/go");
    let mut command = Command::new(&go);
    command.arg("generate").current_dir(dir.path()).env("GO", &go).envs(job("already"));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    while !dir.path().join("started").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(Duration::from_millis(20));
    }
    let often = [("PROXYTRACE_SWEEP_TICKS", OsStr::new("1"))];
    let agent = Agent::begin_with(&toolchain, &["--sample", "1"], &often);
    agent.watches();
    assert!(agent.state().health.missed >= 1);
    // Sweeps.
    agent.ticks();
    fs::write(dir.path().join("on"), "").unwrap();
    assert!(child.wait().unwrap().success());
    version(&toolchain, "after");
    agent.until("seen the next", || agent.builds_of("after").len() == 1);
    assert!(agent.builds_of("started").is_empty() && agent.builds_of("already").is_empty());
}

/// What was analysed once is not analysed again by the next agent.
#[test]
fn plans_are_kept_for_the_next_agent() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("proxytrace");
    // Each that is written is a new file.
    let inodes = || {
        let agent = Agent::begin_with(&toolchain, &[], &[("CACHE_DIRECTORY", cache.as_os_str())]);
        agent.watches();
        let executables = agent.state().health.executables;
        drop(agent);
        let files = fs::read_dir(cache.join("plans")).unwrap().map(Result::unwrap);
        let inodes: BTreeMap<_, _> = files.map(|file| (file.file_name(), file.ino())).collect();
        (executables, inodes)
    };
    let first = inodes();
    assert!(first.0 > 0 && first.1.len() as u64 >= first.0, "{first:?}");
    assert_eq!(inodes(), first);
}

/// How many builds there are at a time.
const LOAD: usize = 2;

/// Builds go on while another toolchain comes under the name of what they run: each runs as it is,
/// each is counted, and of none is said what it was not.
#[test]
fn toolchains_are_replaced_under_load() {
    let Some((_alone, toolchain)) = alone() else { return };
    let other = toolchain.other().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("bin/go");
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::copy(toolchain.goroot.join("bin/go"), &go).unwrap();
    let as_found = Toolchain { goroot: dir.path().to_owned(), version: String::new() };
    let agent = Agent::start(&as_found, &["--sample", "1"]);
    let before = agent.state().health;

    // Its telemetry child would keep the file busy.
    fs::create_dir_all(dir.path().join(".config/go/telemetry")).unwrap();
    fs::write(dir.path().join(".config/go/telemetry/mode"), "off").unwrap();
    // What each run said that it was.
    let said = Mutex::new(Vec::new());
    let run = || {
        let number = {
            let mut said = said.lock().unwrap();
            said.push(String::new());
            said.len() - 1
        };
        let name = format!("replaced-{number}");
        let mut command = Command::new(&go);
        command.env("GOROOT", &toolchain.goroot).env("HOME", dir.path());
        let output = command.arg("version").envs(job(&name)).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        said.lock().unwrap()[number] = String::from_utf8(output.stdout).unwrap();
        name
    };
    // One that was not known when it began may not tell whose it is.
    let is_met =
        |name: &str| agent.builds_of(name).iter().any(|build| build.trace.capture.complete);
    for round in 0..6 {
        let (source, is_in_place) = ([&other, &toolchain][round % 2], round % 3 == 2);
        let source_go = source.goroot.join("bin/go");
        let ended = AtomicBool::new(false);
        // Nobody can write to what runs; and a program that is started while somebody writes may keep
        // the file open for a moment, so that it cannot be run.
        let new = dir.path().join("new");
        fs::copy(&source_go, if is_in_place { &go } else { &new }).unwrap();
        thread::scope(|scope| {
            for _ in 0..LOAD {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        run();
                    }
                });
            }
            if !is_in_place {
                fs::rename(&new, &go).unwrap();
            }
            // What was known of the contents before must not be believed of these.
            for _ in 0..12 {
                let name = run();
                let number: usize = name.rsplit('-').next().unwrap().parse().unwrap();
                let said = said.lock().unwrap()[number].clone();
                assert!(said.contains(&source.version), "{round}: {said}");
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_mins(1) {
                let name = run();
                thread::sleep(Duration::from_millis(300));
                if is_met(&name) {
                    break;
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        let last = run();
        agent.until("met the new one", || is_met(&last));
    }
    let runs = said.into_inner().unwrap();
    let counted = || {
        let health = agent.state().health;
        let sum = |health: &Health| health.chosen + health.missed;
        sum(&health) - sum(&before)
    };
    agent.until("counted all", || counted() >= runs.len() as u64);
    assert_eq!(counted(), runs.len() as u64, "{:#?}", agent.log());
    let health = agent.state().health;
    // What is gone has none any more.
    assert!(health.executables <= before.executables + 1, "{health:?}");
    assert_eq!((health.lost, health.abandoned), (0, 0), "{:#?}", agent.log());
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let seen = seen_whole(&builds, &runs);
    // The first of each take their time to be read, without optimization.
    assert!(seen >= runs.len() / 10, "{seen} of {}", runs.len());
    eprintln!(
        "{} runs, {seen} seen whole, {} late, {} missed",
        runs.len(),
        health.late,
        health.missed
    );
}

/// How many of the runs were seen whole. Each is as it said that it was.
fn seen_whole(builds: &[Build], runs: &[String]) -> usize {
    let mut seen = 0;
    for (number, said) in runs.iter().enumerate() {
        let name = format!("replaced-{number}");
        let of_it = builds.iter().filter(|build| build.job.get(RUN) == Some(&name));
        for build in of_it.filter(|build| build.trace.capture.complete) {
            let version = build.trace.processes[0].go_version.as_deref().expect("a release");
            assert!(said.contains(version), "{version}: {said}");
            seen += 1;
        }
    }
    seen
}
