//! A network and a mount namespace for the calling thread, and what it spawns from there.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves the calling thread, and no other, into namespaces where only loopback exists, where each
/// `(file, path)` of `files` shows `file` at `path`, and where `memory` is a directory in memory.
///
/// Needs `CAP_SYS_ADMIN`.
pub(crate) fn enter(files: &[(&Path, &str)], memory: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces: the lab needs root")?;
    // Without this the mounts below would spread to the whole machine.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    for (file, path) in files {
        mount(Some(*file), *path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot put {} over {path}", file.display()))?;
    }
    mount(Some("tmpfs"), memory, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a tmpfs on {}", memory.display()))?;
    raise_loopback().context("cannot bring up the loopback interface")
}

/// Brings `lo` up, and with it all of 127.0.0.0/8 (netdevice(7)).
fn raise_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: `ifreq` is a C struct of integers and bytes, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("flags of 16 bits");
    // SAFETY: the descriptor is open, and SIOCSIFFLAGS reads one `ifreq` and keeps no pointer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
