//! What stays, and what is let go of.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::waiting::Waiting;
use tempfile::NamedTempFile;

use crate::faults::{copied, generating};
use crate::running::{Agent, alone, job, version};

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
    let Some((_alone, toolchain)) = alone() else { return };
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
    let Some((_alone, toolchain)) = alone() else { return };
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
    agent.ticks();
    let pid: i32 = fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    assert!(Path::new("/proc").join(pid.to_string()).exists());
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let after = agent.state().health;
    assert_eq!(after.abandoned, before.abandoned, "{:#?}", agent.log());
}

/// Builds again and again, until it is taken away.
const DAEMON: &str = "while [ -e daemon.sh ]; do \"$GO\" version; sleep 0.2; done\n";

/// A build that runs this script, which is to leave a [`DAEMON`] running. That builds with `go`.
fn leaving(dir: &Path, toolchain: &Toolchain, go: &Path, script: &str) -> Command {
    generating(dir, script);
    fs::write(dir.join("daemon.sh"), DAEMON).unwrap();
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    command.arg("generate").current_dir(dir).env("GO", go);
    command
}

/// What that starts later is a build of its own, and counted.
#[test]
fn what_a_passed_over_build_leaves_running_is_none_of_it() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = start(&toolchain, "0");
    let dir = tempfile::tempdir().unwrap();
    let go = toolchain.goroot.join("bin/go");
    let script = "sh daemon.sh >/dev/null 2>&1 &\n";
    let mut command = leaving(dir.path(), &toolchain, &go, script);
    assert!(command.status().unwrap().success());
    let before = agent.state().health.passed_over;
    agent.until("counted it", || agent.state().health.passed_over > before);
}

/// Nor is that one as long as the build goes on, whoever takes its process for a child, and whether
/// the file that is run is there or not.
#[test]
fn what_a_passed_over_build_starts_is_of_it_as_long_as_it_runs() {
    let Some((_alone, toolchain)) = alone() else { return };
    let go = toolchain.goroot.join("bin/go");
    let script = "sh -c 'setsid sh daemon.sh >/dev/null 2>&1 &'\n\
        echo >started; while [ -e daemon.sh ]; do sleep 0.1; done\n";
    for is_removed in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let copy = copied(&toolchain, place.path());
        let agent = start(&copy, "0");
        let dir = tempfile::tempdir().unwrap();
        let mut child = leaving(dir.path(), &copy, &go, script).spawn().unwrap();
        while !dir.path().join("started").exists() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            thread::sleep(Duration::from_millis(20));
        }
        if is_removed {
            fs::remove_file(copy.goroot.join("bin/go")).unwrap();
        }
        let before = agent.state().health.passed_over;
        // Sweeps.
        thread::sleep(LONG);
        let counted = agent.state().health.passed_over - before;
        // Others may build on this machine, too, but hardly as often.
        assert!(counted < 10, "{counted}: {:#?}", agent.log());
        fs::remove_file(dir.path().join("daemon.sh")).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// A toolchain that is moved elsewhere has been found nowhere since.
#[test]
fn a_toolchain_that_is_not_where_it_was_found_is_let_go_of() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let agent = start(&copied(&toolchain, dir.path()), "0");
    let found = agent.state().health.executables;
    thread::sleep(LONG);
    assert_eq!(agent.state().health.executables, found, "{:#?}", agent.log());
    fs::rename(dir.path().join("bin"), dir.path().join("away")).unwrap();
    agent.until("let it go", || agent.state().health.executables == found - 1);
}

/// A shell in mounts of its own, with a `go` that waits for an answer until this is dropped.
struct Mounted {
    shell: Child,
    silent: TcpListener,
}

impl Mounted {
    fn start(script: &str, goroot: &Path) -> Self {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let shell = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .env("GITHUB_ACTIONS", "true")
            .env("GOROOT", goroot)
            .env("GOSUMDB", "off")
            .env("GOPROXY", format!("http://{}", silent.local_addr().unwrap()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { shell, silent }
    }

    /// Has it go on, and end.
    fn end(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
    }
}

/// On a volume, which a container shows that has come later and stays longer.
const SHARED: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
cp "$GOROOT/bin/go" /mnt/go
export HOME=/mnt
cd /mnt
GITHUB_RUN_ID=one /mnt/go version >/dev/null
echo met
read -r _
GITHUB_RUN_ID=two unshare --mount /mnt/go list -m example.com/m@latest >/dev/null 2>&1 &
read -r _ || true
"#;

#[test]
fn a_toolchain_keeps_its_probes_as_long_as_another_container_runs_it() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = start(&toolchain, "1");
    let before = agent.state().health.executables;
    let mut shared = Mounted::start(SHARED, &toolchain.goroot);
    let mut said = String::new();
    BufReader::new(shared.shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "met\n");
    let is_known = || agent.state().health.executables > before;
    agent.until("met it", is_known);
    writeln!(shared.shell.stdin.as_ref().unwrap()).unwrap();
    let waiting = shared.silent.accept().unwrap();
    shared.end();
    thread::sleep(LONG);
    assert!(is_known(), "its probes are gone: {:#?}", agent.log());
    drop((waiting, shared));
    agent.until("seen it end", || agent.builds_of("two").len() == 1);
    let capture = &agent.builds_of("two")[0].trace.capture;
    assert!(capture.complete, "{capture:?}");
    agent.until("let it go", || !is_known());
}

/// The same, which is executed by many short ones.
const SHARED_BY_MANY: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
cp "$GOROOT/bin/go" /mnt/go
export HOME=/mnt
cd /mnt
GITHUB_RUN_ID=one /mnt/go version >/dev/null
echo met
read -r _
export GITHUB_RUN_ID=many
unshare --mount sh -c '
while [ -e "$WANTED" ]; do /mnt/go version; sleep 0.2; done
sleep 2
' >/dev/null 2>&1 &
"#;

#[test]
fn a_toolchain_keeps_its_probes_as_long_as_other_containers_execute_it() {
    let Some((_alone, toolchain)) = alone() else { return };
    let agent = start(&toolchain, "1");
    let before = agent.state().health.executables;
    let wanted = NamedTempFile::new().unwrap();
    let script = SHARED_BY_MANY.replace("$WANTED", &wanted.path().display().to_string());
    let mut shared = Mounted::start(&script, &toolchain.goroot);
    let mut said = String::new();
    BufReader::new(shared.shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "met\n");
    let is_known = || agent.state().health.executables > before;
    agent.until("met it", is_known);
    writeln!(shared.shell.stdin.as_ref().unwrap()).unwrap();
    shared.end();
    thread::sleep(LONG);
    agent.until("seen many", || agent.builds_of("many").len() > 10);
    wanted.close().unwrap();
    agent.until("let it go", || !is_known());
    let builds = agent.builds_of("many");
    // Who meets it anew meets it late.
    let captures = builds.iter().map(|build| &build.trace.capture);
    let late: Vec<_> = captures.filter(|capture| !capture.complete).collect();
    assert!(late.is_empty(), "{late:?}");
}

/// Under another name, in mounts of its own.
const ELSEWHERE: &str = r#"
set -e
mount --bind "$GOROOT/bin" /mnt
/mnt/go list -m example.com/m@latest >/dev/null 2>&1 &
read -r _ || true
kill $!
wait
"#;

#[test]
fn a_file_under_two_names_has_probes_once() {
    let Some((_alone, newest)) = alone() else { return };
    // Overlays, which the root of a machine may be, are another matter.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let toolchain = copied(&newest, dir.path());
    let found = start(&toolchain, "1").state().health.executables;
    let mut elsewhere = Mounted::start(ELSEWHERE, &toolchain.goroot);
    let waiting = elsewhere.silent.accept().unwrap();
    let agent = start(&toolchain, "1");
    assert_eq!(agent.state().health.executables, found, "{:#?}", agent.log());
    elsewhere.end();
    drop((waiting, elsewhere));
    // Sweeps.
    agent.ticks();
    version(&toolchain, "after");
    agent.until("seen it", || agent.builds_of("after").len() == 1);
    let capture = &agent.builds_of("after")[0].trace.capture;
    assert!(capture.complete, "{capture:?}");
}
