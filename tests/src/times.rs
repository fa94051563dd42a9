//! What a user waits for: a short command and a download, with and without proxytrace, and one run
//! straight after another, whose probes are still being taken out.
//!
//! To be read, not judged: an emulated machine, or one that does other things too, takes any time. What
//! fails here is a process of proxytrace's that does not end.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{self, Lab};
use crate::scenario::Scenario;
use crate::toolchain::Toolchain;

/// How often each is run, but once on machines that are slow; the median counts.
const RUNS: usize = 3;
const SCENARIO: &str = "healthy-h1";
/// How long probes may take to be out: emulated, for each one by itself, on a machine that is busy.
const OUT_LIMIT: Duration = Duration::from_mins(2);
const OUT_INTERVAL: Duration = Duration::from_millis(5);

/// Runs all of them, and says how long they took, in one line.
pub fn measure(proxytrace: &Path, toolchain: &Toolchain) -> Result<String> {
    let scenario = Scenario::find(SCENARIO).context("no such scenario")?;
    let runs = if lab::is_slow() { 1 } else { RUNS };
    let mut said = String::new();
    for (name, arguments) in
        [("go version", &["version"][..]), ("go mod download", &["mod", "download"][..])]
    {
        let (mut bare, mut traced, mut out, mut again) = (vec![], vec![], vec![], vec![]);
        for _ in 0..runs {
            bare.push(run(scenario, toolchain, None, arguments)?.0);
            let (took, until_out) = run(scenario, toolchain, Some(proxytrace), arguments)?;
            traced.push(took);
            out.push(until_out);
            again.push(run_again(scenario, toolchain, proxytrace, arguments)?);
        }
        let [bare, traced, out, again] = [bare, traced, out, again].map(median);
        let comma = if said.is_empty() { "" } else { "; " };
        write!(
            said,
            "{comma}`{name}` {bare:.2} s, traced {traced:.2} s (probes out {out:.2} s later), \
             straight after another {again:.2} s"
        )?;
    }
    Ok(said)
}

/// Seconds that a command takes in a lab of its own, and until nothing is left of its watch.
fn run(
    scenario: &Scenario,
    toolchain: &Toolchain,
    proxytrace: Option<&Path>,
    arguments: &[&str],
) -> Result<(f64, f64)> {
    let lab = Lab::start(scenario, toolchain)?;
    let took = time(&lab, proxytrace, arguments)?;
    let ended = Instant::now();
    wait_until_alone(&lab)?;
    Ok((took, ended.elapsed().as_secs_f64()))
}

/// The same, of a command that begins where one like it has just ended.
fn run_again(
    scenario: &Scenario,
    toolchain: &Toolchain,
    proxytrace: &Path,
    arguments: &[&str],
) -> Result<f64> {
    let (before, lab) = (Lab::start(scenario, toolchain)?, Lab::start(scenario, toolchain)?);
    time(&before, Some(proxytrace), arguments)?;
    let took = time(&lab, Some(proxytrace), arguments)?;
    wait_until_alone(&before)?;
    wait_until_alone(&lab)?;
    Ok(took)
}

fn time(lab: &Lab, proxytrace: Option<&Path>, arguments: &[&str]) -> Result<f64> {
    let mut command = match proxytrace {
        None => lab.command("go"),
        Some(proxytrace) => {
            let mut command = lab.command(proxytrace);
            command.args(["--", "go"]);
            command
        }
    };
    command.args(arguments);
    let begun = Instant::now();
    let output = lab.output(command)?;
    let took = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

/// Waits until no process has the lab's environment: proxytrace leaves one that takes probes out.
fn wait_until_alone(lab: &Lab) -> Result<()> {
    let dir = lab.dir().as_os_str().as_bytes();
    let ended = Instant::now();
    loop {
        let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
        let mut environments = processes.filter_map(|it| fs::read(it.path().join("environ")).ok());
        let in_lab = |environment: Vec<u8>| environment.windows(dir.len()).any(|it| it == dir);
        if !environments.any(in_lab) {
            return Ok(());
        }
        ensure!(ended.elapsed() < OUT_LIMIT, "a process of proxytrace's does not end");
        thread::sleep(OUT_INTERVAL);
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_unstable_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
