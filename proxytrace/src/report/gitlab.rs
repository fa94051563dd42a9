//! GitLab's code quality report: what its merge requests show.
//!
//! Source: GitLab's documentation, "Code Quality", "Implement a custom tool".

use std::io::{self, Write};

use serde::Serialize;

use super::escape::{LONG, NAME, escape};
use super::summary::{fingerprints, is_shown, place, sentences};
use super::{Format, json};
use crate::model::{Finding, Severity, Trace};

/// A JSON array with an object for each error and warning.
pub const FORMAT: Format = Format { name: "gitlab", write };

#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<&Finding> = trace.findings.iter().filter(|finding| is_shown(finding)).collect();
    let prints = fingerprints(&shown);
    let issues: Vec<Issue> =
        shown.into_iter().zip(prints).map(|(finding, print)| issue(finding, print)).collect();
    json::value(&issues, &mut *output)?;
    output.write_all(b"\n")
}

fn issue(finding: &Finding, fingerprint: String) -> Issue {
    let (path, line) = place(finding);
    let text = format!("{}: {}", finding.code, sentences(finding));
    Issue {
        description: escape(&text, 2 * LONG),
        check_name: escape(&finding.slug, NAME),
        fingerprint,
        severity: match finding.severity {
            Severity::Error => "major",
            Severity::Warning => "minor",
            Severity::Note => "info",
        },
        location: Location { path: escape(path, LONG), lines: Lines { begin: line } },
    }
}
