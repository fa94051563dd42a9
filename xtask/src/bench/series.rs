//! Measurements of several ways to do one thing.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};
use xtask::process::{cannot_run, shown};

/// The measurements of one way, one for each round, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    way: String,
    wall_ms: Vec<f64>,
    /// User and system time of the whole process tree.
    cpu_ms: Vec<f64>,
}

/// A way: its name, and how to make the command.
pub(crate) type Way<'a> = (&'a str, &'a dyn Fn() -> Command);

/// Runs all ways once in each round, so that what changes on the machine meanwhile meets all of
/// them. A first round warms the caches and does not count.
pub(crate) fn interleaved(
    rounds: usize,
    ways: &[Way<'_>],
    mut before_each: impl FnMut() -> Result<()>,
) -> Result<Vec<Series>> {
    let new = |(way, _): &Way<'_>| Series {
        way: (*way).to_owned(),
        wall_ms: Vec::new(),
        cpu_ms: Vec::new(),
    };
    let mut all: Vec<Series> = ways.iter().map(new).collect();
    for round in 0..=rounds {
        for ((_, command), series) in ways.iter().zip(&mut all) {
            before_each()?;
            let (wall, cpu) = measure(&mut command())?;
            if round > 0 {
                series.wall_ms.push(milliseconds(wall));
                series.cpu_ms.push(milliseconds(cpu));
            }
        }
    }
    Ok(all)
}

/// Wall and CPU time of a command, to its end.
fn measure(command: &mut Command) -> Result<(Duration, Duration)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let cpu = cpu_of_children()?;
    let start = Instant::now();
    let status = command.status().with_context(|| cannot_run(command.get_program()))?;
    let wall = start.elapsed();
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok((wall, cpu_of_children()?.saturating_sub(cpu)))
}

/// CPU time of all children that have ended, and of theirs (getrusage(2)).
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let duration = |time: TimeVal| -> Result<Duration> {
        Ok(Duration::new(time.tv_sec().try_into()?, u32::try_from(time.tv_usec())? * 1000))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Series {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "way": self.way,
            "wall_ms": self.wall_ms,
            "cpu_ms": self.cpu_ms,
            "wall_ms_median": median(&self.wall_ms),
            "cpu_ms_median": median(&self.cpu_ms),
        })
    }

    /// Reads an array of what [`Series::to_json`] wrote.
    pub(crate) fn from_json(text: &str) -> Result<Vec<Self>> {
        let value: Value = serde_json::from_str(text).context("no measurements came back")?;
        let numbers = |value: &Value| -> Option<Vec<f64>> {
            value.as_array()?.iter().map(Value::as_f64).collect()
        };
        let series = |value: &Value| {
            Some(Self {
                way: value["way"].as_str()?.to_owned(),
                wall_ms: numbers(&value["wall_ms"])?,
                cpu_ms: numbers(&value["cpu_ms"])?,
            })
        };
        let all = value.as_array().and_then(|all| all.iter().map(series).collect());
        all.with_context(|| format!("these are no measurements: {text}"))
    }
}

/// A table of medians and ranges, and of the differences to the first way, round by round.
pub(crate) fn table(all: &[Series]) -> String {
    let mut text = format!(
        "{:<22}{:>24}{:>12}{:>9}{:>12}{:>9}\n",
        "way", "wall ms (range)", "added ms", "× wall", "CPU ms", "× CPU"
    );
    let Some(bare) = all.first() else { return text };
    for series in all {
        let wall = &series.wall_ms;
        let (low, high) = range(wall);
        let spread = format!("{:.1} ({low:.1}–{high:.1})", median(wall));
        writeln!(
            text,
            "{:<22}{spread:>24}{:>12.1}{:>9.2}{:>12.1}{:>9.2}",
            series.way,
            median(&paired(wall, &bare.wall_ms, |it, bare| it - bare)),
            median(&paired(wall, &bare.wall_ms, |it, bare| it / bare)),
            median(&series.cpu_ms),
            median(&paired(&series.cpu_ms, &bare.cpu_ms, |it, bare| it / bare)),
        )
        .expect("a string takes all");
    }
    text
}

fn paired(values: &[f64], others: &[f64], with: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    values.iter().zip(others).map(|(value, other)| with(*value, *other)).collect()
}

/// The middle value, or the mean of the two; not a number where there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(*value), high.max(*value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(way: &str, wall_ms: &[f64], cpu_ms: &[f64]) -> Series {
        Series { way: way.into(), wall_ms: wall_ms.into(), cpu_ms: cpu_ms.into() }
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two() {
        assert!((median(&[9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 100.0]) - 3.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ways_are_compared_round_by_round() {
        // Each round adds 5 ms and doubles the CPU time, however the machine drifts.
        let bare = series("bare", &[10.0, 20.0, 30.0], &[1.0, 2.0, 3.0]);
        let traced = series("traced", &[15.0, 25.0, 35.0], &[2.0, 4.0, 6.0]);
        let table = table(&[bare, traced]);
        let row: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row, ["traced", "25.0", "(15.0–35.0)", "5.0", "1.25", "4.0", "2.00"]);
    }

    #[test]
    fn each_way_runs_in_each_round_and_the_first_does_not_count() {
        let mut before = 0;
        let ways: [Way<'_>; 2] = [
            ("a", &|| Command::new("true")),
            ("b", &|| {
                let mut sleep = Command::new("sleep");
                sleep.arg("0.02");
                sleep
            }),
        ];
        let all = interleaved(3, &ways, || {
            before += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(before, 8);
        assert!(all.iter().all(|series| series.wall_ms.len() == 3 && series.cpu_ms.len() == 3));
        assert!(all[1].wall_ms.iter().all(|ms| *ms >= 20.0));
    }

    #[test]
    fn a_way_that_fails_is_not_measured() {
        let error = interleaved(1, &[("a", &|| Command::new("false"))], || Ok(())).unwrap_err();
        assert!(error.to_string().contains("`false` ended with"), "{error}");
    }

    #[test]
    fn measurements_come_back_as_they_were() {
        let all = vec![series("a", &[1.5], &[0.25]), series("b", &[2.0], &[4.0])];
        let text = all.iter().map(Series::to_json).collect::<Value>().to_string();
        assert_eq!(Series::from_json(&text).unwrap(), all);
        assert!(Series::from_json("[{}]").is_err());
    }
}
