//! `lab`: a command among misbehaving module proxies, by hand.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

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
        Cli::List => list(),
        Cli::Run(options) => {
            let status = run(&options)?;
            // As a shell says it: 128 and the signal.
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            process::exit(code.expect("it ended by one or the other"));
        }
    }
    Ok(())
}

fn list() {
    let width = Scenario::all().iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for Scenario { name, about, .. } in Scenario::all() {
        println!("{name:width$}  {about}");
    }
}

fn run(options: &Run) -> Result<ExitStatus> {
    let mut scenario = Scenario::find(&options.scenario)
        .with_context(|| format!("no scenario `{}`: see `lab list`", options.scenario))?
        .clone();
    if let Some(count) = options.modules {
        scenario.modules.count = count;
    }
    let toolchain = match &options.go {
        Some(dir) => Toolchain::at(dir)?,
        None => Toolchain::newest()?,
    };
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
