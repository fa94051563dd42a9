//! Why there is no plan.

/// What was tried on the executable, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The headers of the file contradict themselves or point outside of it.
    #[error("cannot read the ELF file: {0}; it is damaged or incomplete, reinstall it")]
    Elf(#[from] object::Error),
    /// A part of the file would be loaded around the end of the address space.
    #[error("the ELF segment at {address:#x} does not fit; the file is damaged, reinstall it")]
    Segment {
        /// Where it begins.
        address: u64,
    },
    /// More pointers than any go command has.
    #[error("there are too many ELF relocations; the file is damaged, reinstall it")]
    Relocations,
    /// Machine code that cannot be proven.
    #[error("cannot probe {architecture} code; use a Go toolchain for x86-64 or arm64 Linux")]
    Architecture {
        /// What the ELF header says.
        architecture: String,
    },
    /// No build info.
    #[error("no Go build info found in the file; trace an executable built by the Go toolchain")]
    NotGo,
    /// Build info of Go 1.17 or older.
    #[error(
        "the build info has the pointer form of Go 1.17 and older; use one of {}",
        super::layout::SUPPORTED
    )]
    PointerBuildInfo,
    /// Build info that cannot be read.
    #[error("the Go build info is damaged: {0}; reinstall the executable")]
    BuildInfo(&'static str),
    /// A Go executable, but another program than the go command.
    #[error("only the go command (cmd/go) has hooks; this is {main_package:?}")]
    NotGoCommand {
        /// Import path of its main package.
        main_package: String,
    },
    /// A version without known layouts, and not newer than those that have one.
    #[error(
        "no struct layouts for {go_version:?}; use a released toolchain, one of {}",
        super::layout::SUPPORTED
    )]
    Version {
        /// From the build info.
        go_version: String,
    },
    /// A version newer than the table, to which the newest row does not fit.
    #[error(
        "no struct layouts for {go_version:?}, and those of {nearest} do not fit ({missing}); \
         use one of {}",
        super::layout::SUPPORTED
    )]
    NearestVersion {
        /// From the build info.
        go_version: String,
        /// The row tried.
        nearest: String,
        /// The first hook that could not be proven, and why.
        missing: String,
    },
    /// The function table is absent or contradicts itself.
    #[error("cannot read Go's function table (.gopclntab): {0}; use an unmodified Go toolchain")]
    FunctionTable(&'static str),
    /// The runtime's description of the module is absent or contradicts itself.
    #[error("cannot find Go's runtime.moduledata: {0}; use an unmodified Go toolchain")]
    ModuleData(&'static str),
    /// The tables of types contradict themselves.
    #[error("cannot read Go's type tables: {0}; use an unmodified Go toolchain")]
    Types(&'static str),
}

/// Why a function has no probes, or none after its calls.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unproven {
    #[error("the executable has no function of this name")]
    Absent,
    #[error("the executable has {count} functions of this name")]
    Ambiguous { count: usize },
    #[error("its end is not where code can end")]
    Extent,
    #[error("{address:#x} is not an instruction")]
    Undecodable { address: u64 },
    #[error("the branch at {address:#x} goes into the middle of an instruction")]
    SplitInstruction { address: u64 },
    #[error("its stack check does not come first")]
    StackCheck,
    #[error("its entry at {address:#x} is inside a loop")]
    Loop { address: u64 },
    #[error("{address:#x} leaves the function, and not by a plain return")]
    OtherExit { address: u64 },
    #[error("it never returns")]
    NoReturn,
    #[error("{address:#x} refers to it, and is no call")]
    Reference { address: u64 },
    #[error("there is data that points to it, at {address:#x}")]
    Pointer { address: u64 },
    #[error("there is more code around it than any go command has")]
    Crowded,
    #[error("nothing calls it as was expected")]
    Uncalled,
    #[error("its caller has branches whose targets are in a table")]
    JumpTable,
    #[error("other ways lead to {address:#x}, behind a call")]
    Join { address: u64 },
    #[error("what the call at {address:#x} returns is not handed on")]
    Changed { address: u64 },
    #[error("no call through the interface was found, or several")]
    Dispatch,
}
