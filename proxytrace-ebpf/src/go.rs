//! The one program on Go functions: reads what the recipe of the probed address says.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use proxytrace_common::host::ANY;
use proxytrace_common::plan::{
    self, FIELDS_MAX, Layout, NONE, OFFSETS_MAX, Operand, Owner, Read, Recipe, Role,
};
use proxytrace_common::record::{FAULT, Kind};

use crate::headers::headers;
use crate::interface::{AnswerStep, ConnectionStep, ErrorWalk, Interface, type_of};
use crate::maps::{KEPT, LAYOUTS, NUMBER, SITES, count_hit, is_host, lose_one, member, settle};
use crate::process::{arguments, environment};
use crate::scratch::{PIECE, REGISTERS, Scratch, Urgency, with};
use crate::user::{read_pair, read_to, read_u64};
use crate::verifier::{Step, bound, on_the_tasks_stack, repeat};

/// What the context of a uprobe is.
#[cfg(bpf_target_arch = "x86_64")]
type Registers = bindings::pt_regs;
/// On arm64, the part of it that programs may see.
#[cfg(bpf_target_arch = "aarch64")]
type Registers = bindings::user_pt_regs;

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
    let task = bpf_get_current_pid_tgid();
    let pid = (task >> 32) as u32;
    let Some(member) = member(pid) else { return };
    if is_host() && member.tree == 0 {
        return;
    }
    let executable = member.executable;
    let site = site(ctx);
    let Some(recipe) = SITES.get(site) else { return nowhere(ctx) };
    if executable != recipe.executable {
        if executable != ANY {
            return;
        }
        if !is_host() {
            settle(pid, recipe.executable);
        }
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
    with(|scratch| {
        scratch.begin(Kind::Start, task);
        if fill::<HELPER>(scratch, recipe, ctx.regs) {
            scratch.send(urgency);
        }
    });
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
    identify(scratch, goroutine, layout);
    if recipe.base.read != Read::Absent as u8 {
        scratch.registers[plan::BASE as usize] = 0;
        if let Some(place) = resolve(scratch, &recipe.base) {
            if let Some(base) = read_u64(place) {
                scratch.registers[plan::BASE as usize] = base;
            } else {
                // All that is reached by it will be missing, as if it were nil.
                scratch.header().flags |= FAULT;
            }
        }
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
    if recipe.several.read == Read::Addresses as u8 {
        let count = register(scratch, recipe.several.length_register);
        scratch.rest = (register(scratch, recipe.several.register), count);
        repeat::<AnswerStep, HELPER>(scratch);
    } else if recipe.several.read != Read::Absent as u8 {
        let map = resolve(scratch, &recipe.several).and_then(read_u64).unwrap_or(0);
        headers::<HELPER>(scratch, map, layout.map);
    }
    if recipe.error.read != Read::Absent as u8 && interface(scratch, &recipe.error) {
        repeat::<ErrorWalk, HELPER>(scratch);
    } else if recipe.kind == Kind::ZipReturn as u16 {
        // There is nothing to say of a zip that came well.
        return false;
    }
    if recipe.interface.read != Read::Absent as u8 && interface(scratch, &recipe.interface) {
        scratch.both.clear();
        repeat::<ConnectionStep, HELPER>(scratch);
    }
    true
}

/// Says which goroutine it is, and which one started it.
#[inline(always)]
fn identify(scratch: &mut Scratch, goroutine: u64, layout: &Layout) {
    let first = goroutine + u64::from(layout.goid);
    if layout.parent_goid == NONE {
        scratch.header().goroutine = read_u64(first).unwrap_or(0);
        return;
    }
    // The two are near each other, and each read costs more than what is between them.
    let between = bound::<{ PIECE as i32 - 1 }>(u64::from(layout.parent_goid - layout.goid));
    // SAFETY: the piece has room for a word more than the bounded length.
    if unsafe { read_to(scratch.piece.as_mut_ptr().cast(), first, between as u32 + 8) } {
        let [id, _] = scratch.in_piece(0);
        let [parent, _] = scratch.in_piece(between);
        scratch.header().goroutine = id;
        scratch.header().parent_goroutine = parent;
    }
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
    let stdout = resolve(scratch, &recipe.fields[Recipe::STDOUT]).and_then(read_u64).unwrap_or(0);
    if !interface(scratch, &recipe.interface) {
        return;
    }
    let stderr = scratch.interface;
    let Some((_, Some(rule))) = type_of(scratch, stderr) else { return };
    if rule.role == Role::Buffer as u8
        && stdout != stderr.data
        && KEPT.insert(owner, stderr.data, 0).is_err()
    {
        // The record of what it says.
        lose_one();
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
    Owner { goroutine: header.goroutine, process: header.pid, padding: 0 }
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
            scratch.put_string(operand.tag, address);
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
