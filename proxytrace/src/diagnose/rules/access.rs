//! PT303, PT304 where it is no root, PT305, PT701.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Origin;
use crate::gomod::TOOLCHAIN;
use crate::model::{Artifact, Chain, Severity};
use crate::public::is_public;
use crate::redact::REDACTED;
use crate::url::{Url, host_name};

use super::super::credentials::is_redirect_of_user;
use super::super::sent::Sent;
use super::super::sign::Sign;
use super::super::view::{View, is_of_go};

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

/// PT303. go looks for the host as the URL has it (`cmd/go/internal/auth`), and for that of the first
/// URL alone: for the target of a redirect nobody looks (`web/http.go:get`), nor is a line of any use
/// where that URL has a user of its own. git looks by itself, and knows no port there.
pub(super) fn netrc_port(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let last = chain.attempts.last().filter(|_| view.failed(chain));
    // Over http it looks nowhere.
    let asked = |send: &Sent<'_>| {
        let secure = send.first().url.starts_with("https://");
        secure && !send.crossed() && !is_redirect_of_user(send)
    };
    let send = last.and_then(Sent::last_of).filter(asked);
    let refused = send.map(|send| send.last()).filter(|request| is_of_go(request));
    let Some(request) = refused.filter(|request| request.status == Some(401)) else {
        return Vec::new();
    };
    let authority = Url::parse(&request.url).map_or("", |url| url.host);
    let name = Some(host_name(authority)).filter(|name| *name != authority);
    let line = view.trace.netrc.iter().find(|line| Some(line.host.as_str()) == name);
    let sign = line.map(|line| {
        let (file, number, host) = (&line.file, line.line, &line.host);
        let message = format!(
            "{file}:{number} has credentials for {host}, and go looks for {authority}: it passes \
             over a line without the port"
        );
        Sign::of("PT303", chain, message).with(vec![request.id])
    });
    sign.into_iter().collect()
}

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

/// PT304: one for each entry. A go that asks nobody else has no chain to be the root of, and so no
/// error; that it came to this entry is known from what it printed, or from its asking the next.
pub(super) fn creds_over_http(view: &View<'_>) -> Vec<Sign> {
    const REFUSED: &str = "refusing to pass credentials to insecure URL";
    let mut entries: BTreeMap<&str, Sign> = BTreeMap::new();
    let sign = |entry: &str| {
        let message =
            format!("the entry {entry} has credentials, which go does not send over http");
        Sign::general("PT304", message).at_most(Severity::Warning)
    };
    for process in &view.trace.processes {
        let said = process.stderr_tail.as_deref().is_some_and(|text| text.contains(REFUSED));
        let value = process.config.get("GOPROXY").map_or("", |setting| setting.value.as_str());
        let refused =
            value.split([',', '|']).map(str::trim).filter(|entry| is_password_in_clear(entry));
        for entry in refused.filter(|_| said) {
            entries.entry(entry).or_insert_with(|| sign(entry));
        }
    }
    for chain in &view.trace.chains {
        for attempt in chain.attempts.iter().filter(|attempt| attempt.requests.is_empty()) {
            if is_password_in_clear(&attempt.proxy) && !view.failed(chain) {
                let entry = entries.entry(&attempt.proxy).or_insert_with(|| sign(&attempt.proxy));
                entry.chains.push(chain.id);
            }
        }
    }
    entries.into_values().collect()
}

/// Whether go refuses the entry for its credentials (`web/http.go:get`).
pub(in super::super) fn is_password_in_clear(entry: &str) -> bool {
    let parts = entry.split_once("://");
    let rest = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http"));
    let authority = rest.and_then(|(_, rest)| rest.split(['/', '?']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// What to do where a setting is in force in place of GOPRIVATE, for what the chain asked for. One
/// that nobody made is GOPRIVATE itself; without it that has to match the module.
fn overriding(view: &View<'_>, chain: &Chain, module: &str) -> Option<String> {
    let database = matches!(chain.artifact, Artifact::SumdbLookup | Artifact::SumdbTile);
    let name = if database { "GONOSUMDB" } else { "GONOPROXY" };
    let setting = view.process(chain.process)?.config.get(name)?;
    let value = &setting.value;
    let made = setting.origin != Origin::Default && !value.is_empty();
    made.then(|| {
        let unset = if view.is_private(chain, module) { ", or unset it" } else { "" };
        format!(
            "{name} is `{value}`, which is in force in place of GOPRIVATE: name the modules \
             there{unset}."
        )
    })
}

/// PT701. Never guessed from a 404: either the name can be nobody's in public, or the user said so.
/// Toolchains are nobody's own, whatever GOPRIVATE matches, and go asks the checksum database about
/// them in any case (`modfetch/sumdb.go:useSumDB`).
pub(super) fn private_leak(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let module = chain.module.as_deref().filter(|module| *module != TOOLCHAIN);
    let Some(module) = module else { return Vec::new() };
    let host = module.split('/').next().unwrap_or(module);
    let internal = INTERNAL.iter().any(|end| host.ends_with(end));
    if !internal && !view.is_private(chain, module) {
        return Vec::new();
    }
    let why = if internal { "its host is an internal name" } else { "GOPRIVATE matches it" };
    let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    let leaks = asked.filter(|request| {
        if request.outcome.is_unreached() {
            return false;
        }
        let host = Url::parse(&request.url).map_or("", |url| url.host);
        is_public(host)
    });
    let told: Vec<_> = leaks.map(|request| (request.host.as_str(), request.id)).collect();
    let hosts: BTreeSet<&str> = told.iter().map(|(host, _)| *host).collect();
    let instead = overriding(view, chain, module);
    let sign = |host: &str| {
        let message = format!("{host} was asked for a private module: {why}");
        let ids = told.iter().filter(|(asked, _)| *asked == host).map(|(_, id)| *id);
        let sign = Sign::of("PT701", chain, message).with(ids.collect());
        match &instead {
            Some(advice) => sign.advising(advice),
            None => sign,
        }
    };
    hosts.into_iter().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use crate::correlate::tests::scenarios::zip;
    use crate::correlate::tests::script::{Hop, Script, Task, bad_status, hop};
    use crate::diagnose::diagnose;
    use crate::model::{NetrcLine, Witness};

    const ENTRY: &str = "https://proxy.lab:8443";

    /// Whether PT303 is told of a send of these requests, where netrc has lines without the port.
    fn is_told(hops: &[Hop], witness: Witness) -> bool {
        let mut script = Script::new(ENTRY, 1);
        let task = Task::new(7).walk().lookup(ENTRY, "x.lab/m").fetch(hops);
        script.run(&[task.failed(bad_status(401))]);
        let mut trace = script.trace();
        let line = |host: &str| NetrcLine {
            file: "/home/me/.netrc".to_owned(),
            line: 3,
            host: host.to_owned(),
        };
        trace.netrc = Vec::from(["proxy.lab", "storage.lab"].map(line));
        for request in &mut trace.chains[0].attempts[0].requests {
            request.witness = witness;
        }
        diagnose(&trace).iter().any(|finding| finding.code == "PT303")
    }

    #[test]
    fn credentials_in_clear_are_those_of_an_http_entry() {
        for (entry, expected) in [
            ("http://REDACTED@proxy.lab", true),
            ("HTTP://REDACTED@proxy.lab/x", true),
            ("http://proxy.lab/a@b", false),
            ("https://REDACTED@proxy.lab", false),
            ("direct", false),
        ] {
            assert_eq!(super::is_password_in_clear(entry), expected, "{entry}");
        }
    }

    #[test]
    fn pt303_is_of_the_host_that_credentials_are_looked_for() {
        let first = zip(ENTRY, "x.lab/m");
        let to = |target: &str| [hop(&first, 302).to(target), hop(target, 401)];
        assert!(is_told(&[hop(&first, 401)], Witness::Go));
        assert!(is_told(&to("https://proxy.lab:8443/m"), Witness::Go));
        assert!(!is_told(&to("https://storage.lab:8443/m"), Witness::Go));
        // go looks for the URL with its user.
        let mut of_user = to("https://proxy.lab:8443/m");
        of_user[0] = hop(&first.replace("//", "//REDACTED@"), 302).to("https://proxy.lab:8443/m");
        assert!(!is_told(&of_user, Witness::Go));
        assert!(!is_told(&[hop(&first.replace("https:", "http:"), 401)], Witness::Go));
        // git takes the line without the port.
        assert!(!is_told(&[hop(&first, 401)], Witness::Wire));
    }
}
