//! `cargo xtask fuzz`: what reads hostile bytes, under libFuzzer, for a bounded time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{run, status};
use xtask::{apt, workspace};

use crate::build::{self, cargo};

/// Seconds for each target, if not said otherwise.
pub(crate) const SECONDS: u32 = 3;

/// What the fuzzer needs to see which way an input took; as `cargo fuzz` sets it, without the
/// sanitizers, which need a nightly compiler and of which safe code has little.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";
/// Named, so that the flags are not those of build scripts.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};
/// `proxytrace_fuzz::TARGET_VAR`.
const TARGET_VAR: &str = "PROXYTRACE_FUZZ_TARGET";

/// Runs each target for so many seconds. What it finds on the way stays in the target directory, and
/// is where the next run goes on.
pub(crate) fn fuzz(seconds: u32) -> Result<()> {
    apt::provide("c++", "g++")?;
    let fuzzer = build()?;
    let seeds = workspace().join("tests/fuzz/corpus");
    let found = workspace().join("target/fuzz");
    let mut names = Vec::new();
    for entry in fs::read_dir(&seeds)? {
        names.push(entry?.file_name());
    }
    names.sort();
    for name in names {
        status("Fuzzing", format_args!("{} for {seconds} s", name.display()));
        fs::create_dir_all(found.join(&name))?;
        let mut fuzz = Command::new(&fuzzer);
        fuzz.env(TARGET_VAR, &name).args([found.join(&name), seeds.join(&name)]);
        fuzz.arg(format!("-max_total_time={seconds}"));
        // Seconds for one input; bytes of one, of which the seeds have less.
        fuzz.args(["-timeout=5", "-max_len=8192", "-verbosity=0"]);
        fuzz.arg(format!("-artifact_prefix={}/{}-", found.display(), name.display()));
        run(&mut fuzz).with_context(|| {
            format!("move the input into {}, and mend what it breaks", seeds.join(&name).display())
        })?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    status("Building", "the fuzzer");
    let mut cargo = cargo();
    cargo.args(["build", "--profile", "fuzz", "--target", TARGET, "--features", "engine"]);
    cargo.args(["--package", "proxytrace-fuzz", "--bin", "fuzz"]);
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", RUSTFLAGS);
    let [fuzzer] = build::executables(&mut cargo, ["fuzz"])?;
    Ok(fuzzer)
}
