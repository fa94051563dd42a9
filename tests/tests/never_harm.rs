//! The command behaves and ends as it would have without proxytrace, whatever becomes of that.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proxytrace::event::Origin;
use proxytrace::model::Trace;
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
    if !cases::can_start() {
        return false;
    }
    let built = cases::proxytrace().is_file();
    if !built {
        cases::skip("no proxytrace: build it");
    }
    built
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
    ] {
        let output = traced("sh").args(["-c", script]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
}

/// Waits in small steps, for a trap to be run in between; a signal that never comes does not hold up
/// the test for ever.
const WAIT_TEN_SECONDS: &str = "for i in $(seq 500); do sleep 0.02; done";

#[test]
fn signals_for_us_reach_the_command() {
    if !can_trace() {
        return;
    }
    for (name, signal) in [
        ("INT", libc::SIGINT),
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
    ] {
        let script = format!("trap 'echo {name}; exit 3' {name}; echo on; {WAIT_TEN_SECONDS}");
        let mut command = traced("sh");
        command.args(["-c", &script]).stdout(Stdio::piped());
        // A job in the background of a script, such as a CI's, is born ignoring some of these, and
        // no shell can trap what it was born ignoring.
        let set_default = move || {
            // SAFETY: a system call that changes this process alone, and no handler is installed.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            Ok(())
        };
        // SAFETY: `set_default` makes one call that may be made between fork and exec.
        unsafe { command.pre_exec(set_default) };
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        send(signal, id(&child));
        stdout.read_to_string(&mut line).unwrap();
        assert_eq!(line, format!("on\n{name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(3), "{name}");
    }
    // Whoever does not catch it dies of it.
    let mut child =
        traced("sh").args(["-c", "echo; exec sleep 60"]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    send(libc::SIGTERM, id(&child));
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + libc::SIGTERM), None));
}

/// The letter that the kernel has for the state of a process.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_job_stops_and_goes_on() {
    if !can_trace() {
        return;
    }
    // A job of a shell is a process group of its own, to which the terminal sends its signals.
    let mut child = traced("sh")
        .args(["-c", "echo $$; read line; echo $line"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let command: i32 = line.trim().parse().unwrap();
    for _ in 0..3 {
        send(libc::SIGTSTP, -id(&child));
        until("stopped", || state(command) == Some('T') && state(id(&child)) == Some('T'));
        send(libc::SIGCONT, -id(&child));
        until("continued", || state(command) != Some('T') && state(id(&child)) != Some('T'));
    }
    child.stdin.take().unwrap().write_all(b"done\n").unwrap();
    line.clear();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(line, "done\n");
    assert!(child.wait().unwrap().success());
}

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
    if !can_trace() {
        return;
    }
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("healthy-40").expect("it is in the table");
    let mut finished = 0;
    for turn in 0..28 {
        let lab = Lab::start(scenario, &toolchain).unwrap();
        // From before anything has begun to after it has ended.
        let delay = format!("{:.3}", 0.013 * f64::from(turn));
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

/// An ordinary user who may call sudo, until this is dropped.
struct Person {
    name: String,
    home: PathBuf,
    sudoers: PathBuf,
}

impl Person {
    fn new() -> Self {
        let name = format!("ptlab{}", std::process::id());
        let home = PathBuf::from(format!("/home/{name}"));
        let sudoers = PathBuf::from(format!("/etc/sudoers.d/{name}"));
        let person = Self { name, home, sudoers };
        let mut useradd = Command::new("useradd");
        let status =
            useradd.args(["--create-home", "--user-group", &person.name]).status().unwrap();
        assert!(status.success(), "useradd: {status}");
        fs::write(&person.sudoers, format!("{} ALL=(root) NOPASSWD: ALL\n", person.name)).unwrap();
        person
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.sudoers);
        let _ = Command::new("userdel").args(["--remove", "--force", &self.name]).output();
    }
}

/// What the user does, whose shell has a GOPROXY and a PATH of its own. `/mnt` is the toolchain, and
/// `elevate` a sudo.
const BY_SUDO: &str = r#"
umask 027
cd ~/module
export GOPROXY=https://proxy.lab GOSUMDB=off GOFLAGS=-mod=mod GOTOOLCHAIN=local
export PATH=/mnt/bin:$PATH SSL_CERT_FILE=$HOME/ca.pem
sudo -n ~/proxytrace --json ~/trace.json --record ~/recording -- \
    sh -c 'go mod download && umask >~/umask && id >~/id && env >~/env'
sudo -n env A=b ~/proxytrace -- id -u >~/of-env
~/elevate -n env A=b ~/proxytrace -- sh -c 'id -u && echo "$GOPROXY"' >~/of-other
sudo -n sh -c '"$0" -- id -u; :' ~/proxytrace >~/of-shell
"#;

#[test]
fn sudo_changes_nothing_for_the_command() {
    let there = |program: &str| {
        let found = Command::new(program).arg("--help").output().is_ok();
        if !found {
            cases::skip(&format!("no {program}"));
        }
        found
    };
    if !can_trace() || !["sudo", "useradd", "setpriv"].into_iter().all(there) {
        return;
    }
    let person = Person::new();
    let (name, home) = (&person.name, &person.home);
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("healthy-40").expect("it is in the table");
    let lab = Lab::start(scenario, &toolchain).unwrap();
    let mut command = lab.command("sh");
    command
        .args(["-euc", SETTING_OUT, BY_SUDO])
        .args([toolchain.goroot.as_os_str(), cases::proxytrace().as_os_str()])
        .args([home.as_os_str(), name.as_ref()]);
    let output = lab.output(command).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);

    let read = |file: &str| fs::read_to_string(home.join(file)).unwrap();
    assert_eq!(read("umask").trim().trim_start_matches('0'), "27");
    let plain = Command::new("id").arg(name).output().unwrap();
    assert_eq!(read("id").as_bytes(), plain.stdout);
    let environment = read("env");
    let variables: Vec<&str> = environment.lines().collect();
    for expected in [format!("HOME={}", home.display()), "GOPROXY=https://proxy.lab".to_owned()] {
        assert!(variables.contains(&&*expected), "no {expected} in {variables:?}");
    }
    assert!(!variables.iter().any(|variable| variable.starts_with("SUDO_")), "{variables:?}");

    let owner = fs::metadata(home).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(read("of-env").trim(), owner.to_string());
    // A sudo by another name has the user's environment as well.
    assert_eq!(read("of-other"), format!("{owner}\nhttps://proxy.lab\n"));
    // A shell of root's, which says who called sudo, too: there it would be root's without us.
    assert_eq!(read("of-shell").trim(), "0");
    for file in ["trace.json", "recording", "umask", "go/pkg/mod/mod.lab/m01@v1.0.0/lab.go"] {
        assert_eq!(fs::metadata(home.join(file)).unwrap().uid(), owner, "{file}");
    }
    let trace: Trace = serde_json::from_str(&read("trace.json")).unwrap();
    let go = trace.processes.iter().find(|process| process.go_version.is_some()).unwrap();
    let proxy = &go.config["GOPROXY"];
    assert_eq!((proxy.value.as_str(), proxy.origin), ("https://proxy.lab", Origin::Environment));
    assert!(trace.capture.complete && trace.capture.attach.iter().all(|attach| !attach.late));
    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests).count();
    assert_eq!(requests, lab.log().len());
    assert_eq!(requests, 120);
}

/// As root: gives the user what they need, and becomes them, with an environment as of a login.
/// Mounts are the lab's alone.
const SETTING_OUT: &str = r#"
script=$0 goroot=$1 proxytrace=$2 home=$3 user=$4
mount --bind "$goroot" /mnt
cp -r . "$home/module"
cp ../ca.pem "$home"
install -m 755 "$proxytrace" "$home/proxytrace"
chown -R "$user:$user" "$home"
install -m 4755 "$(command -v sudo)" "$home/elevate"
exec setpriv --reuid="$user" --regid="$user" --init-groups \
    env -i HOME="$home" USER="$user" LOGNAME="$user" PATH=/usr/local/bin:/usr/bin:/bin sh -c "$script"
"#;

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
