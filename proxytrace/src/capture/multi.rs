//! `uprobe_multi`: one link for all probes of one executable (Linux 6.6 and later).
//!
//! aya 0.14 has perf links alone, each of which waits for RCU when it is closed: 110 ms a probe on
//! new kernels, so that every run would end seconds late.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::bpf::{bpf, fd_number, load_uprobe, path_to};
use super::object::Loaded;

/// `r0 = 0; exit`
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// A program that does nothing.
pub(super) fn nothing() -> io::Result<Program> {
    let attach = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    Ok(Program(load_uprobe(&NOTHING, attach, c"GPL")?))
}

/// Has the kernel ready to put probes in, until what is returned is closed.
///
/// The first probe in a while waits until all CPUs have passed through the scheduler, eight
/// milliseconds; those that follow soon do not (`percpu_down_write(&dup_mmap_sem)` in
/// `kernel/events/uprobes.c`, and `kernel/rcu/sync.c`). So this puts one into a file of our own that
/// nobody executes, while the real program is verified.
pub(super) fn make_ready() -> io::Result<OwnedFd> {
    let file = memfd_create(c"proxytrace", MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&file, 1)?;
    nothing()?.attach(&file.into(), &[(0, 0)])
}

/// A probe program that takes many addresses at once.
pub(crate) struct Program(pub(super) OwnedFd);

impl Program {
    /// Loads the uprobe program `name`, for attaching to many addresses.
    pub(super) fn load(object: &Loaded, name: &str) -> anyhow::Result<Self> {
        let attach = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        let program = Self(object.program(name, bpf_prog_type::BPF_PROG_TYPE_KPROBE, attach)?);
        program.try_attach()?;
        Ok(program)
    }

    /// Whether the kernel knows this way to attach. One that does not may load the program all the
    /// same (Linux 5.17 to 6.5 look at the attach type of no such program); one that does says of a
    /// directory that it is no file.
    fn try_attach(&self) -> anyhow::Result<()> {
        let refused = self.attach(&File::open("/")?, &[(0, 0)]).err();
        let errno = refused.and_then(|refused| refused.raw_os_error());
        anyhow::ensure!(errno == Some(libc::EBADF), "this kernel does not know `uprobe_multi`");
        Ok(())
    }

    /// Puts probes at `sites` (offset in the file, cookie) of an executable, until what is returned
    /// is closed.
    pub(crate) fn attach(&self, file: &File, sites: &[(u64, u64)]) -> io::Result<OwnedFd> {
        let path = path_to(file)?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = sites.iter().copied().unzip();
        // SAFETY: an all-zero attribute is valid; unused parts must be zero.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: these are the parts of the union that BPF_LINK_CREATE reads.
        unsafe {
            attr.link_create.__bindgen_anon_1.prog_fd = fd_number(&self.0);
            attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
            let multi = &mut attr.link_create.__bindgen_anon_3.uprobe_multi;
            multi.path = path.as_ptr() as u64;
            multi.offsets = offsets.as_ptr() as u64;
            multi.cookies = cookies.as_ptr() as u64;
            multi.cnt = u32::try_from(sites.len()).map_err(io::Error::other)?;
        }
        bpf(bpf_cmd::BPF_LINK_CREATE, &attr)
    }
}
