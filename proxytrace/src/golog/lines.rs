//! What single lines of a log say.

use crate::goproxy::is_off_alone;
use crate::model::Outcome;
use crate::status;

/// What a line of `go … -x` says; CI systems may have put a time before it.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// `# get URL`
    Begin(&'a str),
    /// `# get URL: 200 OK (0.123s)`, or what failed instead.
    End { url: &'a str, result: &'a str },
    /// `0.012s # cd DIR; git …`: a version control tool that has ended.
    Command { seconds: f64, command: &'a str },
    /// `go: …`, not of its progress: an error.
    Error(&'a str),
    /// What go says of a package or an import has no `go: ` in front: that `url` or a version of
    /// `module` could not be had. A program that go runs may say so, too, of what go did not ask for.
    Named { url: Option<&'a str>, module: Option<&'a str>, said: &'a str },
    /// Anything else.
    Other,
}

/// Tools that go fetches repositories with (`modfetch/codehost`).
const TOOLS: &[&str] = &["git ", "hg ", "svn ", "bzr ", "fossil "];

/// What go says of its progress.
const PROGRESS: &[&str] = &[
    "downloading ",
    "finding ",
    "found ",
    "extracting ",
    "added ",
    "upgraded ",
    "downgraded ",
    "removed ",
    "warning: ",
    "to add module",
    "creating new go.mod",
    "updates to go.mod",
    "no module dependencies",
    "go.mod file not found",
    "switching to ",
    "upgrading ",
];

/// What go says of modules that are there, in the middle of a line that begins with `module `. Others
/// that begin so are errors (`x/mod/module.ModuleError` without a version).
const OF_MODULES: &[&str] = &[" is deprecated: ", " found"];

/// What a line has that names a module or a URL and is no error: a warning
/// (`modfetch/fetch.go:checkModSum`), and what `go list -e -json` tells.
const NO_ERRORS: &[&str] = &["warning: ", "\"Err\": "];

fn is_progress(said: &str) -> bool {
    PROGRESS.iter().any(|progress| said.starts_with(progress))
        || (said.starts_with("module ") && OF_MODULES.iter().any(|words| said.contains(words)))
}

pub(super) fn read(line: &str) -> Line<'_> {
    if let Some((_, get)) = line.split_once("# get ") {
        return get_line(get.trim_end());
    }
    if let Some((before, after)) = line.split_once("s # cd ") {
        let seconds = before.rsplit([' ', '\t']).next().and_then(|text| text.parse().ok());
        let command = after.split_once("; ").map(|(_, command)| command.trim_end());
        if let (Some(seconds), Some(command)) = (seconds, command)
            && TOOLS.iter().any(|tool| command.starts_with(tool))
            && f64::is_finite(seconds)
        {
            return Line::Command { seconds, command };
        }
    }
    match said_by_go(line) {
        Some((_, said)) if is_progress(said) => Line::Other,
        Some((before, said)) if is_of_ci(before) && (said.contains(": ") || is_off_alone(said)) => {
            Line::Error(said.trim_end())
        }
        _ => named(line.trim()),
    }
}

/// What stands before the first word `go:` of a line, and what follows it.
fn said_by_go(line: &str) -> Option<(&str, &str)> {
    const GO: &str = "go: ";
    let mut places = line.match_indices(GO).map(|(at, _)| (&line[..at], &line[at + GO.len()..]));
    places.find(|(before, _)| before.is_empty() || before.ends_with(char::is_whitespace))
}

/// Whether a CI may have put this before what go says: the names of a job and a step, and then a
/// time, a number or a sign. After another word go is but mentioned, and after `main.go:3:` it is a
/// program that speaks.
fn is_of_ci(before: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default();
    let is_letter = |c: char| c.is_alphabetic() && c != 'T' && c != 'Z';
    let has_digits = last.contains(|c: char| c.is_ascii_digit());
    !last.contains(is_letter) || (has_digits && !last.ends_with(':'))
}

/// What a line without `go: ` names.
fn named(line: &str) -> Line<'_> {
    let (url, module) = (url_of(line), module_of(line));
    if (url.is_none() && module.is_none()) || NO_ERRORS.iter().any(|words| line.contains(words)) {
        return Line::Other;
    }
    // Without the place in a file, or what a CI has put there.
    let at = module
        .and_then(|module| line.find(&format!("module {module}: ")).or_else(|| line.find(module)));
    Line::Named { url, module, said: &line[at.unwrap_or(0)..] }
}

/// The URL of `: reading URL: …` (`web/api.go:HTTPError`) or of `: Get "URL": …` (`net/url.Error`).
fn url_of(line: &str) -> Option<&str> {
    line.match_indices(": ").find_map(|(at, _)| {
        let said = &line[at + 2..];
        let rest = said.strip_prefix("reading ").or_else(|| said.strip_prefix("Get "))?;
        let rest = rest.strip_prefix('"').unwrap_or(rest);
        let is_url = ["https://", "http://"].iter().any(|scheme| rest.starts_with(scheme));
        let url = rest.split(['"', ' ']).next().filter(|_| is_url)?;
        Some(url.trim_end_matches(':'))
    })
}

/// The module of `MODULE@vX.Y.Z: …` or `module MODULE: …` (`x/mod/module.ModuleError`).
fn module_of(line: &str) -> Option<&str> {
    let (before, _) = line.rsplit_once(": ")?;
    before.split(": ").find_map(|piece| {
        if let Some(module) = piece.strip_prefix("module ") {
            return Some(module).filter(|module| !module.contains(char::is_whitespace));
        }
        let (module, version) = piece.rsplit(char::is_whitespace).next()?.rsplit_once('@')?;
        (!module.is_empty() && is_version(version)).then_some(module)
    })
}

/// `vX.Y.Z`, and what may follow it.
fn is_version(text: &str) -> bool {
    let mut numbers = text.strip_prefix('v').unwrap_or_default().splitn(3, '.');
    numbers.clone().count() == 3
        && numbers.all(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        && !text.contains('/')
}

fn get_line(get: &str) -> Line<'_> {
    if !["https://", "http://", "file://"].iter().any(|scheme| get.starts_with(scheme)) {
        return Line::Other;
    }
    match get.find(": ") {
        Some(at) => Line::End { url: &get[..at], result: &get[at + 2..] },
        // A URL has no spaces.
        None if !get.contains(' ') => Line::Begin(get.trim_end_matches(':')),
        None => Line::Other,
    }
}

/// What came of a request.
#[derive(Debug, PartialEq)]
pub(super) struct Result<'a> {
    pub(super) status: Option<u16>,
    pub(super) seconds: Option<f64>,
    pub(super) outcome: Outcome,
    /// The URL that failed, where go names it: after a redirect it is another.
    pub(super) target: Option<&'a str>,
}

/// What the error of a forward proxy begins with, whatever failed there: nothing is known of the
/// server (`net/http/transport.go:dialConn`).
const FORWARD: &[&str] = &[": proxyconnect ", ": socks connect "];

/// A Location that is no URL (`net/http/client.go:do`).
const NO_LOCATION: &str = "failed to parse Location header";

/// Texts of errors, by what they stand for; the first that is found counts. go tells of no body
/// here: `unexpected EOF` is of an answer that has not begun.
const ERRORS: &[(&str, Outcome)] = &[
    ("redirected from secure URL", Outcome::RedirectRefused),
    ("stopped after 10 redirects", Outcome::RedirectLimit),
    (NO_LOCATION, Outcome::RedirectInvalid),
    ("no such host", Outcome::Dns),
    ("server misbehaving", Outcome::Dns),
    ("Temporary failure in name resolution", Outcome::Dns),
    ("connection refused", Outcome::ConnectRefused),
    ("no route to host", Outcome::Unreachable),
    ("network is unreachable", Outcome::Unreachable),
    ("x509: certificate signed by unknown authority", Outcome::TlsUnknownAuthority),
    ("x509: ", Outcome::TlsOther),
    ("tls: ", Outcome::TlsOther),
    ("TLS handshake timeout", Outcome::TlsOther),
    ("server gave HTTP response to HTTPS client", Outcome::TlsOther),
    ("Proxy Authentication Required", Outcome::ProxyRefused),
    ("connection reset by peer", Outcome::Reset),
    ("stream error: ", Outcome::Reset),
    ("EOF", Outcome::Reset),
    ("context canceled", Outcome::Canceled),
];

pub(super) fn result(text: &str) -> Result<'_> {
    let (said, seconds) = match text.rsplit_once(" (") {
        Some((said, time)) => (said, time.strip_suffix("s)").and_then(|time| time.parse().ok())),
        None => (text, None),
    };
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    let number = said.split(' ').next().filter(|word| word.len() == 3);
    if let Some(status) = number.and_then(|word| word.parse::<u16>().ok()) {
        // It is that of the last answer: a redirect with somewhere to go is followed.
        let outcome = status::of_request(status, false);
        return Result { status: Some(status), seconds, outcome, target: None };
    }
    // Behind it are the server's words.
    let text = text.find(NO_LOCATION).map_or(text, |at| &text[..at + NO_LOCATION.len()]);
    let of = |(words, outcome): &(&str, Outcome)| text.contains(words).then_some(*outcome);
    // A dial that ran into its limit says `dial tcp …: i/o timeout`.
    let timeout = text.contains("dial tcp") && text.contains("i/o timeout");
    let forward = FORWARD.iter().any(|words| text.contains(words));
    let outcome = match (forward, timeout) {
        (true, _) => Outcome::ProxyRefused,
        (_, true) if text.contains("lookup ") => Outcome::Dns,
        (_, true) => Outcome::ConnectTimeout,
        _ => ERRORS.iter().find_map(of).unwrap_or(Outcome::Unknown),
    };
    let quoted = text.split_once("Get \"").and_then(|(_, rest)| rest.split_once('"'));
    Result { status: None, seconds, outcome, target: quoted.map(|(target, _)| target) }
}
