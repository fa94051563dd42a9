//! The package for Debian and its kin, made by dpkg-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{read, run, status};
use xtask::workspace;

use super::{
    COMPLETIONS, Extras, FILES, Machine, Pace, VERSION, epoch, install, install_all, write,
};

const MAINTAINER: &str = "The proxytrace contributors <proxytrace@localhost.localdomain>";

const DESCRIPTION: &str = "\
 shows which Go module proxy was asked, and why go went on
 proxytrace runs a command, watches every go command in it from the kernel with
 eBPF, and says, module by module, which proxy was asked, who answered, who
 redirected where, and why the go command went on to the next proxy.
 .
 Nothing about the traffic changes: there is no man in the middle, no
 certificate and no environment variable.
";

/// What is run around an installation and a removal, as it lies in the workspace.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What an administrator may change, and an upgrade keeps.
const SETTINGS: &str = "/etc/proxytrace/agent.toml\n";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: proxytrace

Files: *
Copyright: 2026 The proxytrace contributors
License: Expat or Apache-2.0

Files: proxytrace-ebpf/*
Copyright: 2026 The proxytrace contributors
License: Expat or GPL-2

License: Apache-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.

License: GPL-2
 On Debian systems, the full text is in /usr/share/common-licenses/GPL-2.

License: Expat
";

/// What lintian is told, and why.
const OVERRIDES: &str = "\
# One program for every release of Debian and of its kin, and for containers without libraries.
proxytrace: shared-library-lacks-prerequisites [usr/bin/proxytrace]
proxytrace: statically-linked-binary [usr/bin/proxytrace]
# The project has no address for mail, and an invented one would be somebody else's.
proxytrace: bogus-mail-host Maintainer *
proxytrace: bogus-mail-host-in-debian-changelog *
# There is no bug in Debian that asks for it: it is not from there.
proxytrace: initial-upload-closes-no-bugs
";

/// Builds the package into `out`.
pub(super) fn build(
    machine: &Machine,
    program: &Path,
    extras: &Extras,
    (out, pace): (&Path, Pace),
) -> Result<PathBuf> {
    let root = workspace().join("target/dist/deb").join(machine.debian);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    install(program, &root.join("usr/bin/proxytrace"), 0o755)?;
    for page in &extras.man {
        let name = page.file_name().context("a page")?;
        install(page, &root.join("usr/share/man/man1").join(name), 0o644)?;
    }
    for ((_, path), (_, text)) in COMPLETIONS.iter().zip(&extras.completions) {
        write(&root.join(path), text)?;
    }
    for (from, to) in FILES {
        let from = workspace().join(from);
        let name = from.file_name().context("a name")?;
        install_all(&from, &root.join(to).join(name))?;
    }
    let doc = root.join("usr/share/doc/proxytrace");
    install(&workspace().join("proxytrace/CHANGELOG.md"), &doc.join("changelog"), 0o644)?;
    write(&doc.join("changelog.Debian"), &changelog()?)?;
    write(&doc.join("copyright"), &copyright()?)?;
    write(&root.join("usr/share/lintian/overrides/proxytrace"), OVERRIDES)?;
    let mut squeezed = pages(&root.join("usr/share/man/man1"))?;
    squeezed.extend([doc.join("changelog"), doc.join("changelog.Debian")]);
    run(Command::new("gzip").args(["-9n", "--"]).args(squeezed))?;

    let size = read(Command::new("du").args(["-k", "-s", "--apparent-size"]).arg(&root))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    write(&root.join("DEBIAN/control"), &control(machine, &size))?;
    write(&root.join("DEBIAN/conffiles"), SETTINGS)?;
    for script in SCRIPTS {
        let from = workspace().join("xtask/src/dist/scripts").join(script);
        install(&from, &root.join("DEBIAN").join(script), 0o755)?;
    }
    let sums = "cd \"$1\" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    let sums = read(Command::new("sh").args(["-c", sums, "sh"]).arg(&root))?;
    write(&root.join("DEBIAN/md5sums"), &(sums + "\n"))?;
    directories(&root)?;

    let package = out.join(format!("proxytrace_{VERSION}-1_{}.deb", machine.debian));
    status("Packing", package.display());
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args(pace.compression().1)
        .arg(&root)
        .arg(&package)
        .stdout(std::io::stderr())
        .env("SOURCE_DATE_EPOCH", epoch()))?;
    Ok(package)
}

fn pages(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory)? {
        pages.push(entry?.path());
    }
    pages.sort();
    Ok(pages)
}

fn control(machine: &Machine, size: &str) -> String {
    format!(
        "Package: proxytrace\nVersion: {VERSION}-1\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {size}\nSection: devel\nPriority: optional\nSuggests: golang-go\n\
         Description: {DESCRIPTION}",
        machine.debian
    )
}

fn changelog() -> Result<String> {
    let mut date = Command::new("date");
    let date = read(date.args(["--utc", "--rfc-email", "--date"]).arg(format!("@{}", epoch())))?;
    Ok(format!(
        "proxytrace ({VERSION}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
    ))
}

/// The licences of the workspace, the short one in full.
fn copyright() -> Result<String> {
    let mit = fs::read_to_string(workspace().join("LICENSE-MIT"))?;
    let terms = mit.lines().skip_while(|line| !line.starts_with("Permission"));
    let terms =
        terms.map(|line| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") });
    Ok(terms.fold(COPYRIGHT.to_owned(), |text, line| text + &line))
}

/// The modes that Debian wants, whatever the umask was.
fn directories(directory: &Path) -> Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            directories(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{control, copyright};
    use crate::dist::X86_64;

    #[test]
    fn the_control_file_has_its_fields() {
        let control = control(&X86_64, "7");
        for field in ["Package: proxytrace\n", "Architecture: amd64\n", "Installed-Size: 7\n"] {
            assert!(control.contains(field), "{control}");
        }
        // The synopsis is on the line of its field, and all else is indented.
        let description = control.split("Description:").nth(1).unwrap();
        assert!(description.lines().all(|line| line.starts_with(' ')), "{description}");
    }

    #[test]
    fn the_licence_is_there_in_full() {
        let copyright = copyright().unwrap();
        assert!(copyright.contains(" Permission is hereby granted"), "{copyright}");
        assert!(copyright.trim_end().ends_with("SOFTWARE."), "{copyright}");
    }
}
