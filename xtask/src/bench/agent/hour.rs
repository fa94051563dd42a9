//! An hour of load: whether memory stays as it is.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::place::{Build, FLUSH, Place};
use super::receiver::Receiver;
use super::{MEMORY_MAX, MODULES, RATE};

const HOUR: Duration = Duration::from_hours(1);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_mins(3);

/// Memory and processor time of an agent with all exporters.
pub(super) fn measure(place: &Place) -> Result<Value> {
    let receiver = Receiver::start()?;
    let agent = place.exporting("1", &receiver)?;
    agent.settle()?;
    let before = agent.processor()?;
    let start = Instant::now();
    let (mut builds, mut looks) = (0, 0);
    let mut rows = Vec::new();
    loop {
        let elapsed = start.elapsed();
        if elapsed >= LOOK * looks {
            looks += 1;
            let [resident, most] = agent.resident()?;
            // What was seen is not lost with an hour that is cut short.
            eprintln!(
                "{:>4} s: {builds} builds, {} kB, {} kB at most",
                elapsed.as_secs(),
                resident >> 10,
                most >> 10
            );
            rows.push(json!({ "builds": builds, "seconds": elapsed.as_secs_f64(),
                              "resident": resident, "most": most,
                              "processor": agent.processor()? - before }));
        }
        if elapsed >= HOUR {
            break;
        }
        let next = Duration::from_mins(1) / RATE * builds;
        thread::sleep(next.saturating_sub(start.elapsed()));
        place.build(Build::Download)?;
        builds += 1;
    }
    thread::sleep(FLUSH);
    agent.check(builds)?;
    Ok(json!({ "rows": rows, "packed": place.packed()? }))
}

pub(super) fn table(measured: &Value) -> Result<String> {
    let mut text = format!(
        "builds of {MODULES} modules, {RATE} a minute; {} files were full\n\
         {:>8}{:>10}{:>14}{:>12}{:>14}\n",
        measured["packed"], "builds", "seconds", "memory, MiB", "most, MiB", "processor, s"
    );
    for row in measured["rows"].as_array().context("no rows")? {
        let number = |name: &str| row[name].as_f64().context("no number");
        let mib = |name: &str| Ok::<_, anyhow::Error>(number(name)? / f64::from(1 << 20));
        let (builds, seconds, processor) =
            (number("builds")?, number("seconds")?, number("processor")?);
        let (resident, most) = (mib("resident")?, mib("most")?);
        writeln!(text, "{builds:>8}{seconds:>10.0}{resident:>14.1}{most:>12.1}{processor:>14.2}")?;
    }
    writeln!(text, "{:>8}{:>24}", "budget", MEMORY_MAX >> 20)?;
    Ok(text)
}
