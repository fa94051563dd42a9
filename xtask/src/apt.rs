//! Packages of Debian and its kin.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::{self, as_root, is_root, run, status, warning, which};
use crate::workspace;

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
    let from = Vec::new();
    if simulates(&from, packages) && run(&mut apt_install(&from, packages)).is_ok() {
        return Ok(());
    }
    update()?;
    if simulates(&from, packages) {
        return run(&mut apt_install(&from, packages));
    }
    // A package that was taken from the backports once can want others from there.
    let from = backports()?;
    if from.is_empty() || !simulates(&from, packages) {
        bail!("apt does not offer {} here without removing others", packages.join(" "));
    }
    run(&mut apt_install(&from, packages))
}

/// Options by which apt has this release of Debian's backports as well, for one call: the system's
/// own lists stay as they are. Empty on other systems.
fn backports() -> Result<Vec<String>> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| system.lines().find_map(|line| line.strip_prefix(name));
    let (Some("debian"), Some(release)) = (field("ID="), field("VERSION_CODENAME=")) else {
        return Ok(Vec::new());
    };
    // Wherever the release itself comes from.
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]);
    let targets = process::read(&mut targets)?;
    let mut archives = targets.lines().filter_map(|line| line.split_once(' '));
    let Some((_, archive)) = archives.find(|(name, _)| *name == release) else {
        return Ok(Vec::new());
    };
    let dir = workspace().join("target/apt");
    let (list, lists) = (dir.join("sources.list"), dir.join("lists"));
    fs::create_dir_all(lists.join("partial"))?;
    let suites = [release.to_owned(), format!("{release}-backports")];
    fs::write(&list, suites.map(|suite| format!("deb {archive} {suite} main\n")).concat())?;
    let options = |options: &[String]| -> Vec<String> {
        options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]).collect()
    };
    let mut from = options(&[
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
    ]);
    status("Updating", "the package lists of the backports (apt)");
    run(apt_get().args(&from).args(["update", "-qq"]))?;
    from.extend(options(&[format!("APT::Default-Release={release}-backports")]));
    Ok(from)
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

/// The same for a package that serves from its installation on, of which the program alone is wanted:
/// its units are stopped, and do not start with the machine. Of a socket and the service behind it,
/// the socket comes first. Where the program was there already, nothing is touched.
pub fn provide_without_serving(program: &str, package: &str, units: &[&str]) -> Result<()> {
    let is_new = which(program).is_none();
    provide(program, package)?;
    if !is_new || !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for unit in units {
        let mut systemctl = as_root("systemctl");
        systemctl.args(["disable", "--now", "--quiet", unit]);
        // The program is there all the same.
        if let Err(error) = run(systemctl.stdout(Stdio::from(std::io::stderr()))) {
            warning(format_args!("{unit} of {package} may serve on this machine: {error:#}"));
        }
    }
    Ok(())
}

fn simulates(from: &[String], packages: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    process::succeeds(command.args(from).arg("--simulate").args(INSTALL).args(packages))
}

fn apt_install(from: &[String], packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.args(from).arg("-qq").args(INSTALL).args(packages);
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
