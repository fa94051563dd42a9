//! Where the eBPF object can come from, in order of preference.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::TARGET;
use crate::process::is_executable;

/// Names an object that was built elsewhere.
pub const OBJECT_VAR: &str = "PROXYTRACE_BPF_OBJ";
/// Names the toolchain to use: one of rustup's, or the path of a rustc.
pub const TOOLCHAIN_VAR: &str = "PROXYTRACE_BPF_TOOLCHAIN";

/// Where the object comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is there already.
    Object(PathBuf),
    /// This compiler builds it.
    Toolchain {
        /// The compiler.
        rustc: PathBuf,
        /// The cargo of the same toolchain, where it has one.
        cargo: Option<PathBuf>,
        /// What it has of `core`.
        core: Core,
    },
}

/// What a compiler has of `core` for [`TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Compiled, as in Debian's `libstd-rust-web-dev-bpf`.
    Prebuilt,
    /// As source, to be compiled first: rustup's `rust-src`.
    Source,
}

/// What discovery asks of the machine.
pub trait Machine {
    /// A variable of the environment, unset where it is empty.
    fn var(&self, name: &str) -> Option<OsString>;
    /// The sysroot of a compiler, if it runs.
    fn sysroot(&self, rustc: &Path) -> Option<PathBuf>;
    /// The compiler of one of rustup's toolchains, if it is installed.
    fn rustup(&self, toolchain: &str) -> Option<PathBuf>;
    /// The names in a directory; none where it is not there.
    fn names(&self, dir: &Path) -> Vec<OsString>;
    /// Whether this is an executable file.
    fn is_executable(&self, file: &Path) -> bool;
}

/// Finds the first source that is proven to be complete; `None` where there is nothing.
///
/// A source that was named but cannot serve is an error: the user's choice is not overruled.
pub fn discover(machine: &impl Machine) -> Result<Option<Source>> {
    if let Some(object) = machine.var(OBJECT_VAR) {
        return Ok(Some(Source::Object(object.into())));
    }
    if let Some(name) = machine.var(TOOLCHAIN_VAR) {
        return named(machine, &name).map(Some);
    }
    let prebuilt = rustcs(machine)
        .into_iter()
        .find_map(|rustc| toolchain(machine, rustc).filter(|(_, core)| *core == Core::Prebuilt));
    let found = prebuilt.or_else(|| toolchain(machine, machine.rustup("nightly")?));
    Ok(found.map(|(source, _)| source))
}

/// Finds the linker, `bpf-linker`: on `PATH` or where cargo installs programs.
pub fn linker(machine: &impl Machine) -> Option<PathBuf> {
    let cargo_home = machine
        .var("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&machine.var("HOME")?).join(".cargo")));
    path(machine)
        .into_iter()
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| machine.is_executable(file))
}

fn named(machine: &impl Machine, name: &OsString) -> Result<Source> {
    let file = Path::new(name);
    let rustc = if file.components().count() > 1 {
        file.to_owned()
    } else {
        name.to_str().and_then(|name| machine.rustup(name)).with_context(|| {
            format!("{TOOLCHAIN_VAR}: rustup has no toolchain {}", name.display())
        })?
    };
    let Some((source, _)) = toolchain(machine, rustc.clone()) else {
        bail!(
            "{TOOLCHAIN_VAR}: {} has neither a prebuilt `core` for {TARGET} nor the source of \
             one (`rustup component add rust-src --toolchain …`)",
            rustc.display()
        );
    };
    Ok(source)
}

/// The compilers that may have a prebuilt `core`; Debian's own first, for rustup's never have one.
fn rustcs(machine: &impl Machine) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for dir in std::iter::once(PathBuf::from("/usr/bin")).chain(path(machine)) {
        let rustc = dir.join("rustc");
        if !found.contains(&rustc) && machine.is_executable(&rustc) {
            found.push(rustc);
        }
    }
    found
}

fn toolchain(machine: &impl Machine, rustc: PathBuf) -> Option<(Source, Core)> {
    let sysroot = machine.sysroot(&rustc)?;
    let core = core(machine, &sysroot)?;
    let cargo = Some(sysroot.join("bin/cargo")).filter(|cargo| machine.is_executable(cargo));
    Some((Source::Toolchain { rustc, cargo, core }, core))
}

fn core(machine: &impl Machine, sysroot: &Path) -> Option<Core> {
    let rustlib = sysroot.join("lib/rustlib");
    let is_core = |name: &OsString| {
        let name = Path::new(name);
        name.extension().is_some_and(|extension| extension == "rlib")
            && name.to_string_lossy().starts_with("libcore-")
    };
    if machine.names(&rustlib.join(TARGET).join("lib")).iter().any(is_core) {
        return Some(Core::Prebuilt);
    }
    let source = machine.names(&rustlib.join("src/rust/library/core"));
    source.iter().any(|name| name == "Cargo.toml").then_some(Core::Source)
}

fn path(machine: &impl Machine) -> Vec<PathBuf> {
    machine.var("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The machine that we run on.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }

    fn sysroot(&self, rustc: &Path) -> Option<PathBuf> {
        first_line(Command::new(rustc).args(["--print", "sysroot"]))
    }

    fn rustup(&self, toolchain: &str) -> Option<PathBuf> {
        first_line(Command::new("rustup").args(["which", "--toolchain", toolchain, "rustc"]))
    }

    fn names(&self, dir: &Path) -> Vec<OsString> {
        dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
    }

    fn is_executable(&self, file: &Path) -> bool {
        is_executable(file)
    }
}

fn first_line(command: &mut Command) -> Option<PathBuf> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned();
    (output.status.success() && !line.is_empty()).then(|| line.into())
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[derive(Default)]
    struct Fake {
        vars: HashMap<&'static str, &'static str>,
        sysroots: HashMap<&'static str, &'static str>,
        rustup: HashMap<&'static str, &'static str>,
        files: HashSet<PathBuf>,
    }

    impl Fake {
        fn var(mut self, name: &'static str, value: &'static str) -> Self {
            self.vars.insert(name, value);
            self
        }

        fn rustc(mut self, rustc: &'static str, sysroot: &'static str) -> Self {
            self.sysroots.insert(rustc, sysroot);
            self.file(rustc)
        }

        fn file(mut self, file: &str) -> Self {
            self.files.insert(file.into());
            self
        }

        fn debian(self) -> Self {
            self.rustc("/usr/bin/rustc", "/usr")
                .file("/usr/lib/rustlib/bpfel-unknown-none/lib/libcore-26cf2a22d7b31f71.rlib")
        }

        fn nightly(mut self) -> Self {
            self.rustup.insert("nightly", "/n/bin/rustc");
            self.rustc("/n/bin/rustc", "/n").file("/n/bin/cargo")
        }

        fn rust_src(self) -> Self {
            self.file("/n/lib/rustlib/src/rust/library/core/Cargo.toml")
        }
    }

    impl Machine for Fake {
        fn var(&self, name: &str) -> Option<OsString> {
            self.vars.get(name).map(Into::into)
        }

        fn sysroot(&self, rustc: &Path) -> Option<PathBuf> {
            self.sysroots.get(rustc.to_str()?).map(Into::into)
        }

        fn rustup(&self, toolchain: &str) -> Option<PathBuf> {
            self.rustup.get(toolchain).map(Into::into)
        }

        fn names(&self, dir: &Path) -> Vec<OsString> {
            let within = self.files.iter().filter(|file| file.parent() == Some(dir));
            within.filter_map(|file| file.file_name()).map(Into::into).collect()
        }

        fn is_executable(&self, file: &Path) -> bool {
            self.files.contains(file)
        }
    }

    fn prebuilt(rustc: &str) -> Source {
        Source::Toolchain { rustc: rustc.into(), cargo: None, core: Core::Prebuilt }
    }

    fn nightly() -> Source {
        Source::Toolchain {
            rustc: "/n/bin/rustc".into(),
            cargo: Some("/n/bin/cargo".into()),
            core: Core::Source,
        }
    }

    #[test]
    fn a_given_object_comes_first() {
        let machine =
            Fake::default().debian().var(OBJECT_VAR, "/o").var(TOOLCHAIN_VAR, "/usr/bin/rustc");
        assert_eq!(discover(&machine).unwrap(), Some(Source::Object("/o".into())));
    }

    #[test]
    fn a_named_toolchain_comes_before_those_found() {
        let machine = Fake::default().debian().nightly().rust_src().var(TOOLCHAIN_VAR, "nightly");
        assert_eq!(discover(&machine).unwrap(), Some(nightly()));

        let machine = Fake::default().debian().nightly().rust_src();
        let machine = machine.var(TOOLCHAIN_VAR, "/usr/bin/rustc");
        assert_eq!(discover(&machine).unwrap(), Some(prebuilt("/usr/bin/rustc")));
    }

    #[test]
    fn a_named_toolchain_that_cannot_serve_is_an_error() {
        let unknown = Fake::default().debian().var(TOOLCHAIN_VAR, "nightly");
        let error = discover(&unknown).unwrap_err().to_string();
        assert!(error.contains("rustup has no toolchain nightly"), "{error}");

        let without_core = Fake::default().debian().nightly().var(TOOLCHAIN_VAR, "nightly");
        let error = discover(&without_core).unwrap_err().to_string();
        assert!(error.contains("/n/bin/rustc has neither"), "{error}");
    }

    #[test]
    fn a_prebuilt_core_comes_before_nightly() {
        let machine = Fake::default().debian().nightly().rust_src();
        assert_eq!(discover(&machine).unwrap(), Some(prebuilt("/usr/bin/rustc")));
    }

    #[test]
    fn a_prebuilt_core_is_found_with_any_compiler_on_the_path() {
        let machine = Fake::default()
            .rustc("/usr/bin/rustc", "/usr")
            .rustc("/opt/bin/rustc", "/opt")
            .file("/opt/lib/rustlib/bpfel-unknown-none/lib/libcore-0.rlib")
            .var("PATH", "/usr/bin:/opt/bin");
        assert_eq!(discover(&machine).unwrap(), Some(prebuilt("/opt/bin/rustc")));
    }

    #[test]
    fn nightly_serves_only_with_its_source() {
        assert_eq!(discover(&Fake::default().nightly().rust_src()).unwrap(), Some(nightly()));
        assert_eq!(discover(&Fake::default().nightly()).unwrap(), None);
    }

    #[test]
    fn metadata_alone_is_no_core() {
        let machine = Fake::default()
            .rustc("/usr/bin/rustc", "/usr")
            .file("/usr/lib/rustlib/bpfel-unknown-none/lib/libcore-0.rmeta")
            .file("/usr/lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-0.rlib");
        assert_eq!(discover(&machine).unwrap(), None);
    }

    #[test]
    fn the_linker_is_found_on_the_path_then_in_cargo_home() {
        let both = Fake::default()
            .file("/opt/bin/bpf-linker")
            .file("/h/.cargo/bin/bpf-linker")
            .var("HOME", "/h");
        assert_eq!(linker(&both), Some("/h/.cargo/bin/bpf-linker".into()));
        let on_path = both.var("PATH", "/bin:/opt/bin");
        assert_eq!(linker(&on_path), Some("/opt/bin/bpf-linker".into()));

        let moved = Fake::default().file("/c/bin/bpf-linker").var("CARGO_HOME", "/c");
        assert_eq!(linker(&moved), Some("/c/bin/bpf-linker".into()));
        assert_eq!(linker(&Fake::default().var("HOME", "/h")), None);
    }
}
