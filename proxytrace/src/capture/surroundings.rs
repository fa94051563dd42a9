//! Where a `go` command runs, and what of its user's settings does not reach it.
//!
//! Read from /proc as it enters `main.main`. What has gone by then stays unknown.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::credentials::{Credentials, status};
use super::environment::environment;
use super::regular::{open_below, small_file};
use super::sudo::sudo_above;
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
    pub(super) files: &'a Files<'a>,
}

/// The files of a process.
pub(super) struct Files<'a> {
    root: &'a Path,
    /// As whom it opens them; none where it may open all.
    user: Option<Credentials>,
}

impl<'a> Files<'a> {
    /// Those of a process, where /proc has it, below its root.
    pub(super) fn of(process: &Path, root: &'a Path) -> Self {
        Self { root, user: Credentials::of_process(process) }
    }

    /// Opens one as the process would.
    fn open(&self, path: &Path) -> Option<File> {
        let open = || open_below(self.root, path);
        // Without the right to act as another, as ourselves.
        let opened = self.user.as_ref().and_then(|user| user.act(open).ok());
        opened.unwrap_or_else(open)
    }

    /// The text of one, as the process would read it.
    pub(super) fn read(&self, path: &Path) -> Option<String> {
        small_file(self.open(path)?)
    }
}

/// What surrounds it.
pub(super) fn of(go: &Started<'_>) -> Surroundings {
    Surroundings {
        directory: directory(go.process),
        user_file: goenv::hidden(go.environment, go.go, &|path| go.files.read(path)),
        sudo: sudo(go),
        netrc: netrc(go),
    }
}

/// The file of `cmd/go/internal/auth/netrc.go:netrcPath`, if the process may read it, and its path
/// leads to the same file from where we are: not in another root.
fn netrc(go: &Started<'_>) -> Option<String> {
    let ways = go.config.get("GOAUTH").filter(|_| goenv::knows_goauth(go.go.version));
    if ways.is_some_and(|setting| !goenv::reads_netrc(&setting.value)) {
        return None;
    }
    let set = |name| variable(go.environment, name).filter(|value| !value.is_empty());
    let of_home = || set("HOME").map(|home| Path::new(home).join(".netrc"));
    let path = set("NETRC").map(PathBuf::from).or_else(of_home)?;
    let theirs = go.files.open(&path)?.metadata().ok()?;
    is_same(&theirs, &fs::metadata(&path).ok()?).then(|| redact::argument(&path.to_string_lossy()))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The working directory, if its path leads to the same directory from where we are: not in another
/// mount namespace.
fn directory(process: &Path) -> Option<String> {
    let link = process.join("cwd");
    let path = fs::read_link(&link).ok()?;
    let (theirs, ours) = (fs::metadata(&link).ok()?, fs::metadata(&path).ok()?);
    is_same(&theirs, &ours).then(|| redact::argument(&path.to_string_lossy()))
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
    // Their file may be for them alone to read.
    let files = Files { root: go.files.root, user: None };
    let would_be = goenv::effective(&theirs, go.go, &|path| files.read(path));
    let theirs =
        |setting: &Setting| matches!(setting.origin, Origin::Environment | Origin::UserFile);
    let lost = would_be
        .into_iter()
        .filter(|(name, setting)| {
            let ours = go.config.get(name).map(|setting| &setting.value);
            let counts =
                [goenv::OF_THE_WAY, ALSO_MISSED].iter().any(|it| it.contains(&name.as_str()));
            // A GOSUMDB that their file empties is nothing to miss.
            let is_set = theirs(setting) && !setting.value.is_empty();
            counts && is_set && ours != Some(&setting.value)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use xtask::process::skip;

    use super::*;
    use crate::correlate::tests::script::config;

    /// A process whose root is a directory of ours.
    struct Elsewhere(tempfile::TempDir);

    impl Elsewhere {
        fn new(user: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let of_user = format!("{user}\t{user}\t{user}\t{user}");
            let status = format!("Uid:\t{of_user}\nGid:\t{of_user}\nGroups:\t\nCapEff:\t0\n");
            fs::create_dir_all(directory.path().join("process")).unwrap();
            fs::write(directory.path().join("process/status"), status).unwrap();
            Self(directory)
        }

        fn place(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn netrc(&self, root: &Path, home: &Path) -> Option<String> {
            self.netrc_for(root, home, ("go1.27.3", "netrc"))
        }

        /// That of a go of this version, with this GOAUTH.
        fn netrc_for(
            &self,
            root: &Path,
            home: &Path,
            (version, goauth): (&str, &str),
        ) -> Option<String> {
            let process = self.place("process");
            let _ = fs::remove_file(process.join("root"));
            symlink(root, process.join("root")).unwrap();
            let root = process.join("root");
            let started = Started {
                process: &process,
                go: goenv::Go { exe: Path::new("/usr/bin/go"), version },
                environment: &[("HOME".to_owned(), home.to_string_lossy().into_owned())],
                config: &config(&[("GOAUTH", goauth)]),
                files: &Files::of(&process, &root),
            };
            netrc(&started)
        }
    }

    #[test]
    fn a_netrc_is_that_of_the_process() {
        let there = Elsewhere::new(0);
        let (home, image) = (there.place("home"), there.place("image"));
        let path = home.join(".netrc");
        fs::create_dir(&home).unwrap();
        fs::write(&path, "machine ours").unwrap();
        let found = Some(path.to_string_lossy().into_owned());
        assert_eq!(there.netrc(Path::new("/"), &home), found);
        // In another root there is none, or another one.
        fs::create_dir(&image).unwrap();
        assert_eq!(there.netrc(&image, &home), None);
        let theirs = image.join(home.strip_prefix("/").unwrap());
        fs::create_dir_all(&theirs).unwrap();
        fs::write(theirs.join(".netrc"), "machine theirs").unwrap();
        assert_eq!(there.netrc(&image, &home), None);
    }

    /// Before Go 1.24 there is no GOAUTH.
    #[test]
    fn a_netrc_is_for_who_reads_it() {
        let there = Elsewhere::new(0);
        fs::write(there.place(".netrc"), "machine ours").unwrap();
        for (version, goauth, expected) in [
            ("go1.27.3", "off", false),
            ("go1.24.0", "/usr/bin/helper", false),
            ("go1.24.0", "/usr/bin/helper; netrc", true),
            ("go1.23.9", "off", true),
            ("go1.22.0", "/usr/bin/helper", true),
        ] {
            let found = there.netrc_for(Path::new("/"), there.0.path(), (version, goauth));
            assert_eq!(found.is_some(), expected, "{version} {goauth}");
        }
    }

    #[test]
    fn what_go_may_not_read_is_not_read() {
        if !Uid::effective().is_root() {
            return skip("not root");
        }
        let there = Elsewhere::new(4241);
        let path = there.place(".netrc");
        fs::write(&path, "machine ours").unwrap();
        let netrc = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            there.netrc(Path::new("/"), there.0.path())
        };
        assert_eq!(netrc(0o600), None);
        assert_eq!(netrc(0o604), Some(path.to_string_lossy().into_owned()));
    }
}
