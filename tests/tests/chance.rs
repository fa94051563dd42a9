//! Scenarios drawn by chance: whatever comes of them, the trace equals the log.

use std::env;
use std::io::{self, Write as _};

use proxytrace_tests::toolchain::VERSIONS;
use proxytrace_tests::{cases, chance, check};

/// How many are drawn for each release.
const SEEDS: usize = 20;
/// Says otherwise: the first seed, and how many from there on, such as `1000+500`.
const SEEDS_VAR: &str = "LAB_SEEDS";

#[test]
fn whatever_comes_equals_the_log() {
    let Some(proxytrace) = cases::built().filter(|_| cases::can_start()) else { return };
    if !cases::Chosen::scenarios().has("chance") {
        return;
    }
    let seeds = env::var(SEEDS_VAR).ok().map(|seeds| {
        let (first, count) = seeds.split_once('+').expect("FIRST+COUNT");
        (first.parse().expect("a number"), count.parse().expect("a number"))
    });
    let (first, count): (usize, usize) = seeds.unwrap_or((0, SEEDS * VERSIONS.len()));
    assert!(count > 0, "{SEEDS_VAR}: none are drawn");
    let toolchains = cases::toolchains(&VERSIONS);
    let scenarios: Vec<_> = (first..first + count).map(chance::scenario).collect();
    // The same seed brings the same release.
    let of = |place: usize| toolchains.get((first + place) % toolchains.len().max(1));
    let pairs = scenarios.iter().enumerate().filter_map(|(place, it)| Some((it, of(place)?)));
    cases::check_all(
        pairs,
        |it| it.name,
        |_| false,
        |scenario, toolchain| {
            // A go that ends in the midst of things leaves it open what the other end saw of them:
            // what fails once in a thousand runs is said, past the capture of a test that passes;
            // what fails twice is wrong.
            let run = || check::whatever_comes(&proxytrace, scenario, toolchain);
            run().or_else(|error| {
                let at = format!("{} {}", scenario.name, toolchain.version);
                let _ = writeln!(io::stderr(), "at first: {at}: {error:#}");
                run()
            })
        },
    );
}
