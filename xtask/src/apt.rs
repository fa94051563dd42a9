//! Packages of Debian and its kin.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::{self, as_root, is_root, run, status, which};

/// Installs packages, reading the lists anew where these are missing or out of date.
///
/// Fails where there is no apt, nobody who may use it, or the packages are not to be had without
/// removing others.
pub fn install(packages: &[&str]) -> Result<()> {
    if which("apt-get").is_none() {
        bail!("this system has no apt-get");
    }
    if !is_root() && which("sudo").is_none() {
        bail!("apt-get needs root, and there is no sudo");
    }
    status("Installing", format_args!("{} (apt)", packages.join(" ")));
    if simulates(packages) && run(&mut apt_install(packages)).is_ok() {
        return Ok(());
    }
    update()?;
    if !simulates(packages) {
        bail!("apt does not offer {} here without removing others", packages.join(" "));
    }
    run(&mut apt_install(packages))
}

/// Reads the package lists anew.
pub fn update() -> Result<()> {
    status("Updating", "the package lists (apt)");
    run(apt_get().args(["update", "-qq"]))
}

/// Installs what provides a program that is not there; `package` is Debian's name for it.
pub fn provide(program: &str, package: &str) -> Result<()> {
    if which(program).is_some() {
        return Ok(());
    }
    install(&[package]).map_err(|error| error.context(format!("install `{program}` and try again")))
}

fn simulates(packages: &[&str]) -> bool {
    process::succeeds(Command::new("apt-get").arg("--simulate").args(INSTALL).args(packages))
}

fn apt_install(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.arg("-qq").args(INSTALL).args(packages);
    command
}

/// Never removes what someone chose to have.
const INSTALL: [&str; 4] = ["install", "--yes", "--no-install-recommends", "--no-remove"];

fn apt_get() -> Command {
    // sudo drops the environment, so that `env` has to set it behind sudo.
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    // Our stdout is for results; progress goes to stderr.
    command.stdout(Stdio::from(std::io::stderr()));
    command
}
