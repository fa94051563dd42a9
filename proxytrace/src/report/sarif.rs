//! SARIF 2.1.0, which code scanners and editors read.
//!
//! Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use std::io::{self, Write};

use serde_json::{Value, json};

use super::escape::{LONG, NAME, escape};
use super::summary::{fingerprints, is_shown, place, sentences};
use super::{Format, json as writer};
use crate::diagnose::{CATALOGUE, Kind};
use crate::model::{Confidence, Finding, Role, Severity, Trace};

/// One run, with a result for each error and warning.
pub const FORMAT: Format = Format { name: "sarif", write };

/// How many modules of a finding are named.
const MODULES: usize = 100;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let found: Vec<&Finding> = trace.findings.iter().filter(|finding| is_shown(finding)).collect();
    let kinds = CATALOGUE.iter().filter(|kind| found.iter().any(|one| one.code == kind.code));
    let prints = fingerprints(&found);
    let results: Vec<Value> =
        found.iter().zip(&prints).map(|(finding, print)| result(finding, print)).collect();
    // A log does not say when it was.
    let started = (!trace.started_at.is_empty()).then_some(&trace.started_at);
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "proxytrace",
                "semanticVersion": escape(&trace.proxytrace, NAME),
                "rules": kinds.map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "commandLine": escape(&trace.command.argv.join(" "), LONG),
                "exitCode": trace.command.exit_code,
                "startTimeUtc": started,
                "executionSuccessful": trace.capture.complete,
            }],
            "results": results,
        }],
    });
    writer::value(&without_nulls(log), &mut *output)?;
    output.write_all(b"\n")
}

fn rule(kind: &Kind) -> Value {
    json!({
        "id": kind.code,
        "name": identifier(kind.slug),
        "shortDescription": {"text": kind.title},
        "fullDescription": {"text": kind.explanation},
        "help": {"text": kind.advice},
        "defaultConfiguration": {"level": level(kind.severity)},
    })
}

/// A slug as tools that make SARIF write the names of rules: `RedirectTargetStatus`.
fn identifier(slug: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.ceil_char_boundary(1));
        first.to_uppercase() + rest
    };
    slug.split('-').map(word).collect()
}

fn result(finding: &Finding, fingerprint: &str) -> Value {
    let (path, line) = place(finding);
    let text = sentences(finding);
    let modules = finding.modules.iter().take(MODULES).map(|module| escape(module, NAME));
    json!({
        "ruleId": finding.code,
        "level": level(finding.severity),
        "message": {"text": message(&text)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&escape(path, LONG)), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": line},
        }}],
        "partialFingerprints": {"proxytrace/v1": fingerprint},
        "properties": {
            "modules": modules.collect::<Vec<_>>(),
            "certain": finding.confidence == Confidence::Certain,
            "root": finding.role == Role::Root,
        },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A plain text message, in which brackets would be links and braces placeholders (3.11.5, 3.11.6).
fn message(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in escape(text, 2 * LONG).chars() {
        match c {
            '\\' | '[' | ']' => safe.extend(['\\', c]),
            '{' | '}' => safe.extend([c, c]),
            c => safe.push(c),
        }
    }
    safe
}

/// A path as a relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What is not known is left out: the schema has no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{identifier, message, uri, write};
    use crate::model::Trace;
    use crate::report::samples;

    #[test]
    fn when_it_was_is_absent_where_it_is_not_known() {
        let invocation = |trace: &Trace| {
            let mut text = Vec::new();
            write(trace, &mut text).unwrap();
            let log: Value = serde_json::from_slice(&text).unwrap();
            log["runs"][0]["invocations"][0].clone()
        };
        let mut trace = samples::healthy();
        assert_eq!(invocation(&trace)["startTimeUtc"], "2026-01-02T03:04:05Z");
        trace.started_at.clear();
        assert_eq!(invocation(&trace).get("startTimeUtc"), None);
    }

    #[test]
    fn rules_have_names_like_others() {
        assert_eq!(identifier("redirect-target-status"), "RedirectTargetStatus");
    }

    #[test]
    fn text_makes_no_links() {
        assert_eq!(message(r"[click](https://h/) {0} \["), r"\[click\](https://h/) {{0}} \\\[");
    }

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("a b/go.mod"), "a%20b/go.mod");
        assert_eq!(uri("javascript:x"), "javascript%3Ax");
    }
}
