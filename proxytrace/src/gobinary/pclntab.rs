//! Go's function table: names and addresses of all functions, present in stripped executables too.
//!
//! Format: `runtime.pcHeader`, `runtime.functab` and `runtime._func` in Go's
//! `runtime/symtab.go` and `runtime/runtime2.go`; the same from Go 1.18 on, but that the text
//! address in the header is zero since Go 1.26.

use super::{Error, image::Image, restarts};

/// The section's names, the second in position-independent executables.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Where other linkers than Go's put the second, somewhere among other data.
const MERGED_SECTION: &str = ".data.rel.ro";
const ALIGNMENT: usize = 8;
/// What `runtime.pcHeader` begins with: the magic of Go 1.18 and 1.19 or that of Go 1.20 and later,
/// two zeros, the smallest size of an instruction (x86-64, arm64) and that of a pointer.
const HEADERS: [[u8; 8]; 4] = [
    *b"\xf0\xff\xff\xff\0\0\x01\x08",
    *b"\xf1\xff\xff\xff\0\0\x01\x08",
    *b"\xf0\xff\xff\xff\0\0\x04\x08",
    *b"\xf1\xff\xff\xff\0\0\x04\x08",
];
/// Offsets in `runtime.pcHeader`.
const HEADER_QUANTUM: usize = 6;
const HEADER_FUNCTIONS: u64 = 8;
pub(super) const HEADER_TEXT: u64 = 24;
pub(super) const HEADER_NAMES: u64 = 32;
const HEADER_VALUES: u64 = 56;
const HEADER_FUNCTION_TABLE: u64 = 64;
/// The go command has some 30,000; the count of a file that is chosen may be as large as the file.
const FUNCTIONS_MAX: usize = 1 << 20;
/// An entry is the function's offset from the text address and its `_func`'s from the table.
const ENTRY: usize = 8;
/// Offsets in `runtime._func`: of the name, and of how many tables of values there are.
const FUNCTION_NAME: usize = 4;
const FUNCTION_TABLES: usize = 28;
/// Its size, which is where the first of these tables is named, that of unsafe points: before the
/// number of a line came with Go 1.20, and since.
const FUNCTION_SIZES: [usize; 2] = [40, 44];

/// The section `.gopclntab`.
pub(super) struct FunctionTable<'a> {
    /// All of it.
    pub(super) section: &'a [u8],
    names: &'a [u8],
    /// Tables of values for the instructions of a function.
    values: &'a [u8],
    /// The size of the smallest instruction.
    quantum: u8,
    function_size: usize,
    /// Entries, and the `_func`s that they point to.
    table: &'a [u8],
    /// Entries, and one more that only says where the last function ends.
    entries: &'a [u8],
}

/// The address range of one function, relative to the text address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The table's address, and the bytes from there to the end of its section.
pub(super) fn locate<'a>(image: &Image<'a>) -> Result<(u64, &'a [u8]), Error> {
    for name in SECTIONS {
        if let Some(section) = image.section(name)? {
            return Ok(section);
        }
    }
    let none = Error::FunctionTable("there is none");
    let (address, data) = image.section(MERGED_SECTION)?.ok_or(none)?;
    let mut starts = (0..data.len()).step_by(ALIGNMENT);
    let start = starts.find(|&start| has_header(&data[start..]));
    let start = start.ok_or(Error::FunctionTable("there is none in .data.rel.ro either"))?;
    let address = address.checked_add(start as u64);
    Ok((address.ok_or(Error::FunctionTable("its address is too high"))?, &data[start..]))
}

fn has_header(bytes: &[u8]) -> bool {
    HEADERS.iter().any(|header| bytes.starts_with(header))
}

impl<'a> FunctionTable<'a> {
    /// Parses the header.
    pub(super) fn parse(section: &'a [u8]) -> Result<Self, Error> {
        let cut = || Error::FunctionTable("it is cut off");
        if !has_header(section) {
            return Err(Error::FunctionTable("its header is that of no Go release since 1.18"));
        }
        let functions = read_offset(section, HEADER_FUNCTIONS).ok_or_else(cut)?;
        if functions > FUNCTIONS_MAX {
            return Err(Error::FunctionTable("it has more functions than any go command"));
        }
        let names = read_offset(section, HEADER_NAMES).ok_or_else(cut)?;
        let table = read_offset(section, HEADER_FUNCTION_TABLE).ok_or_else(cut)?;
        let values = read_offset(section, HEADER_VALUES).ok_or_else(cut)?;
        let names = section.get(names..).ok_or_else(cut)?;
        let values = section.get(values..).ok_or_else(cut)?;
        let table = section.get(table..).ok_or_else(cut)?;
        let size = functions.checked_mul(ENTRY).and_then(|size| size.checked_add(ENTRY / 2));
        let entries = size.and_then(|size| table.get(..size)).ok_or_else(cut)?;
        let is_old = section[0] == HEADERS[0][0];
        let function_size = FUNCTION_SIZES[usize::from(!is_old)];
        let quantum = section[HEADER_QUANTUM];
        Ok(Self { section, names, values, quantum, function_size, table, entries })
    }

    /// How many functions there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() / ENTRY
    }

    /// For each name, all functions of that name.
    pub(super) fn find(&self, names: &[&str]) -> Vec<Vec<Range>> {
        let mut found = vec![Vec::new(); names.len()];
        for index in 0..self.len() {
            let Some(function) = self.name(index) else { continue };
            for (name, found) in names.iter().zip(&mut found) {
                if is_name(function, name.as_bytes()) {
                    found.extend(self.range(index));
                }
            }
        }
        found
    }

    /// Whether a function whose name begins so starts at this offset from the text address.
    pub(super) fn starts_with(&self, offset: u32, prefix: &str) -> bool {
        let index = self.first_from(offset);
        index < self.len()
            && read_u32(self.entries, index * ENTRY) == Some(offset)
            && self.name(index).is_some_and(|name| name.starts_with(prefix.as_bytes()))
    }

    /// The function that an offset from the text address is in.
    pub(super) fn around(&self, offset: u32) -> Option<Range> {
        let range = self.range(self.first_from(offset.checked_add(1)?).checked_sub(1)?)?;
        (range.start..range.end).contains(&offset).then_some(range)
    }

    /// Whether the instruction at an offset from the text address, in this function, is executed once
    /// where it is come to once: see [`restarts`].
    pub(super) fn is_executed_once(&self, range: Range, offset: u32) -> bool {
        let Some(function) = self.function(self.first_from(range.start)) else { return false };
        let count = read_u32(function, FUNCTION_TABLES);
        let [at, length] = [offset, range.end].map(|end| end.checked_sub(range.start));
        let (Some(count), Some(at), Some(length)) = (count, at, length) else { return false };
        // Without a table all is safe (`pcdatavalue2` in `runtime/symtab.go`).
        let table = if count == 0 { Some(0) } else { read_u32(function, self.function_size) };
        let table = table.and_then(|table| usize::try_from(table).ok());
        table.is_some_and(|table| {
            let values = self.values.get(table..).unwrap_or_default();
            let quantum = self.quantum.into();
            table == 0 || restarts::is_executed_once(values, quantum, length.into(), at.into())
        })
    }

    /// Index of the first function that starts at an offset or behind it.
    fn first_from(&self, offset: u32) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if read_u32(self.entries, middle * ENTRY).is_some_and(|start| start < offset) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn range(&self, index: usize) -> Option<Range> {
        let start = read_u32(self.entries, index * ENTRY)?;
        let end = read_u32(self.entries, (index + 1) * ENTRY)?;
        Some(Range { start, end })
    }

    /// The name and whatever follows it: the end is a NUL, which no reader here needs to search.
    fn name(&self, index: usize) -> Option<&'a [u8]> {
        let name = read_u32(self.function(index)?, FUNCTION_NAME)?;
        self.names.get(usize::try_from(name).ok()?..)
    }

    /// Its `_func`, and what follows.
    fn function(&self, index: usize) -> Option<&'a [u8]> {
        let function = read_u32(self.entries, index * ENTRY + ENTRY / 2)?;
        self.table.get(usize::try_from(function).ok()?..)
    }
}

/// Whether a string that ends with a NUL is this one.
pub(super) fn is_name(bytes: &[u8], name: &[u8]) -> bool {
    bytes.get(name.len()) == Some(&0) && bytes.starts_with(name)
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..)?.first_chunk().copied()?))
}

fn read_offset(bytes: &[u8], offset: u64) -> Option<usize> {
    let bytes = bytes.get(usize::try_from(offset).ok()?..)?;
    let value = u64::from_le_bytes(bytes.first_chunk().copied()?);
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of functions 16 bytes long each, in the format of Go 1.20 and later.
    fn table(names: &[&str]) -> Vec<u8> {
        let strings: Vec<u8> =
            names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
        let mut section = HEADERS[1].to_vec();
        let names_at = 72;
        let words = [names.len(), 0, 0, names_at, 0, 0, 0, names_at + strings.len()];
        section.extend(words.iter().flat_map(|word| (*word as u64).to_le_bytes()));
        section.extend(&strings);
        let mut name_offset = 0;
        let mut functions = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let function = names.len() * ENTRY + ENTRY / 2 + functions.len();
            section.extend(u32::try_from(16 * index).expect("small").to_le_bytes());
            section.extend(u32::try_from(function).expect("small").to_le_bytes());
            functions.extend([0; 4]);
            functions.extend(u32::try_from(name_offset).expect("small").to_le_bytes());
            name_offset += name.len() + 1;
        }
        section.extend(u32::try_from(16 * names.len()).expect("small").to_le_bytes());
        section.extend(functions);
        section
    }

    #[test]
    fn finds_functions_by_whole_names() {
        let section = table(&["a.f", "a.ff", "a.g", "a.f"]);
        let table = FunctionTable::parse(&section).expect("sound");
        let found = table.find(&["a.f", "a.g", "a"]);
        assert_eq!(found[0], [Range { start: 0, end: 16 }, Range { start: 48, end: 64 }]);
        assert_eq!(found[1], [Range { start: 32, end: 48 }]);
        assert_eq!(found[2], []);
    }

    #[test]
    fn names_an_address_only_where_a_function_starts() {
        let section = table(&["a.f", "runtime.morestack_noctxt", "a.g"]);
        let table = FunctionTable::parse(&section).expect("sound");
        assert!(table.starts_with(16, "runtime.morestack"));
        assert!(!table.starts_with(17, "runtime.morestack"));
        assert!(!table.starts_with(0, "runtime.morestack"));
        assert!(!table.starts_with(48, ""));
    }

    #[test]
    fn an_offset_is_in_the_function_that_starts_before_it() {
        let section = table(&["a.f", "a.g"]);
        let table = FunctionTable::parse(&section).expect("sound");
        let (first, second) = (Range { start: 0, end: 16 }, Range { start: 16, end: 32 });
        for (offset, function) in [
            (0, Some(first)),
            (15, Some(first)),
            (16, Some(second)),
            (31, Some(second)),
            (32, None),
        ] {
            assert_eq!(table.around(offset), function, "{offset}");
        }
    }

    #[test]
    fn every_cut_is_an_error_or_finds_less() {
        let section = table(&["a.f", "a.g"]);
        for length in 0..section.len() {
            if let Ok(table) = FunctionTable::parse(&section[..length]) {
                assert!(table.find(&["a.g"])[0].is_empty() || length > section.len() - 4);
            }
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let mut section = table(&["a.f"]);
        section[0] = 0xfb;
        assert!(matches!(FunctionTable::parse(&section), Err(Error::FunctionTable(_))));
        let mut huge = table(&["a.f"]);
        huge[8..16].fill(0xff);
        assert!(matches!(FunctionTable::parse(&huge), Err(Error::FunctionTable(_))));
        // All there, and too many.
        let functions = FUNCTIONS_MAX + 1;
        huge[8..16].copy_from_slice(&(functions as u64).to_le_bytes());
        huge.resize(huge.len() + (functions + 1) * ENTRY, 0);
        assert!(matches!(FunctionTable::parse(&huge), Err(Error::FunctionTable(_))));
    }
}
