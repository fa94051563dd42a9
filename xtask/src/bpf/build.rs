//! Building the eBPF object.

use std::env::consts::ARCH;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::apt;
use crate::process::{is_executable, run};

use super::setup::NIGHTLY;
use super::{
    Core, HOW_TO_INSTALL, Machine as _, OBJECT_VAR, Source, TARGET, ThisMachine, discover, linker,
};

/// The package, and the program in it.
const PACKAGE: &str = "proxytrace-ebpf";

/// Where Debian's compiler for BPF is, and its package of the clippy of that.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "rust-web-clippy";
/// In the form that `cargo clippy` hands arguments on.
const DENY_WARNINGS: &str = "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__";

/// Where the sources are and where the object goes.
#[derive(Debug, Clone, Copy)]
pub struct Workspace<'a> {
    /// The root of the workspace.
    pub root: &'a Path,
    /// A target directory of its own: that of the cargo which called us is locked.
    pub target_dir: &'a Path,
    /// The machine whose registers the programs read, as in `target_arch`.
    pub arch: &'a str,
    /// Whether the programs write log lines.
    pub log: bool,
}

/// Builds the object, or takes the one that was given.
///
/// Returns it, and the files outside the workspace that it came from: when one of them changes,
/// the object is out of date.
pub fn build(workspace: Workspace<'_>) -> Result<(PathBuf, Vec<PathBuf>)> {
    let source = discover(&ThisMachine)?.context(HOW_TO_INSTALL)?;
    if let Source::Object(object) = source {
        let object = given(&object, workspace)?;
        return Ok((object.clone(), vec![object]));
    }
    let linker = linker(&ThisMachine).context(HOW_TO_INSTALL)?;
    let (mut command, rustc) = cargo(&source, "build", workspace)?;
    let status = command.env("PATH", path_with(linker.parent())).status();
    if !status.context("cannot run cargo")?.success() {
        bail!("the eBPF object could not be built with {}", rustc.display());
    }
    let object = workspace.target_dir.join(TARGET).join("release").join(PACKAGE);
    Ok((object, vec![rustc, linker]))
}

/// The object that was built elsewhere. It reads the registers of one machine and does not say of
/// which: it is taken to be this one.
fn given(object: &Path, workspace: Workspace<'_>) -> Result<PathBuf> {
    if workspace.arch != ARCH {
        bail!(
            "{OBJECT_VAR} names an object for this machine ({ARCH}), and what is built is for {}: \
             unset it",
            workspace.arch
        );
    }
    let object = workspace.root.join(object);
    if !object.is_file() {
        bail!("{OBJECT_VAR}: {} is not a file", object.display());
    }
    Ok(object)
}

/// Runs clippy on the eBPF side, which on the host's target is an empty program. The clippy must be
/// that of the compiler; that there is none is an error.
pub fn lint(workspace: Workspace<'_>) -> Result<()> {
    let source = discover(&ThisMachine)?.context(HOW_TO_INSTALL)?;
    let Source::Toolchain { rustc, .. } = &source else {
        bail!("the eBPF side is not linted: {OBJECT_VAR} names an object");
    };
    let driver = rustc.with_file_name("clippy-driver");
    if !is_executable(&driver) {
        install_clippy(rustc).context("the eBPF side is not linted")?;
    }
    if !is_executable(&driver) {
        bail!("the eBPF side is not linted: no {}", driver.display());
    }
    let (mut command, _) = cargo(&source, "check", workspace)?;
    // What `cargo clippy` does; its cargo is another toolchain's.
    command.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", DENY_WARNINGS);
    run(&mut command)
}

/// Installs the clippy of a compiler, where that is one that setup installs.
fn install_clippy(rustc: &Path) -> Result<()> {
    if rustc == Path::new(DEBIAN_RUSTC) {
        return apt::install(&[DEBIAN_CLIPPY]);
    }
    if ThisMachine.rustup("nightly").as_deref() == Some(rustc) {
        return run(Command::new("rustup").args(["component", "add", "clippy"]).args(NIGHTLY));
    }
    Ok(())
}

/// Cargo on the eBPF side, with a compiler that has been found, which is returned as well.
fn cargo(source: &Source, verb: &str, workspace: Workspace<'_>) -> Result<(Command, PathBuf)> {
    let Source::Toolchain { rustc, cargo, core } = source else {
        bail!("there is an object, and no compiler");
    };
    let cargo = cargo.clone().or_else(|| ThisMachine.var("CARGO").map(Into::into));
    let mut command = Command::new(cargo.unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| !is_inherited(&name.to_string_lossy()))
    {
        command.env_remove(name);
    }
    command
        .current_dir(workspace.root)
        .args([verb, "--package", PACKAGE, "--release", "--target", TARGET, "--target-dir"])
        .arg(workspace.target_dir)
        .env("RUSTC", rustc)
        // aya-ebpf needs inline assembly for BPF, which is unstable. For this build alone.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace.arch))
        // A build script's stdout is for cargo.
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()));
    if workspace.log {
        command.args(["--features", "log"]);
    }
    if *core == Core::Source {
        command.args(["-Z", "build-std=core"]);
    }
    Ok((command, rustc.clone()))
}

/// Debug information and BTF: the loader reads the types of maps from there.
fn rustflags(arch: &str) -> String {
    let cfg = format!("--cfg=bpf_target_arch=\"{arch}\"");
    [cfg.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f")
}

/// Whether a variable says how this machine reaches the world, and not how the host's side of the
/// workspace is being built: flags, wrappers (clippy is one), profiles and targets stay behind.
fn is_inherited(name: &str) -> bool {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let is_of_the_build = ["CARGO_", "RUSTC", "RUSTFLAGS"].iter().any(|it| name.starts_with(it));
    !is_of_the_build || KEPT.iter().any(|kept| name.starts_with(kept))
}

fn path_with(dir: Option<&Path>) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(dir.map(Into::into));
    std::env::join_paths(dirs).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shapes_the_hosts_build_stays_behind() {
        for name in [
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "CARGO_MANIFEST_DIR",
        ] {
            assert!(!is_inherited(name), "{name}");
        }
    }

    #[test]
    fn what_reaches_the_world_is_kept() {
        for name in ["PATH", "CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_NET_OFFLINE", "RUSTUP_HOME"] {
            assert!(is_inherited(name), "{name}");
        }
    }

    #[test]
    fn an_object_is_for_this_machine_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let object = |arch| {
            let workspace = Workspace { root, target_dir: root, arch, log: false };
            given(Path::new("Cargo.toml"), workspace).map_err(|error| error.to_string())
        };
        assert_eq!(object(ARCH), Ok(root.join("Cargo.toml")));
        assert!(object("riscv64").unwrap_err().contains("what is built is for riscv64"));
    }

    #[test]
    fn the_flags_name_the_traced_machine() {
        let flags = rustflags("aarch64");
        assert!(flags.split('\x1f').any(|flag| flag == "--cfg=bpf_target_arch=\"aarch64\""));
    }
}
