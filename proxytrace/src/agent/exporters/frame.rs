//! Frames: how records stand in a file, so that what is cut off can be told.
//!
//! Length, number of records and CRC-32 of the payload, each 32 bits in little endian, then the
//! payload. The payloads of a file one after the other are one message.

use std::io;

use flate2::Crc;

/// Length of what stands before a payload.
pub(super) const HEADER: usize = 12;
/// A payload is no longer, or it is none.
const LONGEST: u32 = 64 << 20;

/// A frame.
pub(super) fn frame(payload: &[u8], records: u64) -> io::Result<Vec<u8>> {
    let too_much = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let length = u32::try_from(payload.len()).map_err(too_much)?;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let records = u32::try_from(records).map_err(too_much)?;
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    for word in [length, records, checksum(payload)] {
        frame.extend(word.to_le_bytes());
    }
    frame.extend(payload);
    Ok(frame)
}

fn checksum(payload: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(payload);
    crc.sum()
}

/// What the frames of a file say.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) payload: Vec<u8>,
    pub(super) records: u64,
    /// Up to where they are whole.
    pub(super) length: usize,
    /// Records of what is not whole, as far as that is known; one if it is not.
    pub(super) torn: u64,
}

/// Reads frames, as far as they are whole.
pub(super) fn frames(bytes: &[u8]) -> Frames {
    let mut all = Frames::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((header, after)) = rest.split_at_checked(HEADER) else {
            all.torn = 1;
            return all;
        };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (length, records, sum) = (word(0), word(4), word(8));
        let payload = usize::try_from(length).ok().and_then(|length| after.get(..length));
        let Some(payload) = payload.filter(|it| length <= LONGEST && checksum(it) == sum) else {
            // A count out of nothing would be worse than one.
            all.torn =
                if length <= LONGEST && records < 1 << 20 { u64::from(records.max(1)) } else { 1 };
            return all;
        };
        all.payload.extend(payload);
        all.records += u64::from(records);
        rest = &after[payload.len()..];
        all.length = bytes.len() - rest.len();
    }
    all
}
