//! Building for the other architecture: static programs, by Debian's compiler.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{status, succeeds};
use xtask::{apt, workspace};

use super::image::Arch;
use super::mirror::{Mirror, STD};
use crate::build::{self, Programs, cargo};

/// The compiler whose libraries Debian has for each architecture, and Debian's packages of it. What
/// the eBPF side is built with may be another.
const RUSTC: &str = "/usr/bin/rustc";
const COMPILER: [&str; 2] = ["rustc-web", STD];
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Links, and compiles what is C in the lab's cryptography.
const CC: (&str, &str) = ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu");
const LIBC: (&str, &str) = ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross");
pub(crate) const STRIP: &str = "aarch64-linux-gnu-strip";

/// Builds proxytrace and the lab for arm64.
pub(super) fn programs(mirror: &Mirror) -> Result<Programs> {
    let mut cargo = build(mirror)?;
    cargo
        .args(["--package", "proxytrace", "--package", "proxytrace-tests", "--bins"])
        .arg("--target-dir")
        .arg(target_dir());
    let [proxytrace, lab] = build::executables(&mut cargo, ["proxytrace", "lab"])?;
    Ok(Programs { proxytrace, lab })
}

/// Where they are built.
fn target_dir() -> PathBuf {
    workspace().join("target/arm64")
}

/// `cargo build` of static programs for arm64; what to build, and where to, is to be added.
pub(crate) fn build(mirror: &Mirror) -> Result<Command> {
    apt::provide(CC.0, CC.1)?;
    if !Path::new(LIBC.0).is_file() {
        apt::install(&[LIBC.1])?;
    }
    if !succeeds(Command::new("dpkg-query").arg("--show").args(COMPILER)) {
        apt::install(&COMPILER)?;
    }
    let libraries = mirror.rust_std(Arch::Arm64)?.join("usr/lib/rustlib").join(TARGET);
    let sysroot = target_dir().join("sysroot");
    let rustlib = sysroot.join("lib/rustlib");
    fs::create_dir_all(&rustlib)?;
    let link = rustlib.join(TARGET);
    if fs::read_link(&link).ok().as_deref() != Some(&*libraries) {
        let _ = fs::remove_file(&link);
        symlink(&libraries, &link)?;
    }
    status("Building", format_args!("for {TARGET}"));
    let flags = format!("--sysroot={} -Ctarget-feature=+crt-static", text(&sysroot)?);
    let mut cargo = cargo();
    cargo.args(["build", "--target", TARGET]);
    // What says how this machine's programs are built says nothing about these.
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_build(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo
        .env("RUSTC", RUSTC)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", CC.0)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags)
        .env("CC_aarch64_unknown_linux_gnu", CC.0);
    Ok(cargo)
}

fn is_of_the_build(name: &str) -> bool {
    ["RUSTC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_", "CARGO_TARGET_"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
        || name == "RUSTUP_TOOLCHAIN"
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the workspace's path is no text")
}
