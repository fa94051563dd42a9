//! Opening what others have a hand in: under a name where a file is expected there may be anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// The longest configuration file that is read: go's own are a few hundred bytes.
const CONFIG_FILE_MAX: u64 = 1 << 20;

/// How often a look-up is tried: one with `..` in it is broken off where anybody on the machine has
/// renamed or mounted something meanwhile (openat2(2), EAGAIN).
const TRIES: usize = 16;

/// Opens a regular file for reading. Nothing else is opened: a FIFO would be waited for, and to open
/// a device can be an order to it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // It names the file, and opens nothing yet (open(2), O_PATH).
    reopen(&OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?)
}

/// The same of what was named and not opened yet (`O_PATH`).
pub(super) fn reopen(named: &File) -> io::Result<File> {
    if !named.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(format!("/proc/self/fd/{}", named.as_raw_fd()))
}

/// Opens what whoever has this root finds under this path: links, too, lead to where they lead
/// there.
pub(super) fn open_below(root: &Path, path: &Path) -> Option<File> {
    try_open_below(root, path).ok()
}

/// The same, or why not.
pub(super) fn try_open_below(root: &Path, path: &Path) -> io::Result<File> {
    if !path.is_absolute() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(root, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    reopen(&unbroken(|| openat2(&root, path, how))?.into())
}

/// Tries again what was broken off.
fn unbroken<T>(mut look_up: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 1..TRIES {
        match look_up() {
            Err(Errno::EAGAIN) => {}
            found => return found,
        }
    }
    look_up()
}

/// The text of a regular file of reasonable size.
pub(super) fn read_small_file(path: &Path) -> Option<String> {
    small_file(open(path).ok()?)
}

/// The text of a file of reasonable size.
pub(super) fn small_file(file: File) -> Option<String> {
    let mut text = Vec::new();
    file.take(CONFIG_FILE_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use nix::errno::Errno;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::{TRIES, open, unbroken};

    #[test]
    fn files_alone_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("file"), "x").unwrap();
        symlink("file", place("link")).unwrap();
        mkfifo(&place("fifo"), Mode::S_IRWXU).unwrap();
        symlink("fifo", place("link-to-fifo")).unwrap();
        for name in ["file", "link"] {
            let mut text = String::new();
            open(&place(name)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "x", "{name}");
        }
        // Whoever opens a FIFO waits until somebody writes to it.
        for name in ["fifo", "link-to-fifo", "nothing", "."] {
            assert!(open(&place(name)).is_err(), "{name}");
        }
        assert!(open("/dev/null".as_ref()).is_err());
    }

    #[test]
    fn what_was_broken_off_is_tried_again() {
        for (breaks, found) in [
            (0, Ok(1)),
            (1, Ok(2)),
            (2, Ok(3)),
            (TRIES - 1, Ok(TRIES)),
            (TRIES, Err((Errno::EAGAIN, TRIES))),
        ] {
            let mut tries = 0;
            let looked_up = unbroken(|| {
                tries += 1;
                if tries > breaks { Ok(tries) } else { Err(Errno::EAGAIN) }
            });
            assert_eq!(looked_up.map_err(|error| (error, tries)), found, "{breaks}");
        }
        let mut tries = 0;
        let refused = unbroken::<()>(|| {
            tries += 1;
            Err(Errno::ENOENT)
        });
        assert_eq!((refused, tries), (Err(Errno::ENOENT), 1));
    }
}
