//! `bpf(2)` itself, for what aya 0.14 does not do.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya::maps::{Map, MapData};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

/// Makes something of the kernel's that has a descriptor.
pub(super) fn bpf(command: bpf_cmd, attr: &bpf_attr) -> io::Result<OwnedFd> {
    descriptor(call(command, attr))
}

fn call(command: bpf_cmd, attr: &bpf_attr) -> libc::c_long {
    // SAFETY: the attribute outlives the call, and what it points to does in the callers.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw const *attr,
            size_of::<bpf_attr>(),
        )
    }
}

/// What a system call returned: a descriptor, or -1.
pub(super) fn descriptor(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn fd_number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// The descriptor of a map of ours.
pub(super) fn map_fd(map: &Map) -> anyhow::Result<BorrowedFd<'_>> {
    let data: &MapData = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => data,
        _ => anyhow::bail!("a map of a kind that no program here uses"),
    };
    Ok(data.fd().as_fd())
}

/// Sets an entry of an array.
pub(super) fn update(map: BorrowedFd<'_>, index: u32, value: &[u8]) -> io::Result<()> {
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: these are the parts of the union that BPF_MAP_UPDATE_ELEM reads.
    let part = unsafe { &mut attr.__bindgen_anon_2 };
    part.map_fd = map.as_raw_fd().cast_unsigned();
    part.key = &raw const index as u64;
    part.__bindgen_anon_1.value = value.as_ptr() as u64;
    done(call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &attr))
}

/// Lets nobody change a map any more, so that the verifier may take its values for constants.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    done(call(bpf_cmd::BPF_MAP_FREEZE, &attr))
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Attaches a program to a raw tracepoint.
pub(super) fn raw_tracepoint(program: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = fd_number(program);
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &attr)
}

/// Loads a program for uprobes of so many instructions, without a log. `attach`: how it will be
/// attached, where that must be said.
pub(super) fn load_uprobe(
    instructions: &[u64],
    attach: u32,
    license: &CStr,
) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: these are the parts of the union that BPF_PROG_LOAD reads.
    let part = unsafe { &mut attr.__bindgen_anon_3 };
    part.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    part.expected_attach_type = attach;
    part.insns = instructions.as_ptr() as u64;
    part.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    part.license = license.as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &attr)
}

/// Lets a program run at each hit of a perf event, with a cookie (Linux 5.15).
pub(super) fn link_event(program: &OwnedFd, event: &OwnedFd, cookie: u64) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = fd_number(program);
    attr.link_create.__bindgen_anon_2.target_fd = fd_number(event);
    attr.link_create.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    attr.link_create.__bindgen_anon_3.perf_event.bpf_cookie = cookie;
    bpf(bpf_cmd::BPF_LINK_CREATE, &attr)
}

/// Leads the kernel to an open file, whatever is under its name by now.
pub(super) fn path_to(file: &File) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?)
}

/// Puts a probe at an offset of a file, or of a function of the kernel, for all processes
/// (`perf_event_open(2)`, PMUs `uprobe` and `kprobe`).
pub(super) fn probe_event(kind: u32, name: &CStr, offset: u64) -> io::Result<OwnedFd> {
    use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};
    // SAFETY: an all-zero attribute is valid.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
    attr.type_ = kind;
    attr.__bindgen_anon_3.config1 = name.as_ptr() as u64;
    attr.__bindgen_anon_4.config2 = offset;
    let (every_process, some_cpu, no_group): (i32, i32, i32) = (-1, 0, -1);
    // SAFETY: the attribute and the name outlive the call.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            every_process,
            some_cpu,
            no_group,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    })
}

/// Lets a program run at each hit of a perf event, as long as the event is open.
pub(super) fn set_program(event: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    use aya_obj::generated::{PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF};
    let requests = [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)];
    for (request, argument) in requests {
        // SAFETY: both take a number, and keep no pointer.
        if unsafe { libc::ioctl(event.as_raw_fd(), request.into(), argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
