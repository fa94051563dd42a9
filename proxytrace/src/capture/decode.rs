//! Records to events: decoded, named, redacted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bytes::{Buf as _, Bytes};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use proxytrace_common::record::{CUT, FAULT, HEADERS, Kind, SocketAddress, Tag};

use super::executables::{Executables, Probed};
use super::host::{self, Job, Root};
use super::pids::Pids;
use super::sockets::Sockets;
use super::surroundings;
use super::user::parse_environment;
use crate::event::{Event, Failure, FailureStep, Goroutine, Headers, What};
use crate::{goenv, redact, url};

/// The longest configuration file that is read: go's own are a few hundred bytes.
const CONFIG_FILE_MAX: u64 = 1 << 20;

/// Why a record is none. Only a mismatch of the two sides can cause it; it is counted as a loss.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("a record that cannot be read")]
pub(super) struct Malformed;

/// Decodes the records of one trace.
pub(super) struct Decoder {
    /// `CLOCK_MONOTONIC` when the trace began.
    origin: u64,
    pub(super) pids: Pids,
    /// Environments whose process has not reported its start yet.
    environments: HashMap<u32, Vec<u8>>,
    sockets: Sockets,
    /// Bodies of responses, by process and address, by small numbers.
    bodies: HashMap<(u32, u64), u64>,
    body_count: u64,
    /// The CI job of the first `go` command, where somebody looks for it.
    pub(super) job: Option<Job>,
    looks_for_job: bool,
    /// On a watched host: where the files of processes are that are gone before they are looked at.
    roots: Option<HashMap<u32, Vec<Root>>>,
    /// Whether the configuration of one could not be read.
    unread: bool,
}

/// One field of a record.
#[derive(Clone)]
pub(super) struct Field {
    tag: Tag,
    flags: u8,
    bytes: Bytes,
}

/// A record taken apart.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) time: u64,
    goroutine: u64,
    parent_goroutine: u64,
    pub(super) pid: u32,
    pub(super) executable: u32,
    pub(super) kind: Kind,
    flags: u8,
    fields: Vec<Field>,
}

impl Decoder {
    /// A decoder for a trace that began at `origin`, by `CLOCK_MONOTONIC`, in nanoseconds.
    pub(super) fn new(origin: u64, pids: Pids) -> Self {
        Self {
            origin,
            pids,
            environments: HashMap::new(),
            sockets: Sockets::default(),
            bodies: HashMap::new(),
            body_count: 0,
            job: None,
            looks_for_job: false,
            roots: None,
            unread: false,
        }
    }

    /// The same for a tree of a watched host: with an eye on the CI job, and on processes that are
    /// gone before their configuration is read.
    pub(super) fn of_host(self) -> Self {
        Self { looks_for_job: true, roots: Some(HashMap::new()), ..self }
    }

    /// Where else a process has its files, the likeliest first.
    pub(super) fn has_roots(&mut self, pid: u32, roots: Vec<Root>) {
        if let Some(all) = &mut self.roots {
            all.insert(pid, roots);
        }
    }

    /// The events that a record stands for, into `events`: none for a part of one.
    pub(super) fn decode(
        &mut self,
        record: &[u8],
        executables: &Executables,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let record = Record::parse(Bytes::copy_from_slice(record)).ok_or(Malformed)?;
        self.read(&record, executables, events)
    }

    /// The same, for a record that was taken apart.
    pub(super) fn read(
        &mut self,
        record: &Record,
        executables: &Executables,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let time = record.time.saturating_sub(self.origin);
        let event = |what| Event {
            time,
            pid: record.pid,
            goroutine: (record.goroutine != 0)
                .then_some(Goroutine { id: record.goroutine, parent: record.parent_goroutine }),
            what,
        };
        if matches!(record.kind, Kind::Sent | Kind::Received) {
            events.extend(self.sockets.passed(record).ok_or(Malformed)?.map(event));
        } else {
            events.extend(self.what(record, executables)?.map(&event));
            if std::mem::take(&mut self.unread) {
                events.push(event(What::Lost { count: 1 }));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of record")]
    fn what(
        &mut self,
        record: &Record,
        executables: &Executables,
    ) -> Result<Option<What>, Malformed> {
        let names = executables.get(record.executable).map_or(&[][..], |exe| &exe.type_names);
        Ok(Some(match record.kind {
            Kind::Fork => {
                let child = record.pid_in(Tag::Child).ok_or(Malformed)?;
                self.pids.forked(record.pid, child, record.pid_in(Tag::OwnPid));
                What::Fork { child }
            }
            Kind::Exec => {
                self.pids.executed(record.pid, record.pid_in(Tag::RootsPid));
                What::Exec {
                    exe: record.text(Tag::Executable).unwrap_or_default(),
                    argv: record.arguments(),
                }
            }
            Kind::Exit => {
                self.pids.ended(record.pid);
                self.environments.remove(&record.pid);
                self.bodies.retain(|(pid, _), _| *pid != record.pid);
                if let Some(roots) = &mut self.roots {
                    roots.remove(&record.pid);
                }
                let status = record.signed(Tag::Status).ok_or(Malformed)?;
                let signal = status & 0x7f;
                What::Exit {
                    code: (signal == 0).then_some((status >> 8) & 0xff),
                    signal: (signal != 0).then_some(signal),
                }
            }
            Kind::TcpState => return Ok(self.sockets.changed(record)),
            // They say any number of things, or make no record.
            Kind::Sent | Kind::Received | Kind::CommandStart => return Err(Malformed),
            Kind::Environment => {
                if let Some(piece) = record.bytes(Tag::Environment) {
                    self.environments.entry(record.pid).or_default().extend_from_slice(piece);
                }
                if record.is_cut(Tag::Environment) {
                    // Half a value may hide its secret from redaction.
                    let all = self.environments.entry(record.pid).or_default();
                    all.truncate(all.iter().rposition(|&byte| byte == 0).map_or(0, |end| end + 1));
                    // The configuration may have been in the rest.
                    What::Lost { count: 1 }
                } else {
                    return Ok(None);
                }
            }
            Kind::Start => {
                let exe = executables.get(record.executable).ok_or(Malformed)?;
                let environment = self.environments.remove(&record.pid).unwrap_or_default();
                if std::mem::take(&mut self.looks_for_job) {
                    self.job = Some(host::job_of(&environment));
                }
                let process = self.pids.directory(record.pid);
                let start = |root: &Path| go_start(record, exe, &environment, &process, root);
                let root = process.join("root");
                let by_itself = start(&root);
                let Some(roots) = &self.roots else { return Ok(Some(by_itself)) };
                if root.exists() {
                    return Ok(Some(by_itself));
                }
                // Its files may have been there no more.
                let others = roots.get(&record.pid).into_iter().flatten();
                let by_another = others.into_iter().find_map(|root| {
                    let start = start(&root.path);
                    root.is_there().then_some(start)
                });
                self.unread = by_another.is_none();
                by_another.unwrap_or(by_itself)
            }
            Kind::WalkEnter => What::WalkEnter,
            Kind::WalkReturn => What::WalkReturn { error: record.failure(names) },
            Kind::Lookup => What::Lookup {
                proxy: redact::url(&record.text(Tag::Proxy).ok_or(Malformed)?).into_owned(),
                module: record.text(Tag::Module).ok_or(Malformed)?,
            },
            Kind::FetchEnter => What::FetchEnter,
            Kind::SendEnter => What::SendEnter,
            Kind::SendReturn => {
                What::SendReturn { status: record.status(), error: record.failure(names) }
            }
            Kind::RequestEnter => {
                let (url, cut) = record.url();
                What::RequestEnter {
                    method: record
                        .text(Tag::Method)
                        .filter(|method| !method.is_empty())
                        .unwrap_or_else(|| "GET".to_owned()),
                    url,
                    headers: record.headers(),
                    credentials: Some(record.credentials()),
                    cut: if cut { vec!["url".to_owned()] } else { Vec::new() },
                }
            }
            Kind::RequestReturn => What::RequestReturn {
                status: record.status(),
                protocol: record.text(Tag::Protocol),
                headers: record.headers(),
                // Minus one is net/http's word for unknown.
                content_length: record.number(Tag::ContentLength).filter(|&n| n != u64::MAX),
                body: self.open_body(record),
                error: record.failure(names),
                cut: record.cuts(),
            },
            Kind::TryHttp1 => record.attempt("HTTP/1.1"),
            Kind::TryHttp2 => record.attempt("HTTP/2.0"),
            Kind::InfoReturn if record.field(Tag::Error).is_some() => return Ok(None),
            Kind::InfoReturn => What::InfoRead { file: record.text(Tag::File).ok_or(Malformed)? },
            Kind::ZipReturn => match record.failure(names) {
                Some(error) => What::ZipFailed { error },
                None => return Ok(None),
            },
            Kind::CertificateWanted => What::CertificateWanted,
            Kind::SumEnter => {
                let (module, version) = record.module_version().ok_or(Malformed)?;
                What::SumEnter { module, version }
            }
            Kind::VerifyEnter => {
                let (module, version) = record.module_version().ok_or(Malformed)?;
                What::VerifyEnter { module, version }
            }
            Kind::VerifyReturn => What::VerifyReturn { error: record.failure(names) },
            Kind::Stderr => What::Stderr { text: record.stderr() },
            Kind::Toolchain => {
                What::Toolchain { exe: record.text(Tag::Executable).ok_or(Malformed)? }
            }
            Kind::NewConnection => What::NewConnection,
            Kind::TunnelEnter => {
                let (local, remote, _) = record.connection().unwrap_or_default();
                What::TunnelEnter {
                    target: record.text(Tag::Host).ok_or(Malformed)?,
                    local,
                    remote,
                }
            }
            Kind::TunnelReturn => {
                What::TunnelReturn { status: record.status(), headers: record.headers() }
            }
            // Without a child there was none: the process could not be started.
            Kind::Spawn => {
                let child = record.pid_in(Tag::Child);
                let child = child.map(|own| self.pids.child(record.pid, own));
                return Ok(child.map(|child| What::Spawn { child }));
            }
            Kind::CommandReturn => {
                let stderr = record.stderr();
                return Ok((!stderr.is_empty()).then_some(What::CommandEnded { stderr }));
            }
            // What the response or its lack says is known already.
            Kind::EntryError => {
                let answered = |step: &FailureStep| step.type_name == "*web.HTTPError";
                let error = record.failure(names);
                let error = error.filter(|error| !error.steps.iter().any(answered));
                return Ok(error.map(|error| What::EntryFailed { error }));
            }
            Kind::Resolve
            | Kind::Resolved
            | Kind::Query
            | Kind::Exchange
            | Kind::Dial
            | Kind::TlsEnter
            | Kind::TlsState
            | Kind::TlsReturn => return dialing(record, names),
            Kind::BodyHttp1 | Kind::BodyHttp2 => return self.body_end(record, names),
        }))
    }

    /// Numbers the body of a response.
    fn open_body(&mut self, record: &Record) -> Option<u64> {
        let address = record.number(Tag::Body)?;
        self.body_count += 1;
        self.bodies.insert((record.pid, address), self.body_count);
        Some(self.body_count)
    }

    /// The end of a body; none if it is closed a second time, or is that of no response of ours.
    fn body_end(&mut self, record: &Record, names: &[String]) -> Result<Option<What>, Malformed> {
        let address = record.number(Tag::Body).ok_or(Malformed)?;
        let body = self.bodies.remove(&(record.pid, address));
        Ok(body.map(|body| What::BodyEnd {
            body,
            // Minus one is the word for unknown.
            remaining: record.number(Tag::Remaining).filter(|&n| n.cast_signed() >= 0),
            short: record.number(Tag::Short).is_some_and(|error| error != 0),
            error: record.failure(names).filter(|failure| !is_end(failure)),
        }))
    }
}

/// How a connection is made. None for what is not about TCP, or takes no time.
fn dialing(record: &Record, names: &[String]) -> Result<Option<What>, Malformed> {
    Ok(Some(match record.kind {
        Kind::Resolve => {
            let host = record.text(Tag::Host).ok_or(Malformed)?;
            // An address is its own answer.
            let address = host.split('%').next().and_then(|host| host.parse::<IpAddr>().ok());
            return Ok(address.is_none().then_some(What::Resolve { host }));
        }
        Kind::Resolved => What::Resolved {
            addresses: record
                .number(Tag::Answers)
                .and_then(|count| u32::try_from(count).ok())
                .ok_or(Malformed)?,
            answers: record.answers().ok_or(Malformed)?,
            error: record.failure(names),
        },
        Kind::Query => What::Query { host: record.text(Tag::Host).ok_or(Malformed)? },
        Kind::Exchange => What::Exchange { server: record.text(Tag::Host).ok_or(Malformed)? },
        Kind::Dial => {
            // The connections of the resolver itself are of UDP.
            let remote = record.connection().and_then(|(_, remote, _)| remote);
            let host = record.text(Tag::Host).ok_or(Malformed)?;
            return Ok(remote.map(|remote| What::Dial { host, remote }));
        }
        Kind::TlsEnter => {
            let (local, remote, _) = record.connection().unwrap_or_default();
            let server_name = record.text(Tag::Host).ok_or(Malformed)?;
            What::TlsEnter { server_name, local, remote }
        }
        Kind::TlsState => What::TlsState {
            version: record.low_bits(Tag::TlsVersion).ok_or(Malformed)?,
            protocol: record.text(Tag::Protocol).filter(|protocol| !protocol.is_empty()),
        },
        Kind::TlsReturn => What::TlsReturn { error: record.failure(names) },
        _ => return Err(Malformed),
    }))
}

/// The start of a `go` command, with the configuration that is in force in it.
fn go_start(
    record: &Record,
    exe: &Probed,
    environment: &[u8],
    process: &Path,
    root: &Path,
) -> What {
    let variables: Vec<(String, String)> = parse_environment(environment)
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect();
    let read = |path: &Path| small_file(open_below(root, path)?);
    let config = goenv::effective(&variables, &exe.path, &read);
    let started = surroundings::Started {
        process,
        exe: &exe.path,
        environment: &variables,
        config: &config,
        read: &read,
    };
    let surroundings = surroundings::of(&started);
    What::GoStart {
        go_version: exe.go_version.clone(),
        exe: exe.path.to_string_lossy().into_owned(),
        argv: record.arguments(),
        config,
        surroundings,
    }
}

/// The text of a regular file of reasonable size.
pub(super) fn read_small_file(path: &Path) -> Option<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = CAREFULLY.bits();
    small_file(std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?)
}

/// Whoever made a file may be hostile: no FIFO is waited for.
const CAREFULLY: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// Opens what whoever has this root finds under this path: links, too, lead to where they lead
/// there.
fn open_below(root: &Path, path: &Path) -> Option<File> {
    if !path.is_absolute() {
        return None;
    }
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let how = OpenHow::new().flags(CAREFULLY).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    openat2(root.ok()?, path, how).ok().map(File::from)
}

fn small_file(file: File) -> Option<String> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(CONFIG_FILE_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

impl Record {
    /// Takes a record apart. Layout: `proxytrace_common::record`.
    pub(super) fn parse(mut bytes: Bytes) -> Option<Self> {
        let time = bytes.try_get_u64_ne().ok()?;
        let goroutine = bytes.try_get_u64_ne().ok()?;
        let parent_goroutine = bytes.try_get_u64_ne().ok()?;
        let pid = bytes.try_get_u32_ne().ok()?;
        let _tid = bytes.try_get_u32_ne().ok()?;
        let size = bytes.try_get_u32_ne().ok()? as usize;
        let executable = bytes.try_get_u32_ne().ok()?;
        let kind = Kind::from_number(bytes.try_get_u16_ne().ok()?)?;
        let flags = bytes.try_get_u8().ok()?;
        bytes.try_copy_to_slice(&mut [0; 5]).ok()?;
        if size != bytes.len() + size_of::<proxytrace_common::record::Header>() {
            return None;
        }
        let mut fields = Vec::with_capacity(12);
        while bytes.has_remaining() {
            let tag = Tag::from_number(bytes.try_get_u8().ok()?)?;
            let flags = bytes.try_get_u8().ok()?;
            let length = usize::from(bytes.try_get_u16_ne().ok()?);
            if length > bytes.len() {
                return None;
            }
            fields.push(Field { tag, flags, bytes: bytes.split_to(length) });
        }
        Some(Self { time, goroutine, parent_goroutine, pid, executable, kind, flags, fields })
    }

    fn field(&self, tag: Tag) -> Option<&Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    pub(super) fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        self.field(tag).map(|field| &field.bytes[..])
    }

    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        self.field(tag).and_then(Field::text)
    }

    pub(super) fn number(&self, tag: Tag) -> Option<u64> {
        self.field(tag)?.bytes.clone().try_get_u64_ne().ok()
    }

    pub(super) fn pid_in(&self, tag: Tag) -> Option<u32> {
        u32::try_from(self.number(tag)?).ok()
    }

    /// Bytes that were recorded in pieces; of one that could not be read, nothing, nor of the rest.
    pub(super) fn pieces(&self, tag: Tag) -> Bytes {
        let mut pieces = self.fields.iter().filter(|field| field.tag == tag);
        match (pieces.next(), pieces.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.bytes.clone(),
            (Some(first), Some(second)) => [first, second]
                .into_iter()
                .chain(pieces)
                .take_while(|piece| piece.flags & FAULT == 0)
                .flat_map(|piece| piece.bytes.iter().copied())
                .collect(),
        }
    }

    /// Numbers that there can be several of.
    pub(super) fn numbers(&self, tag: Tag) -> impl Iterator<Item = u64> {
        let fields = self.fields.iter().filter(move |field| field.tag == tag);
        fields.filter_map(|field| field.bytes.clone().try_get_u64_ne().ok())
    }

    /// A number that was a C `int`.
    pub(super) fn signed(&self, tag: Tag) -> Option<i32> {
        i32::try_from(self.number(tag)?.cast_signed()).ok()
    }

    /// A number of 16 bits that was read together with what follows it.
    fn low_bits(&self, tag: Tag) -> Option<u16> {
        let bytes = self.number(tag)?.to_le_bytes();
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn is_cut(&self, tag: Tag) -> bool {
        self.field(tag).is_some_and(|field| field.flags & CUT != 0)
    }

    fn status(&self) -> Option<u16> {
        self.number(Tag::Status).and_then(|status| u16::try_from(status).ok())
    }

    fn module_version(&self) -> Option<(String, String)> {
        Some((self.text(Tag::Module)?, self.text(Tag::Version)?))
    }

    fn arguments(&self) -> Vec<String> {
        let Some(bytes) = self.bytes(Tag::Arguments) else { return Vec::new() };
        let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let mut arguments: Vec<String> = whole
            .split(|&byte| byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        if !self.is_cut(Tag::Arguments) {
            return redact::arguments(&arguments);
        }
        // Of a word that is cut, nothing: half of it may hide from redaction.
        if let Some(last) = arguments.last_mut() {
            last.truncate(last.trim_end_matches(|c: char| !c.is_whitespace()).len());
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
    fn stderr(&self) -> String {
        let text = self.text(Tag::Text).unwrap_or_default();
        let whole = if self.flags & CUT == 0 { Some(&*text) } else { after_line(&text) };
        redact::text(whole.unwrap_or_default()).into_owned()
    }

    /// The URL as go sends it, redacted, and whether it was longer than what is recorded.
    fn url(&self) -> (String, bool) {
        let parts = url::Parts {
            scheme: self.text(Tag::Scheme).unwrap_or_default(),
            has_user: self.number(Tag::HasUser) == Some(1),
            host: self.text(Tag::Host).unwrap_or_default(),
            path: self.bytes(Tag::Path).unwrap_or_default().to_vec(),
            raw_path: self.text(Tag::RawPath).unwrap_or_default(),
            raw_query: self.text(Tag::RawQuery).unwrap_or_default(),
        };
        let cut = [Tag::Host, Tag::Path, Tag::RawPath, Tag::RawQuery]
            .into_iter()
            .any(|tag| self.is_cut(tag));
        (redacted(parts.to_string(), redact::url), cut)
    }

    fn headers(&self) -> Headers {
        HEADERS
            .into_iter()
            .filter_map(|(name, tag)| {
                let value = self.text(tag)?;
                Some((name.to_owned(), redact::header(name, &value)?.into_owned()))
            })
            .collect()
    }

    /// Names of headers that carry credentials.
    fn credentials(&self) -> Vec<String> {
        let others = self.fields.iter().filter(|field| field.tag == Tag::OtherHeader);
        let names = others.map(|field| String::from_utf8_lossy(&field.bytes).into_owned());
        let mut names: Vec<String> = names.filter(|name| redact::names_a_secret(name)).collect();
        names.sort_unstable();
        names
    }

    /// What of a response was longer than its bound.
    fn cuts(&self) -> Vec<String> {
        let others = HEADERS.into_iter().any(|(_, tag)| tag != Tag::Location && self.is_cut(tag));
        [
            (self.is_cut(Tag::Location), "location"),
            (others || self.field(Tag::HeadersCut).is_some(), "headers"),
        ]
        .into_iter()
        .filter(|(cut, _)| *cut)
        .map(|(_, name)| name.to_owned())
        .collect()
    }

    /// This end, the other end, and whether there is TLS on it.
    pub(super) fn connection(&self) -> Option<(Option<SocketAddr>, Option<SocketAddr>, bool)> {
        let mut bytes = self.field(Tag::Connection)?.bytes.clone();
        let local = socket_address(&mut bytes)?;
        let remote = socket_address(&mut bytes)?;
        Some((local, remote, bytes.try_get_u8().ok()? == 1))
    }

    /// The addresses of a name; none if one is malformed.
    fn answers(&self) -> Option<Vec<IpAddr>> {
        let answers = self.fields.iter().filter(|field| field.tag == Tag::Answer);
        let mut all = Vec::new();
        for answer in answers {
            all.extend(ip_and_port(&mut answer.bytes.clone())?.map(|(ip, _)| ip));
        }
        Some(all)
    }

    fn attempt(&self, protocol: &str) -> What {
        let (local, remote, tls) = self.connection().unwrap_or_default();
        What::Try { protocol: protocol.to_owned(), local, remote, tls }
    }

    /// The chain of errors, if there is one. `names` are those of the executable's types.
    fn failure(&self, names: &[String]) -> Option<Failure> {
        let mut steps: Vec<FailureStep> = Vec::new();
        for field in &self.fields {
            match (field.tag, steps.last_mut()) {
                (Tag::Error, _) => steps.push(failure_step(field.bytes.clone(), names)?),
                (Tag::ErrorText, Some(step)) => {
                    step.text = field.text().map(|text| redact::text(&text).into_owned());
                }
                (Tag::ErrorName, Some(step)) => step.name = field.text(),
                (Tag::ErrorServer, Some(step)) => {
                    step.server = field.text().filter(|server| !server.is_empty());
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

impl Field {
    fn text(&self) -> Option<String> {
        (self.flags & FAULT == 0).then(|| String::from_utf8_lossy(&self.bytes).into_owned())
    }
}

/// What follows the first line.
fn after_line(text: &str) -> Option<&str> {
    text.split_once('\n').map(|(_, rest)| rest)
}

/// `io.EOF`, which is the end of a body, not a failure.
fn is_end(failure: &Failure) -> bool {
    matches!(&*failure.steps, [step]
        if step.type_name == "*errors.errorString" && step.text.as_deref() == Some("EOF"))
}

/// One `ErrorStep`.
fn failure_step(mut bytes: Bytes, names: &[String]) -> Option<FailureStep> {
    let _type_address = bytes.try_get_u64_ne().ok()?;
    let number = bytes.try_get_u64_ne().ok()?;
    let address = socket_address(&mut bytes)?;
    let id = bytes.try_get_u32_ne().ok()?;
    Some(FailureStep {
        type_name: names.get(id as usize).cloned().unwrap_or_default(),
        number: (number != 0).then_some(number),
        address,
        ..FailureStep::default()
    })
}

/// One `SocketAddress`; the outer none is a malformed one, the inner an unknown one.
#[expect(clippy::option_option, reason = "the two are told apart by the callers' `?`")]
fn socket_address(bytes: &mut Bytes) -> Option<Option<SocketAddr>> {
    let found = ip_and_port(bytes)?;
    // Without a port it is not bound yet, or no more: half an address is none.
    Some(found.filter(|(_, port)| *port != 0).map(SocketAddr::from))
}

#[expect(clippy::option_option, reason = "as for `socket_address`")]
fn ip_and_port(bytes: &mut Bytes) -> Option<Option<(IpAddr, u16)>> {
    if bytes.len() < size_of::<SocketAddress>() {
        return None;
    }
    let mut ip = [0; 16];
    bytes.copy_to_slice(&mut ip);
    let length = bytes.get_u8();
    bytes.advance(5);
    let port = bytes.get_u16_ne();
    let ip = match length {
        4 => IpAddr::from([ip[0], ip[1], ip[2], ip[3]]),
        16 => IpAddr::from(ip).to_canonical(),
        _ => return Some(None),
    };
    Some(Some((ip, port)))
}
