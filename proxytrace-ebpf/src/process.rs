//! Processes: the traced command's tree is followed from its root, by fork.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use proxytrace_common::host::Member;
use proxytrace_common::plan::upid;
use proxytrace_common::record::{ENVIRONMENT_CHUNK, ENVIRONMENT_MAX, Kind, Tag};

use crate::host;
use crate::kernel::{offsets, read};
use crate::maps::{ROOT, TRACKED, execute, is_host, lose_one, member};
use crate::once;
use crate::scratch::{Scratch, Urgency, record, with};
use crate::verifier::{Step, repeat};

/// Process id (thread group) of the running task.
#[inline(always)]
pub fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(ctx: RawTracePointContext) -> i32 {
    let parent = current_pid();
    let Some(&member) = member(parent) else { return 0 };
    let Some(child) = read::<u32>(ctx.arg::<u64>(1), offsets().task_tgid) else {
        lose_one();
        return 0;
    };
    // A new thread is not a new process.
    if child == parent || !once::fork(child, ctx.arg::<u64>(1)) {
        return 0;
    }
    let inserted = TRACKED.insert(child, member, 0).is_ok();
    if is_host() && member.tree == 0 {
        return 0;
    }
    if !inserted {
        lose_one();
    }
    record(Kind::Fork, Urgency::Later, |scratch| {
        scratch.put(Tag::Child, &u64::from(child));
        if let Some(pid) = struct_pid(ctx.arg::<u64>(1))
            && let Some(level) = read::<u32>(pid, offsets().pid_level)
            && let Some(own) = number(pid, level)
        {
            scratch.put(Tag::OwnPid, &u64::from(own));
        }
        true
    });
    0
}

/// `sched_process_exec(struct task_struct *, pid_t old_pid, struct linux_binprm *)`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(ctx: RawTracePointContext) -> i32 {
    if is_host() {
        host::exec(ctx.arg::<u64>(2));
        return 0;
    }
    if !execute(current_pid()) && !meet_root() {
        return 0;
    }
    if !once::exec(current_pid()) {
        return 0;
    }
    let binprm = ctx.arg::<u64>(2);
    record(Kind::Exec, Urgency::Now, |scratch| {
        image(scratch, binprm);
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task() };
        if let Some(root) = ROOT.get(0)
            && let Some(pid) = struct_pid(task)
            && let Some(number) = number(pid, root.level)
        {
            scratch.put(Tag::RootsPid, &u64::from(number));
        }
        true
    });
    0
}

/// Adds what a process has become.
#[inline(always)]
pub fn image(scratch: &mut Scratch, binprm: u64) {
    let filename = read::<u64>(binprm, offsets().binprm_filename).unwrap_or(0);
    scratch.put_kernel_string(Tag::Executable, filename);
    arguments(scratch);
}

/// `struct pid` of a task.
#[inline(always)]
fn struct_pid(task: u64) -> Option<u64> {
    read::<u64>(task, offsets().task_thread_pid).filter(|&pid| pid != 0)
}

/// The number of a process in the namespace so deep below the initial one.
#[inline(always)]
fn number(pid: u64, level: u32) -> Option<u32> {
    read::<u32>(pid + u64::from(level * upid::SIZE), offsets().pid_numbers + upid::NUMBER)
}

/// Whether the running task is the command's first process, of which only the pid in its own
/// namespace was known. From here on it is followed.
#[inline(always)]
fn meet_root() -> bool {
    let Some(root) = ROOT.get_ptr_mut(0) else { return false };
    // SAFETY: the pointer is to a map's value.
    let root = unsafe { &mut *root };
    if root.pid == 0 {
        return false;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let Some(pid) = struct_pid(task) else { return false };
    let Some(level) = read::<u32>(pid, offsets().pid_level) else { return false };
    let Some(own) = number(pid, level) else { return false };
    if own != root.pid {
        return false;
    }
    let place = offsets().pid_numbers + upid::NAMESPACE;
    let Some(namespace) = read::<u64>(pid + u64::from(level * upid::SIZE), place) else {
        return false;
    };
    if read::<u32>(namespace, offsets().pid_namespace_inum) != Some(root.namespace) {
        return false;
    }
    root.level = level;
    root.pid = 0;
    if TRACKED.insert(current_pid(), Member::OF_COMMAND, 0).is_err() {
        lose_one();
    }
    true
}

/// `sched_process_exit(struct task_struct *)`, once for each thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(_: RawTracePointContext) -> i32 {
    let pid = current_pid();
    let Some(&member) = member(pid) else { return 0 };
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let offsets = offsets();
    // do_exit has counted this thread out already: at zero the process is at its end.
    let live = read::<u64>(task, offsets.task_signal)
        .and_then(|signal| read::<i32>(signal, offsets.signal_live));
    if live.is_some_and(|live| live > 0) {
        return 0;
    }
    if is_host() && member.tree == 0 {
        let _ = TRACKED.remove(pid);
        return 0;
    }
    let status = read::<i32>(task, offsets.task_exit_code).unwrap_or(0);
    record(Kind::Exit, Urgency::Later, |scratch| {
        scratch.put(Tag::Status, &(status as u64));
        true
    });
    let _ = TRACKED.remove(pid);
    0
}

/// Start and length of a piece of the running process's memory that the kernel keeps bounds of.
#[inline(always)]
fn bounds(start: u32, end: u32) -> Option<(u64, u64)> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm = read::<u64>(task, offsets().task_mm)?;
    let start = read::<u64>(mm, start)?;
    let end = read::<u64>(mm, end)?;
    Some((start, end.saturating_sub(start)))
}

/// Adds the arguments of the running process.
#[inline(always)]
pub fn arguments(scratch: &mut Scratch) {
    let offsets = offsets();
    if let Some((start, length)) = bounds(offsets.mm_arg_start, offsets.mm_arg_end) {
        scratch.put_user_bytes(Tag::Arguments as u8, start, length);
    }
}

/// Sends the environment of the running process, in pieces.
#[inline(always)]
pub fn environment<const HELPER: bool>(executable: u32) {
    let offsets = offsets();
    let Some((start, length)) = bounds(offsets.mm_env_start, offsets.mm_env_end) else { return };
    with(|scratch| {
        scratch.rest = (start, length);
        scratch.executable = executable;
        repeat::<Piece, HELPER>(scratch);
    });
}

/// The next piece of the environment.
struct Piece;

impl Step for Piece {
    const TURNS: u32 = (ENVIRONMENT_MAX / ENVIRONMENT_CHUNK) as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        let (from, left) = scratch.rest;
        if left == 0 {
            return false;
        }
        let taken = if left > ENVIRONMENT_CHUNK as u64 { ENVIRONMENT_CHUNK as u64 } else { left };
        scratch.rest = (from + taken, left - taken);
        scratch.begin(Kind::Environment, bpf_get_current_pid_tgid());
        scratch.header().executable = scratch.executable;
        // All that is left, in the last turn: what does not fit is cut, and marked so.
        let length = if turn + 1 == u64::from(Self::TURNS) { left } else { taken };
        scratch.put_user_bytes(Tag::Environment as u8, from, length);
        scratch.send(Urgency::Later);
        true
    }
}
