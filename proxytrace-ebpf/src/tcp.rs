//! TCP sockets of traced processes, by the changes of their state.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use proxytrace_common::record::{ConnectionAddresses, Kind, SocketAddress, Tag};

use crate::kernel::{offsets, read};
use crate::maps::{SOCKETS, STREAMS, tracked};
use crate::process::current_pid;
use crate::scratch::{Urgency, record};
use crate::wire::{self, Stream};

/// `include/net/tcp_states.h`
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Who connected a socket, and its last state: what comes twice is told once (see
/// [`once`](crate::once)).
#[repr(C)]
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct SocketOwner {
    pid: u32,
    state: i32,
}

/// `inet_sock_set_state(const struct sock *, int oldstate, int newstate)`
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn tcp_state(ctx: RawTracePointContext) -> i32 {
    let socket = ctx.arg::<u64>(0);
    let old = ctx.arg::<i32>(1);
    let new = ctx.arg::<i32>(2);
    // SAFETY: a map's value; changes of one socket's state come one after the other.
    let known = SOCKETS.get_ptr_mut(socket).map(|known| unsafe { &mut *known });
    let pid = if old == CLOSE && new == SYN_SENT {
        // Only here is the running task the one that connects; what follows may come from an
        // interrupt.
        let pid = current_pid();
        if !tracked(pid) {
            return 0;
        }
        let owner = SocketOwner { pid, state: new };
        if known.is_some_and(|known| *known == owner) {
            return 0;
        }
        let _ = SOCKETS.insert(socket, owner, 0);
        let _ = STREAMS.insert(socket, Stream::CONNECTING, 0);
        pid
    } else {
        let Some(known) = known else { return 0 };
        if old == LISTEN || new == LISTEN {
            // A server's, in the place of one whose end was not seen.
            let _ = SOCKETS.remove(socket);
            let _ = STREAMS.remove(socket);
            return 0;
        }
        if known.state == new {
            return 0;
        }
        known.state = new;
        known.pid
    };
    if new == CLOSE {
        let _ = SOCKETS.remove(socket);
        let _ = STREAMS.remove(socket);
    } else if new == ESTABLISHED {
        wire::begin(socket);
    } else if new != SYN_SENT {
        return 0;
    }
    record(Kind::TcpState, Urgency::Later, |scratch| {
        scratch.header().pid = pid;
        scratch.put(Tag::Socket, &socket);
        scratch.put(Tag::OldState, &(old as u64));
        scratch.put(Tag::NewState, &(new as u64));
        let error = read::<i32>(socket, offsets().sock_err).unwrap_or(0);
        scratch.put(Tag::Errno, &(error as u64));
        scratch.both.clear();
        addresses(&mut scratch.both.0, socket);
        scratch.put_connection();
        true
    });
    0
}

#[inline(always)]
fn addresses(both: &mut ConnectionAddresses, socket: u64) {
    let offsets = offsets();
    match read::<u16>(socket, offsets.sock_family) {
        Some(AF_INET) => {
            v4(&mut both.local, socket, offsets.sock_rcv_saddr);
            v4(&mut both.remote, socket, offsets.sock_daddr);
        }
        Some(AF_INET6) => {
            v6(&mut both.local, socket, offsets.sock_v6_rcv_saddr);
            v6(&mut both.remote, socket, offsets.sock_v6_daddr);
        }
        _ => return,
    }
    both.local.port = read::<u16>(socket, offsets.sock_num).unwrap_or(0);
    both.remote.port = u16::from_be(read::<u16>(socket, offsets.sock_dport).unwrap_or(0));
}

#[inline(always)]
fn v4(address: &mut SocketAddress, socket: u64, offset: u32) {
    if let Some(ip) = read::<[u8; 4]>(socket, offset) {
        [address.ip[0], address.ip[1], address.ip[2], address.ip[3]] = ip;
        address.length = 4;
    }
}

#[inline(always)]
fn v6(address: &mut SocketAddress, socket: u64, offset: u32) {
    if let Some(ip) = read::<[u8; 16]>(socket, offset) {
        address.ip = ip;
        address.length = 16;
    }
}
