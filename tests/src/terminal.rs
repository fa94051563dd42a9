//! Pseudo-terminals, of which no other program that is started meanwhile has an end: closing one hangs
//! up, as with openpty(3) it may not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};

/// A new one: the end of whoever looks at it, and that of programs.
pub fn open() -> io::Result<(File, File)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(ptsname_r(&master)?)?;
    Ok((File::from(OwnedFd::from(master)), slave))
}

/// Says how large it is.
pub fn resize(end: &File, size: &Winsize) -> io::Result<()> {
    // SAFETY: the size is read, and nothing else is done to memory.
    let done = unsafe { libc::ioctl(end.as_raw_fd(), libc::TIOCSWINSZ, size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
