//! Signals, and stops, have the same effect.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use proxytrace_tests::{cases, terminal};

use super::{can_trace, id, send, state, traced, until};

/// Waits in small steps, for a trap to be run in between; a signal that never comes does not hold up
/// the test for ever.
const WAIT_TEN_SECONDS: &str = "for i in $(seq 500); do sleep 0.02; done";

/// The process that a command has said on its first line.
fn said_pid(child: &mut Child) -> i32 {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

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
        ("PWR", libc::SIGPWR),
        ("VTALRM", libc::SIGVTALRM),
        ("CONT", libc::SIGCONT),
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

/// As whoever is told that its child is ready, by a signal: here that is proxytrace.
#[test]
fn what_the_command_sends_does_not_come_back() {
    if !can_trace() {
        return;
    }
    for script in ["kill -USR1 $PPID", "sh -c 'kill -USR1 $1; sleep 0.1' - $PPID"] {
        let script = format!("{script}; sleep 0.3; exit 7");
        let status = traced("sh").args(["-c", &script]).status().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(7), None), "{script}");
    }
}

/// The kernel tells the leader of the session alone.
#[test]
fn a_terminal_that_goes_away_takes_the_command_with_it() {
    if !can_trace() {
        return;
    }
    // Nobody else may hold it when it is closed.
    let (master, slave) = terminal::open().unwrap();
    let mut command = traced("sh");
    command.args(["-c", "echo on; exec sleep 60"]).stdin(slave.try_clone().unwrap());
    command.stdout(slave.try_clone().unwrap()).stderr(Stdio::null());
    let lead = || {
        nix::unistd::setsid()?;
        // SAFETY: a system call on this process's standard input.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: `lead` makes two calls that may be made between fork and exec.
    unsafe { command.pre_exec(lead) };
    let mut child = command.spawn().unwrap();
    drop((command, slave));
    (&master).read_exact(&mut [0; 2]).unwrap();
    drop(master);
    let mut ended = None;
    until("ended", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(128 + libc::SIGHUP));
}

/// As by `perl -e 'alarm 1; exec @ARGV'`.
#[test]
fn an_alarm_set_before_ends_the_command() {
    if !can_trace() {
        return;
    }
    let mut command = traced("sleep");
    command.arg("60");
    let set_alarm = || {
        // SAFETY: a system call that changes this process alone.
        unsafe { libc::alarm(1) };
        Ok(())
    };
    // SAFETY: `set_alarm` makes one call that may be made between fork and exec.
    unsafe { command.pre_exec(set_alarm) };
    assert_eq!(command.status().unwrap().code(), Some(128 + libc::SIGALRM));
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

/// What has a session of its own is not stopped by the terminal, and executes what it likes.
#[test]
fn a_job_that_stops_holds_nobody_up() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    // Neither goes on when the test has ended.
    let server = r#": >"$0/apart"; while [ -d "$0" ] && [ ! -e "$0/stopped" ]; do sleep 0.01; done
        /bin/touch "$0/executed""#;
    let script = r#"setsid sh -c "$1" "$0" &
        while [ -d "$0" ] && [ ! -e "$0/apart" ]; do sleep 0.01; done
        echo $$; exec sleep 60"#;
    let mut child = traced("sh")
        .args(["-c", script])
        .arg(directory.path())
        .arg(server)
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let command = said_pid(&mut child);
    send(libc::SIGTSTP, -id(&child));
    until("stopped", || state(command) == Some('T') && state(id(&child)) == Some('T'));
    fs::write(place("stopped"), "").unwrap();
    until("executed", || place("executed").exists());
    assert_eq!(state(id(&child)), Some('T'));
    send(libc::SIGCONT, -id(&child));
    until("continued", || state(command) != Some('T') && state(id(&child)) != Some('T'));
    send(libc::SIGTERM, id(&child));
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM));
}

/// A run whose command has ended, and that has more to write to a pipe than that holds; and the
/// pipe, which is open, and from which nobody reads.
fn waits_for_a_reader(pipe: &Path) -> (Child, fs::File) {
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let reader = fs::File::options().read(true).write(true).open(pipe).unwrap();
    let script = r#"i=0; while [ $i -lt 600 ]; do /bin/true "$(printf %0200d $i)"; i=$((i+1)); done
        echo $$"#;
    let mut command = Command::new(cases::proxytrace());
    command.args(["--quiet", "--record"]).arg(pipe).args(["--", "sh", "-c", script]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let command: i32 = line.trim().parse().unwrap();
    until("over", || state(command).is_none());
    (run, reader)
}

/// When the command has ended, what is sent to us is for nobody else.
#[test]
fn who_waits_for_a_reader_can_be_ended() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut run, reader) = waits_for_a_reader(&directory.path().join("pipe"));
    let mut ended = None;
    until("ended", || {
        ended = run.try_wait().unwrap();
        if ended.is_none() {
            send(libc::SIGTERM, id(&run));
        }
        ended.is_some()
    });
    assert_eq!(ended.unwrap().signal(), Some(libc::SIGTERM));
    drop(reader);
}

/// As by a CI that cancels a job: one after another, in a row.
#[test]
fn what_comes_with_the_end_costs_no_recording() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let (mut run, reader) = waits_for_a_reader(&pipe);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        send(libc::SIGTERM, id(&run));
        sleep(Duration::from_millis(50));
    }
    // By now whoever wants to end us would.
    sleep(Duration::from_secs(2));
    let mut late = fs::File::open(&pipe).unwrap();
    drop(reader);
    late.read_to_end(&mut Vec::new()).unwrap();
    let status = run.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

/// Whoever stops or continues one of the two has never heard of the other.
#[test]
fn the_command_or_we_alone_stop_and_go_on() {
    if !can_trace() {
        return;
    }
    // The command is stopped and continued, by itself: once it has stopped, and we have had time to
    // see that.
    let script = r#"(until grep -q ') T ' "/proc/$$/stat"; do sleep 0.01; done
        sleep 0.3; kill -CONT $$) &
        kill -STOP $$; /bin/true && exit 7"#;
    let mut child = traced("sh").args(["-c", script]).spawn().unwrap();
    let mut ended = None;
    until("ended", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(7));

    // We are.
    let mut child = traced("sh")
        .args(["-c", "echo $$; read line; exit 7"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let command = said_pid(&mut child);
    send(libc::SIGTSTP, id(&child));
    until("stopped", || state(command) == Some('T') && state(id(&child)) == Some('T'));
    send(libc::SIGCONT, id(&child));
    until("continued", || state(command) != Some('T') && state(id(&child)) != Some('T'));
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
