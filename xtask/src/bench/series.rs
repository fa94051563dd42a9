//! Measurements of several ways to do one thing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

use super::parts::Way;

/// The measurements of one way, one for each round, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) way: String,
    pub(crate) wall_ms: Vec<f64>,
    /// User and system time of the whole process tree.
    pub(crate) cpu_ms: Vec<f64>,
}

/// Does what is measured.
pub(crate) trait Runner {
    /// Makes everything as it was before; nobody measures that.
    fn prepare(&mut self) -> Result<()>;
    /// Does it once, in this way.
    fn run(&mut self, way: Way) -> Result<()>;
    /// Waits for whoever is left; that counts as CPU time, and not as wall time.
    fn settle(&mut self) {}
}

/// Runs all ways once in each round, so that what changes on the machine meanwhile meets all of
/// them; in turns from the first to the last and back, as one that ends its work when it is over is
/// in the way of the next. A first round warms the caches and does not count.
pub(crate) fn interleaved(
    rounds: usize,
    ways: &[Way],
    runner: &mut impl Runner,
) -> Result<Vec<Series>> {
    let new =
        |way: &Way| Series { way: way.name().to_owned(), wall_ms: Vec::new(), cpu_ms: Vec::new() };
    let mut all: Vec<Series> = ways.iter().map(new).collect();
    let mut order: Vec<usize> = (0..ways.len()).collect();
    for round in 0..=rounds {
        for &place in &order {
            let (way, series) = (&ways[place], &mut all[place]);
            runner.prepare()?;
            let cpu = cpu_of_children()?;
            let start = Instant::now();
            runner.run(*way).with_context(|| format!("{} failed", way.name()))?;
            let wall = start.elapsed();
            runner.settle();
            if round > 0 {
                series.wall_ms.push(milliseconds(wall));
                series.cpu_ms.push(milliseconds(cpu_of_children()?.saturating_sub(cpu)));
            }
        }
        order.reverse();
    }
    Ok(all)
}

/// CPU time of all children that have ended, and of theirs (getrusage(2)).
pub(crate) fn cpu_of_children() -> Result<Duration> {
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

    /// Reads what [`Series::to_json`] wrote.
    pub(crate) fn from_json(value: &Value) -> Result<Self> {
        let numbers = |value: &Value| -> Option<Vec<f64>> {
            value.as_array()?.iter().map(Value::as_f64).collect()
        };
        let series = || {
            Some(Self {
                way: value["way"].as_str()?.to_owned(),
                wall_ms: numbers(&value["wall_ms"])?,
                cpu_ms: numbers(&value["cpu_ms"])?,
            })
        };
        series().with_context(|| format!("these are no measurements: {value}"))
    }

    /// What it took more than `bare`, in the median of the rounds: wall and CPU, in milliseconds.
    pub(crate) fn added(&self, bare: &Self) -> [f64; 2] {
        let less = |it, bare| it - bare;
        [paired(&self.wall_ms, &bare.wall_ms, less), paired(&self.cpu_ms, &bare.cpu_ms, less)]
    }

    /// How many times what `bare` took, `start` of each round left out: wall and CPU.
    pub(crate) fn times(&self, bare: &Self, start: [f64; 2]) -> [f64; 2] {
        let [wall, cpu] = start;
        [
            paired(&self.wall_ms, &bare.wall_ms, |it, bare| (it - wall) / bare),
            paired(&self.cpu_ms, &bare.cpu_ms, |it, bare| (it - cpu) / bare),
        ]
    }
}

/// A table of medians and ranges, and of the differences to the first way, round by round. `start`
/// is what a way adds by starting and stopping, where that is known: the ratios are then also given
/// without.
pub(crate) fn table(all: &[Series], start: impl Fn(&str) -> Option<[f64; 2]>) -> String {
    let mut text = format!(
        "{:<22}{:>28}{:>10}{:>8}{:>9}{:>26}{:>10}{:>8}{:>9}\n",
        "way",
        "wall ms (range)",
        "added",
        "×",
        "× inner",
        "CPU ms (range)",
        "added",
        "×",
        "× inner"
    );
    let Some(bare) = all.first() else { return text };
    for series in all {
        let ([wall, cpu], [walls, cpus]) = (series.added(bare), series.times(bare, [0.0; 2]));
        let inner = start(&series.way).map(|start| series.times(bare, start));
        let [inner_wall, inner_cpu] = match inner {
            Some(inner) => inner.map(|times| format!("{times:.2}")),
            None => ["–".to_owned(), "–".to_owned()],
        };
        writeln!(
            text,
            "{:<22}{:>28}{wall:>10.1}{walls:>8.2}{inner_wall:>9}{:>26}{cpu:>10.1}{cpus:>8.2}\
             {inner_cpu:>9}",
            series.way,
            spread(&series.wall_ms),
            spread(&series.cpu_ms),
        )
        .expect("a string takes all");
    }
    text
}

fn spread(values: &[f64]) -> String {
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(*it), high.max(*it)));
    format!("{:.1} ({low:.1}–{high:.1})", median(values))
}

/// The median of what `with` makes of the pairs.
fn paired(values: &[f64], others: &[f64], with: impl Fn(f64, f64) -> f64) -> f64 {
    let pairs = values.iter().zip(others).map(|(value, other)| with(*value, *other));
    median(&pairs.collect::<Vec<_>>())
}

/// The middle value, or the mean of the two; not a number where there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use anyhow::bail;

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
        let all = [bare, traced];
        let row = |start| -> Vec<String> {
            let text = table(&all, |way| if way == "traced" { start } else { None });
            text.lines().nth(2).unwrap().split_whitespace().map(str::to_owned).collect()
        };
        let before = ["traced", "25.0", "(15.0–35.0)", "5.0", "1.25"];
        let after = ["4.0", "(2.0–6.0)", "2.0", "2.00"];
        assert_eq!(row(None), [&before[..], &["–"], &after, &["–"]].concat());
        assert_eq!(row(Some([5.0, 2.0])), [&before[..], &["1.00"], &after, &["1.00"]].concat());
    }

    /// What was called, in order. Bare takes no time, and the limit fails.
    #[derive(Default)]
    struct Calls(Vec<&'static str>);

    impl Runner for Calls {
        fn prepare(&mut self) -> Result<()> {
            self.0.push("prepare");
            Ok(())
        }

        fn run(&mut self, way: Way) -> Result<()> {
            self.0.push(way.name());
            match way {
                Way::Bare => Ok(()),
                Way::Limit => bail!("it ended with 1"),
                _ => {
                    Command::new("sleep").arg("0.02").status()?;
                    Ok(())
                }
            }
        }
    }

    #[test]
    fn each_way_runs_in_each_round_and_the_first_does_not_count() {
        let mut calls = Calls::default();
        let all = interleaved(3, &[Way::Bare, Way::Strace], &mut calls).unwrap();
        let [first, second] = ["bare", "strace --seccomp-bpf"];
        let there_and_back = [first, second, second, first].map(|way| ["prepare", way]);
        assert_eq!(calls.0, there_and_back.concat().repeat(2));
        assert!(all.iter().all(|series| series.wall_ms.len() == 3 && series.cpu_ms.len() == 3));
        assert!(all[1].wall_ms.iter().all(|ms| *ms >= 20.0));
    }

    #[test]
    fn a_way_that_fails_is_not_measured() {
        let error = interleaved(1, &[Way::Limit], &mut Calls::default()).unwrap_err();
        assert_eq!(format!("{error:#}"), "limit: empty program failed: it ended with 1");
    }

    #[test]
    fn measurements_come_back_as_they_were() {
        let one = series("a", &[1.5], &[0.25]);
        assert_eq!(Series::from_json(&one.to_json()).unwrap(), one);
        assert!(Series::from_json(&json!({})).is_err());
    }
}
