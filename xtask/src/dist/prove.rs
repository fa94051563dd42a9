//! What was made, unpacked, installed and used: in a root of its own, so that this machine stays as
//! it is. Programs for another machine are emulated, as far as no kernel is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use tempfile::TempDir;
use xtask::process::{as_root, is_root, read, required_in_ci, run, status, which};
use xtask::{apt, go, workspace};

use super::{COMPLETIONS, FILES, Machine, Pace, VERSION};
use crate::build;

/// What apt and dpkg keep of a system, and where apt looks for its settings.
const SYSTEM: [&str; 9] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/info",
    "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates",
    "var/log/apt",
];
/// Where the package puts something that is there for itself alone.
const OWN: [&str; 2] = ["usr", "etc/proxytrace"];

/// What tries completions and man pages, and Debian's packages of it.
const READERS: [(&str, &str); 4] =
    [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("mandoc", "mandoc")];

/// Runs programs for arm64 elsewhere: its names, and Debian's package of the first.
const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];
const EMULATOR: &str = "qemu-user-static";

/// What programs for different machines report alike, and in what.
const RECORDING: &str = "proxytrace/tests/golden/redirect-403.ndjson";
const FORMATS: [&str; 9] =
    ["json", "ndjson", "html", "har", "github", "gitlab", "junit", "sarif", "markdown"];

/// `e_machine` of what is loaded into the kernel (`include/uapi/linux/elf-em.h`).
const BPF: elf::Machine = elf::EM_BPF;

/// What is handed out for a machine.
pub(super) struct Packed {
    pub(super) archive: PathBuf,
    pub(super) package: PathBuf,
}

/// Unpacks and installs what was made for a machine, uses what is in it, and removes it.
pub(super) fn packed(machine: &Machine, packed: &Packed, pace: Pace) -> Result<()> {
    let Packed { archive, package } = packed;
    for (program, debian) in READERS {
        apt::provide(program, debian)?;
    }
    let root = Root::new(machine)?;
    status("Installing", format_args!("{} into a root of its own", package.display()));
    root.install(package)?;
    let program = root.path().join("usr/bin/proxytrace");
    is_whole(machine, &program, pace)?;
    completions(root.path(), &program)?;
    manual(&root.path().join("usr/share/man/man1"))?;
    unit(root.path())?;
    if pace == Pace::Release {
        lint(package)?;
    }
    unpack(archive, &program)?;
    speaks(machine, &program)?;
    if machine.is_here() {
        use_it(&program)?;
    }
    root.remove()
}

/// The root of a system in which nothing is installed, for the apt and the dpkg of this one.
struct Root {
    directory: TempDir,
    /// Settings of apt.
    settings: TempDir,
}

impl Root {
    fn new(machine: &Machine) -> Result<Self> {
        let (directory, settings) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let root = directory.path();
        for directory in SYSTEM {
            fs::create_dir_all(root.join(directory))?;
        }
        for file in ["etc/apt/sources.list", "var/lib/dpkg/status"] {
            fs::write(root.join(file), "")?;
        }
        let path = root.to_str().context("a path that is no text")?;
        let architecture = machine.debian;
        // Scripts are run with what this machine has, and told of the root; then there is nothing to be
        // root for. What machine a package is for is looked at elsewhere.
        fs::write(
            settings.path().join("apt.conf"),
            format!(
                r#"Dir "{path}";
Dir::Bin::dpkg "/usr/bin/dpkg";
Dir::State::status "{path}/var/lib/dpkg/status";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "";
Debug::NoLocking "true";
DPkg::Options {{ "--root={path}"; "--log={path}/var/log/dpkg.log"; "--force-not-root";
                 "--force-bad-path"; "--force-architecture"; "--force-script-chrootless"; }};
"#
            ),
        )?;
        Ok(Self { directory, settings })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn apt(&self, command: &str) -> Command {
        let mut apt = Command::new("apt-get");
        apt.env("APT_CONFIG", self.settings.path().join("apt.conf"));
        apt.args(["-qq", "--yes", command]).stdout(std::io::stderr());
        apt
    }

    fn install(&self, package: &Path) -> Result<()> {
        run(self.apt("install").arg(package))?;
        let listed = read(
            Command::new("dpkg-query")
                .arg(format!("--admindir={}", self.path().join("var/lib/dpkg").display()))
                .args(["--show", "--showformat", "${Version} ${Status}", "proxytrace"]),
        )?;
        ensure!(listed == format!("{VERSION}-1 install ok installed"), "dpkg says {listed:?}");
        Ok(())
    }

    /// What was installed, and what was made by using it, is gone.
    fn remove(self) -> Result<()> {
        run(self.apt("purge").arg("proxytrace"))?;
        let left = OWN.iter().find(|path| self.path().join(path).exists());
        ensure!(left.is_none(), "{left:?} is still there after the package was removed");
        Ok(())
    }
}

/// The unit starts what is there, and nothing starts the unit.
fn unit(root: &Path) -> Result<()> {
    for (from, to) in FILES {
        let name = Path::new(from).file_name().context("a name")?;
        ensure!(root.join(to).join(name).exists(), "{from} is not in {to}");
    }
    let text = fs::read_to_string(root.join("usr/lib/systemd/system/proxytrace-agent.service"))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let (start, page) = (value("ExecStart="), value("Documentation=man:"));
    ensure!(start == Some("/usr/bin/proxytrace agent"), "the unit starts {start:?}");
    let page = page.and_then(|page| page.strip_suffix("(1)")).context("the unit names no page")?;
    ensure!(
        root.join(format!("usr/share/man/man1/{page}.1.gz")).is_file(),
        "there is no {page}(1)"
    );
    ensure!(!root.join("etc/systemd").exists(), "installing it enables the unit");
    Ok(())
}

/// A program for that machine which needs no library, with the programs for the kernel in it.
fn is_whole(machine: &Machine, program: &Path, pace: Pace) -> Result<()> {
    let bytes = fs::read(program)?;
    let header = elf::FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    let wanted = if machine.name == "aarch64" { elf::EM_AARCH64 } else { elf::EM_X86_64 };
    ensure!(header.e_machine(endian) == wanted, "it is for another machine");
    let segments = header.program_headers(endian, &*bytes)?;
    let loader = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    ensure!(pace == Pace::Quick || !loader, "it wants a loader, and so libraries");
    // The object within begins as every ELF file does, and names its machine 18 bytes on.
    let kernels = bytes.windows(20).skip(1).filter(|window| {
        window.starts_with(b"\x7fELF\x02\x01\x01") && window[18..] == BPF.0.to_le_bytes()
    });
    ensure!(kernels.count() > 0, "there is no eBPF object in it");
    Ok(())
}

/// Each shell can read its own, and bash gets words of them.
fn completions(root: &Path, program: &Path) -> Result<()> {
    for (shell, path) in COMPLETIONS {
        let file = root.join(path);
        ensure!(fs::metadata(&file)?.len() > 0, "{} is empty", file.display());
        run(Command::new(shell).arg("-n").arg(&file))?;
    }
    let script = r#"source "$1"; COMP_WORDS=(proxytrace --fail-on ""); COMP_CWORD=2
_proxytrace proxytrace "" --fail-on; echo "${COMPREPLY[@]}"
COMP_WORDS=(proxytrace pre); COMP_CWORD=1; _proxytrace proxytrace pre proxytrace; echo "${COMPREPLY[@]}""#;
    let (_, bash) = COMPLETIONS[0];
    let mut ask = Command::new("bash");
    let words = read(ask.args(["-c", script, "bash"]).arg(root.join(bash)))?;
    ensure!(
        words == "error warning\npreflight",
        "bash completes to {words:?}, of {}",
        program.display()
    );
    Ok(())
}

/// Every page is one that mandoc can show.
fn manual(directory: &Path) -> Result<()> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory)? {
        pages.push(entry?.path());
    }
    ensure!(pages.len() > 5, "only {} man pages", pages.len());
    let plain = tempfile::tempdir()?;
    for page in &pages {
        let name = page.file_stem().context("a name")?;
        let text = read(Command::new("gzip").args(["-dc", "--"]).arg(page))?;
        ensure!(text.contains(".SH NAME"), "{} is no man page", page.display());
        fs::write(plain.path().join(name), text + "\n")?;
    }
    let mut mandoc = Command::new("mandoc");
    mandoc.current_dir(plain.path()).args(["-T", "lint", "-W", "error", "--"]);
    mandoc.args(pages.iter().filter_map(|page| page.file_stem()));
    run(mandoc.stdout(std::io::stderr()))
}

/// The archive has the same program as the package, and the licences.
fn unpack(archive: &Path, program: &Path) -> Result<()> {
    let tree = tempfile::tempdir()?;
    let mut tar = Command::new("tar");
    run(tar
        .arg("--directory")
        .arg(tree.path())
        .args(["--strip-components=1", "-xzf"])
        .arg(archive))?;
    ensure!(
        fs::read(tree.path().join("proxytrace"))? == fs::read(program)?,
        "{} has another program than the package",
        archive.display()
    );
    let others = ["README.md", "completions", "man", "monitoring/planning.md"];
    for file in super::LICENCES.iter().chain(&others) {
        ensure!(tree.path().join(file).exists(), "{} has no {file}", archive.display());
    }
    Ok(())
}

/// What it says without a kernel that it can trace.
fn speaks(machine: &Machine, program: &Path) -> Result<()> {
    let version = read(runner(machine, program)?.arg("--version"))?;
    ensure!(version == format!("proxytrace {VERSION}"), "it says {version:?}");
    let page = read(runner(machine, program)?.args(["explain", "PT006"]))?;
    ensure!(page.starts_with("# PT006 "), "it explains {page:?}");
    // 125 where nothing can be traced, as under an emulator.
    let doctor = runner(machine, program)?.args(["doctor", "--json", "-"]).output()?;
    let said: serde_json::Value = serde_json::from_slice(&doctor.stdout)
        .with_context(|| format!("doctor: {}", String::from_utf8_lossy(&doctor.stderr)))?;
    ensure!(said["machine"] == machine.name, "doctor says {}", said["machine"]);
    Ok(())
}

/// The program, or what emulates the machine that it is for.
fn runner(machine: &Machine, program: &Path) -> Result<Command> {
    if machine.is_here() {
        return Ok(Command::new(program));
    }
    if !EMULATORS.iter().any(|name| which(name).is_some()) {
        apt::install(&[EMULATOR])?;
    }
    let emulator = EMULATORS.iter().find(|name| which(name).is_some());
    let mut command = Command::new(emulator.context("no emulator")?);
    command.arg(program);
    Ok(command)
}

/// What programs make of a recording, in every format that is a file: byte by byte the same.
pub(super) fn alike(machines: &[Machine], programs: &[PathBuf]) -> Result<()> {
    let mut made = machines.iter().zip(programs).map(|(one, program)| replayed(one, program));
    let first = made.next().context("a program")??;
    ensure!(first.iter().all(|bytes| bytes.len() > 100), "an output has next to nothing in it");
    for (bytes, machine) in made.zip(&machines[1..]) {
        ensure!(bytes? == first, "{} reports otherwise than {}", machine.name, machines[0].name);
    }
    Ok(())
}

fn replayed(machine: &Machine, program: &Path) -> Result<Vec<Vec<u8>>> {
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name);
    let mut replay = runner(machine, program)?;
    replay.arg("replay").arg("-v").arg(workspace().join(RECORDING));
    for name in FORMATS {
        replay.arg(format!("--format={name}={}", file(name).display()));
    }
    let report = read(&mut replay)?;
    let files = FORMATS.iter().map(|name| fs::read(file(name)));
    let files = files.collect::<std::io::Result<Vec<_>>>()?;
    Ok([vec![report.into_bytes()], files].concat())
}

/// Traces the demonstration, and asks its proxies.
fn use_it(program: &Path) -> Result<()> {
    let lab = build::programs(false)?.lab;
    if !is_root() && which("sudo").is_none() {
        let untried = anyhow!("not traced with it: the lab needs root, and there is no sudo");
        return required_in_ci(Err::<(), _>(untried)).map(|_| ());
    }
    // What is in a user's cache the lab does not find behind sudo, and who only packs has none there.
    let goroot = go::install(go::NEWEST)?;
    for arguments in [&["--", "go", "mod", "download"][..], &["preflight"]] {
        let mut command = as_root(&lab);
        command.args(["run", "demo", "--go"]).arg(&goroot).arg("--").arg(program).args(arguments);
        status("Running", format_args!("proxytrace {} in the lab", arguments.join(" ")));
        run(command.stdout(std::io::stderr()))?;
    }
    Ok(())
}

/// What Debian's own checker says; an error fails.
fn lint(package: &Path) -> Result<()> {
    let checker = apt::provide("lintian", "lintian");
    if required_in_ci(checker.context("the package is not checked by lintian"))?.is_none() {
        return Ok(());
    }
    run(Command::new("lintian")
        .args(["--fail-on", "error,warning", "--"])
        .arg(package)
        .stdout(std::io::stderr()))
}
