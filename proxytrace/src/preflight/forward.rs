//! The forward proxies that preflight asks, as go would.

use super::address::{Address, is_international};
use crate::forward;

/// A forward proxy.
#[derive(Clone)]
pub(super) enum Proxy {
    /// `http://` or `https://`.
    Http(Address),
    /// One that is not spoken here, such as SOCKS: its scheme, or how go writes its name.
    Other(String),
}

/// The forward proxies of an environment.
#[derive(Clone, Default)]
pub(super) struct Forward(forward::Forward<Proxy>);

impl Forward {
    /// From the three settings, each empty if it is not set.
    pub(super) fn new(http: &str, https: &str, none: &str) -> Self {
        Self(forward::Forward::new(proxy(http), proxy(https), none))
    }

    /// The proxy for a request to `url`, if there is one.
    pub(super) fn of(&self, url: &Address) -> Option<&Proxy> {
        self.0.of(url.secure, &url.host, url.port())
    }
}

fn proxy(text: &str) -> Option<Proxy> {
    if text.is_empty() {
        return None;
    }
    let bare = format!("http://{text}");
    let url = match text.split_once("://") {
        Some((scheme, _)) if !matches!(scheme, "http" | "https") => {
            return Some(Proxy::Other(scheme.to_owned()));
        }
        Some(_) => text,
        None => bare.as_str(),
    };
    if is_international(url) {
        return Some(Proxy::Other("Punycode".to_owned()));
    }
    // What go cannot read it takes for an address without a scheme (`parseProxy`).
    Address::parse(url).or_else(|| Address::parse(&bare)).map(Proxy::Http)
}

#[cfg(test)]
mod tests {
    use super::{Address, Forward, Proxy};

    #[test]
    fn a_proxy_may_lack_its_scheme() {
        let forward = Forward::new("forward.example:3128", "socks5://s.example:1080", "");
        let http = forward.of(&Address::parse("http://h/").expect("a URL"));
        assert!(
            matches!(http, Some(Proxy::Http(url)) if url.host_and_port() == "forward.example:3128")
        );
        let https = forward.of(&Address::parse("https://h/").expect("a URL"));
        assert!(matches!(https, Some(Proxy::Other(scheme)) if scheme == "socks5"));
    }

    #[test]
    fn a_proxy_that_is_no_url_is_what_go_makes_of_it() {
        let url = Address::parse("https://h/").expect("a URL");
        let proxy = |text: &str| match Forward::new("", text, "").of(&url) {
            Some(Proxy::Http(proxy)) => proxy.host_and_port(),
            Some(Proxy::Other(scheme)) => scheme.clone(),
            None => String::new(),
        };
        for (text, expected) in [
            ("http://u:p@forward.example:3128", "forward.example:3128"),
            ("http://u:p^w@forward.example:3128", "http:80"),
            ("http://u:100%@forward.example:3128", ""),
            ("http://bücher.example:3128", "Punycode"),
            ("bücher.example:3128", "Punycode"),
        ] {
            assert_eq!(proxy(text), expected, "{text}");
        }
    }
}
