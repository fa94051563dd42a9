//! `cargo xtask fuzz`: what reads hostile bytes, under libFuzzer, for a bounded time.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{run, status};
use xtask::{apt, workspace};

use crate::build::{self, cargo};

/// Seconds for each target, if not said otherwise.
pub(crate) const SECONDS: u32 = 3;

/// Compiles our own crates with what the fuzzer needs to see which way an input took, as `cargo fuzz`
/// sets it, without the sanitizers, which need a nightly compiler and of which safe code has little;
/// and quick enough to run. What comes from elsewhere is as the tests have it, and is there already:
/// to compile all of that for the fuzzer takes longer than it runs.
const COMPILER: &str = r#"#!/bin/sh
case " $* " in
*" --crate-name proxytrace "* | *" --crate-name proxytrace_common "* | *" --crate-name fuzz "*)
    exec "$@" -Copt-level=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-trace-compares \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table
    ;;
esac
exec "$@"
"#;
/// How cargo is told of it; it keeps what is compiled so apart.
const COMPILER_VAR: &str = "RUSTC_WORKSPACE_WRAPPER";
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
    // Cargo knows it by its name alone.
    let mut hasher = DefaultHasher::new();
    COMPILER.hash(&mut hasher);
    // Cargo's own may be elsewhere.
    let target = workspace().join("target");
    fs::create_dir_all(&target)?;
    let compiler = target.join(format!("fuzz-rustc-{:016x}", hasher.finish()));
    let failed = || format!("cannot write {}", compiler.display());
    fs::write(&compiler, COMPILER).with_context(failed)?;
    fs::set_permissions(&compiler, Permissions::from_mode(0o755))?;
    let mut cargo = cargo();
    cargo.args(["build", "--features", "engine", "--package", "proxytrace-fuzz", "--bin", "fuzz"]);
    cargo.env(COMPILER_VAR, &compiler);
    let [fuzzer] = build::executables(&mut cargo, ["fuzz"])?;
    Ok(fuzzer)
}
