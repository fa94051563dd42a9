//! `runtime.moduledata`: where Go's runtime finds the parts of its own executable.

use super::{Error, image::Image, layout::Version, pclntab};

/// From the pointer of a slice to its length.
const LENGTH: u64 = 8;

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
    pub(super) fn find(
        image: &Image<'_>,
        table: u64,
        functions: usize,
        version: Version,
    ) -> Result<Self, Error> {
        let field = |name| u64::from(version.place(name).0);
        let names_field = field("runtime.moduledata.funcnametab");
        let length_field = field("runtime.moduledata.ftab") + LENGTH;
        let text_field = field("runtime.moduledata.text");
        let text_end_field = field("runtime.moduledata.etext");
        let mut found = image.find_word(table).filter_map(|address| {
            let word_at = |base: u64, offset| image.word(base.checked_add(offset)?);
            let word = |offset| word_at(address, offset);
            let names = table.checked_add(word_at(table, pclntab::HEADER_NAMES)?)?;
            let text = word(text_field)?;
            let declared = word_at(table, pclntab::HEADER_TEXT)?;
            (word(names_field)? == names
                && word(length_field)? == functions as u64 + 1
                && text < word(text_end_field)?
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
