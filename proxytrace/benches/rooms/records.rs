//! The records that the kernel would have sent for a synthetic trace.

use proxytrace::event::{Event, Headers, What};
use proxytrace_common::record::{ConnectionAddresses, HEADERS, Kind, SocketAddress, Tag};

/// Where the fixed part of a record ends, and where in it the record's size is.
const HEADER: usize = 48;
const SIZE: usize = 32;

/// One record for each event of a go command's goroutines; what comes of others is left out.
pub fn of(events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().filter_map(record).collect()
}

fn record(event: &Event) -> Option<Vec<u8>> {
    let goroutine = event.goroutine?;
    let kind = kind(&event.what)?;
    let mut record = Vec::with_capacity(256);
    record.extend(event.time.to_ne_bytes());
    record.extend(goroutine.id.to_ne_bytes());
    record.extend(goroutine.parent.to_ne_bytes());
    for word in [event.pid, event.pid, 0, 0] {
        record.extend(word.to_ne_bytes());
    }
    record.extend((kind as u16).to_ne_bytes());
    record.resize(HEADER, 0);
    fields(&event.what, &mut Fields(&mut record));
    let size = u32::try_from(record.len()).expect("a small record");
    record[SIZE..][..4].copy_from_slice(&size.to_ne_bytes());
    Some(record)
}

fn kind(what: &What) -> Option<Kind> {
    Some(match what {
        What::WalkEnter => Kind::WalkEnter,
        What::WalkReturn { .. } => Kind::WalkReturn,
        What::Lookup { .. } => Kind::Lookup,
        What::RequestEnter { .. } => Kind::RequestEnter,
        What::RequestReturn { .. } => Kind::RequestReturn,
        What::Try { .. } => Kind::TryHttp2,
        What::BodyEnd { .. } => Kind::BodyHttp2,
        What::SumEnter { .. } => Kind::SumEnter,
        What::InfoRead { .. } => Kind::InfoReturn,
        _ => return None,
    })
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn bytes(&mut self, tag: Tag, bytes: &[u8]) {
        let [low, high] = u16::try_from(bytes.len()).expect("a short string").to_ne_bytes();
        self.0.extend([tag as u8, 0, low, high]);
        self.0.extend(bytes);
    }

    fn number(&mut self, tag: Tag, number: u64) {
        self.bytes(tag, &number.to_ne_bytes());
    }

    fn headers(&mut self, headers: &Headers) {
        for (name, value) in headers {
            let known = HEADERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            self.bytes(known.expect("a header of the list").1, value.as_bytes());
        }
    }
}

fn fields(what: &What, to: &mut Fields<'_>) {
    match what {
        What::Lookup { proxy, module } => {
            to.bytes(Tag::Proxy, proxy.as_bytes());
            to.bytes(Tag::Module, module.as_bytes());
        }
        What::RequestEnter { url, headers, .. } => {
            let (scheme, rest) = url.split_once("://").expect("a URL");
            let slash = rest.find('/').expect("a URL with a path");
            to.bytes(Tag::Scheme, scheme.as_bytes());
            to.number(Tag::HasUser, 0);
            to.bytes(Tag::Host, &rest.as_bytes()[..slash]);
            to.bytes(Tag::Path, &rest.as_bytes()[slash..]);
            to.headers(headers);
        }
        What::Try { .. } => {
            let both = address(40_001, 1).into_iter().chain(address(443, 2));
            let tls = [1, 0, 0, 0, 0, 0, 0, 0];
            let both: Vec<u8> = both.chain(tls).collect();
            assert_eq!(both.len(), size_of::<ConnectionAddresses>());
            to.bytes(Tag::Connection, &both);
        }
        What::RequestReturn { status, headers, body, .. } => {
            to.number(Tag::Status, status.expect("an answer").into());
            to.bytes(Tag::Protocol, b"HTTP/2.0");
            to.number(Tag::ContentLength, 4321);
            to.number(Tag::Body, body.unwrap_or_default());
            to.headers(headers);
        }
        What::BodyEnd { body, .. } => {
            to.number(Tag::Body, *body);
            to.number(Tag::Remaining, 0);
        }
        What::SumEnter { module, version } => {
            to.bytes(Tag::Module, module.as_bytes());
            to.bytes(Tag::Version, version.as_bytes());
        }
        What::InfoRead { file } => to.bytes(Tag::File, file.as_bytes()),
        _ => {}
    }
}

/// A [`SocketAddress`] of the loopback network.
fn address(port: u16, host: u8) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<SocketAddress>()];
    bytes[..4].copy_from_slice(&[127, 0, 0, host]);
    bytes[16] = 4;
    bytes[22..].copy_from_slice(&port.to_ne_bytes());
    bytes
}
