//! PT305, PT701.

use std::collections::BTreeSet;

use crate::correlate::url::Url;
use crate::model::Chain;
use crate::redact::REDACTED;

use super::super::sign::Sign;
use super::super::view::View;

/// Servers that are open to all, and whose operators see what they are asked.
const PUBLIC: &[&str] = &[
    "proxy.golang.org",
    "sum.golang.org",
    "sum.golang.google.cn",
    "goproxy.io",
    "goproxy.cn",
    "mirrors.aliyun.com",
    "mirrors.tencent.com",
    "repo.huaweicloud.com",
];

/// Ends of host names that no public name has (RFC 6761, 6762, 8375, and those that ICANN keeps
/// for private use or does not give away).
const INTERNAL: &[&str] = &[
    ".internal",
    ".corp",
    ".home",
    ".mail",
    ".lan",
    ".local",
    ".localdomain",
    ".intranet",
    ".private",
    ".home.arpa",
];

/// PT305: one for each entry. What goes over http is PT304 where there is a password in it.
pub(super) fn secret_in_url(view: &View<'_>) -> Vec<Sign> {
    let values: BTreeSet<&str> = view.goproxies().collect();
    let entries: BTreeSet<&str> = values
        .into_iter()
        .flat_map(|value| value.split([',', '|']))
        .map(str::trim)
        .filter(|entry| entry.contains(REDACTED) && !is_password_in_clear(entry))
        .collect();
    let sign = |entry: &str| {
        Sign::general("PT305", format!("the entry {entry} of GOPROXY has a secret in its URL"))
    };
    entries.into_iter().map(sign).collect()
}

/// Whether go refuses the entry for its credentials (`web/http.go:get`).
pub(in super::super) fn is_password_in_clear(entry: &str) -> bool {
    let authority = entry.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next());
    authority.flatten().is_some_and(|authority| authority.contains('@'))
}

/// PT701. Never guessed from a 404: either the name can be nobody's in public, or the user said so.
pub(super) fn private_leak(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let Some(module) = chain.module.as_deref() else { return Vec::new() };
    let host = module.split('/').next().unwrap_or(module);
    let internal = INTERNAL.iter().any(|end| host.ends_with(end));
    if !internal && !view.is_private(chain, module) {
        return Vec::new();
    }
    let why = if internal { "its host is an internal name" } else { "GOPRIVATE matches it" };
    let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    let leaks = asked.filter(|request| {
        let host = Url::parse(&request.url).map_or("", |url| url.host);
        PUBLIC.contains(&host.to_ascii_lowercase().as_str())
    });
    let told: Vec<_> = leaks.map(|request| (request.host.as_str(), request.id)).collect();
    let hosts: BTreeSet<&str> = told.iter().map(|(host, _)| *host).collect();
    let sign = |host: &str| {
        let message = format!("{host} was asked for a private module: {why}");
        let ids = told.iter().filter(|(asked, _)| *asked == host).map(|(_, id)| *id);
        Sign::of("PT701", chain, message).with(ids.collect())
    };
    hosts.into_iter().map(sign).collect()
}
