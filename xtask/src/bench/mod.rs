//! `cargo xtask bench`: what tracing costs, beside doing without and beside what else there is.

pub(crate) mod agent;
mod budgets;
mod counts;
pub(crate) mod inside;
pub(crate) mod parts;
mod series;
mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xtask::process::{as_root, read, run, status};
use xtask::{bpf, go, workspace};

use crate::build::{self, Programs, cargo};
use budgets::{Measured, figures};
use parts::{PARTS, Part, ROOMS};
use series::Series;

/// Measures the parts of these names, all of them if none is named; prints the tables, and writes
/// `target/bench.json`.
pub(crate) fn bench(names: &[String]) -> Result<()> {
    let wants = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if let Some(name) = names.iter().find(|name| Part::find(name).is_none() && *name != ROOMS) {
        let known: Vec<_> = PARTS.iter().map(|part| part.name).chain([ROOMS]).collect();
        bail!("there is no part `{name}`; the parts are {}", known.join(", "));
    }
    bpf::setup()?;
    let version = go::NEWEST;
    let goroot = go::install(version)?;
    let mitmproxy = tools::install()?;
    // What users have is a release build.
    let programs = build::programs(true)?;

    let rate = if wants(ROOMS) { Some(rooms()?) } else { None };
    let mut all = BTreeMap::new();
    for part in PARTS.iter().filter(|part| wants(part.name)) {
        status("Measuring", part.about);
        let measured = measure(part, &programs, &goroot, &mitmproxy)
            .with_context(|| format!("the part `{}` failed", part.name))?;
        all.insert(part.name, measured);
    }

    println!("go {version}; medians, and ranges; × inner: without what `go version` adds\n");
    let start = all.get("version");
    for measured in PARTS.iter().filter_map(|part| all.get(part.name)) {
        println!("{}", shown(measured, start));
    }
    let figures = figures(&all, rate);
    println!("{}", budgets::table(&figures));
    let file = workspace().join("target/bench.json");
    let result = json!({
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "cpus": thread::available_parallelism()?,
        "go": version,
        "parts": all.iter().map(|(name, measured)| (*name, to_json(measured))).collect::<BTreeMap<_, _>>(),
        "figures": figures.iter().map(budgets::Figure::to_json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(workspace().join("target"))?;
    fs::write(&file, format!("{result:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    status("Wrote", file.display());
    Ok(())
}

/// The lab puts the proxies on the air once, and runs us in there to do the measuring: its own work
/// is in nobody's account.
fn measure(
    part: &'static Part,
    programs: &Programs,
    goroot: &Path,
    mitmproxy: &Path,
) -> Result<Measured> {
    let mut lab = as_root(&programs.lab);
    lab.args(["run", part.scenario, "--modules", &part.modules.to_string(), "--go"]).arg(goroot);
    lab.arg("--").arg(std::env::current_exe()?).args(["bench-inside", part.name]);
    lab.arg(&programs.proxytrace).arg(mitmproxy);
    let measured: Value =
        serde_json::from_str(&read(&mut lab)?).context("no measurements came back")?;
    let group =
        |group: &Value| group.as_array().into_iter().flatten().map(Series::from_json).collect();
    let groups = measured["groups"].as_array().into_iter().flatten().map(group);
    Ok(Measured {
        part,
        groups: groups.collect::<Result<_>>()?,
        traced: measured["traced"].clone(),
    })
}

/// Tables of one part. `start` is the part that is starting and stopping alone.
fn shown(measured: &Measured, start: Option<&Measured>) -> String {
    let part = measured.part;
    let start = start.filter(|start| start.part.name != part.name);
    let added = |name: &str| start?.added(name);
    let group = |group: &Vec<Series>| {
        let rounds = group.first().map_or(0, |series| series.wall_ms.len());
        format!("{rounds} rounds\n{}", series::table(group, added))
    };
    let counts =
        (!measured.traced.is_null()).then(|| counts::table(&measured.traced, part.requests()));
    let tables = measured.groups.iter().map(group).chain(counts);
    std::iter::once(format!("{}\n", part.about)).chain(tables).collect()
}

fn to_json(measured: &Measured) -> Value {
    let group = |group: &Vec<Series>| group.iter().map(Series::to_json).collect::<Value>();
    json!({
        "about": measured.part.about,
        "modules": measured.part.modules,
        "requests": measured.part.requests(),
        "groups": measured.groups.iter().map(group).collect::<Vec<_>>(),
        "traced": measured.traced,
    })
}

/// Million events a second that correlate and diagnose take on one core, by Criterion.
fn rooms() -> Result<f64> {
    const GROUP: &str = "trace of 1 M events";
    const NAME: &str = "correlate and diagnose";
    status("Measuring", "the rooms that are pure");
    let home = workspace().join("target/criterion");
    let file = home.join(GROUP).join(NAME).join("new");
    if file.exists() {
        // What an earlier run left is not to be taken for what this one measures.
        fs::remove_dir_all(&file)?;
    }
    // Without this it writes to whatever is cargo's target directory.
    let mut bench = cargo();
    bench.env("CRITERION_HOME", &home);
    run(bench.args(["bench", "--package", "proxytrace", "--bench", "rooms", "--", NAME]))?;
    let read = |name: &str| -> Result<Value> {
        let file = file.join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let median = read("estimates.json")?["median"]["point_estimate"].as_f64();
    let events = read("benchmark.json")?["throughput"]["Elements"].as_f64();
    let (nanoseconds, events) = median.zip(events).context("Criterion's files have changed")?;
    Ok(1000.0 * events / nanoseconds)
}
