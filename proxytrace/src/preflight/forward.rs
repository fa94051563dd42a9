//! Which forward proxy go would use: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
//!
//! `golang.org/x/net/http/httpproxy`, as net/http has it in Go 1.21 to 1.27.

use std::net::IpAddr;

use super::address::{Address, is_international};
use crate::url::{split_port, unbracketed};

/// The forward proxies of an environment.
#[derive(Clone, Default)]
pub(super) struct Forward {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

/// A forward proxy.
#[derive(Clone)]
pub(super) enum Proxy {
    /// `http://` or `https://`.
    Http(Address),
    /// One that is not spoken here, such as SOCKS: its scheme, or how go writes its name.
    Other(String),
}

/// One of `NO_PROXY`.
#[derive(Clone)]
enum Exception {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// Its subdomains, written with the leading dot, and perhaps itself.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Forward {
    /// From the three settings, each empty if it is not set.
    pub(super) fn new(http: &str, https: &str, none: &str) -> Self {
        let except = none.split(',').filter_map(exception).collect();
        Self { http: proxy(http), https: proxy(https), except }
    }

    /// The proxy for a request to `url`, if there is one.
    pub(super) fn of(&self, url: &Address) -> Option<&Proxy> {
        let proxy = if url.secure { self.https.as_ref() } else { self.http.as_ref() }?;
        let ip = url.host.parse::<IpAddr>().ok();
        let local = url.host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        let excepted = || self.except.iter().any(|except| except.holds(&url.host, ip, url.port()));
        (!local && !excepted()).then_some(proxy)
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

fn exception(text: &str) -> Option<Exception> {
    let text = text.trim().to_ascii_lowercase();
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((address, bits)) = text.split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>())
    {
        let most = if address.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Exception::Network(address, bits));
    }
    if let Ok(address) = text.parse() {
        return Some(Exception::Address(address, None));
    }
    let (host, port) = match split_port(&text) {
        (host, Some(port)) => (unbracketed(host), Some(port.parse().ok()?)),
        // Brackets without a port stay, and are no address (`net.SplitHostPort`).
        (host, None) => (host, None),
    };
    if let Ok(address) = host.parse() {
        return Some(Exception::Address(address, port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    let itself = !host.starts_with('.');
    let suffix = if itself { format!(".{host}") } else { host.to_owned() };
    Some(Exception::Domain { suffix, itself, port })
}

impl Exception {
    fn holds(&self, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
        let at = |own: Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Self::All => true,
            Self::Network(network, bits) => ip.is_some_and(|ip| within(ip, *network, *bits)),
            Self::Address(address, own) => ip == Some(*address) && at(*own),
            Self::Domain { suffix, itself, port: own } => {
                (host.ends_with(suffix.as_str())
                    || (*itself && suffix.strip_prefix('.') == Some(host)))
                    && at(*own)
            }
        }
    }
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |ip: u128, network: u128, width: u8| {
        let shift = u32::from(width - bits);
        ip.checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
    };
    match (ip.to_canonical(), network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            same(u32::from(ip).into(), u32::from(network).into(), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => same(ip.into(), network.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Forward, Proxy};

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (none, url, proxied) in [
            ("", "https://proxy.example/", true),
            ("*", "https://proxy.example/", false),
            ("example", "https://proxy.example/", false),
            ("proxy.example", "https://proxy.example/", false),
            ("roxy.example", "https://proxy.example/", true),
            (".proxy.example", "https://proxy.example/", true),
            ("*.example", "https://proxy.example/", false),
            ("a, .EXAMPLE ,b", "https://proxy.example/", false),
            ("proxy.example:443", "https://proxy.example/", false),
            ("proxy.example:8443", "https://proxy.example/", true),
            ("proxy.example:x", "https://proxy.example/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://11.1.2.3/", true),
            ("10.0.0.0/99", "https://10.1.2.3/", true),
            ("0.0.0.0/0", "https://11.1.2.3/", false),
            ("fd00::/8", "https://[fd12::1]/", false),
            ("::/0", "https://10.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.3/", false),
            ("[fd00::1]:443", "https://[fd00::1]/", false),
            ("[fd00::1]", "https://[fd00::1]/", true),
            ("fd00::1", "https://[fd00::1]/", false),
            ("", "https://localhost/", false),
            ("", "https://127.0.0.9/", false),
            ("", "http://proxy.example/", false),
        ] {
            let forward = Forward::new("", "http://forward.example:3128", none);
            let url = Address::parse(url).expect("a URL");
            assert_eq!(forward.of(&url).is_some(), proxied, "{none} {}", url.plain());
        }
    }

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
