//! Interface values, and what is behind them: errors and what they wrap, connections and what is
//! below them, addresses.

use proxytrace_common::plan::{NONE, Role, TypeKey, TypeRule, ip_addr, net_fd, tcp_addr};
use proxytrace_common::record::{ANSWERS_MAX, ERROR_STEPS_MAX, SocketAddress, Tag};

use crate::maps::TYPES;
use crate::scratch::Scratch;
use crate::user::{read_pair, read_to, read_u64};
use crate::verifier::Step;

/// Connections below connections: TLS in a tunnel in TLS to the tunnel's proxy, and the socket.
const CONNECTIONS_MAX: u32 = 4;

/// An interface value: the type word (an itab) and the data word.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Interface {
    pub table: u64,
    pub data: u64,
}

/// The type behind an interface, and what to read of it.
#[inline(always)]
pub fn type_of(scratch: &Scratch, interface: Interface) -> Option<(u64, Option<TypeRule>)> {
    let address = read_u64(interface.table + 8)?.wrapping_sub(scratch.bias);
    let key = TypeKey { address, executable: scratch.executable, padding: 0 };
    // SAFETY: the value is copied at once, and user space never changes it.
    Some((address, unsafe { TYPES.get(key) }.copied()))
}

/// Adds the next step of a chain of wrapped errors.
pub struct ErrorWalk;

impl Step for ErrorWalk {
    const TURNS: u32 = ERROR_STEPS_MAX as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, _: u64) -> bool {
        let error = scratch.interface;
        let Some((address, rule)) = type_of(scratch, error) else { return false };
        scratch.step.clear();
        let step = &mut scratch.step.0;
        step.type_address = address;
        if let Some(rule) = rule {
            if rule.number != NONE
                && let Some(number) = read_u64(error.data + u64::from(rule.number))
            {
                step.number = match rule.number_size {
                    1 => number & 0xff,
                    2 => number & 0xffff,
                    4 => number & 0xffff_ffff,
                    _ => number,
                };
            }
            if rule.address != NONE
                && let Some([_, address]) = read_pair(error.data + u64::from(rule.address))
            {
                tcp_address(&mut step.address, address);
            }
        }
        let step = &raw const scratch.step.0;
        // SAFETY: a part of the buffer, which the bytes of the record do not overlap.
        scratch.put(Tag::Error, unsafe { &*step });
        let Some(rule) = rule else { return false };
        if rule.string != NONE {
            scratch.put_string(Tag::ErrorText as u8, error.data + u64::from(rule.string));
        }
        if rule.second_string != NONE {
            let address = error.data + u64::from(rule.second_string);
            scratch.put_string(Tag::ErrorName as u8, address);
        }
        if rule.third_string != NONE {
            let address = error.data + u64::from(rule.third_string);
            scratch.put_string(Tag::ErrorServer as u8, address);
        }
        descend(scratch, error, rule)
    }
}

/// Goes on to the interface that a value wraps; says whether there is one.
#[inline(always)]
fn descend(scratch: &mut Scratch, from: Interface, rule: TypeRule) -> bool {
    if rule.next == NONE {
        return false;
    }
    match read_pair(from.data + u64::from(rule.next)) {
        Some([table, data]) if table != 0 => {
            scratch.interface = Interface { table, data };
            true
        }
        _ => false,
    }
}

/// Adds the next address of a name.
pub struct AnswerStep;

impl Step for AnswerStep {
    const TURNS: u32 = ANSWERS_MAX as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        let (first, count) = scratch.rest;
        if turn >= count {
            return false;
        }
        scratch.both.clear();
        ip_address(&mut scratch.both.0.remote, first + turn * ip_addr::SIZE);
        let answer = &raw const scratch.both.0.remote;
        // SAFETY: a part of the buffer, which the bytes of the record do not overlap.
        scratch.put(Tag::Answer, unsafe { &*answer });
        true
    }
}

/// Goes down from a connection to the one below it, and at the socket adds both ends.
pub struct ConnectionStep;

impl Step for ConnectionStep {
    const TURNS: u32 = CONNECTIONS_MAX;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, _: u64) -> bool {
        let below = scratch.interface;
        let Some((_, Some(rule))) = type_of(scratch, below) else { return false };
        let both = &mut scratch.both.0;
        if rule.role == Role::TcpConn as u8 {
            let Some(descriptor) = read_u64(below.data) else { return false };
            if let Some(local) = read_u64(descriptor + net_fd::LOCAL) {
                tcp_address(&mut both.local, local);
            }
            if let Some(remote) = read_u64(descriptor + net_fd::REMOTE) {
                tcp_address(&mut both.remote, remote);
            }
        } else if rule.role == Role::TcpAddr as u8 {
            tcp_address(&mut both.remote, below.data);
        } else {
            if rule.role == Role::TlsConn as u8 {
                both.tls = 1;
            }
            return descend(scratch, below, rule);
        }
        scratch.put_connection();
        false
    }
}

/// Reads a `net.TCPAddr`.
#[inline(always)]
fn tcp_address(into: &mut SocketAddress, address: u64) {
    if address == 0 {
        return;
    }
    // One after the other, and straight into place: of values that are there on some ways alone, the
    // compiler loads what it has not stored, and Linux before 6.3 says "invalid read from stack".
    let Some(port) = read_u64(address + tcp_addr::PORT) else { return };
    into.port = port as u16;
    ip_address(into, address);
}

/// Reads a `net.IP`.
#[inline(always)]
fn ip_address(into: &mut SocketAddress, address: u64) {
    let Some([ip, length]) = read_pair(address) else { return };
    if length == 4 && read_in(&raw mut into.ip, ip, 4) {
        into.length = 4;
    } else if length == 16 && read_in(&raw mut into.ip, ip, 16) {
        into.length = 16;
    }
}

/// Reads bytes of the process's memory to a place; says whether that went well.
#[inline(always)]
fn read_in(place: *mut [u8; 16], address: u64, length: u32) -> bool {
    // SAFETY: the callers' lengths are within the array.
    unsafe { read_to(place.cast(), address, length) }
}
