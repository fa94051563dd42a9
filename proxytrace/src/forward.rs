//! Which forward proxy go uses: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
//!
//! `golang.org/x/net/http/httpproxy`, as net/http has it in Go 1.21 to 1.27.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::Setting;
use crate::url::{Url, split_port, unbracketed};

/// The forward proxies of an environment.
#[derive(Clone)]
pub(crate) struct Forward<P> {
    /// For what is asked without TLS, and with it.
    http: Option<P>,
    https: Option<P>,
    except: Vec<Exception>,
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

impl<P> Default for Forward<P> {
    /// None.
    fn default() -> Self {
        Self { http: None, https: None, except: Vec::new() }
    }
}

impl<P> Forward<P> {
    /// From what the settings name, and from `NO_PROXY`.
    pub(crate) fn new(http: Option<P>, https: Option<P>, none: &str) -> Self {
        let except = none.split(',').filter_map(exception).collect();
        Self { http, https, except }
    }

    /// The one for a request to a host, as it is without brackets and in lower case, with TLS or not.
    pub(crate) fn of(&self, secure: bool, host: &str, port: u16) -> Option<&P> {
        let proxy = self.set_for(secure)?;
        let ip = host.parse::<IpAddr>().ok();
        let local = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        let excepted = || self.except.iter().any(|except| except.holds(host, ip, port));
        (!local && !excepted()).then_some(proxy)
    }

    /// The one for every host, with TLS or not.
    fn set_for(&self, secure: bool) -> Option<&P> {
        if secure { self.https.as_ref() } else { self.http.as_ref() }
    }
}

/// A forward proxy as a setting has it, without the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ForwardProxy<'a> {
    /// `http`, `https`, `socks5` or `socks5h`; or what go cannot use.
    pub(crate) scheme: &'a str,
    /// With its port, if that is set.
    pub(crate) host: &'a str,
}

impl<'a> ForwardProxy<'a> {
    /// Of a setting; none if that is empty.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let host = rest.split(['/', '?', '#']).next()?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        (!host.is_empty()).then_some(Self { scheme, host })
    }

    /// Whether it may answer in place of the host that is asked, as SOCKS does not.
    pub(crate) fn speaks_http(&self) -> bool {
        ["http", "https"].iter().any(|it| self.scheme.eq_ignore_ascii_case(it))
    }
}

impl<'a> Forward<ForwardProxy<'a>> {
    /// By the settings of a process.
    pub(crate) fn of_config(config: &'a BTreeMap<String, Setting>) -> Self {
        let value = |name| config.get(name).map_or("", |it| it.value.as_str());
        let [http, https] =
            ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| ForwardProxy::parse(value(name)));
        match (&http, &https) {
            (None, None) => Self::default(),
            _ => Self::new(http, https, value("NO_PROXY")),
        }
    }

    /// The one that is asked for a URL.
    pub(crate) fn of_url(&self, url: &Url<'_>) -> Option<&ForwardProxy<'a>> {
        let secure = url.scheme == "https";
        // Most have none: not a name is copied for them.
        self.set_for(secure)?;
        let host = unbracketed(split_port(url.host).0).to_ascii_lowercase();
        self.of(secure, &host, url.port()?)
    }
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
    use super::*;

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
            let forward = Forward::new(None, Some(()), none);
            let parts = Url::parse(url).expect("a URL");
            let host = unbracketed(split_port(parts.host).0);
            let port = parts.port().expect("a port");
            let of = forward.of(parts.scheme == "https", host, port);
            assert_eq!(of.is_some(), proxied, "{none} {url}");
        }
    }

    #[test]
    fn a_proxy_is_named_without_its_user() {
        for (text, expected) in [
            ("", None),
            ("http://", None),
            ("http://REDACTED@squid.example:3128/", Some(("http", "squid.example:3128"))),
            ("squid.example:3128", Some(("http", "squid.example:3128"))),
            ("https://[fd00::1]:8443?x", Some(("https", "[fd00::1]:8443"))),
            ("socks5://u:p@@s.example", Some(("socks5", "s.example"))),
        ] {
            let named = ForwardProxy::parse(text);
            assert_eq!(named.as_ref().map(|it| (it.scheme, it.host)), expected, "{text}");
        }
        assert!(ForwardProxy { scheme: "HTTP", host: "h" }.speaks_http());
        assert!(!ForwardProxy { scheme: "socks5", host: "h" }.speaks_http());
    }
}
