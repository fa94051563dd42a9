//! What the servers were asked and what they answered: the ground truth.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The client's address and port.
    pub peer: SocketAddr,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Referer`.
    pub referer: Option<String>,
}

/// The entries of one lab, shared by its servers.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Entry>>>);

impl Log {
    /// Appends an entry and numbers it.
    pub(crate) fn push(&self, mut entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entry.sequence = entries.len();
        entries.push(entry);
    }

    /// Forgets all entries.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The entries so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
