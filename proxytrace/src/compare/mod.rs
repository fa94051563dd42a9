//! What is different between two traces: it worked yesterday, and fails on the runner.
//!
//! Differences come in the order in which causes come before effects: what was run, the Go release,
//! the configuration, and then what was seen, each kind in the order of time. The first of them is
//! what changed first. What one of the traces cannot know is no difference. Names stand for processes
//! and chains, never their numbers, so that two traces of the same run are equal.
#![forbid(unsafe_code)]

mod processes;
mod seen;
mod timings;
mod walks;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::model::Trace;

/// The name and version of the JSON form.
pub const SCHEMA: &str = "proxytrace.diff/v1";

/// What is different, causes before effects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// What the first trace is of.
    pub a: Side,
    /// What the second trace is of.
    pub b: Side,
    /// The differences; the first is what changed first.
    pub differences: Vec<Difference>,
}

/// What a trace is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// RFC 3339; empty where it is not known.
    pub started_at: String,
    /// The command, redacted.
    pub argv: Vec<String>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Whether everything was seen; otherwise what is missing may be no difference.
    pub complete: bool,
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// What kind it is of.
    pub topic: Topic,
    /// What is different: the name of a setting, a host, an artifact.
    pub subject: String,
    /// What else it is true of in the same way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// As it is in the first trace; none if it is not there.
    pub a: Option<String>,
    /// As it is in the second trace.
    pub b: Option<String>,
}

/// Kinds of differences, causes before effects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The arguments.
    Command,
    /// The kernel.
    Machine,
    /// The release of Go.
    GoVersion,
    /// A setting, with its origin.
    Configuration,
    /// A host that was asked, or resolved.
    Host,
    /// Where a host is.
    Address,
    /// The way to an artifact: entries, statuses, redirects, outcome.
    Walk,
    /// What the command came to.
    Exit,
    /// What is wrong.
    Finding,
    /// How long something took, where that differs much.
    Timing,
}

/// Compares two traces, their findings included.
pub fn compare(a: &Trace, b: &Trace) -> Comparison {
    let mut differences = processes::differences(a, b);
    differences.extend(seen::differences(a, b));
    differences.extend(walks::differences(a, b));
    differences.extend(timings::differences(a, b));
    differences.sort_by_key(|difference| difference.topic);
    Comparison { schema: SCHEMA.to_owned(), a: Side::of(a), b: Side::of(b), differences }
}

impl Side {
    fn of(trace: &Trace) -> Self {
        Self {
            started_at: trace.started_at.clone(),
            argv: trace.command.argv.clone(),
            exit_code: trace.command.exit_code,
            complete: trace.capture.complete,
        }
    }
}

/// The difference between two values, if there is one.
fn between(
    topic: Topic,
    subject: &str,
    a: Option<String>,
    b: Option<String>,
) -> Option<Difference> {
    let (subject, also) = (subject.to_owned(), Vec::new());
    (a != b).then_some(Difference { topic, subject, also, a, b })
}

/// Puts together what differs in the same way, in the order of first appearance.
fn grouped(differences: impl IntoIterator<Item = Difference>) -> Vec<Difference> {
    let mut groups: Vec<Difference> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for difference in differences {
        let key = (difference.topic, difference.a.clone(), difference.b.clone());
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(same) => same.also.push(difference.subject),
            None => groups.push(difference),
        }
    }
    groups
}
