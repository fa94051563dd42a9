//! Debian's packages of other suites and architectures: fetched beside those of this machine, and
//! only to be looked into.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::process::{as_root, read, run, status, warning};
use xtask::{apt, go};

use super::image::Arch;
use super::kernels::{KERNELS, Kernel};

/// Packages, kept in the user's cache.
pub(crate) struct Mirror {
    cache: PathBuf,
}

/// What there is of a kernel.
pub(super) enum Found {
    /// Its image, and its release.
    Image(PathBuf, String),
    /// Nothing; and whether that is so by what the mirror says of the suite: it may just not have been
    /// reached.
    Nothing { is_sure: bool },
}

/// The compiler's library, for each architecture.
pub(super) const STD: &str = "libstd-rust-web-dev";
/// What apt said of the lists when they were last read.
const SAID: &str = "update.log";
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
    /// (remove it there to have a newer one).
    pub(super) fn kernel(&self, kernel: &Kernel) -> Result<Found> {
        let dir = self.cache.join("kernels").join(kernel.name().replace(' ', "-"));
        let (image, release) = (dir.join("vmlinuz"), dir.join("release"));
        if !release.is_file() {
            let apt = self.apt()?;
            let Some((package, file)) = apt.fetch_kernel(kernel)? else {
                return Ok(Found::Nothing { is_sure: apt.is_heard_of(kernel.suite)? });
            };
            fs::create_dir_all(&dir)?;
            extract(&file, "*/vmlinuz*", &image)?;
            fs::write(&release, &package)?;
        }
        let release = fs::read_to_string(release)?;
        let release =
            release.trim_start_matches("linux-image-").trim_start_matches("linux-binary-");
        Ok(Found::Image(image, release.to_owned()))
    }

    /// A shell and its programs, in one file without libraries.
    pub(super) fn busybox(&self, arch: Arch) -> Result<PathBuf> {
        let file = self.cache.join(format!("busybox-{}", arch.debian()));
        if !file.is_file() {
            status("Fetching", format_args!("{BUSYBOX} for {}", arch.debian()));
            let apt = self.apt()?;
            let package = apt.fetch(BUSYBOX, arch)?;
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
            let apt = self.apt()?;
            let package = apt.fetch(&format!("{STD}={version}"), arch);
            // Mirrors keep the newest alone.
            let package = package.with_context(|| {
                format!("cannot fetch {STD} {version}, as installed here: is that out of date?")
            })?;
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
    /// Until what was downloaded has been read: the next download removes it.
    _lock: File,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "preferences.d", "packages"] {
            fs::create_dir_all(dir.join(name))?;
        }
        // One at a time; the lock ends with the process, however that ends.
        let lock = File::create(dir.join(".lock"))?;
        lock.lock()?;
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
        let apt = Self { dir: dir.to_owned(), options: options.collect(), _lock: lock };
        if !dir.join("sources.list").is_file() {
            apt.update_once()?;
        }
        Ok(apt)
    }

    /// Reads the lists anew, once in a process: whether it has done so just now.
    fn update_once(&self) -> Result<bool> {
        static DONE: AtomicBool = AtomicBool::new(false);
        if DONE.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        status("Updating", "the package lists of other suites (apt)");
        let partial = self.dir.join("sources.partial");
        fs::write(&partial, sources()?)?;
        fs::rename(partial, self.dir.join("sources.list"))?;
        let mut update = self.command("apt-get");
        update.args(["update", "--quiet=2"]).env("LC_ALL", "C.UTF-8").stdout(std::io::stderr());
        let output = update.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // A suite that is no more leaves the others.
        if !output.status.success() {
            warning(format_args!("apt-get update: {}", said.trim()));
        }
        fs::write(self.dir.join(SAID), &*said)?;
        Ok(true)
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

    /// The newest kernel of a version: the name of its package, and the package. Where the lists
    /// know none, or one that is to be had no more, newer ones are asked.
    fn fetch_kernel(&self, kernel: &Kernel) -> Result<Option<(String, PathBuf)>> {
        let find = || -> Result<Option<(String, PathBuf)>> {
            let Some(package) = self.newest_kernel(kernel)? else { return Ok(None) };
            status("Fetching", &package);
            let file = self.download(&package, kernel.arch);
            let file = file.with_context(|| format!("cannot fetch {package}"))?;
            Ok(Some((package, file)))
        };
        match find() {
            Ok(None) | Err(_) if self.update_once()? => find(),
            found => found,
        }
    }

    /// A package, by newer lists where these do not lead to it.
    fn fetch(&self, package: &str, arch: Arch) -> Result<PathBuf> {
        match self.download(package, arch) {
            // apt itself has said what was wrong.
            Err(_) if self.update_once()? => self.download(package, arch),
            file => file,
        }
    }

    /// Whether the mirror has said what is in a suite, or that there is no such suite. Of one that was
    /// never fetched whole apt keeps no lists.
    fn is_heard_of(&self, suite: &str) -> Result<bool> {
        if fs::read_to_string(self.dir.join(SAID)).is_ok_and(|said| is_no_more(&said, suite)) {
            return Ok(true);
        }
        for entry in fs::read_dir(self.dir.join("lists"))? {
            if is_release_of(&entry?.file_name().to_string_lossy(), suite) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Downloads a package; the file is the only one in its directory.
    fn download(&self, package: &str, arch: Arch) -> Result<PathBuf> {
        // An older version, of a run before, would be taken for it.
        let packages = self.dir.join("packages");
        fs::remove_dir_all(&packages)?;
        fs::create_dir(&packages)?;
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
        for entry in fs::read_dir(packages)? {
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

/// Whether apt said that a suite is not on the mirror.
fn is_no_more(said: &str, suite: &str) -> bool {
    said.contains(&format!(" {suite} Release' does not have a Release file"))
}

/// Whether a file of apt's lists is what a suite has in its root.
fn is_release_of(file: &str, suite: &str) -> bool {
    ["InRelease", "Release"].iter().any(|name| file.ends_with(&format!("_dists_{suite}_{name}")))
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
    fn a_suite_that_is_gone_is_told_from_one_that_was_not_reached() {
        let said = "E: The repository 'http://mirror/debian bullseye Release' does not have a Release \
                    file.\nW: Failed to fetch http://mirror/debian/dists/trixie/InRelease  Could not \
                    connect to mirror:80\n";
        assert!(is_no_more(said, "bullseye"));
        assert!(!is_no_more(said, "trixie") && !is_no_more(said, "eye"));
    }

    #[test]
    fn a_suite_is_known_by_its_release() {
        let lists = [
            "lock",
            "mirror_debian_dists_trixie-backports_InRelease",
            "mirror_debian_dists_trixie-backports_main_binary-amd64_Packages.lz4",
            "mirror_debian_dists_bullseye_Release",
            "mirror_debian_dists_bookworm_main_binary-amd64_Packages.lz4",
        ];
        let has = |suite| lists.iter().any(|file| is_release_of(file, suite));
        assert!(has("trixie-backports") && has("bullseye"));
        assert!(!has("trixie") && !has("backports") && !has("bookworm"));
    }

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
