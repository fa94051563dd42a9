//! Builds between two agents: none goes uncounted, however the first one ended.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use proxytrace_tests::cases;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::waiting::Waiting;
use sendfd::RecvWithFd as _;
use tempfile::TempDir;

use crate::running::{Agent, alone, version};

/// What a service manager does for a unit with `FileDescriptorStoreMax=` (`sd_notify(3)`,
/// `sd_listen_fds(3)`).
struct Manager {
    path: PathBuf,
    store: Arc<Mutex<Vec<(String, OwnedFd)>>>,
    ready: Receiver<()>,
    _dir: TempDir,
}

/// Watches every build.
const ALL: [&str; 2] = ["--sample", "1"];
/// Numbers that no descriptor has in the process of a test.
const AWAY: RawFd = 500;
/// Where descriptors begin that are handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let store = Arc::default();
        let (tell, ready) = channel();
        thread::spawn({
            let store = Arc::clone(&store);
            move || listen(&socket, &store, &tell)
        });
        Self { path, store, ready, _dir: dir }
    }

    /// How much it holds.
    fn held(&self) -> usize {
        self.store.lock().unwrap().len()
    }

    /// Starts an agent, and hands over what the one before it left.
    fn start(&self, toolchain: &Toolchain, options: &[&str], dir: Option<TempDir>) -> Agent {
        let agent = self.begin(toolchain, options, dir);
        self.ready.recv_timeout(Duration::from_secs(20)).expect("an agent that is ready");
        agent
    }

    /// The same, without waiting until it is ready.
    fn begin(&self, toolchain: &Toolchain, options: &[&str], dir: Option<TempDir>) -> Agent {
        let mut command = Command::new("sh");
        // The pid is that of what is executed.
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(cases::proxytrace());
        // The one before said so again after each reload.
        while self.ready.try_recv().is_ok() {}
        let store = self.store.lock().unwrap();
        let names: Vec<&str> = store.iter().map(|(name, _)| &**name).collect();
        let (names, count) = (names.join(":"), names.len().to_string());
        let descriptors: Vec<RawFd> = store.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        let hand_over = move || {
            let done = |fd: RawFd| if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) };
            // SAFETY: system calls on numbers, between fork and exec.
            unsafe {
                for (fd, away) in descriptors.iter().zip(AWAY..) {
                    done(libc::dup2(*fd, away))?;
                }
                for (at, away) in (FIRST..).zip(AWAY..).take(descriptors.len()) {
                    done(libc::dup2(away, at))?;
                    done(libc::close(away))?;
                }
            }
            Ok(())
        };
        // SAFETY: it makes system calls alone.
        unsafe { command.pre_exec(hand_over) };
        let environment = [
            ("NOTIFY_SOCKET", self.path.as_os_str()),
            ("LISTEN_FDS", OsStr::new(&count)),
            ("LISTEN_FDNAMES", OsStr::new(&names)),
        ];
        Agent::spawn(command, toolchain, options, &environment, dir)
    }
}

/// Takes and gives up what it is asked to, and tells when an agent is ready.
fn listen(socket: &UnixDatagram, store: &Mutex<Vec<(String, OwnedFd)>>, ready: &Sender<()>) {
    loop {
        let (mut message, mut descriptors) = ([0; 512], [-1; 8]);
        let Ok((length, count)) = socket.recv_with_fd(&mut message, &mut descriptors) else {
            return;
        };
        let taken = descriptors[..count].iter().map(|fd| {
            // SAFETY: the kernel has just made it for this process.
            unsafe { OwnedFd::from_raw_fd(*fd) }
        });
        let taken: Vec<OwnedFd> = taken.collect();
        let message = String::from_utf8_lossy(&message[..length]);
        let said: BTreeMap<&str, &str> =
            message.lines().filter_map(|line| line.split_once('=')).collect();
        let name = said.get("FDNAME").copied().unwrap_or_default();
        if said.contains_key("FDSTOREREMOVE") {
            store.lock().unwrap().retain(|(of, _)| of != name);
        }
        if said.contains_key("FDSTORE") {
            // It would look after what is in the store, and throw out what seems to be broken.
            assert_eq!(said.get("FDPOLL"), Some(&"0"), "{said:?}");
            store.lock().unwrap().extend(taken.into_iter().map(|fd| (name.to_owned(), fd)));
        }
        // Who starts nobody more does not listen.
        if said.contains_key("READY") && ready.send(()).is_err() {
            return;
        }
    }
}

#[test]
fn builds_between_two_agents_are_counted() {
    let Some((_alone, toolchain)) = alone() else { return };
    // What runs as one is asked to end it hands on as far as that was seen, and the next has missed it.
    for (signal, unwatched, missed) in [(libc::SIGTERM, 3, 1), (libc::SIGKILL, 4, 0)] {
        let manager = Manager::new();
        let first = manager.start(&toolchain, &ALL, None);
        let held = manager.held();
        assert!(held >= 5, "{held} are less than three links and two maps");
        version(&toolchain, "seen");
        first.until("seen it", || first.builds_of("seen").len() == 1);
        let waiting = Waiting::start(&toolchain, []).unwrap();
        first.until("met it", || first.state().health.running == 1);
        let (_, _, _, dir) = first.end_by(signal);

        // Nobody has probes now.
        for _ in 0..3 {
            version(&toolchain, "between");
        }
        let second = manager.start(&toolchain, &ALL, Some(dir));
        second.watches();
        let health = second.state().health;
        assert_eq!(
            (health.unwatched, health.missed),
            (unwatched, missed),
            "{signal}: {:#?}",
            second.log()
        );
        assert!((1..60_000_000_000).contains(&health.unwatched_ns), "{health:?}");
        assert_eq!(manager.held(), held, "of the first, nothing is held any more");
        version(&toolchain, "after");
        second.until("seen it", || second.builds_of("after").len() == 1);
        drop(waiting);

        // They stay counted, and what is not to be seen is not missed.
        let (status, _, _, dir) = second.end_by(libc::SIGTERM);
        assert!(status.success());
        let third = manager.start(&toolchain, &["--sample", "0"], Some(dir));
        third.watches();
        let health = third.state().health;
        assert_eq!((health.unwatched, health.missed), (unwatched, 0), "{:#?}", third.log());
        let (_, _, _, dir) = third.end_by(signal);
        version(&toolchain, "between");

        // One that is to watch nothing keeps the count, and has nothing held.
        let switch = dir.path().join("off");
        fs::write(&switch, "").unwrap();
        let off =
            manager.start(&toolchain, &["--kill-switch", switch.to_str().unwrap()], Some(dir));
        off.until("off", || off.log().iter().any(|line| line.contains("nothing is watched")));
        assert_eq!((off.state().health.unwatched, manager.held()), (unwatched, 0));
        let (_, _, _, dir) = off.end_by(signal);
        let fourth = manager.start(&toolchain, &ALL, Some(dir));
        fourth.watches();
        assert_eq!(fourth.state().health.unwatched, unwatched, "{:#?}", fourth.log());
    }
}

/// As where its port is another one's.
#[test]
fn an_agent_that_does_not_start_takes_nothing_from_the_count() {
    let Some((_alone, toolchain)) = alone() else { return };
    let manager = Manager::new();
    let first = manager.start(&toolchain, &ALL, None);
    first.watches();
    let held = manager.held();
    let (_, _, _, dir) = first.end_by(libc::SIGKILL);
    version(&toolchain, "between");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    // No signal: it ends by itself.
    let second = manager.begin(&toolchain, &["--sample", "1", "--metrics", &port], Some(dir));
    let (status, _, log, dir) = second.end_by(0);
    assert!(!status.success(), "{log:#?}");
    assert_eq!(manager.held(), held, "what the first left is held");
    let third = manager.start(&toolchain, &ALL, Some(dir));
    third.watches();
    assert_eq!(third.state().health.unwatched, 1, "{:#?}", third.log());
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// However many come: each is in one count.
#[test]
fn builds_while_one_agent_follows_another_are_in_one_count_each() {
    let Some((_alone, toolchain)) = alone() else { return };
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let manager = Manager::new();
        let first = manager.start(&toolchain, &ALL, None);
        let (is_over, built) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (seen, health) = thread::scope(|scope| {
            let builder = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    version(&toolchain, "many");
                    built.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Whatever fails here, the builder ends.
            let over = Over(&is_over);
            first.until("seen some", || first.builds_of("many").len() > 20);
            let (_, before, _, dir) = first.end_by(signal);
            // Some are built that nobody sees.
            let (enough, ended) = (built.load(Ordering::Relaxed) + 10, Instant::now());
            while built.load(Ordering::Relaxed) < enough {
                assert!(ended.elapsed() < Duration::from_mins(1), "nobody builds");
                thread::sleep(Duration::from_millis(20));
            }
            let second = manager.start(&toolchain, &ALL, Some(dir));
            second.watches();
            second.until("seen some", || second.builds_of("many").len() > 20);
            drop(over);
            builder.join().unwrap();
            second.until("seen all", || second.state().health.running == 0);
            let health = second.state().health;
            let (_, after, _, _) = second.end_by(libc::SIGTERM);
            ((before.len(), after.len()), health)
        });
        let built = built.into_inner();
        let counted = seen.0 + seen.1 + usize::try_from(health.unwatched + health.missed).unwrap();
        assert!(health.unwatched > 5, "{health:?}");
        // One that is killed may have written a build, and not yet said so.
        let most = built + usize::from(signal == libc::SIGKILL);
        assert!(
            (built..=most).contains(&counted),
            "{signal}: {counted} of {built}, {seen:?}, {health:?}"
        );
    }
}
