//! A URL to ask. It has its secrets, so it is neither printed nor kept: the model gets
//! [`Address::redacted`].

use std::fmt::Write as _;

use hyper::Uri;

use crate::redact;
use crate::url::{split_port, unbracketed, unescape};

/// An absolute `http` or `https` URL.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) secure: bool,
    /// Name and password, decoded: they need not be UTF-8.
    pub(super) user: Option<(Vec<u8>, Vec<u8>)>,
    /// Without brackets, in lower case.
    pub(super) host: String,
    /// Host and port as written, as netrc has them: go lowers the scheme alone.
    pub(super) written: String,
    /// As written; none for the scheme's default.
    port: Option<u16>,
    /// Path and query, beginning with `/`.
    pub(super) path: String,
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = encode(text).filter(|_| is_encoded(text))?;
        let uri: Uri = text.split('#').next()?.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let (user, after) = match authority.as_str().rsplit_once('@') {
            Some((user, after)) => (Some(credentials(user)?), after),
            None => (None, authority.as_str()),
        };
        let host = unbracketed(authority.host());
        // A port that is none, such as `:99999`, is no port to go either.
        let port = authority.port_u16();
        let (_, written) = split_port(after);
        if host.is_empty() || written.is_some_and(|p| !p.is_empty() && port.is_none()) {
            return None;
        }
        // Of an empty port nothing is left (`net/http/http.go:removeEmptyPort`).
        let written = after.strip_suffix(':').unwrap_or(after).to_owned();
        let path = match uri.path_and_query().map_or("", |path| path.as_str()) {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        Some(Self { secure, user, host: host.to_ascii_lowercase(), written, port, path })
    }

    /// Where a `Location` leads from here (RFC 3986, section 5.2).
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let scheme = location.split_once(':').map(|(scheme, _)| scheme);
        let word = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if scheme.is_some_and(|s| s.starts_with(|c: char| c.is_ascii_alphabetic()) && word(s)) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let (location, fragment) = location.split_once('#').unwrap_or((location, ""));
        unescape(fragment)?;
        let location = encode(location)?;
        let (path, query) = match location.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (location.as_str(), String::new()),
        };
        let own = self.path.split('?').next().unwrap_or("/");
        let merged = match path {
            "" => own.to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{}/{path}", own.rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
        let path = without_dots(&merged) + &query;
        // Go keeps the user where the host stays unnamed (`net/url.URL.ResolveReference`).
        let user = self.user.clone();
        Some(Self { user, ..Self::parse(&format!("{}{path}", self.origin()))? })
    }

    /// Where the checksum database has `suffix`: after the path, before the query (`web.Join`).
    pub(super) fn below(&self, suffix: &str) -> Self {
        self.joined(suffix, str::to_owned)
    }

    /// Where a proxy has a file of a module: the same, without `//`, `.` and `..`
    /// (`modfetch/proxy.go:getBody`).
    pub(super) fn file(&self, suffix: &str) -> Self {
        self.joined(suffix, cleaned)
    }

    fn joined(&self, suffix: &str, made: fn(&str) -> String) -> Self {
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.path.as_str(), String::new()),
        };
        let path = made(&format!("{}/{suffix}", path.strip_suffix('/').unwrap_or(path))) + &query;
        Self { path, ..self.clone() }
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Host, and the port unless it is the scheme's default.
    pub(super) fn authority(&self) -> String {
        match (self.port, self.secure) {
            (None | Some(443), true) | (None | Some(80), false) => self.bracketed(),
            (Some(port), _) => format!("{}:{port}", self.bracketed()),
        }
    }

    /// Host and port: the port if it is written.
    fn written_authority(&self) -> String {
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        self.bracketed() + &port
    }

    /// Host and port, always.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port())
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.written_authority())
    }

    /// Without the user part: what a request, a `Referer` and a connection to it name.
    pub(super) fn plain(&self) -> String {
        self.origin() + &self.path
    }

    /// As it may be shown.
    pub(super) fn redacted(&self) -> String {
        let user = if self.user.is_some() { "REDACTED@" } else { "" };
        let url = format!("{}://{user}{}{}", self.scheme(), self.written_authority(), self.path);
        redact::url(&url).into_owned()
    }
}

/// Name and password of a user part, decoded.
fn credentials(user: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    Some((unescape(name)?, unescape(password)?))
}

/// Whether go can undo the percent-encoding of a URL, and its user part has nothing that must be
/// encoded there. Into the query go does not look (`net/url/url.go:parse`, `validUserinfo`).
pub(super) fn is_encoded(text: &str) -> bool {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    user.bytes().all(sound) && unescape(rest).is_some() && unescape(fragment).is_some()
}

/// Whether nothing but a host beyond ASCII keeps a URL from being an [`Address`]: go asks for such
/// a host in Punycode (`net/http/request.go:idnaASCII`).
pub(super) fn is_international(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let Some(host) = unescape(host).filter(|host| !host.is_ascii()) else { return false };
    let letter = |byte: u8| if byte.is_ascii() { char::from(byte) } else { 'x' };
    let host: String = host.into_iter().map(letter).collect();
    Address::parse(&format!("{scheme}://{user}{host}{tail}")).is_some()
}

/// Encodes what a URL may not hold as it is; none for control characters, which go refuses.
fn encode(text: &str) -> Option<String> {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..=0x1f | 0x7f => return None,
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    Some(encoded)
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut elements = path.split('/').skip(1).peekable();
    while let Some(element) = elements.next() {
        let last = elements.peek().is_none();
        match element {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            element => kept.push(element),
        }
    }
    format!("/{}", kept.join("/"))
}

/// An absolute path as `path.Clean` leaves it.
fn cleaned(path: &str) -> String {
    let mut kept = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => _ = kept.pop(),
            element => kept.push(element),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Address, is_international};

    fn parse(text: &str) -> Address {
        Address::parse(text).expect("a URL")
    }

    #[test]
    fn takes_a_url_apart() {
        let url = parse("https://u%40x:p:w@Proxy.lab:8443/a/b?token=x#f");
        assert_eq!(url.user, Some(("u@x".into(), "p:w".into())));
        assert_eq!(
            (url.host.as_str(), url.port(), url.path.as_str()),
            ("proxy.lab", 8443, "/a/b?token=x")
        );
        assert_eq!(url.written, "Proxy.lab:8443");
        assert_eq!(url.plain(), "https://proxy.lab:8443/a/b?token=x");
        assert_eq!(url.redacted(), "https://REDACTED@proxy.lab:8443/a/b?token=REDACTED");
        let v6 = parse("http://[::1]:80");
        assert_eq!(
            (v6.host.as_str(), v6.authority().as_str(), v6.path.as_str()),
            ("::1", "[::1]", "/")
        );
        assert_eq!(v6.host_and_port(), "[::1]:80");
        assert_eq!(v6.written, "[::1]:80");
        assert_eq!(parse("https://H:/").written, "H");
        for broken in
            ["https://[::1/", "ftp://h/", "https:///x", "https://h:99999/", "h/x", "https://h/\n"]
        {
            assert!(Address::parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn what_go_cannot_decode_is_no_url() {
        for url in ["https://h/a b/ä^?100%", "https://u:p@w,!%25@h/", "https://h/#a b%25"] {
            assert!(Address::parse(url).is_some(), "{url}");
        }
        for broken in [
            "https://u:100%@h/",
            "https://u:p%zz@h/",
            "https://100%:p@h/",
            "https://u:p^w@h/",
            "https://u:p{w@h/",
            "https://u:p w@h/",
            "https://u:pä@h/",
            "https://h/100%/go",
            "https://h/#100%",
        ] {
            assert!(Address::parse(broken).is_none(), "{broken}");
            assert!(!is_international(broken), "{broken}");
        }
        let latin = parse("https://u:p%E4@h/").user;
        assert_eq!(latin, Some((b"u".to_vec(), b"p\xe4".to_vec())));
    }

    #[test]
    fn a_host_beyond_ascii_is_one_to_go() {
        for (url, expected) in [
            ("https://bücher.example", true),
            ("https://u:p@b%C3%BCcher.example:8443/go?x", true),
            ("https://u:p^w@bücher.example", false),
            ("https://bücher.example/100%", false),
            ("https://bücher.example:x", false),
            ("https://b%zzü.example", false),
            ("ftp://bücher.example", false),
            ("https://proxy.lab/bücher", false),
            ("https://proxy.lab", false),
        ] {
            assert_eq!(is_international(url), expected, "{url}");
        }
    }

    #[test]
    fn a_location_leads_where_go_would_go() {
        let base = parse("https://u:p@proxy.lab/a/@v/v1.zip?x=1");
        for (location, target) in [
            ("https://cdn.lab/z?sig=1&b", "https://cdn.lab/z?sig=1&b"),
            ("//cdn.lab:444/z", "https://cdn.lab:444/z"),
            ("/z?q", "https://proxy.lab/z?q"),
            ("z", "https://proxy.lab/a/@v/z"),
            ("../z", "https://proxy.lab/a/z"),
            ("../../../../z/.", "https://proxy.lab/z/"),
            ("?again", "https://proxy.lab/a/@v/v1.zip?again"),
            ("/with space#f", "https://proxy.lab/with%20space"),
            ("/z?100%", "https://proxy.lab/z?100%"),
            ("http://proxy.lab/", "http://proxy.lab/"),
        ] {
            assert_eq!(
                base.join(location).map(|url| url.plain()).as_deref(),
                Some(target),
                "{location}"
            );
            let names_a_host = location.contains("//");
            let user = base.join(location).and_then(|url| url.user);
            assert_eq!(user.is_none(), names_a_host, "{location}");
        }
        let other = base.join("https://x:y@cdn.lab/").and_then(|url| url.user);
        assert_eq!(other, Some(("x".into(), "y".into())));
        for refused in [
            "https://[::1/",
            "ftp://h/",
            "mailto:x",
            "\u{1}",
            "https://cdn.lab/100%",
            "//u:p^w@cdn.lab/",
            "/100%",
            "100%",
            "/z#100%",
        ] {
            assert!(base.join(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn a_suffix_comes_before_the_query() {
        let url = parse("https://h/base/?token=x");
        assert_eq!(url.file("m/@v/list").plain(), "https://h/base/m/@v/list?token=x");
        assert_eq!(url.below("sumdb/s").plain(), "https://h/base/sumdb/s?token=x");
    }

    #[test]
    fn the_path_of_a_file_is_cleaned_and_that_of_a_lookup_is_not() {
        for (base, file, lookup) in [
            ("https://h", "/m/@v/list", "/sumdb"),
            ("https://h/a//b", "/a/b/m/@v/list", "/a//b/sumdb"),
            ("https://h/a//", "/a/m/@v/list", "/a//sumdb"),
            ("https://h/a/./b/../c", "/a/c/m/@v/list", "/a/./b/../c/sumdb"),
            ("https://h/../..?x=//", "/m/@v/list?x=//", "/../../sumdb?x=//"),
        ] {
            let base = parse(base);
            assert_eq!(base.file("m/@v/list").path, file);
            assert_eq!(base.below("sumdb").path, lookup);
        }
    }
}
