use serde::Serialize;

use super::escape::{LONG, NAME, escape};
use super::paint::{FAILED, FAINT, FINE, FRAME, Paint};
use super::summary::milliseconds;
use super::terminal::Options;
use crate::model::{AfterRedirect, Attempt, Chain, Outcome, Request, RequestId, Trace};

/// The least room an URL gets on a line, in characters.
const URL_ROOM: usize = 40;

/// What a chain is about: `example.com/m@v1.0.0 (zip), go pid 123`.
pub(super) fn title(trace: &Trace, chain: &Chain) -> String {
    let module = chain.module.as_deref().map(|module| match &chain.version {
        Some(version) => format!("{}@{} ", escape(module, NAME), escape(version, NAME)),
        None => format!("{} ", escape(module, NAME)),
    });
    let pid = trace.processes.iter().find(|process| process.id == chain.process);
    // No process was traced where preflight asked.
    let pid = pid.filter(|process| process.pid != 0);
    let pid = pid.map_or_else(String::new, |process| format!(", go pid {}", process.pid));
    format!("{}({}){pid}", module.unwrap_or_default(), word(&chain.artifact))
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

impl Drawing<'_> {
    pub(super) fn draw(&self, chain: &Chain) -> String {
        let attempts = chain.attempts.iter().filter(|attempt| !is_implicit(attempt));
        let mut lines = attempts.flat_map(|attempt| self.attempt(attempt)).peekable();
        // What came from the module cache has nothing to draw.
        let first = lines.peek().map(|_| self.line(false, "")).unwrap_or_default();
        lines.fold(first, |drawn, line| drawn + &line)
    }

    fn attempt(&self, attempt: &Attempt) -> Vec<String> {
        let mut lines = vec![self.line(false, &escape(&attempt.proxy, NAME))];
        let column = attempt.requests.iter().map(|request| result(request).chars().count());
        let column = column.max().unwrap_or_default();
        for request in &attempt.requests {
            let pointed = self.evidence.contains(&request.id);
            lines.push(self.line(pointed, &self.request(request, column)));
            if let Some(error) = &request.error {
                let types =
                    if self.options.verbose { error.types.join(" → ") } else { String::new() };
                for text in [error.detail.as_deref().unwrap_or_default(), &types] {
                    if !text.is_empty() {
                        let text = escape(text, LONG);
                        lines.push(self.line(false, &format!("  {:column$}  {text}", "")));
                    }
                }
            }
        }
        if attempt.next.is_some() || attempt.outcome != Outcome::Ok {
            let outcome = word(&attempt.outcome);
            let why = match attempt.reason.as_str() {
                "" => outcome,
                reason => format!("{outcome}: {}", escape(reason, LONG)),
            };
            lines.push(
                self.line(false, &format!("  {}", self.paint.on(FAINT, &format!("= {why}")))),
            );
        }
        lines
    }

    /// `302  GET https://host/path → other  redirect, 12 ms`, its URL shortened to fit.
    fn request(&self, request: &Request, column: usize) -> String {
        let result = result(request);
        let method = escape(&request.method, NAME);
        let target = request.location.as_deref().map_or_else(String::new, |location| {
            let room = if self.options.verbose { LONG } else { NAME };
            match request.after_redirect {
                Some(AfterRedirect::Followed) => format!(" → {}", escape(host(location), room)),
                Some(after) => format!(" → {} ({})", escape(location, room), word(&after)),
                None => String::new(),
            }
        });
        let facts = self.facts(request);
        let rest = "   |  ".len() + column + 2 + method.len() + 1;
        let rest = rest + target.chars().count() + 2 + facts.chars().count();
        let room = match self.options.width {
            Some(width) if !self.options.verbose => width.saturating_sub(rest).max(URL_ROOM),
            _ => LONG,
        };
        let style = match request.outcome {
            Outcome::Ok => FINE,
            _ if request.after_redirect.is_some() => FAINT,
            _ => FAILED,
        };
        format!(
            "  {}{:pad$}  {method} {}{target}  {}",
            self.paint.on(style, &result),
            "",
            escape(&request.url, room),
            self.paint.on(FAINT, &facts),
            pad = column.saturating_sub(result.chars().count()),
        )
    }

    /// Why the request was made, how long it took, what was cut; with `-v` also over what.
    fn facts(&self, request: &Request) -> String {
        use crate::model::Cause::Initial;
        let mut facts = Vec::new();
        if request.cause != Initial {
            facts.push(word(&request.cause));
        }
        facts.push(request.duration_ns.map_or_else(|| "no answer".to_owned(), milliseconds));
        if self.options.verbose {
            let connection = [&request.protocol, &request.remote_addr];
            facts.extend(connection.into_iter().flatten().map(|fact| escape(fact, NAME)));
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

/// The entry that go puts before every list, where GONOPROXY does not match the module.
fn is_implicit(attempt: &Attempt) -> bool {
    attempt.proxy == "noproxy" && attempt.requests.is_empty() && attempt.next.is_some()
}

/// The status, or the outcome where there is none.
fn result(request: &Request) -> String {
    request.status.map_or_else(|| word(&request.outcome), |status| status.to_string())
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
    use super::{host, word};
    use crate::model::{Artifact, Cause, Outcome};

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
    fn words_are_those_of_the_json() {
        assert_eq!(word(&Outcome::TlsUnknownAuthority), "tls-unknown-authority");
        assert_eq!(word(&Cause::AuthResend), "auth-resend");
        assert_eq!(word(&Artifact::Zip), "zip");
    }
}
