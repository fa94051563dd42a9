//! What could not be read is said.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem::offset_of;

use proxytrace_common::record::{CUT, ErrorStep, FAULT, FieldHeader, HEADERS, Header, STRING_MAX};

use super::*;
use crate::event::{Headers, Setting};
use crate::redact;

/// A process that is not there.
const NOBODY: u32 = u32::MAX >> 1;

/// A record of these fields, of [`NOBODY`].
fn record(kind: Kind, fields: &[(Tag, u8, &[u8])]) -> Vec<u8> {
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

#[test]
fn headers_are_redacted_as_by_their_names() {
    const VALUE: &str = "Basic https://u:p@h/?token=x";
    let fields: Vec<(Tag, u8, &[u8])> =
        HEADERS.iter().map(|(_, tag)| (*tag, 0, VALUE.as_bytes())).collect();
    let events = decoded(&record(Kind::RequestReturn, &fields));
    let [What::RequestReturn { headers, .. }] = &*events else { panic!("{events:?}") };
    let by_name = |name: &'static str| redact::header(name, VALUE).unwrap().into_owned();
    let expected: Headers =
        HEADERS.iter().map(|(name, _)| (Cow::Borrowed(*name), by_name(name))).collect();
    assert_eq!(*headers, expected);
    assert!(HEADERS.is_sorted());
}

/// Of those with a secret nothing is kept.
#[test]
fn an_entry_is_redacted_once() {
    let (executables, mut events) = (Executables::default(), Vec::new());
    let mut decoder = Decoder::new(0, Pids::new(true));
    let mut look_up = |entry: &str, flags| {
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::Proxy, flags, entry.as_bytes()), (Tag::Module, 0, b"x.lab/m")];
        decoder.decode(&record(Kind::Lookup, &fields), &executables, &mut events).unwrap();
        let What::Lookup { proxy, .. } = events.remove(0).what else { panic!("{entry}") };
        events.clear();
        proxy
    };
    let first = look_up("https://h", 0);
    assert!(Arc::ptr_eq(&first, &look_up("https://h", 0)));
    assert_eq!(&*look_up("https://h", CUT), "https://REDACTED@…");
    for number in 0..2 * ENTRIES_KEPT {
        let entry = format!("https://{number}.lab");
        assert_eq!(*look_up(&entry, 0), *entry);
    }
    assert!(!Arc::ptr_eq(&first, &look_up("https://h", 0)));
    for _ in 0..2 {
        assert_eq!(&*look_up("https://u:p@h", 0), "https://REDACTED@h");
    }
    assert_eq!(decoder.entries.len(), ENTRIES_KEPT);
    assert!(decoder.entries.iter().all(|entry| !entry.contains('@')));
}

/// By whichever of its names it is closed. One of them may be that of a later body by then.
#[test]
fn a_body_that_may_be_unpacked_ends_once() {
    let (executables, mut events) = (Executables::default(), Vec::new());
    let mut decoder = Decoder::new(0, Pids::new(true));
    let [one, two, three, unknown] = [1, 2, 3, u64::MAX].map(u64::to_ne_bytes);
    let open = |own: [u8; 8], packed: [u8; 8]| {
        let fields: [(Tag, u8, &[u8]); 3] = [
            (Tag::Body, 0, &own),
            (Tag::ContentLength, 0, &unknown),
            (Tag::PackedBody, 0, &packed),
        ];
        record(Kind::RequestReturn, &fields)
    };
    let close = |name: [u8; 8]| record(Kind::BodyHttp1, &[(Tag::Body, 0, &name[..])]);
    let said = [open(one, two), open(three, two), close(one), close(one), close(two), close(three)];
    for bytes in &said {
        decoder.decode(bytes, &executables, &mut events).unwrap();
    }
    let ended = events.iter().filter_map(|event| match event.what {
        What::BodyEnd { body, .. } => Some(body),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [1, 2]);
}

/// The `@` that tells a token from a host may be behind the end.
#[test]
fn an_entry_that_is_cut_shows_no_userinfo_and_is_told() {
    let token = "e1-_.".repeat(STRING_MAX / 5);
    for (entry, shown) in [
        (format!("https://{token}"), "https://REDACTED@…".to_owned()),
        (format!("https://u:{token}"), "https://REDACTED@…".to_owned()),
        (format!("https://u@corp:{token}"), "https://REDACTED@…".to_owned()),
        (format!("https://u:p/{token}"), "https://REDACTED@…".to_owned()),
        (format!("https://u@h/{token}"), format!("https://REDACTED@h/{token}…")),
        (format!("https://h:8443/{token}"), format!("https://h:8443/{token}…")),
        (format!("file:///{token}"), format!("file:///{token}…")),
    ] {
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::Proxy, CUT, entry.as_bytes()), (Tag::Module, 0, b"x.lab/m")];
        let events = decoded(&record(Kind::Lookup, &fields));
        let [What::Lookup { proxy, .. }, What::Lost { count: 1 }] = &*events else {
            panic!("{events:?}");
        };
        assert_eq!(**proxy, *shown);
    }
}

/// Of its list all is known.
#[test]
fn an_entry_that_is_cut_is_the_one_of_the_list_that_begins_so() {
    let entry = format!("https://{}", "e1-_.".repeat(STRING_MAX / 5));
    for (list, shown, lost) in [
        ("https://REDACTED@corp.lab/go,direct", "https://REDACTED@corp.lab/go", 0),
        ("https://a.lab|https://REDACTED@b,https://REDACTED@b", "https://REDACTED@b", 0),
        ("https://REDACTED@a.lab,https://REDACTED@b.lab", "https://REDACTED@…", 1),
        ("https://a.lab,direct", "https://REDACTED@…", 1),
    ] {
        let (executables, mut events) = (Executables::default(), Vec::new());
        let mut decoder = Decoder::new(0, Pids::new(true));
        let config = config(&[("GOPROXY", list)], Origin::Environment);
        decoder.lists.insert(NOBODY, List::of(&config));
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::Proxy, CUT, entry.as_bytes()), (Tag::Module, 0, b"x.lab/m")];
        decoder.decode(&record(Kind::Lookup, &fields), &executables, &mut events).unwrap();
        assert!(
            matches!(&events[0].what, What::Lookup { proxy, .. } if **proxy == *shown),
            "{list}"
        );
        let told = events.iter().filter(|event| matches!(event.what, What::Lost { count: 1 }));
        assert_eq!((events.len(), told.count()), (1 + lost, lost), "{list}");
    }
}

/// Half of one may be that of something else. Of a URL that is said with the URL.
#[test]
fn a_name_that_is_cut_is_told() {
    let lookup = |flags| {
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::Proxy, 0, b"https://h"), (Tag::Module, flags, b"x.lab/m")];
        decoded(&record(Kind::Lookup, &fields))
    };
    assert!(matches!(&*lookup(0), [What::Lookup { .. }]));
    assert!(matches!(&*lookup(CUT), [What::Lookup { .. }, What::Lost { count: 1 }]));
    let events = decoded(&record(Kind::Resolve, &[(Tag::Host, CUT, b"h")]));
    assert!(matches!(&*events, [What::Resolve { .. }, What::Lost { count: 1 }]), "{events:?}");
    let fields: [(Tag, u8, &[u8]); 2] = [(Tag::Host, CUT, b"h"), (Tag::Path, 0, b"/a")];
    let events = decoded(&record(Kind::RequestEnter, &fields));
    let [What::RequestEnter { cut, .. }] = &*events else { panic!("{events:?}") };
    assert_eq!(cut, &["url"]);
}

#[test]
fn a_redirect_that_is_cut_shows_no_userinfo() {
    for (location, shown) in [
        (&b"https://e1-_."[..], "https://REDACTED@"),
        (b"https://h/l?to=https%3A%2F%2Fu%3Ae1", "https://h/l?to=REDACTED"),
        (b"https://h/l?to=https%3A%2F%2Fh%2Fe1", "https://h/l?to=https%3A%2F%2Fh%2Fe1"),
    ] {
        let events = decoded(&record(Kind::RequestReturn, &[(Tag::Location, CUT, location)]));
        let [What::RequestReturn { cut, headers, .. }] = &*events else { panic!("{events:?}") };
        assert_eq!(cut, &["location"]);
        assert_eq!(headers.get("Location").map(String::as_str), Some(shown));
    }
}

#[test]
fn of_an_error_that_is_cut_there_are_whole_words() {
    let step = [0_u8; size_of::<ErrorStep>()];
    let fields: [(Tag, u8, &[u8]); 3] = [
        (Tag::Error, 0, &step),
        (Tag::ErrorText, CUT, b"reading \"https://e1-_."),
        (Tag::ErrorName, CUT, b"h"),
    ];
    let events = decoded(&record(Kind::WalkReturn, &fields));
    let [What::WalkReturn { error: Some(Failure { steps }) }] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!((steps[0].text.as_deref(), &steps[0].name), (Some("reading …"), &None));
}

/// What is left of a path is not the end of it.
#[test]
fn no_query_follows_a_path_that_is_cut() {
    for (flags, path, url) in [
        (0, &b"/a"[..], "https://h/a?x=1"),
        (CUT, b"/a", "https://h/a"),
        (CUT, b"/https://e1-_.", "https://h/https://REDACTED@"),
    ] {
        let fields: [(Tag, u8, &[u8]); 4] = [
            (Tag::Scheme, 0, b"https"),
            (Tag::Host, 0, b"h"),
            (Tag::Path, flags, path),
            (Tag::RawQuery, 0, b"x=1"),
        ];
        let events = decoded(&record(Kind::RequestEnter, &fields));
        let [What::RequestEnter { url: shown, cut, .. }] = &*events else { panic!("{events:?}") };
        assert_eq!((shown.as_str(), cut.is_empty()), (url, flags == 0));
    }
}

/// These settings, all of one origin.
fn config(settings: &[(&str, &str)], origin: Origin) -> BTreeMap<String, Setting> {
    let of = |value: &str| Setting { value: value.to_owned(), origin };
    settings.iter().map(|(name, value)| ((*name).to_owned(), of(value))).collect()
}

fn started(config: BTreeMap<String, Setting>) -> What {
    What::GoStart {
        go_version: "go1.27.3".to_owned(),
        exe: "/go".to_owned(),
        argv: Vec::new(),
        config,
        surroundings: Box::default(),
    }
}

/// Who walks no list lacks nothing.
#[test]
fn a_walk_of_a_list_that_was_gone_is_told_once() {
    for (root, origin, lost) in [
        ("/", None, 0),
        ("/nowhere", None, 1),
        ("/nowhere", Some(Origin::Default), 1),
        ("/nowhere", Some(Origin::GorootFile), 0),
        ("/nowhere", Some(Origin::UserFile), 0),
        ("/nowhere", Some(Origin::Environment), 0),
    ] {
        let (executables, mut events) = (Executables::default(), Vec::new());
        let mut decoder = Decoder::new(0, Pids::new(true));
        let config = origin.map(|origin| config(&[("GOPROXY", "off")], origin));
        decoder.note_list(NOBODY, Path::new(root), &started(config.unwrap_or_default()));
        for kind in [Kind::WalkReturn, Kind::WalkEnter, Kind::WalkEnter] {
            decoder.decode(&record(kind, &[]), &executables, &mut events).unwrap();
        }
        let told = events.iter().filter(|event| matches!(event.what, What::Lost { count: 1 }));
        assert_eq!((events.len(), told.count()), (3 + lost, lost), "{root} {origin:?}");
    }
}

/// As where the environment names the list, and a file what is private.
#[test]
fn private_modules_that_a_file_told_of_that_was_gone_are_told_once() {
    let list = ("GOPROXY", "https://h");
    for (root, settings, asked, lost) in [
        ("/nowhere", &[list][..], "noproxy", 1),
        ("/nowhere", &[list], "https://h", 0),
        ("/nowhere", &[list, ("GOPRIVATE", "x.lab")], "noproxy", 0),
        ("/nowhere", &[list, ("GONOPROXY", "x.lab")], "noproxy", 0),
        ("/", &[list], "noproxy", 0),
    ] {
        let (executables, mut events) = (Executables::default(), Vec::new());
        let mut decoder = Decoder::new(0, Pids::new(true));
        let config = config(settings, Origin::Environment);
        decoder.lists.insert(NOBODY, List::of(&config));
        decoder.note_list(NOBODY, Path::new(root), &started(config));
        let fields: [(Tag, u8, &[u8]); 2] =
            [(Tag::Proxy, 0, asked.as_bytes()), (Tag::Module, 0, b"x.lab/m")];
        let lookup = record(Kind::Lookup, &fields);
        for record in [&record(Kind::WalkEnter, &[]), &lookup, &lookup] {
            decoder.decode(record, &executables, &mut events).unwrap();
        }
        let told = events.iter().filter(|event| matches!(event.what, What::Lost { count: 1 }));
        assert_eq!((events.len(), told.count()), (3 + lost, lost), "{root} {settings:?} {asked}");
    }
}
