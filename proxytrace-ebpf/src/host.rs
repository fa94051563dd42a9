//! All of a host: trees of processes that begin at a `go` command, chosen at its exec.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_ktime_get_ns};
use proxytrace_common::host::{
    ANY, Choices, FileKey, GO_SIZE_MIN, Member, OVERLAY_MAGIC, REFUSED, Sampling, TICK_NS,
    UNDECIDED, choice, tree,
};
use proxytrace_common::record::{Kind, Tag};

use crate::kernel::{offsets, read};
use crate::maps::{CHOICES, KNOWN, SAMPLING, SEEN, TRACKED, host, lose_one, member};
use crate::once;
use crate::process::{current_pid, image};
use crate::scratch::{Scratch, Urgency, record};
use crate::verifier::atomic_add_u64;

/// What is to be said of an exec.
struct Said {
    /// Of what nobody belonged to before: its tree, and how that was chosen.
    begins: Option<(u64, u64)>,
    /// A file to be looked at.
    file: Option<FileKey>,
    executable: u32,
}

/// The running process has become another program.
///
/// Of a file that has no probes user space is told until it has looked, as it may be a `go` command.
#[inline(always)]
pub fn exec(binprm: u64) {
    let Some(key) = file_key(binprm) else { return };
    let pid = current_pid();
    let known = KNOWN.get_ptr_mut(key).map(|known| {
        // SAFETY: the pointer is to a map's value, and the helper has no arguments. What is in use is
        // to keep its probes, whoever of those that use it is passed over.
        unsafe {
            (*known).used = bpf_ktime_get_ns();
            (*known).executable
        }
    });
    let executable = known.unwrap_or(ANY);
    // Not copied before it is known to be there: the compiler then reads what it has not stored, and
    // the verifier says "`R1 !read_ok`".
    let before = member(pid);
    let is_followed = before.is_some_and(|before| before.tree != 0);
    let file = (known.is_none() && is_news(&key, is_followed)).then_some(key);
    if before.is_none() && known.is_none() && file.is_none() || !once::exec(pid) {
        return;
    }
    let begins = if let Some(&before) = before {
        let _ = TRACKED.insert(pid, Member { executable, ..before }, 0);
        if before.tree == 0 && file.is_none() {
            return;
        }
        None
    } else {
        let Some(begins) = choose(pid) else { return };
        // What is not known to be a `go` command becomes a tree if user space says so.
        if known.is_some() {
            let member = Member { tree: begins.0, executable, root: pid };
            if TRACKED.insert(pid, member, 0).is_err() {
                lose_one();
                return;
            }
            count(if begins.0 == 0 { Choices::PassedOver } else { Choices::Chosen });
            if begins.0 == 0 {
                return;
            }
        }
        Some(begins)
    };
    tell(binprm, &Said { begins, file, executable });
}

#[inline(always)]
fn tell(binprm: u64, said: &Said) {
    record(Kind::Exec, Urgency::Now, |scratch| {
        scratch.header().executable = said.executable;
        if let Some((tree, threshold)) = said.begins {
            scratch.put(Tag::Tree, &tree);
            scratch.put(Tag::Threshold, &threshold);
        }
        if let Some(file) = said.file {
            scratch.put(Tag::FileKey, &file);
            if let Some(parent) = parent() {
                scratch.put(Tag::Parent, &u64::from(parent));
            }
        }
        if let Some(mounts) = mounts() {
            scratch.put(Tag::Mounts, &u64::from(mounts));
            ancestors(scratch);
        }
        image(scratch, binprm);
        true
    });
}

/// The process that started the running one.
#[inline(always)]
fn parent() -> Option<u32> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    read(read::<u64>(task, host().task_parent)?, offsets().task_tgid)
}

/// The mount namespace of the running process.
#[inline(always)]
fn mounts() -> Option<u32> {
    let offsets = host();
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let namespaces = read::<u64>(task, offsets.task_namespaces)?;
    read(read::<u64>(namespaces, offsets.namespaces_mounts)?, offsets.mounts_number)
}

/// How far above a process those are looked for who see the same files.
const ANCESTORS: usize = 4;

/// Adds those who see the same files as the running process. Most live longer: they wait for it.
#[inline(always)]
fn ancestors(scratch: &mut Scratch) {
    // SAFETY: a helper without arguments.
    let mut task = unsafe { bpf_get_current_task() };
    let ours = view(task);
    for _ in 0..ANCESTORS {
        let Some(parent) = read::<u64>(task, host().task_parent) else { return };
        task = parent;
        if ours.is_some()
            && view(task) == ours
            && let Some(thread) = read::<u32>(task, host().task_pid)
        {
            scratch.put(Tag::Ancestor, &u64::from(thread));
        }
    }
}

/// What a task sees of files: its mount namespace, and the mount and the directory that is its root.
#[inline(always)]
fn view(task: u64) -> Option<(u64, u64, u64)> {
    let offsets = host();
    let namespaces = read::<u64>(task, offsets.task_namespaces)?;
    let fs = read::<u64>(task, offsets.task_fs)?;
    let [mount, directory] = read::<[u64; 2]>(fs, offsets.fs_root)?;
    Some((read(namespaces, offsets.namespaces_mounts)?, mount, directory))
}

/// The tree that this process begins, zero if it is passed over; and the threshold.
#[inline(always)]
fn choose(pid: u32) -> Option<(u64, u64)> {
    let Sampling { seed, threshold } = *SAMPLING.get(0)?;
    // SAFETY: helpers without arguments.
    let (task, now) = unsafe { (bpf_get_current_task(), bpf_ktime_get_ns()) };
    let start = read::<u64>(task, host().task_start)? / TICK_NS;
    let chosen = u64::from(choice(seed, pid, start)) < threshold;
    Some((if chosen { tree(now, pid) } else { 0 }, threshold))
}

#[inline(always)]
fn count(choice: Choices) {
    if let Some(count) = CHOICES.get_ptr_mut(choice as u32) {
        // SAFETY: the pointer is to a map's value.
        unsafe { atomic_add_u64(count, 1) };
    }
}

/// Whether a file may be a `go` command, as far as user space has found out; in a tree that is
/// followed, also whether it is one without probes.
#[inline(always)]
fn is_news(key: &FileKey, is_followed: bool) -> bool {
    if key.size < GO_SIZE_MIN {
        return false;
    }
    // SAFETY: the value is copied at once.
    if let Some(&found) = unsafe { SEEN.get(key) } {
        return found == UNDECIDED || found == REFUSED && is_followed;
    }
    let _ = SEEN.insert(key, UNDECIDED, 0);
    true
}

/// The file that is executed.
#[inline(always)]
fn file_key(binprm: u64) -> Option<FileKey> {
    let offsets = host();
    let file = read::<u64>(binprm, offsets.binprm_file)?;
    let inode = read::<u64>(file, offsets.file_inode)?;
    let super_block = read::<u64>(inode, offsets.inode_super)?;
    let is_overlay = read(super_block, offsets.super_magic) == Some(OVERLAY_MAGIC);
    Some(FileKey {
        inode: read(inode, offsets.inode_number)?,
        size: read(inode, offsets.inode_size)?,
        device: if is_overlay {
            FileKey::OVERLAY
        } else {
            read(super_block, offsets.super_device)?
        },
        padding: 0,
    })
}
