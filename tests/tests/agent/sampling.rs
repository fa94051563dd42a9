//! Which builds are chosen.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use proxytrace_common::host::choice;
use proxytrace_tests::toolchain::Toolchain;

use crate::running::{Agent, Build, alone, job};

const SEED: u64 = 0x5eed;

/// Runs a `go` command without waiting for it; yields its pid and when it started, in ticks.
fn run(toolchain: &Toolchain, name: &str) -> (u32, u64) {
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    let mut child = command.arg("version").envs(job(name)).stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    // What has ended and was not waited for is still in /proc.
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = text.rsplit_once(") ").unwrap().1;
    let begun = fields.split(' ').nth(19).unwrap().parse().unwrap();
    assert!(child.wait().unwrap().success());
    (child.id(), begun)
}

fn pids(builds: &[Build]) -> BTreeSet<u32> {
    builds.iter().map(|build| build.trace.processes[0].pid).collect()
}

/// Those of them that are chosen by this seed.
fn chosen(ran: &[(u32, u64)], seed: u64, share: f64) -> BTreeSet<u32> {
    let threshold = (share * 2f64.powi(32)).round();
    let is_chosen = |pid, start| f64::from(choice(seed, pid, start)) < threshold;
    let chosen = ran.iter().filter(|(pid, start)| is_chosen(*pid, *start));
    chosen.map(|(pid, _)| *pid).collect()
}

/// The choice can be computed by whoever knows the seed, so that the numbers need no tolerance: the
/// scaled count is as near to the true one as the binomial distribution of these very choices.
#[test]
fn those_are_chosen_that_the_seed_chooses() {
    let Some((_alone, toolchain)) = alone() else { return };
    let count = 600_u32;
    let share = 0.1;
    let dir = tempfile::tempdir().unwrap();
    let textfile = dir.path().join("p.prom");
    let outlets = ["--metrics", "off", "--textfile", textfile.to_str().unwrap()];
    let options = ["--sample", "10%", "--seed", &SEED.to_string()];
    let agent = Agent::start(&toolchain, &[&options[..], &outlets].concat());
    let ran: Vec<(u32, u64)> = (0..count).map(|_| run(&toolchain, "sampling")).collect();
    let expected = chosen(&ran, SEED, share);
    agent.until("seen them all", || agent.builds_of("sampling").len() >= expected.len());
    let state = agent.state();
    let (_, all, _) = agent.end();
    let is_ours = |build: &Build| build.job.values().any(|it| it == "sampling");
    let builds: Vec<Build> = all.iter().filter(|build| is_ours(build)).cloned().collect();
    assert_eq!(pids(&builds), expected);
    assert_eq!(builds.len(), expected.len());
    assert!(builds.iter().all(|build| (build.share - share).abs() < 1e-9));
    // Other builds of this machine are counted as well.
    assert!(
        state.health.chosen + state.health.passed_over >= u64::from(count),
        "{:?}",
        state.health
    );
    // Five standard deviations of a binomial distribution: one run in a million is outside.
    let (n, scaled) = (f64::from(count), f64::from(u32::try_from(builds.len()).unwrap()) / share);
    let deviation = (n * share * (1.0 - share)).sqrt() / share;
    assert!((scaled - n).abs() < 5.0 * deviation, "{scaled} of {n}");
    // What Prometheus is told is that, and the others of this machine.
    let metrics = fs::read_to_string(&textfile).unwrap();
    let told: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("proxytrace_builds_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    let others = f64::from(u32::try_from(all.len() - builds.len()).unwrap()) / share;
    assert!((told - others - scaled).abs() < 1e-6, "{told} instead of {scaled} and {others}");
}

/// Without a seed the choice is made from the machine's id and name, and so is the same one after a
/// restart, a reboot and an update.
#[test]
fn a_host_has_a_choice_of_its_own() {
    let Some((_alone, toolchain)) = alone() else { return };
    let read = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let id = ["/proc/1/root/etc/machine-id", "/etc/machine-id"].into_iter().find_map(read);
    let name = read("/proc/sys/kernel/hostname").unwrap_or_default();
    let text = format!("{}\n{name}", id.as_deref().unwrap_or_default());
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let seed = u64::from_le_bytes(*digest.as_ref().first_chunk().unwrap());
    let agent = Agent::start(&toolchain, &["--sample", "50%"]);
    // Another seed would choose the same ones of so many once in 2^64 times.
    let ran: Vec<(u32, u64)> = (0..64).map(|_| run(&toolchain, "host")).collect();
    let expected = chosen(&ran, seed, 0.5);
    agent.until("seen them all", || agent.builds_of("host").len() >= expected.len());
    // What is chosen beside them is handed on at the end.
    let (_, builds, log) = agent.end();
    let is_ours = |build: &Build| build.job.values().any(|it| it == "host");
    let builds: Vec<Build> = builds.into_iter().filter(is_ours).collect();
    assert_eq!(pids(&builds), expected);
    // Where the name alone tells hosts apart, whoever runs it is to know.
    let is_told = log.iter().any(|line| line.contains("no machine id"));
    assert_eq!(is_told, id.is_none(), "{log:#?}");
}

/// `sh` starts two `go`s, a `go` starts another: each tree begins at its first `go`, and a part of
/// it is never chosen by itself.
#[test]
fn trees_stay_whole() {
    let Some((_alone, toolchain)) = alone() else { return };
    let go = toolchain.goroot.join("bin/go").display().to_string();
    let agent = Agent::start(&toolchain, &["--sample", "0.5", "--seed", &SEED.to_string()]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("go.mod"), "module x\n").unwrap();
    fs::write(
        dir.path().join("x.go"),
        "package x\n\n//go:generate sh -c \"$GO version; sh -c '$GO env GOROOT; exit 0'\"\n",
    )
    .unwrap();
    // Without the telemetry child that a first `go` starts.
    fs::create_dir_all(dir.path().join(".config/go/telemetry")).unwrap();
    fs::write(dir.path().join(".config/go/telemetry/mode"), "off").unwrap();
    let count = 24;
    for _ in 0..count {
        let mut command = Command::new(&go);
        command.args(["generate", "./..."]).current_dir(dir.path()).env("GO", &go);
        command.env("HOME", dir.path()).envs(job("trees")).stdout(Stdio::null());
        assert!(command.status().unwrap().success());
    }
    // What is last of all comes after all.
    agent.until("seen some", || agent.builds_of("trees").len() > 2);
    let state = agent.state();
    assert_eq!(state.health.lost, 0);
    let (_, builds, _) = agent.end();
    let of_it: Vec<&Build> =
        builds.iter().filter(|build| build.job.values().any(|it| it == "trees")).collect();
    for build in &of_it {
        let go = build.trace.processes.iter().filter(|process| process.go_version.is_some());
        let commands: Vec<&str> = go.map(|process| process.argv[1].as_str()).collect();
        let mut sorted = commands.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["env", "generate", "version"], "{:?}", build.trace.processes);
        assert!(build.trace.capture.complete, "{:?}", build.trace.capture);
    }
    assert!((3..count).contains(&of_it.len()), "{} of {count}", of_it.len());
}
