//! `cargo xtask bench agent`: what the fleet agent costs the host that it watches.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, process};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use xtask::process::{as_root, read, status};
use xtask::{bpf, go, workspace};

use crate::build;

/// Modules of a build, and the requests for each.
const MODULES: u32 = 40;
/// Rounds of builds beside an agent and without, after one that does not count.
const ROUNDS: usize = 24;
/// How long the agent is watched at rest, and under load.
const REST: Duration = Duration::from_secs(30);
const LOAD: Duration = Duration::from_mins(1);
/// Builds a minute under load.
const RATE: u32 = 50;
/// How many builds an hour of that is, how many of them run at a time when it is gone through faster,
/// and after how many memory is looked at.
const HOUR: u32 = 60 * RATE;
const PARALLEL: u32 = 2;
const LOOK: u32 = HOUR / 20;
/// How often Prometheus asks.
const SCRAPE: Duration = Duration::from_secs(15);
/// What the agent may take: bytes, a part of one processor, and the time of a build that it passes
/// over, to that without an agent.
const MEMORY_MAX: u64 = 32 << 20;
const CPU_MAX: f64 = 0.01;
const UNSAMPLED_MAX: f64 = 1.01;

/// What is measured: costs, or memory over as many builds as an hour has.
const COSTS: &str = "costs";
const MEMORY: &str = "memory";

/// Measures, prints the figures beside their budgets, and writes `target/bench-agent.json`; or an
/// hour's builds, and `target/bench-agent-memory.json`.
pub(crate) fn bench(hour: bool) -> Result<()> {
    let (what, name) = if hour { (MEMORY, "bench-agent-memory") } else { (COSTS, "bench-agent") };
    bpf::setup()?;
    let goroot = go::install(go::VERSIONS[go::VERSIONS.len() - 1])?;
    // What users have is a release build.
    let programs = build::programs(true)?;
    status("Measuring", "the agent");
    let mut lab = as_root(&programs.lab);
    lab.args(["run", "bench", "--modules", &MODULES.to_string(), "--go"]).arg(goroot);
    lab.arg("--")
        .arg(std::env::current_exe()?)
        .arg("bench-agent")
        .arg(&programs.proxytrace)
        .arg(what);
    let measured: Value =
        serde_json::from_str(&read(&mut lab)?).context("no measurements came back")?;
    println!("{}", if hour { over_time(&measured)? } else { table(&measured)? });
    let file = workspace().join("target").join(name).with_extension("json");
    fs::write(&file, format!("{measured:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    status("Wrote", file.display());
    Ok(())
}

/// The half that runs inside the lab. Arguments: proxytrace, and what to measure.
pub(crate) fn measure(arguments: &[OsString]) -> Result<()> {
    let [proxytrace, what] = arguments else {
        bail!("this is a half of `cargo xtask bench agent`")
    };
    let place = Place::new(Path::new(proxytrace))?;
    if what == MEMORY {
        println!("{}", place.hour()?);
        return Ok(());
    }
    let slow_down = place.slow_down()?;
    let mut steady = Vec::new();
    for (name, share, load, exports) in [
        ("at rest", "1", false, false),
        ("50 builds a minute, none chosen", "0", true, false),
        ("50 builds a minute, one in twenty chosen", "5%", true, false),
        ("50 builds a minute, all chosen", "1", true, false),
        ("the same, and all exporters", "1", true, true),
    ] {
        steady.push(place.steady(name, share, load, exports)?);
    }
    println!("{}", json!({ "slow_down": slow_down, "steady": steady }));
    Ok(())
}

struct Place {
    proxytrace: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn new(proxytrace: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = dir.join(format!("proxytrace-bench-agent-{}", process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self { proxytrace: proxytrace.to_owned(), dir })
    }

    /// A build into an empty cache; its time in seconds.
    fn build(&self) -> Result<f64> {
        self.build_into("mod")
    }

    fn build_into(&self, name: &str) -> Result<f64> {
        let cache = self.dir.join(name);
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        let mut command = Command::new("go");
        command.args(["mod", "download"]).env("GOMODCACHE", &cache);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        ensure!(status.success(), "a build ended with {status}");
        Ok(start.elapsed().as_secs_f64())
    }

    fn agent(&self, share: &str) -> Result<Agent> {
        self.agent_with(share, ["--metrics", "off"].map(OsStr::new))
    }

    /// One that hands on everything in every way: to this receiver, and to who asks at this port.
    fn exporting(&self, share: &str, port: u16, receiver: SocketAddr) -> Result<Agent> {
        let (files, queue) = (self.dir.join("files"), self.dir.join("queue"));
        let (metrics, url) = (format!("127.0.0.1:{port}"), format!("http://{receiver}"));
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
        let mut command = Command::new(&self.proxytrace);
        command.args(["agent", "--sample", share, "--state"]).arg(self.dir.join("state.json"));
        command.args(options);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("a pipe")?);
        let mut line = String::new();
        while !line.contains("msg=watching") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the agent has ended");
        }
        // Whoever writes must be read.
        thread::spawn(move || log.lines().for_each(drop));
        Ok(Agent(child))
    }

    /// Times of builds without an agent and beside one, round by round.
    fn slow_down(&self) -> Result<Value> {
        const WAYS: [(&str, Option<&str>); 4] = [
            ("no agent", None),
            ("no agent, control", None),
            ("passed over", Some("0")),
            ("chosen", Some("1")),
        ];
        let mut seconds = WAYS.map(|_| Vec::new());
        for round in 0..=ROUNDS {
            for ((_, share), seconds) in WAYS.iter().zip(&mut seconds) {
                let agent = share.map(|share| self.agent(share)).transpose()?;
                let took = self.build()?;
                drop(agent);
                if round > 0 {
                    seconds.push(took);
                }
            }
        }
        let [bare, ..] = &seconds;
        let rows = WAYS.iter().zip(&seconds).map(|((name, _), seconds)| {
            let ratios: Vec<f64> = seconds.iter().zip(bare).map(|(one, bare)| one / bare).collect();
            json!({ "way": name, "seconds": seconds, "median": median(seconds),
                    "ratio": median(&ratios) })
        });
        Ok(rows.collect())
    }

    /// Processor and memory of the agent over some time.
    fn steady(&self, name: &str, share: &str, load: bool, exports: bool) -> Result<Value> {
        let agent = if exports {
            let port = TcpListener::bind(LOOPBACK)?.local_addr()?.port();
            let agent = self.exporting(share, port, receive()?)?;
            scrape(port);
            agent
        } else {
            self.agent(share)?
        };
        // What starting took is not what it takes from then on.
        thread::sleep(Duration::from_secs(2));
        let before = agent.processor()?;
        let start = Instant::now();
        let mut builds = 0;
        let mut most = 0;
        if load {
            while start.elapsed() < LOAD {
                let next = Duration::from_mins(1) / RATE * builds;
                thread::sleep(next.saturating_sub(start.elapsed()));
                self.build()?;
                builds += 1;
                most = most.max(agent.resident()?);
            }
        } else {
            thread::sleep(REST);
            most = agent.resident()?;
        }
        let processor = (agent.processor()? - before) / start.elapsed().as_secs_f64();
        Ok(json!({ "name": name, "builds": builds, "processor": processor, "resident": most }))
    }
}

impl Place {
    /// Memory of an agent that sees as many builds as there are in an hour, one after the other as
    /// fast as they go, with all exporters.
    fn hour(&self) -> Result<Value> {
        let port = TcpListener::bind(LOOPBACK)?.local_addr()?.port();
        let agent = self.exporting("1", port, receive()?)?;
        scrape(port);
        let start = Instant::now();
        let (begun, done) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut rows = Vec::new();
        thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..PARALLEL)
                .map(|worker| {
                    let (begun, done) = (&begun, &done);
                    scope.spawn(move || -> Result<()> {
                        while begun.fetch_add(1, Ordering::Relaxed) < HOUR {
                            self.build_into(&format!("mod{worker}"))?;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(())
                    })
                })
                .collect();
            let mut next = 0;
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let builds = done.load(Ordering::Relaxed);
                if builds >= next {
                    next = builds / LOOK * LOOK + LOOK;
                    let seconds = start.elapsed().as_secs_f64();
                    rows.push(json!({ "builds": builds, "seconds": seconds,
                                      "resident": agent.resident()?,
                                      "processor": agent.processor()? }));
                }
                thread::sleep(Duration::from_millis(100));
            }
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => bail!("a worker has panicked"),
            })
        })?;
        let seconds = start.elapsed().as_secs_f64();
        rows.push(json!({ "builds": done.into_inner(), "seconds": seconds,
                          "resident": agent.resident()?, "processor": agent.processor()? }));
        Ok(rows.into())
    }
}

const LOOPBACK: &str = "127.0.0.1:0";

/// Takes every POST and says nothing, until this process ends.
fn receive() -> Result<SocketAddr> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that breaks off ends with its connection.
            thread::spawn(move || answer(&stream).unwrap_or_default());
        }
    });
    Ok(address)
}

fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(("content-length", value)) = line.to_lowercase().split_once(':') {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// Asks for metrics now and then, as Prometheus does, until this process ends or nobody answers.
fn scrape(port: u16) {
    thread::spawn(move || {
        loop {
            thread::sleep(SCRAPE);
            let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                stream
                    .write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
                stream.read_to_end(&mut Vec::new())
            });
            if asked.is_err() {
                return;
            }
        }
    });
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left behind is a temporary directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// An agent that watches, until this is dropped.
struct Agent(Child);

impl Agent {
    /// Processor time so far, in seconds.
    fn processor(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit_once(") ").context("no name")?.1;
        // `utime` and `stime` of proc(5), in ticks of ten milliseconds.
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
    }

    /// Resident memory, in bytes.
    fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes.context("no VmRSS")?.trim().parse::<u64>()? << 10)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn table(measured: &Value) -> Result<String> {
    let mut text = format!("builds of {MODULES} modules, {ROUNDS} rounds\n");
    let number = |value: &Value| value.as_f64().context("no number");
    let list = |name: &str| measured[name].as_array().cloned().unwrap_or_default();
    for row in list("slow_down") {
        let (median, ratio) = (number(&row["median"])?, number(&row["ratio"])?);
        let budget = if row["way"] == "passed over" {
            format!("  (budget {UNSAMPLED_MAX})")
        } else {
            String::new()
        };
        let way = row["way"].as_str().unwrap_or("?");
        writeln!(text, "{way:<42}{:>9.1} ms{ratio:>8.3}{budget}", median * 1000.0)?;
    }
    writeln!(text, "\n{:<42}{:>12}{:>12}", "agent", "processor", "memory")?;
    for row in list("steady") {
        let (processor, bytes) = (number(&row["processor"])?, number(&row["resident"])?);
        let (name, mib) = (row["name"].as_str().unwrap_or("?"), bytes / f64::from(1 << 20));
        writeln!(text, "{name:<42}{:>10.2} %{mib:>8.1} MiB", processor * 100.0)?;
    }
    writeln!(text, "{:<42}{:>10.2} %{:>8} MiB", "budget", CPU_MAX * 100.0, MEMORY_MAX >> 20)?;
    Ok(text)
}

/// Memory, as it was while builds went by.
fn over_time(rows: &Value) -> Result<String> {
    let mut text = format!(
        "{HOUR} builds of {MODULES} modules, as in an hour at {RATE} a minute, {PARALLEL} at a time\n\
         {:>8}{:>10}{:>14}{:>14}\n",
        "builds", "seconds", "memory, MiB", "processor, s"
    );
    for row in rows.as_array().context("no rows")? {
        let number = |name: &str| row[name].as_f64().context("no number");
        let (builds, seconds) = (number("builds")?, number("seconds")?);
        let (mib, processor) = (number("resident")? / f64::from(1 << 20), number("processor")?);
        writeln!(text, "{builds:>8}{seconds:>10.0}{mib:>14.1}{processor:>14.2}")?;
    }
    writeln!(text, "{:>8}{:>24}", "budget", MEMORY_MAX >> 20)?;
    Ok(text)
}

/// The middle value, the upper one of two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
