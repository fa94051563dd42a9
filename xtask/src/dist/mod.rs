//! `cargo xtask dist`: what is released. Static programs with the eBPF object in them for x86-64 and
//! arm64, as archives and as packages for Debian, and their checksums; each package is installed
//! into a root of its own by apt, used, and removed.

mod deb;
mod prove;

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{read, run, status, warning};
use xtask::{apt, bpf, workspace};

use crate::build::{self, cargo};
use crate::vm::cross;
use crate::vm::mirror::Mirror;

/// The file of checksums.
const SUMS: &str = "SHA256SUMS";

/// The version of the workspace, which is that of this program as well.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is needed beside Rust and what every system of Debian's has: program and package. git tells
/// when the commit was made.
const PROGRAMS: [(&str, &str); 2] = [("strip", "binutils"), ("git", "git")];

/// Completions: the shell, and where Debian has them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/proxytrace"),
    ("zsh", "usr/share/zsh/vendor-completions/_proxytrace"),
    ("fish", "usr/share/fish/vendor_completions.d/proxytrace.fish"),
];

/// What the package has beside the program, as it lies in the workspace, and where it goes. The unit
/// is there for who wants the agent, and starts nothing by itself.
const FILES: [(&str, &str); 4] = [
    ("proxytrace/agent/proxytrace-agent.service", "usr/lib/systemd/system"),
    ("proxytrace/agent/agent.toml", "etc/proxytrace"),
    ("proxytrace/agent/daemonset.yaml", "usr/share/proxytrace/agent"),
    ("proxytrace/monitoring", "usr/share/proxytrace"),
];

/// Licences, as they lie in the workspace.
const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL2", "LICENSE-MIT"];

/// A machine to build for.
struct Machine {
    /// As Rust and the archive call it.
    name: &'static str,
    /// As Debian calls it.
    debian: &'static str,
    /// What strips its programs.
    strip: &'static str,
}

const X86_64: Machine = Machine { name: "x86_64", debian: "amd64", strip: "strip" };
const AARCH64: Machine = Machine { name: "aarch64", debian: "arm64", strip: cross::STRIP };

impl Machine {
    /// Whether it is this one.
    fn is_here(&self) -> bool {
        self.name == ARCH
    }
}

/// This machine first, whose program also makes what is the same for all.
fn machines() -> Vec<Machine> {
    match ARCH {
        "aarch64" => {
            warning("no programs for x86-64: they are built on x86-64 alone");
            vec![Machine { strip: "strip", ..AARCH64 }]
        }
        _ => vec![X86_64, AARCH64],
    }
}

/// What is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// What is released.
    Release,
    /// The program that the tests run, for this machine alone and with its libraries: not for anybody,
    /// but packed, installed and used all the same.
    Quick,
}

impl Pace {
    /// How hard `gzip` and `dpkg-deb` try, for programs alone.
    fn compression(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Pace::Release => ("gzip -9n", &["-Zxz"]),
            Pace::Quick => ("gzip -1n", &["-Zgzip", "-z1"]),
        }
    }
}

/// Builds, packs, checks.
pub(crate) fn dist(pace: Pace) -> Result<()> {
    bpf::setup()?;
    for (program, package) in PROGRAMS {
        apt::provide(program, package)?;
    }
    let out = workspace().join(match pace {
        Pace::Release => "target/dist/out",
        Pace::Quick => "target/dist/quick",
    });
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let mut machines = machines();
    if pace == Pace::Quick {
        machines.truncate(1);
    }
    let programs = machines.iter().map(|one| program(one, pace)).collect::<Result<Vec<_>>>()?;
    // What is made from the definition of the command line is the same for every machine.
    let extras = Extras::make(&programs[0])?;
    let mut made = Vec::new();
    for (machine, program) in machines.iter().zip(&programs) {
        let packed = prove::Packed {
            archive: archive(machine, program, &extras, (&out, pace))?,
            package: deb::build(machine, program, &extras, (&out, pace))?,
        };
        prove::packed(machine, &packed, pace)?;
        made.extend([packed.archive, packed.package]);
    }
    prove::alike(&machines, &programs)?;
    let names = made.iter().filter_map(|path| path.file_name());
    let mut sums = Command::new("sha256sum");
    let sums = read(sums.current_dir(&out).arg("--").args(names))?;
    fs::write(out.join(SUMS), sums + "\n")?;
    run(Command::new("sha256sum")
        .current_dir(&out)
        .args(["--quiet", "--strict", "--check", SUMS]))?;
    status("Finished", out.display());
    Ok(())
}

/// The package of what the tests run, for this machine, in `out`.
pub(crate) fn quick_package(out: &Path) -> Result<PathBuf> {
    for (program, package) in PROGRAMS {
        apt::provide(program, package)?;
    }
    let machine = machines().into_iter().next().context("a machine")?;
    let program = program(&machine, Pace::Quick)?;
    deb::build(&machine, &program, &Extras::make(&program)?, (out, Pace::Quick))
}

/// What is packed for a machine, without what only a debugger reads.
fn program(machine: &Machine, pace: Pace) -> Result<PathBuf> {
    let (program, directory) = match pace {
        Pace::Release => (static_program(machine)?, "target/dist/stripped"),
        Pace::Quick => (build::programs(false)?.proxytrace, "target/dist/quick-stripped"),
    };
    let stripped = workspace().join(directory).join(machine.name).join("proxytrace");
    install(&program, &stripped, 0o755)?;
    run(Command::new(machine.strip).arg("--strip-all").arg(&stripped))?;
    Ok(stripped)
}

/// proxytrace without a library that it would need at run time.
fn static_program(machine: &Machine) -> Result<PathBuf> {
    let mut cargo = if machine.is_here() {
        let target = format!("{}-unknown-linux-gnu", machine.name);
        status("Building", format_args!("a static proxytrace for {target}"));
        let mut cargo = cargo();
        cargo
            .args(["build", "--target", &target])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo
    } else {
        cross::build(&Mirror::open()?)?
    };
    cargo.args(["--locked", "--release", "--package", "proxytrace", "--target-dir"]);
    let [program] = build::executables(cargo.arg(workspace().join("target/dist")), ["proxytrace"])?;
    Ok(program)
}

/// What lies beside the program.
struct Extras {
    /// Man pages, uncompressed.
    man: Vec<PathBuf>,
    /// Shell, and completions.
    completions: Vec<(&'static str, String)>,
}

impl Extras {
    /// Made by the program itself.
    fn make(program: &Path) -> Result<Self> {
        let directory = workspace().join("target/dist/man");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        run(Command::new(program).arg("man").arg(&directory))?;
        let mut man = Vec::new();
        for entry in fs::read_dir(&directory)? {
            man.push(entry?.path());
        }
        man.sort();
        let completions = COMPLETIONS.iter().map(|(shell, _)| {
            let text = read(Command::new(program).args(["completions", shell]))?;
            Ok((*shell, text + "\n"))
        });
        Ok(Self { man, completions: completions.collect::<Result<_>>()? })
    }
}

/// An archive with everything in a directory of its own.
fn archive(
    machine: &Machine,
    program: &Path,
    extras: &Extras,
    (out, pace): (&Path, Pace),
) -> Result<PathBuf> {
    let name = format!("proxytrace-{VERSION}-{}-linux", machine.name);
    let tree = workspace().join("target/dist/tree").join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    install(program, &tree.join("proxytrace"), 0o755)?;
    for file in LICENCES.iter().chain(&["README.md", "proxytrace/CHANGELOG.md"]) {
        let file = Path::new(file);
        let to = tree.join(file.file_name().context("a file")?);
        install(&workspace().join(file), &to, 0o644)?;
    }
    for page in &extras.man {
        install(page, &tree.join("man").join(page.file_name().context("a page")?), 0o644)?;
    }
    for (shell, text) in &extras.completions {
        write(&tree.join("completions").join(format!("proxytrace.{shell}")), text)?;
    }
    for (from, _) in FILES {
        let from = Path::new(from);
        install_all(&workspace().join(from), &tree.join(from.strip_prefix("proxytrace")?))?;
    }
    let archive = out.join(format!("{name}.tar.gz"));
    status("Packing", archive.display());
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--use-compress-program",
    ])
    .arg(pace.compression().0)
    .arg(format!("--mtime=@{}", epoch()))
    .arg("--directory")
    .arg(tree.parent().context("a directory above")?)
    .args(["--create", "--file"])
    .arg(&archive)
    .arg(&name);
    run(&mut tar)?;
    Ok(archive)
}

/// When the commit was made: what is built twice from it is the same.
fn epoch() -> String {
    let mut git = Command::new("git");
    let time = read(git.current_dir(workspace()).args(["log", "-1", "--format=%ct"]));
    // An archive of the sources has no history.
    time.unwrap_or_else(|_| "0".to_owned())
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(to.parent().context("a directory above")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

/// A file, or all files below a directory.
fn install_all(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return install(from, to, 0o644);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        install_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn write(to: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(to.parent().context("a directory above")?)?;
    fs::write(to, text)?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o644))?)
}
