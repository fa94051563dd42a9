//! What happened, in Markdown, for the summary of a job: a table of what is wrong, and the report.
//!
//! Whatever others may have chosen stands in code spans and code blocks alone, whose fences are
//! longer than any in it (`CommonMark` 0.31, 6.1 and 4.5).

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Format;
use super::escape::{LONG, NAME, escape};
use super::summary::{Related, is_shown, statement, summary};
use super::terminal::{Options, render};
use crate::model::{Finding, Severity, Trace};

/// A headline, a table and the report.
pub const FORMAT: Format = Format { name: "markdown", write };

/// The report is cut beyond this many bytes: GitHub shows a summary of up to a mebibyte, or none.
const REPORT: usize = 200_000;
/// How many findings are listed.
const ROWS: usize = 50;

/// Whether there is more to say than that all is well.
pub fn is_worth_reading(trace: &Trace) -> bool {
    trace.findings.iter().any(is_shown)
}

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let mut text = format!("### {}\n\n", summary(trace));
    let related = Related::of(trace);
    let told = related.told(trace).into_iter().filter(|(found, _)| is_shown(found));
    let shown: Vec<(&Finding, bool)> = told
        .flat_map(|(found, with)| {
            [(found, false)].into_iter().chain(with.iter().map(|also| (*also, true)))
        })
        .collect();
    if !shown.is_empty() {
        text += "| | | what | modules |\n|---|---|---|---|\n";
        for (finding, is_related) in shown.iter().take(ROWS) {
            text += &row(finding, *is_related);
        }
        if shown.len() > ROWS {
            let _ = writeln!(text, "\n… and {} more", shown.len() - ROWS);
        }
        let report = render(trace, &Options { quiet: true, ..Options::default() });
        let end = report.floor_char_boundary(REPORT);
        let cut = if end < report.len() { "…\n" } else { "" };
        let report = format!("{}{cut}", &report[..end]);
        let fence = fence(&report, 3);
        let _ = write!(
            text,
            "\n<details><summary>how it came to that</summary>\n\n\
             {fence}text\n{report}{fence}\n\n</details>\n"
        );
    }
    text.push('\n');
    output.write_all(text.as_bytes())
}

fn row(finding: &Finding, is_related: bool) -> String {
    let severity = match finding.severity {
        _ if is_related => "↳ also",
        Severity::Error => "❌ error",
        Severity::Warning => "⚠️ warning",
        Severity::Note => "note",
    };
    let modules = match finding.modules.as_slice() {
        [] => String::new(),
        [only] => code(only, NAME),
        [first, rest @ ..] => format!("{} and {} more", code(first, NAME), rest.len()),
    };
    let (number, message) = (code(&finding.code, NAME), code(&statement(finding), LONG));
    format!("| {severity} | {number} | {message} | {modules} |\n")
}

/// A code span in a cell of a table.
fn code(text: &str, room: usize) -> String {
    // In a cell a bar is escaped even within code (GFM 0.29, 4.10).
    let text = escape(text, room).replace('|', "\\|");
    let fence = fence(&text, 1);
    format!("{fence} {text} {fence}")
}

/// More backticks in a row than there are in the text.
fn fence(text: &str, least: usize) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(least.max(longest + 1))
}

#[cfg(test)]
mod tests {
    use super::{code, row};
    use crate::model::Confidence;
    use crate::report::samples;

    #[test]
    fn a_hypothesis_says_that_it_is_one() {
        let mut finding = samples::forbidden().findings.remove(0);
        assert!(row(&finding, false).contains("` storage.example answered"));
        finding.confidence = Confidence::Possible;
        assert!(row(&finding, false).contains("` possible: storage.example answered"));
    }

    #[test]
    fn fences_are_longer_than_what_they_hold() {
        assert_eq!(code("a", 9), "` a `");
        assert_eq!(code("a``b", 9), "``` a``b ```");
        assert_eq!(code("x | <b>", 9), "` x \\| <b> `");
    }
}
