//! A user without privileges, and the ways in which they come to those that tracing takes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use anyhow::Result;
use tempfile::TempDir;
use xtask::process::{read, run, succeeds, which};

use crate::cases::{self, skip};
use crate::toolchain::Toolchain;

/// The number of `nobody`, as user and as group.
pub const NOBODY: u32 = 65_534;

/// The capabilities that tracing takes on any kernel, as `proxytrace doctor` names them.
const CAPABILITIES: [&str; 4] = ["bpf", "perfmon", "sys_admin", "sys_ptrace"];

/// Debian's `libcap2-bin`, which is not on everybody's PATH.
const SETCAP: &str = "/usr/sbin/setcap";

/// No plan is kept of what somebody has written to in the two seconds before.
const SETTLED: Duration = Duration::from_secs(3);

/// Who starts a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// We do.
    Root,
    /// [`NOBODY`], who has no capabilities but those that the program's file gives.
    Nobody,
    /// [`NOBODY`], to whom the capabilities were given, as by `AmbientCapabilities=` of a unit.
    Entitled,
}

/// A directory that everybody may enter, with a proxytrace and a home of the user's, until this is
/// dropped.
pub struct Place(TempDir);

impl Place {
    /// None, aloud, where nobody can become another user, or that user can execute nothing.
    pub fn new() -> Result<Option<Self>> {
        let Some(built) = cases::built() else { return Ok(None) };
        if which("setpriv").is_none() {
            skip("no setpriv");
            return Ok(None);
        }
        let place = Self(tempfile::tempdir()?);
        fs::set_permissions(place.0.path(), Permissions::from_mode(0o755))?;
        install(&built, &place.program())?;
        // In this mode go starts no telemetry child, which may outlive the test.
        let telemetry = place.home().join(".config/go/telemetry");
        fs::create_dir_all(&telemetry)?;
        fs::write(telemetry.join("mode"), "off")?;
        give(&place.home())?;
        if !succeeds(place.command(Who::Nobody).arg("--version")) {
            skip(&format!("other users can execute nothing in {}", env::temp_dir().display()));
            return Ok(None);
        }
        Ok(Some(place))
    }

    /// Puts a `go` there, first on PATH, and waits until its plan may be kept.
    pub fn add_go(&self, toolchain: &Toolchain) -> Result<()> {
        let directory = self.0.path().join("bin");
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        install(&toolchain.goroot.join("bin/go"), &directory.join("go"))?;
        thread::sleep(SETTLED);
        Ok(())
    }

    /// Has the file of this proxytrace give the capabilities to whoever starts it, as
    /// `proxytrace doctor` says how; false, aloud, where files give none.
    pub fn give_by_file(&self) -> Result<bool> {
        if which(SETCAP).is_none() {
            skip(&format!("no {SETCAP}: `cargo xtask test` installs it"));
            return Ok(false);
        }
        // It shows what the kernel makes of that.
        let (program, cat) = (self.program(), self.0.path().join("cat"));
        install(Path::new("/bin/cat"), &cat)?;
        let capabilities = CAPABILITIES.map(|name| format!("cap_{name}")).join(",") + "+ep";
        let set = |file: &Path| succeeds(Command::new(SETCAP).arg(&capabilities).arg(file));
        let is_set = set(&program) && set(&cat);
        let status = read(self.start(Who::Nobody, &cat).arg("/proc/self/status"));
        let status = status.unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let is_given = is_set && effective.is_some_and(|bits| bits != 0);
        if !is_given {
            skip(&format!("files in {} give no capabilities", env::temp_dir().display()));
        }
        Ok(is_given)
    }

    /// proxytrace, in the user's home, with nothing of our environment but the rest of PATH.
    pub fn command(&self, who: Who) -> Command {
        self.start(who, &self.program())
    }

    /// What is the user's.
    pub fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("proxytrace")
    }

    fn start(&self, who: Who, program: &Path) -> Command {
        let nobody = NOBODY.to_string();
        let capabilities = CAPABILITIES.map(|name| format!("+{name}")).join(",");
        let mut command = match who {
            Who::Root => Command::new(program),
            Who::Nobody | Who::Entitled => Command::new("setpriv"),
        };
        if who != Who::Root {
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
            if who == Who::Entitled {
                command.args(["--inh-caps", &capabilities, "--ambient-caps", &capabilities]);
            }
            command.arg(program);
        }
        let inherited = env::var_os("PATH").unwrap_or_default();
        let path = [self.0.path().join("bin")].into_iter().chain(env::split_paths(&inherited));
        command
            .current_dir(self.home())
            .env_clear()
            .env("PATH", env::join_paths(path).expect("paths that came from PATH"))
            .env("HOME", self.home())
            .env("GOROOT", self.0.path())
            .env("GOTOOLCHAIN", "local");
        command
    }
}

/// Makes a directory, and all in it, [`NOBODY`]'s.
pub fn give(directory: &Path) -> Result<()> {
    run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(directory))
}

/// Copies a program, for everybody to execute. Another process does: what is started here meanwhile
/// would have the copy open for a moment, and nobody can execute what is being written.
fn install(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("install").args(["-m", "755"]).arg(from).arg(to))
}
