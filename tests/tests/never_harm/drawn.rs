//! Scenarios drawn by chance: go does in them what it does without proxytrace.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};

use super::can_trace;

/// How many are drawn for each release.
const SEEDS: usize = 10;

/// So often both are tried, as what go asks for at once comes in any order.
const TRIES: usize = 8;

/// What is left behind, with a sum of each file. Records of the checksum database are numbered in
/// the order in which they are asked for.
const LEFT: &str = "find \"$GOMODCACHE\" * -path '*/sumdb' -prune -o -type f -exec sha256sum {} + \
                    2>/dev/null | sort -k 2";

/// Keeps apart what the command writes to stderr, as a report follows it there.
const APART: &str = "exec \"$@\" 2>\"$0\"";

#[test]
fn go_does_what_it_does_without() {
    if !can_trace() {
        return;
    }
    // What is killed may have come to anything.
    let comes_to_an_end = |scenario: &Scenario| scenario.command[0] != "timeout";
    cases::for_each_drawn(SEEDS * VERSIONS.len(), &VERSIONS, comes_to_an_end, is_the_same);
}

fn is_the_same(scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    let proxytrace = cases::proxytrace();
    let watch = [proxytrace.as_os_str(), "--quiet".as_ref(), "--".as_ref()];
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        alone.push(did(scenario, toolchain, &[])?);
        watched.push(did(scenario, toolchain, &watch)?);
        if watched.iter().any(|it| alone.contains(it)) {
            return Ok(());
        }
    }
    // What go does otherwise each time by itself tells nothing.
    for part in 0..PARTS {
        let [alone, watched] = [&alone, &watched].map(|all| all.iter().map(|did| &did[part]));
        let alone: HashSet<_> = alone.collect();
        let watched: Vec<_> = watched.collect();
        let is_met = watched.iter().any(|it| alone.contains(it));
        ensure!(is_met || alone.len() == TRIES, "alone: {alone:#?}\nwatched: {watched:#?}");
    }
    Ok(())
}

const PARTS: usize = 5;

/// What a command did, as far as it does the same each time: how it ended, what it wrote to stdout and
/// stderr, what it asked for, what it left behind.
type Did = [String; PARTS];

fn did(scenario: &Scenario, toolchain: &Toolchain, before: &[&OsStr]) -> Result<Did> {
    let lab = Lab::start(scenario, toolchain)?;
    let written = lab.module_dir().with_file_name("stderr");
    let apart = ["sh".as_ref(), "-c".as_ref(), APART.as_ref(), written.as_os_str()];
    let before = [before, &apart].concat();
    let Output { status, stdout, .. } = lab.output(lab.command_of(scenario, &before))?;
    let asked = lab.log().into_iter().map(|it| {
        let Entry { method, url, status, location, protocol, user_agent, referer, .. } = it;
        format!("{method} {url} {protocol} {user_agent:?} {referer:?}: {status:?} {location:?}")
    });
    let sorted = |lines: &mut dyn Iterator<Item = String>| {
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines.join("\n")
    };
    let asked = sorted(&mut asked.into_iter());
    let mut look = lab.command("sh");
    look.args(["-c", LEFT]);
    let (stderr, left) = (fs::read(written)?, lab.output(look)?.stdout);
    // There is a go.mod in any case.
    ensure!(!left.is_empty(), "nothing is left of what was there before");
    // The lab is another each time, and ports, times and streams have other numbers.
    let dir = lab.module_dir().parent().context("the lab's")?.to_string_lossy().into_owned();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&dir, "LAB");
    let without_digits = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    let stderr = sorted(&mut text(&stderr).lines().map(without_digits));
    Ok([status.to_string(), text(&stdout), stderr, asked, text(&left)])
}
