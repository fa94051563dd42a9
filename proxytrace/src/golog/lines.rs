//! What single lines of a log say.

use crate::model::Outcome;

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
    match line.split_once("go: ") {
        Some((before, said))
            if !before.contains(|c: char| c.is_alphabetic() && c != 'T' && c != 'Z')
                && said.contains(": ")
                && !is_progress(said) =>
        {
            Line::Error(said.trim_end())
        }
        _ => Line::Other,
    }
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

/// Texts of errors, by what they stand for; the first that is found counts.
const ERRORS: &[(&str, Outcome)] = &[
    ("redirected from secure URL", Outcome::RedirectRefused),
    ("stopped after 10 redirects", Outcome::RedirectLimit),
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
    ("proxyconnect ", Outcome::ProxyRefused),
    ("connection reset by peer", Outcome::Reset),
    ("stream error: ", Outcome::Reset),
    ("unexpected EOF", Outcome::Truncated),
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
        let outcome = match status {
            200 => Outcome::Ok,
            404 | 410 => Outcome::NotFound,
            _ => Outcome::HttpError,
        };
        return Result { status: Some(status), seconds, outcome, target: None };
    }
    let of = |(words, outcome): &(&str, Outcome)| text.contains(words).then_some(*outcome);
    // A dial that ran into its limit says `dial tcp …: i/o timeout`.
    let timeout = text.contains("dial tcp") && text.contains("i/o timeout");
    let outcome = match timeout {
        true if text.contains("lookup ") => Outcome::Dns,
        true => Outcome::ConnectTimeout,
        false => ERRORS.iter().find_map(of).unwrap_or(Outcome::Unknown),
    };
    let quoted = text.split_once("Get \"").and_then(|(_, rest)| rest.split_once('"'));
    Result { status: None, seconds, outcome, target: quoted.map(|(target, _)| target) }
}
