//! Labels whose values come from outside: so many, and the rest is `other`.

use std::borrow::Cow;
use std::net::IpAddr;

use foldhash::HashSet;

use crate::export::fetch::entry;
use crate::url::{split_port, unbracketed};

/// What stands for values that are too many.
pub const OTHER: &str = "other";
/// No value is longer, in bytes.
const LONGEST: usize = 200;
/// From this port on the system gives them to whoever asks for any (ip(7), `ip_local_port_range`).
const GIVEN: u16 = 32_768;
/// Where temporary directories are.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// How many values and series there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Values of each label that is open.
    pub values: usize,
    /// Series of all metrics together, as Prometheus counts them: a histogram is many.
    pub series: usize,
    /// What they take as text, in bytes.
    pub bytes: usize,
    /// Values of the label `module`; none if there is no such label.
    pub modules: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { values: 100, series: 10_000, bytes: 4 << 20, modules: None }
    }
}

/// The labels whose values come from outside, by what they mean: `from` and `to` are proxies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Open {
    Proxy,
    Host,
    Port,
    Error,
    Module,
}

/// How many there are.
const OPEN: usize = 5;

impl Open {
    /// The label of this name; none if its values are ours.
    pub(super) fn of(label: &str) -> Option<Self> {
        Some(match label {
            "proxy" | "from" | "to" => Open::Proxy,
            "target_host" | "server_address" => Open::Host,
            "server_port" => Open::Port,
            "error_type" | "reason" | "http_response_status_code" => Open::Error,
            "module" => Open::Module,
            _ => return None,
        })
    }

    /// What its overflow is counted as.
    pub(super) fn name(self) -> &'static str {
        match self {
            Open::Proxy => "proxy",
            Open::Host => "target_host",
            Open::Port => "server_port",
            Open::Error => "error_type",
            Open::Module => "module",
        }
    }
}

/// The values that have been admitted.
#[derive(Debug)]
pub(super) struct Admitted {
    values: [HashSet<Box<str>>; OPEN],
    limits: Limits,
}

impl Admitted {
    pub(super) fn new(limits: Limits) -> Self {
        Self { values: Default::default(), limits }
    }

    /// Whether the value may stand as it is: first come, first served.
    pub(super) fn admit(&mut self, label: Open, value: &str) -> bool {
        let limit = match label {
            Open::Module => self.limits.modules.unwrap_or(0),
            _ => self.limits.values,
        };
        let known = &mut self.values[label as usize];
        if known.contains(value) || value == OTHER || value.is_empty() {
            return true;
        }
        if value.len() > LONGEST || known.len() >= limit {
            return false;
        }
        known.insert(value.into())
    }
}

/// An entry of GOPROXY as a label. Those of tests are few: each run has another port, or directory.
pub(super) fn proxy(proxy: &str) -> Cow<'_, str> {
    let entry = entry(proxy);
    let Some((scheme, rest)) = entry.split_once("://") else { return entry };
    let end = rest.find('/').unwrap_or(rest.len());
    let kept = match scheme {
        "file" => TEMPORARY.into_iter().find(|directory| is_below(directory, rest)),
        _ => Some(host(&rest[..end])).filter(|host| host.len() < end),
    };
    match kept {
        Some(kept) => format!("{scheme}://{kept}").into(),
        None => entry,
    }
}

fn is_below(directory: &str, path: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// A host as a label: with its port, unless that is one of a test.
pub(super) fn host(host: &str) -> &str {
    let (name, port) = split_port(host);
    let port = port.and_then(|port| port.parse().ok());
    if port.is_some_and(|port| is_of_a_test(unbracketed(name), port)) { name } else { host }
}

/// Whether a port is one that the system gave to a server for this machine alone.
pub(super) fn is_of_a_test(name: &str, port: u16) -> bool {
    let is_loopback = || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    port >= GIVEN && (name == "localhost" || is_loopback())
}
