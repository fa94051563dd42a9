//! Reading kernel structures, by offsets that user space took from the kernel's BTF.

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use proxytrace_common::plan::KernelOffsets;

use crate::verifier::set_by_user;

/// A map of its own, which user space writes before anything is attached: it finds the offsets while
/// the programs are being verified, which would need constants from the start.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.kernel")]
static KERNEL: Global<KernelOffsets> = Global::new(KernelOffsets {
    task_tgid: 0,
    task_mm: 0,
    task_signal: 0,
    task_exit_code: 0,
    task_thread_pid: 0,
    task_start: 0,
    task_exec_id: 0,
    task_stack: 0,
    stack_registers: 0,
    pid_level: 0,
    pid_numbers: 0,
    pid_namespace_inum: 0,
    signal_live: 0,
    mm_arg_start: 0,
    mm_arg_end: 0,
    mm_env_start: 0,
    mm_env_end: 0,
    binprm_filename: 0,
    sock_family: 0,
    sock_daddr: 0,
    sock_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_dport: 0,
    sock_num: 0,
    sock_err: 0,
    tcp_write_seq: 0,
    tcp_copied_seq: 0,
    tcp_rcv_nxt: 0,
    sock_state: 0,
    task_files: 0,
    files_fdt: 0,
    fdtable_fd: 0,
    file_private_data: 0,
    socket_sk: 0,
});

/// Where the fields are in this kernel.
#[inline(always)]
pub fn offsets() -> &'static KernelOffsets {
    set_by_user(&KERNEL)
}

/// Reads a field of a kernel structure; none if the memory cannot be read.
#[inline(always)]
pub fn read<T: Copy>(structure: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const T) }.ok()
}
