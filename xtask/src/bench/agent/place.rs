//! Builds, and an agent that watches them.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::receiver::Receiver;
use crate::bench::series::cpu_of_children;

/// Until the last of what is exported every five seconds has been.
pub(super) const FLUSH: Duration = Duration::from_secs(8);

/// What is built, always into an empty module cache.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Build {
    /// `go mod download`: nothing but requests, which are answered at once.
    Download,
    /// The same of a proxy that takes 5 ms for each answer.
    FarDownload,
    /// `go build`: the modules are compiled as well, and linked; the standard library has been.
    Whole,
}

/// Where builds run, in memory.
pub(super) struct Place {
    proxytrace: PathBuf,
    dir: PathBuf,
}

impl Place {
    pub(super) fn new(proxytrace: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = dir.join(format!("proxytrace-bench-agent-{}", process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self { proxytrace: proxytrace.to_owned(), dir })
    }

    /// A build; its time, and that of the processor, in seconds.
    pub(super) fn build(&self, what: Build) -> Result<[f64; 2]> {
        let modules = self.dir.join("mod");
        remove(&modules)?;
        let built = self.dir.join("built");
        if what == Build::Whole {
            // What is compiled again is what a build before has compiled.
            remove(&built)?;
            copy(&self.compiled()?, &built)?;
        }
        let words: &[&str] = match what {
            Build::Download | Build::FarDownload => &["mod", "download"],
            Build::Whole => &["build", "-modcacherw", "-o", "/dev/null", "."],
        };
        let mut command = go(words);
        command.env("GOMODCACHE", &modules).env("GOCACHE", &built);
        if what == Build::FarDownload {
            command.env("GOPROXY", "https://far.lab");
        }
        let (start, before) = (Instant::now(), cpu_of_children()?);
        let status = command.status()?;
        let took = [start.elapsed(), cpu_of_children()?.saturating_sub(before)];
        ensure!(status.success(), "a build ended with {status}");
        Ok(took.map(|took| took.as_secs_f64()))
    }

    /// A build cache that has of the standard library what every program needs.
    fn compiled(&self) -> Result<PathBuf> {
        let compiled = self.dir.join("compiled");
        if !compiled.exists() {
            let status = go(&["build", "runtime"]).env("GOCACHE", &compiled).status()?;
            ensure!(status.success(), "the standard library: {status}");
        }
        Ok(compiled)
    }

    /// An agent that hands nothing on.
    pub(super) fn agent(&self, share: &str) -> Result<Agent> {
        self.agent_with(share, ["--metrics", "off"].map(OsStr::new))
    }

    /// One that hands on everything in every way.
    pub(super) fn exporting(&self, share: &str, receiver: &Receiver) -> Result<Agent> {
        let (files, queue) = (self.dir.join("files"), self.dir.join("queue"));
        let (metrics, url) = (receiver.metrics.to_string(), format!("http://{}", receiver.address));
        let textfile = self.dir.join("p.prom");
        self.agent_with(
            share,
            [
                OsStr::new("--metrics"),
                OsStr::new(&metrics),
                OsStr::new("--otlp"),
                OsStr::new(&url),
                OsStr::new("--clickhouse"),
                OsStr::new(&url),
                OsStr::new("--ndjson"),
                files.as_os_str(),
                OsStr::new("--queue"),
                queue.as_os_str(),
                OsStr::new("--textfile"),
                textfile.as_os_str(),
            ],
        )
    }

    fn agent_with<'a>(
        &self,
        share: &str,
        options: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Agent> {
        let state = self.dir.join("state.json");
        let mut command = Command::new(&self.proxytrace);
        command.args(["agent", "--sample", share, "--state"]).arg(&state);
        command.args(options);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("a pipe")?);
        let mut line = String::new();
        while !line.contains("msg=watching") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the agent has ended");
        }
        // Whoever writes must be read; and what goes wrong is to be seen.
        thread::spawn(move || {
            let wrong = |line: &String| line.contains("level=warn") || line.contains("level=error");
            log.lines().map_while(Result::ok).filter(wrong).for_each(|line| eprintln!("{line}"));
        });
        Ok(Agent { child, state })
    }

    /// How much of the lines of JSON has been packed away: files that were full.
    pub(super) fn packed(&self) -> Result<usize> {
        let names = fs::read_dir(self.dir.join("files"))?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        Ok(names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".gz")).count())
    }
}

/// A go command that says nothing.
fn go(words: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn remove(dir: &Path) -> io::Result<()> {
    if dir.exists() { fs::remove_dir_all(dir) } else { Ok(()) }
}

/// Copies a directory and all below it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left behind is a temporary directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// An agent that watches, until this is dropped.
pub(super) struct Agent {
    child: Child,
    state: PathBuf,
}

impl Agent {
    /// Processor time so far, in seconds.
    pub(super) fn processor(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(") ").context("no name")?.1;
        // `utime` and `stime` of proc(5), in ticks of ten milliseconds.
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
    }

    /// Resident memory now, and the most since the agent was [settled](Self::settle), in bytes.
    pub(super) fn resident(&self) -> Result<[u64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
            anyhow::Ok(kilobytes.context("no such line")?.trim().parse::<u64>()? << 10)
        };
        Ok([line("VmRSS:")?, line("VmHWM:")?])
    }

    /// Lets it be done with starting: what that took is not what it takes from then on.
    pub(super) fn settle(&self) -> Result<()> {
        thread::sleep(Duration::from_secs(2));
        // The peak is counted anew (proc(5), clear_refs).
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Fails unless so many builds were handed on, or more as others on this host build as well, and
    /// nothing was lost.
    pub(super) fn check(&self, builds: u32) -> Result<()> {
        let state: Value = serde_json::from_str(&fs::read_to_string(&self.state)?)?;
        let (handed_on, health) = (&state["handed_on"], &state["health"]);
        let enough = handed_on.as_u64() >= Some(builds.into());
        ensure!(enough, "{handed_on} of {builds} builds were handed on");
        ensure!(health["lost"] == 0 && health["abandoned"] == 0, "something was lost: {health}");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
