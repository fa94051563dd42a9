//! What a server, a repository or a user may choose to deceive whoever reads the report, in every
//! text of a trace at once: inert in every format.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proxytrace::compare::compare;
use proxytrace::export::metrics::{Limits, Registry};
use proxytrace::export::{self, Build, prometheus, rows};
use proxytrace::model::Trace;
use proxytrace::report;
use proxytrace::report::json::SCHEMA;
use proxytrace::report::terminal::{Options, render};
use proxytrace::rewalk::rewalk;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario};
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::{cases, golden};
use pulldown_cmark::{Event, Options as Extensions, Parser, Tag, TagEnd};
use serde_json::Value;

use crate::outputs;
use crate::traces::written;

/// Each for another reader.
pub(crate) const TEXTS: [&str; 7] = [
    // A terminal: title, colours, cursor, C1 controls, text that is reordered or hidden.
    "\u{1b}]0;owned\u{7}\u{1b}[31m\u{1b}[2J\u{9b}2J\r\n\u{202e}evil\u{2066}\u{200b}\u{feff}\0\u{7f}",
    // GitHub's runner, in its new words and its old ones, that of Azure Pipelines, and TeamCity's.
    "\n::error file=x::owned\n::add-mask::a\n##[set-env name=A]b\r::stop-commands::x\n%0A::error::y ##vso[task.setvariable variable=A]b ##VSO[task.complete]c ##teamcity[buildStatus status='SUCCESS' text='d']",
    // Markdown.
    "[click](https://evil.lab/) ![x](https://evil.lab/x.png) `code` ``` | </details> <b> @everyone \n\n# H\n```\n~~~",
    // HTML and XML.
    "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>\"'><!--]]>&lt;&#60;",
    // SARIF, JSON, a shell.
    "{0} [a](1) \\ \" ' $(touch owned) ; `id` \u{2028}\u{2029}",
    // What is left of bytes that are no UTF-8, and the ends of Unicode.
    "\u{fffd}\u{fffe}\u{ffff}\u{10ffff}\u{e0041}ä模\u{301}",
    "",
];

/// What a browser might run.
pub(crate) fn markup() -> String {
    format!("{}{}javascript:window.hit=1", TEXTS[3], TEXTS[0])
}

/// Members whose values are words of ours: those that the schema has a list of words for, and some
/// that others have no say in.
static OURS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    let is_word = |reference: &Value| {
        let name = reference.as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        let definition = name.map(|name| &definitions[name]);
        definition.is_some_and(|one| one.get("enum").or(one.get("oneOf")).is_some())
    };
    let members = definitions.values().filter_map(|one| one["properties"].as_object()).flatten();
    let words = members.filter(|(_, member)| {
        let any = member["anyOf"].as_array().into_iter().flatten();
        any.chain([*member]).any(|one| is_word(&one["$ref"]))
    });
    let fixed = ["schema", "started_at", "code", "slug"].map(String::from);
    words.map(|(name, _)| name.clone()).chain(fixed).collect()
});

/// Puts a text into every string of a trace that is not a word of ours.
pub(crate) fn spoil(trace: &mut Trace, text: &str) {
    let mut value = serde_json::to_value(&*trace).unwrap();
    put(&mut value, text);
    *trace = serde_json::from_value(value).unwrap();
}

fn put(value: &mut Value, text: &str) {
    match value {
        Value::String(old) => text.clone_into(old),
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, text)),
        Value::Object(members) => {
            let others = members.iter_mut().filter(|(name, _)| !OURS.contains(name.as_str()));
            others.for_each(|(_, value)| put(value, text));
        }
        _ => {}
    }
}

fn spoiled(text: &str) -> Trace {
    let mut trace = golden::named("redirect-403");
    spoil(&mut trace, text);
    trace
}

#[track_caller]
fn assert_inert(format: &str, text: &str) {
    let obeyed = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert_eq!(text.chars().find(obeyed), None, "{format}");
}

/// Every report for people that has text of others in it, by name.
fn reports(trace: &Trace) -> Vec<(&'static str, String)> {
    let mut reports = Vec::new();
    for (verbose, width) in [(false, None), (true, None), (false, Some(60))] {
        let options = Options { verbose, width, ..Options::default() };
        reports.push(("text", render(trace, &options)));
        let comparison = compare(&golden::named("redirect-403"), trace);
        reports.push(("diff", report::compare::render(&comparison, ("a", "b"), &options)));
        let prediction = rewalk(trace, "https://mirror.lab,direct");
        reports.extend(
            prediction.ok().map(|one| ("replay --goproxy", report::rewalk::render(&one, &options))),
        );
    }
    reports
}

/// What goes to monitoring as text.
fn exports(trace: &Trace) -> Vec<(&'static str, String)> {
    let build = Build::new(trace.clone());
    let host = export::Host { name: "host.lab".into(), id: None, group: "a".into() };
    let rows = rows::lines(&build, &host).map(|lines| String::from_utf8(lines.bytes).unwrap());
    let mut registry = Registry::new(Limits::default(), 0.0);
    registry.observe(&build);
    let mut text = Vec::new();
    prometheus::write(&registry, &mut text).unwrap();
    vec![("rows", rows.concat()), ("prometheus", String::from_utf8(text).unwrap())]
}

#[test]
fn no_terminal_obeys_any_format() {
    for hostile in TEXTS {
        let trace = spoiled(hostile);
        for format in &report::FORMATS {
            let text = String::from_utf8(written(format.name, &trace)).unwrap();
            // The page has its own script, in which controls are spelled out.
            assert_inert(format.name, &text);
        }
        for (name, text) in reports(&trace).into_iter().chain(exports(&trace)) {
            assert_inert(name, &text);
        }
    }
    assert!(
        reports(&golden::named("redirect-403")).iter().any(|(name, _)| *name == "replay --goproxy")
    );
}

/// What servers really sent through a real go, up to what it lets pass.
const SERVED: Scenario = Scenario {
    name: "hostile",
    about: "servers that choose their words to deceive who reads of them",
    modules: Modules { prefix: "mod.lab/m", count: 2, others: &[] },
    goproxy: "https://proxy.lab,https://mirror.lab",
    hosts: &[
        Host {
            name: "proxy.lab",
            protocol: Protocol::H1,
            rules: &[
                Rule {
                    pattern: "*m01*.zip",
                    action: Action::Status(
                        302,
                        &[
                            (
                                "Location",
                                "https://storage.lab/\u{9b}2J\u{202e}#</script>##[error]`|",
                            ),
                            ("Server", "\u{9b}31m</script><img src=x onerror=window.hit=1>"),
                            ("Via", "::error file=x::owned %0A##[group]x"),
                            (
                                "X-Cache",
                                "[click](https://evil.lab/) ``` @everyone \u{2028}\u{feff}",
                            ),
                        ],
                    ),
                },
                Rule { pattern: "*", action: Action::Serve },
            ],
            trouble: None,
        },
        Host {
            name: "storage.lab",
            protocol: Protocol::H1,
            rules: &[Rule {
                pattern: "*",
                action: Action::Status(
                    403,
                    &[
                        ("Content-Type", "text/plain; charset=\"\u{9b}0m\u{202e}\""),
                        ("WWW-Authenticate", "Basic realm=\"::stop-commands::x\u{9b}\""),
                        ("Retry-After", "<b>\u{2066}"),
                    ],
                ),
            }],
            trouble: None,
        },
        Host {
            name: "mirror.lab",
            protocol: Protocol::H2,
            rules: &[Rule { pattern: "*", action: Action::Serve }],
            trouble: None,
        },
    ],
    succeeds: false,
    ..Scenario::BASE
};

#[test]
fn what_servers_say_is_inert_in_all_that_is_written() {
    if !cases::can_start() {
        return;
    }
    let lab = Lab::start(&SERVED, &Toolchain::newest().unwrap()).unwrap();
    let outputs = outputs::of_download(&lab, &[], &[]);
    for (name, text) in &outputs {
        assert_inert(name, text);
    }
    let report = outputs::named(&outputs, "report");
    assert!(report.contains("403  storage.lab") && !report.contains("##["), "{report}");
    let trace: Trace = serde_json::from_str(outputs::named(&outputs, "json")).unwrap();
    let requests = trace.chains.iter().flat_map(|chain| &chain.attempts).flat_map(|a| &a.requests);
    let locations = requests.filter_map(|request| request.location.as_deref());
    assert!(locations.filter(|location| location.contains('\u{202e}')).count() > 0);
}

#[test]
fn json_says_exactly_what_the_trace_says() {
    for hostile in TEXTS {
        let trace = spoiled(hostile);
        assert_eq!(serde_json::from_slice::<Trace>(&written("json", &trace)).unwrap(), trace);
        for format in ["har", "gitlab", "sarif"] {
            serde_json::from_slice::<Value>(&written(format, &trace)).unwrap();
        }
        for line in written("ndjson", &trace).split(|byte| *byte == b'\n') {
            assert!(line.is_empty() || serde_json::from_slice::<Value>(line).is_ok());
        }
    }
}

#[test]
fn a_runner_gets_our_commands_alone() {
    let plain = String::from_utf8(written("github", &golden::named("redirect-403"))).unwrap();
    for hostile in TEXTS {
        let trace = spoiled(hostile);
        let text = String::from_utf8(written("github", &trace)).unwrap();
        assert_eq!(text.lines().count(), plain.lines().count(), "{text}");
        for line in text.lines() {
            assert!(
                line.starts_with("::error title=PT006") || line.starts_with("::error file="),
                "{line}"
            );
        }
        // So may these, where they go to stdout.
        for format in ["json", "ndjson", "har"] {
            assert!(!written(format, &trace).contains(&b'#'), "{format}");
        }
        // The report stands in the same log: a command begins a line, or follows `##[`, `##vso[` or
        // `##teamcity[` anywhere.
        for (name, report) in reports(&trace) {
            let lower = report.to_ascii_lowercase();
            let found = ["##[", "##vso[", "##teamcity["].map(|one| lower.contains(one));
            assert_eq!(found, [false; 3], "{name}: {report}");
            let command = report.lines().find(|line| line.trim_start().starts_with("::"));
            assert_eq!(command, None, "{name}");
        }
    }
}

#[test]
fn markdown_makes_no_links_and_no_markup() {
    for hostile in TEXTS {
        let text = String::from_utf8(written("markdown", &spoiled(hostile))).unwrap();
        let (mut html, mut in_code) = (Vec::new(), false);
        for event in Parser::new_ext(&text, Extensions::all()) {
            match event {
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) => panic!("{text}"),
                Event::Html(markup) | Event::InlineHtml(markup) => html.push(markup.to_string()),
                Event::Start(Tag::CodeBlock(_)) => in_code = true,
                Event::End(TagEnd::CodeBlock) => in_code = false,
                // A code span is another event.
                Event::Text(text) => assert!(in_code || !text.contains("@everyone"), "{text}"),
                _ => {}
            }
        }
        let ours = ["<details><summary>how it came to that</summary>\n", "</details>\n"];
        assert_eq!(html, ours, "{text}");
    }
}

#[test]
fn a_page_and_junit_have_no_more_tags_than_without() {
    for (format, marks) in
        [("html", &["<script", "</script", "<img", "<!--"][..]), ("junit", &["<"])]
    {
        let count = |trace: &Trace, mark: &str| {
            String::from_utf8(written(format, trace)).unwrap().matches(mark).count()
        };
        for hostile in TEXTS {
            for mark in marks {
                let (plain, spoiled) = (golden::named("redirect-403"), spoiled(hostile));
                // All modules have one name now: fewer tests.
                assert!(count(&spoiled, mark) <= count(&plain, mark), "{format} {mark} {hostile}");
            }
        }
    }
}

#[test]
fn a_mebibyte_in_every_text_is_cut_for_people() {
    let long = "\u{1b}[31m<b>`".repeat(1 << 17);
    let trace = spoiled(&long);
    for format in ["github", "gitlab", "sarif", "junit"] {
        let bytes = written(format, &trace).len();
        assert!(bytes < 200_000, "{format}: {bytes} bytes");
    }
    let bytes = written("markdown", &trace).len();
    assert!(bytes < 1 << 20, "{bytes}");
    for (name, report) in reports(&trace) {
        assert!(report.len() < 4 << 20, "{name}: {}", report.len());
    }
}
