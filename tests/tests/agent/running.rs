//! An agent that runs, and what it says.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use proxytrace::agent::state::State;
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::toolchain::Toolchain;
use serde::Deserialize;
use tempfile::TempDir;

/// How long something may take that is to happen at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// A build as `--once` writes it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Build {
    pub(crate) share: f64,
    pub(crate) container: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) job: std::collections::BTreeMap<String, String>,
    pub(crate) trace: Trace,
}

/// An agent that runs, until this is dropped.
pub(crate) struct Agent {
    child: Child,
    /// What it writes, and what that is.
    lines: Arc<Mutex<Vec<String>>>,
    builds: Arc<Mutex<Vec<Build>>>,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// None once another one has it.
    dir: Option<TempDir>,
}

/// A toolchain for an agent, and one test at a time: each has probes in the same files, and sees what
/// the tests of others do. None, aloud, where there can be no agent.
pub(crate) fn alone() -> Option<(MutexGuard<'static, ()>, Toolchain)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let toolchain = cases::newest()?;
    Some((ALONE.lock().unwrap_or_else(PoisonError::into_inner), toolchain))
}

impl Agent {
    /// Starts one that knows this toolchain, and waits until it watches.
    pub(crate) fn start(toolchain: &Toolchain, options: &[&str]) -> Self {
        let agent = Self::begin(toolchain, options);
        agent.watches();
        agent
    }

    /// Waits until it watches.
    pub(crate) fn watches(&self) {
        // As either format of the log has it.
        let said = ["msg=watching", "\"msg\":\"watching\""];
        let is_it = |line: &String| said.iter().any(|said| line.contains(said));
        self.until("watching", || self.log().iter().any(is_it));
    }

    /// The same, without the waiting.
    pub(crate) fn begin(toolchain: &Toolchain, options: &[&str]) -> Self {
        Self::begin_with(toolchain, options, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn begin_with(
        toolchain: &Toolchain,
        options: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Self {
        Self::spawn(Command::new(cases::proxytrace()), toolchain, options, environment, None)
    }

    /// The same, by a command that executes what is added to it, and with the directory of one that
    /// was before it.
    pub(crate) fn spawn(
        mut command: Command,
        toolchain: &Toolchain,
        options: &[&str],
        environment: &[(&str, &OsStr)],
        dir: Option<TempDir>,
    ) -> Self {
        let dir = dir.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = [toolchain.goroot.join("bin")].into_iter();
        let path = path.chain(std::env::split_paths(&inherited));
        command
            .args(["agent", "--once", "--for", "1h", "--state"])
            .arg(dir.path().join("state.json"))
            .args(options)
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, builds, log) = (Arc::default(), Arc::default(), Arc::default());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let readers = vec![
            thread::spawn({
                let lines: Arc<Mutex<Vec<String>>> = Arc::clone(&lines);
                let builds: Arc<Mutex<Vec<Build>>> = Arc::clone(&builds);
                move || {
                    for line in stdout.lines().map(Result::unwrap) {
                        builds.lock().unwrap().push(serde_json::from_str(&line).unwrap());
                        lines.lock().unwrap().push(line);
                    }
                }
            }),
            thread::spawn({
                let log: Arc<Mutex<Vec<String>>> = Arc::clone(&log);
                move || stderr.lines().for_each(|line| log.lock().unwrap().push(line.unwrap()))
            }),
        ];
        Self { child, lines, builds, log, readers, dir: Some(dir) }
    }

    /// Waits, not for ever.
    pub(crate) fn until(&self, what: &str, reached: impl Fn() -> bool) {
        self.until_within(PATIENCE, what, reached);
    }

    /// Waits so long at most.
    pub(crate) fn until_within(&self, most: Duration, what: &str, reached: impl Fn() -> bool) {
        let start = Instant::now();
        while !reached() {
            let is_there = Path::new("/proc").join(self.pid().to_string()).join("exe").exists();
            assert!(is_there, "it has ended, and never {what}: {:#?}", self.log());
            assert!(start.elapsed() < most, "never {what}: {:#?}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ticked five times and more, with all that it does at each: with every fifth
    /// it writes its state by itself.
    pub(crate) fn ticks(&self) {
        let path = self.dir().join("state.json");
        let written_at = || State::read(&path).ok().map(|state| state.written_at);
        for what in ["written its state", "written its state again"] {
            let before = written_at();
            self.until(what, || written_at() > before);
        }
    }

    /// What it has written to stdout.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn builds(&self) -> Vec<Build> {
        self.builds.lock().unwrap().clone()
    }

    /// The builds for which the CI job says this of itself.
    pub(crate) fn builds_of(&self, run: &str) -> Vec<Build> {
        let is_it = |build: &Build| build.job.get(RUN).is_some_and(|name| name == run);
        self.builds().into_iter().filter(is_it).collect()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a system call on a process that this test started and has not reaped.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// How it does, from now on: it writes that when it has read its settings again.
    pub(crate) fn state(&self) -> State {
        let path: PathBuf = self.dir().join("state.json");
        let asked = jiff::Timestamp::now();
        self.signal(libc::SIGHUP);
        let fresh = || State::read(&path).ok().filter(|state| state.written_at > asked);
        self.until("written its state", || fresh().is_some());
        State::read(&path).unwrap()
    }

    /// Asks it to end, and waits until it has said everything.
    pub(crate) fn end(self) -> (ExitStatus, Vec<Build>, Vec<String>) {
        let (status, builds, log, _) = self.end_by(libc::SIGTERM);
        (status, builds, log)
    }

    /// Ends it by a signal; yields its directory, too.
    pub(crate) fn end_by(mut self, signal: i32) -> (ExitStatus, Vec<Build>, Vec<String>, TempDir) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, self.builds(), self.log(), self.dir.take().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The attribute that a test sets to know its builds.
pub(crate) const RUN: &str = "cicd.pipeline.run.id";

/// The environment of a job on GitHub's runners with this id.
pub(crate) fn job(run: &str) -> [(&'static str, String); 2] {
    [("GITHUB_ACTIONS", "true".to_owned()), ("GITHUB_RUN_ID", run.to_owned())]
}

/// A build that asks no proxy, for a job with this id.
pub(crate) fn version(toolchain: &Toolchain, run: &str) {
    let mut command = Command::new(toolchain.goroot.join("bin/go"));
    command.arg("version").envs(job(run)).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
}

/// The compressed files of builds that an agent has written there, in the order of their names.
pub(crate) fn changed(files: &Path) -> Vec<PathBuf> {
    let mut changed: Vec<_> = fs::read_dir(files).unwrap().map(|it| it.unwrap().path()).collect();
    changed.retain(|path| {
        let is_of_builds = path.file_name().unwrap().to_str().unwrap().starts_with("builds-");
        is_of_builds && path.extension() == Some(OsStr::new("gz"))
    });
    changed.sort();
    changed
}

/// The lines of builds there, those of the file that grows at last, if there is one.
pub(crate) fn lines(files: &Path) -> String {
    let mut text = String::new();
    for path in changed(files) {
        GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    }
    text + &fs::read_to_string(files.join("builds.ndjson")).unwrap_or_default()
}
