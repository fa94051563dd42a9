//! Bodies of requests, as command lines give them to curl and wget.

use std::ops::Range;

use super::argument::is_name;
use super::is_secret;
use super::places::Places;
use super::shell::is_quote;
use super::url::{for_each_piece, pair};

/// Where the secrets are of the form that a word may be: `user=me&password=x`.
pub(super) fn form(text: &str) -> Places {
    let mut found = Places::new();
    if text.contains('&') {
        for_each_piece(text, 0..text.len(), '&', |field| {
            // Behind what goes to the end there is nothing to look for.
            if found.last().is_none_or(|secret| secret.end < text.len()) {
                found.extend(secret_of_form(text, field));
            }
        });
    }
    found
}

/// The secret in one `name=value` of a form. Around it there may be quotes of a shell:
/// `-d'name=value'`.
fn secret_of_form(text: &str, field: Range<usize>) -> Option<Range<usize>> {
    let (before, _) = text[field.clone()].split_once('=')?;
    let name = before.rsplit(is_quote).next().unwrap_or(before);
    // A regular expression and the path of an URL have no such names.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.[]%+".contains(c)) {
        return None;
    }
    let secret = pair(text, field.start + before.len() - name.len()..field.end, 0)?;
    let value = &text[secret.clone()];
    let end = if value.starts_with(is_quote) {
        // In quotes a `&` separates nothing.
        text.len()
    } else {
        secret.start + value.trim_end_matches(is_quote).len()
    };
    Some(secret.start..end)
}

/// Where the secrets are of the JSON that a text is, or that is in it in the quotes of a shell:
/// `"password": "x"`. Quotes without backslashes are the shell's own, unless it, or its name, begins as JSON.
pub(super) fn json(text: &str) -> Places {
    let value = text.split_once('=').filter(|(name, _)| is_name(name.trim_start_matches('-')));
    let is_json = value.map_or(text, |(_, value)| value).trim_start().starts_with(['{', '[']);
    let mut found: Places = Vec::new();
    for (colon, _) in text.match_indices(':') {
        if found.last().is_none_or(|secret| secret.end <= colon) {
            found.extend(secret_of_json(text, colon, is_json));
        }
    }
    found
}

/// The value of the field whose colon this is, if it is a string and its name means a secret. In
/// the quotes of a shell or of other JSON its own quotes have backslashes before them.
fn secret_of_json(text: &str, colon: usize, is_json: bool) -> Option<Range<usize>> {
    let before = text[..colon].trim_end().strip_suffix('"')?;
    let named = before.trim_end_matches('\\');
    let escape = &before[named.len()..];
    let opening = named.rfind('"')?;
    let name = &named[opening + 1..];
    // A name of JSON comes after one of these, that of a pattern after a quote of the shell.
    let is_json = is_json || named[..opening].trim_end().ends_with(['{', ',']);
    if !is_name(name) || !is_secret(name) || escape.is_empty() && !is_json {
        return None;
    }
    let rest = text[colon + 1..].trim_start().strip_prefix(escape)?.strip_prefix('"')?;
    let value = &rest[..string_end(rest, escape.len())];
    // It is put together by a shell, and a quote less would tear the words after it:
    // `'{"password":"'"$PASSWORD"'"}'`.
    let is_seam = value.chars().all(is_quote);
    let start = text.len() - rest.len();
    (!is_seam).then(|| start..start + value.len())
}

/// Where a string of JSON ends whose quotes have so many backslashes before them. A quote in it has
/// these twice, and one more. A string that is not closed goes on to the end.
fn string_end(text: &str, escapes: usize) -> usize {
    let mut quotes = text.match_indices('"').map(|(quote, _)| {
        let end = text[..quote].trim_end_matches('\\').len();
        (quote, quote - end)
    });
    let closing = quotes.find(|(_, backslashes)| backslashes % (2 * (escapes + 1)) == escapes);
    closing.map_or(text.len(), |(quote, _)| quote - escapes)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::places::replace;

    fn form(text: &str) -> Cow<'_, str> {
        replace(text, &super::form(text))
    }

    fn json(text: &str) -> Cow<'_, str> {
        replace(text, &super::json(text))
    }

    #[test]
    fn forms() {
        for (body, clean) in [
            ("me&password=S", "me&password=REDACTED"),
            ("a=1&client_secret=S&b=2", "a=1&client_secret=REDACTED&b=2"),
            ("%70assword=S&user=me", "%70assword=REDACTED&user=me"),
            ("a=1&user%5Bpassword%5D=p@s:s", "a=1&user%5Bpassword%5D=REDACTED"),
            ("a=1&to=https%3A%2F%2Fu%3Ap%40h", "a=1&to=REDACTED"),
            ("a=1&password=it's", "a=1&password=REDACTED"),
            // In the quotes of a shell.
            ("-d'password=S&user=me'", "-d'password=REDACTED&user=me'"),
            ("-d'user=me&password=S'", "-d'user=me&password=REDACTED'"),
            ("1&&TOKEN='x&y'", "1&&TOKEN=REDACTED"),
        ] {
            assert_eq!(form(body), clean);
            assert_eq!(form(clean), clean);
        }
        for text in [
            "",
            "&",
            "&=",
            "a=b&c",
            "user=me&design=S",
            "a=1&password=",
            "^TestToken=x&y=(z)$",
            "https://h/token/a=1&b=2",
            "a=%H&b=%ae",
            "to=https%3A%2F%2Fh%2F&b=c",
        ] {
            assert!(matches!(form(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn nothing_is_looked_for_behind_what_goes_to_the_end() {
        assert_eq!(super::form(&"&sig='".repeat(1000)).len(), 1);
    }

    #[test]
    fn json_of_any_depth() {
        for (body, clean) in [
            (r#"{"username":"me","password":"S"}"#, r#"{"username":"me","password":"REDACTED"}"#),
            (r#"{"api_key" : "a\"b\\", "n": "c"}"#, r#"{"api_key" : "REDACTED", "n": "c"}"#),
            (r#"{"a":{"jwt":"x:y"},"sig":"z"}"#, r#"{"a":{"jwt":"REDACTED"},"sig":"REDACTED"}"#),
            (r#""{\"token\":\"a\\\"b\",\"c\":1}""#, r#""{\"token\":\"REDACTED\",\"c\":1}""#),
            (r#"\\\"token\\\":\\\"x\\\","#, r#"\\\"token\\\":\\\"REDACTED\\\","#),
            // It is not closed.
            (r#"{"token":"x, y"#, r#"{"token":"REDACTED"#),
        ] {
            assert_eq!(json(body), clean);
            assert_eq!(json(clean), clean);
        }
        for text in [
            "",
            ":",
            "\":",
            "\"\":\"",
            "\"token\":",
            "\"token\":\"",
            r#"{"name":"me","design":"S"}"#,
            r#"{"token":"","key":null,"sign":{"a":"b"}}"#,
            r#"{"a":"token","b":"c"}"#,
            r#"'{"password":"'"$PASSWORD"'"}'"#,
            r#"{{.Path}}: {{"key"}}: "#,
            r#"-X "main.token: x""#,
        ] {
            assert!(matches!(json(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn any_part_is_no_panic() {
        let text = "ä=\"\\\"&\"token\\\":\\\"ö\\\\\"ü'&token='é\"&\"token\": \"\\";
        let places = || text.char_indices().map(|(at, _)| at);
        for start in places() {
            for end in places().filter(|end| *end >= start) {
                let _ = (form(&text[start..end]), json(&text[start..end]));
            }
        }
    }
}
