//! An executable as it will be in memory: bytes by link-time address.

use std::collections::BTreeSet;

use object::read::elf::{ElfFile, FileHeader, SectionHeader as _};
use object::{Object, ObjectKind, ObjectSegment, Permissions};

use super::{Error, Machine, pclntab::is_name};

/// The go command has some 70,000.
const RELOCATIONS_MAX: usize = 1 << 20;

/// The go command has three or four `PT_LOAD`. For each word that is read all of them are gone through.
const SEGMENTS_MAX: usize = 64;

/// How many bytes are read in a row before they are told of.
const STRETCH: usize = 1 << 20;

/// One `PT_LOAD`.
struct Segment<'a> {
    address: u64,
    file_offset: u64,
    data: &'a [u8],
    permissions: Permissions,
}

impl Segment<'_> {
    /// Its words, eight bytes aligned.
    fn words(&self) -> &[[u8; 8]] {
        self.data.get(self.unaligned()..).unwrap_or_default().as_chunks().0
    }

    /// How many bytes there are before them.
    fn unaligned(&self) -> usize {
        (self.address.wrapping_neg() % 8) as usize
    }
}

/// The loaded parts of an ELF file.
pub(super) struct Image<'a> {
    /// Whose code it is.
    pub(super) machine: Machine,
    elf: object::File<'a>,
    segments: Vec<Segment<'a>>,
    /// Address and addend of each `R_*_RELATIVE`, by address; empty unless position-independent.
    relocations: Vec<(u64, u64)>,
    /// Told of what was read from end to end.
    pub(super) spare: &'a dyn Fn(&[u8]),
}

impl<'a> Image<'a> {
    /// Parses the headers, and of position-independent executables the relocations.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let elf = object::File::parse(file)?;
        let architecture = elf.architecture();
        if !elf.is_64() || !elf.is_little_endian() {
            return Err(Error::Architecture { architecture: format!("{architecture:?}") });
        }
        let machine = Machine::of(architecture)?;
        let mut segments = Vec::new();
        // Segments do not share what is in the file: all is read, once for each of them.
        let mut unused = file.len();
        for segment in elf.segments() {
            let (file_offset, _) = segment.file_range();
            let (address, data) = (segment.address(), segment.data()?);
            // Those of no length use nothing up.
            if segments.len() == SEGMENTS_MAX {
                return Err(Error::Segment { address });
            }
            // Addresses inside of a segment need no further care that they do not wrap around.
            if address.checked_add(data.len() as u64).is_none() {
                return Err(Error::Segment { address });
            }
            unused = unused.checked_sub(data.len()).ok_or(Error::Segment { address })?;
            let permissions = segment.permissions();
            segments.push(Segment { address, file_offset, data, permissions });
        }
        let relocations = relative_relocations(&elf, machine)?;
        Ok(Self { machine, elf, segments, relocations, spare: &|_| () })
    }

    /// Address and bytes of a section.
    pub(super) fn section(&self, name: &str) -> Result<Option<(u64, &'a [u8])>, Error> {
        section(&self.elf, name)
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

    /// What `search` finds in the code, which is given to it in stretches: address and bytes, of
    /// which the last `shared` are the first of the next one.
    pub(super) fn search_code<T>(
        &self,
        shared: usize,
        search: impl Fn(u64, &[u8]) -> Vec<T>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.permissions.executable()) {
            for start in (0..segment.data.len()).step_by(STRETCH) {
                let rest = &segment.data[start..];
                let stretch = &rest[..rest.len().min(STRETCH + shared)];
                found.extend(search(segment.address + start as u64, stretch));
                (self.spare)(stretch);
            }
        }
        found
    }

    /// Which of some values are a word, eight bytes aligned, in any segment.
    pub(super) fn words_among(&self, values: &[u64]) -> BTreeSet<u64> {
        let mut found: BTreeSet<u64> = self.relocations.iter().map(|entry| entry.1).collect();
        found.retain(|word| values.contains(word));
        let (Some(lowest), Some(highest)) = (values.iter().min(), values.iter().max()) else {
            return found;
        };
        for segment in &self.segments {
            for words in segment.words().chunks(STRETCH / size_of::<u64>()) {
                // One by one: this loop goes over all there is.
                for word in words {
                    let word = u64::from_le_bytes(*word);
                    if word >= *lowest && word <= *highest && values.contains(&word) {
                        found.insert(word);
                    }
                }
                (self.spare)(words.as_flattened());
            }
        }
        found
    }

    /// Addresses in writable segments, eight bytes aligned, whose word is `value`.
    pub(super) fn find_word(&self, value: u64) -> impl Iterator<Item = u64> {
        let relocated = self.relocations.iter().filter(move |entry| entry.1 == value);
        let writable = self.segments.iter().filter(|segment| segment.permissions.writable());
        let stored = writable.flat_map(move |segment| {
            let words = segment.words().iter().enumerate();
            let found = words.filter(move |(_, word)| **word == value.to_le_bytes());
            found.map(|(index, _)| segment.address + (segment.unaligned() + 8 * index) as u64)
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

/// Address and bytes of a section.
pub(super) fn section<'a>(
    elf: &object::File<'a>,
    name: &str,
) -> Result<Option<(u64, &'a [u8])>, Error> {
    match elf {
        object::File::Elf32(elf) => section_of(elf, name),
        object::File::Elf64(elf) => section_of(elf, name),
        _ => Ok(None),
    }
}

/// The names are compared where they are. `section_by_name` looks for the end of each of them
/// first, and that may be the end of the file, for as many sections as the file says.
fn section_of<'a, Elf: FileHeader>(
    elf: &ElfFile<'a, Elf>,
    name: &str,
) -> Result<Option<(u64, &'a [u8])>, Error> {
    let (endian, file, sections) = (elf.endian(), elf.data(), elf.elf_section_table());
    if sections.is_empty() {
        return Ok(None);
    }
    let names = elf.elf_header().section_strings_index(endian, file)?;
    let names = sections.section(names)?.data(endian, file)?;
    let found = sections.iter().find(|section| {
        let start = usize::try_from(section.sh_name(endian)).ok();
        let start = start.and_then(|start| names.get(start..));
        start.is_some_and(|start| is_name(start, name.as_bytes()))
    });
    let Some(found) = found else { return Ok(None) };
    Ok(Some((found.sh_addr(endian).into(), found.data(endian, file)?)))
}

/// Pointers of a position-independent executable, which the file may hold only as relocations.
fn relative_relocations(
    elf: &object::File<'_>,
    machine: Machine,
) -> Result<Vec<(u64, u64)>, Error> {
    if elf.kind() != ObjectKind::Dynamic {
        return Ok(Vec::new());
    }
    let relative = object::RelocationFlags::Elf { r_type: machine.relative_relocation() };
    let all = || elf.dynamic_relocations().into_iter().flatten();
    if all().nth(RELOCATIONS_MAX).is_some() {
        return Err(Error::Relocations);
    }
    let mut relocations: Vec<_> = all()
        .filter(|(_, relocation)| relocation.flags() == relative)
        .map(|(address, relocation)| (address, relocation.addend().cast_unsigned()))
        .collect();
    relocations.sort_unstable();
    Ok(relocations)
}

/// An executable that holds nothing but these words, at an address. They can be written to.
#[cfg(test)]
pub(super) fn of_words(address: u64, words: &[u64]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let bytes =
        |values: &[u64]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let size = 8 * words.len() as u64;
    let file = [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        // ET_EXEC, EM_X86_64; one program header, no sections.
        bytes(&[2 | 62 << 16 | 1 << 32, 0, 64, 0, 64 << 32 | 56 << 48, 1 | 64 << 16]),
        // PT_LOAD, PF_R and PF_W.
        bytes(&[1 | 6 << 32, HEADERS, address, address, size, size, 8]),
        bytes(words),
    ];
    file.concat()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const CODE: u64 = 0x1000;
    const DATA: u64 = 0x2000;
    const DATA_OFFSET: u64 = 0x400;

    /// A position-independent executable: one segment of code at [`CODE`], which begins with the
    /// headers, one of three words at [`DATA`], and a relocation for the second of them.
    fn executable(data_address: u64) -> Vec<u8> {
        let half =
            |values: &[u16]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let word =
            |values: &[u64]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let program = |flags, offset, address, size| {
            word(&[pair(1, flags), offset, address, address, size, size, 8])
        };
        let section = |kind, link, offset, size, entry| {
            word(&[pair(0, kind), 2, 0, offset, size, pair(link, 0), 8, entry])
        };
        let (sections, relocation) = (0xb0, 0x200);
        let file = [
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
            half(&[3, 62, 1, 0]), // ET_DYN, EM_X86_64
            word(&[CODE, 64, sections]),
            half(&[0, 0, 64, 56, 2, 64, 4, 3]),
            program(5, 0, CODE, DATA_OFFSET),
            program(6, DATA_OFFSET, data_address, 24),
            section(0, 0, 0, 0, 0),
            section(11, 3, 0x1e0, 24, 24), // SHT_DYNSYM: one symbol of zeros
            section(4, 1, relocation, 24, 24), // SHT_RELA
            section(3, 0, 0x1f8, 1, 0),    // SHT_STRTAB: one NUL
        ];
        let mut file = file.concat();
        file.resize(usize::try_from(relocation).expect("small"), 0);
        file.extend(word(&[DATA + 8, 8, CODE + 0x10])); // R_X86_64_RELATIVE
        file.resize(usize::try_from(DATA_OFFSET).expect("small"), 0x90);
        file.extend(word(&[7, 0, CODE + 0x10]));
        file
    }

    /// The same with other sections, as many as there are places in the names, which are given as
    /// well. Each has its number for an address, and the names for its bytes.
    fn named(names: &[u8], places: &[u32]) -> Vec<u8> {
        let mut file = executable(DATA);
        let at = file.len();
        let start = (at + 64 * places.len()) as u64;
        let count = u16::try_from(places.len()).expect("small");
        file[40..48].copy_from_slice(&(at as u64).to_le_bytes()); // e_shoff
        file[60..62].copy_from_slice(&count.to_le_bytes()); // e_shnum
        for (number, place) in (0..).zip(places) {
            // SHT_STRTAB
            let kind = u64::from(*place) | 3 << 32;
            let section = [kind, 0, number, start, names.len() as u64, 0, 1, 0];
            file.extend(section.into_iter().flat_map(u64::to_le_bytes));
        }
        file.extend(names);
        file
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        let file = named(b"\0.go.x\0.go\0.go.buildinfo", &[0, 1, 7, 11, 99]);
        let image = Image::parse(&file).expect("sound");
        // The last of the names has no end.
        for (name, address) in [(".go.x", Some(1)), (".go", Some(2)), (".go.buildinfo", None)] {
            let section = image.section(name).expect("sound");
            assert_eq!(section.map(|(address, _)| address), address, "{name}");
        }
    }

    #[test]
    fn names_without_an_end_take_no_time() {
        let file = named(&vec![b'a'; 16 << 20], &vec![0; 0xfe00]);
        let image = Image::parse(&file).expect("sound");
        let began = Instant::now();
        assert_eq!(image.section(".gopclntab").expect("sound"), None);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn pointers_are_relocated() {
        let file = executable(DATA);
        let image = Image::parse(&file).expect("sound");
        assert_eq!(image.word(DATA), Some(7));
        assert_eq!(image.word(DATA + 8), Some(CODE + 0x10));
        assert_eq!(image.find_word(CODE + 0x10).collect::<Vec<_>>(), [DATA + 8, DATA + 16]);
    }

    #[test]
    fn each_machine_has_its_relocations() {
        let mut file = executable(DATA);
        file[18] = 183; // EM_AARCH64
        let word = |file: &[u8]| Image::parse(file).expect("sound").word(DATA + 8);
        assert_eq!(word(&file), Some(0));
        file[0x208..0x20c].copy_from_slice(&1027_u32.to_le_bytes()); // R_AARCH64_RELATIVE
        assert_eq!(word(&file), Some(CODE + 0x10));
        assert_eq!(Image::parse(&file).expect("sound").machine, Machine::Aarch64);
    }

    #[test]
    fn only_code_has_a_code_offset() {
        let file = executable(DATA);
        let image = Image::parse(&file).expect("sound");
        assert_eq!(image.code_offset(CODE + 0x10), Some(0x10));
        assert_eq!(image.code_offset(DATA), None);
        assert_eq!(image.code_offset(CODE - 1), None);
        assert_eq!(image.code_offset(CODE + DATA_OFFSET), None);
    }

    #[test]
    fn nothing_is_read_over_the_end_of_a_segment() {
        let file = executable(DATA);
        let image = Image::parse(&file).expect("sound");
        assert_eq!(image.bytes(DATA, 24).map(<[u8]>::len), Some(24));
        assert_eq!(image.bytes(DATA, 25), None);
        assert_eq!(image.bytes(DATA, u64::MAX), None);
        assert_eq!(image.word(DATA + 17), None);
    }

    #[test]
    fn words_are_found_at_any_alignment_of_the_segment() {
        let file = executable(DATA - 4);
        let image = Image::parse(&file).expect("sound");
        assert_eq!(image.find_word(7 << 32).count(), 0);
        assert_eq!(image.find_word((CODE + 0x10) << 32).collect::<Vec<_>>(), [DATA + 8]);
    }

    /// What a file claims takes as long as it says, for nothing.
    #[test]
    fn a_file_without_end_is_refused() {
        let set = |file: &mut [u8], at: usize, value: usize| {
            file[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
        };
        let mut file = executable(DATA);
        let length = file.len();
        // The second segment's p_offset and p_filesz: all of the file, again.
        set(&mut file, 128, 0);
        set(&mut file, 152, length);
        assert!(matches!(Image::parse(&file), Err(Error::Segment { .. })));
        let mut file = executable(DATA);
        let size = 24 * (RELOCATIONS_MAX + 1);
        file.resize(0x200 + size, 0);
        set(&mut file, 0x150, size); // sh_size
        assert!(matches!(Image::parse(&file), Err(Error::Relocations)));
    }

    #[test]
    fn more_segments_than_any_go_command_has_are_refused() {
        let parse = |count: usize| {
            let mut file = executable(DATA);
            let at = file.len() as u64;
            file[32..40].copy_from_slice(&at.to_le_bytes()); // e_phoff
            let number = u16::try_from(count).expect("small");
            file[56..58].copy_from_slice(&number.to_le_bytes()); // e_phnum
            // PT_LOAD, PF_R, of no length.
            let segment = [1 | 4 << 32, 0, DATA, DATA, 0, 0, 8];
            file.extend(segment.repeat(count).into_iter().flat_map(u64::to_le_bytes));
            Image::parse(&file).map(|image| image.segments.len())
        };
        assert_eq!(parse(SEGMENTS_MAX).expect("not too many"), SEGMENTS_MAX);
        assert!(matches!(parse(SEGMENTS_MAX + 1), Err(Error::Segment { address: DATA })));
    }

    #[test]
    fn a_segment_around_the_address_space_is_refused() {
        let file = executable(u64::MAX - 8);
        assert!(matches!(Image::parse(&file), Err(Error::Segment { .. })));
    }

    #[test]
    fn other_machines_are_refused_by_name() {
        let mut file = executable(DATA);
        file[18] = 243; // EM_RISCV
        let error = Image::parse(&file).err().expect("refused").to_string();
        assert!(error.contains("Riscv64"), "{error}");
    }
}
