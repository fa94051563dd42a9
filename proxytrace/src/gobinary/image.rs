//! An executable as it will be in memory: bytes by link-time address.

use object::{Architecture, Object, ObjectKind, ObjectSection, ObjectSegment, Permissions, elf};

use super::Error;

/// One `PT_LOAD`.
struct Segment<'a> {
    address: u64,
    file_offset: u64,
    data: &'a [u8],
    permissions: Permissions,
}

/// The loaded parts of an ELF file.
pub(super) struct Image<'a> {
    elf: object::File<'a>,
    segments: Vec<Segment<'a>>,
    /// Address and addend of each `R_*_RELATIVE`, by address; empty unless position-independent.
    relocations: Vec<(u64, u64)>,
}

impl<'a> Image<'a> {
    /// Parses the headers, and of position-independent executables the relocations.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let elf = object::File::parse(file)?;
        if elf.architecture() != Architecture::X86_64 || !elf.is_64() || !elf.is_little_endian() {
            return Err(Error::Architecture { architecture: format!("{:?}", elf.architecture()) });
        }
        let mut segments = Vec::new();
        for segment in elf.segments() {
            let (file_offset, _) = segment.file_range();
            let data = segment.data()?;
            segments.push(Segment {
                address: segment.address(),
                file_offset,
                data,
                permissions: segment.permissions(),
            });
        }
        let relocations = relative_relocations(&elf);
        Ok(Self { elf, segments, relocations })
    }

    /// Address and bytes of the first of these sections that is there.
    pub(super) fn section(&self, names: &[&str]) -> Result<Option<(u64, &'a [u8])>, Error> {
        let found = names.iter().find_map(|name| self.elf.section_by_name(name));
        found.map(|section| Ok((section.address(), section.data()?))).transpose()
    }

    /// The bytes at an address to the end of what the file holds of its segment.
    pub(super) fn tail(&self, address: u64) -> Option<&'a [u8]> {
        let (segment, start) = self.locate(address)?;
        segment.data.get(start..)
    }

    /// `length` bytes at an address, if the file holds them.
    pub(super) fn bytes(&self, address: u64, length: u64) -> Option<&'a [u8]> {
        self.tail(address)?.get(..usize::try_from(length).ok()?)
    }

    /// The pointer-sized number at an address, relocated.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        if let Ok(found) = self.relocations.binary_search_by_key(&address, |entry| entry.0) {
            return Some(self.relocations[found].1);
        }
        Some(u64::from_le_bytes(self.tail(address)?.first_chunk().copied()?))
    }

    /// Where the file holds an instruction: only for addresses in an executable segment.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        let (segment, start) = self.locate(address)?;
        segment.permissions.executable().then_some(segment.file_offset + start as u64)
    }

    /// Addresses in writable segments, eight bytes aligned, whose word is `value`.
    pub(super) fn find_word(&self, value: u64) -> impl Iterator<Item = u64> {
        let relocated = self.relocations.iter().filter(move |entry| entry.1 == value);
        let writable = self.segments.iter().filter(|segment| segment.permissions.writable());
        let stored = writable.flat_map(move |segment| {
            let misaligned = segment.address.wrapping_neg() % 8;
            let skipped = usize::try_from(misaligned).unwrap_or(0).min(segment.data.len());
            segment.data[skipped..]
                .chunks_exact(8)
                .zip((segment.address.wrapping_add(misaligned)..).step_by(8))
                .filter(move |(word, _)| *word == value.to_le_bytes())
                .map(|(_, address)| address)
        });
        relocated.map(|entry| entry.0).chain(stored)
    }

    fn locate(&self, address: u64) -> Option<(&Segment<'a>, usize)> {
        self.segments.iter().find_map(|segment| {
            let start = usize::try_from(address.checked_sub(segment.address)?).ok()?;
            (start < segment.data.len()).then_some((segment, start))
        })
    }
}

/// Pointers of a position-independent executable, which the file may hold only as relocations.
fn relative_relocations(elf: &object::File<'_>) -> Vec<(u64, u64)> {
    if elf.kind() != ObjectKind::Dynamic {
        return Vec::new();
    }
    let relative = object::RelocationFlags::Elf { r_type: elf::R_X86_64_RELATIVE };
    let mut relocations: Vec<_> = (elf.dynamic_relocations().into_iter().flatten())
        .filter(|(_, relocation)| relocation.flags() == relative)
        .map(|(address, relocation)| (address, relocation.addend().cast_unsigned()))
        .collect();
    relocations.sort_unstable();
    relocations
}
