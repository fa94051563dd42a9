//! What `replay --goproxy` says would have happened is what happens: a recording of each scenario
//! under its own list, walked under others, equals real runs under those wherever it claims to know.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Attempt, Chain, Next, Outcome, Trace};
use proxytrace::rewalk::{End, Step, Walk, rewalk};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::{GoSum, Scenario, Trouble};
use proxytrace_tests::toolchain::Toolchain;

/// The release; go has walked by the same rules since 1.15.
const RELEASES: &[&str] = &["1.27.3"];

/// How many walks must be predicted to their end; fewer
/// means that the comparison has lost its subject.
const CLAIMS: usize = 500;

#[test]
fn predictions_come_true() {
    if cases::built().is_none() {
        return;
    }
    let (claims, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |walk: &Walk| {
        let counter = if matches!(walk.end, End::Unknown { .. }) { &unknown } else { &claims };
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let scenarios: Vec<Scenario> = Scenario::all().iter().filter(|s| suits(s)).copied().collect();
    cases::for_each_of(&scenarios, RELEASES, |scenario, toolchain| {
        come_true(scenario, toolchain, count)
    });
    let (claims, unknown) = (claims.into_inner(), unknown.into_inner());
    println!("{claims} walks predicted to their end, {unknown} not known");
    let all = std::env::var_os("LAB_SCENARIOS").is_none() && cases::can_start();
    assert!(claims >= CLAIMS || !all, "only {claims} claims");
}

/// How many are drawn.
const DRAWN: usize = 40;

#[test]
fn predictions_of_what_is_drawn_come_true() {
    if cases::built().is_none() {
        return;
    }
    // Which of several contradicts go.sum first, at which go ends, is another one each time.
    let ends_at_once = |scenario: &Scenario| {
        scenario.go_sum != GoSum::Absent && scenario.modules.paths().count() > 1
    };
    let suits = |scenario: &Scenario| {
        suits(scenario)
            && !scenario.is_up_to_connections()
            && !ends_at_once(scenario)
            && !scenario.has_wrong_sums()
            && !scenario.breaks_sums()
    };
    cases::for_each_drawn(DRAWN, RELEASES, suits, |scenario, toolchain| {
        come_true(scenario, toolchain, |_| {}).with_context(|| format!("{scenario:#?}"))
    });
}

/// Whether what is predicted of a scenario under its own list and others is what comes of it, walk by
/// walk; `compared` sees each of them.
fn come_true(scenario: &Scenario, toolchain: &Toolchain, compared: impl Fn(&Walk)) -> Result<()> {
    let recorded = trace(scenario, toolchain, scenario.goproxy)?;
    let own = scenario.goproxy.to_owned();
    for list in others(scenario.goproxy).into_iter().chain([own]) {
        let prediction = rewalk(&recorded, &list)?;
        let real = trace(scenario, toolchain, &list)?;
        for walk in &prediction.walks {
            let Some(chain) = the_same(walk, &real) else { continue };
            compare(walk, chain).with_context(|| {
                let attempts: Vec<_> = chain.attempts.iter().map(brief).collect();
                format!("{list}: predicted {walk:?}\nbut {attempts:?}")
            })?;
            compared(walk);
        }
    }
    Ok(())
}

/// Whether a scenario is small and quick, and answers each question always in the same way.
fn suits(scenario: &Scenario) -> bool {
    let slow = |trouble| {
        matches!(
            trouble,
            Trouble::Deaf | Trouble::Silent | Trouble::SilentIpv6 | Trouble::NameServerSilent
        )
    };
    scenario.is_repeatable()
        && scenario.modules.count <= 12
        && scenario.cached.is_empty()
        && !scenario.hosts.iter().any(|host| host.trouble.is_some_and(slow))
}

/// Other lists of the same entries: other separators, another order, ends.
fn others(list: &str) -> Vec<String> {
    let swapped = list.chars().map(|c| match c {
        ',' => '|',
        '|' => ',',
        c => c,
    });
    let entries: Vec<&str> = list.split([',', '|']).collect();
    let proxies = || entries.iter().filter(|entry| entry.contains("://")).copied();
    let backwards: Vec<&str> = proxies().rev().collect();
    let mut lists = vec![
        swapped.collect::<String>(),
        backwards.join("|"),
        format!("{},off", backwards.join(",")),
        proxies().chain(["direct"]).collect::<Vec<_>>().join("|"),
    ];
    lists.dedup();
    lists.retain(|other| other != list && !other.is_empty() && !other.starts_with(",off"));
    lists
}

fn trace(scenario: &Scenario, toolchain: &Toolchain, goproxy: &str) -> Result<Trace> {
    let lab = Lab::start(scenario, toolchain)?;
    let json = lab.dir().join("trace.json");
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).args(["--", "go", "mod", "download"]);
    command.env("GOPROXY", goproxy);
    let output = lab.output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = fs::read(&json).with_context(|| format!("no trace: {stderr}"))?;
    Ok(serde_json::from_slice(&json)?)
}

/// What go asked for in the real run. It may not have come to it where something else failed first.
fn the_same<'a>(walk: &Walk, trace: &'a Trace) -> Option<&'a Chain> {
    trace.chains.iter().find(|chain| {
        let key = (&chain.module, &chain.version, chain.artifact);
        key == (&walk.module, &walk.version, walk.artifact)
    })
}

fn brief(attempt: &Attempt) -> (&str, Outcome, Option<Next>) {
    (&attempt.proxy, attempt.outcome, attempt.next)
}

/// Each step that is known is what was done, up to where the command was ended by something else.
fn compare(walk: &Walk, chain: &Chain) -> Result<()> {
    let ends = |attempt: &&Attempt| matches!(attempt.next, None | Some(Next::Stop));
    let first_walk = chain.attempts.iter().position(|attempt| ends(&attempt));
    let real = &chain.attempts[..first_walk.map_or(chain.attempts.len(), |at| at + 1)];
    let given_up = |o| matches!(o, Outcome::Canceled | Outcome::Unfinished | Outcome::Unknown);
    let known: Vec<&Step> = walk.steps.iter().filter(|step| step.outcome.is_some()).collect();
    for (place, step) in known.iter().enumerate() {
        let Some(attempt) = real.get(place) else {
            // An entry that is a word is none where the checksum database is looked for.
            let word = !step.proxy.contains("://");
            ensure!(word, "{} was not asked", step.proxy);
            return Ok(());
        };
        if given_up(attempt.outcome) {
            return Ok(());
        }
        let done = brief(attempt);
        let said = (step.proxy.as_str(), step.outcome.expect("known"), step.next);
        ensure!(said == done, "{said:?} predicted, {done:?} done");
    }
    // Where the walk ends, nobody else is asked.
    if !matches!(walk.end, End::Unknown { .. }) {
        ensure!(real.len() == known.len(), "{} more were asked", real.len() - known.len());
    }
    Ok(())
}
