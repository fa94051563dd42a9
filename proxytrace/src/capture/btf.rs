//! Where a few fields are in the running kernel, from its BTF (`/sys/kernel/btf/vmlinux`).
//!
//! A scan of our own: aya's parser builds every type (25 to 72 ms a start) and does not tell member
//! offsets; this one passes over the types once and allocates one index (about 2 ms).
//! Format: the kernel's `Documentation/bpf/btf.rst`.

use std::fs::File;
use std::io::Read as _;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};
use proxytrace_common::host::HostOffsets;
use proxytrace_common::plan::KernelOffsets;

/// Where the kernel shows its own types.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the kernel's structures are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {KERNEL_BTF}: {0}; this kernel was built without CONFIG_DEBUG_INFO_BTF")]
    Unreadable(#[from] std::io::Error),
    #[error("{KERNEL_BTF} is not BTF that this version understands")]
    Malformed,
    #[error("{KERNEL_BTF} has no {0}.{1}")]
    Missing(&'static str, &'static str),
}

/// The file's bytes: five megabytes, that come page by page where they must be read.
enum Data {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Data {
    fn of(mut file: &File) -> std::io::Result<Self> {
        // Linux 6.16. SAFETY: the mapping is private, and the kernel's own types do not change.
        if let Ok(mapped) = unsafe { MmapOptions::new().map_copy_read_only(file) } {
            return Ok(Self::Mapped(mapped));
        }
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok(Self::Read(data))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(data) => data,
            Self::Read(data) => data,
        }
    }
}

/// Reads the offsets of the running kernel.
pub(crate) fn kernel_offsets() -> Result<KernelOffsets, Error> {
    let data = Data::of(&File::open(KERNEL_BTF)?)?;
    let types = Types::parse(&data).ok_or(Error::Malformed)?;
    let find = |structure, member| {
        types.offset(structure, member).ok_or(Error::Missing(structure, member))
    };
    Ok(KernelOffsets {
        task_tgid: find("task_struct", "tgid")?,
        task_mm: find("task_struct", "mm")?,
        task_signal: find("task_struct", "signal")?,
        task_exit_code: find("task_struct", "exit_code")?,
        task_thread_pid: find("task_struct", "thread_pid")?,
        task_start: find("task_struct", "start_time")?,
        task_exec_id: find("task_struct", "self_exec_id")?,
        task_stack: find("task_struct", "stack")?,
        stack_registers: stack_size()
            - types.size("pt_regs").ok_or(Error::Missing("pt_regs", "*"))?,
        pid_level: find("pid", "level")?,
        pid_numbers: find("pid", "numbers")?,
        pid_namespace_inum: find("pid_namespace", "ns")? + find("ns_common", "inum")?,
        signal_live: find("signal_struct", "live")?,
        mm_arg_start: find("mm_struct", "arg_start")?,
        mm_arg_end: find("mm_struct", "arg_end")?,
        mm_env_start: find("mm_struct", "env_start")?,
        mm_env_end: find("mm_struct", "env_end")?,
        binprm_filename: find("linux_binprm", "filename")?,
        sock_family: find("sock_common", "skc_family")?,
        sock_daddr: find("sock_common", "skc_daddr")?,
        sock_rcv_saddr: find("sock_common", "skc_rcv_saddr")?,
        sock_v6_daddr: find("sock_common", "skc_v6_daddr")?,
        sock_v6_rcv_saddr: find("sock_common", "skc_v6_rcv_saddr")?,
        sock_dport: find("sock_common", "skc_dport")?,
        sock_num: find("sock_common", "skc_num")?,
        sock_err: find("sock", "sk_err")?,
        tcp_write_seq: find("tcp_sock", "write_seq")?,
        tcp_copied_seq: find("tcp_sock", "copied_seq")?,
        tcp_rcv_nxt: find("tcp_sock", "rcv_nxt")?,
        sock_state: find("sock_common", "skc_state")?,
        task_files: find("task_struct", "files")?,
        files_fdt: find("files_struct", "fdt")?,
        fdtable_fd: find("fdtable", "fd")?,
        file_private_data: find("file", "private_data")?,
        socket_sk: find("socket", "sk")?,
    })
}

/// Reads those that a watched host needs besides.
pub(crate) fn host_offsets() -> Result<HostOffsets, Error> {
    let data = Data::of(&File::open(KERNEL_BTF)?)?;
    let types = Types::parse(&data).ok_or(Error::Malformed)?;
    let find = |structure, member| {
        types.offset(structure, member).ok_or(Error::Missing(structure, member))
    };
    Ok(HostOffsets {
        binprm_file: find("linux_binprm", "file")?,
        file_inode: find("file", "f_inode")?,
        inode_number: find("inode", "i_ino")?,
        inode_size: find("inode", "i_size")?,
        inode_super: find("inode", "i_sb")?,
        super_device: find("super_block", "s_dev")?,
        super_magic: find("super_block", "s_magic")?,
        task_start: find("task_struct", "start_boottime")?,
        task_namespaces: find("task_struct", "nsproxy")?,
        namespaces_mounts: find("nsproxy", "mnt_ns")?,
        mounts_number: find("mnt_namespace", "ns")? + find("ns_common", "inum")?,
        task_parent: find("task_struct", "real_parent")?,
        task_pid: find("task_struct", "pid")?,
        task_fs: find("task_struct", "fs")?,
        fs_root: find("fs_struct", "root")?,
        is_on: 1,
    })
}

/// Bytes of a task's stack in the kernel (`THREAD_SIZE`; `arch/x86/include/asm/page_64_types.h`,
/// `arch/arm64/include/asm/memory.h`). Programs check what they find by it.
fn stack_size() -> u32 {
    // SAFETY: it reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(page).unwrap_or(0).max(16 << 10)
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Every type's place, and the text that names them.
struct Types<'a> {
    records: &'a [u8],
    strings: &'a [u8],
    /// Offset in `records` of type id 1, 2, ….
    index: Vec<u32>,
}

impl<'a> Types<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        if word(data, 0)? & 0xffff != 0xeb9f {
            return None;
        }
        let header = word(data, 4)? as usize;
        let section = |offset: usize, length: usize| {
            let start = header.checked_add(word(data, offset)? as usize)?;
            data.get(start..start.checked_add(word(data, length)? as usize)?)
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let mut index = Vec::with_capacity(types.len() / 24);
        let mut at = 0;
        while at < types.len() {
            index.push(u32::try_from(at).ok()?);
            let (kind, count) = kind(word(types, at + 4)?);
            // Bytes after the common part, for each kind of type.
            let rest = match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                STRUCT | UNION | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                2 | 7..=12 | 16 | 18 => 0,
                _ => return None,
            };
            at += 12 + rest;
        }
        Some(Self { records: types, strings, index })
    }

    /// Offset in bytes of a member of a structure, anonymous members looked into.
    fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        self.member(self.structure(structure)?, member, 0)
    }

    /// Bytes of a structure.
    fn size(&self, structure: &str) -> Option<u32> {
        word(self.records, self.structure(structure)? as usize + 8)
    }

    fn structure(&self, name: &str) -> Option<u32> {
        self.index.iter().copied().find(|&at| {
            self.composite(at).is_some_and(|(kind, _)| kind == STRUCT) && self.is_named(at, name)
        })
    }

    fn member(&self, at: u32, name: &str, depth: u32) -> Option<u32> {
        let (_, count) = self.composite(at)?;
        let bitfields = word(self.records, at as usize + 4)? >> 31 == 1;
        (0..count).find_map(|i| {
            let member = at + 12 + 12 * u32::try_from(i).ok()?;
            let bits = word(self.records, member as usize + 8)?;
            let offset = if bitfields { bits & 0x00ff_ffff } else { bits } / 8;
            if self.is_named(member, name) {
                return Some(offset);
            }
            let anonymous = word(self.records, member as usize)? == 0 && depth < 8;
            let inner = anonymous.then(|| word(self.records, member as usize + 4)).flatten()?;
            let inner = *self.index.get((inner as usize).checked_sub(1)?)?;
            Some(offset + self.member(inner, name, depth + 1)?)
        })
    }

    /// Kind and number of members, for a structure or a union.
    fn composite(&self, at: u32) -> Option<(u32, usize)> {
        let (kind, count) = kind(word(self.records, at as usize + 4)?);
        matches!(kind, STRUCT | UNION).then_some((kind, count))
    }

    /// Whether the type or member that begins here has this name.
    fn is_named(&self, at: u32, name: &str) -> bool {
        word(self.records, at as usize)
            .and_then(|offset| self.strings.get(offset as usize..))
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn kind(info: u32) -> (u32, usize) {
    ((info >> 24) & 0x1f, (info & 0xffff) as usize)
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header, then `struct outer { int a; union { struct { int b; int c; }; }; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0";
        let (int, outer, a, b, c) = (1u32, 5, 11, 13, 15);
        let types: Vec<u32> = vec![
            int,
            1 << 24,
            4,
            32, // 1: int
            0,
            STRUCT << 24 | 2,
            8,
            b,
            1,
            0,
            c,
            1,
            32, // 2: anonymous struct
            0,
            UNION << 24 | 1,
            8,
            0,
            2,
            0, // 3: anonymous union
            outer,
            STRUCT << 24 | 2,
            12,
            a,
            1,
            0,
            0,
            3,
            32, // 4: outer
        ];
        let length = u32::try_from(4 * types.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, length, length, u32::try_from(strings.len()).unwrap()];
        let words = header.iter().chain(&types);
        words.flat_map(|word| word.to_ne_bytes()).chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let data = sample();
        let types = Types::parse(&data).unwrap();
        assert_eq!(types.offset("outer", "a"), Some(0));
        assert_eq!(types.offset("outer", "b"), Some(4));
        assert_eq!(types.offset("outer", "c"), Some(8));
        assert_eq!(types.offset("outer", "d"), None);
        assert_eq!(types.offset("inner", "a"), None);
        assert_eq!(types.size("outer"), Some(12));
    }

    #[test]
    fn broken_data_is_refused() {
        let data = sample();
        for end in 0..data.len() {
            // A cut in the strings leaves names unknown; anywhere else there is nothing to read.
            if let Some(types) = Types::parse(&data[..end]) {
                assert_eq!(types.offset("outer", "c"), None);
            }
        }
    }
}
