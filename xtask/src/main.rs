//! `cargo xtask`: builds, runs, tests and measures proxytrace.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod cli;
mod dist;
mod fuzz;
mod golden;
mod layouts;
mod run;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use xtask::{bpf, process};

use cli::Task;

fn main() -> ExitCode {
    let task = cli::parse(std::env::args_os().skip(1));
    match task.and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Help => print!("{}", cli::help()),
        Task::Setup => {
            bpf::setup()?;
            process::status("Ready", "the eBPF side can be built here");
        }
        Task::Build { release } => {
            bpf::setup()?;
            build::programs(release)?;
        }
        Task::Run(command) => run::run(&command)?,
        Task::Vm { all, beginning } => vm::vm(all, &beginning)?,
        Task::Test { all, arguments } => test::test(all, &arguments)?,
        Task::Golden => golden::golden()?,
        Task::Fuzz { seconds } => fuzz::fuzz(seconds)?,
        Task::Layouts { check, releases } => layouts::layouts(check, &releases)?,
        Task::Bench(parts) => bench::bench(&parts)?,
        Task::BenchAgent { hour } => bench::agent::bench(hour)?,
        Task::BenchAgentInside(arguments) => bench::agent::measure(&arguments)?,
        Task::Dist(pace) => dist::dist(pace)?,
        Task::BenchInside(arguments) => bench::inside::measure(&arguments)?,
    }
    Ok(())
}
