//! The architectures whose code can be proven; each has a file with the same functions.

use object::{Architecture, elf};
use proxytrace_common::plan::Recipe;
use serde::{Deserialize, Serialize};

use super::{
    Error, LANDINGS_MAX, Unproven, aarch64,
    image::Image,
    placement::{Landing, Reference, Step},
    x86_64,
};

/// A machine that Go executables are built for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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

    /// The places in the code that could refer to one of the targets, with that; none where calls
    /// are not searched for, and what is returned is read at the returns.
    pub(super) fn displacements(self, image: &Image<'_>, targets: &[u64]) -> Vec<(u64, u64)> {
        match self {
            Self::X86_64 => image.search_code(x86_64::DISPLACEMENT, |start, code| {
                x86_64::displacements(code, start, targets)
            }),
            Self::Aarch64 => Vec::new(),
        }
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

    /// Where the arguments can be read, given the entry, at the least cost.
    pub(super) fn entry_landing(&self, entry: u64, wanted: &[u8]) -> Landing {
        match self {
            Self::X86_64(function) => function.entry_landing(entry, wanted),
            Self::Aarch64(function) => function.entry_landing(entry, wanted),
        }
    }

    /// Its returns, as places to read results at, provided that it has no other way out. Of arm64
    /// the kernel simulates them, like all branches (`arm_probe_decode_insn` in
    /// `arch/arm64/kernel/probes/decode-insn.c`).
    pub(super) fn return_landings(&self, recipe: &Recipe) -> Result<Vec<Landing>, Unproven> {
        let returns = match self {
            Self::X86_64(function) => function.returns()?,
            Self::Aarch64(function) => function.returns()?,
        };
        // For each of them all of the function is gone through, which may be nothing but returns.
        if returns.len() > LANDINGS_MAX {
            return Err(Unproven::Crowded);
        }
        let landing = |&address: &u64| match self {
            Self::X86_64(function) => function.return_landing(address, recipe),
            Self::Aarch64(_) => Landing { step: Step::Emulated, ..Landing::stepped(address) },
        };
        Ok(returns.iter().map(landing).collect())
    }

    /// What is at a place where a reference to `target` could be.
    pub(super) fn reference(&self, place: u64, target: u64) -> Reference {
        match self {
            Self::X86_64(function) => function.reference(place, target),
            Self::Aarch64(_) => Reference::Other,
        }
    }

    /// The places to read what the calls at these addresses returned.
    pub(super) fn after_calls(
        &self,
        calls: &[u64],
        wanted: &[u8],
    ) -> Result<Vec<Landing>, Unproven> {
        match self {
            Self::X86_64(function) => function.after_calls(calls, wanted),
            Self::Aarch64(_) => Err(Unproven::Uncalled),
        }
    }

    /// Proves that it returns what the call at an address in it returned, and in no other way.
    pub(super) fn passes_on(&self, call: u64, wanted: &[u8]) -> Result<(), Unproven> {
        match self {
            Self::X86_64(function) => function.passes_on(call, wanted),
            Self::Aarch64(_) => Err(Unproven::Uncalled),
        }
    }

    /// The one call of a method, by its offset in an itab, of an interface that came in as a
    /// parameter, by the number of its first register in Go's order.
    pub(super) fn interface_call(
        &self,
        entry: u64,
        parameter: u8,
        method: u64,
    ) -> Result<u64, Unproven> {
        match self {
            Self::X86_64(function) => function.interface_call(entry, parameter, method),
            Self::Aarch64(_) => Err(Unproven::Uncalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use proxytrace_common::record::Kind;

    use super::*;

    #[test]
    fn more_returns_than_any_function_has_are_refused() {
        let recipe = Recipe::marker(Kind::WalkReturn);
        for (machine, ret) in
            [(Machine::X86_64, &b"\xc3"[..]), (Machine::Aarch64, b"\xc0\x03\x5f\xd6")]
        {
            let count = |returns: usize| {
                let function = machine.decode(&ret.repeat(returns), 0x1000)?;
                function.return_landings(&recipe).map(|landings| landings.len())
            };
            assert_eq!(count(LANDINGS_MAX), Ok(LANDINGS_MAX), "{machine:?}");
            assert_eq!(count(LANDINGS_MAX + 1), Err(Unproven::Crowded), "{machine:?}");
        }
    }
}
