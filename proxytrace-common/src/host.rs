//! Watching all of a host: which processes are followed is decided in the kernel, at exec.
//!
//! A *tree* begins where a process that belongs to none becomes a `go` command. All that it starts
//! belongs to it. Trees are chosen or passed over as a whole.

/// What a followed process belongs to. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Member {
    /// Its tree, see [`tree`]; zero if that is passed over.
    pub tree: u64,
    /// Index of the executable that it runs, whose probes alone speak for it; [`ANY`] if that is
    /// not known. Two mounts can show one file under two names, each of which has probes, and all of
    /// these are hit.
    pub executable: u32,
    /// The process with which its tree began, whether that is passed over or not.
    pub root: u32,
}

/// Not known which executable.
pub const ANY: u32 = u32::MAX;

impl Member {
    /// A process of the one traced command, of which nobody asks how it began.
    pub const OF_COMMAND: Self = Self { tree: 1, executable: ANY, root: 0 };
}

/// Names a file as the kernel sees it, as long as it is not changed. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct FileKey {
    /// `inode.i_ino`.
    pub inode: u64,
    /// `inode.i_size`: a file that is written anew has another one.
    pub size: u64,
    /// `super_block.s_dev`, in the kernel's own encoding: see [`FileKey::device`]; of any overlay
    /// [`FileKey::OVERLAY`].
    pub device: u32,
    /// Zero.
    pub padding: u32,
}

impl FileKey {
    /// In place of the device of an overlay: each container has one of its own, with a device of its
    /// own, which shows the inode numbers of the files behind it.
    pub const OVERLAY: u32 = u32::MAX;

    /// A device number as the kernel has it (`include/linux/kdev_t.h`, `MKDEV`).
    #[must_use]
    pub const fn device(major: u32, minor: u32) -> u32 {
        major << 20 | minor
    }
}

/// What the kernel side knows of a file that has probes. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// Index of the executable.
    pub executable: u32,
    /// Zero.
    pub padding: u32,
    /// When it was last executed, by `CLOCK_MONOTONIC`, in nanoseconds; zero if it was not.
    pub used: u64,
}

/// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
pub const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// A smaller file is no `go` command: Go's smallest has nine megabytes.
pub const GO_SIZE_MIN: u64 = 4 << 20;
/// Files that have no probes and are remembered.
pub const SEEN_MAX: u32 = 8192;
/// Nobody has looked yet at a file that was executed: whoever executes it is to be told of.
pub const UNDECIDED: u32 = 0;
/// It is nothing to be told of.
pub const PASSED_OVER: u32 = 1;
/// It is a `go` command that got no probes: it is to be told of where a tree is followed, which is
/// not seen whole then.
pub const REFUSED: u32 = 2;

/// What is counted of trees, as places in an array of numbers.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choices {
    /// Passed over in the kernel.
    PassedOver = 0,
    /// Chosen in the kernel.
    Chosen = 1,
    /// Of those, the ones of which user space has nothing more to tell, less those that it chose
    /// itself and has yet to tell of. It writes this for whoever comes after it.
    Told = 2,
}

impl Choices {
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// How trees are chosen; user space may change it at any time. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sampling {
    /// Makes the choice another one on each host.
    pub seed: u64,
    /// A tree is chosen if its [`choice`] is below: 2^32 chooses all.
    pub threshold: u64,
}

/// The number that decides whether a tree is chosen: the same for the same host and process.
/// `start` is when the process was forked, in ticks of ten milliseconds since boot, as
/// `/proc/PID/stat` has it.
///
/// The finalizer of `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators), once for each input.
#[must_use]
#[inline]
pub const fn choice(seed: u64, pid: u32, start: u64) -> u32 {
    (mix(mix(seed ^ start) ^ pid as u64) >> 32) as u32
}

#[inline]
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Nanoseconds in a tick of [`choice`] (`USER_HZ` is 100 on every machine that Go supports).
pub const TICK_NS: u64 = 10_000_000;

/// Bits of a pid (`PID_MAX_LIMIT` of the kernel's `include/linux/threads.h`).
const PID_BITS: u64 = 0x3f_ffff;

/// Names the tree that a process began at this time (`CLOCK_MONOTONIC`, in nanoseconds): within
/// four milliseconds no pid comes twice.
#[must_use]
#[inline]
pub const fn tree(time: u64, pid: u32) -> u64 {
    time & !PID_BITS | pid as u64 & PID_BITS
}

/// The process that began a tree of this name.
#[must_use]
pub const fn first_of(tree: u64) -> u32 {
    (tree & PID_BITS) as u32
}

/// Byte offsets in structures of the running kernel, from its BTF, that only a host needs.
///
/// Relied on, Linux 5.10 to 7.3: `include/linux/binfmts.h`, `fs.h`, `sched.h`, `nsproxy.h`,
/// `fs_struct.h`, `fs/mount.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HostOffsets {
    /// `linux_binprm.file`.
    pub binprm_file: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `inode.i_ino`.
    pub inode_number: u32,
    /// `inode.i_size`.
    pub inode_size: u32,
    /// `inode.i_sb`.
    pub inode_super: u32,
    /// `super_block.s_dev`.
    pub super_device: u32,
    /// `super_block.s_magic`: which type of file system.
    pub super_magic: u32,
    /// `task_struct.start_boottime`.
    pub task_start: u32,
    /// `task_struct.nsproxy`.
    pub task_namespaces: u32,
    /// `nsproxy.mnt_ns`.
    pub namespaces_mounts: u32,
    /// `mnt_namespace.ns.inum`.
    pub mounts_number: u32,
    /// `task_struct.real_parent`.
    pub task_parent: u32,
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// `task_struct.fs`.
    pub task_fs: u32,
    /// `fs_struct.root`, a `path`: the mount, and the directory in it.
    pub fs_root: u32,
    /// Not zero if all of the host is watched.
    pub is_on: u32,
}

const _: () = assert!(size_of::<Member>() == 16);
const _: () = assert!(size_of::<FileKey>() == 24);
const _: () = assert!(size_of::<Known>() == 16);
const _: () = assert!(size_of::<Sampling>() == 16);
const _: () = assert!(size_of::<HostOffsets>() == 64);

#[cfg(feature = "user")]
mod pod {
    use super::{FileKey, HostOffsets, Known, Member, Sampling};

    // SAFETY: `#[repr(C)]` integers without padding, valid for any bit pattern.
    unsafe impl aya::Pod for Member {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FileKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Known {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Sampling {}
    // SAFETY: as above.
    unsafe impl aya::Pod for HostOffsets {}
}
