//! What a build takes longer, and what the agent takes for itself.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::place::{Agent, Build, FLUSH, Place};
use super::receiver::Receiver;
use super::{MEMORY_MAX, MODULES, RATE, verdict};
use crate::bench::series::median;

/// What is built beside an agent.
struct Work {
    name: &'static str,
    what: Build,
    /// Rounds, and builds of each way in a round: one after the other, as an agent that starts or
    /// ends beside a build would be measured with it. So many tell a hundredth.
    rounds: usize,
    builds: usize,
}

const WORKS: [Work; 3] = [
    Work { name: "go build", what: Build::Whole, rounds: 40, builds: 4 },
    Work {
        name: "go mod download, answers after 5 ms",
        what: Build::FarDownload,
        rounds: 40,
        builds: 8,
    },
    Work { name: "go mod download", what: Build::Download, rounds: 40, builds: 12 },
];
/// How long the probes of an agent that was ended may take to be gone.
const GONE: Duration = Duration::from_millis(500);
/// How long the agent is watched at rest and under load: at rest, a tick of 10 ms is to be a
/// hundredth of the budget. What is exported fills files, so that those are packed, too.
const REST: Duration = Duration::from_mins(2);
const LOAD: Duration = Duration::from_mins(1);
const EXPORT: Duration = Duration::from_mins(4);
/// What the agent may take of one processor, and of a build that it passes over the time to that
/// without an agent.
const CPU_MAX: f64 = 0.01;
const UNSAMPLED_MAX: f64 = 1.01;
const UNSAMPLED: &str = "passed over";

/// What goes on beside an agent.
struct Situation {
    name: &'static str,
    share: &'static str,
    load: Option<Duration>,
    exports: bool,
}

const SITUATIONS: [Situation; 5] = [
    Situation { name: "at rest", share: "1", load: None, exports: false },
    Situation {
        name: "50 builds a minute, none chosen",
        share: "0",
        load: Some(LOAD),
        exports: false,
    },
    Situation {
        name: "50 builds a minute, one in twenty chosen",
        share: "5%",
        load: Some(LOAD),
        exports: false,
    },
    Situation {
        name: "50 builds a minute, all chosen",
        share: "1",
        load: Some(LOAD),
        exports: false,
    },
    Situation {
        name: "the same, and all exporters",
        share: "1",
        load: Some(EXPORT),
        exports: true,
    },
];

pub(super) fn measure(place: &Place) -> Result<Value> {
    let slow_down = WORKS.iter().map(|work| {
        let ways = slow_down(place, work).with_context(|| format!("{} failed", work.name))?;
        Ok(json!({ "work": work.name, "ways": ways }))
    });
    let slow_down = slow_down.collect::<Result<Vec<_>>>()?;
    let steady = SITUATIONS.iter().map(|situation| {
        steady(place, situation).with_context(|| format!("{} failed", situation.name))
    });
    Ok(json!({ "slow_down": slow_down, "steady": steady.collect::<Result<Vec<_>>>()? }))
}

/// Times of builds without an agent and beside one, and of the processor that they took, in seconds:
/// the medians of each round. They are compared with those of the same round without an agent, before
/// and after.
fn slow_down(place: &Place, work: &Work) -> Result<Value> {
    const WAYS: [(&str, Option<&str>); 4] = [
        ("no agent", None),
        (UNSAMPLED, Some("0")),
        ("no agent, control", None),
        ("chosen", Some("1")),
    ];
    let mut all = WAYS.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..work.rounds {
        for ((_, share), all) in WAYS.iter().zip(&mut all) {
            let agent = share.map(|share| place.agent(share)).transpose()?;
            agent.as_ref().map_or(Ok(()), Agent::settle)?;
            // The first one warms the caches.
            let took = (0..=work.builds).map(|_| place.build(work.what));
            let took = took.collect::<Result<Vec<_>>>()?;
            for (kind, all) in all.iter_mut().enumerate() {
                all.push(median(&took[1..].iter().map(|took| took[kind]).collect::<Vec<_>>()));
            }
            drop(agent);
            thread::sleep(GONE);
        }
    }
    let [before, _, after, _] = &all;
    let ratio = |kind: usize, seconds: &[f64]| {
        let without = before[kind].iter().zip(&after[kind]).map(|(one, other)| (one + other) / 2.0);
        mean(&seconds.iter().zip(without).map(|(it, without)| it / without).collect::<Vec<_>>())
    };
    let rows = WAYS.iter().zip(&all).map(|((name, _), [wall, processor])| {
        json!({ "way": name, "seconds": wall, "processor_seconds": processor,
                "median": median(wall), "ratio": ratio(0, wall),
                "processor_ratio": ratio(1, processor) })
    });
    Ok(rows.collect())
}

/// The mean, and its standard error.
fn mean(values: &[f64]) -> [f64; 2] {
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    [mean, (squares / (count - 1.0) / count).sqrt()]
}

/// Processor and memory of the agent over some time.
fn steady(place: &Place, situation: &Situation) -> Result<Value> {
    let receiver = situation.exports.then(Receiver::start).transpose()?;
    let agent = match &receiver {
        Some(receiver) => place.exporting(situation.share, receiver)?,
        None => place.agent(situation.share)?,
    };
    agent.settle()?;
    let before = agent.processor()?;
    let start = Instant::now();
    let mut builds = 0;
    if let Some(load) = situation.load {
        while start.elapsed() < load {
            let next = Duration::from_mins(1) / RATE * builds;
            thread::sleep(next.saturating_sub(start.elapsed()));
            place.build(Build::Download)?;
            builds += 1;
        }
    } else {
        thread::sleep(REST);
    }
    thread::sleep(FLUSH);
    // Of the time until now, in which all of that was taken.
    let processor = (agent.processor()? - before) / start.elapsed().as_secs_f64();
    let [resident, most] = agent.resident()?;
    // What was not done costs nothing.
    if situation.share == "1" {
        agent.check(builds)?;
    }
    if let Some(receiver) = receiver {
        let (posts, scrapes) = receiver.got();
        ensure!(posts > 0 && scrapes > 0, "{posts} posts and {scrapes} scrapes came");
        ensure!(place.packed()? > 0, "no file was full");
    }
    Ok(json!({ "name": situation.name, "builds": builds, "processor": processor,
               "resident": resident, "most": most }))
}

pub(super) fn table(measured: &Value) -> Result<String> {
    let mut text = format!(
        "builds of {MODULES} modules; means and standard errors of the ratios to builds without an \
         agent: time, processor\n"
    );
    let number = |value: &Value| value.as_f64().context("no number");
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    for work in list(measured, "slow_down") {
        writeln!(text, "{}", work["work"].as_str().unwrap_or("?"))?;
        for row in list(&work, "ways") {
            let median = number(&row["median"])?;
            let ratio = |name: &str| -> Result<String> {
                Ok(format!("{:.3} ± {:.3}", number(&row[name][0])?, number(&row[name][1])?))
            };
            let budget = if row["way"] == UNSAMPLED {
                let is_within = number(&row["ratio"][0])? <= UNSAMPLED_MAX;
                format!("  (budget {UNSAMPLED_MAX})  {}", verdict(is_within))
            } else {
                String::new()
            };
            let way = row["way"].as_str().unwrap_or("?");
            let (wall, processor) = (ratio("ratio")?, ratio("processor_ratio")?);
            let median = median * 1000.0;
            writeln!(text, "  {way:<40}{median:>9.1} ms{wall:>17}{processor:>17}{budget}")?;
        }
    }
    writeln!(text, "\n{:<42}{:>12}{:>12}{:>12}", "agent", "processor", "memory", "most")?;
    for row in list(measured, "steady") {
        let mib = |name: &str| Ok::<_, anyhow::Error>(number(&row[name])? / f64::from(1 << 20));
        let (processor, resident, most) =
            (number(&row["processor"])?, mib("resident")?, mib("most")?);
        let name = row["name"].as_str().unwrap_or("?");
        let is_small = row["most"].as_u64().is_some_and(|most| most <= MEMORY_MAX);
        writeln!(
            text,
            "{name:<42}{:>10.2} %{resident:>8.1} MiB{most:>8.1} MiB  {}",
            processor * 100.0,
            verdict(processor <= CPU_MAX && is_small)
        )?;
    }
    writeln!(text, "{:<42}{:>10.2} %{:>8} MiB", "budget", CPU_MAX * 100.0, MEMORY_MAX >> 20)?;
    Ok(text)
}
