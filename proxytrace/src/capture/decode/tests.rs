//! What could not be read is said.

use proxytrace_common::record::{FAULT, FieldHeader, Header};

use super::*;

/// A record of these fields, of a process that is not there.
fn record(kind: Kind, fields: &[(Tag, u8, &[u8])]) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX >> 1;
    let length: usize =
        fields.iter().map(|(.., bytes)| size_of::<FieldHeader>() + bytes.len()).sum();
    let size = u32::try_from(size_of::<Header>() + length).unwrap();
    let mut record = [0; 24].to_vec();
    for number in [NOBODY, NOBODY, size, 0] {
        record.extend(number.to_ne_bytes());
    }
    record.extend((kind as u16).to_ne_bytes());
    record.extend([0; 6]);
    for (tag, flags, bytes) in fields {
        record.extend([*tag as u8, *flags]);
        record.extend(u16::try_from(bytes.len()).unwrap().to_ne_bytes());
        record.extend(*bytes);
    }
    record
}

fn decoded(record: &[u8]) -> Vec<What> {
    let (executables, mut events) = (Executables::default(), Vec::new());
    Decoder::new(0, Pids::new(true)).decode(record, &executables, &mut events).unwrap();
    events.into_iter().map(|event| event.what).collect()
}

#[test]
fn a_url_that_could_not_be_read_is_none() {
    let fields = |path_flags, path: &'static [u8]| {
        [(Tag::Scheme, 0, &b"https"[..]), (Tag::Host, 0, b"h"), (Tag::Path, path_flags, path)]
    };
    let whole = decoded(&record(Kind::RequestEnter, &fields(0, b"/a")));
    assert!(matches!(&*whole, [What::RequestEnter { cut, .. }] if cut.is_empty()), "{whole:?}");
    let events = decoded(&record(Kind::RequestEnter, &fields(FAULT, b"")));
    let [What::RequestEnter { cut, .. }, What::Lost { count: 1 }] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!(cut, &["url"]);
}

#[test]
fn a_header_that_could_not_be_read_is_missed() {
    let events = decoded(&record(Kind::RequestReturn, &[(Tag::Location, FAULT, b"")]));
    let [What::RequestReturn { cut, headers, .. }, What::Lost { count: 1 }] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!(cut, &["location"]);
    assert!(headers.is_empty());
}

#[test]
fn arguments_that_could_not_be_read_are_no_empty_one() {
    let events = decoded(&record(Kind::Exec, &[(Tag::Arguments, FAULT, b"")]));
    assert!(matches!(&*events, [What::Exec { argv, .. }] if *argv == ["…"]), "{events:?}");
}
