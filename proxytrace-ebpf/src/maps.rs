//! The maps, and what is counted.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use proxytrace_common::host::{ANY, Choices, FileKey, HostOffsets, Known, Member, Sampling};
use proxytrace_common::plan::{
    EXECUTABLES_MAX, Layout, Owner, RULES_MAX, Recipe, Root, SITES_MAX, TypeKey, TypeRule,
};

use crate::scratch::{SLOTS, Scratch};
use crate::tcp::SocketOwner;
use crate::verifier::{atomic_add_u64, set_by_user};
use crate::wire::Stream;

/// Records on their way to user space: room for two seconds of a busy go.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
/// What to read at each probed address; the attach cookie is the index.
#[map]
pub static SITES: Array<Recipe> = Array::with_max_entries(SITES_MAX, 0);
/// Offsets of each executable.
#[map]
pub static LAYOUTS: Array<Layout> = Array::with_max_entries(EXECUTABLES_MAX, 0);
/// What to read of values behind interfaces. Its memory is there from the start: kernels before 6.1
/// hold it for unsafe otherwise, and warn of it in their log (`check_map_prog_compatibility`).
#[map]
pub static TYPES: HashMap<TypeKey, TypeRule> =
    HashMap::with_max_entries(EXECUTABLES_MAX * RULES_MAX, 0);
/// The index in [`SITES`], left by the program in front of [`go_numbered`](crate::go::go_numbered).
#[map]
pub static NUMBER: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
/// Where that program jumps to.
#[map]
pub static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Empty, for ever: see [`on_the_tasks_stack`](crate::verifier::on_the_tasks_stack).
#[map]
pub static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The same for programs of `uprobe_multi`.
#[map]
pub static NOWHERE_MULTI: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Where the stderr of a command goes that a goroutine has started and waits for. No LRU: that
/// deals its places out to CPUs by the hundred, and removes what is needed while most of them are
/// empty (`bpf_lru_list_pop_free_to_local` in `kernel/bpf/bpf_lru_list.c`). What finds no room is
/// lost, and counted; user space removes what is left of processes that have ended.
#[map]
pub static KEPT: HashMap<Owner, u64> = HashMap::with_max_entries(4096, 0);
/// Processes of the traced command's tree; on a watched host, of all trees.
#[map]
pub static TRACKED: HashMap<u32, Member> = HashMap::with_max_entries(16384, 0);
/// On a watched host: files with probes. User space sets the size, here and
/// below.
#[map]
pub static KNOWN: HashMap<FileKey, Known> = HashMap::with_max_entries(1, 0);
/// Other files that were executed, and what user space has found: [`UNDECIDED`] at first.
///
/// [`UNDECIDED`]: proxytrace_common::host::UNDECIDED
#[map]
pub static SEEN: LruHashMap<FileKey, u32> = LruHashMap::with_max_entries(64, 0);
/// How trees are chosen.
#[map]
pub static SAMPLING: Array<Sampling> = Array::with_max_entries(1, 0);
/// How many trees were chosen, and what became of them.
#[map]
pub static CHOICES: Array<u64> = Array::with_max_entries(Choices::COUNT, 0);
/// The first process of that tree.
#[map]
pub static ROOT: Array<Root> = Array::with_max_entries(1, 0);
/// Sockets that traced processes connected, and who did. User space makes it larger, and the next
/// one, where there are many CPUs.
#[map]
pub static SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(16384, 0);
/// What those sockets carry.
#[map]
pub static STREAMS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(16384, 0);
/// The last fork and the last exec that was told of a process: see [`once`](crate::once).
#[map]
pub static TOLD: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);
/// Places where records are put together.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);
/// How often each probed address was hit, if that is counted. User space sets the size.
#[map]
pub static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// One number: records that were lost.
#[map]
pub static LOST: Array<u64> = Array::with_max_entries(1, 0);

/// Counts a record that will never arrive.
#[inline(always)]
pub fn lose_one() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the pointer is to a map's value.
        unsafe { atomic_add_u64(lost, 1) };
    }
}

/// Whether hits are counted. Set at load time: where they are not, the verifier drops the counting.
#[unsafe(no_mangle)]
static COUNT_HITS: Global<u32> = Global::new(0);

/// Counts a hit of a probed address.
#[inline(always)]
pub fn count_hit(site: u32) {
    if COUNT_HITS.load() != 0
        && let Some(hits) = HITS.get_ptr_mut(site)
    {
        // SAFETY: the pointer is to a map's value.
        unsafe { atomic_add_u64(hits, 1) };
    }
}

/// Where the fields are that only a watched host needs, and whether this is one. Set at load time:
/// where it is none, the verifier drops what is about it.
#[unsafe(no_mangle)]
static HOST: Global<HostOffsets> = Global::new(HostOffsets {
    binprm_file: 0,
    file_inode: 0,
    inode_number: 0,
    inode_size: 0,
    inode_super: 0,
    super_device: 0,
    super_magic: 0,
    task_start: 0,
    task_namespaces: 0,
    namespaces_mounts: 0,
    mounts_number: 0,
    task_parent: 0,
    task_pid: 0,
    task_fs: 0,
    fs_root: 0,
    is_on: 0,
});

/// See [`HOST`].
#[inline(always)]
pub fn host() -> &'static HostOffsets {
    set_by_user(&HOST)
}

/// Whether all of the host is watched.
#[inline(always)]
pub fn is_host() -> bool {
    host().is_on != 0
}

/// What a process belongs to, if it is followed.
#[inline(always)]
pub fn member(pid: u32) -> Option<&'static Member> {
    // SAFETY: entries are replaced as a whole, by the process itself or for it.
    unsafe { TRACKED.get(pid) }
}

/// A process of the traced command has become another program: of whatever executable the first hit
/// is from here on, its probes alone speak for it. Whether it is a process of that command.
#[inline(always)]
pub fn execute(pid: u32) -> bool {
    let Some(member) = TRACKED.get_ptr_mut(pid) else { return false };
    // SAFETY: the pointer is to a map's value.
    unsafe { (*member).executable = ANY };
    true
}

/// A process of the traced command was seen in this executable, the first since its exec.
#[inline(always)]
pub fn settle(pid: u32, executable: u32) {
    if let Some(member) = TRACKED.get_ptr_mut(pid) {
        // SAFETY: the pointer is to a map's value.
        unsafe { (*member).executable = executable };
    }
}

/// Whether records of a process are wanted.
#[inline(always)]
pub fn tracked(pid: u32) -> bool {
    member(pid).is_some_and(|member| !is_host() || member.tree != 0)
}
