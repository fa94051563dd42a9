//! As much of URLs as is needed here: cut into parts, percent-decoded, resolved.
//!
//! URLs arrive as go wrote them (`net/url.URL.String`) and redacted, so two of them are compared by
//! scheme, host and path, never by userinfo or query.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{decoded, split_port};

/// An absolute URL in parts. Userinfo and fragment are dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Url<'a> {
    pub(crate) scheme: &'a str,
    /// With its port, if there is one.
    pub(crate) host: &'a str,
    /// As on the wire; empty or beginning with `/`.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> Url<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.strip_prefix("//")?;
        let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, tail) = rest.split_at(end.unwrap_or(rest.len()));
        let user = authority.bytes().rposition(|byte| byte == b'@');
        let host = user.map_or(authority, |at| &authority[at + 1..]);
        let (path, rest) = tail.split_at(end_of_path(tail));
        let query = rest.strip_prefix('?').map(without_fragment);
        Some(Self { scheme, host, path, query })
    }

    /// The host as people name it: lower case, with the port when it is not the scheme's default.
    pub(crate) fn named_host(&self) -> String {
        self.usual_host().to_ascii_lowercase()
    }

    /// The same in whatever case it was written.
    fn usual_host(&self) -> &'a str {
        let default = match self.scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        // Less than `split_port` does, and enough: an IPv6 address in a URL ends in a bracket.
        self.host.strip_suffix(default).unwrap_or(self.host)
    }

    /// The port that is connected to.
    pub(crate) fn port(&self) -> Option<u16> {
        let usual = if self.scheme == "https" { 443 } else { 80 };
        let port = split_port(self.host).1.filter(|port| !port.is_empty());
        port.map_or(Some(usual), |port| port.parse().ok())
    }

    /// The path, decoded, without empty elements and without a trailing `/`.
    pub(crate) fn clean_path(&self) -> Cow<'a, str> {
        let path = decode(self.path);
        let bytes = path.as_bytes();
        if !bytes.ends_with(b"/") && !bytes.windows(2).any(|two| two == b"//") {
            return path;
        }
        let mut clean = String::with_capacity(path.len());
        for element in path.split('/').filter(|element| !element.is_empty()) {
            clean.push('/');
            clean.push_str(element);
        }
        Cow::Owned(clean)
    }
}

/// Undoes percent-encoding; what is no encoding, or no UTF-8, stays as it is.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let decoded = decoded(text).map(|byte| byte.unwrap_or_else(|raw| raw)).collect();
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The scheme that go sees before the first colon, in whatever case, and what follows: a host with
/// a port may look like one (`net/url/url.go:getScheme`).
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let is_of_scheme =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let end = text.bytes().position(|byte| !is_of_scheme(byte))?;
    let (scheme, rest) = text.split_at(end);
    let rest = rest.strip_prefix(':')?;
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()).then_some((scheme, rest))
}

/// Where a `Location` leads from `base` (`net/url.URL.ResolveReference`), without its query.
pub(crate) fn resolve<'a>(base: &str, location: &'a str) -> Option<Cow<'a, str>> {
    let location = without_query(location);
    if let Some((scheme, rest)) = split_scheme(location) {
        return Some(absolute(location, scheme, rest));
    }
    let base = Url::parse(base)?;
    let Url { scheme, host, .. } = base;
    // Before a third slash there is no host.
    let host_first = location.strip_prefix("//").filter(|rest| !rest.starts_with('/'));
    if let Some(rest) = host_first {
        return Some(Cow::Owned(format!("{scheme}://{rest}")));
    }
    let merged = match location {
        "" => base.path.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", base.path.rsplit_once('/').map_or("", |(dir, _)| dir)),
    };
    Some(Cow::Owned(format!("{scheme}://{host}{}", without_dots(&merged))))
}

/// A location with a scheme, as [`Parts::join`](super::Parts::join) writes what go makes of it: one
/// slash begins a path, and without any there is neither host nor path (`net/url.URL.Opaque`).
fn absolute<'a>(location: &'a str, scheme: &str, rest: &str) -> Cow<'a, str> {
    let is_small = !scheme.bytes().any(|byte| byte.is_ascii_uppercase());
    let rest = match rest.strip_prefix("//") {
        Some(_) if is_small => return Cow::Borrowed(location),
        Some(rest) => rest,
        None if rest.starts_with('/') => rest,
        None => "",
    };
    Cow::Owned(format!("{}://{rest}", scheme.to_ascii_lowercase()))
}

fn without_query(url: &str) -> &str {
    &url[..end_of_path(url)]
}

/// Where query or fragment begins.
fn end_of_path(url: &str) -> usize {
    memchr2(b'?', b'#', url.as_bytes()).unwrap_or(url.len())
}

fn without_fragment(query: &str) -> &str {
    memchr(b'#', query.as_bytes()).map_or(query, |at| &query[..at])
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for element in path.split('/').skip(1) {
        match element {
            "." => {}
            ".." => drop(kept.pop()),
            element => kept.push(element),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether two URLs ask the same thing of the same host, whatever their userinfo and query.
pub(crate) fn same_place(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Some(a), Some(b)) => {
            a.scheme == b.scheme
                && a.usual_host().eq_ignore_ascii_case(b.usual_host())
                && a.clean_path() == b.clean_path()
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_url_into_parts() {
        let url = Url::parse("https://u:p@Proxy.lab:443/a//b%21c/?token=x#f").expect("a URL");
        assert_eq!((url.scheme, url.host, url.query), ("https", "Proxy.lab:443", Some("token=x")));
        assert_eq!(url.named_host(), "proxy.lab");
        assert_eq!(url.clean_path(), "/a/b!c");
        assert_eq!(Url::parse("http://h:443").expect("a URL").named_host(), "h:443");
        assert_eq!(Url::parse("proxy.lab:443"), None);
        let scheme = |text| Url::parse(text).map(|url| url.scheme);
        assert_eq!(scheme("storage.lab://"), Some("storage.lab"));
        assert_eq!(scheme("9p://h/x"), None);
    }

    #[test]
    fn decodes_what_is_encoded_and_nothing_else() {
        for (encoded, decoded) in
            [("%21a", "!a"), ("100%", "100%"), ("%4", "%4"), ("%zz", "%zz"), ("%ff", "%ff")]
        {
            assert_eq!(decode(encoded), decoded);
        }
        assert_eq!(decode("%EF%BC%8C"), "，");
    }

    #[test]
    fn resolves_as_go_does() {
        let base = "https://proxy.lab/a/@v/v1.zip?x=1";
        for (location, target) in [
            ("https://cdn.lab/z?sig=1", "https://cdn.lab/z"),
            ("//cdn.lab/z", "https://cdn.lab/z"),
            ("/z", "https://proxy.lab/z"),
            ("z", "https://proxy.lab/a/@v/z"),
            ("../z", "https://proxy.lab/a/z"),
            ("../../../../z", "https://proxy.lab/z"),
            ("?again", "https://proxy.lab/a/@v/v1.zip"),
            ("///x", "https://proxy.lab///x"),
            ("a/b:c", "https://proxy.lab/a/@v/a/b:c"),
            ("HTTPS://H:443/x?y", "https://H:443/x"),
            ("s3://bucket/x", "s3://bucket/x"),
            ("https:///x", "https:///x"),
            // A slash was lost, or the scheme.
            ("https:/h/x", "https:///h/x"),
            ("h.lab:8443/x?y", "h.lab://"),
        ] {
            assert_eq!(resolve(base, location).as_deref(), Some(target), "{location}");
        }
    }

    #[test]
    fn the_same_place_has_the_same_host_and_path() {
        assert!(same_place("https://H:443/a%21b?x", "https://h/a!b"));
        assert!(!same_place("https://h/a", "http://h/a"));
        assert!(!same_place("https://h/a", "https://h:8443/a"));
    }
}
