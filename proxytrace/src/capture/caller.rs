//! Whoever called us, through sudo or not: the command runs as they do, and outputs are theirs.
//!
//! sudo resets the environment and HOME, and with them GOPROXY, `go env -w`, netrc and the module
//! cache. sudo's own process still has the environment of whoever called it, and its umask.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::credentials::{Credentials, status};
use super::environment::{ENVIRONMENT_MAX, kept_environment, parse_environment};
use super::sudo::{OURSELVES, given_to, our_sudo};

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

impl Invoker {
    /// The user who called sudo; without sudo, ourselves.
    pub(super) fn find() -> Self {
        let ours: Vec<_> = std::env::vars_os().collect();
        let Some(credentials) = Credentials::of_caller() else {
            return Self { credentials: None, environment: ours, umask: None };
        };
        if let Some(sudo) = our_sudo(Path::new(OURSELVES))
            && let Some(environment) = kept_environment(&sudo, ENVIRONMENT_MAX)
        {
            let mut environment = parse_environment(&environment);
            let given = given_to(&sudo, &ours);
            environment.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
            environment.extend(given);
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

    /// The executable that the command name stands for, as `execvp` would find it for this user, who
    /// may look into fewer directories than root, or on a network into more. To be called while
    /// there is one thread.
    pub(super) fn resolve(&self, command: &OsStr) -> io::Result<PathBuf> {
        let (found, is_refused) = self.look_for(command)?;
        match &self.credentials {
            // Without an answer from there, this is one.
            Some(user) if is_refused => user.ask(|| self.find_command(command).0).unwrap_or(found),
            _ => found,
        }
    }

    /// The same, whenever: on some file systems the user may be given what is not found by this.
    pub(super) fn foresee(&self, command: &OsStr) -> io::Result<PathBuf> {
        self.look_for(command)?.0
    }

    fn look_for(&self, command: &OsStr) -> io::Result<Looked> {
        let find = || self.find_command(command);
        self.credentials.as_ref().map_or_else(|| Ok(find()), |user| user.act(find))
    }

    fn find_command(&self, command: &OsStr) -> Looked {
        let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        if command.as_bytes().contains(&b'/') {
            let found = executable(Path::new(command));
            let is_refused = found.as_ref().is_err_and(is_refusal);
            return (found, is_refused);
        }
        let path = self.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/bin:/usr/bin"));
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for directory in std::env::split_paths(path) {
            match executable(&directory.join(command)) {
                Ok(found) => return (Ok(found), is_refusal(&refused)),
                Err(error) if is_refusal(&error) => refused = error,
                Err(_) => {}
            }
        }
        let is_refused = is_refusal(&refused);
        (Err(refused), is_refused)
    }
}

/// What was found, and whether something was refused on the way there.
type Looked = (io::Result<PathBuf>, bool);

/// The environment of whoever called us, through sudo or not.
pub fn environment_of_caller() -> Vec<(OsString, OsString)> {
    Invoker::find().environment
}

/// Opens a file for output, which is created if there is none, as the user who called sudo: it belongs
/// to them, and it is where they may write. What is in it stays. Whether it is new is told, too.
pub fn open_output(path: &Path) -> io::Result<(File, bool)> {
    let new = open_as_caller(path, OpenOptions::new().write(true).create_new(true));
    new.map(|file| (file, true)).or_else(|_| {
        let mut options = OpenOptions::new();
        let file = open_as_caller(path, options.write(true).create(true).truncate(false))?;
        Ok((file, false))
    })
}

/// The same, to add to what is in it.
pub fn append_output(path: &Path) -> io::Result<File> {
    open_as_caller(path, OpenOptions::new().append(true).create(true))
}

/// Removes an output that was new, as the same user, if it is still there, and empty.
pub fn remove_output(path: &Path, file: &File) -> io::Result<()> {
    let remove = || {
        let (there, ours) = (fs::symlink_metadata(path)?, file.metadata()?);
        let is_ours = (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if is_ours && there.len() == 0 { fs::remove_file(path) } else { Ok(()) }
    };
    Credentials::of_caller().map_or_else(remove, |user| user.act(remove)?)
}

fn open_as_caller(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let create = || options.open(path);
    Credentials::of_caller().map_or_else(create, |user| user.act(create)?)
}

/// A path, if this thread may execute what is there.
pub(super) fn executable(path: &Path) -> io::Result<PathBuf> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    // As whom this thread looks at files: the library's function may ask for the real user.
    let (call, flags) = (libc::SYS_faccessat2, libc::AT_EACCESS);
    // SAFETY: the name ends with a NUL.
    match unsafe { libc::syscall(call, libc::AT_FDCWD, name.as_ptr(), libc::X_OK, flags) } {
        0 => Ok(path.to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn umask(process: &Path) -> Option<u32> {
    u32::from_str_radix(&status(process, "Umask:")?, 8).ok()
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

    /// What is refused to whom we look as may be given to the user.
    #[test]
    fn a_refusal_on_the_way_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sh")).unwrap();
        let path = |first: &Path| format!("{}:/usr/bin:/bin", first.display()).into();
        for (first, command, is_found, is_refused) in [
            (directory.path(), "sh", true, true),
            (Path::new("/nonexistent"), "sh", true, false),
            (Path::new("/nonexistent"), "no-such-command", false, false),
            (directory.path(), "/usr", false, true),
            (directory.path(), "/nonexistent/sh", false, false),
        ] {
            let environment = vec![("PATH".into(), path(first))];
            let invoker = Invoker { credentials: None, environment, umask: None };
            let looked = invoker.find_command(OsStr::new(command));
            assert_eq!((looked.0.is_ok(), looked.1), (is_found, is_refused), "{command}");
        }
    }
}
