//! The eBPF object: which toolchain can build it, and building it.
//!
//! The build script of `proxytrace` and `cargo xtask setup` share this, so that what one installs
//! is what the other finds.

mod build;
mod discover;
mod setup;
mod strip;

pub use build::{Workspace, build, lint};
pub use discover::{
    Core, Machine, OBJECT_VAR, Source, TOOLCHAIN_VAR, ThisMachine, discover, linker,
};
pub use setup::setup;
pub use strip::strip;

/// The target of the eBPF side: little-endian, like every host we trace on.
pub const TARGET: &str = "bpfel-unknown-none";

/// What to do where nothing was found.
pub const HOW_TO_INSTALL: &str = "\
nothing here can compile for bpfel-unknown-none and link it. Have it installed by

    cargo xtask setup

or by hand, on Debian:

    apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf llvm-22-dev
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked \\
        --no-default-features --features llvm-22

or anywhere else:

    rustup toolchain install nightly --profile minimal --component rust-src
    cargo install cargo-binstall && cargo binstall bpf-linker@0.13.0

or give an object that was built elsewhere: PROXYTRACE_BPF_OBJ=FILE";
