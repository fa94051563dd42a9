//! What the probe program reads, as data: one [`Recipe`] a probed address, one [`Layout`] an
//! executable, one [`TypeRule`] a Go type that it may meet behind an interface.

use crate::record::{Kind, Tag};

/// Fields a recipe can read besides its header map, error and connection.
pub const FIELDS_MAX: usize = 8;
/// Offsets in an [`Operand`]: up to three pointers followed, and one last displacement.
pub const OFFSETS_MAX: usize = 4;
/// Probed addresses over all executables of one trace.
pub const SITES_MAX: u32 = 4096;
/// Executables of one trace.
pub const EXECUTABLES_MAX: u32 = 64;
/// Go types of one executable for which there is a rule.
pub const RULES_MAX: u32 = 64;
/// "Not there" for an offset in a [`TypeRule`].
pub const NONE: u16 = u16::MAX;

/// How an [`Operand`] is read.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// Nothing: an unused place.
    Absent = 0,
    /// The register itself, as a number.
    Register = 1,
    /// A string whose pointer is the register `register` and whose length is `length_register`.
    RegisterString = 2,
    /// Eight bytes at the operand's address, as a number.
    U64 = 3,
    /// A string header (pointer, length) at the operand's address.
    String = 4,
    /// One, if the pointer at the operand's address is not nil, otherwise zero.
    NotNil = 5,
    /// An interface (type word, data word) in the registers `register` and `length_register`.
    RegisterInterface = 6,
    /// An interface (type word, data word) at the operand's address.
    Interface = 7,
    /// The pointer to a header map (`http.Header`) at the operand's address.
    HeaderMap = 8,
    /// A string as [`Read::RegisterString`], but of one that is too long the end.
    RegisterStringEnd = 9,
    /// As [`Read::String`], but of one that is too long the end.
    StringEnd = 10,
    /// A `[]net.IPAddr` whose pointer is the register `register` and whose length is
    /// `length_register`.
    Addresses = 11,
}

/// Where a value is and how to read it.
///
/// The address starts as the value of a register. For each of the first `dereferences` offsets, the
/// offset is added and the pointer found there becomes the address (a nil ends the read: the field
/// is absent). The offset after those is added last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
pub struct Operand {
    /// The [`Tag`] under which the value is recorded.
    pub tag: u8,
    /// A [`Read`].
    pub read: u8,
    /// Integer argument register, counted in the order of Go's register ABI (0 is AX or X0).
    pub register: u8,
    /// The second register of a string or an interface that is passed in registers.
    pub length_register: u8,
    /// Pointers to follow: 0 to 3.
    pub dereferences: u8,
    /// Zero.
    pub padding: [u8; 3],
    /// Byte offsets: one for each pointer followed, and one more.
    pub offsets: [u16; OFFSETS_MAX],
}

impl Operand {
    /// The operand that reads nothing.
    pub const ABSENT: Self = Self {
        tag: 0,
        read: Read::Absent as u8,
        register: 0,
        length_register: 0,
        dereferences: 0,
        padding: [0; 3],
        offsets: [0; OFFSETS_MAX],
    };

    /// A value held in one register, or in two neighbouring ones (`register` and the next).
    #[must_use]
    pub const fn register(tag: Tag, read: Read, register: u8) -> Self {
        Self {
            tag: tag as u8,
            read: read as u8,
            register,
            length_register: register + 1,
            ..Self::ABSENT
        }
    }

    /// A value in memory, reached from a register by a path of one to four offsets.
    #[must_use]
    pub const fn memory(tag: Tag, read: Read, register: u8, path: &[u16]) -> Self {
        assert!(!path.is_empty() && path.len() <= OFFSETS_MAX);
        let mut operand = Self { tag: tag as u8, read: read as u8, register, ..Self::ABSENT };
        let mut i = 0;
        while i < path.len() {
            operand.offsets[i] = path[i];
            i += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most OFFSETS_MAX, asserted above")]
        {
            operand.dereferences = (path.len() - 1) as u8;
        }
        operand
    }
}

/// In place of a register: what was kept for the goroutine. No argument and no result of a hook is
/// in the register with this number.
pub const KEPT: u8 = 15;
/// In place of a register: what [`Recipe::base`] points to. As for [`KEPT`], none is there.
pub const BASE: u8 = 14;

/// Who something is kept for: a goroutine of a process. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Owner {
    /// Its number.
    pub goroutine: u64,
    /// The process, by its pid in the initial namespace.
    pub process: u32,
    /// Zero.
    pub padding: u32,
}

/// Values of one probe that are not in their registers any more, but on the stack.
pub const SPILLS_MAX: usize = 4;

/// Where on the stack the value of an argument register is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
pub struct Spill {
    /// The register, in Go's order.
    pub register: u16,
    /// Bytes from the stack pointer; [`NONE`] in an unused place.
    pub offset: u16,
}

impl Spill {
    /// An unused place.
    pub const NONE: Self = Self { register: 0, offset: NONE };
}

/// What the program does at one probed address. The attach cookie is its index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
pub struct Recipe {
    /// Link-time virtual address of the probed instruction; the load bias of a
    /// position-independent executable is the instruction pointer minus this.
    pub address: u64,
    /// Index of the executable's [`Layout`].
    pub executable: u32,
    /// The [`Kind`] of the record.
    pub kind: u16,
    /// How many of `fields` are used.
    pub field_count: u16,
    /// A pointer that several of the following start from: it is read once, and is [`BASE`] for
    /// them. [`Operand::ABSENT`] if there is none.
    pub base: Operand,
    /// Strings and numbers.
    pub fields: [Operand; FIELDS_MAX],
    /// What is read one by one: a header map, of which the allow-listed headers are read, or a slice
    /// of addresses.
    pub several: Operand,
    /// An interface holding an error, walked through what it wraps.
    pub error: Operand,
    /// An interface holding a connection, walked down to the socket's addresses; where a command
    /// starts, its stderr, beside which [`Recipe::STDOUT`] is among the fields.
    pub interface: Operand,
    /// A number that decides whether there is a record at all; [`Operand::ABSENT`] if there always
    /// is one.
    pub filter: Operand,
    /// The bits of the number that count.
    pub filter_mask: u64,
    /// What they must be.
    pub filter_value: u64,
    /// Registers whose values are on the stack at this address. The unused places come last.
    pub spills: [Spill; SPILLS_MAX],
}

impl Recipe {
    /// Which of the fields is the stdout of a command that starts.
    pub const STDOUT: usize = 0;

    /// A recipe that records nothing but that the address was reached.
    #[must_use]
    pub const fn marker(kind: Kind) -> Self {
        Self {
            address: 0,
            executable: 0,
            kind: kind as u16,
            field_count: 0,
            base: Operand::ABSENT,
            fields: [Operand::ABSENT; FIELDS_MAX],
            several: Operand::ABSENT,
            error: Operand::ABSENT,
            interface: Operand::ABSENT,
            filter: Operand::ABSENT,
            filter_mask: u64::MAX,
            filter_value: 0,
            spills: [Spill::NONE; SPILLS_MAX],
        }
    }
}

/// How maps are laid out: `runtime.hmap` to Go 1.23, Swiss tables since.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapKind {
    /// `runtime.hmap`: B at 9, buckets at 16; buckets of 8.
    Buckets = 0,
    /// `internal/runtime/maps.Map`: directory pointer at 16, its length at 24; groups of 8.
    Swiss = 1,
}

/// Offsets that every probe in one executable needs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
pub struct Layout {
    /// `runtime.g.goid`.
    pub goid: u16,
    /// `runtime.g.parentGoid`, or [`NONE`] (before Go 1.21).
    pub parent_goid: u16,
    /// A [`MapKind`].
    pub map: u32,
}

/// What a Go type means to the interface walk.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Anything else: named in the error chain, not looked into further than its rule says.
    Other = 0,
    /// `*crypto/tls.Conn`: `next` is the connection below it.
    TlsConn = 1,
    /// `*net.TCPConn`: its first word is the `*net.netFD`.
    TcpConn = 2,
    /// `*net.TCPAddr`: the other end of a connection to be.
    TcpAddr = 3,
    /// `*bytes.Buffer`.
    Buffer = 4,
}

/// What to read of a value behind an interface. The key is [`TypeKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
pub struct TypeRule {
    /// A [`Role`].
    pub role: u8,
    /// Bytes of the number at `number`: 1, 2, 4 or 8; zero for none.
    pub number_size: u8,
    /// Offset of a string worth recording, or [`NONE`].
    pub string: u16,
    /// Offset of a number worth recording (an errno, a status), or [`NONE`].
    pub number: u16,
    /// Offset of an interface holding a `*net.TCPAddr`, or [`NONE`].
    pub address: u16,
    /// Offset of the interface to go on with (the wrapped error, the connection below), or [`NONE`].
    pub next: u16,
    /// Offset of a second string (the name asked for in a DNS error), or [`NONE`].
    pub second_string: u16,
    /// Offset of a third string (the name server in a DNS error), or [`NONE`].
    pub third_string: u16,
    /// Zero.
    pub padding: u16,
}

impl TypeRule {
    /// The rule that reads nothing.
    pub const NAMED: Self = Self {
        role: Role::Other as u8,
        number_size: 0,
        string: NONE,
        number: NONE,
        address: NONE,
        next: NONE,
        second_string: NONE,
        third_string: NONE,
        padding: 0,
    };
}

/// The key of a [`TypeRule`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TypeKey {
    /// Link-time address of the type descriptor.
    pub address: u64,
    /// Index of the executable.
    pub executable: u32,
    /// Zero.
    pub padding: u32,
}

/// `net.netFD`: the address interfaces. The same from Go 1.19 to 1.27.
pub mod net_fd {
    /// Data word of `laddr`.
    pub const LOCAL: u64 = 104;
    /// Data word of `raddr`.
    pub const REMOTE: u64 = 120;
}

/// `net.TCPAddr`. The same from Go 1.19 to 1.27.
pub mod tcp_addr {
    /// `Port`; the slice `IP` comes first.
    pub const PORT: u64 = 24;
}

/// `net.IPAddr`; the slice `IP` comes first. The same from Go 1.19 to 1.27.
pub mod ip_addr {
    /// Bytes of one.
    pub const SIZE: u64 = 40;
}

/// A `map[string][]string` to Go 1.23: `runtime.hmap` and its buckets of eight.
pub mod bucket_map {
    /// `hmap.B`, one byte: the logarithm of the number of buckets.
    pub const B: u64 = 9;
    /// `hmap.buckets`.
    pub const BUCKETS: u64 = 16;
    /// `hmap.oldbuckets`.
    pub const OLD_BUCKETS: u64 = 24;
    /// Keys in a bucket, one after the other; eight hashes come first.
    pub const KEYS: u64 = 8;
    /// Values in a bucket.
    pub const VALUES: u64 = 136;
    /// The pointer to the bucket that goes on where this one is full.
    pub const OVERFLOW: u64 = 328;
    /// Bytes of a bucket.
    pub const BUCKET_SIZE: u64 = 336;
}

/// A `map[string][]string` since Go 1.24: `internal/runtime/maps.Map`, its tables, and their groups
/// of eight.
pub mod swiss_map {
    /// `Map.dirPtr`; `Map.dirLen` follows.
    pub const DIRECTORY: u64 = 16;
    /// `table.groups`: the pointer to them, and a mask that is their number less one.
    pub const GROUPS: u64 = 16;
    /// Slots in a group; the control word comes first.
    pub const SLOTS: u64 = 8;
    /// Bytes of a slot: a key and a value.
    pub const SLOT_SIZE: u64 = 40;
    /// Bytes of a group.
    pub const GROUP_SIZE: u64 = 328;
}

/// The process that is followed, together with all that it starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Root {
    /// Its pid in its own namespace, until it is met at its exec; zero from then on, and where it is
    /// known from the start.
    pub pid: u32,
    /// Inode of that namespace.
    pub namespace: u32,
    /// How deep that is below the initial one.
    pub level: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct upid` (`include/linux/pid.h`).
pub mod upid {
    /// `nr`.
    pub const NUMBER: u32 = 0;
    /// `ns`.
    pub const NAMESPACE: u32 = 8;
    /// Bytes of one.
    pub const SIZE: u32 = 16;
}

/// Byte offsets in structures of the running kernel, read from its BTF.
///
/// Relied on, Linux 5.10 to 7.3: `include/linux/sched.h`, `sched/signal.h`, `mm_types.h`,
/// `binfmts.h`, `fdtable.h`, `fs.h`, `net.h`, `tcp.h`, `include/net/sock.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KernelOffsets {
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// `task_struct.thread_pid`.
    pub task_thread_pid: u32,
    /// `task_struct.start_time`, in nanoseconds.
    pub task_start: u32,
    /// `task_struct.self_exec_id`: how many images it and its forebears have had; its lower half.
    pub task_exec_id: u32,
    /// `task_struct.stack`.
    pub task_stack: u32,
    /// From there to the registers of the program in a system call.
    pub stack_registers: u32,
    /// `pid.level`: how deep its own namespace is below the initial one.
    pub pid_level: u32,
    /// `pid.numbers`: a [`upid`] for each namespace, the initial one first.
    pub pid_numbers: u32,
    /// `pid_namespace.ns.inum`.
    pub pid_namespace_inum: u32,
    /// `signal_struct.live`: threads that have not exited.
    pub signal_live: u32,
    /// `mm_struct.arg_start`.
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`.
    pub mm_arg_end: u32,
    /// `mm_struct.env_start`.
    pub mm_env_start: u32,
    /// `mm_struct.env_end`.
    pub mm_env_end: u32,
    /// `linux_binprm.filename`.
    pub binprm_filename: u32,
    /// `sock_common.skc_family`.
    pub sock_family: u32,
    /// `sock_common.skc_daddr`.
    pub sock_daddr: u32,
    /// `sock_common.skc_rcv_saddr`.
    pub sock_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`.
    pub sock_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`.
    pub sock_v6_rcv_saddr: u32,
    /// `sock_common.skc_dport`, network byte order.
    pub sock_dport: u32,
    /// `sock_common.skc_num`, host byte order.
    pub sock_num: u32,
    /// `sock.sk_err`.
    pub sock_err: u32,
    /// `tcp_sock.write_seq`: the sequence number after the last byte that was written.
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`: the sequence number of the first byte that was not read yet.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.rcv_nxt`: the sequence number of the next byte that the other end will send.
    pub tcp_rcv_nxt: u32,
    /// `sock_common.skc_state`.
    pub sock_state: u32,
    /// `task_struct.files`.
    pub task_files: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.fd`.
    pub fdtable_fd: u32,
    /// `file.private_data`: of a socket, the `struct socket`.
    pub file_private_data: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
}

const _: () = assert!(size_of::<KernelOffsets>() == 140);
const _: () = assert!(size_of::<Root>() == 16);
const _: () = assert!(size_of::<Operand>() == 16);
const _: () = assert!(size_of::<Owner>() == 16);
const _: () = assert!(size_of::<Recipe>() == 32 + 16 * (FIELDS_MAX + 5) + 4 * SPILLS_MAX);
const _: () = assert!(size_of::<Spill>() == 4);
const _: () = assert!(size_of::<Layout>() == 8);
const _: () = assert!(size_of::<TypeRule>() == 16);
const _: () = assert!(size_of::<TypeKey>() == 16);

#[cfg(feature = "user")]
mod pod {
    use super::{KernelOffsets, Layout, Owner, Recipe, Root, TypeKey, TypeRule};

    // SAFETY: `#[repr(C)]` integers without padding, valid for any bit pattern.
    unsafe impl aya::Pod for Recipe {}
    // SAFETY: as above.
    unsafe impl aya::Pod for KernelOffsets {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Root {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Layout {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Owner {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TypeRule {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TypeKey {}
}
