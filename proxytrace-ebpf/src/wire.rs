//! Plain HTTP on the sockets of traced processes: what may be a head, as it was written or read.
//!
//! Linux tells of each send and receive on a socket (`sock_send_length`, since 6.3), which costs
//! another process's socket one look-up and its other system calls nothing. Older kernels tell where
//! they can be probed (kprobes on functions of TCP), at the like cost; where not, they are asked at
//! the end of each system call (`sys_exit`), which costs a look-up for each of them. All come when
//! the bytes are in the caller's memory, and its registers still say where.
//!
//! What stands where in a connection is told by TCP's own sequence numbers: whatever passes
//! unseen (`sendfile`, `io_uring`, 32-bit programs) is a gap that user space sees.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_user};
use aya_ebpf::macros::{kprobe, raw_tracepoint};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use proxytrace_common::record::{HEAD_MAX, Kind, Tag};

use crate::kernel::{offsets, read};
use crate::maps::{STREAMS, tracked};
use crate::process::current_pid;
use crate::scratch::{Scratch, Urgency, record};
use crate::user::read_pair;
use crate::verifier::{Step, repeat};

/// What a connection has carried.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stream {
    /// Sequence numbers of the first byte written, and of the first byte read.
    first: [u32; 2],
    /// Where the last head began, each way, from there.
    head: [u32; 2],
    /// Where the last call ended, each way: what comes twice is told once (see
    /// [`once`](crate::once)).
    end: [u32; 2],
    /// Sequence number of the first byte that the present call writes; where kprobes tell.
    begun: u32,
    /// [`STANDS`], [`SPOKE`], [`AWAITS`], [`OPAQUE`].
    flags: u32,
}

/// The connection stands, and `first` is known.
const STANDS: u32 = 1;
/// Something like a request was written.
const SPOKE: u32 = 2;
/// What is read next may be the head of a response, whatever it looks like.
const AWAITS: u32 = 4;
/// It carries something else.
const OPAQUE: u32 = 8;

/// Ways, as places in [`Stream::first`].
const SENT: usize = 0;
const RECEIVED: usize = 1;

impl Stream {
    /// Of a socket that connects.
    pub const CONNECTING: Self =
        Self { first: [0; 2], head: [0; 2], end: [0; 2], begun: 0, flags: 0 };
}

/// The beginnings of requests (RFC 9110, 5789, 3253, 4918).
const METHODS: [u32; 11] = [
    word(*b"GET "),
    word(*b"POST"),
    word(*b"HEAD"),
    word(*b"PUT "),
    word(*b"CONN"),
    word(*b"DELE"),
    word(*b"OPTI"),
    word(*b"PATC"),
    word(*b"TRAC"),
    word(*b"PROP"),
    word(*b"REPO"),
];
/// The beginning of a response.
const HTTP: u32 = word(*b"HTTP");
/// The first two bytes of a TLS handshake: the type of the record, and the version (RFC 8446, 5.1).
const TLS: u32 = 0x0316;

/// `include/linux/socket.h`: a receive with one of these (`MSG_OOB`, `MSG_PEEK`, `MSG_TRUNC`,
/// `MSG_ERRQUEUE`) does not bring what comes next.
const NOT_NEXT: u64 = 0x1 | 0x2 | 0x20 | 0x2000;

/// States of a connection whose other end has sent its FIN (`include/net/tcp_states.h`).
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Buffers of one call that are looked at.
const PIECES_MAX: u32 = 8;
/// `struct iovec`, `struct msghdr`: the same for all 64-bit processes.
const VECTOR_SIZE: u64 = 16;
const MESSAGE_VECTOR: u64 = 16;

const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

/// System calls by their numbers, and where the kernel keeps their arguments
/// (`struct pt_regs`: `arch/x86/include/asm/ptrace.h`).
#[cfg(bpf_target_arch = "x86_64")]
mod call {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;

    pub const NUMBER: u32 = 120;
    pub const NUMBER_MASK: u64 = u64::MAX;
    /// `di`, `si`, `dx`, `r10`.
    pub const ARGUMENTS: [u32; 4] = [112, 104, 96, 56];
    /// Says whether they are those of a program of 64 bits: `cs` (`__USER_CS`).
    pub const MODE: u32 = 136;
    pub const MODE_MASK: u64 = 0xffff;
    pub const USER_MODE: u64 = 0x33;
}

/// The same for arm64 (`arch/arm64/include/asm/ptrace.h`): the first argument is where the result
/// does not replace it.
#[cfg(bpf_target_arch = "aarch64")]
mod call {
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const READV: u64 = 65;
    pub const WRITEV: u64 = 66;
    pub const SENDTO: u64 = 206;
    pub const RECVFROM: u64 = 207;
    pub const SENDMSG: u64 = 211;
    pub const RECVMSG: u64 = 212;

    pub const NUMBER: u32 = 280;
    pub const NUMBER_MASK: u64 = 0xffff_ffff;
    /// `orig_x0`, `x1`, `x2`, `x3`.
    pub const ARGUMENTS: [u32; 4] = [272, 8, 16, 24];
    /// Says whether they are those of a program of 64 bits: `pstate` (`PSR_MODE_EL0t`).
    pub const MODE: u32 = 264;
    pub const MODE_MASK: u64 = 0x1f;
    pub const USER_MODE: u64 = 0;
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn socket_sent(ctx: RawTracePointContext) -> i32 {
    passed::<SENT>(ctx.arg::<u64>(0), ctx.arg::<i32>(1));
    0
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn socket_received(ctx: RawTracePointContext) -> i32 {
    passed::<RECEIVED>(ctx.arg::<u64>(0), ctx.arg::<i32>(1));
    0
}

/// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`
#[kprobe]
pub fn send_begins(ctx: ProbeContext) -> u32 {
    let Some(socket) = ctx.arg::<u64>(0) else { return 0 };
    let Some(stream) = followed(socket) else { return 0 };
    if let Some(sent) = sequence(socket, SENT) {
        stream.begun = sent;
    }
    0
}

/// `void tcp_push(struct sock *sk, int flags, int mss_now, int nonagle, int size_goal)`, called when
/// a call has written something; of one that must wait for room in between, more than once.
#[kprobe]
pub fn send_ends(ctx: ProbeContext) -> u32 {
    let Some(socket) = ctx.arg::<u64>(0) else { return 0 };
    let Some(stream) = followed(socket) else { return 0 };
    if let Some(sent) = sequence(socket, SENT) {
        let length = sent.wrapping_sub(stream.begun);
        passed_on::<SENT>(socket, stream, length);
    }
    0
}

/// `void tcp_cleanup_rbuf(struct sock *sk, int copied)`, called when a call has read something.
#[kprobe]
pub fn receive_ends(ctx: ProbeContext) -> u32 {
    let Some(socket) = ctx.arg::<u64>(0) else { return 0 };
    let copied = ctx.arg::<i32>(1).unwrap_or(0);
    if copied > 0
        && let Some(stream) = followed(socket)
    {
        passed_on::<RECEIVED>(socket, stream, copied as u32);
    }
    0
}

/// What a socket carries, if it is of the command's tree and may be HTTP.
#[inline(always)]
fn carried(socket: u64) -> Option<&'static mut Stream> {
    // SAFETY: a map's value. Two threads that use one socket at once may spoil each other's view
    // of it; then something is not recorded, which shows.
    let stream = unsafe { &mut *STREAMS.get_ptr_mut(socket)? };
    (stream.flags & OPAQUE == 0).then_some(stream)
}

/// The same, if the running process is in the tree, too.
#[inline(always)]
fn followed(socket: u64) -> Option<&'static mut Stream> {
    carried(socket).filter(|_| tracked(current_pid()))
}

/// Bytes have passed on a socket, by a call whose registers are at the end of its task's stack
/// (`task_pt_regs` in `arch/*/include/asm/processor.h`).
#[inline(always)]
fn passed_on<const WAY: usize>(socket: u64, stream: &mut Stream, length: u32) {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let Some(stack) = read::<u64>(task, offsets().task_stack) else { return };
    let registers = stack + u64::from(offsets().stack_registers);
    if read::<u64>(registers, call::MODE).map(|mode| mode & call::MODE_MASK)
        != Some(call::USER_MODE)
    {
        return;
    }
    let Some(call) = Call::of(registers) else { return };
    if call.way == WAY {
        look::<WAY, false>(socket, stream, u64::from(length), &call);
    }
}

/// `sys_exit(struct pt_regs *regs, long ret)`
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn system_call(ctx: RawTracePointContext) -> i32 {
    if !tracked(current_pid()) {
        return 0;
    }
    let registers = ctx.arg::<u64>(0);
    let length = ctx.arg::<i64>(1);
    if length <= 0 {
        return 0;
    }
    let Some(call) = Call::of(registers) else { return 0 };
    let Some(socket) = call.socket() else { return 0 };
    let Some(stream) = carried(socket) else { return 0 };
    if call.way == SENT {
        look::<SENT, false>(socket, stream, length as u64, &call);
    } else {
        look::<RECEIVED, false>(socket, stream, length as u64, &call);
    }
    0
}

/// Bytes have passed on a socket.
#[inline(always)]
fn passed<const WAY: usize>(socket: u64, length: i32) {
    if length <= 0 {
        return;
    }
    // Sockets outside of the command's tree end here, and next those that speak TLS.
    let Some(stream) = followed(socket) else { return };
    // SAFETY: helpers that take and give what the kernel made.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
    let Some(call) = Call::of(registers as u64) else { return };
    if call.way == WAY {
        look::<WAY, true>(socket, stream, length as u64, &call);
    }
}

/// The connection of a socket stands: neither way has carried anything.
#[inline(always)]
pub fn begin(socket: u64) {
    let Some(stream) = STREAMS.get_ptr_mut(socket) else { return };
    if let (Some(sent), Some(received)) = (sequence(socket, SENT), sequence(socket, RECEIVED)) {
        // SAFETY: a map's value; nobody writes or reads on the socket yet.
        unsafe {
            (*stream).first = [sent, received];
            (*stream).end = [sent, received];
            (*stream).flags |= STANDS;
        }
    }
}

/// How far a way of a connection has come.
#[inline(always)]
fn sequence(socket: u64, way: usize) -> Option<u32> {
    let offsets = offsets();
    if way == SENT {
        return read(socket, offsets.tcp_write_seq);
    }
    // A FIN counts as a byte, once it has been read. The state comes first: should the FIN come
    // meanwhile, it has not been read.
    let finished =
        matches!(read::<u8>(socket, offsets.sock_state)?, CLOSE_WAIT | LAST_ACK | CLOSING);
    let copied = read::<u32>(socket, offsets.tcp_copied_seq)?;
    let all = copied == read::<u32>(socket, offsets.tcp_rcv_nxt)?;
    Some(copied.wrapping_sub(u32::from(finished && all)))
}

/// Records the bytes that a call has passed, if they may be of a head.
#[inline(always)]
fn look<const WAY: usize, const HELPER: bool>(
    socket: u64,
    stream: &mut Stream,
    length: u64,
    call: &Call,
) {
    if stream.flags & STANDS == 0 {
        stream.flags |= OPAQUE;
        return;
    }
    let (Some(end), Some(opposite)) = (sequence(socket, WAY), sequence(socket, 1 - WAY)) else {
        return;
    };
    if stream.end[WAY] == end {
        return;
    }
    stream.end[WAY] = end;
    let start = end.wrapping_sub(length as u32).wrapping_sub(stream.first[WAY]);
    let opposite = opposite.wrapping_sub(stream.first[1 - WAY]);
    let beginning = call.beginning().unwrap_or(0);
    let begins = if WAY == SENT {
        if beginning & 0xffff == TLS {
            stream.flags |= OPAQUE;
            return;
        }
        let begins = is_method(beginning);
        if begins {
            stream.flags |= SPOKE | AWAITS;
        } else if stream.flags & SPOKE == 0 {
            stream.flags |= OPAQUE;
            return;
        }
        begins
    } else {
        let begins = beginning == HTTP || stream.flags & AWAITS != 0;
        stream.flags &= !AWAITS;
        // What speaks before it is spoken to, and not HTTP.
        if !begins && stream.flags & SPOKE == 0 {
            return;
        }
        begins
    };
    if begins {
        stream.head[WAY] = start;
    }
    let before = start.wrapping_sub(stream.head[WAY]);
    if before >= HEAD_MAX as u32 {
        return;
    }
    let room = HEAD_MAX as u64 - u64::from(before);
    let kind = if WAY == SENT { Kind::Sent } else { Kind::Received };
    record(kind, Urgency::Later, |scratch| {
        scratch.put(Tag::Socket, &socket);
        scratch.put(Tag::Position, &u64::from(start));
        scratch.put(Tag::Length, &length);
        scratch.put(Tag::Opposite, &u64::from(opposite));
        call.put::<HELPER>(scratch, if length < room { length } else { room });
        true
    });
}

#[inline(always)]
fn is_method(beginning: u32) -> bool {
    let mut found = false;
    for method in METHODS {
        found |= beginning == method;
    }
    found
}

/// A system call that passes bytes.
struct Call {
    way: usize,
    descriptor: u64,
    /// The buffer; or the `struct iovec`s, and how many.
    address: u64,
    count: u64,
    is_vector: bool,
}

impl Call {
    /// What the registers say; none if it is another call.
    #[inline(always)]
    fn of(registers: u64) -> Option<Self> {
        let number = read::<u64>(registers, call::NUMBER)? & call::NUMBER_MASK;
        let (way, is_vector, is_message) = match number {
            call::READ | call::RECVFROM => (RECEIVED, false, false),
            call::WRITE | call::SENDTO => (SENT, false, false),
            call::READV => (RECEIVED, true, false),
            call::WRITEV => (SENT, true, false),
            call::RECVMSG => (RECEIVED, true, true),
            call::SENDMSG => (SENT, true, true),
            _ => return None,
        };
        let argument = |place: usize| read::<u64>(registers, call::ARGUMENTS[place]);
        let flags = match number {
            call::RECVFROM => argument(3)?,
            call::RECVMSG => argument(2)?,
            _ => 0,
        };
        if flags & NOT_NEXT != 0 {
            return None;
        }
        let (descriptor, mut address, mut count) = (argument(0)?, argument(1)?, argument(2)?);
        if is_message {
            [address, count] = read_pair(address + MESSAGE_VECTOR)?;
        }
        Some(Self { way, descriptor, address, count, is_vector })
    }

    /// The `struct sock` behind the descriptor, if that is a socket's; otherwise any number.
    #[inline(always)]
    fn socket(&self) -> Option<u64> {
        let offsets = offsets();
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task() };
        let files = read::<u64>(task, offsets.task_files)?;
        let table = read::<u64>(files, offsets.files_fdt)?;
        let descriptors = read::<u64>(table, offsets.fdtable_fd)?;
        let file = read::<u64>(descriptors + 8 * (self.descriptor & 0xf_ffff), 0)?;
        let socket = read::<u64>(file, offsets.file_private_data)?;
        read::<u64>(socket, offsets.socket_sk)
    }

    /// The first four bytes; none if there are fewer in the first buffer.
    #[inline(always)]
    fn beginning(&self) -> Option<u32> {
        let address = if self.is_vector {
            let [address, length] = read_pair(self.address)?;
            if self.count == 0 || length < 4 {
                return None;
            }
            address
        } else {
            self.address
        };
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(address as *const u32) }.ok()
    }

    /// Adds the first `length` bytes.
    #[inline(always)]
    fn put<const HELPER: bool>(&self, scratch: &mut Scratch, length: u64) {
        if self.is_vector {
            scratch.pieces = self.count;
            scratch.rest = (self.address, length);
            repeat::<Piece, HELPER>(scratch);
        } else {
            scratch.put_user_bytes(Tag::Bytes as u8, self.address, length);
        }
    }
}

/// Adds what is in the next buffer.
struct Piece;

impl Step for Piece {
    const TURNS: u32 = PIECES_MAX;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        let (vector, left) = scratch.rest;
        if left == 0 || turn >= scratch.pieces {
            return false;
        }
        let Some([address, length]) = read_pair(vector) else { return false };
        let taken = if length < left { length } else { left };
        scratch.rest = (vector + VECTOR_SIZE, left - taken);
        scratch.put_user_bytes(Tag::Bytes as u8, address, taken);
        true
    }
}

const _: () = assert!(size_of::<Stream>() == 32);
