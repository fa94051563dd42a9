//! The command behaves and ends as it would have without proxytrace, whatever becomes of that.

mod drawn;
mod files;
mod signals;
mod sudo;

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

/// What a process can tell about itself, but for what differs from one process to the next.
const ABOUT_ITSELF: &str = r#"
echo arguments "$0" "$@"
env | sort
pwd
umask
id
ls /proc/$$/fd
cat /proc/$$/limits /proc/$$/oom_score_adj /proc/$$/cgroup /proc/$$/personality
grep -E '^(Umask|Uid|Gid|Groups|Seccomp|NoNewPrivs|Sig(Blk|Ign|Cgt)|Shd(Pnd)|Cap|Cpus|Mems)' /proc/self/status
read -r pid name state parent group session terminal foreground rest < /proc/$$/stat
echo $group $session $terminal $foreground
for name in cgroup ipc net pid user uts; do readlink /proc/$$/ns/$name; done
"#;

/// The command that `proxytrace -- program…` is.
fn traced(program: &str) -> Command {
    let mut command = Command::new(cases::proxytrace());
    command.args(["--quiet", "--", program]);
    command
}

fn can_trace() -> bool {
    cases::can_trace() && cases::built().is_some()
}

/// Waits, not for ever.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(30), "never {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: i32, pid: i32) {
    // SAFETY: a system call on a process, or a group, that this test started and has not reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn id(child: &Child) -> i32 {
    child.id().cast_signed()
}

/// The letter that the kernel has for the state of a process.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The pipe holds 64 KiB, and the events of these processes are many times that.
#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    if !can_trace() {
        return;
    }
    for option in ["--record", "--ndjson"] {
        let directory = tempfile::tempdir().expect("a directory");
        let (pipe, done) = (directory.path().join("pipe"), directory.path().join("done"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("runs").success());
        // For both, so that nobody waits for the other to open it.
        let reader = fs::File::options().read(true).write(true).open(&pipe).expect("opens");
        let script = r#"i=0; while [ $i -lt 600 ]; do /bin/true "$(printf %0200d $i)"; i=$((i+1)); done; : >"$1""#;
        let mut command = Command::new(cases::proxytrace());
        command.args(["--quiet", option]).arg(&pipe);
        command.args(["--", "sh", "-c", script, "sh"]).arg(&done);
        let mut traced = command.stderr(Stdio::null()).spawn().expect("starts");
        until("done", || done.exists());
        drop(reader);
        traced.wait().expect("ends");
    }
}

#[test]
fn the_command_cannot_tell() {
    if !can_trace() {
        return;
    }
    let run = |mut command: Command, ignored: bool| {
        command
            .args(["-c", ABOUT_ITSELF, "zero", "one two", ""])
            // Not the whole environment of whoever runs the tests: a failure prints it.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("EXTRA", "a\nb");
        // SAFETY: between fork and exec, calls that are safe there.
        unsafe {
            command.pre_exec(move || {
                libc::umask(0o067);
                if ignored {
                    libc::signal(libc::SIGINT, libc::SIG_IGN);
                    libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                }
                Ok(())
            });
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for ignored in [false, true] {
        let alone = run(Command::new("sh"), ignored);
        assert!(alone.0.lines().count() > 50, "{}", alone.0);
        let watched = run(traced("sh"), ignored);
        let lines = alone.0.lines().zip(watched.0.lines());
        let differ: Vec<_> = lines.filter(|(alone, watched)| alone != watched).collect();
        assert!(differ.is_empty(), "alone, watched: {differ:?}");
        assert_eq!(watched, alone);
    }
}

#[test]
fn streams_are_the_commands() {
    if !can_trace() {
        return;
    }
    let mut command = traced("sh");
    command.args(["-c", "tee /dev/stderr"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let mut stdin = child.stdin.take().unwrap();
    let written = thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes).unwrap()
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    written.join().unwrap();
    assert!(status.success());
    assert!(stdout == bytes, "{} bytes on stdout", stdout.len());
    assert!(stderr == bytes, "{} bytes on stderr", stderr.len());
}

#[test]
fn it_ends_as_the_command_ends() {
    if !can_trace() {
        return;
    }
    for (script, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + libc::SIGTERM),
        ("kill -KILL $$", 128 + libc::SIGKILL),
        ("kill -SEGV $$", 128 + libc::SIGSEGV),
        // The first for real time, which has no name.
        ("kill -34 $$", 128 + 34),
    ] {
        let output = traced("sh").args(["-c", script]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
}

/// Tells when proxytrace is started, and when its command is.
const STARTED: &str = r#"
date +%s.%N; "$0" --quiet -- date +%s.%N
"#;

/// Kills proxytrace after `$1` seconds, and waits for what it had started.
const KILLED: &str = r#"
"$0" --quiet -- sh -c 'echo >started; go mod download; echo $? >ended' &
sleep "$1"
kill -9 $!
wait
if [ -e started ]; then
    for i in $(seq 1000); do [ -s ended ] && break; sleep 0.03; done
fi
"#;

#[test]
fn kill_9_at_any_moment() {
    if !can_trace() || !cases::can_start() {
        return;
    }
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("healthy-40").expect("it is in the table");
    let start = {
        let lab = Lab::start(scenario, &toolchain).unwrap();
        let mut command = lab.command("sh");
        command.args(["-c", STARTED]).arg(cases::proxytrace());
        let output = String::from_utf8(lab.output(command).unwrap().stdout).unwrap();
        let [before, after] = [0, 1].map(|word| {
            let word = output.split_whitespace().nth(word).expect("two times");
            word.parse::<f64>().unwrap()
        });
        after - before
    };
    let mut finished = 0;
    for turn in 0..28 {
        let lab = Lab::start(scenario, &toolchain).unwrap();
        // From before anything has begun to after it has ended.
        let delay = format!("{:.3}", start * 3.0 / 28.0 * f64::from(turn));
        let mut command = lab.command("sh");
        command.args(["-c", KILLED]).arg(cases::proxytrace()).arg(&delay);
        let output = lab.output(command).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);

        let dir = lab.module_dir();
        if dir.join("started").exists() {
            let ended = fs::read_to_string(dir.join("ended")).unwrap_or_default();
            assert_eq!(ended, "0\n", "after {delay} s: {stderr}");
            let mut cached = lab.command("sh");
            cached.args(["-c", "ls $GOMODCACHE/mod.lab | wc -l"]);
            let cached = lab.output(cached).unwrap();
            assert_eq!(cached.stdout, b"40\n", "after {delay} s: {stderr}");
            finished += 1;
        }
        until("gone", || !somebody_is_in(&dir));
    }
    assert!(finished >= 14, "the command had begun {finished} times only");
}

/// Whether a process has its working directory there: left over, or stuck.
fn somebody_is_in(dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read_link(process.path().join("cwd")).ok())
        .any(|cwd| cwd == dir)
}

#[test]
fn an_exit_code_survives_a_parent_that_ignores_its_children() {
    if !can_trace() {
        return;
    }
    let mut command = traced("sh");
    command.args(["-c", "exit 7"]);
    let ignore = || {
        // SAFETY: a system call that changes this process alone, and no handler is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: `ignore` makes one call that may be made between fork and exec.
    unsafe { command.pre_exec(ignore) };
    assert_eq!(command.status().unwrap().code(), Some(7));
}
