//! URLs as Go writes them. Source: Go's `net/url`: `URL.String`, `URL.EscapedPath`, `shouldEscape`.
#![forbid(unsafe_code)]

mod parts;

pub(crate) use self::parts::{Url, decode, resolve, same_place};

/// What stands for the user part of a URL, which is never read.
pub const REDACTED: &str = "REDACTED";

/// The parts of a `url.URL` that make an HTTP request's URL.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parts<'a> {
    /// Scheme.
    pub scheme: &'a str,
    /// Whether there is a user part.
    pub has_user: bool,
    /// Host, with the port if there is one.
    pub host: &'a str,
    /// Path, decoded.
    pub path: &'a [u8],
    /// The path's encoding, where it is not the default one.
    pub raw_path: &'a str,
    /// Query, encoded.
    pub raw_query: &'a str,
}

/// What stands between the parts.
const BETWEEN: usize = "://?".len();

impl Parts<'_> {
    /// The URL.
    pub fn join(&self) -> String {
        let Self { scheme, has_user, host, path, raw_path, raw_query } = *self;
        let user = if has_user { REDACTED.len() + 1 } else { 0 };
        let path_length = path.len().max(raw_path.len());
        let length = scheme.len() + user + host.len() + path_length + raw_query.len();
        let mut url = String::with_capacity(length + BETWEEN);
        url.push_str(scheme);
        url.push_str("://");
        if has_user {
            url.push_str(REDACTED);
            url.push('@');
        }
        url.push_str(host);
        if path.first().is_some_and(|&first| first != b'/') && !host.is_empty() {
            url.push('/');
        }
        if !raw_path.is_empty() && decoded(raw_path).eq(path.iter().map(|&byte| Ok(byte))) {
            url.push_str(raw_path);
        } else {
            escape(path, &mut url);
        }
        if !raw_query.is_empty() {
            url.push('?');
            url.push_str(raw_query);
        }
        url
    }
}

/// Go's default encoding of a path.
fn escape(path: &[u8], url: &mut String) {
    let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
    let mut rest = path;
    while let Some(end) = rest.iter().position(|&byte| !STAYS[usize::from(byte)]) {
        let byte = rest[end];
        url.push_str(std::str::from_utf8(&rest[..end]).expect("ASCII alone stays"));
        url.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        rest = &rest[end + 1..];
    }
    url.push_str(std::str::from_utf8(rest).expect("ASCII alone stays"));
}

/// By byte: whether it stands for itself in a path.
const STAYS: [bool; 256] = {
    let mut stays = [false; 256];
    let others = b"-_.~$&+,/:;=@";
    let mut at = 0;
    while at < others.len() {
        stays[others[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128_u8 {
        stays[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    stays
};

/// Name and port of a host as in [`Parts::host`]; no port where there is no colon for one. By shape
/// alone: the port may be empty or no number. An IPv6 address keeps the brackets that it has, and has no
/// port without them, where `net/url/url.go:splitHostPort` would take its last group for one.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // Left of the last colon of an IPv6 address without a port there is no bracket at the end.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// A host without its port. An IPv6 address keeps the brackets that it has.
pub(crate) fn host_name(host: &str) -> &str {
    split_port(host).0
}

/// A name as it is, an IPv6 address without its brackets.
pub(crate) fn unbracketed(name: &str) -> &str {
    name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name)
}

/// Undoes percent-encoding; none if it is broken.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    decoded(text).collect::<Result<_, _>>().ok()
}

/// The bytes that a percent-encoded text stands for; as an error, a `%` that begins no encoding.
pub(crate) fn decoded(text: &str) -> impl Iterator<Item = Result<u8, u8>> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first != b'%' {
            return Some(Ok(first));
        }
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let Some((high, low)) = digit(0).zip(digit(1)) else { return Some(Err(first)) };
        rest = &after[2..];
        Some(u8::try_from(high << 4 | low).map_err(|_| first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str, raw_path: &str) -> String {
        Parts {
            scheme: "https",
            host: "proxy.lab",
            path: path.as_bytes(),
            raw_path,
            ..Parts::default()
        }
        .join()
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
            scheme: "http",
            has_user: true,
            host: "h:8080",
            path: b"/p",
            raw_path: "",
            raw_query: "go-get=1",
        };
        assert_eq!(parts.join(), "http://REDACTED@h:8080/p?go-get=1");
    }

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        for (host, name, port, bare) in [
            ("host", "host", None, "host"),
            ("host:443", "host", Some("443"), "host"),
            ("192.0.2.1:80", "192.0.2.1", Some("80"), "192.0.2.1"),
            ("[::1]:443", "[::1]", Some("443"), "::1"),
            ("[::1]:", "[::1]", Some(""), "::1"),
            ("[::1]", "[::1]", None, "::1"),
            ("::1", "::1", None, "::1"),
            ("2001:db8::443", "2001:db8::443", None, "2001:db8::443"),
            ("fe80::1%eth0", "fe80::1%eth0", None, "fe80::1%eth0"),
            ("[fe80::1%25eth0]:80", "[fe80::1%25eth0]", Some("80"), "fe80::1%25eth0"),
            ("", "", None, ""),
            ("host:", "host", Some(""), "host"),
            (":443", "", Some("443"), ""),
            // Nonsense stays whole.
            ("[::1", "[::1", None, "[::1"),
            ("a:b:443", "a:b:443", None, "a:b:443"),
        ] {
            assert_eq!(split_port(host), (name, port), "{host}");
            assert_eq!(host_name(host), name, "{host}");
            assert_eq!(unbracketed(name), bare, "{host}");
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in ["%", "%2", "%zz", "%+1", "a%"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
        assert_eq!(unescape("%41%2f").unwrap(), b"A/");
    }
}
