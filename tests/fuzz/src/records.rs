//! Records, as the kernel side sends them.

use proxytrace::capture::decode_records;

/// Size of a record's header, and where it has the size of the record.
const HEADER: usize = 48;
const SIZE: usize = 32;

/// Records, each behind its length in two bytes. Their headers get the right size: that a wrong one
/// is refused is soon known, and would hide the rest.
pub(crate) fn any(mut data: &[u8]) {
    let mut records = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (record, rest) = rest.split_at(length);
        data = rest;
        let mut record = record.to_vec();
        if record.len() >= HEADER {
            let size = u32::try_from(length).expect("two bytes");
            record[SIZE..SIZE + 4].copy_from_slice(&size.to_ne_bytes());
        }
        records.push(record);
    }
    let events = decode_records(records.iter().map(Vec::as_slice));
    // Each is an event, and may say beside that something of it was lost.
    assert!(events <= 2 * records.len());
}
