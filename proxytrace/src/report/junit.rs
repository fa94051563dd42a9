//! The XML of `JUnit`, which every CI shows as test results: a test for each module, which fails with the
//! error that kept it from coming.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::Format;
use super::escape::{LONG, NAME, escape};
use super::summary::module_name;
use crate::model::{Finding, Outcome, ProcessId, Severity, Trace};

/// One `testsuite`.
pub const FORMAT: Format = Format { name: "junit", write };

/// One module of one process, or an error that belongs to none.
#[derive(Default)]
struct Case<'a> {
    nanoseconds: u64,
    errors: Vec<&'a Finding>,
    warnings: Vec<&'a Finding>,
}

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let cases = cases(trace);
    let failures = cases.values().filter(|case| !case.errors.is_empty()).count();
    let took = trace.command.duration_ns;
    let took = took.map_or_else(String::new, |ns| format!(r#" time="{}""#, seconds(ns)));
    let totals = format!(r#"tests="{}" failures="{failures}" errors="0"{took}"#, cases.len());
    writeln!(output, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(output, r#"<testsuites name="proxytrace" {totals}>"#)?;
    let name = text(&trace.command.argv.join(" "));
    let began = match text(&trace.started_at).as_str() {
        // A log does not say when it was.
        "" => String::new(),
        time => format!(r#" timestamp="{time}""#),
    };
    writeln!(output, r#"  <testsuite name="{name}" {totals} skipped="0"{began}>"#)?;
    // No process was traced where preflight asked, or where a log was read.
    let traced = trace.processes.iter().filter(|process| process.pid != 0);
    let pids: BTreeMap<ProcessId, u32> = traced.map(|process| (process.id, process.pid)).collect();
    for ((process, name), case) in &cases {
        let class = match process.and_then(|process| pids.get(&process)) {
            Some(pid) => format!("go pid {pid}"),
            None => "proxytrace".to_owned(),
        };
        let (name, time) = (text(name), seconds(case.nanoseconds));
        let head = format!(r#"    <testcase classname="{class}" name="{name}" time="{time}""#);
        if case.errors.is_empty() && case.warnings.is_empty() {
            writeln!(output, "{head}/>")?;
            continue;
        }
        writeln!(output, "{head}>")?;
        for found in &case.errors {
            let (code, message) = (text(&found.code), text(&found.message));
            let advice = text(&found.advice);
            writeln!(
                output,
                r#"      <failure type="{code}" message="{message}">{advice}</failure>"#
            )?;
        }
        if !case.warnings.is_empty() {
            writeln!(output, "      <system-out>")?;
            for found in &case.warnings {
                let (code, message) = (text(&found.code), text(&found.message));
                writeln!(output, "warning[{code}]: {message}")?;
            }
            writeln!(output, "      </system-out>")?;
        }
        writeln!(output, "    </testcase>")?;
    }
    writeln!(output, "  </testsuite>\n</testsuites>")
}

fn cases(trace: &Trace) -> BTreeMap<(Option<ProcessId>, String), Case<'_>> {
    let mut cases: BTreeMap<_, Case<'_>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for chain in &trace.chains {
        names.insert(chain.id, (Some(chain.process), module_name(chain)));
        // Prefixes of a path that go tried as modules are no tests.
        let tried = chain.version.is_some() || chain.outcome == Outcome::Ok;
        if let Some(name) = module_name(chain).filter(|_| tried) {
            let case = cases.entry((Some(chain.process), name)).or_default();
            case.nanoseconds += chain.duration_ns.unwrap_or(0);
        }
    }
    for finding in trace.findings.iter().filter(|found| found.severity > Severity::Note) {
        let own = || vec![(None, format!("{} {}", finding.code, finding.slug))];
        let mut about: Vec<(Option<ProcessId>, String)> = finding
            .chains
            .iter()
            .filter_map(|id| names.get(id))
            .filter_map(|(process, name)| Some((*process, name.clone()?)))
            .collect();
        about.sort();
        about.dedup();
        for key in if about.is_empty() { own() } else { about } {
            let case = cases.entry(key).or_default();
            match finding.severity {
                Severity::Error => case.errors.push(finding),
                _ => case.warnings.push(finding),
            }
        }
    }
    cases
}

fn seconds(nanoseconds: u64) -> String {
    format!("{:.3}", Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Text for an attribute or an element. What XML cannot hold is escaped already, or left out.
fn text(text: &str) -> String {
    let text = escape(text, if text.len() > NAME { 2 * LONG } else { NAME });
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::model::Trace;
    use crate::report::samples;

    fn written(trace: &Trace) -> String {
        let mut text = Vec::new();
        write(trace, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut trace = samples::healthy();
        let text = written(&trace);
        let whole = r#" errors="0" time="0.812" skipped="0" timestamp="2026-01-02T03:04:05Z">"#;
        assert!(text.contains(whole) && text.contains(r#"classname="go pid 4711""#), "{text}");
        // As `log` has it.
        trace.started_at.clear();
        trace.command.duration_ns = None;
        trace.processes[0].pid = 0;
        let text = written(&trace);
        assert!(text.contains(r#" errors="0" skipped="0">"#), "{text}");
        assert!(text.contains(r#"classname="proxytrace""#) && !text.contains("pid"), "{text}");
    }
}
