//! `runtime.moduledata`: where Go's runtime finds the parts of its own executable.

use super::{Error, image::Image, pclntab};

/// Offsets that are the same from Go 1.19 to 1.27.
const NAMES: u64 = 8;
const FUNCTION_TABLE_LENGTH: u64 = 136;
const TEXT: u64 = 176;
const END_OF_TEXT: u64 = 184;

/// The one found, with its address proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModuleData {
    pub(super) address: u64,
    /// `runtime.text`, to which the function table is relative.
    pub(super) text: u64,
}

impl ModuleData {
    /// Searches the writable data for the structure that begins with the function table's address
    /// and agrees with it.
    pub(super) fn find(image: &Image<'_>, table: u64, functions: usize) -> Result<Self, Error> {
        let mut found = image.find_word(table).filter_map(|address| {
            let word_at = |base: u64, offset| image.word(base.checked_add(offset)?);
            let word = |offset| word_at(address, offset);
            let names = table.checked_add(word_at(table, pclntab::HEADER_NAMES)?)?;
            let text = word(TEXT)?;
            let declared = word_at(table, pclntab::HEADER_TEXT)?;
            (word(NAMES)? == names
                && word(FUNCTION_TABLE_LENGTH)? == functions as u64 + 1
                && text < word(END_OF_TEXT)?
                && (declared == 0 || declared == text)
                && image.code_offset(text).is_some())
            .then_some(Self { address, text })
        });
        let first = found.next().ok_or(Error::ModuleData("no structure fits .gopclntab"))?;
        match found.find(|other| other.address != first.address) {
            None => Ok(first),
            Some(_) => Err(Error::ModuleData("more than one structure fits .gopclntab")),
        }
    }
}
