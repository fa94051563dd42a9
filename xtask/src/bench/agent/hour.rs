//! An hour of load: whether memory stays as it is.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::place::{Build, FLUSH, Place};
use super::receiver::Receiver;
use super::{MEMORY_MAX, MODULES, RATE, verdict};

const HOUR: Duration = Duration::from_hours(1);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_mins(3);
/// Until memory is what it will stay: all that is kept for a time, and for so many builds, is there.
const WARM_UP: Duration = Duration::from_mins(10);
/// The most memory at the end, × that at the beginning: of 20 MiB, a leak of a kilobyte a build is as
/// much in the 1,900 builds between the two.
const FLAT_MAX: f64 = 1.1;

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
    let mut looks = Vec::new();
    for row in measured["rows"].as_array().context("no rows")? {
        let number = |name: &str| row[name].as_f64().context("no number");
        let mib = |name: &str| Ok::<_, anyhow::Error>(number(name)? / f64::from(1 << 20));
        let (builds, seconds, processor) =
            (number("builds")?, number("seconds")?, number("processor")?);
        let (resident, most) = (mib("resident")?, mib("most")?);
        looks.push((seconds, resident));
        let is_small = row["most"].as_u64().is_some_and(|most| most <= MEMORY_MAX);
        writeln!(
            text,
            "{builds:>8}{seconds:>10.0}{resident:>14.1}{most:>12.1}{processor:>14.2}  {}",
            verdict(is_small)
        )?;
    }
    writeln!(text, "{:>8}{:>36}", "budget", MEMORY_MAX >> 20)?;
    let flatness = flatness(&looks);
    let reached = flatness.map_or_else(|| "–".to_owned(), |times| format!("{times:.2}"));
    let said = flatness.map_or("not measured", |times| verdict(times <= FLAT_MAX));
    writeln!(
        text,
        "memory, last quarter × first, after {} minutes: {reached} (budget {FLAT_MAX})  {said}",
        WARM_UP.as_secs() / 60
    )?;
    Ok(text)
}

/// The mean of the last quarter of looks × that of the first, after the warm-up. A look: seconds, and
/// memory. None where there were too few.
fn flatness(looks: &[(f64, f64)]) -> Option<f64> {
    let warm = looks.iter().filter(|(seconds, _)| *seconds >= WARM_UP.as_secs_f64());
    let warm: Vec<f64> = warm.map(|(_, memory)| *memory).collect();
    let quarter = warm.len() / 4;
    let sum = |looks: &[f64]| looks.iter().sum::<f64>();
    (quarter > 0).then(|| sum(&warm[warm.len() - quarter..]) / sum(&warm[..quarter]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_compared_with_the_beginning_after_the_warm_up() {
        let looks = |memory: fn(u32) -> f64| -> Vec<(f64, f64)> {
            (0..=20).map(|look| (f64::from(look * 180), memory(look))).collect()
        };
        let ratio =
            |memory: fn(u32) -> f64| flatness(&looks(memory)).map(|times| (times * 100.0).round());
        assert_eq!(ratio(|look| if look < 4 { 10.0 } else { 20.0 }), Some(100.0));
        // From the looks 4 to 7, to the looks 17 to 20.
        assert_eq!(ratio(f64::from), Some(336.0));
        assert_eq!(flatness(&looks(f64::from)[..7]), None);
    }
}
