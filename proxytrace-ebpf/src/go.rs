//! The one program on Go functions: reads what the recipe of the probed address says.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings;
use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user_bytes;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use proxytrace_common::host::ANY;
use proxytrace_common::plan::{
    self, FIELDS_MAX, HEADER_NAME_MAX, MapKind, NONE, OFFSETS_MAX, Operand, Read, Recipe, Role,
    TypeKey, TypeRule, bucket_map, ip_addr, net_fd, swiss_map, tcp_addr,
};
use proxytrace_common::record::{ANSWERS_MAX, ERROR_STEPS_MAX, HEADERS, Kind, SocketAddress, Tag};

use crate::maps::{
    HEADER_NAMES, KEPT, LAYOUTS, NUMBER, Owner, SITES, TYPES, count_hit, is_host, member,
};
use crate::process::{arguments, current_pid, environment};
use crate::scratch::{FOUND_MAX, REGISTERS, Scratch, Urgency, record};
use crate::verifier::{Step, bound, on_the_tasks_stack, repeat};

/// What the context of a uprobe is.
#[cfg(bpf_target_arch = "x86_64")]
type Registers = bindings::pt_regs;
/// On arm64, the part of it that programs may see.
#[cfg(bpf_target_arch = "aarch64")]
type Registers = bindings::user_pt_regs;

/// Places for entries of a header map that are looked at: enough for fifty headers. If there are
/// more, `HeadersCut` is recorded.
const ENTRIES_MAX: u32 = 64;
/// Connections below connections: TLS in a tunnel in TLS to the tunnel's proxy, and the socket.
const CONNECTIONS_MAX: u32 = 4;

/// Sizes of the headers of a string (pointer, length) and a slice (pointer, length, capacity).
const STRING_SIZE: u64 = 16;
const SLICE_SIZE: u64 = 24;

/// An interface value: the type word (an itab) and the data word.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Interface {
    table: u64,
    data: u64,
}

/// On every probed address of every executable, through perf events, each with a cookie (Linux
/// 5.15).
#[uprobe]
pub fn go(ctx: ProbeContext) -> u32 {
    probe::<false>(&ctx, cookie, on_the_tasks_stack::<false>);
    0
}

/// The same for older kernels, which have no cookies, or on arm64 (before Linux 6.0) allow no tail call
/// in a program with functions; the stack is the task's there without one. The program in front has
/// left the number of the address.
#[uprobe]
pub fn go_numbered(ctx: ProbeContext) -> u32 {
    probe::<false>(&ctx, |_| NUMBER.get(0).copied().unwrap_or(u32::MAX), |_| ());
    0
}

/// The same through `uprobe_multi`, which is younger (Linux 6.6) than `bpf_loop`.
#[uprobe]
pub fn go_multi(ctx: ProbeContext) -> u32 {
    probe::<true>(&ctx, cookie, on_the_tasks_stack::<true>);
    0
}

#[inline(always)]
fn cookie(ctx: &ProbeContext) -> u32 {
    // SAFETY: the context is the one that the kernel gave.
    (unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }) as u32
}

#[inline(always)]
fn probe<const HELPER: bool>(
    ctx: &ProbeContext,
    site: impl FnOnce(&ProbeContext) -> u32,
    nowhere: impl FnOnce(&ProbeContext),
) {
    let Some(member) = member(current_pid()) else { return };
    if is_host() && member.tree == 0 {
        return;
    }
    let executable = member.executable;
    let site = site(ctx);
    let Some(recipe) = SITES.get(site) else { return nowhere(ctx) };
    if is_host() && executable != ANY && executable != recipe.executable {
        return;
    }
    count_hit(site);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "site {}: kind {}", site, recipe.kind);
    let start = recipe.kind == Kind::Start as u16;
    let urgency = if start { Urgency::Now } else { Urgency::Later };
    if start {
        // Before the start itself, which closes it.
        environment::<HELPER>(recipe.executable);
    }
    record(Kind::Start, urgency, |scratch| fill::<HELPER>(scratch, recipe, ctx.regs));
}

#[inline(always)]
fn fill<const HELPER: bool>(
    scratch: &mut Scratch,
    recipe: &Recipe,
    registers: *mut bindings::pt_regs,
) -> bool {
    let Some(layout) = LAYOUTS.get(recipe.executable) else { return false };
    // SAFETY: the context of a uprobe is the registers of the task.
    let registers = unsafe { &*registers.cast::<Registers>() };
    let goroutine = save(scratch, registers);
    unspill(scratch, recipe, stack_pointer(registers));
    scratch.executable = recipe.executable;
    if recipe.filter.read != Read::Absent as u8 && !passes(scratch, recipe) {
        return false;
    }

    // A position-independent executable is where the kernel put it.
    scratch.bias = instruction_pointer(registers).wrapping_sub(recipe.address);
    let header = scratch.header();
    header.kind = recipe.kind;
    header.executable = recipe.executable;
    header.goroutine = read_u64(goroutine + u64::from(layout.goid)).unwrap_or(0);
    if layout.parent_goid != NONE {
        header.parent_goroutine = read_u64(goroutine + u64::from(layout.parent_goid)).unwrap_or(0);
    }

    if recipe.kind == Kind::Start as u16 {
        arguments(scratch);
    } else if recipe.kind == Kind::CommandStart as u16 {
        keep(scratch, recipe);
        return false;
    } else if recipe.kind == Kind::CommandReturn as u16 && !recall(scratch) {
        return false;
    }
    if recipe.field_count != 0 {
        scratch.fields = recipe.fields;
        scratch.field_count = u32::from(recipe.field_count);
        repeat::<FieldStep, HELPER>(scratch);
    }
    if recipe.headers.read == Read::Addresses as u8 {
        let count = register(scratch, recipe.headers.length_register);
        scratch.rest = (register(scratch, recipe.headers.register), count);
        repeat::<AnswerStep, HELPER>(scratch);
    } else if recipe.headers.read != Read::Absent as u8 {
        headers::<HELPER>(scratch, &recipe.headers, layout.map);
    }
    if recipe.error.read != Read::Absent as u8 && interface(scratch, &recipe.error) {
        repeat::<ErrorWalk, HELPER>(scratch);
    }
    if recipe.connection.read != Read::Absent as u8 && interface(scratch, &recipe.connection) {
        scratch.both.clear();
        repeat::<ConnectionStep, HELPER>(scratch);
    }
    true
}

/// Whether the number that decides is what it must be.
#[inline(always)]
fn passes(scratch: &Scratch, recipe: &Recipe) -> bool {
    let filter = &recipe.filter;
    let number = if filter.read == Read::Register as u8 {
        register(scratch, filter.register)
    } else {
        let Some(number) = resolve(scratch, filter).and_then(read_u64) else { return false };
        number
    };
    number & recipe.filter_mask == recipe.filter_value
}

/// Keeps where the stderr of a command goes, if that is a buffer that nothing else is written to:
/// Go moves no such thing, and whoever waits for the command reads it afterwards.
#[inline(always)]
fn keep(scratch: &mut Scratch, recipe: &Recipe) {
    let owner = owner(scratch);
    // What was kept before is of a command that another goroutine waits for.
    let _ = KEPT.remove(owner);
    let stdout = resolve(scratch, &recipe.fields[0]).and_then(read_u64).unwrap_or(0);
    if !interface(scratch, &recipe.connection) {
        return;
    }
    let stderr = scratch.interface;
    let Some((_, Some(rule))) = type_of(scratch, stderr) else { return };
    if rule.role == Role::Buffer as u8 && stdout != stderr.data {
        let _ = KEPT.insert(owner, stderr.data, 0);
    }
}

/// Puts what was kept in the place of a register; says whether there was something.
#[inline(always)]
fn recall(scratch: &mut Scratch) -> bool {
    let owner = owner(scratch);
    // SAFETY: the value is copied at once.
    let Some(&kept) = (unsafe { KEPT.get(owner) }) else { return false };
    let _ = KEPT.remove(owner);
    scratch.registers[plan::KEPT as usize] = kept;
    true
}

#[inline(always)]
fn owner(scratch: &mut Scratch) -> Owner {
    let header = scratch.header();
    Owner { goroutine: header.goroutine, process: u64::from(header.pid) }
}

/// Keeps the argument registers, in Go's order, and yields the goroutine (`*runtime.g`).
/// Source: the Go register ABI, `src/cmd/compile/abi-internal.md`.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn save(scratch: &mut Scratch, registers: &Registers) -> u64 {
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
fn stack_pointer(registers: &Registers) -> u64 {
    registers.rsp
}

/// Puts the values that are on the stack at this address where their registers are kept.
#[inline(always)]
fn unspill(scratch: &mut Scratch, recipe: &Recipe, stack: u64) {
    for spill in recipe.spills {
        if spill.offset == NONE {
            break;
        }
        let value = read_u64(stack + u64::from(spill.offset)).unwrap_or(0);
        let register = bound::<{ REGISTERS as i32 - 1 }>(u64::from(spill.register));
        if let Some(place) = scratch.registers.get_mut(register as usize) {
            *place = value;
        }
    }
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn instruction_pointer(registers: &Registers) -> u64 {
    registers.rip
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn save(scratch: &mut Scratch, registers: &Registers) -> u64 {
    scratch.registers.copy_from_slice(&registers.regs[..REGISTERS]);
    registers.regs[28]
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn stack_pointer(registers: &Registers) -> u64 {
    registers.sp
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn instruction_pointer(registers: &Registers) -> u64 {
    registers.pc
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
fn read_u8(address: u64) -> Option<u8> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u8) }.ok()
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

/// Reads the interface that an operand names; says whether there is one, and that is not nil. To a
/// place in memory: of values that are there on some ways alone, the compiler loads what it has not
/// stored, and the verifier says "`R5 !read_ok`".
#[inline(always)]
fn interface(scratch: &mut Scratch, operand: &Operand) -> bool {
    if operand.read == Read::RegisterInterface as u8 {
        let (table, data) =
            (register(scratch, operand.register), register(scratch, operand.length_register));
        scratch.interface = Interface { table, data };
    } else {
        let Some([table, data]) = resolve(scratch, operand).and_then(read_pair) else {
            return false;
        };
        scratch.interface = Interface { table, data };
    }
    scratch.interface.table != 0
}

/// Adds a string whose header (pointer, length) is at `address`.
#[inline(always)]
fn string_at(scratch: &mut Scratch, tag: u8, address: u64) {
    if let Some([pointer, length]) = read_pair(address) {
        scratch.put_user_bytes(tag, pointer, length);
    }
}

/// Adds the next field.
struct FieldStep;

impl Step for FieldStep {
    const TURNS: u32 = FIELDS_MAX as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        if turn >= u64::from(scratch.field_count) {
            return false;
        }
        let place = bound::<{ FIELDS_MAX as i32 - 1 }>(turn);
        let Some(&field) = scratch.fields.get(place as usize) else { return false };
        value(scratch, &field);
        true
    }
}

/// Adds one field.
#[inline(always)]
fn value(scratch: &mut Scratch, operand: &Operand) {
    let read = operand.read;
    if read == Read::Register as u8 {
        let number = register(scratch, operand.register);
        scratch.put_number(operand.tag, number);
    } else if read == Read::RegisterString as u8 {
        let pointer = register(scratch, operand.register);
        let length = register(scratch, operand.length_register);
        scratch.put_user_bytes(operand.tag, pointer, length);
    } else if read == Read::RegisterStringEnd as u8 {
        let pointer = register(scratch, operand.register);
        let length = register(scratch, operand.length_register);
        scratch.put_user_bytes_end(operand.tag, pointer, length);
    } else if let Some(address) = resolve(scratch, operand) {
        if read == Read::String as u8 {
            string_at(scratch, operand.tag, address);
        } else if read == Read::StringEnd as u8 {
            if let Some([pointer, length]) = read_pair(address) {
                scratch.put_user_bytes_end(operand.tag, pointer, length);
            }
        } else if let Some(number) = read_u64(address) {
            let number = if read == Read::NotNil as u8 { u64::from(number != 0) } else { number };
            scratch.put_number(operand.tag, number);
        }
    }
}

/// Where a `map[string][]string` keeps its entries, in groups of eight. Kept in the scratch buffer:
/// the verifier would follow each of these numbers through every turn of the loop.
#[repr(C)]
pub struct Groups {
    /// The group that is being looked at.
    group: u64,
    /// What the group says of its places: a byte each, those of places that are done shifted out.
    control: u64,
    /// Groups still to be looked at, this one included.
    left: u64,
    /// From a group to the key of its first entry, and to its value; from an entry to the next.
    key: u64,
    key_stride: u64,
    value: u64,
    value_stride: u64,
    /// Bytes from a group to the next.
    stride: u64,
    /// One if these are buckets (Go ≤ 1.23), which chain to others.
    buckets: u64,
    /// The first group of those whose turn it is.
    first: u64,
    /// While a map of buckets grows, some entries are still in its old ones.
    old: u64,
    old_count: u64,
}

impl Groups {
    #[inline(always)]
    fn of(map: u64, kind: u32) -> Option<Self> {
        if kind == MapKind::Swiss as u32 { Self::swiss(map) } else { Self::buckets(map) }
    }

    /// `internal/runtime/maps.Map` (Go ≥ 1.24): groups of a control word and eight slots. Of several
    /// tables (more than 896 headers), the first.
    #[inline(always)]
    fn swiss(map: u64) -> Option<Self> {
        let [directory, length] = read_pair(map + swiss_map::DIRECTORY)?;
        let (group, left) = if length == 0 {
            (directory, 1)
        } else {
            let [groups, mask] = read_pair(read_u64(directory)? + swiss_map::GROUPS)?;
            (groups, mask + 1)
        };
        Some(Self {
            group,
            control: 0,
            left,
            key: swiss_map::SLOTS,
            key_stride: swiss_map::SLOT_SIZE,
            value: swiss_map::SLOTS + STRING_SIZE,
            value_stride: swiss_map::SLOT_SIZE,
            stride: swiss_map::GROUP_SIZE,
            buckets: 0,
            first: group,
            old: 0,
            old_count: 0,
        })
    }

    /// `runtime.hmap` (Go ≤ 1.23): buckets of eight hashes, eight keys, eight values, a pointer to an
    /// overflow bucket.
    #[inline(always)]
    fn buckets(map: u64) -> Option<Self> {
        let bits = bound::<15>(u64::from(read_u8(map + bucket_map::B)?));
        let group = read_u64(map + bucket_map::BUCKETS)?;
        Some(Self {
            group,
            control: 0,
            left: 1 << bits,
            key: bucket_map::KEYS,
            key_stride: STRING_SIZE,
            value: bucket_map::VALUES,
            value_stride: SLICE_SIZE,
            stride: bucket_map::BUCKET_SIZE,
            buckets: 1,
            first: group,
            old: read_u64(map + bucket_map::OLD_BUCKETS)?,
            // A map that doubles had half as many.
            old_count: (1 << bits) >> 1,
        })
    }

    /// Whether the slot that this byte of the control word stands for is used.
    #[inline(always)]
    fn is_used(&self, control: u64) -> bool {
        // The high bit: empty or deleted. Below five: empty or moved.
        if self.buckets != 0 { control >= 5 } else { control & 0x80 == 0 }
    }

    /// Goes to the next group; says whether there is one.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        if self.buckets != 0 {
            let Some(overflow) = read_u64(self.group + bucket_map::OVERFLOW) else { return false };
            if overflow != 0 {
                self.group = overflow;
                return true;
            }
        }
        self.left -= 1;
        if self.left != 0 {
            self.first += self.stride;
        } else if self.old != 0 {
            self.first = self.old;
            self.left = if self.old_count == 0 { 1 } else { self.old_count };
            self.old = 0;
        } else {
            return false;
        }
        self.group = self.first;
        true
    }
}

/// Adds the allow-listed headers of a map.
#[inline(always)]
fn headers<const HELPER: bool>(scratch: &mut Scratch, operand: &Operand, map_kind: u32) {
    let Some(map) = resolve(scratch, operand).and_then(read_u64) else { return };
    if map == 0 {
        return;
    }
    let Some(groups) = Groups::of(map, map_kind) else { return };
    scratch.groups = groups;
    scratch.found_count = 0;
    // First find, then copy: the loop over all entries stays small.
    repeat::<FindHeader, HELPER>(scratch);
    repeat::<CopyHeader, HELPER>(scratch);
    if scratch.groups.left != 0 {
        scratch.put(Tag::HeadersCut, &1u64);
    }
}

/// Looks at the next place of a header map and notes the header there, if it is on the allow-list.
/// Of several values, the first.
struct FindHeader;

impl Step for FindHeader {
    const TURNS: u32 = ENTRIES_MAX;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        let slot = turn & 7;
        if slot == 0 {
            match read_u64(scratch.groups.group) {
                Some(control) => scratch.groups.control = control,
                None => return false,
            }
        }
        let groups = &mut scratch.groups;
        let used = groups.is_used(groups.control & 0xff);
        groups.control >>= 8;
        if used {
            let key = groups.group + groups.key + slot * groups.key_stride;
            let values = groups.group + groups.value + slot * groups.value_stride;
            note_header(scratch, key, values);
        }
        slot != 7 || scratch.groups.advance()
    }
}

#[inline(always)]
fn note_header(scratch: &mut Scratch, key: u64, values: u64) {
    let (tag, first, count) = match header_tag(key) {
        Some(tag) => {
            let Some([first, count]) = read_pair(values) else { return };
            (tag, first, count)
        }
        // Of a request, that it is there: its name, which is a string like a value.
        None if scratch.header().kind == Kind::RequestEnter as u16
            && scratch.found_count < HEADERS.len() as u64 =>
        {
            (Tag::OtherHeader as u64, key, 1)
        }
        None => return,
    };
    let place = bound::<{ FOUND_MAX as i32 - 1 }>(scratch.found_count);
    if count != 0
        && let Some(place) = scratch.found.get_mut(place as usize)
    {
        *place = (tag, first);
        scratch.found_count += 1;
    }
}

/// Adds the next of the headers that were found.
struct CopyHeader;

impl Step for CopyHeader {
    const TURNS: u32 = HEADERS.len() as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        if turn >= scratch.found_count {
            return false;
        }
        let place = bound::<{ FOUND_MAX as i32 - 1 }>(turn);
        let Some(&(tag, address)) = scratch.found.get(place as usize) else { return false };
        string_at(scratch, tag as u8, address);
        true
    }
}

/// The tag of the header whose name (a string) is at `key`, if it is on the allow-list.
#[inline(always)]
fn header_tag(key: u64) -> Option<u64> {
    let [name, length] = read_pair(key)?;
    // The shortest is `Age`.
    if length < 3 || length > HEADER_NAME_MAX as u64 {
        return None;
    }
    let length = bound::<{ 2 * HEADER_NAME_MAX as i32 - 1 }>(length);
    let mut padded = [0u64; 2 * HEADER_NAME_MAX / 8];
    // SAFETY: the helper checks the source, and the masked length is within the array.
    if unsafe { read_user_bytes(padded.as_mut_ptr().cast(), length as u32, name as *const _) } != 0
    {
        return None;
    }
    let name = [padded[0], padded[1]];
    // SAFETY: the value is copied at once, and user space never changes it.
    unsafe { HEADER_NAMES.get(name) }.map(|&tag| u64::from(tag))
}

/// The type behind an interface, and what to read of it.
#[inline(always)]
fn type_of(scratch: &Scratch, interface: Interface) -> Option<(u64, Option<TypeRule>)> {
    let address = read_u64(interface.table + 8)?.wrapping_sub(scratch.bias);
    let key = TypeKey { address, executable: scratch.executable, padding: 0 };
    // SAFETY: the value is copied at once, and user space never changes it.
    Some((address, unsafe { TYPES.get(key) }.copied()))
}

/// Adds the next step of a chain of wrapped errors.
struct ErrorWalk;

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
            step.type_id = rule.id;
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
            string_at(scratch, Tag::ErrorText as u8, error.data + u64::from(rule.string));
        }
        if rule.second_string != NONE {
            let address = error.data + u64::from(rule.second_string);
            string_at(scratch, Tag::ErrorName as u8, address);
        }
        if rule.third_string != NONE {
            let address = error.data + u64::from(rule.third_string);
            string_at(scratch, Tag::ErrorServer as u8, address);
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
struct AnswerStep;

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
struct ConnectionStep;

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
    // SAFETY: the helper checks the source; the callers' lengths are within the array.
    unsafe { read_user_bytes(place.cast(), length, address as *const _) == 0 }
}
