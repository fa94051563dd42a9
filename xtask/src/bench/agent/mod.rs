//! `cargo xtask bench agent`: what the fleet agent costs the host that it watches.

mod costs;
mod hour;
mod place;
mod receiver;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::process::{as_root, read, status};
use xtask::{bpf, go, workspace};

use crate::build;
use place::Place;

/// Modules of a build, and the requests for each.
const MODULES: u32 = 40;
/// Builds a minute under load.
const RATE: u32 = 50;
/// The most resident memory that the agent may have, in bytes.
const MEMORY_MAX: u64 = 32 << 20;

/// What is measured: costs, or an hour of load.
const COSTS: &str = "costs";
const HOUR: &str = "hour";

/// What is said of a row, in the words of the other benchmark's figures.
fn verdict(is_within: bool) -> &'static str {
    if is_within { "within the budget" } else { "over" }
}

/// Measures, prints the figures beside their budgets, and writes `target/bench-agent.json`; or of an
/// hour, and `target/bench-agent-hour.json`.
pub(crate) fn bench(hour: bool) -> Result<()> {
    let (what, name) = if hour { (HOUR, "bench-agent-hour") } else { (COSTS, "bench-agent") };
    bpf::setup()?;
    let goroot = go::install(go::NEWEST)?;
    // What users have is a release build.
    let programs = build::programs(true)?;
    status("Measuring", if hour { "the agent, for an hour" } else { "the agent" });
    let mut lab = as_root(&programs.lab);
    lab.args(["run", "bench", "--modules", &MODULES.to_string(), "--go"]).arg(goroot);
    lab.arg("--")
        .arg(std::env::current_exe()?)
        .arg("bench-agent-inside")
        .arg(&programs.proxytrace)
        .arg(what);
    let measured: Value =
        serde_json::from_str(&read(&mut lab)?).context("no measurements came back")?;
    println!("{}", if hour { hour::table(&measured)? } else { costs::table(&measured)? });
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
    let measured = if what == HOUR { hour::measure(&place)? } else { costs::measure(&place)? };
    println!("{measured}");
    Ok(())
}
