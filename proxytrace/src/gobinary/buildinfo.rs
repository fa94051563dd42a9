//! Go's build info: who built an executable (Go's `debug/buildinfo`, format of Go 1.18).

use super::{BuildInfo, Error, image};

/// Where the linker puts it, also in stripped executables (`cmd/link/internal/ld/data.go`).
const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: usize = 16;
const HEADER: usize = 32;
const FLAGS: usize = 15;
const FLAG_INLINE: u8 = 2;
/// Sentinels around the module information, 16 bytes each.
const SENTINEL: usize = 16;
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// The section is a few hundred bytes long; external linkers may put something in front.
const SEARCHED: usize = 64 << 10;

/// Reads only the ELF headers and the section itself.
pub(super) fn read(file: &[u8]) -> Result<Option<BuildInfo>, Error> {
    if !file.starts_with(ELF_MAGIC) {
        return Ok(None);
    }
    let elf = object::File::parse(file)?;
    let Some((_, section)) = image::section(&elf, SECTION)? else { return Ok(None) };
    parse(section)
}

fn parse(section: &[u8]) -> Result<Option<BuildInfo>, Error> {
    let searched = &section[..section.len().min(SEARCHED)];
    let mut places = (0..searched.len()).step_by(ALIGNMENT).map(|start| &searched[start..]);
    let Some(blob) = places.find(|place| place.starts_with(MAGIC)) else { return Ok(None) };

    let flags = *blob.get(FLAGS).ok_or(Error::BuildInfo("the header is cut off"))?;
    if flags & FLAG_INLINE == 0 {
        return Err(Error::PointerBuildInfo);
    }
    let strings = blob.get(HEADER..).ok_or(Error::BuildInfo("the header is cut off"))?;
    let cut = Error::BuildInfo("a string is cut off");
    let (version, rest) = take_string(strings).ok_or(cut)?;
    let (module, _) = take_string(rest).ok_or(Error::BuildInfo("a string is cut off"))?;

    let go_version = std::str::from_utf8(version)
        .map_err(|_| Error::BuildInfo("the version is not UTF-8"))?
        .to_owned();
    Ok(Some(BuildInfo { go_version, main_package: main_package(module) }))
}

/// The `path` line; empty if there is none, as in executables built without module support.
fn main_package(module: &[u8]) -> String {
    let framed = module.len().checked_sub(SENTINEL).and_then(|end| module.get(SENTINEL..end));
    let mut lines = framed.unwrap_or_default().split(|&byte| byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"path\t")).unwrap_or_default();
    String::from_utf8_lossy(path).into_owned()
}

/// A string with its length in front, and what follows it.
fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A number in the encoding of Go's `encoding/binary.Uvarint`, and what follows it.
pub(super) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(flags: u8, version: &[u8], module: &[u8]) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend([8, flags]);
        blob.resize(HEADER, 0);
        for string in [version, module] {
            blob.push(u8::try_from(string.len()).expect("short"));
            blob.extend(string);
        }
        blob
    }

    #[test]
    fn finds_version_and_main_package() {
        let module = b"0123456789abcdefpath\tcmd/go\nbuild\t-x=y\n0123456789abcdef";
        let mut section = vec![0; ALIGNMENT];
        section.extend(blob(2, b"go1.27.3", module));
        let info = parse(&section).expect("sound").expect("found");
        assert_eq!(info.go_version, "go1.27.3");
        assert_eq!(info.main_package, "cmd/go");
    }

    #[test]
    fn executables_without_module_information_have_no_main_package() {
        let info = parse(&blob(2, b"go1.21", b"")).expect("sound").expect("found");
        assert_eq!(info.main_package, "");
    }

    #[test]
    fn the_pointer_form_is_refused_by_name() {
        assert!(matches!(parse(&blob(0, b"", b"")), Err(Error::PointerBuildInfo)));
    }

    #[test]
    fn every_cut_is_an_error_or_not_go() {
        let whole = blob(2, b"go1.27.3", b"0123456789abcdefpath\tx\n0123456789abcdef");
        for length in 0..whole.len() {
            match parse(&whole[..length]) {
                Ok(None) => assert!(length < MAGIC.len()),
                Err(Error::BuildInfo(_)) => {}
                other => panic!("{length} bytes gave {other:?}"),
            }
        }
    }

    #[test]
    fn varints() {
        assert_eq!(take_varint(&[0x81, 0x02, 7]), Some((0x101, &[7][..])));
        assert_eq!(take_varint(&[0x80]), None);
        assert_eq!(take_varint(&[0xff; 32]), None);
    }

    #[test]
    fn other_files_are_not_go() {
        assert_eq!(read(b"#!/bin/sh\n").expect("sound"), None);
        assert_eq!(read(b"").expect("sound"), None);
    }
}
