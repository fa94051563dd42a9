//! What goes wrong: nobody's build is harmed, nothing wrong is said, and what is lost is counted.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io, thread};

use proxytrace::export::Health;
use proxytrace::model::{Outcome, Process};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::waiting::Waiting;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::running::{Agent, alone, job, version};

/// Downloads at once, each with a module cache of its own beside the module, which goes with the
/// lab; each tells how it ended.
const DOWNLOADS: &str = r#"
for i in $(seq "$1"); do (GOMODCACHE=$(mktemp -d -p "$PWD") go mod download; echo "ended $?") & done; wait
"#;

#[test]
fn kill_9_and_a_new_one() {
    let Some((_alone, toolchain)) = alone() else { return };
    let scenario = Scenario::find("healthy-40").expect("it is in the table");
    let lab = Lab::start(scenario, &toolchain).unwrap();
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    {
        let waiting = Waiting::start(&toolchain, job("waiting")).unwrap();
        assert!(waiting.probes().unwrap() > 20, "this shows whether there are probes");
    }
    let output = thread::scope(|scope| {
        let downloads = scope.spawn(|| {
            let mut command = lab.command("sh");
            command.args(["-c", DOWNLOADS, "sh", "12"]).envs(job("killed"));
            lab.output(command).unwrap()
        });
        // Each asks for forty modules.
        agent.until("let them begin", || lab.log().len() > 100);
        agent.signal(libc::SIGKILL);
        downloads.join().unwrap()
    });
    drop(agent);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ended 0\n".repeat(12));
    {
        let waiting = Waiting::start(&toolchain, job("waiting")).unwrap();
        assert_eq!(waiting.probes().unwrap(), 0);
    }
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let mut command = lab.command("sh");
    command.args(["-c", DOWNLOADS, "sh", "12"]).envs(job("again"));
    lab.output(command).unwrap();
    agent.until("seen them", || agent.builds_of("again").len() == 12);
    assert!(agent.builds_of("again").iter().all(|build| build.trace.capture.complete));
}

/// The same toolchain, with a `go` that nobody knows.
pub(crate) fn copied(toolchain: &Toolchain, to: &Path) -> Toolchain {
    for entry in fs::read_dir(&toolchain.goroot).unwrap().map(Result::unwrap) {
        if entry.file_name() != "bin" {
            symlink(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    fs::create_dir(to.join("bin")).unwrap();
    fs::copy(toolchain.goroot.join("bin/go"), to.join("bin/go")).unwrap();
    Toolchain { goroot: to.to_owned(), version: toolchain.version.clone() }
}

/// The agent takes a while to look at a toolchain that it meets.
#[test]
fn nobody_is_missed_who_executes_a_new_toolchain_meanwhile() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let before = agent.state().health.executables;
    let waiting: Vec<_> = (0..4).map(|_| Waiting::start(&new, job("met")).unwrap()).collect();
    agent.until("looked", || agent.state().health.executables > before);
    drop(waiting);
    // What its environment says of one is missed with its beginning.
    let exe = new.goroot.join("bin/go");
    let met = || {
        let builds = agent.builds();
        let processes = builds.iter().flat_map(|build| &build.trace.processes);
        let is_one = |one: &&Process| {
            Path::new(&one.exe) == exe && one.argv.iter().any(|word| word == "list")
        };
        processes.filter(is_one).count()
    };
    agent.until("seen them end", || met() == 4);
}

/// Each is in mounts of its own, and so its file is not to be found once it is gone. What is met after
/// the toolchain is known is late, what was met before is missed.
#[test]
fn builds_that_are_gone_before_their_toolchain_is_known_are_counted() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let builds = |count: usize| {
        for _ in 0..count {
            let mut command = Command::new("unshare");
            command.arg("--mount").arg(new.goroot.join("bin/go")).arg("version");
            assert!(command.stdout(Stdio::null()).status().unwrap().success());
        }
    };
    let before = agent.state().health;
    // It is busy for as long.
    agent.signal(libc::SIGSTOP);
    builds(3);
    let waiting = Waiting::start(&new, job("met")).unwrap();
    builds(2);
    agent.signal(libc::SIGCONT);
    agent.until("looked", || agent.state().health.executables > before.executables);
    drop(waiting);
    agent.until("seen it end", || !agent.builds_of("met").is_empty());
    let after = agent.state().health;
    let counted = (after.chosen - before.chosen, after.late - before.late);
    assert_eq!((counted, after.missed - before.missed), ((3, 3), 3), "{:#?}", agent.log());
}

/// As by `GOTOOLCHAIN`, where the `go` that switches has just been unpacked: it is one build, and what it
/// did before it switched was missed.
#[test]
fn a_new_toolchain_that_becomes_another_one_is_one_build() {
    let Some((_alone, toolchain)) = alone() else { return };
    let other = toolchain.other().unwrap();
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let path = dir.path().join("path");
    fs::create_dir(&path).unwrap();
    symlink(other.goroot.join("bin/go"), path.join(&other.version)).unwrap();
    let searched = || format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let version = |go: &Toolchain, job_name: &str| {
        let mut command = Command::new(go.goroot.join("bin/go"));
        command.arg("version").envs(job(job_name)).env("PATH", searched());
        command.env("GOTOOLCHAIN", &other.version);
        let output = command.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(&other.version), "{output:?}");
    };
    version(&other, "known");
    agent.until("seen it", || agent.builds_of("known").len() == 1);
    let before = agent.state().health;
    agent.signal(libc::SIGSTOP);
    version(&new, "switched");
    agent.signal(libc::SIGCONT);
    agent.until("looked", || agent.state().health.executables > before.executables);
    agent.until("seen it end", || !agent.builds_of("switched").is_empty());
    // Counted by what is told every few seconds.
    agent.until("counted", || agent.state().health.chosen > before.chosen);
    version(&new, "after");
    agent.until("seen it", || agent.builds_of("after").len() == 1);
    let after = agent.state().health;
    let counted = (after.chosen - before.chosen, after.late - before.late);
    assert_eq!((counted, after.missed - before.missed), ((2, 1), 0), "{:#?}", agent.log());
    // Neither of the two is known, and the second one runs on.
    let also = dir.path().join("also");
    fs::create_dir(&also).unwrap();
    let unknown = copied(&other, &also);
    let link = path.join(&other.version);
    fs::remove_file(&link).unwrap();
    symlink(unknown.goroot.join("bin/go"), &link).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let switching = [("GOTOOLCHAIN", other.version.clone()), ("PATH", searched())];
    agent.signal(libc::SIGSTOP);
    let waiting = Waiting::start(&new, job("both").into_iter().chain(switching)).unwrap();
    agent.signal(libc::SIGCONT);
    agent.until("looked", || agent.state().health.executables > after.executables + 1);
    drop(waiting);
    agent.until("seen it end", || !agent.builds_of("both").is_empty());
    agent.until("counted", || agent.state().health.late > after.late);
    let both = agent.state().health;
    assert_eq!((both.chosen - after.chosen, both.late - after.late), (1, 1), "{:#?}", agent.log());
    assert_eq!(agent.builds_of("both").len(), 1);

    let switched = agent.builds_of("switched");
    assert_eq!(switched.len(), 1);
    assert!(!switched[0].trace.capture.complete);
    assert!(agent.builds_of("after")[0].trace.capture.complete);
}

/// A module whose `go generate` runs this script.
pub(crate) fn generating(dir: &Path, script: &str) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write("go.mod", "module example.com/generating\n");
    write("generating.go", "package generating\n\n//go:generate sh script.sh\n");
    write("script.sh", script);
}

/// Of a release that nobody knows, inside of builds of one that is known: neither the first nor the
/// next one is seen whole.
#[test]
fn a_go_without_probes_is_missing_in_each_build() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let before = agent.state().health;
    let dir = tempfile::tempdir().unwrap();
    let unknown = copied(&toolchain, dir.path()).goroot.join("bin/go").canonicalize().unwrap();
    let minor = format!("go1.{}", toolchain.minor());
    let mut file = fs::read(&unknown).unwrap();
    let places = file.windows(minor.len()).enumerate();
    let places = places.filter(|(_, bytes)| *bytes == minor.as_bytes()).map(|(place, _)| place);
    for place in places.collect::<Vec<_>>() {
        file[place..place + minor.len()].copy_from_slice(b"go1.20");
    }
    fs::write(&unknown, file).unwrap();
    let module = tempfile::tempdir().unwrap();
    generating(module.path(), "\"$UNKNOWN\" version; \"$UNKNOWN\" version\n");
    for name in ["first", "second"] {
        let mut command = Command::new(toolchain.goroot.join("bin/go"));
        command.arg("generate").current_dir(module.path()).envs(job(name));
        command.env("UNKNOWN", &unknown).env("GOTOOLCHAIN", "local");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("go1.20"), "{output:?}");
        agent.until("seen it", || agent.builds_of(name).len() == 1);
        let capture = &agent.builds_of(name)[0].trace.capture;
        let of_it = capture.attach.iter().filter(|attach| Path::new(&attach.exe) == unknown);
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.len(), 1, "{name}: {capture:?}");
        assert!(!of_it[0].missing.is_empty() && of_it[0].hooks.is_empty(), "{name}: {capture:?}");
        assert!(!capture.complete, "{name}: {capture:?}");
    }
    assert_eq!(agent.state().health.refused, before.refused + 1, "{:#?}", agent.log());
}

/// A filter by which no file can be watched, as where others have all the watches that there are.
fn without_watches() -> BpfProgram {
    let rules = BTreeMap::from([(libc::SYS_inotify_add_watch, Vec::new())]);
    let refused = SeccompAction::Errno(libc::ENOSPC.cast_unsigned());
    let machine = ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).unwrap();
    filter.try_into().unwrap()
}

/// The agent alone is refused them: to take all would be to take them from this machine.
#[test]
fn a_go_that_cannot_be_watched_gets_no_probes() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (place, textfile) = (dir.path().join("go"), dir.path().join("p.prom"));
    fs::create_dir(&place).unwrap();
    let filter = without_watches();
    let filtered =
        move || apply_filter(&filter).map_err(|_| io::Error::from(io::ErrorKind::Unsupported));
    let mut program = Command::new(cases::proxytrace());
    // SAFETY: it makes two system calls, with what was made before the fork.
    unsafe { program.pre_exec(filtered) };
    let outlets = ["--metrics", "off", "--haste", "50", "--textfile", textfile.to_str().unwrap()];
    let options = [&["--sample", "1"], &outlets[..]].concat();
    let agent = Agent::spawn(program, &toolchain, &options, &[], None);
    agent.watches();

    // That of PATH, before anybody has executed it.
    let before = agent.state().health;
    assert!(before.executables == 0 && before.refused_by_kernel > 0, "{before:?}");
    // One that is met.
    let new = copied(&toolchain, &place);
    agent.until("refused it", || {
        version(&new, "met");
        agent.state().health.refused > before.refused
    });
    // It is not looked at each time, nor is what begins with it a build.
    (0..3).for_each(|_| version(&new, "again"));
    // Refusals are told of with each tick.
    agent.ticks();
    let after = agent.state().health;
    assert_eq!(after.executables, 0, "{after:?}");
    let by_kernel = after.refused_by_kernel - before.refused_by_kernel;
    assert_eq!((after.refused - before.refused, by_kernel), (1, 1), "{:#?}", agent.log());

    // What the alert is raised by.
    let series = "proxytrace_executables_refused_total{reason=\"kernel\"} ";
    let told = || {
        let text = fs::read_to_string(&textfile).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(series)?.parse::<u64>().ok())
    };
    agent.until("counted them for Prometheus", || told() == Some(after.refused_by_kernel));
    let (status, builds, log) = agent.end();
    assert!(status.success() && builds.is_empty(), "{builds:?}: {log:#?}");
    let release = format!("go_version={} ", toolchain.version);
    let is_told = |line: &&String| line.contains("gets no probes") && line.contains(&release);
    let told: Vec<&String> = log.iter().filter(is_told).collect();
    assert_eq!(told.len(), 1, "each kind once: {log:#?}");
    assert!(told[0].contains("cannot be watched for changes (inotify: ENOSPC"), "{}", told[0]);
}

/// Inside of a build a `go` that is not known becomes one that is, and that goes on when the first
/// is looked at.
#[test]
fn what_a_new_toolchain_has_become_is_heard() {
    let Some((_alone, toolchain)) = alone() else { return };
    let other = toolchain.other().unwrap();
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let path = dir.path().join("path");
    fs::create_dir(&path).unwrap();
    symlink(other.goroot.join("bin/go"), path.join(&other.version)).unwrap();
    agent.until("met the other one", || {
        version(&other, "other");
        agent.builds_of("other").iter().any(|build| build.trace.capture.complete)
    });
    let before = agent.state().health;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "PATH=$WITH_OTHER GOTOOLCHAIN=$OTHER \"$NEW\" list -m example.com/m@latest";
    let module = tempfile::tempdir().unwrap();
    generating(module.path(), &format!("{script} || true\n"));
    agent.signal(libc::SIGSTOP);
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    command.arg("generate").current_dir(module.path()).envs(job("inside"));
    command.env("GOPROXY", format!("http://{}", silent.local_addr().unwrap()));
    command.env("GOSUMDB", "off").env("NEW", new.goroot.join("bin/go"));
    let searched = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    command.env("WITH_OTHER", searched).env("OTHER", &other.version);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let waiting = silent.accept().unwrap();
    agent.signal(libc::SIGCONT);
    agent.until("looked", || agent.state().health.executables > before.executables);
    // Nobody answers it, nor any other one.
    drop((waiting, silent));
    assert!(child.wait().unwrap().success());
    agent.until("seen it end", || agent.builds_of("inside").len() == 1);
    let trace = &agent.builds_of("inside")[0].trace;
    assert!(!trace.capture.complete, "{:?}", trace.capture);
    assert!(!trace.chains.is_empty(), "{:?}", trace.processes);
    let ended = trace.chains.iter().all(|chain| chain.outcome != Outcome::Unfinished);
    assert!(ended, "{:?}", trace.chains);
}

#[test]
fn the_kill_switch_takes_all_probes_out() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let switch = dir.path().join("off");
    let agent =
        Agent::start(&toolchain, &["--sample", "1", "--kill-switch", switch.to_str().unwrap()]);
    let version = |name: &str| {
        let mut command = Command::new(toolchain.goroot.join("bin/go"));
        command.arg("version").envs(job(name)).stdout(Stdio::null());
        assert!(command.status().unwrap().success());
    };
    version("before");
    agent.until("seen it", || agent.builds_of("before").len() == 1);
    let waiting = Waiting::start(&toolchain, job("cut")).unwrap();
    assert!(waiting.probes().unwrap() > 20);
    fs::write(&switch, "").unwrap();
    agent.until("off", || agent.log().iter().any(|line| line.contains("turned on")));
    agent.until("without probes", || waiting.probes().unwrap() == 0);
    let state = agent.state();
    // By these Prometheus knows that somebody has forgotten it.
    assert_eq!((state.is_off, state.health.share, state.health.wished), (true, 0.0, 1.0));
    version("off");
    // What was seen until then is handed on, and is not taken for all.
    agent.until("handed on", || agent.builds_of("cut").len() == 1);
    let cut = &agent.builds_of("cut")[0].trace;
    assert!(!cut.capture.complete && cut.capture.watch_ended.is_some());
    fs::remove_file(&switch).unwrap();
    let watches = || agent.log().iter().filter(|line| line.contains("msg=watching")).count();
    agent.until("on again", || watches() == 2);
    version("after");
    agent.until("seen it", || agent.builds_of("after").len() == 1);
    assert!(agent.builds_of("off").is_empty());
    assert!(!agent.state().is_off);
}

/// Nothing tells any more of one that has ended, and has not been waited for, when it is met.
#[test]
fn a_build_that_is_ending_when_it_is_met_ends() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let new = copied(&toolchain, dir.path());
    let before = agent.state().health.executables;
    agent.signal(libc::SIGSTOP);
    let mut command = Command::new(new.goroot.join("bin/go"));
    let mut child =
        command.arg("version").envs(job("ending")).stdout(Stdio::null()).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    agent.until("ended", || fs::read_to_string(&stat).unwrap().contains(") Z "));
    agent.signal(libc::SIGCONT);
    agent.until("looked", || agent.state().health.executables > before);
    assert!(child.wait().unwrap().success());
    // Not at the second sweep from here.
    agent.until_within(Duration::from_secs(20), "seen it end", || {
        agent.builds().iter().any(|build| {
            let processes = &build.trace.processes;
            processes.iter().any(|process| Path::new(&process.exe) == new.goroot.join("bin/go"))
        })
    });
}

/// What goes on to start processes while it is given up has some of which that is not known yet.
#[test]
fn a_build_that_is_given_up_is_abandoned_once() {
    let Some((_alone, toolchain)) = alone() else { return };
    let bounds =
        ["PROXYTRACE_SWEEP_TICKS", "PROXYTRACE_BUILDS_MAX"].map(|name| (name, OsStr::new("2")));
    let agent = Agent::begin_with(&toolchain, &["--sample", "1"], &bounds);
    agent.watches();
    // All that there is room for.
    let first = [Waiting::start(&toolchain, []).unwrap(), Waiting::start(&toolchain, []).unwrap()];
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("go.mod"), "module example.com/forks\n").unwrap();
    // No telemetry child, and no environment: the ring is small.
    fs::create_dir_all(dir.path().join(".config/go/telemetry")).unwrap();
    fs::write(dir.path().join(".config/go/telemetry/mode"), "off").unwrap();
    let source = "package forks\n\n//go:generate sh forks.sh\n";
    fs::write(dir.path().join("forks.go"), source).unwrap();
    let forks =
        "echo >started; i=0; while [ $i -lt 2000 ]; do sleep 9 & i=$((i + 1)); done; wait\n";
    fs::write(dir.path().join("forks.sh"), forks).unwrap();
    let before = agent.state().health;
    // It is over before the agent knows that it has begun.
    agent.signal(libc::SIGSTOP);
    let mut crowd = Command::new(toolchain.goroot.join("bin/go"));
    crowd.args(["generate", "./..."]).env("HOME", dir.path()).current_dir(dir.path());
    let mut crowd = crowd.envs(job("crowd")).stdin(Stdio::null()).spawn().unwrap();
    let started = dir.path().join("started");
    agent.until("begun to fork", || started.exists());
    agent.signal(libc::SIGCONT);
    agent.until("given up", || agent.state().health.abandoned > before.abandoned);
    assert!(crowd.wait().unwrap().success());
    // Sweeps, and what is said every few seconds.
    agent.ticks();
    let after = agent.state().health;
    let counted = (after.chosen - before.chosen, after.abandoned - before.abandoned);
    assert_eq!((counted, after.lost), ((1, 1), 0), "{:#?}", agent.log());
    drop(first);
}

/// However many begin while the agent has no time, none of them is refused.
#[test]
fn builds_that_have_ended_take_no_room() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(".config/go/telemetry")).unwrap();
    fs::write(dir.path().join(".config/go/telemetry/mode"), "off").unwrap();
    // One that is known, and one that nobody has executed yet.
    let known = toolchain.goroot.join("bin/go");
    let unknown = dir.path().join("go");
    fs::copy(&known, &unknown).unwrap();
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    for go in [known, unknown] {
        let before = agent.state().health;
        agent.signal(libc::SIGSTOP);
        for _ in 0..300 {
            let mut version = Command::new(&go);
            version.arg("version").env_clear().env("HOME", dir.path());
            version.env("GOROOT", &toolchain.goroot).stdout(Stdio::null());
            assert!(version.status().unwrap().success());
        }
        agent.signal(libc::SIGCONT);
        let counted = |health: &Health| health.chosen + health.missed;
        agent.until("counted all", || counted(&agent.state().health) >= counted(&before) + 300);
        let after = agent.state().health;
        assert_eq!((after.abandoned, after.lost), (0, 0), "{go:?}: {:#?}", agent.log());
    }
}

#[test]
fn an_overflow_is_counted() {
    let Some((_alone, toolchain)) = alone() else { return };
    let sweep = [("PROXYTRACE_SWEEP_TICKS", OsStr::new("2"))];
    let agent = Agent::begin_with(&toolchain, &["--sample", "1"], &sweep);
    agent.watches();
    let before = agent.state().health;
    let waiting = Waiting::start(&toolchain, job("held")).unwrap();
    // Nobody reads, and each `go` sends its environment.
    agent.signal(libc::SIGSTOP);
    for _ in 0..40 {
        let mut command = Command::new(toolchain.goroot.join("bin/go"));
        command.arg("version").envs(job("flood")).env("FILLER", "x".repeat(120_000));
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    }
    agent.signal(libc::SIGCONT);
    agent.until("lost something", || agent.log().iter().any(|it| it.contains("events were lost")));
    assert!(agent.state().health.lost > 0);
    drop(waiting);
    agent.until("seen it end", || agent.builds_of("held").len() == 1);
    assert!(!agent.builds_of("held")[0].trace.capture.complete, "it ran while something was lost");
    // Each is told of, or is known to have been lost.
    let accounted = || {
        let health = agent.state().health;
        (health.chosen - before.chosen, agent.builds().len() as u64 + health.abandoned)
    };
    agent.until("accounted for all", || accounted() == (41, 41));
    assert!(agent.builds().len() < 41, "the ring was large enough");
    let whole = agent.builds().iter().filter(|build| build.trace.capture.complete).count();
    eprintln!("{} builds told of, {whole} of them whole", agent.builds().len());
    // And it goes on.
    let lost = agent.state().health.lost;
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    command.arg("version").envs(job("later")).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    agent.until("seen another", || agent.builds_of("later").len() == 1);
    assert!(agent.builds_of("later")[0].trace.capture.complete);
    assert_eq!(agent.state().health.lost, lost);
    agent.until("counted it", || accounted().0 == 42);
    assert_eq!(accounted(), (42, 42));
}

/// A burst of short processes, some of them `go`s below a `go`-less parent.
const BURST: &str = r#"
for i in $(seq 1000); do /bin/true & /bin/true & /bin/true & /bin/true & "$GO" version & wait; done
"#;

#[test]
fn a_burst_of_short_processes_and_a_storm_of_signals() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    fs::write(&config, "sample = 1.0\n").unwrap();
    let agent = Agent::start(&toolchain, &["--config", config.to_str().unwrap()]);
    let mut burst = Command::new("sh")
        .args(["-c", BURST])
        .env("GO", toolchain.goroot.join("bin/go"))
        .envs(job("burst"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut storm = 0;
    while burst.try_wait().unwrap().is_none() {
        agent.signal(libc::SIGHUP);
        storm += 1;
        thread::sleep(Duration::from_millis(5));
    }
    assert!(burst.wait().unwrap().success());
    assert!(storm > 200, "{storm} signals only");
    agent.until("seen them", || agent.builds_of("burst").len() >= 1000);
    let state = agent.state();
    assert_eq!(state.health.lost, 0);
    let builds = agent.builds_of("burst");
    assert_eq!(builds.len(), 1000);
    assert!(builds.iter().all(|build| build.trace.capture.complete));

    // A wrong file changes nothing, a right one does.
    fs::write(&config, "sample = 2\n").unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("refused it", || agent.log().iter().any(|it| it.contains("stay as they were")));
    assert!((agent.state().health.share - 1.0).abs() < 1e-9);
    fs::write(&config, "sample = \"25%\"\n").unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("taken it", || (agent.state().health.share - 0.25).abs() < 1e-9);

    // So does a file that it names, when it is renewed, and what did not work is tried again.
    let times = |what: &str| agent.log().iter().filter(|line| line.contains(what)).count();
    let changed = || times("exporters have other settings");
    let read = || times("settings read again");
    let token = dir.path().join("token");
    let export = "[export]\nmetrics = \"127.0.0.1:0\"\nmetrics-token = ";
    fs::write(&config, format!("{export}\"{}\"\n", token.display())).unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("refused a token", || times("exporters go on as before") == 1);
    fs::write(&token, "0123456789abcdef").unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("taken a token", || changed() == 1);
    fs::write(&token, "fedcba9876543210").unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("taken another token", || changed() == 2);
    let before = read();
    agent.signal(libc::SIGHUP);
    agent.until("read it again", || read() > before);
    assert_eq!(changed(), 2, "nothing has changed");
    let (status, ..) = agent.end();
    assert!(status.success());
}
