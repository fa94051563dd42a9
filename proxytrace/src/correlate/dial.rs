//! Dialing: a name resolved, connections made, a handshake on one of them.
//!
//! net/http dials in a goroutine of its own, whose requests wait elsewhere
//! (`net/http/transport.go:dialConn`). The name is resolved and the handshake waited for in that
//! goroutine; each connect happens there as well or, where IPv6 and IPv4 race, in children of it
//! (`net/dial.go:dialParallel`).

use std::collections::HashMap;

use crate::event::{Event, What};
use crate::model::{ConnectionId, NameLookup, ProcessId};

use super::connection::{Aim, Connections};
use super::failure;

/// Goroutines that dial, and all names that they resolved.
#[derive(Debug, Default)]
pub(super) struct Dials {
    goroutines: HashMap<(ProcessId, u64), Dialer>,
    lookups: Vec<NameLookup>,
}

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
                self.goroutines.entry(key).or_default().lookup = Some(self.lookups.len());
                self.lookups.push(NameLookup {
                    process,
                    host: host.clone(),
                    started_ns: event.time,
                    duration_ns: None,
                    addresses: None,
                    error: None,
                });
            }
            What::Resolved { addresses, error } => {
                let open = self.goroutines.get(&key).and_then(|dialer| dialer.lookup);
                // That of an address, whose beginning is not told, comes after the end of the last.
                let open = open.map(|at| &mut self.lookups[at]);
                if let Some(lookup) = open.filter(|lookup| lookup.duration_ns.is_none()) {
                    lookup.duration_ns = Some(event.time.saturating_sub(lookup.started_ns));
                    lookup.addresses = error.is_none().then_some(*addresses);
                    lookup.error = error.as_ref().map(failure::error);
                }
            }
            What::Dial { host, remote } => {
                let dns_ns = [goroutine.id, goroutine.parent]
                    .into_iter()
                    .find_map(|id| self.resolved(process, id, host));
                let aim = Aim { host: usual(host).to_owned(), remote: *remote, dns_ns };
                connections.aim(process, goroutine.id, aim);
            }
            What::TlsEnter { server_name, local, remote } => {
                let Some(ends) = local.zip(*remote) else { return };
                let connection = connections.between(process, ends);
                connections.secure(connection, server_name);
                self.goroutines.entry(key).or_default().handshake = Some((connection, event.time));
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
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        (lookup.host == name).then_some(lookup.duration_ns)?
    }

    /// The handshake that ends.
    fn handshake(&mut self, key: (ProcessId, u64)) -> Option<(ConnectionId, u64)> {
        self.goroutines.get_mut(&key)?.handshake.take()
    }
}

/// A host as requests name it: net/http adds the port of the scheme where a URL has none.
fn usual(host: &str) -> &str {
    [":443", ":80"].into_iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host)
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
