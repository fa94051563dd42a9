//! The one program on Go functions: reads what the recipe of the probed address says.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user_bytes;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use aya_ebpf::EbpfContext;
use proxytrace_common::plan::{
    FIELDS_MAX, HEADER_NAME_MAX, MapKind, NONE, OFFSETS_MAX, Operand, Read, Recipe, Role, TypeKey,
    TypeRule, net_fd,
};
use proxytrace_common::record::{
    ConnectionAddresses, ERROR_STEPS_MAX, ErrorStep, Kind, SocketAddress, Tag,
};

use crate::maps::{HEADER_NAMES, LAYOUTS, SITES, TYPES, tracked};
use crate::process::{arguments, current_pid, environment};
use crate::scratch::{REGISTERS, Scratch, Urgency, record};
use crate::verifier::bound;

/// Entries of a header map that are looked at; more, and `HeadersCut` is recorded.
const HEADERS_MAX: u64 = 160;
/// Connections below connections: TLS in a tunnel in TLS to the tunnel's proxy, and the socket.
const CONNECTIONS_MAX: usize = 4;

/// An interface value: the type word (an itab) and the data word.
#[derive(Clone, Copy)]
struct Interface {
    table: u64,
    data: u64,
}

/// On every probed address of every executable.
#[uprobe]
pub fn go(ctx: ProbeContext) -> u32 {
    if !tracked(current_pid()) {
        return 0;
    }
    // SAFETY: the context is the one that the kernel gave.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Some(recipe) = SITES.get(cookie as u32) else { return 0 };
    let start = recipe.kind == Kind::Start as u16;
    let urgency = if start { Urgency::Now } else { Urgency::Later };
    record(Kind::Start, urgency, |scratch| fill(scratch, recipe, ctx.regs));
    if start {
        environment(recipe.executable);
    }
    0
}

#[inline(always)]
fn fill(scratch: &mut Scratch, recipe: &Recipe, registers: *mut pt_regs) -> bool {
    let Some(layout) = LAYOUTS.get(recipe.executable) else { return false };
    // SAFETY: the context of a uprobe is the registers of the task.
    let registers = unsafe { &*registers };
    let goroutine = save(scratch, registers);
    // A position-independent executable is where the kernel put it.
    let bias = instruction_pointer(registers).wrapping_sub(recipe.address);

    let header = scratch.header();
    header.kind = recipe.kind;
    header.executable = recipe.executable;
    header.goroutine = read_u64(goroutine + u64::from(layout.goid)).unwrap_or(0);
    if layout.parent_goid != NONE {
        header.parent_goroutine =
            read_u64(goroutine + u64::from(layout.parent_goid)).unwrap_or(0);
    }

    if recipe.kind == Kind::Start as u16 {
        arguments(scratch);
    }
    for i in 0..FIELDS_MAX {
        if i >= recipe.field_count as usize {
            break;
        }
        if let Some(field) = recipe.fields.get(i) {
            value(scratch, field);
        }
    }
    if recipe.headers.read != Read::Absent as u8 {
        headers(scratch, &recipe.headers, layout.map);
    }
    if recipe.error.read != Read::Absent as u8 {
        errors(scratch, &recipe.error, recipe.executable, bias);
    }
    if recipe.connection.read != Read::Absent as u8 {
        connection(scratch, &recipe.connection, recipe.executable, bias);
    }
    true
}

/// Keeps the argument registers, in Go's order, and yields the goroutine (`*runtime.g`).
/// Source: the Go register ABI, `src/cmd/compile/abi-internal.md`.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn save(scratch: &mut Scratch, registers: &pt_regs) -> u64 {
    scratch.registers[0] = registers.rax;
    scratch.registers[1] = registers.rbx;
    scratch.registers[2] = registers.rcx;
    scratch.registers[3] = registers.rdi;
    scratch.registers[4] = registers.rsi;
    scratch.registers[5] = registers.r8;
    scratch.registers[6] = registers.r9;
    scratch.registers[7] = registers.r10;
    scratch.registers[8] = registers.r11;
    registers.r14
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn instruction_pointer(registers: &pt_regs) -> u64 {
    registers.rip
}

#[inline(always)]
fn register(scratch: &Scratch, index: u8) -> u64 {
    let index = bound::<{ REGISTERS as i32 - 1 }>(u64::from(index));
    // SAFETY: the index is masked to the array.
    unsafe { *scratch.registers.as_ptr().add(index as usize) }
}

#[inline(always)]
fn read_u64(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

#[inline(always)]
fn read_pair(address: u64) -> Option<[u64; 2]> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const [u64; 2]) }.ok()
}

/// Where an operand in memory is; none if a pointer on the way is nil or bad.
#[inline(always)]
fn resolve(scratch: &Scratch, operand: &Operand) -> Option<u64> {
    let mut address = register(scratch, operand.register);
    if address == 0 {
        return None;
    }
    for i in 0..OFFSETS_MAX {
        address = address.wrapping_add(u64::from(*operand.offsets.get(i)?));
        if i >= operand.dereferences as usize {
            break;
        }
        address = read_u64(address)?;
        if address == 0 {
            return None;
        }
    }
    Some(address)
}

/// The interface that an operand names.
#[inline(always)]
fn interface(scratch: &Scratch, operand: &Operand) -> Option<Interface> {
    let [table, data] = if operand.read == Read::RegisterInterface as u8 {
        [register(scratch, operand.register), register(scratch, operand.length_register)]
    } else {
        read_pair(resolve(scratch, operand)?)?
    };
    (table != 0).then_some(Interface { table, data })
}

/// Adds a string whose header (pointer, length) is at `address`.
#[inline(always)]
fn string_at(scratch: &mut Scratch, tag: u8, address: u64) {
    if let Some([pointer, length]) = read_pair(address) {
        scratch.put_user_bytes(tag, pointer, length);
    }
}

/// Adds one field.
#[inline(never)]
fn value(scratch: &mut Scratch, operand: &Operand) {
    let read = operand.read;
    if read == Read::Register as u8 {
        let number = register(scratch, operand.register);
        scratch.put_number(operand.tag, number);
    } else if read == Read::RegisterString as u8 {
        let pointer = register(scratch, operand.register);
        let length = register(scratch, operand.length_register);
        scratch.put_user_bytes(operand.tag, pointer, length);
    } else if let Some(address) = resolve(scratch, operand) {
        if read == Read::String as u8 {
            string_at(scratch, operand.tag, address);
        } else if let Some(number) = read_u64(address) {
            let number =
                if read == Read::NotNil as u8 { u64::from(number != 0) } else { number };
            scratch.put_number(operand.tag, number);
        }
    }
}

/// Adds the allow-listed headers of a map.
#[inline(never)]
fn headers(scratch: &mut Scratch, operand: &Operand, map_kind: u32) {
    let Some(map) = resolve(scratch, operand).and_then(read_u64) else { return };
    if map == 0 {
        return;
    }
    let whole = if map_kind == MapKind::Swiss as u32 {
        swiss(scratch, map)
    } else {
        buckets(scratch, map)
    };
    if whole.is_none() {
        scratch.put(Tag::HeadersCut, &1u64);
    }
}

/// `internal/runtime/maps.Map` of a `map[string][]string` (Go ≥ 1.24): groups of 328 bytes, a
/// control word and eight slots of 40. None if not all was read.
#[inline(always)]
fn swiss(scratch: &mut Scratch, map: u64) -> Option<()> {
    const GROUP: u64 = 328;
    const SLOT: u64 = 40;
    let [directory, length] = read_pair(map + 16)?;
    let (groups, count) = if length == 0 {
        (directory, 1)
    } else {
        // One table holds up to 896 headers; only the first is looked at.
        let [groups, mask] = read_pair(read_u64(directory)? + 16)?;
        (groups, mask + 1)
    };
    let mut control = 0;
    for i in 0..HEADERS_MAX {
        let (group, slot) = (i >> 3, i & 7);
        if group >= count {
            return (length <= 1).then_some(());
        }
        let address = groups + group * GROUP;
        if slot == 0 {
            control = read_u64(address)?;
        }
        // The high bit of a control byte: empty or deleted.
        if (control >> (8 * slot)) & 0x80 == 0 {
            let entry = address + 8 + slot * SLOT;
            header(scratch, entry, entry + 16);
        }
    }
    None
}

/// `runtime.hmap` of a `map[string][]string` (Go ≤ 1.23): buckets of 336 bytes, eight hashes, eight
/// keys, eight values, a pointer to an overflow bucket. None if not all was read.
#[inline(always)]
fn buckets(scratch: &mut Scratch, map: u64) -> Option<()> {
    const BUCKET: u64 = 336;
    const KEYS: u64 = 8;
    const VALUES: u64 = 136;
    const OVERFLOW: u64 = 328;
    /// Below this a hash marks an empty or a moved slot.
    const FIRST_HASH: u64 = 5;
    let bits = (read_u64(map + 8)? >> 8) & 0xff;
    if bits > 8 {
        return None;
    }
    let mut first = read_u64(map + 16)?;
    let mut left = 1u64 << bits;
    // While a map grows, some entries are still in its old buckets.
    let mut old = read_u64(map + 24)?;
    let mut bucket = first;
    let mut hashes = 0;
    for i in 0..HEADERS_MAX {
        let slot = i & 7;
        if slot == 0 {
            hashes = read_u64(bucket)?;
        }
        if (hashes >> (8 * slot)) & 0xff >= FIRST_HASH {
            header(scratch, bucket + KEYS + 16 * slot, bucket + VALUES + 24 * slot);
        }
        if slot == 7 {
            bucket = read_u64(bucket + OVERFLOW)?;
            if bucket == 0 {
                left -= 1;
                if left == 0 {
                    if old == 0 {
                        return Some(());
                    }
                    // A map that doubles had half as many; one that only tidies up, as many.
                    first = old;
                    old = 0;
                    left = if bits == 0 { 1 } else { 1 << (bits - 1) };
                    bucket = first;
                } else {
                    first += BUCKET;
                    bucket = first;
                }
            }
        }
    }
    None
}

/// Adds the header whose key (a string) and values (a slice of strings) are at these addresses, if
/// it is on the allow-list. Of several values, the first.
#[inline(never)]
fn header(scratch: &mut Scratch, key: u64, values: u64) {
    let Some([name, length]) = read_pair(key) else { return };
    if length == 0 || length > HEADER_NAME_MAX as u64 {
        return;
    }
    let mut padded = [0u8; HEADER_NAME_MAX];
    let length = bound::<{ 2 * HEADER_NAME_MAX as i32 - 1 }>(length);
    if length > HEADER_NAME_MAX as u64 {
        return;
    }
    // SAFETY: the helper checks the source, and the length is within the array.
    if unsafe { read_user_bytes(padded.as_mut_ptr().cast(), length as u32, name as *const _) } != 0
    {
        return;
    }
    // SAFETY: the value is copied at once, and user space never changes it.
    let Some(&tag) = (unsafe { HEADER_NAMES.get(&padded) }) else { return };
    if let Some([first, count]) = read_pair(values) {
        if count != 0 {
            string_at(scratch, tag as u8, first);
        }
    }
}

/// The type behind an interface, and what to read of it.
#[inline(always)]
fn type_of(interface: Interface, executable: u32, bias: u64) -> Option<(u64, Option<TypeRule>)> {
    let address = read_u64(interface.table + 8)?.wrapping_sub(bias);
    let key = TypeKey { address, executable, padding: 0 };
    // SAFETY: the value is copied at once, and user space never changes it.
    Some((address, unsafe { TYPES.get(&key) }.copied()))
}

/// Adds the steps of a chain of wrapped errors.
#[inline(never)]
fn errors(scratch: &mut Scratch, operand: &Operand, executable: u32, bias: u64) {
    let Some(mut error) = interface(scratch, operand) else { return };
    for _ in 0..ERROR_STEPS_MAX {
        let Some((address, rule)) = type_of(error, executable, bias) else { return };
        let mut step = ErrorStep { type_address: address, ..ErrorStep::default() };
        let Some(rule) = rule else {
            scratch.put(Tag::Error, &step);
            return;
        };
        step.type_id = rule.id;
        if rule.number != NONE {
            if let Some(number) = read_u64(error.data + u64::from(rule.number)) {
                step.number = match rule.number_size {
                    1 => number & 0xff,
                    2 => number & 0xffff,
                    4 => number & 0xffff_ffff,
                    _ => number,
                };
            }
        }
        if rule.address != NONE {
            if let Some([_, address]) = read_pair(error.data + u64::from(rule.address)) {
                tcp_address(&mut step.address, address);
            }
        }
        scratch.put(Tag::Error, &step);
        if rule.string != NONE {
            string_at(scratch, Tag::ErrorText as u8, error.data + u64::from(rule.string));
        }
        if rule.second_string != NONE {
            let address = error.data + u64::from(rule.second_string);
            string_at(scratch, Tag::ErrorName as u8, address);
        }
        if rule.next == NONE {
            return;
        }
        match read_pair(error.data + u64::from(rule.next)) {
            Some([table, data]) if table != 0 => error = Interface { table, data },
            _ => return,
        }
    }
}

/// Adds both ends of a connection, going down to the socket.
#[inline(never)]
fn connection(scratch: &mut Scratch, operand: &Operand, executable: u32, bias: u64) {
    let Some(mut below) = interface(scratch, operand) else { return };
    let mut both = ConnectionAddresses::default();
    for _ in 0..CONNECTIONS_MAX {
        let Some((_, Some(rule))) = type_of(below, executable, bias) else { return };
        if rule.role == Role::TcpConn as u8 {
            let Some(descriptor) = read_u64(below.data) else { return };
            if let Some(local) = read_u64(descriptor + net_fd::LOCAL) {
                tcp_address(&mut both.local, local);
            }
            if let Some(remote) = read_u64(descriptor + net_fd::REMOTE) {
                tcp_address(&mut both.remote, remote);
            }
            scratch.put(Tag::Connection, &both);
            return;
        }
        if rule.role == Role::TlsConn as u8 {
            both.tls = 1;
        }
        if rule.next == NONE {
            return;
        }
        match read_pair(below.data + u64::from(rule.next)) {
            Some([table, data]) if table != 0 => below = Interface { table, data },
            _ => return,
        }
    }
}

/// Reads a `net.TCPAddr`: the slice `IP` at 0, `Port` at 24.
#[inline(always)]
fn tcp_address(into: &mut SocketAddress, address: u64) {
    if address == 0 {
        return;
    }
    let (Some([ip, length]), Some(port)) = (read_pair(address), read_u64(address + 24)) else {
        return;
    };
    into.port = port as u16;
    if length == 4 {
        // SAFETY: the helper checks the address.
        if let Ok(v4) = unsafe { bpf_probe_read_user(ip as *const [u8; 4]) } {
            [into.ip[0], into.ip[1], into.ip[2], into.ip[3]] = v4;
            into.length = 4;
        }
    } else if length == 16 {
        // SAFETY: the helper checks the address.
        if let Ok(v6) = unsafe { bpf_probe_read_user(ip as *const [u8; 16]) } {
            into.ip = v6;
            into.length = 16;
        }
    }
}
