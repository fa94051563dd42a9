//! What the verifier needs to be told, in one place, each with the complaint it avoids.

use core::arch::asm;

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

/// Adds to a number that others may be adding to as well. The result is not to be had: the plain
/// atomic addition is the one atomic instruction of every kernel, and that of a fetch says
/// "BPF_ATOMIC uses unsupported opcode" to Linux 5.10. Nor does the target's `core` offer it.
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
