//! The sum of a module's zip, as `go.sum` and the checksum database have it.

use std::fmt::Write as _;
use std::io::{self, Cursor, Read as _, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Context, SHA256};
use zip::ZipArchive;

/// What all files of a module may have together (`zip.MaxZipFile`), in bytes.
const MOST: u64 = 500 << 20;

/// `h1:` of the files of a zip (`dirhash.HashZip`); none if it is no zip, or has more in it than go
/// takes.
pub(super) fn sum(zip: &[u8]) -> Option<String> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).ok()?;
    let mut files: Vec<(String, usize)> = Vec::new();
    for place in 0..archive.len() {
        let file = archive.by_index_raw(place).ok()?;
        files.push((file.name().ok()?.into_owned(), place));
    }
    files.sort();
    let mut left = MOST;
    let mut all = Context::new(&SHA256);
    for (name, place) in files {
        let mut hash = Hash(Context::new(&SHA256));
        let mut file = archive.by_index(place).ok()?.take(left + 1);
        left = left.checked_sub(io::copy(&mut file, &mut hash).ok()?)?;
        if name.contains('\n') {
            return None;
        }
        let mut line = String::new();
        for byte in hash.0.finish().as_ref() {
            write!(line, "{byte:02x}").ok()?;
        }
        all.update(format!("{line}  {name}\n").as_bytes());
    }
    Some(format!("h1:{}", BASE64_STANDARD.encode(all.finish())))
}

struct Hash(Context);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::sum;

    fn zip(files: &[(&str, &str)], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            let options = SimpleFileOptions::default().compression_method(method);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn the_sum_is_that_of_the_files_however_they_are_packed() {
        // `sha256sum` of the two lines that `sha256sum` prints of the files, in base64.
        let expected = "h1:H1N7vbG0aKow6Pg3vW8mqcv6r6Qo9oWn9TF7mlIYrpc=";
        let files = [("m@v1/go.mod", "module m\n"), ("m@v1/a.go", "package m\n")];
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            assert_eq!(sum(&zip(&files, method)).as_deref(), Some(expected));
        }
        let other = [files[0], ("m@v1/a.go", "package n\n")];
        assert_ne!(sum(&zip(&other, CompressionMethod::Stored)).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_no_zip_has_no_sum() {
        let whole = zip(&[("m@v1/go.mod", "module m\n")], CompressionMethod::Deflated);
        for broken in [&b""[..], b"PK\x03\x04", b"<html>", &whole[..whole.len() - 9]] {
            assert_eq!(sum(broken), None);
        }
    }
}
