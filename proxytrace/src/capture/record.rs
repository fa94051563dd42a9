//! One record, taken apart: numbers, texts, addresses, errors. Layout: `proxytrace_common::record`.
//!
//! Fields stay in the bytes that they came in. A record has about ten of them, and each is asked for
//! once, so what counts is that none is copied, and that one is found without a search.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use proxytrace_common::record::{CUT, FAULT, HEADERS, Header, Kind, SocketAddress, Tag};

use super::executables::TypeNames;
use crate::event::{Failure, FailureStep, Headers};
use crate::{redact, url};

/// A record taken apart.
#[derive(Clone)]
pub(super) struct Record<'a> {
    pub(super) time: u64,
    pub(super) goroutine: u64,
    pub(super) parent_goroutine: u64,
    pub(super) pid: u32,
    pub(super) executable: u32,
    pub(super) kind: Kind,
    flags: u8,
    /// Those of any of its fields.
    field_flags: u8,
    bytes: &'a [u8],
    /// Where the first field of each tag begins; zero, where the header is, for none.
    first: [u16; TAGS],
}

/// What makes a URL.
const URL: [Tag; 5] = [Tag::Scheme, Tag::Host, Tag::Path, Tag::RawPath, Tag::RawQuery];

/// Names: half of one may be that of something else.
const NAMES: [Tag; 5] = [Tag::Module, Tag::Version, Tag::Host, Tag::File, Tag::Executable];

/// Numbers of tags: no tag has a larger one.
const TAGS: usize = Tag::OtherHeader as usize + 1;
const _: () = {
    let mut number = u8::MAX;
    while number as usize >= TAGS {
        assert!(Tag::from_number(number).is_none());
        number -= 1;
    }
};

/// One field of a record.
struct Field<'a> {
    tag: Tag,
    flags: u8,
    bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// The first field of these bytes, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[tag, flags, low, high], rest) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let (bytes, rest) = rest.split_at_checked(length)?;
        Some((Self { tag: Tag::from_number(tag)?, flags, bytes }, rest))
    }

    fn text(&self) -> Option<Cow<'a, str>> {
        (self.flags & FAULT == 0).then(|| lossy(self.bytes))
    }

    /// The text of an error, redacted.
    fn error_text(&self) -> Option<String> {
        let text = self.text()?;
        if self.flags & CUT == 0 {
            return Some(redacted(text.into_owned(), redact::text));
        }
        Some(redact::text(whole_words(&text)).into_owned() + "…")
    }

    /// A name; none if it is cut.
    fn name(&self) -> Option<String> {
        self.text().filter(|_| self.flags & CUT == 0).map(Cow::into_owned)
    }

    fn number(&self) -> Option<u64> {
        self.bytes.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Text; what is none in it is replaced. Nearly all of it is, which is soon seen.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Takes the next bytes away.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

impl<'a> Record<'a> {
    /// Takes a record apart; none if it is malformed.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let time = u64::from_ne_bytes(take(&mut rest)?);
        let goroutine = u64::from_ne_bytes(take(&mut rest)?);
        let parent_goroutine = u64::from_ne_bytes(take(&mut rest)?);
        let pid = u32::from_ne_bytes(take(&mut rest)?);
        let _tid: [u8; 4] = take(&mut rest)?;
        let size = u32::from_ne_bytes(take(&mut rest)?) as usize;
        let executable = u32::from_ne_bytes(take(&mut rest)?);
        let kind = Kind::from_number(u16::from_ne_bytes(take(&mut rest)?))?;
        let [flags] = take(&mut rest)?;
        let _padding: [u8; 5] = take(&mut rest)?;
        debug_assert_eq!(bytes.len() - rest.len(), size_of::<Header>());
        if size != bytes.len() {
            return None;
        }
        let (mut first, mut field_flags) = ([0; TAGS], 0);
        while !rest.is_empty() {
            let (field, after) = Field::split(rest)?;
            field_flags |= field.flags;
            let start = &mut first[usize::from(field.tag as u8)];
            if *start == 0 {
                // A record is built in 24 KiB.
                *start = u16::try_from(bytes.len() - rest.len()).ok()?;
            }
            rest = after;
        }
        Some(Self {
            time,
            goroutine,
            parent_goroutine,
            pid,
            executable,
            kind,
            flags,
            field_flags,
            bytes,
            first,
        })
    }

    /// The fields from the first of this tag on.
    fn from(&self, tag: Tag) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let start = usize::from(self.first[usize::from(tag as u8)]);
        let mut rest = if start == 0 { &[] } else { self.bytes.get(start..).unwrap_or_default() };
        std::iter::from_fn(move || {
            let (field, after) = Field::split(rest)?;
            rest = after;
            Some(field)
        })
    }

    /// All fields of this tag.
    fn all(&self, tag: Tag) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.from(tag).filter(move |field| field.tag == tag)
    }

    fn field(&self, tag: Tag) -> Option<Field<'a>> {
        self.from(tag).next()
    }

    /// Whether there is a field of this tag.
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.first[usize::from(tag as u8)] != 0
    }

    pub(super) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.field(tag).map(|field| field.bytes)
    }

    fn words(&self, tag: Tag) -> Option<Cow<'a, str>> {
        self.field(tag)?.text()
    }

    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        self.words(tag).map(Cow::into_owned)
    }

    /// A text that nearly always is one of these, which are not copied.
    pub(super) fn usual(&self, tag: Tag, usual: &[&'static str]) -> Option<Cow<'static, str>> {
        let words = self.words(tag)?;
        let known = usual.iter().copied().find(|known| **known == *words);
        Some(known.map_or_else(|| Cow::Owned(words.into_owned()), Cow::Borrowed))
    }

    pub(super) fn number(&self, tag: Tag) -> Option<u64> {
        self.field(tag)?.number()
    }

    pub(super) fn pid_in(&self, tag: Tag) -> Option<u32> {
        u32::try_from(self.number(tag)?).ok()
    }

    /// Bytes that were recorded in pieces; of one that could not be read, nothing, nor of the rest.
    pub(super) fn pieces(&self, tag: Tag) -> Bytes {
        let mut pieces = self.all(tag);
        match (pieces.next(), pieces.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => Bytes::copy_from_slice(only.bytes),
            (Some(first), Some(second)) => [first, second]
                .into_iter()
                .chain(pieces)
                .take_while(|piece| piece.flags & FAULT == 0)
                .flat_map(|piece| piece.bytes.iter().copied())
                .collect(),
        }
    }

    /// Numbers that there can be several of.
    pub(super) fn numbers(&self, tag: Tag) -> impl Iterator<Item = u64> + use<'a> {
        self.all(tag).filter_map(|field| field.number())
    }

    /// A number that was a C `int`.
    pub(super) fn signed(&self, tag: Tag) -> Option<i32> {
        i32::try_from(self.number(tag)?.cast_signed()).ok()
    }

    /// A number of 16 bits that was read together with what follows it.
    pub(super) fn low_bits(&self, tag: Tag) -> Option<u16> {
        let bytes = self.number(tag)?.to_le_bytes();
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Whether nothing was left out of it: it never was full, and what several fields are reached by
    /// could be read. Of [`Tag::Text`] alone, whether that is whole.
    fn is_whole(&self) -> bool {
        self.flags & (CUT | FAULT) == 0
    }

    /// Whether a field could not be read.
    fn is_unread(&self, tag: Tag) -> bool {
        self.has_flag(tag, FAULT)
    }

    /// Whether a field was cut, could not be read, or may have been left out.
    pub(super) fn is_incomplete(&self, tag: Tag) -> bool {
        self.has_flag(tag, CUT | FAULT) || !self.is_whole() && !self.has(tag)
    }

    fn has_flag(&self, tag: Tag, flags: u8) -> bool {
        // Nearly never is there one.
        self.field_flags & flags != 0
            && self.field(tag).is_some_and(|field| field.flags & flags != 0)
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.number(Tag::Status).and_then(|status| u16::try_from(status).ok())
    }

    pub(super) fn module_version(&self) -> Option<(String, String)> {
        Some((self.text(Tag::Module)?, self.text(Tag::Version)?))
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let Some(bytes) = self.bytes(Tag::Arguments) else { return Vec::new() };
        let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let mut arguments: Vec<String> = whole
            .split(|&byte| byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        if !self.is_incomplete(Tag::Arguments) {
            return redact::arguments(&arguments);
        }
        if let Some(last) = arguments.last_mut() {
            let whole = whole_words(last).len();
            last.truncate(whole);
        }
        let mut arguments = redact::arguments(&arguments);
        match arguments.last_mut() {
            Some(last) => last.push('…'),
            None => arguments.push("…".to_owned()),
        }
        arguments
    }

    /// What is written to stderr, redacted: of a line that is cut, nothing, since half a word hides
    /// its secret from redaction.
    pub(super) fn stderr(&self) -> String {
        let text = self.words(Tag::Text).unwrap_or_default();
        let whole = if self.flags & CUT == 0 { Some(&*text) } else { after_line(&text) };
        redact::text(whole.unwrap_or_default()).into_owned()
    }

    /// The URL as go sends it, redacted, and whether something of it is not recorded.
    pub(super) fn url(&self) -> (String, bool) {
        let words = |tag| self.words(tag).unwrap_or_default();
        let (scheme, host) = (words(Tag::Scheme), words(Tag::Host));
        let (raw_path, raw_query) = (words(Tag::RawPath), words(Tag::RawQuery));
        let parts = url::Parts {
            scheme: &scheme,
            has_user: self.number(Tag::HasUser) == Some(1),
            host: &host,
            path: self.bytes(Tag::Path).unwrap_or_default(),
            raw_path: &raw_path,
            // It does not follow what is left of a path.
            raw_query: if self.has_flag(Tag::Path, CUT) { "" } else { &raw_query },
        };
        let cut = URL.into_iter().any(|tag| self.is_incomplete(tag));
        let is_cut = URL.into_iter().any(|tag| self.has_flag(tag, CUT));
        (redacted(parts.join(), if is_cut { redact_cut } else { redact::url }), cut)
    }

    /// The GOPROXY entry, redacted, and whether it is cut.
    pub(super) fn proxy(&self) -> Option<(String, bool)> {
        let text = self.text(Tag::Proxy)?;
        let is_cut = self.has_flag(Tag::Proxy, CUT);
        Some((redacted(text, if is_cut { redact_cut } else { redact::url }), is_cut))
    }

    /// Whether something is known by a name that is cut. Of a request that is told with its URL; an
    /// entry of GOPROXY may be known all the same.
    pub(super) fn is_name_cut(&self) -> bool {
        self.kind != Kind::RequestEnter && NAMES.into_iter().any(|tag| self.has_flag(tag, CUT))
    }

    pub(super) fn headers(&self) -> Headers {
        let there = || HEADERS.into_iter().filter(|(_, tag)| self.has(*tag));
        let count = there().count();
        // To those of a request, if there are any, those of its response are added.
        let more = if self.kind == Kind::RequestEnter && count > 0 { 2 } else { 0 };
        let mut headers = Headers::with_capacity(count + more);
        // In the order of their names: each comes after those that are there.
        headers.extend(there().filter_map(|(name, tag)| {
            Some((Cow::Borrowed(name), self.header(name, tag)?.into_owned()))
        }));
        headers
    }

    /// A header's value without its secrets. By its tag: what [`redact::header`] does, it does by a
    /// name that it must find.
    fn header(&self, name: &str, tag: Tag) -> Option<Cow<'a, str>> {
        let value = self.words(tag)?;
        let clean = match tag {
            Tag::Location | Tag::Referer if self.has_flag(tag, CUT) => redact_cut(&value),
            Tag::Location | Tag::Referer => redact::url(&value),
            Tag::WwwAuthenticate => redact::header(name, &value)?,
            _ => return Some(value),
        };
        if let Cow::Owned(clean) = clean {
            return Some(Cow::Owned(clean));
        }
        Some(value)
    }

    /// Whether there were more headers than are recorded, or may have been.
    pub(super) fn has_more_headers(&self) -> bool {
        self.has(Tag::HeadersCut) || !self.is_whole()
    }

    /// Whether the name of a header could not be read: it may be any.
    fn has_unread_name(&self) -> bool {
        self.field_flags & FAULT != 0
            && self.all(Tag::OtherHeader).any(|field| field.flags & FAULT != 0)
    }

    /// Names of headers that carry credentials. None where others may be among those that are not
    /// recorded.
    pub(super) fn credentials(&self) -> Option<Vec<String>> {
        if !self.is_whole() {
            return None;
        }
        let names = self.all(Tag::OtherHeader).map(|field| String::from_utf8_lossy(field.bytes));
        let secret = names.filter(|name| redact::names_a_secret(name));
        let mut names: Vec<String> = secret.map(Cow::into_owned).collect();
        names.sort_unstable();
        let are_all = !self.has_more_headers() && !self.has_unread_name();
        (!names.is_empty() || are_all).then_some(names)
    }

    /// Whether there were more headers than are recorded, or one could not be read.
    pub(super) fn misses_headers(&self) -> bool {
        self.has_more_headers()
            || self.has_unread_name()
            || HEADERS.into_iter().any(|(_, tag)| self.is_unread(tag))
    }

    /// What of a response was longer than its bound, or could not be read.
    pub(super) fn cuts(&self) -> Vec<String> {
        let others =
            HEADERS.into_iter().any(|(_, tag)| tag != Tag::Location && self.is_incomplete(tag));
        let headers = others || self.has_more_headers();
        named([(self.is_incomplete(Tag::Location), "location"), (headers, "headers")])
    }

    /// Whether of a request or a response something could not be read that it is known by: nobody
    /// would see that it is missing.
    pub(super) fn has_fault(&self) -> bool {
        let mut tags = HEADERS.into_iter().map(|(_, tag)| tag).chain(URL).chain([Tag::Method]);
        self.flags & FAULT != 0
            || self.has_unread_name()
            || self.field_flags & FAULT != 0 && tags.any(|tag| self.is_unread(tag))
    }

    /// This end, the other end, and whether there is TLS on it.
    pub(super) fn connection(&self) -> Option<(Option<SocketAddr>, Option<SocketAddr>, bool)> {
        let mut bytes = self.bytes(Tag::Connection)?;
        let local = socket_address(&mut bytes)?;
        let remote = socket_address(&mut bytes)?;
        Some((local, remote, *bytes.first()? == 1))
    }

    /// The addresses of a name; none if one is malformed.
    pub(super) fn answers(&self) -> Option<Vec<IpAddr>> {
        let mut all = Vec::new();
        for mut answer in self.all(Tag::Answer) {
            all.extend(ip_and_port(&mut answer.bytes)?.map(|(ip, _)| ip));
        }
        Some(all)
    }

    /// Whether there was no room for the end of the chain of errors, which may be what it is known by.
    pub(super) fn is_failure_cut(&self) -> bool {
        self.flags & CUT != 0 && self.has(Tag::Error)
    }

    /// The chain of errors, if there is one. `names` are those of the executable's types.
    pub(super) fn failure(&self, names: &TypeNames) -> Option<Failure> {
        if !self.has(Tag::Error) {
            return None;
        }
        let mut steps: Vec<FailureStep> = Vec::new();
        for field in self.from(Tag::Error) {
            match (field.tag, steps.last_mut()) {
                (Tag::Error, _) => steps.push(failure_step(field.bytes, names)?),
                (Tag::ErrorText, Some(step)) => step.text = field.error_text(),
                (Tag::ErrorName, Some(step)) => step.name = field.name(),
                (Tag::ErrorServer, Some(step)) => {
                    step.server = field.name().filter(|server| !server.is_empty());
                }
                _ => {}
            }
        }
        (!steps.is_empty()).then_some(Failure { steps })
    }
}

/// A text without its secrets; the same one, if it has none.
fn redacted(text: String, redact: fn(&str) -> Cow<'_, str>) -> String {
    if let Cow::Owned(clean) = redact(&text) {
        return clean;
    }
    text
}

/// An URL that is cut, redacted. It may be cut within userinfo, which is known by the `@` after it:
/// so it is read as if that came next.
fn redact_cut(text: &str) -> Cow<'_, str> {
    const USERINFO: &str = "REDACTED@";
    match redact::url(&format!("{text}@")) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(mut clean) => {
            // Elsewhere it is ours.
            if clean.ends_with('@') && !clean.ends_with(USERINFO) {
                clean.pop();
            }
            Cow::Owned(clean)
        }
    }
}

/// What is before the word that is cut: half of it may hide from redaction.
fn whole_words(text: &str) -> &str {
    text.trim_end_matches(|c: char| !c.is_whitespace())
}

/// The names of what is so.
pub(super) fn named<const N: usize>(parts: [(bool, &str); N]) -> Vec<String> {
    parts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, name)| name.to_owned()).collect()
}

/// What follows the first line.
fn after_line(text: &str) -> Option<&str> {
    text.split_once('\n').map(|(_, rest)| rest)
}

/// One `ErrorStep`.
fn failure_step(mut bytes: &[u8], names: &TypeNames) -> Option<FailureStep> {
    let type_address = u64::from_ne_bytes(take(&mut bytes)?);
    let number = u64::from_ne_bytes(take(&mut bytes)?);
    let address = socket_address(&mut bytes)?;
    Some(FailureStep {
        type_name: names.get(&type_address).cloned().unwrap_or_default(),
        number: (number != 0).then_some(number),
        address,
        ..FailureStep::default()
    })
}

/// One `SocketAddress`; the outer none is a malformed one, the inner an unknown one.
#[expect(clippy::option_option, reason = "the two are told apart by the callers' `?`")]
fn socket_address(bytes: &mut &[u8]) -> Option<Option<SocketAddr>> {
    let found = ip_and_port(bytes)?;
    // Without a port it is not bound yet, or no more: half an address is none.
    Some(found.filter(|(_, port)| *port != 0).map(SocketAddr::from))
}

#[expect(clippy::option_option, reason = "as for `socket_address`")]
fn ip_and_port(bytes: &mut &[u8]) -> Option<Option<(IpAddr, u16)>> {
    const _: () = assert!(size_of::<SocketAddress>() == 16 + 1 + 5 + 2);
    let ip: [u8; 16] = take(bytes)?;
    let [length] = take(bytes)?;
    let _padding: [u8; 5] = take(bytes)?;
    let port = u16::from_ne_bytes(take(bytes)?);
    let ip = match length {
        4 => IpAddr::from([ip[0], ip[1], ip[2], ip[3]]),
        16 => IpAddr::from(ip).to_canonical(),
        _ => return Some(None),
    };
    Some(Some((ip, port)))
}
