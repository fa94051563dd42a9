//! Texts for people: messages of errors, and what programs print.

use std::borrow::Cow;
use std::ops::Range;

use super::argument::{assignment, is_name};
use super::header::headers_with_secrets;
use super::places::{Places, moved, replace_all};
use super::shape::shaped;
use super::shell::{Apart, is_quote, words};
use super::url;
use super::{says_secret, setting};

/// A text for people, such as an error message, without the secrets in it: of URLs, of headers, of
/// variables and flags whose names say so.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut found = in_words(text);
    found.extend(headers_with_secrets(text));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        found.extend(moved(of_commands(line), start));
        found.extend(moved(of_goauth(line), start));
        start += line.len();
    }
    replace_all(text, found)
}

/// A text of our own without the secrets of the URLs in it, and without those of variables: it speaks of
/// flags and of files by their names.
pub fn own_text(text: &str) -> Cow<'_, str> {
    replace_all(text, in_words(text))
}

/// Where the secrets are that a word by itself tells.
fn in_words(text: &str) -> Places {
    let mut found = Places::new();
    let mut start = 0;
    let apart =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')');
    for piece in text.split_inclusive(apart) {
        let word = piece.trim_end_matches(apart);
        // One sign behind an URL is the text's: `URL?token=x: 403 Forbidden`.
        let word = word.strip_suffix([':', ',', ';']).unwrap_or(word);
        let mut within = url::places(word);
        if within.is_empty() {
            within.extend(cut_off(word));
        }
        within.extend(secret_value(word));
        within.extend(quoted_value(word, &text[start..]));
        found.extend(moved(within, start));
        start += piece.len();
    }
    found.extend(ports(text));
    found.extend(shaped(text));
    found
}

/// The value in `name=value`. In prose many a word is a name: only those that mean a secret wherever they
/// stand say so.
fn secret_value(word: &str) -> Option<Range<usize>> {
    let (name, value) = assignment(word)?;
    is_name_of_secret(name).then(|| word.len() - value.len()..word.len())
}

/// The value in `name="value"`, where the word is `name=`: to its quote, or to the end of the line.
fn quoted_value(word: &str, text: &str) -> Option<Range<usize>> {
    let start = word.len() + 1;
    secret_value(word).filter(Range::is_empty)?;
    let quote = text[word.len()..].chars().next().filter(|c| is_quote(*c))?;
    let value = &text[start..];
    Some(start..start + value.find([quote, '\n']).unwrap_or(value.len()))
}

fn is_name_of_secret(name: &str) -> bool {
    says_secret(&name.to_ascii_lowercase())
}

/// Values in quotes, and those of flags, in a line that may be a command, such as `go build -x` prints.
fn of_commands(line: &str) -> Places {
    let mut found = Vec::new();
    if !line.contains('=') && !line.contains(" -") {
        return found;
    }
    // In prose a flag is a word like others: `use --token or ~/.netrc`, `-token string`.
    let is_command = line.starts_with(['/', '.', '#', '+', '$']);
    let is_plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut is_next = false;
    for word in words(line, Apart::Operators) {
        let text = &*word.text;
        let is_value = std::mem::take(&mut is_next)
            && !text.starts_with('-')
            && (is_command || !is_plain(text));
        is_next = text.starts_with('-') && is_name(text) && is_name_of_secret(text);
        let value = if is_value { Some(0..text.len()) } else { secret_value(text) };
        found.extend(value.map(|value| word.places(line, value)).unwrap_or_default());
    }
    found
}

/// The arguments of commands for credentials, in what go says of them
/// (`cmd/go/internal/auth/auth.go:runGoAuth`).
fn of_goauth(line: &str) -> Places {
    let mut found = Vec::new();
    for (before, after) in [("(GOAUTH=", ")"), ("GOAUTH command ", ": "), ("GOAUTH=", ": ")] {
        let Some(start) = line.find(before).map(|at| at + before.len()) else { continue };
        let Some(end) = line[start..].rfind(after) else { continue };
        let value = &line[start..start + end];
        // Of its own ways go says no more than it knows.
        if !value.starts_with("git ") && !value.starts_with("off ") {
            found.extend(moved(setting::of_commands(value), start));
        }
    }
    found
}

/// What go says is no port, after a colon: the beginning of a password that has a `/`, a `?` or a `#`
/// in it, which should have been escaped (`net/url/url.go:parseHost`).
fn ports(text: &str) -> impl Iterator<Item = Range<usize>> {
    const BEFORE: &str = "invalid port \":";
    const AFTER: &str = "\" after host";
    text.match_indices(BEFORE).filter_map(|(at, _)| {
        let start = at + BEFORE.len();
        Some(start..start + text[start..].find(AFTER)?)
    })
}

/// The password in what go leaves of `https://user:password@host` where it takes what follows the
/// `@` for a version: a port that is no number, and nothing after it.
fn cut_off(word: &str) -> Option<Range<usize>> {
    let start = word.rfind("://")? + 3;
    let authority = &word[start..];
    if authority.contains(['/', '\\', '?', '#', '@', '[']) {
        return None;
    }
    let colon = authority.find(':')?;
    let port = authority[colon + 1..].trim_end_matches([':', ',', ';', '.']);
    let first = port.split([',', '|', ';', ':']).next()?;
    let is_number = first.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| start + colon + 1..start + colon + 1 + port.len())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn urls_within_text() {
        for (message, clean) in [
            (
                "Get \"https://u:p@h/x?sig=y\": dial tcp: lookup h: no such host",
                "Get \"https://REDACTED@h/x?sig=REDACTED\": dial tcp: lookup h: no such host",
            ),
            (
                "see <https://u@h> (or //t@i/)\n\t",
                "see <https://REDACTED@h> (or //REDACTED@i/)\n\t",
            ),
            ("read tcp 127.0.0.1:1->[::1]:2: reset", "read tcp 127.0.0.1:1->[::1]:2: reset"),
            ("example.com/m@v1.0.0: auth: x", "example.com/m@v1.0.0: auth: x"),
            // An argument that go cut at the `@`.
            (
                "malformed module path \"https://me:se:cret\": double slash",
                "malformed module path \"https://me:REDACTED\": double slash",
            ),
            (
                "of https://h:8080,direct, https://h:80: and https://h:",
                "of https://h:8080,direct, https://h:80: and https://h:",
            ),
            (
                "see https://u:p@h/\nhttp2: header \"authorization\" = \"Basic x\"\nhttps://v:q@i",
                "see https://REDACTED@h/\nhttp2: header \"authorization\" = REDACTED\nhttps://REDACTED@i",
            ),
            // One sign behind an URL is the text's.
            (
                "# get https://h/m/@v/list?token=x: 403 Forbidden (0.1s)",
                "# get https://h/m/@v/list?token=REDACTED: 403 Forbidden (0.1s)",
            ),
            (
                "https://h/?sig=x:, https://h/?sig=x; and https://h/?sig=x:",
                "https://h/?sig=REDACTED, https://h/?sig=REDACTED; and https://h/?sig=REDACTED:",
            ),
            (
                "* [HTTP/2] [1] [authorization: Basic dXNlcjpwdw==]\n* x",
                "* [HTTP/2] [1] [authorization: REDACTED\n* x",
            ),
            ("", ""),
        ] {
            assert_eq!(text(message), clean);
            assert_eq!(text(clean), clean);
        }
    }

    #[test]
    fn commands_within_text() {
        for (message, clean) in [
            (
                "/usr/lib/go/link -o x -X main.token=s3cr3t -X 'main.dbPassword=a b' y",
                "/usr/lib/go/link -o x -X main.token=REDACTED -X 'main.dbPassword=REDACTED' y",
            ),
            ("./x.test --api-token s3cr3t -v\nok", "./x.test --api-token REDACTED -v\nok"),
            ("(GITHUB_TOKEN=x go build)", "(GITHUB_TOKEN=REDACTED go build)"),
            ("don't use TOKEN=x", "don't use TOKEN=REDACTED"),
            (
                "go: GOAUTH encountered an empty command (GOAUTH=/opt/cred -t s3cr3t;)",
                "go: GOAUTH encountered an empty command (GOAUTH=/opt/cred REDACTED;)",
            ),
            (
                "cannot parse output of GOAUTH command /opt/cred -t s3cr3t: bad",
                "cannot parse output of GOAUTH command /opt/cred REDACTED: bad",
            ),
            (
                "GOAUTH=/opt/cred -t s3cr3t: exit status 1",
                "GOAUTH=/opt/cred REDACTED: exit status 1",
            ),
            ("push with ghp_0123456789abcdefghij", "push with REDACTED"),
            (
                "can't log in with token=\"s3cr3t x\" now",
                "can't log in with token=\"REDACTED\" now",
            ),
            ("server response: token=ä…", "server response: token=REDACTED"),
        ] {
            assert_eq!(text(message), clean);
            assert_eq!(text(clean), clean);
        }
        for same in [
            "go: GOAUTH=git encountered an error; cannot stat /x: no such file",
            "go: GOAUTH=off cannot be combined with other authentication commands",
            "unexpected status code=404 key=x, - a",
            "flag provided but not defined: -token",
            "  -token string",
            "Using --password via the CLI is insecure, or --metrics-token, or an address",
            "a == b && c != d",
        ] {
            assert_eq!(text(same), same);
        }
    }

    /// What `net/url` says of a password that should have been escaped.
    #[test]
    fn what_is_no_port_is_a_password() {
        for said in [
            "parse \"https://ci:s3cr/et@proxy.corp\": invalid port \":s3cr\" after host",
            "parse \"https://ci:s3cr/@proxy.corp\": invalid port \":s3cr\" after host",
        ] {
            let clean = text(said);
            assert!(clean.ends_with("invalid port \":REDACTED\" after host"), "{clean}");
            assert!(!clean.contains("s3cr"), "{clean}");
            assert_eq!(text(&clean), clean);
        }
    }
}
