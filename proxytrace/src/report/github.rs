//! Annotations for GitHub Actions: workflow commands that the runner reads from the log.
//!
//! Source: GitHub's documentation, "Workflow commands for GitHub Actions", and `actions/toolkit`,
//! `packages/core/src/command.ts`, for what is escaped.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Format;
use super::escape::{LONG, NAME, escape};
use super::summary::{Related, count, is_shown, modules, sentences, source, statement};
use crate::model::{Finding, Severity, Trace};

/// A line for each error and warning.
pub const FORMAT: Format = Format { name: "github", write };

/// GitHub shows no more annotations of one kind than these in a step.
const SHOWN: usize = 10;

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    output.write_all(annotations(trace).as_bytes())
}

/// The annotations, each a line of its own; none for a healthy run.
pub fn annotations(trace: &Trace) -> String {
    let mut lines = String::new();
    let related = Related::of(trace);
    let told = related.told(trace);
    for (severity, command) in
        [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "notice")]
    {
        let found: Vec<_> = told
            .iter()
            .filter(|(finding, _)| finding.severity == severity && is_shown(finding))
            .collect();
        let room = if found.len() > SHOWN { SHOWN - 1 } else { SHOWN };
        for (finding, related) in found.iter().take(room) {
            annotation(&mut lines, command, finding, related);
        }
        if let Some(more) = found.len().checked_sub(room).filter(|more| *more > 0) {
            let more = count(more, &format!("more {command}"));
            let _ = writeln!(lines, "::{command} title=proxytrace::{more}: see the log");
        }
    }
    lines
}

fn annotation(lines: &mut String, command: &str, finding: &Finding, related: &[&Finding]) {
    let title = property(format!("{} {}", finding.code, finding.slug).trim_end(), NAME);
    let mut message = escape(&statement(finding), LONG);
    if !finding.modules.is_empty() {
        let _ = write!(message, "\n{}", escape(&modules(finding), LONG));
    }
    if !finding.advice.is_empty() {
        let _ = write!(message, "\n{}", escape(&finding.advice, LONG));
    }
    for also in related {
        let sentences = escape(&sentences(also), 2 * LONG);
        let _ = write!(message, "\n{}: {sentences}", escape(&also.code, NAME));
    }
    // GitHub finds no file outside of the repository.
    let known = source(finding).and_then(|source| Some((source.path.as_ref()?, source.line)));
    let place = known.map_or_else(String::new, |(path, line)| {
        format!("file={},line={line},", property(path, LONG))
    });
    let _ = writeln!(lines, "::{command} {place}title={title}::{}", data(&message));
}

/// Has the runner hide a text wherever it stands in the log from here on.
pub fn mask(secret: &str) -> String {
    format!("::add-mask::{}\n", data(secret))
}

/// The text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of a command, in at most `room` characters but for what is escaped.
fn property(text: &str, room: usize) -> String {
    data(&escape(text, room)).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::{NAME, annotations, data, property};
    use crate::model::{Confidence, Finding, Requirement, Severity};
    use crate::report::samples;

    #[test]
    fn what_the_runner_would_read_is_escaped() {
        assert_eq!(data("100%\r\n::error::x"), "100%25%0D%0A::error::x");
        assert_eq!(property("a,b::c%\n", NAME), "a%2Cb%3A%3Ac%25\\n");
    }

    #[test]
    fn a_line_for_each_problem() {
        assert_snapshot!(annotations(&samples::forbidden()), @r"
        ::error title=PT006::storage.example answered 403 to what proxy.example redirected there%0Aexample.com/m00@v1.0.0, example.com/m01@v1.0.0, example.com/m02@v1.0.0 and 37 more%0Aallow this machine to fetch from storage.example; go's own message names proxy.example
        ");
        assert_eq!(annotations(&samples::healthy()), "");
    }

    #[test]
    fn a_file_is_named_where_the_repository_has_it() {
        let mut trace = samples::forbidden();
        let source = |file: &str, path: Option<&str>| Requirement {
            file: file.to_owned(),
            line: 7,
            module: "example.com/m00".to_owned(),
            version: "v1.0.0".to_owned(),
            path: path.map(str::to_owned),
        };
        trace.findings[0].sources = vec![source("/cache/go.mod", None)];
        assert!(annotations(&trace).starts_with("::error title="), "{}", annotations(&trace));
        trace.findings[0].sources.push(source("/repo/go.mod", Some("go.mod")));
        let lines = annotations(&trace);
        assert!(lines.starts_with("::error file=go.mod,line=7,title="), "{lines}");
        // Without its middle it would name no file.
        let long = format!("{}go.mod", "directory/".repeat(30));
        trace.findings[0].sources = vec![source("/repo/go.mod", Some(long.as_str()))];
        let lines = annotations(&trace);
        assert!(lines.starts_with(&format!("::error file={long},line=7,")), "{lines}");
    }

    /// Once, wherever it is told.
    #[test]
    fn a_hypothesis_says_that_it_is_one() {
        let mut trace = samples::comma();
        for finding in &mut trace.findings {
            finding.confidence = Confidence::Possible;
        }
        let lines = annotations(&trace);
        assert!(lines.contains("::possible: proxy.example answered 502"), "{lines}");
        assert!(lines.contains("%0APT101: possible: `direct` was not asked"), "{lines}");
        assert_eq!(lines.matches("possible: ").count(), 2, "{lines}");
    }

    #[test]
    fn no_more_than_are_shown() {
        let mut trace = samples::forbidden();
        let finding = trace.findings.remove(0);
        for (number, severity) in [(10, Severity::Error), (12, Severity::Warning)] {
            trace.findings.extend((0..number).map(|n| Finding {
                severity,
                message: format!("number {n}"),
                ..finding.clone()
            }));
        }
        let lines = annotations(&trace);
        assert_eq!(lines.lines().filter(|line| line.starts_with("::error ")).count(), 10);
        assert_eq!(lines.lines().filter(|line| line.starts_with("::warning ")).count(), 10);
        assert!(lines.ends_with("::warning title=proxytrace::3 more warnings: see the log\n"));
    }
}
