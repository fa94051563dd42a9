//! What a machine boots: one archive in memory, with our programs, a `go` and a shell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{read, run};

use super::mirror::Mirror;
use crate::build::Programs;

/// The first program.
const INIT: &str = include_str!("init.sh");
/// Makes what `System` brings the root, and systemd the first program there.
const SYSTEM_INIT: &str = include_str!("system.sh");
/// The unit that does there what is to be done.
const SYSTEM_UNIT: &str = include_str!("lab.service");
/// Someone without privileges, and with those that are enough; the lab's files are theirs then.
const AS_USER: &str = "#!/bin/sh
# Not the shell's own, which knows no users.
exec /bin/setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"
";
const AS_USER_WITH_CAPABILITIES: &str = "#!/bin/sh
chown -R 1000:1000 \"$HOME/..\"
caps=$(cat /capabilities)
exec as-user --inh-caps $caps --ambient-caps $caps proxytrace \"$@\"
";
/// What the shell's program is also called.
const APPLETS: [&str; 13] = [
    "cat", "chown", "echo", "env", "grep", "mktemp", "mount", "poweroff", "seq", "sh", "sleep",
    "tr", "true",
];
/// Small files: names are asked of the lab's own name server, users have names.
const FILES: [(&str, &str); 5] = [
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/resolv.conf", ""),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n"),
    ("etc/group", "root:x:0:\nuser:x:1000:\n"),
];
const DIRECTORIES: [&str; 9] =
    ["dev", "proc", "root", "run", "sys", "tmp", "go/pkg/tool", "var/tmp", "usr/bin"];

/// A machine's architecture.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The one of this machine, if it is one of them.
    pub(super) const HOST: Self =
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    /// Whether what runs on it can be built here: Debian's cross compilers are for arm64.
    pub(super) fn can_be_built_for(self) -> bool {
        self == Self::HOST || self == Self::Arm64
    }

    /// Debian's name, and Go's.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A whole system, of the host's architecture and release.
pub(super) struct System {
    /// An archive of its root.
    pub(super) root: PathBuf,
    /// The package that is to be installed there.
    pub(super) package: PathBuf,
}

/// Writes the archive for an architecture, with a system or without.
pub(super) fn write(
    path: &Path,
    arch: Arch,
    (programs, goroot): (&Programs, &Path),
    mirror: &Mirror,
    system: Option<&System>,
) -> Result<()> {
    let mut archive = Archive::default();
    archive.file("init", INIT.as_bytes(), EXECUTABLE);
    if let Some(System { root, package }) = system {
        archive.file("system.sh", SYSTEM_INIT.as_bytes(), PLAIN);
        archive.file("lab.service", SYSTEM_UNIT.as_bytes(), PLAIN);
        archive.file("proxytrace.deb", &fs::read(package)?, PLAIN);
        let root = fs::read(root).with_context(|| format!("cannot read {}", root.display()))?;
        archive.file("system.tar", &root, PLAIN);
    }
    archive.file("bin/as-user", AS_USER.as_bytes(), EXECUTABLE);
    let with_capabilities = "bin/as-user-with-capabilities";
    archive.file(with_capabilities, AS_USER_WITH_CAPABILITIES.as_bytes(), EXECUTABLE);
    for (name, contents) in FILES {
        archive.file(name, contents.as_bytes(), PLAIN);
    }
    for name in DIRECTORIES {
        archive.directory(name);
    }
    archive.file("bin/busybox", &fs::read(mirror.busybox(arch)?)?, EXECUTABLE);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    for name in ["bin/go", "VERSION", "go.env"] {
        // `go.env` came with Go 1.21.
        if let Ok(contents) = fs::read(goroot.join(name)) {
            archive.file(&format!("go/{name}"), &contents, EXECUTABLE);
        }
    }
    let mut binaries = vec![("bin/lab", &*programs.lab)];
    if system.is_none() {
        // Elsewhere it comes with the package.
        binaries.push(("bin/proxytrace", &*programs.proxytrace));
    }
    // Of the host's architecture programs are linked dynamically, and bring along what they need.
    let setpriv = Path::new("/usr/bin/setpriv");
    if arch == Arch::HOST {
        binaries.push(("bin/setpriv", setpriv));
        for library in libraries(binaries.iter().map(|(_, file)| *file))? {
            let name = library.strip_prefix("/").unwrap_or(&library).to_string_lossy().into_owned();
            archive.file(&name, &fs::read(&library)?, EXECUTABLE);
        }
    }
    for (name, file) in binaries {
        archive.file(name, &stripped(file, arch)?, EXECUTABLE);
    }
    archive.write(path)
}

/// A program without its debug information, which is most of it.
fn stripped(program: &Path, arch: Arch) -> Result<Vec<u8>> {
    let strip = if arch == Arch::HOST { "strip" } else { super::cross::STRIP };
    let output = tempfile::NamedTempFile::new()?;
    run(Command::new(strip).args(["--strip-debug", "-o"]).arg(output.path()).arg(program))?;
    fs::read(output.path()).with_context(|| format!("cannot strip {}", program.display()))
}

/// The libraries that programs load, the loader included.
fn libraries<'a>(programs: impl Iterator<Item = &'a Path>) -> Result<BTreeSet<PathBuf>> {
    let listed = read(Command::new("ldd").args(programs))?;
    let words = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.filter(|word| word.contains(".so")).map(PathBuf::from).collect())
}

const PLAIN: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const DIRECTORY: u32 = 0o040_755;

/// An archive in the format `newc`, which the kernel unpacks
/// (`Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    fn file(&mut self, name: &str, contents: &[u8], mode: u32) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent);
        }
        self.entry(name, contents, mode);
    }

    fn link(&mut self, name: &str, target: &str) {
        self.entry(name, target.as_bytes(), LINK);
    }

    /// With those that it is in.
    fn directory(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent);
        }
        if self.directories.insert(name.to_owned()) {
            self.entry(name, &[], DIRECTORY);
        }
    }

    fn entry(&mut self, name: &str, contents: &[u8], mode: u32) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).expect("less than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a short name");
        let mut header = String::from("070701");
        // Inode, mode, owner, group, links, time, size, four numbers of devices, name, checksum.
        for number in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            write!(header, "{number:08x}").expect("a string takes all");
        }
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn write(mut self, path: &Path) -> Result<()> {
        self.entry("TRAILER!!!", &[], 0);
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&self.bytes)?;
        Ok(file.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_one_that_others_read() {
        let mut archive = Archive::default();
        archive.file("a/b/c", b"hello", EXECUTABLE);
        archive.link("a/d", "b/c");
        archive.entry("TRAILER!!!", &[], 0);
        let text = String::from_utf8(archive.bytes.clone()).unwrap();
        let entries = text.split("070701").skip(1);
        let names: Vec<_> = entries.filter_map(|entry| entry[104..].split('\0').next()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/d", "TRAILER!!!"]);
        assert_eq!(archive.bytes.len() % 4, 0);
        assert!(text.contains("a/b/c\0hello\0\0\0"), "{text:?}");
    }
}
