//! A chain as the report draws it: a row for each request, below the entry that was asked.

use anstyle::Style;
use serde::Serialize;

use super::escape::{LONG, NAME, escape, shorten};
use super::paint::{FAILED, FAINT, FINE, FRAME, Paint, STRONG};
use super::summary::{is_redirected, milliseconds};
use super::terminal::Options;
use super::wrap::wrap;
use crate::model::{AfterRedirect, Attempt, Chain, Outcome, ProcessId, Request, RequestId, Trace};

/// A path that would get less room than this has the line for itself, in characters.
const URL_ROOM: usize = 32;
/// The least room for a path, however narrow the terminal.
const LEAST: usize = 12;
/// Room for the name of a host.
const HOST: usize = 48;
/// What stands left of a row, and between its columns.
const MARGIN: usize = "   |   ".len();
const GAP: usize = 2;
/// How many lines of an error are shown.
const DETAIL: usize = 12;
/// Bodies that took less are not worth a word, in nanoseconds.
const WORTH_TELLING: u64 = 1_000_000;

/// What a chain is about: `example.com/m@v1.0.0 (zip), go pid 123`.
pub(super) fn title(trace: &Trace, chain: &Chain) -> String {
    let module = subject(chain).map(|module| format!("{module} ")).unwrap_or_default();
    format!("{module}({}){}", word(&chain.artifact), pid(trace, chain.process))
}

/// `example.com/m@v1.0.0`; none for what belongs to no module.
pub(super) fn subject(chain: &Chain) -> Option<String> {
    let module = escape(chain.module.as_deref()?, NAME);
    Some(match &chain.version {
        Some(version) => format!("{module}@{}", escape(version, NAME)),
        None => module,
    })
}

/// `, go pid 123`
pub(super) fn pid(trace: &Trace, process: ProcessId) -> String {
    let process = trace.processes.iter().find(|one| one.id == process);
    // No process was traced where preflight asked.
    let process = process.filter(|process| process.pid != 0);
    process.map_or_else(String::new, |process| format!(", go pid {}", process.pid))
}

/// The name that the JSON has for it: `not-found`, `auth-resend`.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

/// Draws a chain: each entry that was asked, each request made to it, and why go went on.
pub(super) struct Drawing<'a> {
    pub(super) options: &'a Options,
    pub(super) paint: Paint,
    /// Requests to point at.
    pub(super) evidence: &'a [RequestId],
}

/// How wide the columns are, in characters, for all rows of a chain.
struct Columns {
    result: usize,
    host: usize,
    request: usize,
    time: usize,
    /// Whether what else there is to say of a request has a line of its own, for want of room.
    below: bool,
}

/// A request as a row, not painted yet.
struct Row {
    result: String,
    host: String,
    asked: String,
    time: String,
    facts: String,
}

impl Drawing<'_> {
    pub(super) fn draw(&self, chain: &Chain) -> String {
        let columns = self.columns(chain);
        let mut lines =
            chain.attempts.iter().flat_map(|attempt| self.attempt(attempt, &columns)).peekable();
        // What came from the module cache has nothing to draw.
        let first = lines.peek().map(|_| self.line(false, "")).unwrap_or_default();
        lines.fold(first, |drawn, line| drawn + &line)
    }

    /// A chain among others of its module: its artifact, what came of it, and its requests.
    pub(super) fn draw_among_others(&self, chain: &Chain) -> String {
        let time =
            chain.duration_ns.map_or_else(String::new, |ns| format!(", {}", milliseconds(ns)));
        let outcome = self.paint.on(STRONG, &word(&chain.outcome));
        let mut drawn = self.line(false, &format!("{}: {outcome}{time}", word(&chain.artifact)));
        let columns = self.columns(chain);
        let attempts = &chain.attempts;
        // Where the only entry answered, its requests say which it was.
        let plain = attempts.len() == 1 && attempts[0].outcome == Outcome::Ok;
        for attempt in attempts {
            let lines = self.attempt(attempt, &columns);
            drawn.extend(lines.into_iter().skip(usize::from(plain)));
        }
        drawn
    }

    fn attempt(&self, attempt: &Attempt, columns: &Columns) -> Vec<String> {
        let mut lines = vec![self.line(false, &escape(&attempt.proxy, NAME))];
        for request in &attempt.requests {
            let pointed = self.evidence.contains(&request.id);
            let row = self.row(attempt, request);
            let style = style(attempt, request, pointed);
            lines.push(self.line(pointed, &self.painted(&row, columns, style)));
            if columns.below && !row.facts.is_empty() {
                let (facts, column) = (self.paint.on(FAINT, &row.facts), columns.result);
                lines.push(self.line(false, &format!("  {:column$}  {facts}", "")));
            }
            if let Some(error) = &request.error {
                let types =
                    if self.options.verbose { error.types.join(" → ") } else { String::new() };
                let detail = error.detail.as_deref().unwrap_or_default();
                let column = columns.result;
                for text in self.said(detail, column).into_iter().chain(self.said(&types, column)) {
                    lines.push(self.line(false, &format!("  {:column$}  {text}", "")));
                }
            }
        }
        if attempt.next.is_some() || attempt.outcome != Outcome::Ok {
            let outcome = word(&attempt.outcome);
            let why = match attempt.reason.as_str() {
                "" => outcome,
                reason => format!("{outcome}: {}", escape(reason, LONG)),
            };
            let why = match self.options.width.filter(|_| !self.options.verbose) {
                Some(width) => wrap(&why, width.saturating_sub(MARGIN + GAP), 0, ""),
                None => why,
            };
            for (place, text) in why.lines().enumerate() {
                let equals = if place == 0 { self.paint.on(FRAME, "=") } else { " ".to_owned() };
                lines.push(self.line(false, &format!("  {equals} {text}")));
            }
        }
        lines
    }

    /// What go said of an error, line by line, as far as there is room for so many characters.
    fn said(&self, text: &str, column: usize) -> Vec<String> {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let mut said = Vec::new();
        for line in lines.take(DETAIL + 1) {
            if said.len() >= DETAIL {
                said.push("…".to_owned());
                break;
            }
            let words = line.trim_start_matches('\t');
            let indent = "  ".repeat((line.len() - words.len()).min(2));
            let words = escape(words, LONG);
            let words = match self.options.width.filter(|_| !self.options.verbose) {
                Some(width) => {
                    let room = width.saturating_sub(MARGIN + 2 * GAP + column);
                    wrap(&words, room, indent.len(), &indent)
                }
                None => words,
            };
            said.extend(format!("{indent}{words}").lines().map(str::to_owned));
        }
        said
    }

    /// As wide as the widest of each column, and the URLs as wide as there is room then.
    fn columns(&self, chain: &Chain) -> Columns {
        let rows: Vec<Row> = chain
            .attempts
            .iter()
            .flat_map(|attempt| attempt.requests.iter().map(|one| self.row(attempt, one)))
            .collect();
        let widest = |part: fn(&Row) -> &str| {
            rows.iter().map(|row| part(row).chars().count()).max().unwrap_or(0)
        };
        let (result, host, time) =
            (widest(|row| &row.result), widest(|row| &row.host), widest(|row| &row.time));
        let (asked, facts) = (widest(|row| &row.asked), widest(|row| &row.facts));
        let rest = MARGIN + result + host + time + 3 * GAP;
        let (room, below) = match self.options.width {
            Some(width) if !self.options.verbose => {
                let beside = width.saturating_sub(rest + facts + GAP);
                let below = facts > 0 && beside < asked.min(URL_ROOM);
                let room = if below { width.saturating_sub(rest) } else { beside };
                (room.max(LEAST), below)
            }
            _ => (LONG, false),
        };
        Columns { result, host, request: asked.min(room), time, below }
    }

    fn row(&self, attempt: &Attempt, request: &Request) -> Row {
        let (host, path) = split(&request.url);
        let method = escape(&request.method, NAME);
        Row {
            result: result(request),
            host: escape(&host, HOST),
            asked: format!("{method} {}", escape(path, LONG)),
            time: request.duration_ns.map_or_else(|| "no answer".to_owned(), milliseconds),
            facts: self.facts(attempt, request),
        }
    }

    /// `302  proxy.lab  GET /path  12 ms  → storage.lab`
    fn painted(&self, row: &Row, columns: &Columns, style: Style) -> String {
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.chars().count()));
        let asked = shorten(&row.asked, columns.request);
        let line = format!(
            "  {}{}  {}{}  {asked}{}  {}{}",
            self.paint.on(style, &row.result),
            pad(&row.result, columns.result),
            row.host,
            pad(&row.host, columns.host),
            pad(&asked, columns.request),
            pad(&row.time, columns.time),
            row.time,
        );
        if row.facts.is_empty() || columns.below {
            return line;
        }
        format!("{line}  {}", self.paint.on(FAINT, &row.facts))
    }

    /// Where it redirects, why the request was made, what was cut; with `-v` also over what, and
    /// what its body took.
    fn facts(&self, attempt: &Attempt, request: &Request) -> String {
        use crate::model::Cause::Initial;
        let mut facts = Vec::new();
        if let (Some(location), Some(after)) = (&request.location, request.after_redirect) {
            let obeyed = attempt.requests.iter().any(|next| {
                next.follows == Some(request.id) && next.cause == crate::model::Cause::Redirect
            });
            let room = if self.options.verbose { LONG } else { NAME };
            facts.push(if obeyed || after == AfterRedirect::Followed {
                format!("→ {}", escape(host(location), room))
            } else {
                format!("→ {} ({})", escape(location, room), word(&after))
            });
        }
        if request.cause != Initial {
            facts.push(word(&request.cause));
        }
        if self.options.verbose {
            let connection = [request.protocol.as_deref(), request.remote_addr.as_deref()];
            facts.extend(connection.into_iter().flatten().map(|fact| escape(fact, NAME)));
            let slow = request.body_ns.filter(|ns| *ns >= WORTH_TELLING);
            facts.extend(slow.map(|ns| format!("body {}", milliseconds(ns))));
        }
        if !request.cut.is_empty() {
            facts.push(format!("cut: {}", escape(&request.cut.join(" "), NAME)));
        }
        facts.join(", ")
    }

    fn line(&self, pointed: bool, text: &str) -> String {
        let margin = if pointed { self.paint.on(FAILED, " > ") } else { "   ".to_owned() };
        let bar = self.paint.on(FRAME, "|");
        let space = if text.is_empty() { "" } else { " " };
        format!("{margin}{bar}{space}{text}\n")
    }
}

/// That somebody does not have a module is an answer like another, unless it is what is wrong; and
/// what go made good by asking again did not fail.
fn style(attempt: &Attempt, request: &Request, pointed: bool) -> Style {
    match request.outcome {
        Outcome::Ok => FINE,
        _ if is_redirected(request) => FAINT,
        Outcome::NotFound if !pointed => FINE,
        _ if attempt.outcome == Outcome::Ok => FAINT,
        _ => FAILED,
    }
}

/// The status, or the outcome where there is none.
fn result(request: &Request) -> String {
    request.status.map_or_else(|| word(&request.outcome), |status| status.to_string())
}

/// The host of an URL, with the scheme where that is not https, and the rest of it.
fn split(url: &str) -> (String, &str) {
    // What CONNECT asks for is a host and nothing else.
    let Some((scheme, rest)) = url.split_once("://") else { return (String::new(), url) };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match scheme {
        "https" => (host.to_owned(), path),
        scheme => (format!("{scheme}://{host}"), path),
    }
}

/// The host of a location, or the location where it is a relative one.
fn host(location: &str) -> &str {
    let Some((_, rest)) = location.split_once("//").filter(|(scheme, _)| {
        scheme.is_empty() || (scheme.ends_with(':') && !scheme.contains(['/', '?', '#']))
    }) else {
        return location;
    };
    &rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::{DETAIL, Drawing, host, split, style, word};
    use crate::model::{Artifact, Cause, Outcome};
    use crate::report::paint::{FAILED, FAINT, FINE, Paint};
    use crate::report::samples;
    use crate::report::terminal::Options;

    #[test]
    fn what_go_says_keeps_its_lines() {
        let said = |text: &str, width| {
            let options = &Options { width, ..Options::default() };
            Drawing { options, paint: Paint(false), evidence: &[] }.said(text, 3)
        };
        let mismatch = "verifying m@v1: checksum mismatch\n\tdownloaded: h1:a\n\tgo.sum:     h1:b\n\n\
                        SECURITY ERROR\r\n\u{1b}[2J";
        assert_eq!(
            said(mismatch, None),
            [
                "verifying m@v1: checksum mismatch",
                "  downloaded: h1:a",
                "  go.sum:     h1:b",
                "SECURITY ERROR",
                "\\x1b[2J"
            ]
        );
        assert_eq!(said("\tone two three four", Some(32)), ["  one two three four"]);
        assert_eq!(said("\tone two three four five", Some(32)), ["  one two three four", "  five"]);
        assert_eq!(said(&"x\n".repeat(1 << 20), None).len(), DETAIL + 1);
        assert!(said("", None).is_empty());
    }

    #[test]
    fn red_is_what_failed() {
        let trace = samples::comma();
        let mut attempt = trace.chains[0].attempts[0].clone();
        let mut request = attempt.requests[0].clone();
        assert_eq!(style(&attempt, &request, false), FAILED);
        request.outcome = Outcome::NotFound;
        assert_eq!(style(&attempt, &request, false), FINE);
        assert_eq!(style(&attempt, &request, true), FAILED);
        // go asked again, and then it came.
        (request.outcome, attempt.outcome) = (Outcome::Reset, Outcome::Ok);
        assert_eq!(style(&attempt, &request, true), FAINT);
    }

    #[test]
    fn hosts_of_locations() {
        for (location, expected) in [
            ("https://h:8080/p?q", "h:8080"),
            ("//h/p", "h"),
            ("https://h", "h"),
            ("/p//q", "/p//q"),
            ("?u=https://h/", "?u=https://h/"),
            ("", ""),
        ] {
            assert_eq!(host(location), expected, "{location}");
        }
    }

    #[test]
    fn urls_are_split_where_the_path_begins() {
        for (url, host, path) in [
            ("https://h:8080/p?q", "h:8080", "/p?q"),
            ("http://h/p", "http://h", "/p"),
            ("https://h?q", "h", "?q"),
            ("h:443", "", "h:443"),
            ("", "", ""),
        ] {
            assert_eq!(split(url), (host.to_owned(), path), "{url}");
        }
    }

    #[test]
    fn words_are_those_of_the_json() {
        assert_eq!(word(&Outcome::TlsUnknownAuthority), "tls-unknown-authority");
        assert_eq!(word(&Cause::AuthResend), "auth-resend");
        assert_eq!(word(&Artifact::Zip), "zip");
    }
}
