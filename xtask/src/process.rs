//! Other programs: how they are found and run, and how the user is told.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Tells the user what goes on, in cargo's manner: a verb in a column of its own, on stderr.
pub fn status(verb: &str, what: impl std::fmt::Display) {
    eprintln!("{} {what}", paint("1;32", &format!("{verb:>12}")));
}

/// Tells the user of something that does not stop the work.
pub fn warning(what: impl std::fmt::Display) {
    eprintln!("{}: {what}", paint("1;33", "warning"));
}

/// Tells the user why the work stopped.
pub fn error(what: &anyhow::Error) {
    eprintln!("{}: {what:#}", paint("1;31", "error"));
}

fn paint(sgr: &str, text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !io::stderr().is_terminal() {
        text.to_owned()
    } else {
        format!("\x1b[{sgr}m{text}\x1b[0m")
    }
}

/// Runs a command to its end, its output going where ours goes, with nothing to read.
pub fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| cannot_run(command.get_program()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and returns what it wrote to stdout.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_run(command.get_program()))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Whether a command ends well; what it writes is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The sentence for a program that could not be started.
pub fn cannot_run(program: &OsStr) -> String {
    format!("cannot run `{}`", program.display())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// The first executable file of that name on `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

/// Whether this is a file that may be run.
pub fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether we are root.
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Whether nobody is there to answer a question.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// What is wanted, where it is to be had. That it is not is a failure in CI; elsewhere it is said, and
/// keeps nobody from what can be done without.
pub fn required_in_ci<T>(wanted: Result<T>) -> Result<Option<T>> {
    match wanted {
        Err(error) if !in_ci() => {
            warning(format_args!("{error:#}"));
            Ok(None)
        }
        wanted => wanted.map(Some),
    }
}

/// Says that something is not tested. In CI that is a failure.
pub fn skip(reason: &str) {
    assert!(!in_ci(), "must not be skipped in CI: {reason}");
    not_here(reason);
}

/// Says that something cannot be tested on a machine like this one, whatever is installed: in CI no
/// failure either.
pub fn not_here(reason: &str) {
    // Past the capture of libtest, which would hide it in a test that passes.
    let _ = writeln!(io::stderr(), "skipping test: {reason}");
}

/// A command that runs as root: the program itself where we are root, else through sudo.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    if in_ci() {
        // Fails at once where it would have to ask for a password.
        sudo.arg("--non-interactive");
    }
    sudo.arg("--").arg(program);
    sudo
}
