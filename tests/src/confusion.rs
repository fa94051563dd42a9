//! Which findings each scenario has and which it should have, as a table: for people, where
//! `LAB_CONFUSION` names a file to write it to. The comparison itself is in `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::{env, fs};

use crate::scenario::{Scenario, Severity};
use crate::toolchain::Toolchain;
use proxytrace::diagnose::CATALOGUE;

const FILE_VAR: &str = "LAB_CONFUSION";

/// Found and expected.
type Pair = (Vec<String>, Vec<String>);

/// By scenario and release.
static NOTED: Mutex<BTreeMap<(&str, String), Pair>> = Mutex::new(BTreeMap::new());

/// Remembers one run.
///
/// # Panics
///
/// If another run has panicked here.
pub fn note(scenario: &Scenario, toolchain: &Toolchain, found: &BTreeSet<(&str, Severity)>) {
    let codes = |set: &BTreeSet<(&str, Severity)>| {
        let code = |(code, severity): &(&str, Severity)| {
            format!(
                "{code}{}",
                match severity {
                    Severity::Error => "",
                    Severity::Warning => "w",
                    Severity::Note => "n",
                }
            )
        };
        set.iter().map(code).collect::<Vec<_>>()
    };
    let allowed = found.iter().filter(|(code, _)| !scenario.sometimes.contains(code));
    let pair = (codes(&allowed.copied().collect()), codes(&scenario.expected(toolchain)));
    let mut noted = NOTED.lock().expect("no panic while locked");
    noted.insert((scenario.name, toolchain.version.clone()), pair);
}

/// Writes the table when it is dropped, if that is wanted: also where a comparison has failed.
#[derive(Debug)]
pub struct Table;

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(file) = env::var_os(FILE_VAR)
            && let Err(error) = fs::write(&file, table())
        {
            eprintln!("cannot write {}: {error}", file.display());
        }
    }
}

fn table() -> String {
    let noted = NOTED.lock().expect("no panic while locked");
    let releases: BTreeSet<&str> = noted.keys().map(|(_, release)| release.as_str()).collect();
    let mut text = String::from("| scenario | expected |");
    let mut line = String::from("|---|---|");
    for release in &releases {
        let _ = write!(text, " {release} |");
        line += "---|";
    }
    text = format!("{text}\n{line}\n");
    for scenario in Scenario::all() {
        let runs: Vec<_> = releases
            .iter()
            .map(|release| noted.get(&(scenario.name, (*release).to_owned())))
            .collect();
        let Some((_, expected)) = runs.iter().flatten().last() else { continue };
        let _ = write!(text, "| {} | {} |", scenario.name, expected.join(" "));
        for run in runs {
            let cell = match run {
                None => "not run".to_owned(),
                Some((found, expected)) if found == expected => "as expected".to_owned(),
                Some((found, _)) => format!("**{}**", found.join(" ")),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    let all: Vec<&str> = noted.values().flat_map(|(_, e)| e).map(|code| &code[..5]).collect();
    let never = CATALOGUE.iter().filter(|kind| !all.contains(&kind.code)).map(|kind| kind.code);
    let never: Vec<&str> = never.collect();
    let quiet = Scenario::all().iter().filter(|scenario| scenario.is_quiet()).count();
    let _ = write!(
        text,
        "\n{} runs; {quiet} scenarios in which nothing may be more than a note. In no scenario: {}.\n",
        noted.len(),
        never.join(" ")
    );
    text
}
