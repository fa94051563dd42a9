//! TCP connections: what the kernel says of sockets, joined with what go says of its requests.

use foldhash::HashMap;
use std::net::SocketAddr;

use crate::event::TcpState;
use crate::model::{Connection, ConnectionId, ProcessId, Tls};

use super::process::id;

type Ends = (ProcessId, SocketAddr, SocketAddr);

/// Connections in the order of their first sign of life.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Vec<Connection>,
    /// By socket, from its first state to its last.
    sockets: HashMap<u64, ConnectionId>,
    /// By both ends, as long as no other socket has taken them.
    ends: HashMap<Ends, ConnectionId>,
    /// What goroutines are about to connect to, in the order in which they are: a few at a time.
    aims: Vec<((ProcessId, u64), Aim)>,
}

/// What a goroutine is about to connect to.
#[derive(Debug)]
pub(super) struct Aim {
    /// As connections name it: without a port that is usual. None once it may be that of a socket
    /// that was made before.
    pub(super) host: Option<String>,
    pub(super) remote: SocketAddr,
    pub(super) dns_ns: Option<u64>,
}

impl Connections {
    pub(super) fn into_model(self) -> Vec<Connection> {
        self.all
    }

    /// The process that a socket belongs to, while it is open.
    pub(super) fn owner(&self, socket: u64) -> Option<ProcessId> {
        self.sockets.get(&socket).map(|&connection| self.all[connection as usize].process)
    }

    /// The connection of a socket, while it is open.
    pub(super) fn of_socket(&self, socket: u64) -> Option<ConnectionId> {
        self.sockets.get(&socket).copied()
    }

    /// Whether the kernel told of a connection from its beginning.
    pub(super) fn has_socket(&self, connection: ConnectionId) -> bool {
        self.all[connection as usize].started_ns.is_some()
    }

    /// The other end of a connection.
    pub(super) fn remote(&self, connection: ConnectionId) -> Option<SocketAddr> {
        self.all[connection as usize].remote_addr.as_ref()?.parse().ok()
    }

    /// Whether a handshake of TLS has begun on a connection.
    pub(super) fn is_secured(&self, connection: ConnectionId) -> bool {
        self.all[connection as usize].tls.is_some()
    }

    /// How the last connection of these processes failed; none if it did not.
    pub(super) fn last_errno(&self, owned: impl Fn(ProcessId) -> bool) -> Option<i32> {
        self.all.iter().rev().find(|connection| owned(connection.process))?.errno
    }

    /// A goroutine is about to connect.
    pub(super) fn aim(&mut self, process: ProcessId, goroutine: u64, aim: Aim) {
        let key = (process, goroutine);
        self.aims.retain(|(other, _)| *other != key);
        self.aims.push((key, Aim { remote: canonical(aim.remote), ..aim }));
    }

    /// A process ended, or became another image.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.aims.retain(|((owner, _), _)| *owner != process);
    }

    /// What a new socket to `remote` is for. The kernel does not say which goroutine made it: of
    /// several that mean the same host, the one that came first; where they mean different hosts, it
    /// is not known, nor is it of the others, which make one socket each.
    fn hit(&mut self, process: ProcessId, remote: SocketAddr) -> Option<Aim> {
        let same =
            |((owner, _), aim): &((ProcessId, u64), Aim)| *owner == process && aim.remote == remote;
        let first = self.aims.iter().position(same)?;
        let (_, hit) = self.aims.remove(first);
        let mut others = self.aims.iter().filter(|it| same(it));
        if others.all(|(_, other)| other.host == hit.host) {
            return Some(hit);
        }
        for (_, aim) in self.aims.iter_mut().filter(|it| same(it)) {
            (aim.host, aim.dns_ns) = (None, None);
        }
        None
    }

    /// A socket changed its state.
    pub(super) fn tcp(
        &mut self,
        time: u64,
        process: ProcessId,
        (socket, state): (u64, TcpState),
        (local, remote): (Option<SocketAddr>, Option<SocketAddr>),
    ) {
        let (local, remote) = (local.map(canonical), remote.map(canonical));
        // A socket that connects is a new one, whatever had its name before.
        if state == TcpState::Connecting {
            self.sockets.remove(&socket);
        }
        let known = self.sockets.get(&socket).copied().or_else(|| {
            (state != TcpState::Connecting).then(|| self.at((process, local?, remote?))).flatten()
        });
        // Nor is one that ends elsewhere than the one that it is taken for.
        let ends_elsewhere = known.is_some_and(|known| {
            let known = self.all[known as usize].remote_addr.as_deref();
            let remote = remote.map(|remote| remote.to_string());
            remote.is_some() && known.is_some() && known != remote.as_deref()
        });
        if ends_elsewhere {
            return;
        }
        let connection = known.unwrap_or_else(|| self.open(process));
        self.sockets.insert(socket, connection);
        if let (Some(local), Some(remote), true) = (local, remote, state == TcpState::Established) {
            self.ends.insert((process, local, remote), connection);
        }
        let aim = remote
            .filter(|_| state == TcpState::Connecting)
            .and_then(|remote| self.hit(process, remote));
        let entry = &mut self.all[connection as usize];
        if let Some(Aim { host, dns_ns, .. }) = aim {
            (entry.host, entry.dns_ns) = (host, dns_ns);
        }
        entry.local_addr = local.map(|addr| addr.to_string()).or(entry.local_addr.take());
        entry.remote_addr = remote.map(|addr| addr.to_string()).or(entry.remote_addr.take());
        match state {
            TcpState::Connecting => entry.started_ns = Some(time),
            TcpState::Established => {
                entry.connect_ns = entry.started_ns.map(|start| time.saturating_sub(start));
            }
            TcpState::Closed { errno } => {
                entry.ended_ns = Some(time);
                entry.errno = (errno != 0).then_some(errno);
                self.sockets.remove(&socket);
            }
        }
    }

    /// A request goes onto the connection with these ends.
    pub(super) fn carry(
        &mut self,
        process: ProcessId,
        (local, remote): (SocketAddr, SocketAddr),
        host: &str,
        protocol: &str,
    ) -> ConnectionId {
        let connection = self.between(process, (local, remote));
        self.carry_on(connection, host, protocol);
        connection
    }

    /// The same, where the connection is known.
    pub(super) fn carry_on(&mut self, connection: ConnectionId, host: &str, protocol: &str) {
        let entry = &mut self.all[connection as usize];
        entry.requests += 1;
        entry.host.get_or_insert_with(|| host.to_owned());
        if !protocol.is_empty() {
            entry.protocol.get_or_insert_with(|| protocol.to_owned());
        }
    }

    /// The connection with these ends.
    pub(super) fn between(
        &mut self,
        process: ProcessId,
        (local, remote): (SocketAddr, SocketAddr),
    ) -> ConnectionId {
        let ends = (process, canonical(local), canonical(remote));
        let known = self.at(ends);
        let connection = known
            .filter(|&id| self.all[id as usize].ended_ns.is_none())
            .or_else(|| self.at_translated(process, ends.1))
            .or(known)
            .unwrap_or_else(|| self.open(process));
        if known != Some(connection) {
            self.ends.insert(ends, connection);
        }
        let entry = &mut self.all[connection as usize];
        entry.local_addr.get_or_insert_with(|| ends.1.to_string());
        entry.remote_addr.get_or_insert_with(|| ends.2.to_string());
        connection
    }

    /// A handshake begins on a connection.
    pub(super) fn secure(&mut self, connection: ConnectionId, server_name: String) {
        self.all[connection as usize].tls = Some(Tls {
            server_name,
            version: None,
            protocol: None,
            certificate_wanted: false,
            error: None,
        });
    }

    /// The server wants a certificate from the client.
    pub(super) fn want_certificate(&mut self, connection: ConnectionId) {
        if let Some(tls) = &mut self.all[connection as usize].tls {
            tls.certificate_wanted = true;
        }
    }

    /// A handshake ended after this time, with what `tell` has to say of it.
    pub(super) fn secured(
        &mut self,
        connection: ConnectionId,
        tls_ns: u64,
        tell: impl FnOnce(&mut Tls),
    ) {
        let entry = &mut self.all[connection as usize];
        entry.tls_ns = Some(tls_ns);
        if let Some(tls) = &mut entry.tls {
            tell(tls);
        }
    }

    fn at(&self, ends: Ends) -> Option<ConnectionId> {
        self.ends.get(&ends).copied()
    }

    /// The open connection with this local end that nobody uses yet. Where sockets are balanced, go
    /// knows the other end by the address of a service, and the kernel by that of who is behind it
    /// (BPF programs at `cgroup/connect4` and `cgroup/getpeername4`). None where there are several.
    fn at_translated(&self, process: ProcessId, local: SocketAddr) -> Option<ConnectionId> {
        let local = local.to_string();
        let is_it = |&id: &ConnectionId| {
            let entry = &self.all[id as usize];
            entry.process == process
                && entry.connect_ns.is_some()
                && entry.requests == 0
                && entry.tls.is_none()
                && entry.local_addr.as_deref() == Some(&*local)
        };
        let mut found = self.sockets.values().copied().filter(is_it);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn open(&mut self, process: ProcessId) -> ConnectionId {
        let id = id(self.all.len());
        self.all.push(Connection::new(id, process));
        id
    }
}

/// An IPv4 address as itself: the kernel says `::ffff:1.2.3.4` for a dual-stack socket.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ProcessId = 1;
    const LOCAL: &str = "10.244.1.2:50000";
    /// Of a service, and of two pods behind it.
    const SERVICE: &str = "10.96.0.5:3000";
    const POD: &str = "10.244.3.7:3000";
    const OTHER_POD: &str = "10.244.3.8:3000";

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn change(connections: &mut Connections, socket: u64, remote: &str, state: TcpState) {
        let local = (state != TcpState::Connecting).then(|| addr(LOCAL));
        connections.tcp(socket, PROCESS, (socket, state), (local, Some(addr(remote))));
    }

    fn connect(connections: &mut Connections, socket: u64, remote: &str) {
        change(connections, socket, remote, TcpState::Connecting);
        change(connections, socket, remote, TcpState::Established);
    }

    fn asked(connections: &mut Connections, process: ProcessId, local: &str) -> ConnectionId {
        connections.carry(process, (addr(local), addr(SERVICE)), "athens.lab", "HTTP/1.1")
    }

    #[test]
    fn a_socket_behind_a_service_is_the_one_that_nobody_uses() {
        let mut connections = Connections::default();
        connect(&mut connections, 1, POD);
        assert_eq!(asked(&mut connections, PROCESS, LOCAL), 0);
        assert_eq!(asked(&mut connections, PROCESS, LOCAL), 0);
        change(&mut connections, 1, POD, TcpState::Closed { errno: 0 });
        // A word that comes late.
        assert_eq!(asked(&mut connections, PROCESS, LOCAL), 0);
        // The port is taken again.
        connect(&mut connections, 2, OTHER_POD);
        assert_eq!(asked(&mut connections, PROCESS, LOCAL), 1);
        assert_eq!(asked(&mut connections, PROCESS, LOCAL), 1);
        let all = connections.into_model();
        let [first, second] = &*all else { panic!("not two") };
        assert_eq!((first.requests, second.requests), (3, 2));
        assert_eq!(first.remote_addr.as_deref(), Some(POD));
    }

    #[test]
    fn a_socket_that_may_be_another_is_none() {
        let prepared = |also: &dyn Fn(&mut Connections)| {
            let mut connections = Connections::default();
            connect(&mut connections, 1, POD);
            also(&mut connections);
            connections
        };
        let unused = || prepared(&|_| {});
        let two = || prepared(&|connections| connect(connections, 2, OTHER_POD));
        let used = || {
            prepared(&|connections| {
                let ends = (addr(LOCAL), addr(POD));
                connections.carry(PROCESS, ends, "athens.lab", "HTTP/1.1");
            })
        };
        let closed =
            || prepared(&|connections| change(connections, 1, POD, TcpState::Closed { errno: 0 }));
        for (mut connections, process, local, is_new) in [
            (unused(), PROCESS, LOCAL, false),
            (unused(), PROCESS, "10.244.1.2:50001", true),
            (unused(), PROCESS + 1, LOCAL, true),
            (two(), PROCESS, LOCAL, true),
            (used(), PROCESS, LOCAL, true),
            (closed(), PROCESS, LOCAL, true),
        ] {
            let known = connections.all.len();
            let connection = asked(&mut connections, process, local);
            assert_eq!(connection as usize >= known, is_new, "{process} {local} {known}");
        }
    }
}
