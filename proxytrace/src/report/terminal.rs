//! The report for a person at a terminal: one line when all is well, otherwise what is wrong, with
//! the requests that show it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::chain::{Drawing, pid, subject, title, word};
use super::escape::{LONG, NAME, escape};
use super::network;
use super::paint::{FAINT, FRAME, Paint, STRONG, severity};
use super::summary::{INCOMPLETE, Related, count, summary};
use super::wrap::wrap;
use crate::event::Origin;
use crate::model::{ChainId, Confidence, Finding, RequestId, Role, Severity, Trace};

/// What it says if diagnosis did not find words.
const MISSED: &str = "the capture is incomplete: what is missing may change the findings";
/// How many further modules are named.
const MODULES: usize = 3;
/// Room for a message or an advice, which may have URLs in it.
const MESSAGE: usize = 2 * LONG;

/// How to write the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether to use colours.
    pub color: bool,
    /// Columns of the terminal, to wrap texts and shorten URLs to; none writes them whole.
    pub width: Option<usize>,
    /// Notes as well, every chain, every detail.
    pub verbose: bool,
    /// Errors and warnings alone: no summary.
    pub quiet: bool,
}

/// The report: complete lines, or nothing.
pub fn render(trace: &Trace, options: &Options) -> String {
    let mut report = Report { trace, options, paint: Paint(options.color), drawn: BTreeSet::new() };
    let mut blocks = Vec::new();
    if options.verbose {
        blocks.extend(report.configuration());
    }
    let related = Related::of(trace);
    let mut findings = related.told(trace);
    findings.retain(|(found, _)| report.shows(found));
    findings.sort_by_key(|(found, _)| (Reverse(found.severity), found.role != Role::Root));
    blocks.extend(findings.into_iter().map(|(found, with)| report.finding(found, with)));
    if options.verbose {
        blocks.extend(report.other_chains());
        blocks.extend(network::blocks(trace, report.paint));
    }
    blocks.extend(report.incomplete());
    if !options.quiet {
        blocks.push(summary(trace) + "\n");
    }
    blocks.join("\n")
}

struct Report<'a> {
    trace: &'a Trace,
    options: &'a Options,
    paint: Paint,
    drawn: BTreeSet<ChainId>,
}

impl Report<'_> {
    fn shows(&self, finding: &Finding) -> bool {
        finding.code != INCOMPLETE && (self.options.verbose || finding.severity > Severity::Note)
    }

    fn finding(&mut self, finding: &Finding, related: &[&Finding]) -> String {
        let mut text =
            self.head(finding.severity, &finding.code, finding.confidence, &finding.message);
        if let Some(chain) = finding.chain {
            text += &self.place(chain, &finding.requests);
        }
        if let [_, others @ ..] = finding.modules.as_slice()
            && !others.is_empty()
        {
            let room = if self.options.verbose { others.len() } else { MODULES };
            let names: Vec<String> = others.iter().take(room).map(|m| escape(m, NAME)).collect();
            let more = if others.len() > room { ", …" } else { "" };
            let number = count(others.len(), "more module");
            text += &self.remark("note", &format!("and {number}: {}{more}", names.join(", ")));
        }
        if let [first, others @ ..] = finding.sources.as_slice() {
            let asked = format!("{}@{}", first.module, first.version);
            let more = match others.len() {
                0 => String::new(),
                others => {
                    format!(", and {others} more {}", if others == 1 { "line" } else { "lines" })
                }
            };
            let place = format!("{}:{}", escape(&first.file, NAME), first.line);
            let asked = escape(&asked, NAME);
            text += &self.remark("note", &format!("{asked} is asked for at {place}{more}"));
        }
        if let Some((line, host)) = super::words::misleading(self.trace, finding) {
            let (line, host) = (escape(line, MESSAGE), escape(host, NAME));
            text += &self.remark("note", &format!("go printed `{line}`; what failed was {host}"));
        }
        if !finding.advice.is_empty() {
            text += &self.remark("help", &escape(&finding.advice, MESSAGE));
        }
        for also in related {
            let label = format!("also[{}]{}", escape(&also.code, NAME), doubt(also.confidence));
            text += &self.remark(&label, &escape(&also.message, MESSAGE));
            if !also.advice.is_empty() {
                text += &self.remark("help", &escape(&also.advice, MESSAGE));
            }
        }
        text
    }

    /// `error[PT006]: message`
    fn head(&self, is: Severity, code: &str, confidence: Confidence, message: &str) -> String {
        let (name, style) = severity(is);
        let label = self.paint.on(style, &format!("{name}[{}]", escape(code, NAME)));
        let possible = doubt(confidence);
        let taken = name.len() + code.chars().count() + possible.len() + "[]: ".len();
        let message = self.wrapped(&escape(message, MESSAGE), taken, "  ");
        let message = self.paint.on(STRONG, &format!(": {message}"));
        format!("{label}{possible}{message}\n")
    }

    /// Where it happened, and the chain unless it was drawn before.
    fn place(&mut self, id: ChainId, evidence: &[RequestId]) -> String {
        let Some(chain) = self.trace.chains.iter().find(|chain| chain.id == id) else {
            return String::new();
        };
        let arrow = self.paint.on(FRAME, "-->");
        let title = title(self.trace, chain);
        if self.drawn.insert(id) {
            let drawing = Drawing { options: self.options, paint: self.paint, evidence };
            format!("  {arrow} {title}\n{}{}", drawing.draw(chain), self.bar())
        } else {
            format!("  {arrow} {title}, as above\n")
        }
    }

    fn bar(&self) -> String {
        format!("   {}\n", self.paint.on(FRAME, "|"))
    }

    fn remark(&self, label: &str, text: &str) -> String {
        let equals = self.paint.on(FRAME, "=");
        let indent = " ".repeat("   = : ".len() + label.len());
        let text = self.wrapped(text, indent.len(), &indent);
        format!("   {equals} {}: {text}\n", self.paint.on(STRONG, label))
    }

    /// A text that begins in column `taken`, on lines that fit the terminal.
    fn wrapped(&self, text: &str, taken: usize, indent: &str) -> String {
        let width = self.options.width.filter(|_| !self.options.verbose);
        width.map_or_else(|| text.to_owned(), |width| wrap(text, width, taken, indent))
    }

    /// What each go command was told, as far as it is not the default.
    fn configuration(&self) -> Vec<String> {
        let commands = self.trace.processes.iter().filter_map(|process| {
            let version = process.go_version.as_deref()?;
            let argv: Vec<String> = process.argv.iter().map(|arg| escape(arg, NAME)).collect();
            let mut text = format!(
                "go pid {} ({}): {}\n",
                process.pid,
                escape(version, NAME),
                self.paint.on(STRONG, &argv.join(" "))
            );
            for (name, setting) in &process.config {
                if setting.origin != Origin::Default {
                    let value = escape(&setting.value, LONG);
                    let origin = self.paint.on(FAINT, &format!("({})", word(&setting.origin)));
                    let name = escape(name, NAME);
                    let _ = writeln!(text, "   {name}={value} {origin}");
                }
            }
            Some(text)
        });
        commands.collect()
    }

    /// Module by module, what was not drawn yet.
    fn other_chains(&mut self) -> Vec<String> {
        let drawing = Drawing { options: self.options, paint: self.paint, evidence: &[] };
        let mut blocks: Vec<String> = Vec::new();
        let mut places = BTreeMap::new();
        for chain in self.trace.chains.iter().filter(|chain| !self.drawn.contains(&chain.id)) {
            let subject = subject(chain);
            let place = *places.entry((chain.process, subject.clone())).or_insert(blocks.len());
            if place == blocks.len() {
                let subject = match subject {
                    Some(subject) => format!("module {subject}"),
                    None => "checksum database".to_owned(),
                };
                let pid = pid(self.trace, chain.process);
                blocks.push(format!("{}{pid}\n", self.paint.on(STRONG, &subject)));
            }
            blocks[place] += &drawing.draw_among_others(chain);
        }
        blocks
    }

    /// What capture missed, whatever else is shown.
    fn incomplete(&self) -> Option<String> {
        let capture = &self.trace.capture;
        let finding = self.trace.findings.iter().find(|found| found.code == INCOMPLETE);
        if capture.complete && finding.is_none() {
            return None;
        }
        let message = finding.map_or(MISSED, |finding| &finding.message);
        let mut text = self.head(Severity::Note, INCOMPLETE, Confidence::Certain, message);
        // The finding has all but how much was read, and why there is no probe.
        let mut notes = Vec::new();
        if capture.lost > 0 {
            let events =
                |number: u64| count(usize::try_from(number).unwrap_or(usize::MAX), "event");
            notes.push(match finding {
                Some(_) => format!("{} read", events(capture.events)),
                None => format!("{} lost, {} read", events(capture.lost), capture.events),
            });
        }
        for attach in &capture.attach {
            let exe = escape(&attach.exe, NAME);
            if attach.late && finding.is_none() {
                notes.push(format!("{exe} was running before it had its probes"));
            }
            for missing in &attach.missing {
                let hook = escape(&missing.hook, NAME);
                let reason = escape(&missing.reason, LONG);
                notes.push(format!("no probe on {hook} in {exe}: {reason}"));
            }
        }
        let mut told = BTreeSet::new();
        for note in notes.iter().filter(|note| told.insert(*note)) {
            text += &self.remark("note", note);
        }
        if let Some(advice) = finding.map(|found| &found.advice).filter(|advice| !advice.is_empty())
        {
            text += &self.remark("help", &escape(advice, MESSAGE));
        }
        Some(text)
    }
}

/// What stands behind the code of a finding that is a hypothesis.
fn doubt(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "",
        Confidence::Possible => " (possible)",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::{INCOMPLETE, Options, render};
    use crate::model::{Confidence, Finding};
    use crate::report::samples;

    fn plain() -> Options {
        Options { width: Some(100), ..Options::default() }
    }

    #[test]
    fn a_healthy_run_is_one_line() {
        assert_snapshot!(render(&samples::healthy(), &plain()), @"proxytrace: 40 modules, 120 requests, 3 redirects, 0 fallbacks; nothing wrong (0.8 s)");
    }

    #[test]
    fn a_redirect_to_a_403_for_forty_modules() {
        assert_snapshot!(render(&samples::forbidden(), &plain()), @r"
        error[PT006]: storage.example answered 403 to what proxy.example redirected there
          --> example.com/m00@v1.0.0 (zip), go pid 4711
           |
           | https://proxy.example
           |   302  proxy.example    GET /example.com/m00/@v/v1.0.0.zip  12 ms  → storage.example
         > |   403  storage.example  GET /o/0?X-Goog-Signature=REDACTED  12 ms  redirect
           |   = http-error: 403 is neither 404 nor 410, and `,` follows: go stops
           |
           = note: and 39 more modules: example.com/m01@v1.0.0, example.com/m02@v1.0.0,
                   example.com/m03@v1.0.0, …
           = help: allow this machine to fetch from storage.example; go's own message names proxy.example

        proxytrace: 40 modules, 80 requests, 40 redirects, 0 fallbacks; 1 error; the command exited with 1 (0.8 s)
        ");
    }

    #[test]
    fn a_502_before_a_comma() {
        assert_snapshot!(render(&samples::comma(), &plain()), @r"
        error[PT409]: proxy.example answered 502
          --> golang.org/x/some/quite/long/module/path@v1.0.0 (info), go pid 4711
           |
           | https://proxy.example
         > |   502  proxy.example  GET /golang.org/x/some/quite/lon…0240102030405-abcdefabcdef.info  12 ms
           |   = http-error: 502 is neither 404 nor 410, and `,` follows: go stops
           |
           = also[PT101]: `direct` was not asked: after a 502, `,` ends the list
           = help: write `|` after the entry, or repair the proxy

        proxytrace: 2 modules, 2 requests, 0 redirects, 0 fallbacks; 1 error; the command exited with 1 (0.8 s)
        ");
    }

    #[test]
    fn an_incomplete_capture_is_always_said() {
        assert_snapshot!(render(&samples::incomplete(), &plain()), @r"
        note[PT900]: the capture is incomplete: what is missing may change the findings
           = note: 12 events lost, 900 read
           = note: /usr/lib/go/bin/go was running before it had its probes
           = note: no probe on modfetch.Lookup in /usr/lib/go/bin/go: not found in the symbol table

        proxytrace: 40 modules, 120 requests, 3 redirects, 0 fallbacks; nothing wrong in what was seen (0.8 s)
        ");
        let quiet = Options { quiet: true, ..plain() };
        let mut trace = samples::incomplete();
        assert!(render(&trace, &quiet).starts_with("note[PT900]"));
        trace.capture.lost = 1;
        assert!(render(&trace, &quiet).contains("note: 1 event lost, 900 read\n"));
    }

    /// The finding has every reason: what follows is what it lacks.
    #[test]
    fn what_was_missed_is_told_once() {
        let mut trace = samples::incomplete();
        let again = trace.capture.attach[0].clone();
        trace.capture.attach.push(again);
        trace.findings.push(Finding {
            code: INCOMPLETE.to_owned(),
            message: "/usr/lib/go/bin/go has no probe in modfetch.Lookup; /usr/lib/go/bin/go was \
                      running before it had its probes; 12 events were lost"
                .to_owned(),
            ..samples::comma().findings.remove(0)
        });
        let text = render(&trace, &Options::default());
        let notes: Vec<&str> = text.lines().filter(|line| line.starts_with("   = ")).collect();
        let reason = "   = note: no probe on modfetch.Lookup in /usr/lib/go/bin/go: not found in the \
                      symbol table";
        assert_eq!(notes, ["   = note: 900 events read", reason], "{text}");
    }

    #[test]
    fn a_hypothesis_says_that_it_is_one() {
        let mut trace = samples::comma();
        for finding in &mut trace.findings {
            finding.confidence = Confidence::Possible;
        }
        let text = render(&trace, &plain());
        assert!(text.starts_with("error[PT409] (possible): proxy.example answered 502"), "{text}");
        assert!(text.contains("   = also[PT101] (possible): `direct` was not asked"), "{text}");
    }

    #[test]
    fn verbose_shows_every_chain_and_note() {
        let options = Options { verbose: true, ..plain() };
        assert_snapshot!(render(&samples::comma(), &options), @r"
        go pid 4711 (go1.27.3): go mod download
           GOPROXY=https://proxy.example,direct (environment)
           GOSUMDB=sum.golang.org (goroot-file)

        error[PT409]: proxy.example answered 502
          --> golang.org/x/some/quite/long/module/path@v1.0.0 (info), go pid 4711
           |
           | https://proxy.example
         > |   502  proxy.example  GET /golang.org/x/some/quite/long/module/path/@v/v0.1.2-20240102030405-abcdefabcdef.info  12 ms  HTTP/2.0, 192.0.2.1:443
           |   = http-error: 502 is neither 404 nor 410, and `,` follows: go stops
           |
           = also[PT101]: `direct` was not asked: after a 502, `,` ends the list
           = help: write `|` after the entry, or repair the proxy

        note[PT102]: an ordinary fallback
          --> example.com/fine@v1.0.0 (info), go pid 4711
           |
           | https://proxy.example
           |   200  proxy.example  GET /example.com/fine/@v/v1.0.0.info  12 ms  HTTP/2.0, 192.0.2.1:443
           |

        proxytrace: 2 modules, 2 requests, 0 redirects, 0 fallbacks; 1 error; the command exited with 1 (0.8 s)
        ");
    }

    #[test]
    fn a_narrow_terminal_is_not_overrun() {
        assert_snapshot!(render(&samples::forbidden(), &Options { width: Some(60), ..plain() }), @r"
        error[PT006]: storage.example answered 403 to what
          proxy.example redirected there
          --> example.com/m00@v1.0.0 (zip), go pid 4711
           |
           | https://proxy.example
           |   302  proxy.example    GET /example…/v1.0.0.zip  12 ms
           |        → storage.example
         > |   403  storage.example  GET /o/0?X-G…re=REDACTED  12 ms
           |        redirect
           |   = http-error: 403 is neither 404 nor 410, and `,`
           |     follows: go stops
           |
           = note: and 39 more modules: example.com/m01@v1.0.0,
                   example.com/m02@v1.0.0, example.com/m03@v1.0.0, …
           = help: allow this machine to fetch from storage.example;
                   go's own message names proxy.example

        proxytrace: 40 modules, 80 requests, 40 redirects, 0 fallbacks; 1 error; the command exited with 1 (0.8 s)
        ");
    }

    #[test]
    fn hostile_text_stays_text() {
        let trace = samples::hostile(9000);
        for options in [plain(), Options { verbose: true, quiet: true, ..Options::default() }] {
            let report = render(&trace, &options);
            let obeyed = report.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(obeyed, None, "{report}");
            assert!(!report.contains(['\u{202e}', '\u{2028}', '\u{200b}']), "{report}");
            assert!(report.lines().all(|line| line.chars().count() < 2500), "{report}");
            // No line of ours was made by a line break of theirs.
            assert!(!report.lines().any(|line| line.starts_with("FAKE")), "{report}");
        }
        assert_snapshot!(render(&samples::hostile(0), &plain()), @r"
        error[\x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}]: \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}
          --> \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}@\x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028} (mod), go pid 4711
           |
           | \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}
           |   302    proxy.example  GET /                                                          12 ms
           |          → \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028} (refused)
           |   reset                 GET \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}  no answer
           |          cut: url\n
           |          \x1b]0;owned\x07
           |          FAKE: all is well\u{202e}
           |   = reset: \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}
           |
           = note: and 1 more module: \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}
           = help: \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}

        note[PT900]: the capture is incomplete: what is missing may change the findings
           = note: \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028} was running before it had its
                   probes
           = note: no probe on \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028} in
                   \x1b]0;owned\x07\r\nFAKE: all is well\u{202e}\u{2028}: \x1b]0;owned\x07\r\nFAKE: all is
                   well\u{202e}\u{2028}

        proxytrace: 1 module, 2 requests, 1 redirect, 0 fallbacks; 1 error; the command exited with 1 (0.8 s)
        ");
    }

    #[test]
    fn quiet_says_nothing_of_a_healthy_run() {
        let quiet = Options { quiet: true, ..plain() };
        assert_eq!(render(&samples::healthy(), &quiet), "");
        let failed = render(&samples::comma(), &quiet);
        assert!(failed.starts_with("error[PT409]") && !failed.contains("proxytrace:"), "{failed}");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let colored = render(&samples::forbidden(), &Options { color: true, ..plain() });
        let mut text = String::new();
        for (at, part) in colored.split('\u{1b}').enumerate() {
            text += if at == 0 { part } else { part.split_once('m').unwrap().1 };
        }
        assert_eq!(text, render(&samples::forbidden(), &plain()));
        assert!(colored.contains('\u{1b}'));
    }

    #[test]
    fn narrow_terminals_get_short_urls_and_files_get_whole_ones() {
        let url = samples::LONG_URL.strip_prefix("https://proxy.example").unwrap();
        let narrow = render(&samples::comma(), &Options { width: Some(60), ..Options::default() });
        assert!(!narrow.contains(url) && narrow.contains('…'), "{narrow}");
        // What is to be copied or searched for stays on its line.
        let whole = |line: &&str| line.starts_with("  -->") || line.starts_with("proxytrace:");
        let mut lines = narrow.lines().filter(|line| !whole(line));
        assert!(lines.all(|line| line.chars().count() <= 60), "{narrow}");
        let wide = render(&samples::comma(), &Options { width: None, ..Options::default() });
        assert!(wide.contains(url), "{wide}");
    }
}
