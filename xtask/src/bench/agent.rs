//! `cargo xtask bench agent`: what the fleet agent costs the host that it watches.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
/// What the agent may take: bytes, a part of one processor, and the time of a build that it passes
/// over, to that without an agent.
const MEMORY_MAX: u64 = 32 << 20;
const CPU_MAX: f64 = 0.01;
const UNSAMPLED_MAX: f64 = 1.01;

/// Measures, prints the figures beside their budgets, and writes `target/bench-agent.json`.
pub(crate) fn bench() -> Result<()> {
    bpf::setup()?;
    let goroot = go::install(go::VERSIONS[go::VERSIONS.len() - 1])?;
    // What users have is a release build.
    let programs = build::programs(true)?;
    status("Measuring", "the agent");
    let mut lab = as_root(&programs.lab);
    lab.args(["run", "bench", "--modules", &MODULES.to_string(), "--go"]).arg(goroot);
    lab.arg("--").arg(std::env::current_exe()?).arg("bench-agent").arg(&programs.proxytrace);
    let measured: Value =
        serde_json::from_str(&read(&mut lab)?).context("no measurements came back")?;
    println!("{}", table(&measured)?);
    let file = workspace().join("target/bench-agent.json");
    fs::write(&file, format!("{measured:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    status("Wrote", file.display());
    Ok(())
}

/// The half that runs inside the lab. Argument: proxytrace.
pub(crate) fn measure(arguments: &[OsString]) -> Result<()> {
    let [proxytrace] = arguments else { bail!("this is a half of `cargo xtask bench agent`") };
    let place = Place::new(Path::new(proxytrace))?;
    let slow_down = place.slow_down()?;
    let mut steady = Vec::new();
    for (name, share, load) in [
        ("at rest", "1", false),
        ("50 builds a minute, none chosen", "0", true),
        ("50 builds a minute, one in twenty chosen", "5%", true),
        ("50 builds a minute, all chosen", "1", true),
    ] {
        steady.push(place.steady(name, share, load)?);
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
        let cache = self.dir.join("mod");
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
        let mut command = Command::new(&self.proxytrace);
        command.args(["agent", "--metrics", "off", "--sample", share, "--state"]);
        command.arg(self.dir.join("state.json"));
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
    fn steady(&self, name: &str, share: &str, load: bool) -> Result<Value> {
        let agent = self.agent(share)?;
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

/// The middle value, the upper one of two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
