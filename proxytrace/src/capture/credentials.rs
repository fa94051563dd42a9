//! Looking at files as another user does.
//!
//! By what the kernel has for that, which is of one thread: nobody else in this process becomes
//! somebody else meanwhile, nor can the user send this thread a signal.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{
    ForkResult, Gid, Uid, fork, getgroups, pipe2, setfsgid, setfsuid, setgroups, setresgid,
    setresuid,
};

/// Where /proc says what a process may do.
const MAY: &str = "CapEff:";
/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH` (`include/uapi/linux/capability.h`).
const MAY_READ_ALL: u64 = 1 << 1 | 1 << 2;
/// No user, and no group: it asks which it is.
const NOBODY: u32 = u32::MAX;

/// A user other than ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

impl Credentials {
    /// Those by which a process, where /proc has it, may open files or not; none where it may open
    /// all, or has gone.
    pub(super) fn of_process(process: &Path) -> Option<Self> {
        let may = u64::from_str_radix(&status(process, MAY)?, 16).ok()?;
        if may & MAY_READ_ALL != 0 {
            return None;
        }
        // Real, effective, saved, and of the file system (proc_pid_status(5)).
        let number = |field| status(process, field)?.split_whitespace().nth(3)?.parse().ok();
        let (uid, gid) = (Uid::from_raw(number("Uid:")?), Gid::from_raw(number("Gid:")?));
        Some(Self { uid, gid, groups: groups_of(process)? })
    }

    /// Does something as this user may do it with files. An error means that it was not done, for we
    /// may not act as another.
    pub(super) fn act<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        let groups = getgroups()?;
        set_groups(&self.groups)?;
        let gid = setfsgid(self.gid);
        let uid = setfsuid(self.uid);
        let is_done = setfsuid(Uid::from_raw(NOBODY)) == self.uid
            && setfsgid(Gid::from_raw(NOBODY)) == self.gid
            // Root alone loses what it may do beside by that.
            && uid.is_root();
        let done = is_done.then(act);
        setfsuid(uid);
        setfsgid(gid);
        set_groups(&groups)?;
        done.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Becomes this user, for good.
    pub(super) fn assume(&self) -> nix::Result<()> {
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)
    }

    /// Looks for a file as this user altogether, in a process of its own: FUSE looks at the real
    /// and the saved user, too, which [`act`](Self::act) leaves as they are. The outer error is
    /// that nobody could be asked. To be called while there is one thread.
    pub(super) fn ask(
        &self,
        find: impl FnOnce() -> io::Result<PathBuf>,
    ) -> io::Result<io::Result<PathBuf>> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: this process has one thread here, so the child may do what it likes.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                drop(write);
                let mut answer = Vec::new();
                let all = File::from(read).read_to_end(&mut answer);
                let _ = waitpid(child, None);
                all?;
                let none = io::ErrorKind::UnexpectedEof;
                let (number, path) = answer.split_first_chunk::<4>().ok_or(none)?;
                Ok(match i32::from_ne_bytes(*number) {
                    0 => Ok(OsStr::from_bytes(path).into()),
                    number => Err(io::Error::from_raw_os_error(number)),
                })
            }
            ForkResult::Child => {
                drop(read);
                if self.assume().is_ok() {
                    let (number, path) = match find() {
                        Ok(path) => (0, path),
                        Err(error) => (number_of(&error), PathBuf::new()),
                    };
                    let answer = [&number.to_ne_bytes()[..], path.as_os_str().as_bytes()].concat();
                    let _ = File::from(write).write_all(&answer);
                }
                // SAFETY: nothing of this process's may run any more, destructors included.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

/// The errno of an error, or the one that says the same.
fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => libc::ENOENT,
        _ => libc::EACCES,
    })
}

/// setgroups(2) for this thread: the library's is for all.
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let numbers: Vec<u32> = groups.iter().map(|group| group.as_raw()).collect();
    // SAFETY: so many numbers are there to be read.
    match unsafe { libc::syscall(libc::SYS_setgroups, numbers.len(), numbers.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The supplementary groups of a process.
pub(super) fn groups_of(process: &Path) -> Option<Vec<Gid>> {
    let groups = status(process, "Groups:")?;
    groups.split_whitespace().map(|group| group.parse().ok().map(Gid::from_raw)).collect()
}

/// A field of `/proc/PID/status`.
pub(super) fn status(process: &Path, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use xtask::process::skip;

    use super::*;

    fn of(numbers: u32, groups: &[u32]) -> Credentials {
        let groups = groups.iter().copied().map(Gid::from_raw).collect();
        Credentials { uid: Uid::from_raw(numbers), gid: Gid::from_raw(numbers), groups }
    }

    #[test]
    fn files_are_opened_as_that_user_may() {
        if !Uid::effective().is_root() {
            return skip("not root");
        }
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, group, mode) in [("of-root", 0, 0o600), ("of-group", 4242, 0o640)] {
            fs::write(place(name), "x").unwrap();
            chown(place(name), Some(0), Some(group)).unwrap();
            fs::set_permissions(place(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(place("shared")).unwrap();
        chown(place("shared"), Some(0), Some(4242)).unwrap();
        fs::set_permissions(place("shared"), fs::Permissions::from_mode(0o770)).unwrap();
        let before = getgroups().unwrap();

        let member = of(4241, &[4242]);
        let can_read =
            |who: &Credentials, name: &str| who.act(|| File::open(place(name)).is_ok()).unwrap();
        assert!(!can_read(&member, "of-root") && can_read(&member, "of-group"));
        assert!(!can_read(&of(4241, &[]), "of-group"));
        let file = member.act(|| File::create(place("shared/new"))).unwrap().unwrap();
        let owner = file.metadata().unwrap();
        assert_eq!((owner.uid(), owner.gid()), (4241, 4241));

        // And it is over then.
        assert_eq!(getgroups().unwrap(), before);
        assert!(File::open(place("of-root")).is_ok());
        // Root's own groups are not lent with that.
        assert!(!can_read(&of(4243, &[]), "of-group"));
    }

    #[test]
    fn who_is_asked_is_that_user_in_every_respect() {
        if !Uid::effective().is_root() {
            return skip("not root");
        }
        let user = of(4241, &[4242, 4243]);
        let four_times = "4241\t4241\t4241\t4241";
        for (field, expected) in
            [("Uid:", four_times), ("Gid:", four_times), ("Groups:", "4242 4243")]
        {
            let told = user.ask(|| {
                let told = status(Path::new("/proc/self"), field);
                Ok(told.ok_or(io::ErrorKind::NotFound)?.into())
            });
            assert_eq!(told.unwrap().unwrap(), Path::new(expected));
        }
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            let told = user.ask(|| Err(kind.into())).unwrap();
            assert_eq!(told.unwrap_err().kind(), kind);
        }
        // And we are who we were.
        assert!(Uid::current().is_root() && Uid::effective().is_root());
    }

    #[test]
    fn a_process_is_asked_for_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let status = |may: &str| {
            let lines = "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t";
            fs::write(directory.path().join("status"), format!("{lines}{may}\n")).unwrap();
            Credentials::of_process(directory.path())
        };
        let (uid, gid) = (Uid::from_raw(4), Gid::from_raw(8));
        let groups = vec![Gid::from_raw(9), Gid::from_raw(10)];
        assert_eq!(status("0000000000000000"), Some(Credentials { uid, gid, groups }));
        assert_eq!(status("0000000000000004"), None);
        assert_eq!(Credentials::of_process(Path::new("/nonexistent")), None);
    }
}
