//! One head: parsed, redacted, and what it says of the body after it.

use std::borrow::Cow;
use std::net::SocketAddr;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::event::Headers;
use crate::redact;

/// Headers of a head that are looked at; one with more is not read.
const HEADERS_MAX: usize = 128;

/// The head of a request, redacted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// URL; of CONNECT, `host:port`.
    pub url: String,
    /// `User-Agent`, `Referer`.
    pub headers: Headers,
    /// What is not all here, by name (`headers`).
    pub cut: Vec<String>,
}

/// The head of a response, redacted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `HTTP/1.1`.
    pub protocol: String,
    /// Those of the allow-list.
    pub headers: Headers,
    /// The length of the body, as announced.
    pub content_length: Option<u64>,
    /// What is not all here, by name (`headers`, `location`).
    pub cut: Vec<String>,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// What lasts until the connection ends.
    ToTheEnd,
    /// Something that is not HTTP, or another one: a tunnel, an upgrade.
    Other,
    /// That is not told.
    Unknown,
}

/// A head and what follows it.
#[derive(Debug)]
pub(super) struct Head<T> {
    pub(super) said: T,
    pub(super) body: Body,
}

/// What bytes are.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// A head of so many bytes.
    Whole(Head<T>, usize),
    /// The beginning of one.
    Part,
    /// Something else.
    Not,
}

impl Body {
    /// Where a message ends whose head is the first `head` of these bytes, if that is known.
    pub(super) fn end(self, bytes: &[u8], head: usize) -> Option<u64> {
        match self {
            Self::Length(length) => length.checked_add(head as u64),
            Self::Chunked => chunks(&bytes[head..]).map(|length| (head + length) as u64),
            Self::ToTheEnd | Self::Other | Self::Unknown => None,
        }
    }
}

/// The head of a request to `remote`.
pub(super) fn request(bytes: &[u8], remote: Option<SocketAddr>) -> Parsed<Request> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Parsed::Part,
        Err(_) => return Parsed::Not,
    };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Parsed::Not };
    let host = value(request.headers, "Host").or_else(|| remote.map(|remote| remote.to_string()));
    let Some(url) = url(method, target, host.as_deref().map(str::trim)) else {
        return Parsed::Not;
    };
    let body = match transfer(request.headers) {
        Body::ToTheEnd => Body::Unknown,
        // What the tunnel carries is known from the response.
        _ if method == "CONNECT" => Body::Length(0),
        Body::Other => Body::Length(0),
        body => body,
    };
    let said = Request {
        method: method.to_owned(),
        url,
        headers: listed(request.headers, true),
        cut: Vec::new(),
    };
    Parsed::Whole(Head { said, body }, length)
}

/// The head of a response: to HEAD, to CONNECT, or to something else.
pub(super) fn response(bytes: &[u8], to_head: bool, to_connect: bool) -> Parsed<Response> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Parsed::Part,
        Err(_) => return Parsed::Not,
    };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Parsed::Not;
    };
    let transfer = transfer(response.headers);
    let body = match status {
        101 => Body::Other,
        200..=299 if to_connect => Body::Other,
        100..=199 | 204 | 304 => Body::Length(0),
        _ if to_head => Body::Length(0),
        _ if transfer == Body::Other => Body::ToTheEnd,
        _ => transfer,
    };
    let said = Response {
        status,
        protocol: format!("HTTP/1.{version}"),
        headers: listed(response.headers, false),
        content_length: match transfer {
            Body::Length(length) => Some(length),
            _ => None,
        },
        cut: Vec::new(),
    };
    Parsed::Whole(Head { said, body }, length)
}

/// A request of whose head the end is missing.
pub(super) fn cut_request(bytes: &[u8]) -> Option<Head<Request>> {
    let (lines, _) = whole_lines(bytes)?;
    // A host that is missing may be in the rest.
    let Parsed::Whole(head, _) = request(&lines, None) else { return None };
    let said = Request { cut: vec!["headers".to_owned()], ..head.said };
    Some(Head { said, body: Body::Unknown })
}

/// A response of whose head the end is missing.
pub(super) fn cut_response(
    bytes: &[u8],
    to_head: bool,
    to_connect: bool,
) -> Option<Head<Response>> {
    let (lines, rest) = whole_lines(bytes)?;
    let Parsed::Whole(head, _) = response(&lines, to_head, to_connect) else { return None };
    let mut cut = vec!["headers".to_owned()];
    if rest.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"location:")) {
        cut.push("location".to_owned());
    }
    let said = Response { cut, content_length: None, ..head.said };
    let body = if head.body == Body::Other { Body::Other } else { Body::Unknown };
    Some(Head { said, body })
}

/// The lines that are whole, as if the head ended there; and the rest.
fn whole_lines(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n')? + 1;
    let (lines, rest) = bytes.split_at(end);
    Some(([lines, b"\r\n"].concat(), rest))
}

/// The URL of a request, redacted (RFC 9112, section 3.2).
fn url(method: &str, target: &str, host: Option<&str>) -> Option<String> {
    let absolute = target.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/'));
    let url = if method == "CONNECT" || absolute {
        target.to_owned()
    } else if target.starts_with('/') {
        format!("http://{}{target}", host?)
    } else if target == "*" {
        format!("http://{}", host?)
    } else {
        return None;
    };
    Some(redact::url(&url).into_owned())
}

/// What the headers say of the body; [`Body::Other`] if nothing.
fn transfer(headers: &[Header<'_>]) -> Body {
    let named = |name: &'static str| {
        headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    if let Some(coding) = named("Transfer-Encoding").next_back() {
        let last = coding.value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        return if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            Body::Chunked
        } else {
            Body::ToTheEnd
        };
    }
    let mut lengths = named("Content-Length").map(|header| number(header.value));
    match lengths.next() {
        None => Body::Other,
        Some(Some(length)) if lengths.all(|other| other == Some(length)) => Body::Length(length),
        Some(_) => Body::Unknown,
    }
}

/// Digits and nothing else.
fn number(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value.trim_ascii()).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn value(headers: &[Header<'_>], name: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(String::from_utf8_lossy(header.value).into_owned())
}

/// The allow-listed headers of a request, or of a response, redacted. Of several of one name, the
/// first.
fn listed(headers: &[Header<'_>], of_request: bool) -> Headers {
    let names = redact::HEADERS
        .iter()
        .filter(|name| of_request == matches!(**name, "Referer" | "User-Agent"));
    names
        .filter_map(|&name| {
            let value = value(headers, name)?;
            Some((Cow::Borrowed(name), redact::header(name, &value)?.into_owned()))
        })
        .collect()
}

/// The length of a body of chunks, trailers included, if it ends within these bytes.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(bytes.get(at..)?)
        else {
            return None;
        };
        at += line;
        if size == 0 {
            let mut trailers = [EMPTY_HEADER; HEADERS_MAX];
            let Ok(Status::Complete((length, _))) =
                httparse::parse_headers(bytes.get(at..)?, &mut trailers)
            else {
                return None;
            };
            return Some(at + length);
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(at..at.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}
