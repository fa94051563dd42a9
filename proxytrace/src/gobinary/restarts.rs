//! Which instructions Go may execute again: when it preempts a goroutine within a sequence that needs
//! the assembler's own register, it goes on at the first of them (`isAsyncSafePoint` in
//! `runtime/preempt.go`). A signal is delivered where a probe has just been hit, so that this is no
//! rare case there.
//!
//! Format: `runtime.pcvalue` and `runtime.step` in Go's `runtime/symtab.go`; values: `UnsafePoint…` in
//! `internal/abi/symtab.go`, `PCDATA_Restart…` in `cmd/internal/objabi/funcdata.go` before Go 1.23.

use std::ops::RangeInclusive;

/// Safe or unsafe: what is preempted there, if it is, goes on there.
const GOES_ON: RangeInclusive<i64> = -2..=-1;
/// One of two kinds of sequences, so that neighbours differ: from its first instruction.
const FROM_ITS_FIRST: RangeInclusive<i64> = -4..=-3;
/// What the table starts from.
const INITIAL: i64 = -1;

/// Whether the instruction so many bytes from its function's first is executed once for all that is
/// known from the function's table of unsafe points; `quantum` is the size of the smallest
/// instruction, and `length` is the function's, which its table does not go beyond.
pub(super) fn is_executed_once(mut table: &[u8], quantum: u64, length: u64, at: u64) -> bool {
    let (mut start, mut value, mut once) = (0, INITIAL, false);
    loop {
        let Some(change) = varint(&mut table) else { return false };
        if change == 0 && start > 0 {
            return once;
        }
        // The lowest bit is the sign.
        let magnitude = i64::from(change >> 1);
        value += if change & 1 == 1 { -magnitude - 1 } else { magnitude };
        let Some(count @ 1..) = varint(&mut table) else { return false };
        let end = start + u64::from(count) * quantum;
        if end > length {
            return false;
        }
        let is_here = (start..end).contains(&at);
        if GOES_ON.contains(&value) {
            once |= is_here;
        } else if is_here || !FROM_ITS_FIRST.contains(&value) {
            // From the function's first, or from somewhere.
            return false;
        }
        start = end;
    }
}

/// The next number, of seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..u32::BITS).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `main.main` in Go 1.27.3 for arm64: 4 bytes -1, 12 -2, 8 -1, 4 -2, 4 -1, 8 -3, 4 -2.
    const TABLE: [u8; 15] = [0, 1, 1, 3, 2, 2, 1, 1, 2, 1, 3, 2, 2, 1, 0];
    /// Bytes of these instructions.
    const LENGTH: u64 = 44;

    fn is_once(table: &[u8], at: u64) -> bool {
        is_executed_once(table, 4, LENGTH, at)
    }

    #[test]
    fn within_a_sequence_it_may_be_executed_again() {
        for at in [0, 4, 16, 24, 28, 40] {
            assert!(is_once(&TABLE, at), "{at}");
        }
        for at in [32, 36] {
            assert!(!is_once(&TABLE, at), "{at}");
        }
    }

    #[test]
    fn what_the_table_does_not_say_is_not_known() {
        assert!(!is_once(&TABLE, 44));
        for length in 0..TABLE.len() {
            assert!(!is_once(&TABLE[..length], 0), "{length}");
        }
        // No instructions; and a number without an end.
        assert!(!is_once(&[0, 0, 0], 0));
        assert!(!is_once(&[0xff; 16], 0));
    }

    #[test]
    fn a_table_that_goes_beyond_the_function_is_not_its_own() {
        assert!(is_executed_once(&TABLE, 4, LENGTH + 16, 0));
        assert!(!is_executed_once(&TABLE, 4, LENGTH - 4, 0));
    }

    #[test]
    fn a_function_that_begins_again_executes_all_again() {
        // -1, then -5
        assert!(!is_once(&[0, 4, 7, 1, 0], 0));
        // -1, then -6, of which nothing is known
        assert!(!is_once(&[0, 4, 9, 1, 0], 0));
        assert!(is_once(&[0, 4, 5, 1, 0], 0));
    }
}
