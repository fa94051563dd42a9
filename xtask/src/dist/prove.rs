//! The package, installed and used: in a root of its own, so that this machine stays as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::process::{as_root, is_root, read, run, status, warning, which};

use super::{COMPLETIONS, VERSION};
use crate::build;

/// What dpkg keeps of a system.
const DPKG: [&str; 3] = ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"];

/// Installs a package of this machine's, and uses what is in it.
pub(super) fn package(package: &Path) -> Result<()> {
    status("Installing", format_args!("{} into a root of its own", package.display()));
    let root = tempfile::tempdir()?;
    for directory in DPKG {
        fs::create_dir_all(root.path().join(directory))?;
    }
    fs::write(root.path().join("var/lib/dpkg/status"), "")?;
    run(Command::new("dpkg")
        .arg(format!("--root={}", root.path().display()))
        // Without scripts there is nothing to be root for, and no need for what they would call.
        .args(["--force-not-root", "--force-bad-path", "--force-depends", "--install"])
        .arg(package)
        .stdout(std::io::stderr()))?;
    let listed = read(
        Command::new("dpkg-query")
            .arg(format!("--admindir={}/var/lib/dpkg", root.path().display()))
            .args(["--show", "--showformat", "${Version} ${Status}", "proxytrace"]),
    )?;
    ensure!(listed == format!("{VERSION}-1 install ok installed"), "dpkg says {listed:?}");

    let program = root.path().join("usr/bin/proxytrace");
    let version = read(Command::new(&program).arg("--version"))?;
    ensure!(version == format!("proxytrace {VERSION}"), "it says {version:?}");
    let needs = Command::new("ldd").arg(&program).output().context("cannot run `ldd`")?;
    let needs = [needs.stdout, needs.stderr].concat();
    let needs = String::from_utf8_lossy(&needs);
    ensure!(
        needs.contains("not a dynamic executable") || needs.contains("statically linked"),
        "it needs libraries: {needs}"
    );
    for (shell, path) in COMPLETIONS {
        let file = root.path().join(path);
        ensure!(fs::metadata(&file)?.len() > 0, "{} is empty", file.display());
        if let Some(shell) = which(shell) {
            run(Command::new(shell).arg("-n").arg(&file))?;
        }
    }
    let page = root.path().join("usr/share/man/man1/proxytrace.1.gz");
    let text = read(Command::new("gzip").args(["-dc", "--"]).arg(&page))?;
    ensure!(text.contains(".SH NAME"), "{} is no man page", page.display());
    lint(package)?;
    use_it(&program)
}

/// Traces the demonstration, and asks its proxies.
fn use_it(program: &Path) -> Result<()> {
    let lab = build::programs(false)?.lab;
    if !is_root() && which("sudo").is_none() {
        warning("not traced with it: the lab needs root, and there is no sudo");
        return Ok(());
    }
    for arguments in [&["--", "go", "mod", "download"][..], &["preflight"]] {
        let mut command = as_root(&lab);
        command.args(["run", "demo", "--"]).arg(program).args(arguments);
        status("Running", format_args!("proxytrace {} in the lab", arguments.join(" ")));
        run(command.stdout(std::io::stderr()))?;
    }
    Ok(())
}

/// What Debian's own checker says; an error fails.
fn lint(package: &Path) -> Result<()> {
    if which("lintian").is_none() {
        warning("lintian is not here, and so the package is not checked by it");
        return Ok(());
    }
    run(Command::new("lintian")
        .args(["--fail-on", "error,warning", "--"])
        .arg(package)
        .stdout(std::io::stderr()))
}
