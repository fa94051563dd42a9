//! What stands around the reports of several builds.

use super::escape::{NAME, escape};
use super::summary::{count, seconds};
use crate::model::Trace;

/// The line above the report of a build; they are counted from one.
pub fn heading(number: usize, trace: &Trace) -> String {
    let began = trace.processes.first().map_or(0, |process| process.started_ns);
    let argv = escape(&trace.command.argv.join(" "), NAME);
    format!("build {number}, at {}: {argv}\n", seconds(began))
}

/// The last line: how many builds there were, and how many requests of other programs.
pub fn total(builds: usize, outside: u64) -> String {
    let builds = count(builds, "build");
    let outside = match outside {
        0 => String::new(),
        one_or_more => {
            let requests = count(usize::try_from(one_or_more).unwrap_or(usize::MAX), "request");
            format!("; {requests} of other programs, which are not told of here")
        }
    };
    format!("proxytrace: {builds}{outside}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::healthy;

    #[test]
    fn builds_are_named_by_their_commands() {
        let mut trace = healthy();
        trace.processes[0].started_ns = 12_340_000_000;
        trace.command.argv.push("\u{1b}[2J".into());
        assert_eq!(heading(2, &trace), "build 2, at 12.3 s: go mod download \\x1b[2J\n");
        assert_eq!(total(1, 0), "proxytrace: 1 build\n");
        let two =
            "proxytrace: 2 builds; 3 requests of other programs, which are not told of here\n";
        assert_eq!(total(2, 3), two);
    }
}
