//! The architectures whose code can be proven; each has a file with the same functions.

use object::{Architecture, elf};

use super::{Error, Unproven, aarch64, x86_64};

/// A machine that Go executables are built for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// Of 64 bits: `amd64` in Go's words.
    X86_64,
    /// `arm64`.
    Aarch64,
}

impl Machine {
    /// The one that this program runs on.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// As in an ELF header.
    pub(super) fn of(architecture: Architecture) -> Result<Self, Error> {
        match architecture {
            Architecture::X86_64 => Ok(Self::X86_64),
            Architecture::Aarch64 => Ok(Self::Aarch64),
            other => Err(Error::Architecture { architecture: format!("{other:?}") }),
        }
    }

    /// The relocation that adds where an executable was loaded.
    pub(super) fn relative_relocation(self) -> elf::RelocationType {
        match self {
            Self::X86_64 => elf::R_X86_64_RELATIVE,
            Self::Aarch64 => elf::R_AARCH64_RELATIVE,
        }
    }

    /// Proves where the instructions of a function are.
    pub(super) fn decode(self, code: &[u8], start: u64) -> Result<Function, Unproven> {
        Ok(match self {
            Self::X86_64 => Function::X86_64(x86_64::Function::decode(code, start)?),
            Self::Aarch64 => Function::Aarch64(aarch64::Function::decode(code, start)?),
        })
    }
}

/// One function, decoded.
pub(super) enum Function {
    X86_64(x86_64::Function),
    Aarch64(aarch64::Function),
}

impl Function {
    /// Where its arguments are in their registers and it will not begin again.
    pub(super) fn entry(&self, is_morestack: impl Fn(u64) -> bool) -> Result<u64, Unproven> {
        match self {
            Self::X86_64(function) => function.entry(is_morestack),
            Self::Aarch64(function) => function.entry(is_morestack),
        }
    }

    /// Every way out of it.
    pub(super) fn returns(&self) -> Result<Vec<u64>, Unproven> {
        match self {
            Self::X86_64(function) => function.returns(),
            Self::Aarch64(function) => function.returns(),
        }
    }
}
