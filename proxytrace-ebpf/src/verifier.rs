//! What the verifier needs to be told, in one place, each with the complaint it avoids.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr;

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::programs::ProbeContext;

use crate::maps::{NOWHERE, NOWHERE_MULTI};
use crate::scratch::Scratch;

/// Numbers of turns are below this, plus one.
const TURN_MASK: i32 = 63;

/// One turn of a loop. What it must remember it keeps in the scratch buffer, of whose contents the
/// verifier knows nothing: it need not follow every turn of every path.
pub trait Step {
    /// The most turns there are: 64 at most.
    const TURNS: u32;
    /// Takes a turn; says whether there may be another.
    fn turn(scratch: &mut Scratch, turn: u64) -> bool;
}

/// Takes the turns of a loop.
///
/// With `HELPER` by `bpf_loop` (Linux 5.17), whose body is verified once; without, by a loop that
/// the verifier walks to its end: 15 times as long to load, but every kernel has it.
#[inline(always)]
pub fn repeat<S: Step, const HELPER: bool>(scratch: &mut Scratch) {
    if HELPER {
        let mut scratch: *mut Scratch = scratch;
        // SAFETY: the callback has the helper's signature, and its context outlives the call.
        unsafe {
            bpf_loop(S::TURNS, callback::<S> as *mut c_void, (&raw mut scratch).cast(), 0);
        }
    } else {
        for turn in 0..S::TURNS {
            if !S::turn(scratch, u64::from(turn)) {
                break;
            }
        }
    }
}

/// A turn, as `bpf_loop` calls it: one ends the loop.
extern "C" fn callback<S: Step>(turn: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `repeat` passes.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    i64::from(!S::turn(scratch, bound::<TURN_MASK>(turn)))
}

/// A value that is zeroed and copied by words.
///
/// Left to itself the compiler calls `memset` and `memmove` for that, loops over bytes that the
/// verifier walks to their end wherever it comes to them; hence the volatile accesses here.
#[repr(C, align(8))]
pub struct Wide<T>(pub T);

impl<T> Wide<T> {
    /// Zeroes it.
    #[inline(always)]
    pub fn clear(&mut self) {
        for word in 0..size_of::<Self>() / size_of::<u64>() {
            // SAFETY: a word of this value, for which zeroes are valid: these are integers.
            unsafe { (&raw mut *self).cast::<u64>().add(word).write_volatile(0) };
        }
    }
}

/// Copies a value of whole words to a place of any alignment.
///
/// # Safety
/// There is room for it at the place.
#[inline(always)]
pub unsafe fn copy_words<T>(from: *const T, to: *mut u8) {
    const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>())) };
    for word in 0..size_of::<T>() / size_of::<u64>() {
        // SAFETY: by the caller; on these machines words are written at any address.
        unsafe {
            let value = from.cast::<u64>().add(word).read_volatile();
            to.cast::<u64>().add(word).write_volatile(value);
        }
    }
}

/// Goes nowhere. That a program of uprobes has a tail call keeps its variables on the stack of the
/// task that runs it.
///
/// Linux 6.13 (x86-64) and 6.17 (arm64) put those of larger programs into memory of the CPU, for
/// kprobes and uprobes alike, unless there is a tail call (`bpf_enable_priv_stack` and
/// `check_max_stack_depth` in `kernel/bpf/verifier.c`). But nothing keeps a program of uprobes from
/// being preempted by itself in another task: since Linux 7.0, whose kernels all are preemptible,
/// the two overwrite one another, and the kernel follows pointers that are none.
#[inline(always)]
pub fn on_the_tasks_stack<const MULTI: bool>(ctx: &ProbeContext) {
    // Programs with different types of attachment cannot share such a map (Linux 6.18).
    let nowhere = if MULTI { &NOWHERE_MULTI } else { &NOWHERE };
    // SAFETY: the context is the one that the kernel gave. An empty entry leads nowhere.
    unsafe { nowhere.tail_call(ctx, 0) };
}

/// `value & MASK`, as an instruction that the compiler can neither drop nor move.
///
/// Where the compiler knows a bound from an earlier comparison it leaves a mask out, and the
/// verifier, which did not follow the comparison into this register, says "R2 unbounded memory
/// access" or "value is outside of the allowed memory range".
#[inline(always)]
pub fn bound<const MASK: i32>(value: u64) -> u64 {
    let mut bounded = value;
    // SAFETY: one arithmetic instruction on one register.
    unsafe {
        asm!("{0} &= {mask}", inout(reg) bounded, mask = const MASK, options(pure, nomem, nostack));
    }
    bounded
}

/// What user space has put in the place of a value, of which the compiler knows nothing then. Only what
/// is used of it is read: `Global::load` reads all of it, each time.
#[inline(always)]
pub fn set_by_user<T>(global: &'static Global<T>) -> &'static T {
    let mut place = (&raw const *global).expose_provenance();
    // SAFETY: one move of a register to itself; a `Global` is a `T` and nothing else.
    unsafe {
        asm!("{0} = {0}", inout(reg) place, options(pure, nomem, nostack));
        &*ptr::with_exposed_provenance(place)
    }
}

/// Adds to a number that others may be adding to as well. The result is not to be had: the plain
/// atomic addition is the one atomic instruction of every kernel, and that of a fetch says
/// "`BPF_ATOMIC` uses unsupported opcode" to Linux 5.10. Nor does the target's `core` offer it.
///
/// # Safety
/// `number` points to a number in a map's value.
#[inline(always)]
pub unsafe fn atomic_add_u32(number: *mut u32, value: i32) {
    // SAFETY: by the caller.
    unsafe {
        asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) number, in(reg) i64::from(value), options(nostack));
    }
}

/// The same for 64 bits.
///
/// # Safety
/// `number` points to a number in a map's value.
#[inline(always)]
pub unsafe fn atomic_add_u64(number: *mut u64, value: i64) {
    // SAFETY: by the caller.
    unsafe {
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) number, in(reg) value, options(nostack));
    }
}
