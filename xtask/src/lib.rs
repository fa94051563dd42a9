//! What the developer commands, the build script and the tests need from a machine: a toolchain
//! for eBPF, Go toolchains by version, and the packages of the distribution.
#![forbid(unsafe_code)]

pub mod apt;
pub mod bpf;
pub mod engines;
pub mod go;
pub mod process;
pub mod readers;

use std::path::Path;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}
