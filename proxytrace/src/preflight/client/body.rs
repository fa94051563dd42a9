//! The body of a response, as far as it is kept.

use std::io::{ErrorKind, Read as _};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::super::failure::Failure;
use crate::model::Outcome;

/// What was kept of a body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::preflight) struct Body {
    pub(in crate::preflight) bytes: Bytes,
    /// Whether that is all of it.
    pub(in crate::preflight) whole: bool,
}

impl Body {
    /// What it is unpacked, so many bytes at most. A body that came whole and is broken is a failure
    /// (`net/http/transport.go:gzipReader`).
    pub(super) fn unpacked(self, most: usize) -> Result<Self, Failure> {
        // To go as well that is an empty one.
        if self.bytes.is_empty() {
            return Ok(self);
        }
        let mut bytes = Vec::new();
        let more = most as u64 + 1;
        let unpacked = MultiGzDecoder::new(&self.bytes[..]).take(more).read_to_end(&mut bytes);
        let whole = self.whole && bytes.len() <= most;
        bytes.truncate(most);
        match unpacked {
            // What we have not kept is missing.
            Err(_) if !self.whole => {}
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(Failure::new(Outcome::Truncated).detailed(error));
            }
            Err(error) => {
                let reason = "sent a body that is no gzip, which it says it is";
                return Err(Failure::because(Outcome::BadContent, reason).detailed(error));
            }
        }
        Ok(Self { bytes: bytes.into(), whole })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: Vec<u8>, whole: bool, most: usize) -> Result<(Vec<u8>, bool), Outcome> {
        let unpacked = Body { bytes: bytes.into(), whole }.unpacked(most);
        unpacked.map(|body| (body.bytes.to_vec(), body.whole)).map_err(|failure| failure.outcome)
    }

    #[test]
    fn what_is_packed_is_whole_if_all_of_it_was_kept() {
        let text = b"PK and so on".repeat(100);
        let all = packed(&text);
        assert_eq!(unpacked(all.clone(), true, text.len()), Ok((text.clone(), true)));
        assert_eq!(unpacked(all.clone(), true, 10), Ok((text[..10].to_vec(), false)));
        let (begin, whole) = unpacked(all[..all.len() - 9].to_vec(), false, text.len()).unwrap();
        assert!(text.starts_with(&begin) && !whole);
        // Several one after the other are one (RFC 1952 §2.2).
        assert_eq!(unpacked(all.repeat(2), true, 9999), Ok((text.repeat(2), true)));
        assert_eq!(unpacked(Vec::new(), true, 10), Ok((Vec::new(), true)));
    }

    #[test]
    fn what_came_whole_and_is_broken_is_a_failure() {
        let all = packed(b"module m\n");
        assert_eq!(unpacked(all[..all.len() - 1].to_vec(), true, 99), Err(Outcome::Truncated));
        assert_eq!(unpacked(b"module mod.lab/m\n".to_vec(), true, 99), Err(Outcome::BadContent));
        let mut other = all;
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(unpacked(other, true, 99), Err(Outcome::BadContent));
    }
}
