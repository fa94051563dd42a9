//! Putting a record together.
//!
//! A record is far larger than the stack, and its size is known only at the end, so it is built in
//! a per-CPU buffer and copied into the ring. Programs on uprobes can be preempted by another task
//! that hits a probe on the same CPU: there are several buffers a CPU, and each is claimed.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_probe_read_kernel_str,
    generated::bpf_probe_read_user,
};
use proxytrace_common::plan::{FIELDS_MAX, Operand};
use proxytrace_common::record::{
    CUT, ConnectionAddresses, ErrorStep, FAULT, FieldHeader, HEADER_NAME_MAX, Header, Kind,
    STRING_MAX, Tag,
};

use crate::headers::Groups;
use crate::interface::Interface;
use crate::maps::{EVENTS, SCRATCH, lose_one};
use crate::user::read_pair;
use crate::verifier::{Wide, atomic_add_u32, bound, copy_words};

/// Buffers a CPU: that many tasks may be preempted inside of a program at once.
pub const SLOTS: u32 = 4;
/// A field may begin below this; what is longer in all is cut. A power of two.
const CAPACITY: u64 = 16384;
/// Room for the last field as the verifier sees it: its length is masked to twice the longest. In
/// all, less than the 32 KiB that a per-CPU value may have.
const ROOM: usize = CAPACITY as usize + 2 * STRING_MAX + 16;

/// `BPF_RB_NO_WAKEUP`: user space drains by the clock.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE_DATA: u64 = 0;
/// Bytes in the ring from which on user space is woken at once.
const HIGH_WATER: u64 = 1 << 20;
/// So many records of a buffer are sent for each that asks for them.
const ASKS: u32 = 8;

/// Argument registers kept for the recipe: Go passes up to nine integers (x86-64), sixteen (arm64).
pub const REGISTERS: usize = 16;
/// Room for the headers found: as many as are on the allow-list, and a power of two.
pub const FOUND_MAX: usize = 16;

/// A piece of a structure is smaller than this, as groups of header maps are.
pub const PIECE: usize = 512;

/// One buffer.
#[repr(C)]
pub struct Scratch {
    /// How many have claimed this buffer: one owns it.
    claims: u32,
    /// Where the next field begins. In memory, not in a register, so that the verifier forgets what
    /// it was and needs to look at each loop only once.
    cursor: u32,
    /// Argument registers of the probed function.
    pub registers: [u64; REGISTERS],
    /// Headers that were found: tag, and address of the string header of the value.
    pub found: [(u64, u64); FOUND_MAX],
    /// How many of `found` there are.
    pub found_count: u64,
    /// The name of a header, and as much again, as the verifier sees it.
    pub name: Wide<[u64; 2 * HEADER_NAME_MAX / 8]>,
    /// The header map that is being read.
    pub groups: Groups,
    /// A piece of a structure that several values are taken from.
    pub piece: [u64; PIECE / 8 + 2],
    /// The interface that is being walked.
    pub interface: Interface,
    /// What is known of the connection that is being walked.
    pub both: Wide<ConnectionAddresses>,
    /// The step of an error chain that is being put together.
    pub step: Wide<ErrorStep>,
    /// The recipe's executable, and where it was loaded, relative to where it was linked.
    pub executable: u32,
    pub bias: u64,
    /// The fields to read.
    pub fields: [Operand; FIELDS_MAX],
    pub field_count: u32,
    /// What is left to send of something that is sent in pieces: address and length.
    pub rest: (u64, u64),
    /// How many pieces there are.
    pub pieces: u64,
    /// How many records were sent from here.
    sent: u32,
    bytes: [u8; ROOM],
}

/// When user space should look at a record.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Urgency {
    /// At its next turn.
    Later,
    /// Now.
    Now,
}

/// Builds one record with `fill` and sends it, unless `fill` says that there is nothing to send.
#[inline(always)]
pub fn record(kind: Kind, urgency: Urgency, fill: impl FnOnce(&mut Scratch) -> bool) {
    with(|scratch| {
        scratch.begin(kind, bpf_get_current_pid_tgid());
        if fill(scratch) {
            scratch.send(urgency);
        }
    });
}

/// Lends a buffer.
#[inline(always)]
pub fn with(use_it: impl FnOnce(&mut Scratch)) {
    let Some(scratch) = claim() else {
        lose_one();
        return;
    };
    use_it(scratch);
    // SAFETY: a number in a map's value.
    unsafe { atomic_add_u32(&raw mut scratch.claims, -1) };
}

/// An unused buffer of this CPU.
///
/// An addition whose result is not used is the one atomic instruction of every kernel. Whoever then
/// reads a one is alone: a later claimant sees at least two as long as this one holds it.
#[inline(always)]
fn claim() -> Option<&'static mut Scratch> {
    for slot in 0..SLOTS {
        // SAFETY: the pointer is to a map value that lives as long as the program is loaded, and
        // the claim keeps others of this CPU off it; other CPUs have their own.
        let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(slot)? };
        let claims = &raw mut scratch.claims;
        // SAFETY: a number in a map's value; volatile, since others change it.
        unsafe {
            atomic_add_u32(claims, 1);
            if claims.read_volatile() == 1 {
                return Some(scratch);
            }
            atomic_add_u32(claims, -1);
        }
    }
    None
}

impl Scratch {
    /// Begins a record of a task, by its process and its thread as the kernel tells them in one word.
    #[inline(always)]
    pub fn begin(&mut self, kind: Kind, task: u64) {
        // SAFETY: a helper without arguments.
        let time = unsafe { bpf_ktime_get_ns() };
        // By words, as a `Header` has it: no goroutine, the process and the thread, no size and no
        // executable, the kind.
        let words = [time, 0, 0, task.rotate_left(32), u64::from(u32::MAX) << 32, kind as u64];
        const { assert!(size_of::<[u64; 6]>() == size_of::<Header>()) };
        for (place, word) in words.into_iter().enumerate() {
            // SAFETY: a word of the header. Volatile, or the compiler calls `memset` for zeroes.
            unsafe { self.bytes.as_mut_ptr().cast::<u64>().add(place).write_volatile(word) };
        }
        self.cursor = size_of::<Header>() as u32;
    }

    /// Two words so far into the piece.
    #[inline(always)]
    pub fn in_piece(&self, offset: u64) -> [u64; 2] {
        let word = bound::<{ PIECE as i32 / 8 - 1 }>(offset >> 3) as usize;
        // SAFETY: the number is masked, and there are two words more.
        unsafe { [*self.piece.as_ptr().add(word), *self.piece.as_ptr().add(word + 1)] }
    }

    /// The record's header, to be completed.
    #[inline(always)]
    pub fn header(&mut self) -> &mut Header {
        // SAFETY: the buffer is larger than a header and aligned to eight bytes; any bytes are one.
        unsafe { &mut *self.bytes.as_mut_ptr().cast::<Header>() }
    }

    /// Sends the record.
    #[inline(always)]
    pub fn send(&mut self, urgency: Urgency) {
        let size = bound::<0x7fff>(u64::from(self.cursor));
        if size > ROOM as u64 {
            lose_one();
            return;
        }
        self.header().size = size as u32;
        // One record in some asks how full the ring is: the answer is in memory that all write.
        self.sent = self.sent.wrapping_add(1);
        let asks = self.sent.is_multiple_of(ASKS);
        let is_full = asks && EVENTS.query(AVAILABLE_DATA) > HIGH_WATER;
        let flags = if urgency == Urgency::Now || is_full { FORCE_WAKEUP } else { NO_WAKEUP };
        // SAFETY: `size` is within the buffer.
        let record = unsafe { core::slice::from_raw_parts(self.bytes.as_ptr(), size as usize) };
        if EVENTS.output::<[u8]>(record, flags).is_err() {
            lose_one();
        }
    }

    /// Where the next field's bytes go, its header left out; none if the record is full.
    #[inline(always)]
    fn room(&mut self) -> Option<*mut u8> {
        let cursor = u64::from(self.cursor);
        if cursor >= CAPACITY {
            self.header().flags |= CUT;
            return None;
        }
        let cursor = bound::<{ CAPACITY as i32 - 1 }>(cursor);
        // SAFETY: `cursor` is below CAPACITY, and ROOM is larger by more than the longest field.
        Some(unsafe { self.bytes.as_mut_ptr().add(cursor as usize + size_of::<FieldHeader>()) })
    }

    /// Writes the header of the field whose `length` bytes stand at `place`, and moves on.
    #[inline(always)]
    fn close(&mut self, place: *mut u8, tag: u8, flags: u8, length: u64) {
        // A `FieldHeader` in one piece.
        let header = u32::from(tag) | u32::from(flags) << 8 | (length as u32) << 16;
        const { assert!(size_of::<u32>() == size_of::<FieldHeader>()) };
        // SAFETY: `place` came from `room`, which left space for the header before it; on these
        // machines it is written at any address.
        unsafe { place.cast::<u32>().sub(1).write_volatile(header) };
        self.cursor += size_of::<FieldHeader>() as u32 + length as u32;
    }

    /// Adds a value of a fixed size.
    #[inline(always)]
    pub fn put<T: Copy>(&mut self, tag: Tag, value: &T) {
        if let Some(place) = self.room() {
            // SAFETY: no `T` used here is larger than the longest string, for which there is room.
            unsafe { copy_words(value, place) };
            self.close(place, tag as u8, 0, size_of::<T>() as u64);
        }
    }

    /// Adds both ends of the connection that was walked.
    #[inline(always)]
    pub fn put_connection(&mut self) {
        let both = &raw const self.both.0;
        // SAFETY: a part of this buffer, which the bytes of the record do not overlap.
        self.put(Tag::Connection, unsafe { &*both });
    }

    /// Adds a number under a tag from a recipe.
    #[inline(always)]
    pub fn put_number(&mut self, tag: u8, value: u64) {
        if let Some(place) = self.room() {
            // SAFETY: as for `put`.
            unsafe { copy_words(&raw const value, place) };
            self.close(place, tag, 0, 8);
        }
    }

    /// Adds `length` bytes of the process's memory, at most [`STRING_MAX`] of them.
    #[inline(never)]
    pub fn put_user_bytes(&mut self, tag: u8, address: u64, length: u64) {
        let Some(place) = self.room() else { return };
        if length == 0 {
            // As half of the parts of a URL are.
            return self.close(place, tag, 0, 0);
        }
        let (length, mut flags) =
            if length > STRING_MAX as u64 { (STRING_MAX as u64, CUT) } else { (length, 0) };
        let mut length = bound::<{ 2 * STRING_MAX as i32 - 1 }>(length);
        // SAFETY: the helper checks the source; `place` has room for twice STRING_MAX.
        let read = unsafe { bpf_probe_read_user(place.cast(), length as u32, address as *const _) };
        if read != 0 {
            (length, flags) = (0, FAULT);
        }
        self.close(place, tag, flags, length);
    }

    /// Adds a string whose header (pointer, length) is at this address in the process.
    #[inline(always)]
    pub fn put_string(&mut self, tag: u8, address: u64) {
        if let Some([pointer, length]) = read_pair(address) {
            self.put_user_bytes(tag, pointer, length);
        }
    }

    /// The same, but of more bytes the last.
    #[inline(always)]
    pub fn put_user_bytes_end(&mut self, tag: u8, address: u64, length: u64) {
        let skipped = length.saturating_sub(STRING_MAX as u64);
        let before = self.cursor;
        self.put_user_bytes(tag, address + skipped, length - skipped);
        if skipped != 0 && self.cursor != before {
            self.header().flags |= CUT;
        }
    }

    /// Adds a string of the kernel's, at most [`STRING_MAX`] bytes.
    #[inline(always)]
    pub fn put_kernel_string(&mut self, tag: Tag, address: u64) {
        let Some(place) = self.room() else { return };
        // SAFETY: as for `put_user_bytes`.
        let read = unsafe {
            bpf_probe_read_kernel_str(place.cast(), STRING_MAX as u32, address as *const _)
        };
        // The terminating NUL is counted; a failure is negative.
        let length = if read > 0 { bound::<{ STRING_MAX as i32 - 1 }>(read as u64 - 1) } else { 0 };
        self.close(place, tag as u8, if read > 0 { 0 } else { FAULT }, length);
    }
}
