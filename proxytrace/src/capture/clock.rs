//! The clock of the kernel's records.

use std::fs;
use std::sync::LazyLock;

/// By how many nanoseconds `CLOCK_MONOTONIC` is ahead for us, in a time namespace of our own
/// (`time_namespaces(7)`).
static AHEAD: LazyLock<i64> = LazyLock::new(|| {
    // The file speaks of the namespace that children are in.
    let namespace = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
    let is_ours = namespace("time") == namespace("time_for_children");
    let offsets = fs::read_to_string("/proc/self/timens_offsets").ok().filter(|_| is_ours);
    offsets.and_then(|offsets| monotonic_offset(&offsets)).unwrap_or(0)
});

/// `CLOCK_MONOTONIC` in nanoseconds, as it is in the initial time namespace: the clock of the
/// kernel's records.
pub(super) fn monotonic_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is written by the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let now = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    now.saturating_add_signed(AHEAD.saturating_neg())
}

/// What the namespace adds to that clock; below zero the nanoseconds count upwards, too.
fn monotonic_offset(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic "))?;
    let mut numbers = line.split_whitespace().map_while(|number| number.parse::<i64>().ok());
    let (seconds, nanoseconds) = (numbers.next()?, numbers.next()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_shift_the_clock() {
        for (offsets, expected) in [
            ("monotonic           0         0\nboottime            0         0\n", Some(0)),
            ("monotonic       86400        42\nboottime 7 0\n", Some(86_400_000_000_042)),
            ("monotonic          -2 999999999\nboottime 0 0\n", Some(-1_000_000_001)),
            ("monotonic  9223372036854775807         0\n", None),
            ("boottime            1         0\n", None),
            ("", None),
        ] {
            assert_eq!(monotonic_offset(offsets), expected, "{offsets}");
        }
    }
}
