//! Installing what the eBPF build needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{
    Core, HOW_TO_INSTALL, Machine as _, Source, TOOLCHAIN_VAR, ThisMachine, discover, linker,
};
use crate::process::{run, status, warning, which};
use crate::{apt, workspace};

/// Debian's compiler with a prebuilt `core` for BPF.
const DEBIAN_RUSTC: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The LLVM of that compiler, for the linker to link with.
const DEBIAN_LLVM: (&str, &str) = ("llvm-22-dev", "/usr/lib/llvm-22");
/// The release of bpf-linker that was measured with both ways.
const LINKER_VERSION: &str = "0.13.0";

/// Installs what is missing; quick where nothing is.
pub fn setup() -> Result<()> {
    let source = discover(&ThisMachine)?;
    if matches!(source, Some(Source::Object(_))) {
        return Ok(());
    }
    let has_linker = linker(&ThisMachine).is_some();
    if source.is_some() && has_linker {
        return Ok(());
    }
    let (llvm, llvm_prefix) = DEBIAN_LLVM;
    let is_named = ThisMachine.var(TOOLCHAIN_VAR).is_some();
    let mut packages = Vec::new();
    if wants_rustc(source.as_ref(), is_named, has_linker) {
        packages.extend(DEBIAN_RUSTC);
    }
    if !has_linker && !Path::new(llvm_prefix).join("bin/llvm-config").exists() {
        packages.push(llvm);
    }
    let by_apt = if packages.is_empty() { Ok(()) } else { apt::install(&packages) };
    let done = match by_apt {
        Ok(()) if has_linker => Ok(()),
        Ok(()) => install_linker(llvm_prefix),
        Err(error) => {
            warning(format_args!("{error:#}; trying rustup"));
            by_rustup(source.is_none(), has_linker)
        }
    };
    if let Err(error) = done {
        bail!("{error:#}\n\n{HOW_TO_INSTALL}");
    }
    // What was installed must be what the build will find.
    discover(&ThisMachine)?.and(linker(&ThisMachine)).map(|_| ()).context(HOW_TO_INSTALL)
}

/// Whether Debian's compiler is to be installed. The linker that is built has the same LLVM, which
/// may be too old to read what nightly writes. A toolchain that was named is not overruled.
fn wants_rustc(source: Option<&Source>, is_named: bool, has_linker: bool) -> bool {
    match source {
        None => true,
        Some(Source::Toolchain { core: Core::Source, .. }) => !is_named && !has_linker,
        Some(_) => false,
    }
}

fn install_linker(llvm_prefix: &str) -> Result<()> {
    status("Installing", format_args!("bpf-linker {LINKER_VERSION} (cargo)"));
    run(cargo()
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"])
        .args(["--no-default-features", "--features", "llvm-22"])
        // Another llvm-config may come first on the path.
        .env("LLVM_PREFIX", llvm_prefix))
}

fn by_rustup(needs_rustc: bool, has_linker: bool) -> Result<()> {
    if needs_rustc {
        status("Installing", "nightly with rust-src (rustup)");
        if ThisMachine.rustup("nightly").is_some() {
            run(Command::new("rustup").args(["component", "add", "rust-src"]).args(NIGHTLY))?;
        } else {
            let install = ["toolchain", "install", "nightly", "--profile", "minimal"];
            run(Command::new("rustup").args(install).args(["--component", "rust-src"]))?;
        }
    }
    if !has_linker {
        which("cargo-binstall")
            .context("bpf-linker is missing, and so is cargo-binstall to install it")?;
        status("Installing", format_args!("bpf-linker {LINKER_VERSION} (cargo-binstall)"));
        run(cargo()
            .args(["binstall", "--no-confirm"])
            .arg(format!("bpf-linker@{LINKER_VERSION}")))?;
    }
    Ok(())
}

/// Rustup's arguments for the toolchain that may have no prebuilt `core`.
pub(super) const NIGHTLY: [&str; 2] = ["--toolchain", "nightly"];

fn cargo() -> Command {
    let mut cargo = Command::new(ThisMachine.var("CARGO").unwrap_or_else(|| "cargo".into()));
    // Outside of the workspace, whose configuration is not for other packages.
    cargo.current_dir(workspace().parent().unwrap_or(Path::new("/")));
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_and_linker_have_one_llvm() {
        let of = |core| Source::Toolchain { rustc: "/rustc".into(), cargo: None, core };
        let (prebuilt, nightly) = (of(Core::Prebuilt), of(Core::Source));
        for (source, is_named, has_linker, expected) in [
            (None, false, false, true),
            (None, false, true, true),
            (Some(&prebuilt), false, false, false),
            (Some(&nightly), false, false, true),
            (Some(&nightly), false, true, false),
            (Some(&nightly), true, false, false),
        ] {
            assert_eq!(wants_rustc(source, is_named, has_linker), expected, "{source:?}");
        }
    }
}
