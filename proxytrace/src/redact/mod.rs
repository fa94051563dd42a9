//! Takes secrets out of what capture read, and leaves everything else as it was, to the byte.
//!
//! A secret is recognised by its place: userinfo of an URL, the value of a query parameter, of a
//! flag or of a variable whose name says so; some tokens by their shape. Any other value is kept.
//! Where a text is too broken to tell the secret from its surroundings, the surroundings go with
//! it. What is redacted already stays so.
#![forbid(unsafe_code)]

mod argument;
mod body;
mod header;
mod message;
mod places;
mod setting;
mod shape;
mod shell;
mod url;

use std::borrow::Cow;

use crate::url::decoded;

pub use argument::{argument, arguments};
pub use header::{HEADERS, header, names_a_secret};
pub use message::{own_text, text};
pub use setting::setting;
pub(crate) use url::secrets_of_url;
pub use url::url;

/// What stands where a secret was.
pub const REDACTED: &str = "REDACTED";

/// How deep values are looked into: an URL in the query of an URL, `-ldflags=-X=main.token=…`.
/// Anything deeper is redacted whole.
const MAX_DEPTH: u8 = 4;

/// Parts of names that mean a secret wherever they stand (`X-Amz-Security-Token`, `accessToken`).
const STEMS: &[&str] = &[
    "accesskey",
    "apikey",
    "authkey",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "hmac",
    "jsession",
    "jwt",
    "keypass",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "saml",
    "secret",
    "sessionid",
    "sharedkey",
    "signature",
    "storepass",
    "token",
];

/// Words that mean a secret only by themselves: `sig`, `sas-key`, but not `design` or `keyword`.
const WORDS: &[&str] = &[
    "auth", "code", "creds", "hdnea", "hdntl", "hdnts", "key", "pass", "pat", "psw", "pw", "pwd",
    "sas", "sid", "sig", "sign", "ticket",
];

/// Names that mean a secret only if there is nothing else in them: `otp`, but not `OTP_VERSION`, and
/// `md5`, which signs links of nginx, but not `Content-MD5`.
const NAMES: &[&str] = &["md5", "otp"];

/// Whether a value of this name is a secret. `name` may be percent-encoded.
fn is_secret(name: &str) -> bool {
    let name = percent_decode(name);
    let small = name.to_ascii_lowercase();
    says_secret(&small)
        || NAMES.contains(&small.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        || words_of(&small).any(|word| WORDS.contains(&word))
        || words_of(&humps_apart(&name)).any(|word| WORDS.contains(&word))
}

/// Whether a name in small letters means a secret wherever it stands, in a text for people too.
fn says_secret(name: &str) -> bool {
    let squashed: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    STEMS.iter().any(|stem| squashed.contains(stem))
}

fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

/// `signingKey` as `signing key`, `DBPass` as `db pass`.
fn humps_apart(name: &str) -> String {
    let signs: Vec<char> = name.chars().collect();
    let mut apart = String::with_capacity(name.len());
    for (i, &c) in signs.iter().enumerate() {
        let is_end = i > 0 && !signs[i - 1].is_ascii_uppercase();
        let is_begin = signs.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (is_end || is_begin) {
            apart.push(' ');
        }
        apart.push(c.to_ascii_lowercase());
    }
    apart
}

/// Decodes `%XX` once; what is no valid escape stays, what is no UTF-8 becomes U+FFFD.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let decoded: Vec<u8> = decoded(text).map(|byte| byte.unwrap_or_else(|raw| raw)).collect();
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{is_secret, percent_decode};

    #[test]
    fn names_of_secrets() {
        for name in [
            "token",
            "TOKEN",
            "sig",
            "X-Goog-Signature",
            "X-Goog-Credential",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "X-Amz-Credential",
            "AWSAccessKeyId",
            "password",
            "secret",
            "key",
            "auth",
            "access_token",
            "accessToken",
            "private-token",
            "api_key",
            "Key-Pair-Id",
            "GITHUB_TOKEN",
            "%74oken",
            "to%6Ben",
            "token[]",
            // Of CDNs.
            "sign",
            "hdnea",
            "md5",
            // Of registries, clouds, keytool and skopeo.
            "authkey",
            "AccountSharedKey",
            "-storepass",
            "keypass",
            "--dest-creds",
            "DB_PW",
            "psw",
            "otp",
            "--otp",
            // As Go writes names.
            "main.signingKey",
            "main.DBPass",
            "authCode",
            "Key",
        ] {
            assert!(is_secret(name), "{name}");
        }
    }

    #[test]
    fn names_of_other_things() {
        for name in [
            "go-get",
            "X-Goog-Algorithm",
            "X-Goog-Date",
            "X-Goog-Expires",
            "X-Goog-SignedHeaders",
            "response-content-type",
            "generation",
            "keyword",
            "author",
            "design",
            "passive",
            "GOPROXY",
            "GOAUTH",
            "OTP_VERSION",
            "Content-MD5",
            "md5sum",
            "keypad",
            "pwned",
            "main.Keyword",
            "designURL",
            "CodecName",
            "SIGNAL",
            "",
            "%",
            "%%%",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(percent_decode("%4"), "%4");
        assert_eq!(percent_decode("%zz%41%"), "%zzA%");
        assert_eq!(percent_decode("%ff"), "\u{fffd}");
        assert_eq!(percent_decode("ä%20ö"), "ä ö");
        assert_eq!(percent_decode("%+1"), "%+1");
    }
}
