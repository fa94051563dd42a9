//! Builds the eBPF object and tells the crate where it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result};
use xtask::bpf;

fn main() -> ExitCode {
    let Err(error) = provide_object() else { return ExitCode::SUCCESS };
    // Not as a `Result` of main: cargo shows all of stderr, and a backtrace helps nobody there.
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn provide_object() -> Result<()> {
    for name in [bpf::OBJECT_VAR, bpf::TOOLCHAIN_VAR] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for source in ["proxytrace-ebpf", "proxytrace-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let (object, inputs) = bpf::build(bpf::Workspace {
        root: xtask::workspace(),
        target_dir: &target_dir(&out_dir).join("bpf"),
        arch: &variable("CARGO_CFG_TARGET_ARCH")?,
        log: env::var_os("CARGO_FEATURE_EBPF_LOG").is_some(),
    })?;
    for input in inputs {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    // A copy of our own: another profile's build may replace the original at any time.
    let copy = out_dir.join("proxytrace.bpf.o");
    let built = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    fs::write(&copy, bpf::strip(&built)?)
        .with_context(|| format!("cannot write {}", copy.display()))?;
    println!("cargo::rustc-env=PROXYTRACE_BPF_OBJECT={}", copy.display());
    Ok(())
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is set by cargo"))
}

/// The target directory, which cargo marks as a cache; all profiles share one eBPF build there.
fn target_dir(out_dir: &Path) -> &Path {
    out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()).unwrap_or(out_dir)
}
