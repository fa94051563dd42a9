//! Debian's packages of other suites and architectures: fetched beside those of this machine, and
//! only to be looked into.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::process::{as_root, read, run, status};
use xtask::{apt, go};

use super::image::Arch;
use super::kernels::{KERNELS, Kernel};

/// Packages, kept in the user's cache.
pub(crate) struct Mirror {
    cache: PathBuf,
}

/// The compiler's library for the other architecture.
const STD: &str = "libstd-rust-web-dev";
const BUSYBOX: &str = "busybox-static";
/// The suite from which the shell comes.
const BUSYBOX_SUITE: &str = "bookworm";

/// Makes the root of a system, program and package of one name.
const BOOTSTRAP: &str = "mmdebstrap";
/// What it has beside what every system has: systemd as the first program, and what containers are
/// run by.
const SYSTEM: [&str; 2] = ["systemd-sysv", "runc"];
/// What its packages have for people.
const NEVER_READ: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

impl Mirror {
    pub(crate) fn open() -> Result<Self> {
        let cache = go::root_dir()?.with_file_name("vm");
        fs::create_dir_all(&cache)?;
        Ok(Self { cache })
    }

    /// The image of the newest kernel of a version, and its release; from the cache, once it is there
    /// (remove it there to have a newer one). None if the mirror has none.
    pub(super) fn kernel(&self, kernel: &Kernel) -> Result<Option<(PathBuf, String)>> {
        let dir = self.cache.join("kernels").join(kernel.name().replace(' ', "-"));
        let (image, release) = (dir.join("vmlinuz"), dir.join("release"));
        if !release.is_file() {
            let apt = self.apt()?;
            let Some(package) = apt.newest_kernel(kernel)? else { return Ok(None) };
            status("Fetching", &package);
            let file = apt.download(&package, kernel.arch)?;
            fs::create_dir_all(&dir)?;
            extract(&file, "*/vmlinuz*", &image)?;
            fs::write(&release, &package)?;
        }
        let release = fs::read_to_string(release)?;
        let release =
            release.trim_start_matches("linux-image-").trim_start_matches("linux-binary-");
        Ok(Some((image, release.to_owned())))
    }

    /// A shell and its programs, in one file without libraries.
    pub(super) fn busybox(&self, arch: Arch) -> Result<PathBuf> {
        let file = self.cache.join(format!("busybox-{}", arch.debian()));
        if !file.is_file() {
            status("Fetching", format_args!("{BUSYBOX} for {}", arch.debian()));
            let package = self.apt()?.download(BUSYBOX, arch)?;
            extract(&package, "*/bin/busybox", &file)?;
        }
        Ok(file)
    }

    /// A directory with the compiler's libraries for `arch`, of the version of those installed here.
    pub(super) fn rust_std(&self, arch: Arch) -> Result<PathBuf> {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", STD]);
        let version = read(&mut query).context("Debian's rustc is not installed")?;
        let dir = self.cache.join(format!("std-{}-{version}", arch.debian()));
        if !dir.is_dir() {
            status("Fetching", format_args!("{STD} for {}", arch.debian()));
            let package = self.apt()?.download(&format!("{STD}={version}"), arch)?;
            let partial = dir.with_extension("partial");
            run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&partial))?;
            fs::rename(partial, &dir)?;
        }
        Ok(dir)
    }

    /// The root of a system of this machine's release and architecture, which systemd starts, as an
    /// archive; from the cache, once it is there (remove it there to have newer packages).
    pub(super) fn system(&self) -> Result<PathBuf> {
        let own = Own::read()?;
        let file =
            self.cache.join(format!("system-{}-{}.tar", Arch::HOST.debian(), own.release()?));
        if !file.is_file() {
            apt::provide(BOOTSTRAP, BOOTSTRAP)?;
            status("Making", format_args!("a system with {}", SYSTEM.join(", ")));
            let partial = file.with_extension("partial.tar");
            let mut make = as_root(BOOTSTRAP);
            make.args(["--quiet", "--variant=essential"]);
            make.arg(format!("--include={}", SYSTEM.join(",")));
            make.args(NEVER_READ.map(|path| format!("--dpkgopt=path-exclude={path}")));
            make.arg(own.release()?).arg(&partial).args(own.lines(""));
            run(make.stdout(std::io::stderr()))?;
            fs::rename(partial, &file)?;
        }
        Ok(file)
    }

    fn apt(&self) -> Result<Apt> {
        Apt::new(&self.cache.join("apt"))
    }
}

/// One file of a package.
fn extract(package: &Path, pattern: &str, to: &Path) -> Result<()> {
    let script = r#"dpkg-deb --fsys-tarfile "$1" | tar -x -O --wildcards "$2" > "$3.partial""#;
    let mut sh = Command::new("sh");
    run(sh.args(["-c", script, "sh"]).arg(package).arg(pattern).arg(to))?;
    let partial = PathBuf::from(format!("{}.partial", to.display()));
    ensure!(partial.metadata()?.len() > 0, "{} has no {pattern}", package.display());
    let mut chmod = Command::new("chmod");
    run(chmod.arg("755").arg(&partial))?;
    Ok(fs::rename(partial, to)?)
}

/// apt with lists of its own: what is installed here, and what this machine's lists are, it neither
/// knows nor touches.
struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "preferences.d", "packages"] {
            fs::create_dir_all(dir.join(name))?;
        }
        fs::write(dir.join("status"), "")?;
        let path = |name: &str| dir.join(name).display().to_string();
        let settings = [
            ("Dir::State", path("")),
            ("Dir::State::status", path("status")),
            ("Dir::State::lists", path("lists")),
            ("Dir::Cache", path("cache")),
            ("Dir::Etc::sourcelist", path("sources.list")),
            ("Dir::Etc::sourceparts", path("preferences.d")),
            ("Dir::Etc::preferencesparts", path("preferences.d")),
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Architectures::", "amd64".to_owned()),
            ("APT::Architectures::", "arm64".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
            ("Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled", "false".to_owned()),
        ];
        let options = settings
            .iter()
            .flat_map(|(name, value)| ["--option".to_owned(), format!("{name}={value}")]);
        let apt = Self { dir: dir.to_owned(), options: options.collect() };
        if !dir.join("sources.list").is_file() {
            status("Updating", "the package lists of other suites (apt)");
            fs::write(dir.join("sources.partial"), sources()?)?;
            fs::rename(dir.join("sources.partial"), dir.join("sources.list"))?;
            // A suite that is no more leaves the others.
            if let Err(error) = run(apt.command("apt-get").args(["update", "--quiet=2"])) {
                xtask::process::warning(format_args!("{error:#}"));
            }
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).current_dir(self.dir.join("packages"));
        command
    }

    fn newest_kernel(&self, kernel: &Kernel) -> Result<Option<String>> {
        let names = read(self.command("apt-cache").arg("pkgnames").arg("linux-"))?;
        Ok(newest(names.lines(), kernel).map(str::to_owned))
    }

    /// Downloads a package; the file is its own in its directory.
    fn download(&self, package: &str, arch: Arch) -> Result<PathBuf> {
        let (name, version) =
            package.split_once('=').map_or((package, None), |(n, v)| (n, Some(v)));
        let mut wanted = format!("{name}:{}", arch.debian());
        if let Some(version) = version {
            wanted = format!("{wanted}={version}");
        } else if name == BUSYBOX {
            wanted = format!("{wanted}/{BUSYBOX_SUITE}");
        }
        run(self.command("apt-get").args(["download", "--quiet=2"]).arg(&wanted))?;
        let prefix = format!("{name}_");
        let suffix = format!("_{}.deb", arch.debian());
        for entry in fs::read_dir(self.dir.join("packages"))? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if file.starts_with(&prefix) && file.ends_with(&suffix) {
                return Ok(path);
            }
        }
        bail!("apt downloaded no {wanted}")
    }
}

/// The sources: the kernels' suites from where this machine has its packages, and that machine's own
/// suites for the other architecture.
fn sources() -> Result<String> {
    let own = Own::read()?;
    let (main, _) = own.main()?;
    let mut suites: Vec<&str> = KERNELS.iter().map(|kernel| kernel.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    let mut lines: Vec<String> =
        suites.iter().map(|suite| format!("deb [arch=amd64,arm64] {main} {suite} main")).collect();
    let is_other = |(uri, suite): &&(String, String)| uri != main || !suites.contains(&&**suite);
    let others = Own(own.0.iter().filter(is_other).cloned().collect());
    lines.extend(others.lines("[arch=arm64] "));
    Ok(lines.join("\n") + "\n")
}

/// The suites of Debian's that this machine has its packages from, in order.
struct Own(Vec<(String, String)>);

impl Own {
    fn read() -> Result<Self> {
        let mut targets = Command::new("apt-get");
        let format = "$(REPO_URI) $(CODENAME)";
        targets.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let targets = read(&mut targets)?;
        let pairs = targets.lines().filter_map(|line| line.split_once(' '));
        let pairs = pairs.filter(|(uri, _)| uri.contains("/debian"));
        let mut own: Vec<_> =
            pairs.map(|(uri, suite)| (uri.to_owned(), suite.to_owned())).collect();
        own.sort_unstable();
        own.dedup();
        Ok(Self(own))
    }

    /// The first of those that are no updates.
    fn main(&self) -> Result<&(String, String)> {
        let main = self.0.iter().find(|(uri, _)| uri.trim_end_matches('/').ends_with("/debian"));
        main.context("this machine has no packages of Debian's, whose kernels run")
    }

    /// The release: `bookworm`.
    fn release(&self) -> Result<&str> {
        Ok(&self.main()?.1)
    }

    /// Each as a line of sources, with these options.
    fn lines(&self, options: &str) -> Vec<String> {
        let pairs = self.0.iter();
        pairs.map(|(uri, suite)| format!("deb {options}{uri} {suite} main")).collect()
    }
}

/// The package with the newest kernel of a version: since Linux 6.19 the kernel itself is in
/// `linux-binary-…`, before in `linux-image-…`.
fn newest<'a>(names: impl Iterator<Item = &'a str>, kernel: &Kernel) -> Option<&'a str> {
    let flavour = format!("-cloud-{}", kernel.arch.debian());
    let mut found: Vec<(Vec<u32>, bool, &str)> = names
        .filter_map(|name| {
            let binary = name.starts_with("linux-binary-");
            let rest = name.strip_prefix("linux-binary-").or(name.strip_prefix("linux-image-"))?;
            let version = rest.strip_suffix(&flavour)?;
            version.strip_prefix(kernel.version)?.strip_prefix('.')?;
            let numbers = version.split(|c: char| !c.is_ascii_digit());
            Some((numbers.filter_map(|n| n.parse().ok()).collect(), binary, name))
        })
        .collect();
    found.sort_by_key(|found| Reverse(found.clone()));
    found.first().map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_version_is_found() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-60-cloud-arm64",
            "linux-image-6.1.0-50-cloud-amd64-dbg",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-cloud-amd64",
        ];
        let newest = |version: &str| {
            let kernel = KERNELS.iter().find(|kernel| kernel.version == version).unwrap();
            newest(names.into_iter(), kernel)
        };
        assert_eq!(newest("6.1"), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(newest("6.12"), Some("linux-image-6.12.117+deb13-cloud-amd64"));
        assert_eq!(newest("7.3"), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
    }
}
