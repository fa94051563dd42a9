//! The types that an error or a connection can have, found through Go's itabs.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Error, buildinfo::take_varint, image::Image, layout::Version, moduledata::ModuleData};

/// Interfaces whose values the probe program meets.
const INTERFACES: [&str; 5] = ["error", "net.Error", "net.Conn", "net.Addr", "io.Reader"];
/// Offsets in `internal/abi.ITab`: of the type, and of the methods.
pub(super) const ITAB_TYPE: u64 = 8;
pub(super) const ITAB_HEADER: u64 = 24;
const POINTER: u64 = 8;
/// Offsets in `internal/abi.Type` and `InterfaceType`.
pub(super) const TYPE_FLAGS: u64 = 20;
pub(super) const TYPE_STRING: u64 = 40;
pub(super) const INTERFACE_METHOD_COUNT: u64 = 64;
/// `TFlagExtraStar`: the string is that of the pointer to the type.
const EXTRA_STAR: u8 = 2;
/// The longest name of a type worth telling; those of struct literals are longer.
const NAME_MAX: u64 = 256;
/// More itabs than any `go` command has: that of Go 1.26 has 749.
const ITABS_MAX: usize = 65_536;
/// More types than any `go` command has.
const TYPES_MAX: usize = 4096;
/// More bytes than the names of all these have; they are kept as long as there are probes.
const NAMES_MAX: usize = 256 << 10;
/// More methods than any interface has.
const METHODS_MAX: u64 = 1024;

/// Names of all types that implement one of [`INTERFACES`], by address of the type descriptor.
pub(super) fn implementers(
    image: &Image<'_>,
    module: &ModuleData,
    version: Version,
) -> Result<BTreeMap<u64, String>, Error> {
    let field = |name| u64::from(version.place(name).0);
    let types = word(image, module.address, field("runtime.moduledata.types"))?;
    let itabs = if let Some((links, _)) = version.find("runtime.moduledata.itablinks") {
        linked(image, module.address, links.into())?
    } else {
        let start = word(image, module.address, field("runtime.moduledata.itaboffset"))?;
        let size = word(image, module.address, field("runtime.moduledata.itabsize"))?;
        tabled(image, types.checked_add(start).ok_or(CUT)?, size)?
    };
    // Hundreds of itabs share a few interfaces, whose names are read once.
    let mut is_wanted = BTreeMap::new();
    let mut found = BTreeMap::new();
    let mut length = 0;
    for itab in itabs {
        let interface = word(image, itab, 0)?;
        let wanted = *is_wanted.entry(interface).or_insert_with(|| {
            type_name(image, types, interface).is_some_and(|name| INTERFACES.contains(&name))
        });
        let concrete = word(image, itab, ITAB_TYPE)?;
        if wanted
            && let Entry::Vacant(place) = found.entry(concrete)
            && let Some(name) = type_name(image, types, concrete)
        {
            length += name.len();
            place.insert(name.to_owned());
        }
        if found.len() > TYPES_MAX || length > NAMES_MAX {
            return Err(CROWDED);
        }
    }
    if found.is_empty() {
        return Err(Error::Types("no type implements error"));
    }
    Ok(found)
}

const CUT: Error = Error::Types("they point outside of the file");
const CROWDED: Error = Error::Types("there are too many");

/// To Go 1.26: `moduledata.itablinks`, a slice of pointers.
fn linked(image: &Image<'_>, module: u64, offset: u64) -> Result<Vec<u64>, Error> {
    let start = word(image, module, offset)?;
    let count = word(image, module, offset + POINTER)?;
    if count > ITABS_MAX as u64 {
        return Err(CROWDED);
    }
    let size = POINTER * count;
    image.bytes(start, size).ok_or(CUT)?;
    (0..size).step_by(8).map(|at| word(image, start, at)).collect()
}

/// Since Go 1.27: the itabs themselves, each as long as its interface has methods.
fn tabled(image: &Image<'_>, start: u64, size: u64) -> Result<Vec<u64>, Error> {
    image.bytes(start, size).ok_or(CUT)?;
    let mut itabs = Vec::new();
    let mut at = 0;
    while at < size {
        let interface = word(image, start, at)?;
        let methods = word(image, interface, INTERFACE_METHOD_COUNT)?;
        if methods > METHODS_MAX {
            return Err(Error::Types("an interface has too many methods"));
        }
        if itabs.len() == ITABS_MAX {
            return Err(CROWDED);
        }
        itabs.push(start + at);
        at += ITAB_HEADER + POINTER * methods.max(1);
    }
    Ok(itabs)
}

fn word(image: &Image<'_>, base: u64, offset: u64) -> Result<u64, Error> {
    base.checked_add(offset).and_then(|address| image.word(address)).ok_or(CUT)
}

/// `Type.Str`: a flag byte, the length, the characters. None if it is none a person wants to read.
fn type_name<'a>(image: &Image<'a>, types: u64, address: u64) -> Option<&'a str> {
    let flags = image.bytes(address.checked_add(TYPE_FLAGS)?, 1)?[0];
    let offset = image.bytes(address.checked_add(TYPE_STRING)?, 4)?.first_chunk().copied()?;
    let name = types.checked_add(u32::from_le_bytes(offset).into())?;
    let (length, rest) = take_varint(image.tail(name)?.get(1..)?)?;
    if length > NAME_MAX {
        return None;
    }
    let name = std::str::from_utf8(rest.get(..usize::try_from(length).ok()?)?).ok()?;
    if flags & EXTRA_STAR == 0 { Some(name) } else { name.strip_prefix('*') }
}

#[cfg(test)]
mod tests {
    use super::super::image::of_words;
    use super::*;

    const BASE: u64 = 0x1000;

    /// How many itabs are read where so many are linked.
    fn links(count: usize) -> Result<usize, Error> {
        let mut words = vec![BASE, count as u64];
        words.resize(2 + count, 0);
        let file = of_words(BASE, &words);
        let image = Image::parse(&file)?;
        Ok(linked(&image, BASE, 0)?.len())
    }

    /// The same where they follow one another. Their interface is among them, and has no methods.
    fn table(count: usize) -> Result<usize, Error> {
        let words = [BASE + POINTER, 0, 0, 0].repeat(count);
        let file = of_words(BASE, &words);
        let image = Image::parse(&file)?;
        Ok(tabled(&image, BASE, POINTER * words.len() as u64)?.len())
    }

    /// How many types are named where so many implement `error`, all with one name of this length.
    fn named(count: usize, length: usize) -> Result<usize, Error> {
        const NAMES: u64 = BASE + 1024;
        const INTERFACE: u64 = NAMES + 1024;
        const TYPES: u64 = INTERFACE + 128;
        let newest = Version::all().next_back().expect("there are versions");
        let field = |name| BASE + u64::from(newest.place(name).0);
        let at = |address: u64| usize::try_from((address - BASE) / POINTER).expect("small");
        let nth = |index: usize| TYPES + POINTER * index as u64;
        // A descriptor of zeros has the name that comes first: they may overlap.
        let itabs = nth(count + 6);
        let mut words = vec![0_u64; at(itabs)];
        // The length in two bytes of seven bits each.
        let (low, high) = (u8::try_from(length & 0x7f), u8::try_from(length >> 7));
        let mut name = vec![0, low.expect("small") | 0x80, high.expect("small")];
        name.resize(name.len() + length, b'a');
        for (place, part) in words[at(NAMES)..].iter_mut().zip(name.chunks(8)) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            *place = u64::from_le_bytes(word);
        }
        words[at(NAMES + 512)] = u64::from_le_bytes(*b"\0\x05error\0");
        words[at(INTERFACE + TYPE_STRING)] = 512;
        words[at(field("runtime.moduledata.types"))] = NAMES;
        words[at(field("runtime.moduledata.itaboffset"))] = itabs - NAMES;
        words[at(field("runtime.moduledata.itabsize"))] = 32 * count as u64;
        words.extend((0..count).flat_map(|index| [INTERFACE, nth(index), 0, 0]));
        let file = of_words(BASE, &words);
        let module = ModuleData { address: BASE, text: 0 };
        Ok(implementers(&Image::parse(&file)?, &module, newest)?.len())
    }

    #[test]
    fn more_names_than_any_go_command_has_are_refused() {
        let longest = usize::try_from(NAME_MAX).expect("small");
        for (count, length) in [(TYPES_MAX, 1), (NAMES_MAX / longest, longest)] {
            assert_eq!(named(count, length).expect("not too many"), count);
            let error = named(count + 1, length).expect_err("too many").to_string();
            assert!(error.contains("there are too many"), "{error}");
        }
    }

    /// What a file claims takes as much memory as it says, for nothing.
    #[test]
    fn more_itabs_than_any_go_command_has_are_refused() {
        let ways: [fn(usize) -> Result<usize, Error>; 2] = [links, table];
        for read in ways {
            assert_eq!(read(ITABS_MAX).expect("not too many"), ITABS_MAX);
            let error = read(ITABS_MAX + 1).expect_err("too many").to_string();
            assert!(error.contains("there are too many"), "{error}");
        }
    }
}
