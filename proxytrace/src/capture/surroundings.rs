//! Where a `go` command runs, and what of its user's settings does not reach it.
//!
//! Read from /proc as it enters `main.main`. What has gone by then stays unknown.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::credentials::status;
use super::user::{environment, sudo_above};
use crate::event::{Origin, Setting, Sudo, Surroundings};
use crate::{goenv, redact};

/// How many others may be between a process and its sudo: make, a shell or two, a script.
const ANCESTORS: usize = 32;

/// What sudo takes away, beside what decides over the way to modules, and is missed too.
const ALSO_MISSED: &[&str] = &["GOFLAGS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// A `go` command that has just started.
pub(super) struct Started<'a> {
    /// Where /proc has it.
    pub(super) process: &'a Path,
    pub(super) go: goenv::Go<'a>,
    pub(super) environment: &'a [(String, String)],
    pub(super) config: &'a BTreeMap<String, Setting>,
    /// Gives the text of a file as the process would read it.
    pub(super) read: &'a dyn Fn(&Path) -> Option<String>,
}

/// What surrounds it.
pub(super) fn of(go: &Started<'_>) -> Surroundings {
    Surroundings {
        directory: directory(go.process),
        user_file: goenv::hidden(go.environment, go.go, go.read),
        sudo: sudo(go),
        netrc: netrc(go),
    }
}

/// The file of `cmd/go/internal/auth/netrc.go:netrcPath`. It is not opened.
fn netrc(go: &Started<'_>) -> Option<String> {
    let ways = go.config.get("GOAUTH").map_or("netrc", |setting| setting.value.as_str());
    if !ways.split(';').any(|way| way.trim() == "netrc") {
        return None;
    }
    let set = |name| variable(go.environment, name).filter(|value| !value.is_empty());
    let of_home = || set("HOME").map(|home| Path::new(home).join(".netrc"));
    let path = set("NETRC").map(PathBuf::from).or_else(of_home)?;
    Some(redact::argument(&path.to_string_lossy()))
}

/// The working directory, if its path leads to the same directory from where we are: not in another
/// mount namespace.
fn directory(process: &Path) -> Option<String> {
    let link = process.join("cwd");
    let path = fs::read_link(&link).ok()?;
    let (theirs, ours) = (fs::metadata(&link).ok()?, fs::metadata(&path).ok()?);
    let same = (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino());
    same.then(|| redact::argument(&path.to_string_lossy()))
}

/// The user above a sudo within the command. Not where the process runs as that user all the same.
fn sudo(go: &Started<'_>) -> Option<Sudo> {
    let caller: u32 = variable(go.environment, "SUDO_UID")?.parse().ok()?;
    let uid: u32 = status(go.process, "Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    if caller == uid {
        return None;
    }
    let user = User::from_uid(Uid::from_raw(caller)).ok().flatten();
    let theirs = match sudo_above(go.process, ANCESTORS) {
        Some(sudo) => environment(&sudo)?
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
            .collect(),
        // Without it only what is in the caller's file can be compared.
        None => with_home(go.environment, user.as_ref()?),
    };
    let would_be = goenv::effective(&theirs, go.go, go.read);
    let theirs =
        |setting: &Setting| matches!(setting.origin, Origin::Environment | Origin::UserFile);
    let lost = would_be
        .into_iter()
        .filter(|(name, setting)| {
            let ours = go.config.get(name).map(|setting| &setting.value);
            let counts =
                [goenv::OF_THE_WAY, ALSO_MISSED].iter().any(|it| it.contains(&name.as_str()));
            counts && theirs(setting) && ours != Some(&setting.value)
        })
        .collect();
    Some(Sudo { user: user.map(|user| user.name), lost })
}

fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn with_home(environment: &[(String, String)], user: &User) -> Vec<(String, String)> {
    let kept = environment.iter().filter(|(name, _)| name != "HOME" && name != "XDG_CONFIG_HOME");
    let home = ("HOME".to_owned(), user.dir.to_string_lossy().into_owned());
    kept.cloned().chain([home]).collect()
}
