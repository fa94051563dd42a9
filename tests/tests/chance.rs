//! Scenarios drawn by chance: whatever comes of them, the trace equals the log.

use std::env;

use proxytrace_tests::toolchain::VERSIONS;
use proxytrace_tests::{cases, chance, check};

/// How many are drawn for each release.
const SEEDS: u64 = 20;
/// Says otherwise: the first seed, and how many from there on, such as `1000+500`.
const SEEDS_VAR: &str = "LAB_SEEDS";

#[test]
fn whatever_comes_equals_the_log() {
    let Some(proxytrace) = cases::built().filter(|_| cases::can_start()) else { return };
    let seeds = env::var(SEEDS_VAR).ok().map(|seeds| {
        let (first, count) = seeds.split_once('+').expect("FIRST+COUNT");
        (first.parse().expect("a number"), count.parse().expect("a number"))
    });
    let (first, count): (u64, u64) = seeds.unwrap_or((0, SEEDS * VERSIONS.len() as u64));
    let toolchains = cases::toolchains(&VERSIONS);
    let scenarios: Vec<_> = (first..first + count).map(chance::scenario).collect();
    let pairs = scenarios.iter().zip(toolchains.iter().cycle());
    cases::check_all(
        pairs,
        |it| it.name,
        |_| false,
        |scenario, toolchain| {
            // A go that ends in the midst of things leaves it open what the other end saw of them: what
            // fails once in a thousand runs is said, and what fails twice is wrong.
            let run = || check::whatever_comes(&proxytrace, scenario, toolchain).map(drop);
            run().or_else(|error| {
                eprintln!("{} {}, at first: {error:#}", scenario.name, toolchain.version);
                run()
            })
        },
    );
}
