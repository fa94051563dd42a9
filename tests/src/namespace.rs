//! A network and a mount namespace for the calling thread, and what it spawns from there.

use std::fs;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves the calling thread, and no other, into namespaces where only loopback exists, where each
/// `(path, contents)` of `files` that is there has these contents, and where `memory` is a directory
/// in memory. `dir` is where the contents are kept.
///
/// Needs `CAP_SYS_ADMIN`.
pub(crate) fn enter(dir: &Path, files: &[(&str, String)], memory: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces: the lab needs root")?;
    // Without this the mounts below would spread to the whole machine.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    for (path, contents) in files {
        let path = Path::new(path);
        if !path.exists() {
            continue;
        }
        let file = dir.join(path.file_name().context("a path without a name")?);
        fs::write(&file, contents)?;
        mount(Some(&file), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot put {} over {}", file.display(), path.display()))?;
    }
    mount(Some("tmpfs"), memory, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a tmpfs on {}", memory.display()))?;
    raise_loopback().context("cannot bring up the loopback interface")?;
    // A SYN that nobody answers is given up after seconds, rather than minutes.
    fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").context("cannot set tcp_syn_retries")
}

/// Brings `lo` up, and with it all of 127.0.0.0/8 (netdevice(7)).
fn raise_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: `ifreq` is a C struct of integers and bytes, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        // Signed or not, as the machine's C has it.
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("flags of 16 bits");
    // SAFETY: the descriptor is open, and SIOCSIFFLAGS reads one `ifreq` and keeps no pointer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
