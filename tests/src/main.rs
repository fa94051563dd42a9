//! `lab`: a command among misbehaving module proxies, by hand.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser};
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::{crowd, fleet, ran, times, unit};

/// Module proxies that misbehave on purpose, for `go` and for what watches it.
#[derive(Parser)]
#[command(name = "lab")]
enum Cli {
    /// List the scenarios.
    List,
    /// Run a command in a scenario, such as `lab run demo -- go mod download -x`. Needs root.
    ///
    /// The command starts in the directory of a main module that requires the scenario's modules,
    /// with an empty module cache; `-- bash` gives a shell there.
    Run(Run),
    /// Run scenarios under proxytrace and compare what it says with what the servers saw. Needs root.
    Check(Check),
}

#[derive(Args)]
struct Check {
    /// Names of `lab list`; `crowd=N`: N downloads at once; `agent=N`: N builds beside the agent;
    /// `times`: what a user waits for; `unit=PACKAGE`: the agent under systemd, which is to be had
    /// to itself.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// The program, if it is not the one beside this.
    #[arg(long, value_name = "FILE")]
    proxytrace: Option<PathBuf>,
    /// The Go toolchain: a GOROOT, or a directory with one named `go` in it.
    #[arg(long, value_name = "DIR")]
    go: Option<PathBuf>,
    /// How probes must have been attached: `uprobe-multi` or `perf`.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// How what goes over sockets must have been seen: `socket`, `kprobe` or `syscall`.
    #[arg(long, value_name = "NAME")]
    wire: Option<String>,
}

#[derive(Args)]
struct Run {
    /// One of `lab list`.
    scenario: String,
    /// How many modules the main module requires, in place of the scenario's number.
    #[arg(long, value_name = "N")]
    modules: Option<usize>,
    /// Write what the servers were asked, and what they answered, as JSON lines.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The Go toolchain: a GOROOT, or a directory with one named `go` in it.
    #[arg(long, value_name = "DIR")]
    go: Option<PathBuf>,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn main() -> Result<()> {
    match Cli::parse() {
        Cli::List => list()?,
        Cli::Check(options) => {
            for scenario in &options.scenarios {
                check(&options, scenario).with_context(|| format!("{scenario} failed"))?;
            }
        }
        Cli::Run(options) => {
            let status = run(&options)?;
            // As a shell says it: 128 and the signal.
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            process::exit(code.expect("it ended by one or the other"));
        }
    }
    Ok(())
}

fn list() -> io::Result<()> {
    let width = Scenario::all().iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    let listed = Scenario::all()
        .iter()
        .try_for_each(|Scenario { name, about, .. }| writeln!(out, "{name:width$}  {about}"));
    match listed {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        listed => listed,
    }
}

fn run(options: &Run) -> Result<ExitStatus> {
    let mut scenario = *Scenario::find(&options.scenario)
        .with_context(|| format!("no scenario `{}`: see `lab list`", options.scenario))?;
    if let Some(count) = options.modules {
        scenario.modules.count = count;
    }
    let toolchain = toolchain(options.go.as_deref())?;
    let log = options.log.as_deref().map(create).transpose()?;

    let lab = Lab::start(&scenario, &toolchain)?;
    let [program, arguments @ ..] = &*options.command else { unreachable!("clap requires it") };
    let mut command = lab.command(program);
    command.args(arguments);
    let status = lab.status(command)?;
    if let Some(file) = log {
        write(file, &lab.log())?;
    }
    Ok(status)
}

fn toolchain(dir: Option<&Path>) -> Result<Toolchain> {
    dir.map_or_else(Toolchain::newest, Toolchain::at)
}

fn check(options: &Check, name: &str) -> Result<()> {
    let toolchain = toolchain(options.go.as_deref())?;
    let proxytrace = match &options.proxytrace {
        Some(file) => file.canonicalize()?,
        None => env::current_exe()?.with_file_name("proxytrace"),
    };
    if name == "times" {
        println!("ok times: {}, {}", toolchain.version, times::measure(&proxytrace, &toolchain)?);
        return Ok(());
    }
    if let Some(package) = name.strip_prefix("unit=") {
        let backend = options.backend.as_deref().context("a unit wants --backend")?;
        return unit::check(package.as_ref(), &toolchain, backend);
    }
    let begun = Instant::now();
    let agent = name.strip_prefix("agent=");
    let trace = if let Some(count) = name.strip_prefix("crowd=") {
        crowd::download(&proxytrace, &toolchain, count.parse()?)?
    } else if let Some(count) = agent {
        fleet::watch(&proxytrace, &toolchain, count.parse()?)?
    } else {
        let scenario = Scenario::find(name).context("no such scenario: see `lab list`")?;
        ran::download(&proxytrace, scenario, &toolchain)?
    };
    let capture = &trace.capture;
    if let Some(expected) = &options.backend {
        ensure!(capture.backend == *expected, "{} and not {expected}", capture.backend);
    }
    // The agent does not look at sockets.
    if options.wire.is_some() && agent.is_none() {
        ensure!(capture.wire == options.wire, "{:?} and not {:?}", capture.wire, options.wire);
    }
    let witnesses = capture.witnesses.unwrap_or_default();
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    let requests: usize = attempts.map(|attempt| attempt.requests.len()).sum();
    println!(
        "ok {name}: {} on {}, {}, {} events, {requests} requests, {} seen by {}, {:.1} s",
        toolchain.version,
        trace.kernel,
        capture.backend,
        capture.events,
        witnesses.agreed,
        capture.wire.as_deref().unwrap_or("nothing"),
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn write(file: File, log: &[Entry]) -> Result<()> {
    let mut file = BufWriter::new(file);
    for entry in log {
        serde_json::to_writer(&mut file, entry)?;
        writeln!(file)?;
    }
    Ok(file.flush()?)
}
