//! As much of URLs as is needed here: cut into parts, percent-decoded, resolved.
//!
//! URLs arrive as go wrote them (`net/url.URL.String`) and redacted, so two of them are compared by
//! scheme, host and path, never by userinfo or query.

use std::borrow::Cow;

use crate::url::decoded;

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
        let (scheme, rest) = text.split_once(':')?;
        let rest = rest.strip_prefix("//")?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
            return None;
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let tail = tail.split_once('#').map_or(tail, |(tail, _)| tail);
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (tail, None),
        };
        Some(Self { scheme, host, path, query })
    }

    /// The host as people name it: lower case, with the port when it is not the scheme's default.
    pub(crate) fn named_host(&self) -> String {
        let default = match self.scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        self.host.strip_suffix(default).unwrap_or(self.host).to_ascii_lowercase()
    }

    /// The path, decoded, without empty elements and without a trailing `/`.
    pub(crate) fn clean_path(&self) -> Cow<'a, str> {
        let path = decode(self.path);
        if !path.contains("//") && !path.ends_with('/') {
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
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let decoded = decoded(text).map(|byte| byte.unwrap_or_else(|raw| raw)).collect();
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Where a `Location` leads from `base` (RFC 3986 §5.2), without its query.
pub(crate) fn resolve(base: &str, location: &str) -> Option<String> {
    if Url::parse(location).is_some() {
        return Some(without_query(location).to_owned());
    }
    let base = Url::parse(base)?;
    let Url { scheme, host, .. } = base;
    let location = without_query(location);
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    let merged = match location {
        "" => base.path.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", base.path.rsplit_once('/').map_or("", |(dir, _)| dir)),
    };
    Some(format!("{scheme}://{host}{}", without_dots(&merged)))
}

fn without_query(url: &str) -> &str {
    &url[..url.find(['?', '#']).unwrap_or(url.len())]
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
                && a.named_host() == b.named_host()
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
    fn resolves_as_a_browser_does() {
        let base = "https://proxy.lab/a/@v/v1.zip?x=1";
        for (location, target) in [
            ("https://cdn.lab/z?sig=1", "https://cdn.lab/z"),
            ("//cdn.lab/z", "https://cdn.lab/z"),
            ("/z", "https://proxy.lab/z"),
            ("z", "https://proxy.lab/a/@v/z"),
            ("../z", "https://proxy.lab/a/z"),
            ("../../../../z", "https://proxy.lab/z"),
            ("?again", "https://proxy.lab/a/@v/v1.zip"),
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
