//! Telling once what comes twice.
//!
//! The kernel does not run a program on a raw tracepoint while the same program is running on that
//! CPU: it counts a miss and goes on (`__bpf_trace_run` in `kernel/trace/bpf_trace.c`, Linux 6.1).
//! As long as nobody can preempt such a program, an interrupt alone can come meanwhile: it changes
//! states of sockets. Since tracepoints are protected by SRCU instead of preemption being off,
//! another task can, and what it does then goes unseen. So what may be missed has two programs
//! there (`capture/program.rs`): what one misses, the other sees; what both see is told by the
//! first.

use aya_ebpf::helpers::bpf_get_current_task;

use crate::kernel::{offsets, read};
use crate::maps::TOLD;

const FORK: u64 = 1 << 32;
const EXEC: u64 = 2 << 32;

/// Whether this is the first that is heard of a new process.
#[inline(always)]
pub fn fork(pid: u32, task: u64) -> bool {
    read::<u64>(task, offsets().task_start).is_none_or(|start| first(FORK | u64::from(pid), start))
}

/// Whether this is the first that is heard of the new image of the running process.
#[inline(always)]
pub fn exec(pid: u32) -> bool {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let (Some(start), Some(count)) =
        (read::<u64>(task, offsets().task_start), read::<u32>(task, offsets().task_exec_id))
    else {
        return true;
    };
    // Both grow: the sum tells images of a process apart, and processes of the same number.
    first(EXEC | u64::from(pid), start.wrapping_add(u64::from(count)))
}

#[inline(always)]
fn first(key: u64, instance: u64) -> bool {
    // SAFETY: the value is copied at once.
    if unsafe { TOLD.get(key) }.is_some_and(|told| *told == instance) {
        return false;
    }
    // Where there is no room it may be told twice, which is better than not at all.
    let _ = TOLD.insert(key, instance, 0);
    true
}
