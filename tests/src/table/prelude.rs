//! What rows are written with.

pub(super) use crate::modules::Modules;
pub(super) use crate::scenario::Action::{
    self, Body, Close, First, Forward, GoImport, GoImportGit, Gzip, Hang, Html, Page, Redirect,
    Serve, ServeLast, ServeOncePerConnection, ServeUser, Slow, Status, Truncate, TruncateGzip,
};
pub(super) use crate::scenario::Protocol::{self, H1, H2, H2At8443, Plain};
pub(super) use crate::scenario::Scenario;
pub(super) use crate::scenario::Severity::{Error, Note, Warning};
pub(super) use crate::scenario::Sumdb::{At, Forked, Grown, Honest, Lying, Off};
pub(super) use crate::scenario::{Answers, GoSum, Host, Rule, Trouble};

pub(super) const BASE: Scenario = Scenario::BASE;

pub(super) const fn modules(count: usize) -> Modules {
    Modules { prefix: "mod.lab/m", count, others: &[] }
}

pub(super) const fn host(name: &'static str, protocol: Protocol, rules: &'static [Rule]) -> Host {
    Host { name, protocol, rules, trouble: None }
}

pub(super) const fn with(trouble: Trouble, host: Host) -> Host {
    Host { trouble: Some(trouble), ..host }
}

pub(super) const fn on(pattern: &'static str, action: Action) -> Rule {
    Rule { pattern, action }
}

/// So many answers of a status.
pub(super) const fn got(host: &'static str, status: u16, count: usize) -> Answers {
    Answers { host, status: Some(status), count: Some(count), resent: false }
}

/// So many answers within sends that ended 4xx over https.
pub(super) const fn resent(host: &'static str, status: u16, count: usize) -> Answers {
    Answers { host, status: Some(status), count: Some(count), resent: true }
}

/// Modules of other hosts than `mod.lab`.
pub(super) const fn named(others: &'static [&'static str]) -> Modules {
    Modules { prefix: "", count: 0, others }
}

/// Some answers of a status.
pub(super) const fn some(host: &'static str, status: u16) -> Answers {
    Answers { host, status: Some(status), count: None, resent: false }
}

/// Some answers within sends that ended 4xx over https.
pub(super) const fn some_resent(host: &'static str, status: u16) -> Answers {
    Answers { host, status: Some(status), count: None, resent: true }
}

/// Some requests without an answer.
pub(super) const fn closed(host: &'static str) -> Answers {
    Answers { host, status: None, count: None, resent: false }
}

pub(super) const PROXY: Host = host("proxy.lab", H2, &[on("*", Serve)]);
pub(super) const MIRROR: Host = host("mirror.lab", H2, &[on("*", Serve)]);
pub(super) const STORAGE: Host = host("storage.lab", H2, &[on("*", Serve)]);

pub(super) const SUM: Host = host("sum.lab", H2, &[on("*", Serve)]);
/// A proxy without the checksum database.
pub(super) const UNSUPPORTING: Host =
    host("proxy.lab", H2, &[on("/sumdb/*", Status(404, &[])), on("*", Serve)]);
/// What is asked of the checksum database for three modules: `/supported`, each of them, one tile.
pub(super) const SUMS: usize = 5;

/// Sends everyone for a zip to `location`, and serves the rest itself.
pub(super) const fn redirecting(location: &'static str) -> [Rule; 2] {
    [on("*.zip", Redirect(302, location)), on("*", Serve)]
}

pub(super) const TO_STORAGE: &[Rule] = &redirecting("https://storage.lab{path}");

/// A scenario of one module, for two. Of several that wait for a tunnel, go before 1.21 does not say
/// whose it is.
pub(super) const fn of_two(one: &Scenario) -> Scenario {
    Scenario { since: 21, modules: modules(2), ..*one }
}
