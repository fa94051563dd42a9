//! The gate: no `go` of the command's tree runs before its probes are in place.
//!
//! fanotify holds a process in `execve` while it asks us whether it may open the executable, so
//! there is all the time it takes to read it and to put probes into it. The answer is always yes,
//! and if this process dies the kernel gives that answer itself. Only the command's tree is held:
//! it has a mount namespace of its own, and the marks are on that namespace's mounts.
//!
//! What it cannot see is a mount made later, another mount namespace (a container), or a file system
//! that is not known to be this machine's own, which may refuse us what it gives to others (NFS): a `go`
//! there is met at its exec event instead, and reported as late, unless its executable has probes from
//! before. So is a `go` that is executed while we are stopped with the command.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags,
    Response,
};

use super::mounts::{self, Mount};

/// File systems that are this machine's own, and have executables, as the kernel names them.
///
/// The kernel opens for us what is executed: where a server or a program has the last word, root may
/// not read what its user may, and then the exec is denied. So these alone are watched, and not all but
/// some. They are known by their names: to ask for their magic numbers is to wait for a server that is
/// gone, and to mount what mounts itself; nor would those tell `fuseblk`, which is root's to mount on a
/// disk, from `fuse`.
const LOCAL: [&str; 29] = [
    "aufs", "bcachefs", "btrfs", "ecryptfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs",
    "fuseblk", "hfsplus", "iso9660", "jffs2", "jfs", "msdos", "nilfs2", "ntfs3", "overlay",
    "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "udf", "vfat", "xfs", "zfs",
];

/// `FS_IOC_GET_ENCRYPTION_POLICY` and `struct fscrypt_policy_v1` (`include/uapi/linux/fscrypt.h`).
const POLICY_1: u32 = 0x400c_6615;
const POLICY_1_SIZE: usize = 12;

/// Watches the execs of one mount namespace.
pub(super) struct Gate {
    fanotify: Fanotify,
    /// Which one, as the kernel names it.
    namespace: PathBuf,
}

impl Gate {
    /// Watches the mount namespace of the process `pid`. An error means that this kernel, or these
    /// privileges, do not allow it.
    pub(super) fn new(pid: i32) -> anyhow::Result<Self> {
        let fanotify = Fanotify::init(
            InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK,
            EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE,
        )?;
        let namespace = namespace_of(pid)?;
        let mounts = fs::read(format!("/proc/{pid}/mountinfo"))?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let closed_to_us = encrypted_for_its_user(pid, &mounts);
        let mut marked = 0;
        for mount in executable_mounts(&mounts) {
            let path = root.join(mount.strip_prefix("/").unwrap_or(&mount));
            let is_closed = |device| fs::metadata(&path).is_ok_and(|it| it.dev() == device);
            if closed_to_us.is_some_and(is_closed) {
                continue;
            }
            let mark = fanotify.mark::<_, Path>(
                MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT,
                MaskFlags::FAN_OPEN_EXEC_PERM,
                nix::fcntl::AT_FDCWD,
                Some(&path),
            );
            // One mount that cannot be marked (another user's FUSE) leaves the others watched; what
            // comes from it is met late, and said to be.
            marked += usize::from(mark.is_ok());
        }
        anyhow::ensure!(marked > 0, "no mount could be watched");
        Ok(Self { fanotify, namespace })
    }

    /// Watches no more; yields which mount namespace that was.
    pub(super) fn close(self) -> PathBuf {
        self.namespace
    }

    /// Watches it anew. Not if the process has moved to another one since: the mounts of that may
    /// be those of others, who would be held.
    pub(super) fn again(pid: i32, namespace: &Path) -> Option<Self> {
        let is_there = namespace_of(pid).is_ok_and(|current| current == namespace);
        is_there.then(|| Self::new(pid).ok()).flatten()
    }

    /// Whoever waits at the gate now: `look` is shown each executable, then it may pass.
    pub(super) fn admit(&self, mut look: impl FnMut(BorrowedFd<'_>)) {
        while let Ok(events) = self.fanotify.read_events() {
            if events.is_empty() {
                break;
            }
            for event in events {
                self.pass(&event, &mut look);
            }
        }
    }

    fn pass(&self, event: &FanotifyEvent, look: &mut impl FnMut(BorrowedFd<'_>)) {
        let Some(file) = event.fd() else { return };
        if event.mask().contains(MaskFlags::FAN_OPEN_EXEC_PERM) {
            look(file);
            let _ = self.fanotify.write_response(FanotifyResponse::new(file, Response::FAN_ALLOW));
        }
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }
}

/// The name of the mount namespace of a process: `mnt:[4026531841]`.
fn namespace_of(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt"))
}

/// The device of the file system that a process works in, if its directory there is encrypted and the
/// key is in a keyring of its user, which root does not have (fscrypt, version 1). Whoever opens a
/// file there first must have the key, and that would be we. Nobody else's file system is asked: to
/// open a directory is to wait for a server that is gone.
fn encrypted_for_its_user(pid: i32, mountinfo: &[u8]) -> Option<u64> {
    let link = format!("/proc/{pid}/cwd");
    let mount = mounts::around(mountinfo, &fs::read_link(&link).ok()?)?;
    executable_mount(&mount)?;
    let directory = File::open(link).ok()?;
    let mut policy = [0_u8; POLICY_1_SIZE];
    // SAFETY: the kernel writes no more than the size that is part of the number. It knows policies
    // of version 1 alone, and has an error for anything else.
    let found =
        unsafe { libc::ioctl(directory.as_raw_fd(), POLICY_1.into(), policy.as_mut_ptr()) } == 0;
    found.then(|| directory.metadata().ok().map(|it| it.dev())).flatten()
}

/// The mount points of all of `mountinfo` that are to be watched. Names need not be UTF-8: what is
/// no text is found nowhere, and costs no other mount its mark.
fn executable_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    String::from_utf8_lossy(mountinfo).lines().filter_map(executable_mount).collect()
}

/// The mount point of a line of `mountinfo`, if programs can be executed from it, and watched.
fn executable_mount(line: &str) -> Option<PathBuf> {
    let mount = Mount::parse(line)?;
    // Of FUSE, whatever is behind it.
    let kind = mount.kind.split('.').next()?;
    let is_noexec = mount.options.split(',').any(|option| option == "noexec");
    (LOCAL.contains(&kind) && !is_noexec).then(|| mount.point())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::gettid;
    use xtask::process::skip;

    use super::*;

    #[test]
    fn the_same_mounts_alone_are_watched_again() {
        let again = thread::spawn(|| {
            let this = gettid().as_raw();
            unshare(CloneFlags::CLONE_NEWNS)?;
            let namespace = Gate::new(this)?.close();
            let same = Gate::again(this, &namespace).is_some();
            unshare(CloneFlags::CLONE_NEWNS)?;
            anyhow::Ok((same, Gate::again(this, &namespace).is_some()))
        });
        let Ok(again) = again.join().unwrap() else { return skip("execs cannot be held") };
        assert_eq!(again, (true, false));
    }

    #[test]
    fn what_is_not_encrypted_is_open_to_us() {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        assert_eq!(encrypted_for_its_user(std::process::id().cast_signed(), &mounts), None);
    }

    fn watched(line: &str) -> Option<PathBuf> {
        executable_mount(line)
    }

    #[test]
    fn mounts_that_programs_run_from_are_watched() {
        assert_eq!(watched("27 1 254:0 / / rw - ext4 /dev/vda rw"), Some("/".into()));
        assert_eq!(
            watched(r"40 27 0:9 / /mnt/a\040b rw,relatime shared:3 - tmpfs t rw"),
            Some("/mnt/a b".into())
        );
        assert_eq!(watched("22 27 0:21 / /proc rw - proc proc rw"), None);
        assert_eq!(watched("41 27 0:9 / /data rw,noexec - ext4 /dev/b rw"), None);
        assert_eq!(watched("42 27 8:1 / /disk rw - fuseblk /dev/sda1 rw"), Some("/disk".into()));
        assert_eq!(watched("43 27 0:44 / / rw - overlay overlay rw,lowerdir=/l"), Some("/".into()));
        assert_eq!(watched("garbage"), None);
        assert_eq!(watched(""), None);
    }

    /// As of a stick whose label is Latin-1.
    #[test]
    fn a_name_that_is_no_text_leaves_the_others_watched() {
        let lines = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            28 27 8:1 / /media/\xe4 rw - vfat /dev/sda1 rw\n\
            29 27 0:9 / /tmp rw - tmpfs t rw\n";
        let mounts = executable_mounts(lines);
        for mount in ["/", "/tmp"] {
            assert!(mounts.contains(&PathBuf::from(mount)), "{mounts:?}");
        }
    }

    /// There root may not read what its user may.
    #[test]
    fn what_others_have_the_last_word_over_is_not_watched() {
        const KINDS: &str = "9p afs beegfs ceph cifs fuse fuse.sshfs gpfs lustre nfs4 orangefs \
                             panfs vboxsf virtiofs wekafs one.of.tomorrow";
        for kind in KINDS.split(' ') {
            let line = format!("42 27 0:52 / /home rw - {kind} server: rw");
            assert_eq!(watched(&line), None, "{kind}");
        }
    }
}
