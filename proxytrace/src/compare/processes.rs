//! What was run, by which go, and how that was configured.

use std::collections::BTreeMap;

use super::{Difference, Topic, between};
use crate::event::{Origin, Setting};
use crate::golog;
use crate::model::{Process, Trace};

/// Settings that are as different as the machines, and change nothing on the way to a module.
const OF_THE_MACHINE: &[&str] = &["GOMODCACHE", "GOENV"];

/// `go` commands by what they were asked to do, and which of those that were asked the same.
type Commands<'a> = BTreeMap<(String, usize), &'a Process>;

pub(super) fn differences(a: &Trace, b: &Trace) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let kernel = |trace: &Trace| Some(trace.kernel.clone()).filter(|kernel| !kernel.is_empty());
    found.extend(of_both(Topic::Machine, "kernel", kernel(a).zip(kernel(b))));
    let exit = |trace: &Trace| trace.command.exit_code.map(|code| code.to_string());
    found.extend(of_both(Topic::Exit, "exit code", exit(a).zip(exit(b))));
    // Of what was run a log says no more than that it was go.
    if [a, b].iter().any(|trace| trace.capture.backend == golog::BACKEND) {
        return found;
    }
    let argv = |trace: &Trace| Some(trace.command.argv.join(" "));
    found.extend(between(Topic::Command, "command", argv(a), argv(b)));

    let (ours, theirs) = (commands(a), commands(b));
    let all = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
    for key in all {
        let name = if key.1 == 0 { key.0.clone() } else { format!("{} ({})", key.0, key.1 + 1) };
        match (ours.get(key), theirs.get(key)) {
            (Some(a), Some(b)) => {
                let version = |process: &Process| process.go_version.clone();
                found.extend(between(Topic::GoVersion, &name, version(a), version(b)));
                found.extend(settings(a, b));
            }
            (a, b) => {
                let ran = |process: Option<&&Process>| process.map(|_| "ran".to_owned());
                found.extend(between(Topic::Command, &name, ran(a), ran(b)));
            }
        }
    }
    unique(found)
}

/// The difference between what is known of both: a log does not say how it ended, nor where it was,
/// and a recording that was cut not how it ended.
fn of_both(topic: Topic, subject: &str, values: Option<(String, String)>) -> Option<Difference> {
    let (a, b) = values?;
    between(topic, subject, Some(a), Some(b))
}

fn commands(trace: &Trace) -> Commands<'_> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let go = trace.processes.iter().filter(|process| process.go_version.is_some());
    go.map(|process| {
        let arguments = process.argv.get(1..).unwrap_or_default();
        let name = std::iter::once("go").chain(arguments.iter().map(String::as_str));
        let name = name.collect::<Vec<_>>().join(" ");
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        ((name, *count - 1), process)
    })
    .collect()
}

fn settings(a: &Process, b: &Process) -> Vec<Difference> {
    let only_in_b = b.config.keys().filter(|name| !a.config.contains_key(*name));
    let names = a.config.keys().chain(only_in_b);
    let names = names.filter(|name| !OF_THE_MACHINE.contains(&name.as_str()));
    let of = |process: &Process, name: &str| process.config.get(name).map(told);
    names.filter_map(|name| between(Topic::Configuration, name, of(a, name), of(b, name))).collect()
}

/// `https://proxy.golang.org,direct (goroot-file)`
fn told(setting: &Setting) -> String {
    let origin = match setting.origin {
        Origin::Environment => "environment",
        Origin::UserFile => "user-file",
        Origin::GorootFile => "goroot-file",
        Origin::Default => "default",
    };
    format!("{} ({origin})", setting.value)
}

/// A setting of many commands is told once.
fn unique(differences: Vec<Difference>) -> Vec<Difference> {
    let mut unique: Vec<Difference> = Vec::new();
    for difference in differences {
        if !unique.contains(&difference) {
            unique.push(difference);
        }
    }
    unique
}
