//! What the servers were asked and what they answered: the ground truth.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// One request, as a server received it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Order of arrival over all servers, from zero.
    pub sequence: usize,
    /// Name of the server that got it.
    pub host: &'static str,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// `HTTP/2.0` or `HTTP/1.1`.
    pub protocol: String,
    /// HTTP method.
    pub method: String,
    /// Scheme, authority, path and query, the latter three as they were on the wire.
    pub url: String,
    /// Status answered; none if the connection was closed instead.
    pub status: Option<u16>,
    /// `Location` answered.
    pub location: Option<String>,
    /// The client's address and port, also where a forward proxy is between.
    pub peer: SocketAddr,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Referer`.
    pub referer: Option<String>,
}

/// One connection, as a server accepted it.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Name of the server.
    pub host: &'static str,
    /// The client's address and port.
    pub peer: SocketAddr,
}

/// One question that the name server got, and what it did about it.
#[derive(Clone, Debug, Serialize)]
pub struct Query {
    /// The name, without the dot at its end.
    pub name: String,
    /// `A`, `AAAA`.
    pub kind: String,
    /// The response code (RFC 1035, 4.1.1); none if there was no answer.
    pub code: Option<u16>,
}

/// What happened in one lab, shared by its servers.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    entries: Vec<Entry>,
    connections: Vec<Accepted>,
    queries: Vec<Query>,
    /// Which client each connection of a forward proxy to a server is for.
    clients: HashMap<(&'static str, SocketAddr), SocketAddr>,
}

impl Log {
    /// Appends an entry and numbers it.
    pub(crate) fn push(&self, mut entry: Entry) {
        let entries = &mut self.records().entries;
        entry.sequence = entries.len();
        entries.push(entry);
    }

    /// Notes a connection.
    pub(crate) fn accept(&self, accepted: Accepted) {
        self.records().connections.push(accepted);
    }

    /// Notes that what comes to `host` from `local`, an address of a forward proxy, is from `client`.
    pub(crate) fn forward(&self, host: &'static str, local: SocketAddr, client: SocketAddr) {
        self.records().clients.insert((host, local), client);
    }

    /// Notes a question.
    pub(crate) fn ask(&self, query: Query) {
        self.records().queries.push(query);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.records() = Records::default();
    }

    /// The entries so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let records = self.records();
        let client = |it: &Entry| *records.clients.get(&(it.host, it.peer)).unwrap_or(&it.peer);
        records.entries.iter().map(|it| Entry { peer: client(it), ..it.clone() }).collect()
    }

    /// The connections so far, without those that forward proxies made.
    pub(crate) fn connections(&self) -> Vec<Accepted> {
        let records = self.records();
        let is_clients =
            |accepted: &&Accepted| !records.clients.contains_key(&(accepted.host, accepted.peer));
        records.connections.iter().filter(is_clients).cloned().collect()
    }

    /// The questions so far.
    pub(crate) fn queries(&self) -> Vec<Query> {
        self.records().queries.clone()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
