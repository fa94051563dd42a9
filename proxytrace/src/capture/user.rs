//! The user who called sudo, and what their environment was.
//!
//! sudo resets the environment and HOME, and with them GOPROXY, `go env -w`, netrc and the module
//! cache. sudo's own process still has the environment of whoever called it, and its umask.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, setegid, seteuid};

/// Whom the command runs as.
#[derive(Clone, Debug)]
pub(super) struct Invoker {
    /// None: as we run ourselves.
    pub(super) credentials: Option<Credentials>,
    /// The whole environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// None: as ours is.
    pub(super) umask: Option<u32>,
}

/// A user other than ours.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

impl Invoker {
    /// The user who called sudo; without sudo, ourselves.
    pub(super) fn find() -> Self {
        let ours: Vec<_> = std::env::vars_os().collect();
        let Some(credentials) = Credentials::of_caller() else {
            return Self { credentials: None, environment: ours, umask: None };
        };
        if let Some(sudo) = sudo_above(Path::new(OURSELVES), 0)
            && let Some(environment) = environment(&sudo)
        {
            return Self { credentials: Some(credentials), environment, umask: umask(&sudo) };
        }
        // No sudo process above us (it was replaced, or /proc is hidden): the next best is what a
        // login would have.
        let environment = login_environment(ours, credentials.uid);
        Self { credentials: Some(credentials), environment, umask: None }
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// The executable that the command name stands for, as `execvp` would find it.
    pub(super) fn resolve(&self, command: &OsStr) -> io::Result<PathBuf> {
        if command.as_bytes().contains(&b'/') {
            return executable(Path::new(command));
        }
        let path = self.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/bin:/usr/bin"));
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for directory in std::env::split_paths(path) {
            match executable(&directory.join(command)) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

impl Credentials {
    /// Who called sudo to run us. None if that is ourselves.
    fn of_caller() -> Option<Self> {
        // What is above us may be gone later.
        static CALLER: OnceLock<Option<Credentials>> = OnceLock::new();
        CALLER.get_or_init(Self::from_sudo).clone()
    }

    /// Who sudo says has called it. In a shell of root's (`sudo -s`, `sudo sh -c …`) the same is said,
    /// and there the command would be root's without us, too. A sudo that was replaced by us leaves
    /// the shell that called it as our parent: not root's.
    fn from_sudo() -> Option<Self> {
        let above = parent(Path::new(OURSELVES));
        if !geteuid().is_root() || above.is_some_and(|above| is_of_root(&above)) {
            return None;
        }
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let (uid, gid) = (Uid::from_raw(number("SUDO_UID")?), Gid::from_raw(number("SUDO_GID")?));
        if uid.is_root() {
            return None;
        }
        let groups = User::from_uid(uid)
            .ok()
            .flatten()
            .and_then(|user| CString::new(user.name).ok())
            .and_then(|name| getgrouplist(&name, gid).ok())
            .unwrap_or_else(|| vec![gid]);
        Some(Self { uid, gid, groups })
    }
}

/// The environment of whoever called us, through sudo or not.
pub fn environment_of_caller() -> Vec<(OsString, OsString)> {
    Invoker::find().environment
}

/// Creates a file for output, as the user who called sudo: it belongs to them, and it is where they
/// may write.
pub fn create_output(path: &Path) -> io::Result<File> {
    open_output(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// The same, to add to a file.
pub fn append_output(path: &Path) -> io::Result<File> {
    open_output(path, OpenOptions::new().append(true).create(true))
}

fn open_output(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let create = || options.open(path);
    let Some(user) = Credentials::of_caller() else { return create() };
    let ours = (geteuid(), getegid());
    setegid(user.gid)?;
    let file = seteuid(user.uid).map_err(io::Error::from).and_then(|()| {
        let file = create();
        seteuid(ours.0)?;
        file
    });
    setegid(ours.1)?;
    file
}

fn executable(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(path.to_owned())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

const OURSELVES: &str = "/proc/self";

/// The outermost of the sudo processes that follow each other nearest above a process (with a
/// pseudo-terminal, sudo is two), with so many others in between at most.
pub(super) fn sudo_above(process: &Path, others: usize) -> Option<PathBuf> {
    let (mut found, mut between) = (None, 0);
    let mut process = process.to_owned();
    while between <= others
        && let Some(above) = parent(&process)
    {
        if is_sudo(&above) {
            found = Some(above.clone());
        } else if found.is_some() {
            break;
        } else {
            between += 1;
        }
        process = above;
    }
    found
}

fn parent(process: &Path) -> Option<PathBuf> {
    let parent = status(process, "PPid:").filter(|pid| pid != "0")?;
    Some(PathBuf::from(format!("/proc/{parent}")))
}

fn is_sudo(process: &Path) -> bool {
    let exe = fs::read_link(process.join("exe"));
    exe.is_ok_and(|exe| exe.file_name() == Some(OsStr::new("sudo")))
}

/// Whether a process is root's own, and no sudo.
fn is_of_root(process: &Path) -> bool {
    let effective = status(process, "Uid:");
    let effective = effective.as_deref().and_then(|uids| uids.split_whitespace().nth(1));
    effective == Some("0") && !is_sudo(process)
}

/// A field of `/proc/PID/status`.
pub(super) fn status(process: &Path, field: &str) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().to_owned())
}

fn umask(process: &Path) -> Option<u32> {
    u32::from_str_radix(&status(process, "Umask:")?, 8).ok()
}

/// The environment that a process began with.
pub(super) fn environment(process: &Path) -> Option<Vec<(OsString, OsString)>> {
    Some(parse_environment(&fs::read(process.join("environ")).ok()?))
}

/// Splits an environment as the kernel keeps it: `name=value`, each ended by a NUL.
pub(super) fn parse_environment(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    bytes
        .split(|&byte| byte == 0)
        .filter_map(|variable| {
            // A name may begin with `=`, so the separator is looked for after the first byte.
            let equals = 1 + variable.get(1..)?.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        })
        .collect()
}

fn login_environment(ours: Vec<(OsString, OsString)>, uid: Uid) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<OsString, OsString> = ours.into_iter().collect();
    environment.retain(|name, _| !name.as_bytes().starts_with(b"SUDO_"));
    if let Ok(Some(user)) = User::from_uid(uid) {
        environment.insert("HOME".into(), user.dir.into_os_string());
        environment.insert("SHELL".into(), user.shell.into_os_string());
        environment.insert("USER".into(), user.name.clone().into());
        environment.insert("LOGNAME".into(), user.name.into());
    }
    environment.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_split_at_the_first_equals_sign() {
        let parsed = parse_environment(b"A=1\0B=x=y\0EMPTY=\0broken\0=C:=d\0");
        let pairs: Vec<_> =
            parsed.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "x=y"), ("EMPTY", ""), ("=C:", "d")]);
    }

    #[test]
    fn commands_are_found_on_the_path_of_the_user() {
        let invoker = Invoker {
            credentials: None,
            environment: vec![("PATH".into(), "/nonexistent:/usr/bin:/bin".into())],
            umask: None,
        };
        assert!(invoker.resolve(OsStr::new("sh")).unwrap().ends_with("sh"));
        let missing = invoker.resolve(OsStr::new("no-such-command")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let directory = invoker.resolve(OsStr::new("/usr")).unwrap_err();
        assert_eq!(directory.kind(), io::ErrorKind::PermissionDenied);
    }
}
