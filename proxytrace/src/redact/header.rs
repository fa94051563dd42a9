//! Headers of HTTP: which of them leave capture, and which of them carry credentials.

use std::borrow::Cow;

use super::REDACTED;
use super::places::Places;
use super::shell::is_quote;
use super::url::url;

/// Headers that leave capture, by canonical name; every other one is dropped.
pub const HEADERS: &[&str] = &[
    "Age",
    "Cache-Control",
    "Cf-Ray",
    "Content-Length",
    "Content-Type",
    "Location",
    "Referer",
    "Retry-After",
    "Server",
    "User-Agent",
    "Via",
    "Www-Authenticate",
    "X-Cache",
];

/// Authentication schemes whose names may be told (IANA HTTP Authentication Scheme Registry, and
/// those of the large clouds); in the place of any other there may be a token.
const SCHEMES: &[&str] = &[
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "digest",
    "dpop",
    "hoba",
    "kerberos",
    "mutual",
    "negotiate",
    "ntlm",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "vapid",
];

/// Parts of the names of headers that carry credentials, in small letters.
const SECRET: &[&str] = &[
    "auth",
    "token",
    "cookie",
    "api-key",
    "apikey",
    "secret",
    "password",
    "credential",
    "jfrog-art-api",
];

/// The longest name of a header that may be told.
const NAME_MAX: usize = 64;

/// Whether a header of this name carries credentials, as far as its name tells. It may then be told.
pub fn names_a_secret(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain && name.len() <= NAME_MAX && SECRET.iter().any(|part| small.contains(part))
}

/// Where in a text the values of headers with credentials are, to the ends of their lines: as HTTP has
/// them (`Authorization: Basic x`), as `GODEBUG=http2debug=1` does (`"authorization" = "Basic x"`), and
/// as curl does (`[authorization: Basic x]`).
pub(super) fn headers_with_secrets(text: &str) -> Places {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let value = content.match_indices([':', '=']).find_map(|(at, _)| {
            let value = content[at + 1..].trim_start();
            is_header_of_text(&content[..at]).then_some(content.len() - value.len())
        });
        found.extend(value.map(|value| start + value..start + content.len()));
        start += line.len();
    }
    found
}

/// Whether a text ends with the name of a header that carries credentials. A name of one word says so
/// alone in quotes: `token: x` may be anything.
fn is_header_of_text(text: &str) -> bool {
    let text = text.trim_end();
    let inner = text.trim_end_matches(is_quote);
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let before = inner.trim_end_matches(of_name);
    let name = &inner[before.len()..];
    let quoted = inner.len() < text.len() && before.ends_with(is_quote);
    let opens = |c: char| c.is_whitespace() || is_quote(c) || matches!(c, '[' | '(' | '{' | ',');
    let apart = before.is_empty() || before.ends_with(opens);
    let alone = ["authorization", "cookie"].iter().any(|known| name.eq_ignore_ascii_case(known));
    apart && (quoted || alone || name.contains('-')) && names_a_secret(name)
}

/// A header's value without its secrets; none if it is not one of [`HEADERS`].
pub fn header<'a>(name: &str, value: &'a str) -> Option<Cow<'a, str>> {
    let known = HEADERS.iter().find(|known| **known == name);
    let known = known.or_else(|| HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name)))?;
    Some(match *known {
        "Location" | "Referer" => url(value),
        "Www-Authenticate" => Cow::Owned(challenges(value)),
        _ => Cow::Borrowed(value),
    })
}

/// Challenges with their schemes and realms; every other parameter and token is redacted
/// (RFC 9110, section 11.6.1).
fn challenges(value: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    value
        .split_inclusive(|c| {
            let separates = c == ',' && !quoted;
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = quoted,
                '"' => quoted = !quoted,
                _ => {}
            }
            separates
        })
        .map(|piece| {
            let content = piece.strip_suffix(',').unwrap_or(piece);
            let begin = content.len() - content.trim_start().len();
            content[..begin].to_owned() + &challenge(content.trim()) + &piece[content.len()..]
        })
        .collect()
}

/// `scheme`, `scheme token`, `scheme name=value` or `name=value`.
fn challenge(text: &str) -> String {
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if text.is_empty() {
        String::new()
    } else if !SCHEMES.contains(&first.to_ascii_lowercase().as_str()) {
        parameter(text)
    } else if rest.trim().is_empty() {
        first.to_owned()
    } else {
        format!("{first} {}", parameter(rest.trim()))
    }
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("realm") => {
            let value = value.trim();
            let inner = value.strip_prefix('"').map_or(Some(value), |open| open.strip_suffix('"'));
            match inner {
                Some(inner) => text.replace(inner, &url(inner)),
                // Without the closing quote there is no telling where the realm ends.
                None => format!("{name}={REDACTED}"),
            }
        }
        // Not the padding of a token: `Negotiate YII=`.
        Some((name, value)) if is_token(name) && !value.trim_matches('=').is_empty() => {
            format!("{name}={REDACTED}")
        }
        _ => REDACTED.to_owned(),
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::{HEADERS, header, headers_with_secrets, names_a_secret};

    #[test]
    fn only_headers_of_the_list_leave() {
        for name in ["Authorization", "Cookie", "Set-Cookie", "X-Token", "Proxy-Authorization", ""]
        {
            assert_eq!(header(name, "x"), None);
        }
        for name in HEADERS {
            assert!(header(name, "x").is_some());
        }
        assert_eq!(header("content-TYPE", "text/html").as_deref(), Some("text/html"));
        assert_eq!(header("CF-RAY", "7-FRA").as_deref(), Some("7-FRA"));
    }

    #[test]
    fn names_that_carry_credentials() {
        for name in ["Authorization", "Private-Token", "Cookie", "X-Api-Key", "X-JFrog-Art-Api"] {
            assert!(names_a_secret(name), "{name}");
        }
        // The last may be a value in the place of a name.
        for name in ["Accept", "Range", "Date", "", "auth\r\nx", "token=abc"] {
            assert!(!names_a_secret(name), "{name}");
        }
        assert!(!names_a_secret(&"token".repeat(20)));
    }

    #[test]
    fn headers_within_text() {
        for (text, values) in [
            (
                "http2: Transport encoding header \"authorization\" = \"Basic x\"\n",
                &["\"Basic x\""][..],
            ),
            ("a\n\tAuthorization:Bearer x y \r\nProxy-Authorization: z", &["Bearer x y", "z"]),
            ("decoded hpack field header field \"set-cookie\" = \"a=b\"", &["\"a=b\""]),
            ("'X-Api-Key': 'x: y'", &["'x: y'"]),
            ("Cookie: ", &[""]),
            ("* [HTTP/2] [1] [authorization: Basic dXNlcjpwdw==]", &["Basic dXNlcjpwdw==]"]),
            ("map[Authorization:[Basic x] Host:[h]]", &["[Basic x] Host:[h]]"]),
            ("sent (X-Api-Key: x)\n{cookie: y}\nA: b,x-api-key=z", &["x)", "y}", "z"]),
        ] {
            let found = headers_with_secrets(text);
            let found: Vec<&str> = found.into_iter().map(|place| &text[place]).collect();
            assert_eq!(found, values, "{text}");
        }
        for text in [
            "unexpected token: x",
            "example.com/my-auth: not found",
            "https://h/x-token: y",
            "auth: x",
            "* [HTTP/2] [1] [:authority: h]",
            "* [HTTP/2] [1] [accept: */*]",
            "[token: x] (auth: y) {a,token: z}",
            "m[my-auth]: x",
            "= :",
            ":",
            "",
            "http2: Transport encoding header \":authority\" = \"h\"",
            "\"accept-encoding\" = \"gzip\"",
        ] {
            assert!(headers_with_secrets(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn locations_lose_their_secrets() {
        assert_eq!(
            header("Location", "https://u:p@h/?sig=x").as_deref(),
            Some("https://REDACTED@h/?sig=REDACTED")
        );
        assert_eq!(header("Referer", "https://h/?a=b").as_deref(), Some("https://h/?a=b"));
    }

    #[test]
    fn challenges_keep_scheme_and_realm() {
        for (value, clean) in [
            ("Basic realm=\"Artifactory, EU\"", "Basic realm=\"Artifactory, EU\""),
            ("Basic", "Basic"),
            (
                "Bearer realm=\"https://h/token\",service=\"s\", scope=x",
                "Bearer realm=\"https://h/token\",service=REDACTED, scope=REDACTED",
            ),
            ("Bearer realm=\"https://u:p@h/\"", "Bearer realm=\"https://REDACTED@h/\""),
            ("Negotiate YIIabc==, NTLM", "Negotiate REDACTED, NTLM"),
            ("Negotiate YIIabc", "Negotiate REDACTED"),
            ("Digest nonce=\"a,b\\\"c\", realm=r", "Digest nonce=REDACTED, realm=r"),
            ("s3cr3t", "REDACTED"),
            ("Basic realm=\"unclosed, token=x", "Basic realm=REDACTED"),
            ("", ""),
            (",", ","),
        ] {
            assert_eq!(header("WWW-Authenticate", value).as_deref(), Some(clean), "{value}");
        }
    }
}
