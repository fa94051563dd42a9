//! One target under libFuzzer: `PROXYTRACE_FUZZ_TARGET=NAME fuzz [OPTION…] [CORPUS…]`; see
//! `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proxytrace_fuzz::{TARGET_VAR, TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(TARGET_VAR).unwrap_or_default();
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.unwrap_or_else(|| panic!("{TARGET_VAR} names none of {TARGETS:?}")).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
