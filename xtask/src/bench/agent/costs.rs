//! What a build takes longer, and what the agent takes for itself.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::place::{Agent, FLUSH, Place};
use super::receiver::Receiver;
use super::{MEMORY_MAX, MODULES, RATE};
use crate::bench::series::median;

/// Rounds, and builds of each way in a round: one after the other, as an agent that starts or ends
/// beside a build would be measured with it.
const ROUNDS: usize = 12;
const BUILDS: usize = 12;
/// How long the probes of an agent that was ended may take to be gone.
const GONE: Duration = Duration::from_millis(500);
/// How long the agent is watched at rest and under load. What is exported fills files, so that those
/// are packed, too.
const REST: Duration = Duration::from_secs(30);
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
    let slow_down = slow_down(place)?;
    let steady = SITUATIONS.iter().map(|situation| {
        steady(place, situation).with_context(|| format!("{} failed", situation.name))
    });
    Ok(json!({ "slow_down": slow_down, "steady": steady.collect::<Result<Vec<_>>>()? }))
}

/// Times of builds without an agent and beside one, in seconds: the median of each round.
fn slow_down(place: &Place) -> Result<Value> {
    const WAYS: [(&str, Option<&str>); 4] = [
        ("no agent", None),
        (UNSAMPLED, Some("0")),
        ("no agent, control", None),
        ("chosen", Some("1")),
    ];
    let mut seconds = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, share), seconds) in WAYS.iter().zip(&mut seconds) {
            let agent = share.map(|share| place.agent(share)).transpose()?;
            agent.as_ref().map_or(Ok(()), Agent::settle)?;
            // The first one warms the caches.
            let took = (0..=BUILDS).map(|_| place.build()).collect::<Result<Vec<_>>>()?;
            seconds.push(median(&took[1..]));
            drop(agent);
            thread::sleep(GONE);
        }
    }
    let [bare, ..] = &seconds;
    let rows = WAYS.iter().zip(&seconds).map(|((name, _), seconds)| {
        let ratios: Vec<f64> = seconds.iter().zip(bare).map(|(one, bare)| one / bare).collect();
        json!({ "way": name, "seconds": seconds, "median": median(seconds),
                "ratio": median(&ratios) })
    });
    Ok(rows.collect())
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
            place.build()?;
            builds += 1;
        }
    } else {
        thread::sleep(REST);
    }
    let seconds = start.elapsed().as_secs_f64();
    thread::sleep(FLUSH);
    let processor = (agent.processor()? - before) / seconds;
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
    let mut text = format!("builds of {MODULES} modules, {ROUNDS} rounds of {BUILDS}\n");
    let number = |value: &Value| value.as_f64().context("no number");
    let list = |name: &str| measured[name].as_array().cloned().unwrap_or_default();
    for row in list("slow_down") {
        let (median, ratio) = (number(&row["median"])?, number(&row["ratio"])?);
        let budget = if row["way"] == UNSAMPLED {
            format!("  (budget {UNSAMPLED_MAX})")
        } else {
            String::new()
        };
        let way = row["way"].as_str().unwrap_or("?");
        writeln!(text, "{way:<42}{:>9.1} ms{ratio:>8.3}{budget}", median * 1000.0)?;
    }
    writeln!(text, "\n{:<42}{:>12}{:>12}{:>12}", "agent", "processor", "memory", "most")?;
    for row in list("steady") {
        let mib = |name: &str| Ok::<_, anyhow::Error>(number(&row[name])? / f64::from(1 << 20));
        let (processor, resident, most) =
            (number(&row["processor"])?, mib("resident")?, mib("most")?);
        let name = row["name"].as_str().unwrap_or("?");
        writeln!(
            text,
            "{name:<42}{:>10.2} %{resident:>8.1} MiB{most:>8.1} MiB",
            processor * 100.0
        )?;
    }
    writeln!(text, "{:<42}{:>10.2} %{:>8} MiB", "budget", CPU_MAX * 100.0, MEMORY_MAX >> 20)?;
    Ok(text)
}
