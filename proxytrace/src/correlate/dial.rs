//! Dialing: a name resolved, connections made, a handshake on one of them.
//!
//! net/http dials in a goroutine of its own, whose requests wait elsewhere
//! (`net/http/transport.go:dialConn`). The name is resolved and the handshake waited for in that
//! goroutine; each connect happens there as well or, where IPv6 and IPv4 race, in children of it
//! (`net/dial.go:dialParallel`).
//!
//! Who wants a name that is being resolved waits for the same query (`net/lookup.go:lookupIPAddr`),
//! which runs in a goroutine of its own; its questions to name servers, in children of that.

use foldhash::HashMap;

use crate::event::{Event, Goroutine, What};
use crate::model::{ConnectionId, NameLookup, ProcessId};
use crate::url::{host_name, split_port, unbracketed};

use super::connection::{Aim, Connections};
use super::failure;

/// Goroutines that dial, and all names that they resolved.
#[derive(Debug, Default)]
pub(super) struct Dials {
    goroutines: HashMap<(ProcessId, u64), Dialer>,
    lookups: Vec<NameLookup>,
    /// Places of the lookups that have not ended.
    open: Vec<usize>,
    /// The names that goroutines ask name servers for.
    queries: HashMap<(ProcessId, u64), String>,
    /// How long a name took in a process, where it has been resolved once.
    once: HashMap<(ProcessId, String), Option<u64>>,
}

/// Name servers of one lookup that are told: `resolv.conf` names three at most.
const SERVERS_MAX: usize = 8;

/// What one of them has done last.
#[derive(Debug, Default)]
struct Dialer {
    /// The name that it resolves or has resolved: a place in the lookups.
    lookup: Option<usize>,
    /// The handshake that it waits for: where, and since when.
    handshake: Option<(ConnectionId, u64)>,
}

impl Dials {
    pub(super) fn into_model(self) -> Vec<NameLookup> {
        self.lookups
    }

    /// A process ended, or became another image.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.goroutines.retain(|(owner, _), _| *owner != process);
        self.queries.retain(|(owner, _), _| *owner != process);
        self.once.retain(|(owner, _), _| *owner != process);
        self.open.retain(|&at| self.lookups[at].process != process);
    }

    /// Something happened in a goroutine; what is not about dialing is left alone.
    pub(super) fn push(
        &mut self,
        event: &Event,
        process: ProcessId,
        connections: &mut Connections,
    ) {
        let Some(goroutine) = event.goroutine else { return };
        let key = (process, goroutine.id);
        match &event.what {
            What::Resolve { host } => {
                // Somebody else may have asked already.
                let other = self.open_for(process, host).next();
                let servers = other.and_then(|at| self.lookups[at].servers.clone());
                self.goroutines.entry(key).or_default().lookup = Some(self.lookups.len());
                self.open.push(self.lookups.len());
                self.lookups.push(NameLookup {
                    process,
                    host: host.clone(),
                    started_ns: event.time,
                    duration_ns: None,
                    addresses: None,
                    answers: None,
                    servers,
                    cut: Vec::new(),
                    error: None,
                });
            }
            What::Resolved { addresses, answers, error } => {
                let open = self.goroutines.get(&key).and_then(|dialer| dialer.lookup);
                // That of an address, whose beginning is not told, comes after the end of the last.
                let Some(at) = open.filter(|at| self.lookups[*at].duration_ns.is_none()) else {
                    return;
                };
                self.open.retain(|&other| other != at);
                let lookup = &mut self.lookups[at];
                let duration = event.time.saturating_sub(lookup.started_ns);
                lookup.duration_ns = Some(duration);
                if let Some(error) = error {
                    lookup.error = Some(failure::error(error));
                } else {
                    lookup.addresses = Some(*addresses);
                    // A recording of before has none of them.
                    lookup.answers =
                        (*addresses == 0 || !answers.is_empty()).then(|| answers.clone());
                    if answers.len() < *addresses as usize {
                        lookup.cut.push("answers".to_owned());
                    }
                }
                self.once
                    .entry((process, lookup.host.clone()))
                    .and_modify(|once| *once = None)
                    .or_insert(Some(duration));
            }
            What::Query { host } => _ = self.queries.insert(key, host.clone()),
            What::Exchange { server } => self.ask(process, goroutine, server),
            What::Dial { host, remote } => {
                let dns_ns = [goroutine.id, goroutine.parent]
                    .into_iter()
                    .find_map(|id| self.resolved(process, id, host))
                    .or_else(|| {
                        // Before Go 1.21 no goroutine says who started it. Whose else can it be?
                        let only = || *self.once.get(&(process, name_of(host).to_owned()))?;
                        (goroutine.parent == 0).then(only).flatten()
                    });
                let aim = Aim { host: Some(usual(host)), remote: *remote, dns_ns };
                connections.aim(process, goroutine.id, aim);
            }
            What::TlsEnter { server_name, local, remote } => {
                let Some(ends) = local.zip(*remote) else { return };
                let connection = connections.between(process, ends);
                connections.secure(connection, server_name.to_ascii_lowercase());
                self.goroutines.entry(key).or_default().handshake = Some((connection, event.time));
            }
            // The handshake is a child's, where addTLS waits for it.
            What::CertificateWanted => {
                let waiting = self.goroutines.get(&(process, goroutine.parent));
                if let Some((connection, _)) = waiting.and_then(|dialer| dialer.handshake) {
                    connections.want_certificate(connection);
                }
            }
            What::TlsState { version, protocol } => {
                if let Some((connection, start)) = self.handshake(key) {
                    connections.secured(connection, event.time.saturating_sub(start), |tls| {
                        tls.version = version_name(*version);
                        tls.protocol.clone_from(protocol);
                    });
                }
            }
            What::TlsReturn { error } => {
                if let Some((connection, start)) = self.handshake(key) {
                    connections.secured(connection, event.time.saturating_sub(start), |tls| {
                        tls.error = error.as_ref().map(failure::error);
                    });
                }
            }
            _ => {}
        }
    }

    /// How long the name of `host` took in a goroutine, if that is what it resolved last.
    fn resolved(&self, process: ProcessId, goroutine: u64, host: &str) -> Option<u64> {
        let lookup = &self.lookups[self.goroutines.get(&(process, goroutine))?.lookup?];
        (lookup.host == name_of(host)).then_some(lookup.duration_ns)?
    }

    /// The lookups of a name that have not ended.
    fn open_for(&self, process: ProcessId, host: &str) -> impl Iterator<Item = usize> {
        let is_it = move |at: &usize| {
            let lookup = &self.lookups[*at];
            lookup.process == process && lookup.host == host
        };
        self.open.iter().copied().filter(is_it)
    }

    /// A name server is asked, for all who wait for the name; not where that is not known.
    fn ask(&mut self, process: ProcessId, goroutine: Goroutine, server: &str) {
        let query = |id| self.queries.get(&(process, id));
        let host = match query(goroutine.id).or_else(|| query(goroutine.parent)) {
            Some(host) => host.clone(),
            None if goroutine.parent == 0 => {
                let mut open = self.open.iter().map(|&at| &self.lookups[at]);
                let mut ours = open.by_ref().filter(|lookup| lookup.process == process);
                let Some(first) = ours.next().map(|lookup| lookup.host.clone()) else { return };
                if ours.any(|lookup| lookup.host != first) {
                    return;
                }
                first
            }
            None => return,
        };
        for at in self.open_for(process, &host).collect::<Vec<_>>() {
            let NameLookup { servers, cut, .. } = &mut self.lookups[at];
            let servers = servers.get_or_insert_default();
            if servers.iter().any(|known| known == server) {
                continue;
            }
            if servers.len() < SERVERS_MAX {
                servers.push(server.to_owned());
            } else if cut.is_empty() {
                cut.push("servers".to_owned());
            }
        }
    }

    /// The handshake that ends.
    fn handshake(&mut self, key: (ProcessId, u64)) -> Option<(ConnectionId, u64)> {
        self.goroutines.get_mut(&key)?.handshake.take()
    }
}

/// What of a host is looked up: neither the port nor brackets.
fn name_of(host: &str) -> &str {
    unbracketed(host_name(host))
}

/// A host as requests name it: net/http adds the port of the scheme where a URL has none, and
/// leaves capitals as they are (`transport.go:canonicalAddr`).
fn usual(host: &str) -> String {
    let name = match split_port(host) {
        (name, Some("443" | "80")) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

/// `crypto/tls/common.go:VersionName`.
fn version_name(version: u16) -> Option<String> {
    let name = match version {
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        0x0304 => "TLS 1.3",
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{name_of, usual};

    #[test]
    fn the_groups_of_an_ipv6_address_are_no_port() {
        for (host, name, plain) in [
            ("a.lab", "a.lab", "a.lab"),
            ("a.lab:443", "a.lab", "a.lab"),
            ("a.lab:8443", "a.lab", "a.lab:8443"),
            ("[::1]:80", "::1", "[::1]"),
            ("[::1]:8443", "::1", "[::1]:8443"),
            ("[::1]", "::1", "[::1]"),
            ("::1", "::1", "::1"),
            ("2001:db8::443", "2001:db8::443", "2001:db8::443"),
            ("A.Lab:443", "A.Lab", "a.lab"),
        ] {
            assert_eq!((name_of(host), &*usual(host)), (name, plain), "{host}");
        }
    }
}
