//! netrc: credentials for a host, and lines that go passes over.
//!
//! `cmd/go/internal/auth/netrc.go:parseNetrc` and, since Go 1.24, `auth.go:loadCredential`: a
//! machine is the host as the URL has it, with the port if one is written there. Go 1.19 takes the
//! host without its port.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;

use crate::correlate::story::first_of_last_send;
use crate::model::{Attempt, Cause, NetrcLine, Request, Trace};
use crate::redact;
use crate::url::Url;
use crate::url::split_port;

/// What a netrc file has for a machine, and in which line it is complete, 1-based.
struct Entry<'a> {
    line: u32,
    machine: &'a str,
    login: &'a str,
    password: &'a str,
}

/// Name and password for `host` in the text of a netrc file; the first of two counts.
pub(crate) fn find(text: &str, host: &str) -> Option<(String, String)> {
    let found = entries(text).into_iter().find(|entry| entry.machine == host)?;
    Some((found.login.to_owned(), found.password.to_owned()))
}

/// Whether some releases find a machine for `url`, without its scheme, and others do not: one
/// with a scheme since Go 1.24, one with a path or a `/` behind it since Go 1.25
/// (`auth.go:storeCredential`, `loadCredential`).
pub(crate) fn is_found_by_some(text: &str, url: &str) -> bool {
    let host = url.split_once('/').map_or(url, |(host, _)| host);
    entries(text).iter().filter(|entry| entry.machine != host).any(|entry| {
        let machine = entry.machine.strip_prefix("https://").unwrap_or(entry.machine);
        let machine = machine.strip_suffix('/').unwrap_or(machine);
        url.strip_prefix(machine).is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Lines for hosts without a port that answered 401 where the URL has one, and got no credentials.
///
/// A file is read only for such an answer, and nothing but a name that is known anyway leaves it.
pub fn lines_without_port(trace: &Trace, read: &dyn Fn(&Path) -> Option<String>) -> Vec<NetrcLine> {
    let mut found = BTreeSet::new();
    for chain in &trace.chains {
        let refused = chain.attempts.iter().flat_map(to_first_hosts).filter(|request| {
            let bare = request.credentials.as_ref().is_some_and(Vec::is_empty);
            bare && request.status == Some(401) && request.url.starts_with("https://")
        });
        for authority in refused.filter_map(|request| Some(Url::parse(&request.url)?.host)) {
            let process = trace.processes.iter().find(|process| process.id == chain.process);
            let file = process.and_then(|process| process.surroundings.netrc.as_deref());
            let (Some(file), (host, Some(_))) = (file, split_port(authority)) else { continue };
            let Some(text) = read(Path::new(file)) else { continue };
            let entries = entries(&text);
            let line_of = |name| entries.iter().find(|entry| entry.machine == name);
            if let (Some(entry), None) = (line_of(host), line_of(authority)) {
                let (file, host) = (redact::argument(file), host.to_owned());
                found.insert(NetrcLine { file, line: entry.line, host });
            }
        }
    }
    found.into_iter().collect()
}

/// The requests to the host that their send began with: for that of a redirect's target go never
/// looks for credentials (`cmd/go/internal/web/http.go:get`).
fn to_first_hosts(attempt: &Attempt) -> impl Iterator<Item = &Request> {
    let begins = |request: &Request| matches!(request.cause, Cause::Initial | Cause::AuthResend);
    attempt.requests.chunk_by(move |_, next| !begins(next)).flat_map(|send| {
        let first = first_of_last_send(send);
        send.iter().filter(move |request| request.host == first.host)
    })
}

/// Machines with a name and a password.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let (mut machine, mut login, mut password) = ("", "", "");
    let mut in_macro = false;
    for (line, number) in text.lines().zip(1..) {
        if in_macro {
            in_macro = !line.is_empty();
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (pairs, odd) = words.as_chunks::<2>();
        for [name, value] in pairs {
            match *name {
                "machine" => (machine, login, password) = (value, "", ""),
                "login" => login = value,
                "password" => password = value,
                "macdef" => in_macro = true,
                _ => {}
            }
            if ![machine, login, password].contains(&"") {
                entries.push(Entry { line: number, machine, login, password });
                (machine, login, password) = ("", "", "");
            }
        }
        // Nothing after it counts.
        if odd == ["default"] {
            break;
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::{find, is_found_by_some, lines_without_port};
    use crate::correlate::tests::scenarios::{A, got};
    use crate::correlate::tests::script::{Hop, Script, hop};

    #[test]
    fn a_machine_is_the_host_as_written() {
        let text = "machine a.example login u password p\nmacdef init\nmachine b login x password y\n\nmachine b:8443\n login v\n password q\nmachine a.example login late password late\ndefault\nmachine c login c password c";
        let found = |host| find(text, host).map(|(name, password)| format!("{name}:{password}"));
        assert_eq!(found("a.example").as_deref(), Some("u:p"));
        assert_eq!(found("a.example:443"), None);
        assert_eq!(found("b"), None);
        assert_eq!(found("b:8443").as_deref(), Some("v:q"));
        assert_eq!(found("c"), None);
        assert_eq!(found("A.example"), None);
    }

    #[test]
    fn a_scheme_and_a_path_are_not_for_all_releases() {
        for (machine, expected) in [
            ("https://proxy.lab:8443", true),
            ("proxy.lab:8443/", true),
            ("proxy.lab:8443/api", true),
            ("https://proxy.lab:8443/api/go/", true),
            ("proxy.lab:8443/ap", false),
            ("proxy.lab:8443/other", false),
            ("https://proxy.lab", false),
            ("http://proxy.lab:8443", false),
            ("Proxy.lab:8443/api", false),
            // All find it.
            ("proxy.lab:8443", false),
        ] {
            let text = format!("machine {machine} login u password p\n");
            let found = is_found_by_some(&text, "proxy.lab:8443/api/go/m/@v/list");
            assert_eq!(found, expected, "{machine}");
        }
    }

    /// The lines of this file that are passed over, and whether it was read, where `url` was answered
    /// 401 after these credentials.
    fn passed_over(text: &str, url: &str, credentials: &[&str]) -> (Vec<(u32, String)>, bool) {
        let answer = credentials.iter().fold(hop(url, 401), |hop, name| hop.sending(name));
        passed_over_in(text, &[answer])
    }

    /// The same in a send of these requests.
    fn passed_over_in(text: &str, hops: &[Hop]) -> (Vec<(u32, String)>, bool) {
        let mut script = Script::new(A, 1);
        script.run(&[got(7, "x.lab/m", hops)]);
        let mut trace = script.trace();
        trace.processes[0].surroundings.netrc = Some("/home/me/.netrc".to_owned());
        let was_read = Cell::new(false);
        let read = |path: &Path| {
            assert_eq!(path, Path::new("/home/me/.netrc"));
            was_read.set(true);
            Some(text.to_owned())
        };
        let found = lines_without_port(&trace, &read);
        (found.into_iter().map(|line| (line.line, line.host)).collect(), was_read.get())
    }

    #[test]
    fn a_line_without_the_port_is_passed_over() {
        let url = "https://proxy.lab:8443/x.lab/m/@v/v1.0.0.zip";
        let text = "machine other login u password p\nmachine proxy.lab\n login u\n password p\n";
        assert_eq!(passed_over(text, url, &[]), (vec![(4, "proxy.lab".to_owned())], true));
        let both = format!("{text}machine proxy.lab:8443 login u password p\n");
        assert_eq!(passed_over(&both, url, &[]), (vec![], true));
        // Without a password go would take nothing from it either way.
        assert_eq!(passed_over("machine proxy.lab login u\n", url, &[]), (vec![], true));
        // Nobody looks where it can explain nothing.
        assert_eq!(passed_over(text, url, &["Authorization"]), (vec![], false));
        let plain = "https://proxy.lab/x.lab/m/@v/v1.0.0.zip";
        assert_eq!(passed_over(text, plain, &[]), (vec![], false));
        assert_eq!(passed_over(text, &url.replace("https", "http"), &[]), (vec![], false));
        // The colons of an address are no port.
        let url = "https://[2001:db8::1]:8443/x.lab/m/@v/v1.0.0.zip";
        let text = "machine [2001:db8::1] login u password p\n";
        assert_eq!(passed_over(text, url, &[]), (vec![(1, "[2001:db8::1]".to_owned())], true));
        assert_eq!(passed_over(text, &url.replace(":8443", ""), &[]), (vec![], false));
    }

    #[test]
    fn nobody_looks_for_the_target_of_a_redirect() {
        let text = "machine storage.lab login u password p\nmachine proxy.lab login u password p\n";
        let (first, target) =
            ("https://proxy.lab:8443/x.lab/m/@v/v1.0.0.zip", "https://storage.lab:8443/m");
        let to = |target: &str| [hop(first, 302).to(target), hop(target, 401)];
        assert_eq!(passed_over_in(text, &to(target)), (vec![], false));
        let again = [hop(first, 302).to(target), hop(target, 401).retried()];
        assert_eq!(passed_over_in(text, &again), (vec![], false));
        // On the same host it is the credentials for the first URL that are sent.
        let same = passed_over_in(text, &to("https://proxy.lab:8443/m"));
        assert_eq!(same, (vec![(2, "proxy.lab".to_owned())], true));
    }
}
