//! `runtime.moduledata`: where Go's runtime finds the parts of its own executable.

use super::{Error, image::Image, layout::Version, pclntab};

/// From the pointer of a slice to its length.
const LENGTH: u64 = 8;
/// So many words may be the address of the function table; in a go command one or two are.
const CANDIDATES_MAX: usize = 1024;

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
        if image.find_word(table).nth(CANDIDATES_MAX).is_some() {
            return Err(Error::ModuleData("too many words could be its first"));
        }
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

#[cfg(test)]
mod tests {
    use super::super::image::of_words;
    use super::*;

    const TABLE: u64 = 0x1000;

    /// Why the structure is not found where so many words could be its first.
    fn refused(count: usize) -> String {
        let file = of_words(TABLE, &vec![TABLE; count]);
        let image = Image::parse(&file).expect("sound");
        let newest = Version::all().next_back().expect("there are versions");
        let found = ModuleData::find(&image, TABLE, 0, newest);
        found.expect_err("none fits").to_string()
    }

    /// Each of them takes a search.
    #[test]
    fn more_words_than_in_any_go_command_are_refused() {
        assert!(refused(CANDIDATES_MAX).contains("no structure fits"));
        assert!(refused(CANDIDATES_MAX + 1).contains("too many words"));
    }
}
