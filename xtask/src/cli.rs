//! The command line.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::dist::Pace;
use crate::fuzz::SECONDS;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Setup,
    Build {
        release: bool,
    },
    Run(Vec<OsString>),
    Test {
        /// Machines of all kernels.
        all: bool,
        /// Of `cargo test`.
        arguments: Vec<OsString>,
    },
    Vm {
        all: bool,
        /// Of the machines' names.
        beginning: String,
    },
    Golden,
    Fuzz {
        seconds: u32,
    },
    Layouts {
        check: bool,
        releases: Vec<String>,
    },
    /// These parts, or all.
    Bench(Vec<String>),
    /// The benchmark of the agent: costs, or its memory in an hour of load.
    BenchAgent {
        hour: bool,
    },
    /// Its half that runs inside the lab; not for people.
    BenchAgentInside(Vec<OsString>),
    Dist(Pace),
    /// The half of the benchmark that runs inside the lab; not for people.
    BenchInside(Vec<OsString>),
}

/// Usage and purpose, in the order in which one meets them.
const COMMANDS: [(&str, &str); 12] = [
    ("setup", "install what the eBPF build needs and this machine lacks"),
    ("build [--release]", "set up, then build `proxytrace` and the lab"),
    ("run [-- COMMAND…]", "set up, build, and trace COMMAND; without one, a demonstration"),
    (
        "test [--all | ARGUMENTS]",
        "set up, then check and test everything, on all kernels or some; ARGUMENTS go to `cargo test`",
    ),
    (
        "vm [--quick] [NAME…]",
        "the lab on kernels of distributions, those whose name begins so, in virtual machines",
    ),
    ("golden", "record anew the scenarios that the report is tested on"),
    (
        "layouts [--check] [RELEASE…]",
        "write, or check, the table of Go's layouts; RELEASE, such as 1.28.0, is added to it",
    ),
    ("fuzz [SECONDS]", "fuzz what reads hostile bytes, each for SECONDS"),
    (
        "bench [PART…]",
        "measure what tracing costs, beside others; PART is version, 200, 50, 1000, plain, crowd or rooms",
    ),
    (
        "bench agent [hour]",
        "measure what the fleet agent costs, at rest and under load; or its memory in an hour of load",
    ),
    (
        "dist [--quick]",
        "build what is released: static programs, packages, checksums; use them; --quick packs what the tests run",
    ),
    ("help", "print this list"),
];

/// The list of commands.
pub(crate) fn help() -> String {
    let width = COMMANDS.iter().map(|(usage, _)| usage.chars().count()).max().unwrap_or(0);
    let mut text = String::from("Usage: cargo xtask COMMAND\n\nCommands:\n");
    for (usage, about) in COMMANDS {
        writeln!(text, "  {usage:width$}  {about}").expect("a string takes all");
    }
    text
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task> {
    let mut arguments = arguments.into_iter();
    let Some(name) = arguments.next() else { return Ok(Task::Help) };
    let rest: Vec<OsString> = arguments.collect();
    let words: Vec<&str> = rest.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    if matches!(words.first(), Some(&("--help" | "-h"))) {
        return Ok(Task::Help);
    }
    Ok(match (name.to_str().unwrap_or_default(), &*words) {
        ("help" | "--help" | "-h", _) => Task::Help,
        ("setup", []) => Task::Setup,
        ("build", []) => Task::Build { release: false },
        ("build", ["--release"]) => Task::Build { release: true },
        ("run", [] | ["--"]) => Task::Run(Vec::new()),
        ("run", ["--", ..]) => Task::Run(rest[1..].to_vec()),
        ("run", _) => bail!("the command to trace follows `--`: cargo xtask run -- COMMAND…"),
        ("test", ["--all"]) => Task::Test { all: true, arguments: Vec::new() },
        ("test", ["--all", ..]) => bail!("`--all` is for everything: it takes no arguments"),
        ("test", _) => Task::Test { all: false, arguments: rest },
        ("vm", ["--quick", words @ ..]) => Task::Vm { all: false, beginning: words.join(" ") },
        ("vm", words) => Task::Vm { all: true, beginning: words.join(" ") },
        ("golden", []) => Task::Golden,
        ("fuzz", []) => Task::Fuzz { seconds: SECONDS },
        ("fuzz", [seconds]) => match seconds.parse() {
            Ok(seconds) => Task::Fuzz { seconds },
            Err(_) => bail!("`{seconds}` is no number of seconds\n\n{}", help()),
        },
        ("layouts", ["--check", releases @ ..]) => layouts(true, releases)?,
        ("layouts", releases) => layouts(false, releases)?,
        ("bench", ["agent"]) => Task::BenchAgent { hour: false },
        ("bench", ["agent", "hour"]) => Task::BenchAgent { hour: true },
        ("bench-agent-inside", _) => Task::BenchAgentInside(rest),
        ("bench", parts) => Task::Bench(parts.iter().map(ToString::to_string).collect()),
        ("dist", []) => Task::Dist(Pace::Release),
        ("dist", ["--quick"]) => Task::Dist(Pace::Quick),
        ("bench-inside", _) => Task::BenchInside(rest),
        (known @ ("setup" | "build" | "golden" | "dist"), [word, ..]) => {
            bail!("`{known}` takes no `{word}`\n\n{}", help())
        }
        _ => bail!("there is no `{}`\n\n{}", name.display(), help()),
    })
}

fn layouts(check: bool, releases: &[&str]) -> Result<Task> {
    if let Some(word) = releases.iter().find(|word| !word.starts_with("1.")) {
        bail!("`{word}` is no release of Go, such as 1.27.3\n\n{}", help());
    }
    Ok(Task::Layouts { check, releases: releases.iter().map(ToString::to_string).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(Into::into)).map_err(|error| error.to_string())
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn each_command_is_read() {
        assert_eq!(parsed(""), Ok(Task::Help));
        assert_eq!(parsed("--help"), Ok(Task::Help));
        assert_eq!(parsed("vm --help"), Ok(Task::Help));
        assert_eq!(parsed("test --help"), Ok(Task::Help));
        assert_eq!(parsed("dist -h"), Ok(Task::Help));
        assert_eq!(parsed("setup"), Ok(Task::Setup));
        assert_eq!(parsed("build"), Ok(Task::Build { release: false }));
        assert_eq!(parsed("build --release"), Ok(Task::Build { release: true }));
        assert_eq!(parsed("run"), Ok(Task::Run(vec![])));
        let test = |all| Task::Test { all, arguments: vec![] };
        assert_eq!(parsed("test"), Ok(test(false)));
        assert_eq!(parsed("test --all"), Ok(test(true)));
        assert_eq!(parsed("golden"), Ok(Task::Golden));
        assert_eq!(parsed("bench"), Ok(Task::Bench(vec![])));
        assert_eq!(parsed("bench agent"), Ok(Task::BenchAgent { hour: false }));
        assert_eq!(parsed("bench agent hour"), Ok(Task::BenchAgent { hour: true }));
        assert_eq!(parsed("bench 200 50"), Ok(Task::Bench(vec!["200".into(), "50".into()])));
        let vm = |all, beginning: &str| Task::Vm { all, beginning: beginning.to_owned() };
        assert_eq!(parsed("vm"), Ok(vm(true, "")));
        assert_eq!(parsed("vm --quick"), Ok(vm(false, "")));
        assert_eq!(parsed("vm amd64 6.1"), Ok(vm(true, "amd64 6.1")));
        assert_eq!(parsed("dist"), Ok(Task::Dist(Pace::Release)));
        assert_eq!(parsed("dist --quick"), Ok(Task::Dist(Pace::Quick)));
        assert_eq!(parsed("fuzz"), Ok(Task::Fuzz { seconds: SECONDS }));
        assert_eq!(parsed("fuzz 60"), Ok(Task::Fuzz { seconds: 60 }));
        let layouts = |check, releases: &[&str]| Task::Layouts {
            check,
            releases: releases.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(parsed("layouts"), Ok(layouts(false, &[])));
        assert_eq!(parsed("layouts 1.28.0"), Ok(layouts(false, &["1.28.0"])));
        assert_eq!(parsed("layouts --check"), Ok(layouts(true, &[])));
        assert_eq!(parsed("layouts --check 1.27.3"), Ok(layouts(true, &["1.27.3"])));
    }

    #[test]
    fn a_command_to_trace_keeps_its_own_options() {
        assert_eq!(parsed("run -- go -- --help"), Ok(Task::Run(words("go -- --help"))));
    }

    #[test]
    fn arguments_for_cargo_pass_through() {
        let line = "-p proxytrace -- --help";
        let test = Task::Test { all: false, arguments: words(line) };
        assert_eq!(parsed(&format!("test {line}")), Ok(test));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert!(parsed("run go").unwrap_err().contains("follows `--`"));
        assert!(parsed("build --debug").unwrap_err().contains("`build` takes no `--debug`"));
        assert!(parsed("test --all -p xtask").unwrap_err().contains("takes no arguments"));
        assert!(parsed("layouts --chek").unwrap_err().contains("`--chek` is no release"));
        assert!(parsed("fuzz long").unwrap_err().contains("`long` is no number"));
        assert!(parsed("tset").unwrap_err().contains("there is no `tset`"));
        assert!(parsed("bench-agent").unwrap_err().contains("there is no `bench-agent`"));
    }

    #[test]
    fn the_help_names_every_command() {
        for (usage, _) in COMMANDS {
            let name = usage.split(' ').next().unwrap();
            assert!(parsed(name).is_ok(), "{name}");
            assert!(help().contains(usage), "{usage}");
        }
    }
}
