//! URLs as Go writes them. Source: Go's `net/url`: `URL.String`, `URL.EscapedPath`, `shouldEscape`.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

/// What stands for the user part of a URL, which is never read.
pub const REDACTED: &str = "REDACTED";

/// The parts of a `url.URL` that make an HTTP request's URL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parts {
    /// Scheme.
    pub scheme: String,
    /// Whether there is a user part.
    pub has_user: bool,
    /// Host, with the port if there is one.
    pub host: String,
    /// Path, decoded.
    pub path: Vec<u8>,
    /// The path's encoding, where it is not the default one.
    pub raw_path: String,
    /// Query, encoded.
    pub raw_query: String,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if self.has_user {
            write!(f, "{REDACTED}@")?;
        }
        f.write_str(&self.host)?;
        if !self.path.is_empty() && self.path[0] != b'/' && !self.host.is_empty() {
            f.write_char('/')?;
        }
        if self.raw_path.is_empty() || unescape(&self.raw_path).as_ref() != Some(&self.path) {
            escape(&self.path, f)?;
        } else {
            f.write_str(&self.raw_path)?;
        }
        if !self.raw_query.is_empty() {
            write!(f, "?{}", self.raw_query)?;
        }
        Ok(())
    }
}

/// Go's default encoding of a path.
fn escape(path: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for piece in path.split_inclusive(|byte| !stays(*byte)) {
        let (kept, encoded) = match piece.split_last() {
            Some((last, before)) if !stays(*last) => (before, Some(last)),
            _ => (piece, None),
        };
        f.write_str(std::str::from_utf8(kept).expect("ASCII alone stays"))?;
        if let Some(byte) = encoded {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

/// Undoes percent-encoding; none if it is broken.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        // `from_str_radix` takes a sign, which is no hexadecimal digit.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str, raw_path: &str) -> String {
        Parts {
            scheme: "https".into(),
            host: "proxy.lab".into(),
            path: path.as_bytes().to_vec(),
            raw_path: raw_path.into(),
            ..Parts::default()
        }
        .to_string()
    }

    #[test]
    fn paths_are_encoded_as_go_does() {
        assert_eq!(parts("/m/@v/v1.0.0.zip", ""), "https://proxy.lab/m/@v/v1.0.0.zip");
        assert_eq!(parts("/!upper/@v/list", ""), "https://proxy.lab/%21upper/@v/list");
        // The checksum database keeps its exclamation marks through RawPath.
        assert_eq!(parts("/lookup/!m@v1", "/lookup/!m@v1"), "https://proxy.lab/lookup/!m@v1");
        // A RawPath that does not belong to the path is not used.
        assert_eq!(parts("/a b", "/other"), "https://proxy.lab/a%20b");
        assert_eq!(parts("", ""), "https://proxy.lab");
        assert_eq!(parts("x", ""), "https://proxy.lab/x");
    }

    #[test]
    fn user_and_query_are_kept_in_their_places() {
        let parts = Parts {
            scheme: "http".into(),
            has_user: true,
            host: "h:8080".into(),
            path: b"/p".to_vec(),
            raw_path: String::new(),
            raw_query: "go-get=1".into(),
        };
        assert_eq!(parts.to_string(), "http://REDACTED@h:8080/p?go-get=1");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in ["%", "%2", "%zz", "%+1", "a%"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
        assert_eq!(unescape("%41%2f").unwrap(), b"A/");
    }
}
