//! What could not be read is said.

use std::mem::offset_of;

use proxytrace_common::record::{CUT, ErrorStep, FAULT, FieldHeader, Header};

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

/// The same, with flags of its own.
fn flagged(flags: u8, kind: Kind, fields: &[(Tag, u8, &[u8])]) -> Vec<u8> {
    let mut record = record(kind, fields);
    record[offset_of!(Header, flags)] = flags;
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

/// As where four headers of 4,090 bytes come before the one that leads on.
#[test]
fn what_a_full_record_has_no_room_for_is_cut() {
    let events = decoded(&flagged(CUT, Kind::RequestReturn, &[(Tag::Server, 0, b"s")]));
    assert!(
        matches!(&*events, [What::RequestReturn { cut, .. }] if *cut == ["location", "headers"]),
        "{events:?}"
    );
    let events = decoded(&flagged(CUT, Kind::RequestReturn, &[(Tag::Location, 0, b"/l")]));
    assert!(
        matches!(&*events, [What::RequestReturn { cut, .. }] if *cut == ["headers"]),
        "{events:?}"
    );
    let fields: [(Tag, u8, &[u8]); 2] = [(Tag::Host, 0, b"h"), (Tag::OtherHeader, 0, b"X-Any")];
    let events = decoded(&flagged(CUT, Kind::RequestEnter, &fields));
    let [What::RequestEnter { cut, credentials: None, .. }] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!(cut, &["url", "headers"]);
}

#[test]
fn errors_that_a_full_record_has_no_room_for_are_lost() {
    let step = [0_u8; size_of::<ErrorStep>()];
    let fields: [(Tag, u8, &[u8]); 1] = [(Tag::Error, 0, &step)];
    let whole = decoded(&record(Kind::WalkReturn, &fields));
    assert!(matches!(&*whole, [What::WalkReturn { error: Some(_) }]), "{whole:?}");
    let events = decoded(&flagged(CUT, Kind::WalkReturn, &fields));
    assert!(
        matches!(&*events, [What::WalkReturn { error: Some(_) }, What::Lost { count: 1 }]),
        "{events:?}"
    );
}

/// A pointer to all of the URL is no nil.
#[test]
fn what_all_of_a_url_is_reached_by_could_not_be_read() {
    let events = decoded(&flagged(FAULT, Kind::RequestEnter, &[(Tag::Method, 0, b"GET")]));
    let [What::RequestEnter { cut, credentials: None, .. }, What::Lost { count: 1 }] = &*events
    else {
        panic!("{events:?}");
    };
    assert_eq!(cut, &["url", "headers"]);
}

#[test]
fn a_name_that_could_not_be_read_may_be_any() {
    let with = |flags, name: &'static [u8]| {
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::OtherHeader, 0, b"X-Any"), (Tag::OtherHeader, flags, name)];
        decoded(&record(Kind::RequestEnter, &fields))
    };
    let whole = with(0, b"X-Other");
    assert!(
        matches!(&*whole, [What::RequestEnter { credentials: Some(names), .. }] if names.is_empty()),
        "{whole:?}"
    );
    let events = with(FAULT, b"");
    let [What::RequestEnter { cut, credentials: None, .. }, What::Lost { count: 1 }] = &*events
    else {
        panic!("{events:?}");
    };
    assert_eq!(cut, &["headers"]);
}
