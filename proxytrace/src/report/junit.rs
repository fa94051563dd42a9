//! The XML of `JUnit`, which every CI shows as test results: a test for each module, which fails with the
//! error that kept it from coming, and is skipped where nobody saw whether it came.
//!
//! Elements and attributes are those of Jenkins's schema, which allows the fewest. GitLab and
//! Buildkite show the texts of elements alone, and Jenkins the first failure of a test: there is
//! one, and its text says all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use super::Format;
use super::chain::word;
use super::escape::{LONG, escape};
use super::summary::{INCOMPLETE, module_name, sentences, statement};
use crate::diagnose::fruitless_probes;
use crate::model::{Chain, ChainId, Finding, Outcome, Process, ProcessId, Severity, Trace};

/// One `testsuite`.
pub const FORMAT: Format = Format { name: "junit", write };

/// What is said where there is no test: Jenkins takes results without any for a failure.
const NONE: &str = "no module to tell of";

/// Whose test it is, and its name. An error that belongs to no module is nobody's.
type Key = (Option<ProcessId>, String);

/// One module of one process, or an error that belongs to none.
#[derive(Default)]
struct Case<'a> {
    nanoseconds: u64,
    /// How a chain of it ended that does not say whether it came.
    open: Option<Outcome>,
    errors: Vec<&'a Finding>,
    warnings: Vec<&'a Finding>,
}

impl Case<'_> {
    /// Why it neither passed nor failed, if it did not.
    fn skipped(&self) -> Option<Outcome> {
        self.open.filter(|_| self.errors.is_empty())
    }
}

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let (cases, classes) = (cases(trace), classes(trace));
    let failures = cases.values().filter(|case| !case.errors.is_empty()).count();
    let skipped = cases.values().filter(|case| case.skipped().is_some()).count();
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
    writeln!(output, r#"  <testsuite name="{name}" {totals} skipped="{skipped}"{began}>"#)?;
    for ((process, name), case) in &cases {
        let class = process.and_then(|process| classes.get(&process));
        let class = class.map_or("proxytrace", |(class, _)| class);
        let (name, time) = (text(name), seconds(case.nanoseconds));
        let head = format!(r#"    <testcase classname="{class}" name="{name}" time="{time}""#);
        match body(case).as_str() {
            "" => writeln!(output, "{head}/>")?,
            body => writeln!(output, "{head}>\n{body}    </testcase>")?,
        }
    }
    let notes = notes(trace, &classes);
    if !notes.is_empty() {
        writeln!(output, "    <system-out>\n{notes}    </system-out>")?;
    }
    writeln!(output, "  </testsuite>\n</testsuites>")
}

/// What stands in a test, in lines: why it was skipped, what failed, and what else there is to say.
fn body(case: &Case<'_>) -> String {
    let mut body = String::new();
    if let Some(outcome) = case.skipped() {
        let _ = writeln!(body, "      <skipped>not known: {}</skipped>", word(&outcome));
    }
    if let Some(first) = case.errors.first() {
        let (code, message) = (text(&first.code), text(&statement(first)));
        let head = format!(r#"<failure type="{code}" message="{message}">"#);
        let all = case.errors.iter().map(|found| format!("{}: {}", found.code, sentences(found)));
        let all: Vec<String> = all.map(|said| text(&said)).collect();
        let _ = writeln!(body, "      {head}{}</failure>", all.join("\n"));
    }
    if !case.warnings.is_empty() {
        body += "      <system-out>\n";
        for found in &case.warnings {
            let (code, message) = (text(&found.code), text(&statement(found)));
            let _ = writeln!(body, "warning[{code}]: {message}");
        }
        body += "      </system-out>\n";
    }
    body
}

/// What is to say of the whole, in lines: which process is which, and what was missed.
fn notes(trace: &Trace, classes: &BTreeMap<ProcessId, (String, u32)>) -> String {
    let mut notes = String::new();
    for (class, pid) in classes.values() {
        let _ = writeln!(notes, "{class}: pid {pid}");
    }
    for found in trace.findings.iter().filter(|found| found.code == INCOMPLETE) {
        let _ = writeln!(notes, "note[{INCOMPLETE}]: {}", text(&statement(found)));
    }
    notes
}

/// What processes are called that asked for modules, and their pids. A CI knows a test again by this
/// name, and pids are others in the next run.
fn classes(trace: &Trace) -> BTreeMap<ProcessId, (String, u32)> {
    let about_modules = trace.chains.iter().filter(|chain| chain.module.is_some());
    let asked: BTreeSet<ProcessId> = about_modules.map(|chain| chain.process).collect();
    // No process was traced where preflight asked, or where a log was read.
    let traced = trace.processes.iter().filter(|one| one.pid != 0 && asked.contains(&one.id));
    let class = |number: u32| if number == 1 { "go".to_owned() } else { format!("go {number}") };
    (1..).zip(traced).map(|(number, one)| (one.id, (class(number), one.pid))).collect()
}

fn cases(trace: &Trace) -> BTreeMap<Key, Case<'_>> {
    let mut cases: BTreeMap<Key, Case<'_>> = BTreeMap::new();
    let (keys, satisfied) = (keys(trace), satisfied(trace));
    let probes = fruitless_probes(trace);
    for chain in &trace.chains {
        // Prefixes of a path that go tried as modules are no tests.
        if (chain.version.is_none() && chain.outcome != Outcome::Ok) || probes.contains(&chain.id) {
            continue;
        }
        let open = is_open(chain.outcome) && !satisfied.contains(&chain.process);
        for key in keys.get(&chain.id).into_iter().flatten() {
            let case = cases.entry(key.clone()).or_default();
            case.nanoseconds += chain.duration_ns.unwrap_or(0);
            case.open = case.open.or(open.then_some(chain.outcome));
        }
    }
    for finding in trace.findings.iter().filter(|found| found.severity > Severity::Note) {
        let own = || BTreeSet::from([(None, format!("{} {}", finding.code, finding.slug))]);
        let about = finding.chains.iter().filter_map(|id| keys.get(id)).flatten();
        let about: BTreeSet<Key> = about.cloned().collect();
        for key in if about.is_empty() { own() } else { about } {
            let case = cases.entry(key).or_default();
            match finding.severity {
                Severity::Error => case.errors.push(finding),
                _ => case.warnings.push(finding),
            }
        }
    }
    if cases.is_empty() {
        // Where not all was seen, nobody knows.
        let open = (!trace.capture.complete).then_some(Outcome::Unknown);
        cases.insert((None, NONE.to_owned()), Case { open, ..Case::default() });
    }
    cases
}

/// The processes that ended well, or became another program: what had not come they did without.
fn satisfied(trace: &Trace) -> BTreeSet<ProcessId> {
    let images = || trace.processes.iter();
    let became: BTreeSet<_> = images().map(|image| (image.parent, image.pid)).collect();
    let is_satisfied =
        |one: &&Process| one.exit_code == Some(0) || became.contains(&(Some(one.id), one.pid));
    images().filter(is_satisfied).map(|one| one.id).collect()
}

/// Whether an outcome leaves open whether something came.
fn is_open(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Canceled | Outcome::Unfinished | Outcome::Unknown)
}

/// The tests that each chain is of. One without a version (a list, a go-get) is of all versions of its
/// module in that process, and of a test of its own where there are none; one without a module is of
/// none.
fn keys(trace: &Trace) -> BTreeMap<ChainId, Vec<Key>> {
    let mut versions: BTreeMap<(ProcessId, &str), BTreeSet<String>> = BTreeMap::new();
    for chain in trace.chains.iter().filter(|chain| chain.version.is_some()) {
        if let (Some(module), Some(name)) = (chain.module.as_deref(), module_name(chain)) {
            versions.entry((chain.process, module)).or_default().insert(name);
        }
    }
    let names = |chain: &Chain| -> Vec<String> {
        let all = chain.module.as_deref().and_then(|module| versions.get(&(chain.process, module)));
        match (&chain.version, all) {
            (None, Some(all)) => all.iter().cloned().collect(),
            _ => module_name(chain).into_iter().collect(),
        }
    };
    let of = |chain: &Chain| -> Vec<Key> {
        names(chain).into_iter().map(|name| (Some(chain.process), name)).collect()
    };
    trace.chains.iter().map(|chain| (chain.id, of(chain))).collect()
}

fn seconds(nanoseconds: u64) -> String {
    format!("{:.3}", Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Text for an attribute or an element. What XML cannot hold is escaped already, or left out.
fn text(text: &str) -> String {
    let text = escape(text, 2 * LONG);
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
    use crate::model::{Artifact, Chain, Confidence, Finding, Outcome, Process, Severity, Trace};
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
        assert!(text.contains(whole) && text.contains(r#"classname="go" "#), "{text}");
        // As `log` has it.
        trace.started_at.clear();
        trace.command.duration_ns = None;
        trace.processes[0].pid = 0;
        let text = written(&trace);
        assert!(text.contains(r#" errors="0" skipped="0">"#), "{text}");
        assert!(text.contains(r#"classname="proxytrace""#) && !text.contains("pid"), "{text}");
    }

    #[test]
    fn there_is_always_a_test() {
        let mut trace = samples::healthy();
        trace.chains.clear();
        let case = r#"<testcase classname="proxytrace" name="no module to tell of" time="0.000""#;
        for (complete, rest, skipped) in
            [(true, "/>", 0), (false, ">\n      <skipped>not known: unknown</skipped>", 1)]
        {
            trace.capture.complete = complete;
            let text = written(&trace);
            let counted = format!(r#" errors="0" time="0.812" skipped="{skipped}""#);
            assert!(text.contains(&format!("{case}{rest}\n")), "{text}");
            assert!(text.contains(&format!(r#"tests="1" failures="0"{counted}"#)), "{text}");
        }
    }

    #[test]
    fn what_never_came_has_not_passed() {
        let case = r#"name="example.com/fine@v1.0.0" time="0.031""#;
        let skipped = |outcome| format!("{case}>\n      <skipped>not known: {outcome}</skipped>\n");
        for (outcome, word) in [
            (Outcome::Unfinished, "unfinished"),
            (Outcome::Canceled, "canceled"),
            (Outcome::Unknown, "unknown"),
        ] {
            let mut trace = samples::comma();
            trace.chains[1].outcome = outcome;
            let text = written(&trace);
            let counted = r#"tests="2" failures="1" errors="0" time="0.812" skipped="1""#;
            assert!(text.contains(&skipped(word)) && text.contains(counted), "{text}");
            // go did without it, or let another release ask.
            let first = trace.processes[0].clone();
            trace.processes[0].exit_code = Some(0);
            let text = written(&trace);
            let passed = format!("{case}/>");
            assert!(text.contains(&passed) && text.contains(r#" skipped="0""#), "{text}");
            trace.processes[0].exit_code = None;
            trace.processes.push(Process { id: 2, parent: Some(first.id), ..first });
            assert!(written(&trace).contains(&passed), "{}", written(&trace));
            // Why it did not come is known.
            trace.processes.truncate(1);
            trace.findings[1].chains = vec![1];
            let text = written(&trace);
            assert!(text.contains(&format!("{case}>\n      <failure")), "{text}");
        }
    }

    #[test]
    fn prefixes_that_are_no_modules_have_not_passed() {
        let text = written(&samples::probed());
        assert!(text.contains(r#"name="golang.org/x/some@v1.0.0" time="0.031"/>"#), "{text}");
        assert!(text.contains(r#"tests="1" failures="0""#), "{text}");
    }

    #[test]
    fn a_failure_says_all_in_its_text() {
        let mut trace = samples::forbidden();
        trace.findings[0].confidence = Confidence::Possible;
        let text = written(&trace);
        let failure = "<failure type=\"PT006\" message=\"possible: storage.example answered 403 to \
                       what proxy.example redirected there\">PT006: possible: storage.example \
                       answered 403 to what proxy.example redirected there. allow this machine";
        assert_eq!(text.matches(failure).count(), 40, "{text}");
    }

    /// Of several Jenkins shows the first.
    #[test]
    fn a_test_has_one_failure_with_all_that_is_wrong() {
        let text = written(&samples::comma());
        let failure = "<failure type=\"PT409\" message=\"proxy.example answered 502\">PT409: \
                       proxy.example answered 502\nPT101: `direct` was not asked: after a 502, `,` \
                       ends the list. write `|` after the entry, or repair the proxy</failure>\n";
        assert!(text.contains(failure), "{text}");
        assert_eq!(text.matches("<failure ").count(), 1, "{text}");
    }

    #[test]
    fn what_is_escaped_keeps_its_middle() {
        let mut trace = samples::comma();
        let module = format!("{}middle{}", "\u{1}".repeat(90), "\u{1}".repeat(90));
        trace.chains[1].module = Some(module);
        assert!(written(&trace).contains("\\x01middle\\x01"), "{}", written(&trace));
    }

    #[test]
    fn what_was_missed_is_said_of_the_whole() {
        let mut trace = samples::incomplete();
        let missed = Finding {
            code: "PT900".to_owned(),
            severity: Severity::Note,
            message: "12 events were lost".to_owned(),
            chains: vec![],
            ..samples::forbidden().findings.remove(0)
        };
        trace.findings.push(missed);
        let end = "    <system-out>\ngo: pid 4711\nnote[PT900]: 12 events were lost\n    \
                   </system-out>\n  </testsuite>\n</testsuites>\n";
        assert!(written(&trace).ends_with(end), "{}", written(&trace));
    }

    #[test]
    fn a_module_is_one_test_of_a_process() {
        let mut trace = samples::comma();
        let fine = trace.chains[1].clone();
        let found = Chain { id: 2, version: None, artifact: Artifact::GoGet, ..fine.clone() };
        let next = Chain { id: 3, version: Some("v1.1.0".to_owned()), ..fine };
        // Another process asked whether there is such a module, and for no version of it.
        let other = Chain { id: 4, process: 2, ..found.clone() };
        let mut process = trace.processes[0].clone();
        (process.id, process.pid) = (2, 12);
        trace.processes.push(process);
        trace.chains.extend([found, next, other]);
        trace.findings[1].chains = vec![0, 2];
        let text = written(&trace);
        let heads = text.lines().filter(|line| line.contains("<testcase"));
        let heads: Vec<&str> = heads.map(|line| line.trim().trim_end_matches(['/', '>'])).collect();
        let case = |class: &str, name: &str, time: &str| {
            format!(r#"<testcase classname="{class}" name="{name}" time="{time}""#)
        };
        let long = "golang.org/x/some/quite/long/module/path@v1.0.0";
        assert_eq!(
            heads,
            [
                case("go", "example.com/fine@v1.0.0", "0.062"),
                case("go", "example.com/fine@v1.1.0", "0.062"),
                case("go", long, "0.031"),
                case("go 2", "example.com/fine", "0.031"),
            ]
        );
        assert_eq!(text.matches("<failure ").count(), 3, "{text}");
        assert!(text.contains("go: pid 4711\ngo 2: pid 12\n"), "{text}");
        // In the next run pids are others, and tests the same.
        trace.processes[0].pid = 99;
        let tests = |text: &str| text.split("\n    <system-out>").next().map(str::to_owned);
        assert_eq!(tests(&written(&trace)), tests(&text));
    }
}
