//! Records to events: decoded, named, redacted.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use foldhash::HashMap;
use proxytrace_common::record::{Kind, Tag};

use super::environment::parse_environment;
use super::executables::{Executables, TypeNames};
use super::host::{self, Job, Root};
use super::pids::Pids;
use super::record::{Record, named};
use super::sockets::Sockets;
use super::surroundings;
use crate::event::{Event, Failure, FailureStep, Goroutine, Origin, What};
use crate::goenv;
use crate::goproxy::List;

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
    /// Bodies of responses, by process and address.
    bodies: HashMap<(u32, u64), Body>,
    body_count: u64,
    /// The CI job of the first `go` command, where somebody looks for it.
    pub(super) job: Option<Job>,
    looks_for_job: bool,
    /// On a watched host: where the files of processes are that are gone before they are looked at.
    roots: Option<HashMap<u32, Vec<Root>>>,
    /// The lists of `go` commands, as far as they could be read.
    lists: HashMap<u32, List>,
    /// The last entries that were looked up and have no secret, at most [`ENTRIES_KEPT`]: each is
    /// looked up for every file of every module, and redacted once.
    entries: Vec<Arc<str>>,
    /// `go` commands that were gone before their files were read, as long as it is not told that
    /// something of the list is missing: whether GOPROXY is known all the same.
    gone: HashMap<u32, bool>,
    /// Whether what the last record tells of could not be read, its configuration or its memory.
    unread: bool,
}

/// As many as lists have, nearly always.
const ENTRIES_KEPT: usize = 4;

/// The body of a response, while it is open.
#[derive(Clone, Copy)]
struct Body {
    /// A small one.
    number: u64,
    /// All that it is there by, if it may be one that net/http unpacks: its own address, and what
    /// would be closed then.
    names: Option<[u64; NAMES_MAX]>,
}

/// What unpacks a body is of one of two types.
const NAMES_MAX: usize = 3;

impl Decoder {
    /// A decoder for a trace that began at `origin`, by `CLOCK_MONOTONIC`, in nanoseconds.
    pub(super) fn new(origin: u64, pids: Pids) -> Self {
        Self {
            origin,
            pids,
            environments: HashMap::default(),
            sockets: Sockets::default(),
            bodies: HashMap::default(),
            body_count: 0,
            job: None,
            looks_for_job: false,
            roots: None,
            lists: HashMap::default(),
            entries: Vec::new(),
            gone: HashMap::default(),
            unread: false,
        }
    }

    /// The same for a tree of a watched host: with an eye on the CI job, and on processes that are
    /// gone before their configuration is read.
    pub(super) fn of_host(self) -> Self {
        Self { looks_for_job: true, roots: Some(HashMap::default()), ..self }
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
        let record = Record::parse(record).ok_or(Malformed)?;
        self.read(&record, executables, events)
    }

    /// The same, for a record that was taken apart.
    pub(super) fn read(
        &mut self,
        record: &Record<'_>,
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
            if let Some(what) = self.what(record, executables)? {
                if let What::GoStart { config, .. } = &what {
                    self.lists.insert(record.pid, List::of(config));
                }
                events.push(event(what));
                self.unread |= record.is_failure_cut() || record.is_name_cut();
            }
            if std::mem::take(&mut self.unread) {
                events.push(event(What::Lost { count: 1 }));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of record")]
    fn what(
        &mut self,
        record: &Record<'_>,
        executables: &Executables,
    ) -> Result<Option<What>, Malformed> {
        let none = TypeNames::new();
        let names = executables.get(record.executable).map_or(&none, |exe| &exe.type_names);
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
                self.lists.remove(&record.pid);
                self.gone.remove(&record.pid);
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
                if record.is_incomplete(Tag::Environment) {
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
                let path = executables.path_of(exe, record.pid, &process);
                let within = executables.path_within(exe, record.pid, &process);
                let go = goenv::Go { exe: &within, version: &exe.go_version };
                let start = |root: &Path| go_start(record, &path, go, &environment, &process, root);
                let root = process.join("root");
                let by_itself = start(&root);
                let Some(roots) = &self.roots else {
                    self.note_list(record.pid, &root, &by_itself);
                    return Ok(Some(by_itself));
                };
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
            Kind::WalkEnter => {
                self.unread = self.gone.get(&record.pid) == Some(&false);
                if self.unread {
                    self.gone.remove(&record.pid);
                }
                What::WalkEnter
            }
            Kind::WalkReturn => What::WalkReturn { error: record.failure(names) },
            Kind::Lookup => What::Lookup {
                proxy: self.entry(record).ok_or(Malformed)?,
                module: record.text(Tag::Module).ok_or(Malformed)?,
            },
            Kind::SendFailed => What::SendFailed { error: record.failure(names) },
            Kind::RequestEnter => {
                let (url, cut) = record.url();
                self.unread = record.has_fault();
                What::RequestEnter {
                    method: record
                        .usual(Tag::Method, &["GET", "HEAD"])
                        .filter(|method| !method.is_empty())
                        .unwrap_or_else(|| "GET".into()),
                    url,
                    headers: record.headers(),
                    credentials: record.credentials(),
                    cut: named([(cut, "url"), (record.misses_headers(), "headers")]),
                }
            }
            Kind::RequestReturn => {
                self.unread = record.has_fault();
                What::RequestReturn {
                    status: record.status(),
                    protocol: record.usual(Tag::Protocol, &["HTTP/2.0", "HTTP/1.1"]),
                    headers: record.headers(),
                    // Minus one is net/http's word for unknown.
                    content_length: record.number(Tag::ContentLength).filter(|&n| n != u64::MAX),
                    body: self.open_body(record),
                    error: record.failure(names),
                    cut: record.cuts(),
                }
            }
            Kind::TryHttp1 => attempt(record, "HTTP/1.1"),
            Kind::TryHttp2 => attempt(record, "HTTP/2.0"),
            Kind::InfoReturn if record.has(Tag::Error) => return Ok(None),
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

    /// Notes whether the list of a `go` that starts, which has this root, could be read. Who is
    /// gone in milliseconds walks none, as a rule, and lacks nothing then.
    fn note_list(&mut self, pid: u32, root: &Path, start: &What) {
        if root.exists() {
            self.gone.remove(&pid);
        } else {
            self.gone.insert(pid, names_a_list(start));
        }
    }

    /// The entry at which go looks a module up. Of one that was too long to be recorded whole, its
    /// list has all.
    fn entry(&mut self, record: &Record<'_>) -> Option<Arc<str>> {
        let bytes = record.bytes(Tag::Proxy)?;
        let is_known = |entry: &&Arc<str>| entry.as_bytes() == bytes;
        let known = self.entries.iter().find(is_known).map(Arc::clone);
        let list = self.lists.get(&record.pid);
        let proxy = if let Some(proxy) = known.filter(|_| !record.is_incomplete(Tag::Proxy)) {
            proxy
        } else {
            let (proxy, is_cut) = record.proxy()?;
            if is_cut {
                let whole = list.and_then(|list| list.that_begins(&proxy)).map(Arc::from);
                self.unread = whole.is_none();
                return Some(whole.unwrap_or_else(|| (proxy + "…").into()));
            }
            let proxy = Arc::<str>::from(proxy);
            if proxy.as_bytes() == bytes {
                self.entries.truncate(ENTRIES_KEPT - 1);
                self.entries.insert(0, Arc::clone(&proxy));
            }
            proxy
        };
        // It is in the list where modules are private: a file that was gone must say so.
        if &*proxy == "noproxy" && list.is_none_or(|list| list.position(&proxy, 0).is_none()) {
            self.unread = self.gone.remove(&record.pid).is_some();
        }
        Some(proxy)
    }

    /// Numbers the body of a response.
    fn open_body(&mut self, record: &Record<'_>) -> Option<u64> {
        let address = record.number(Tag::Body)?;
        self.body_count += 1;
        // How long the contents are that it unpacks, net/http does not know (all ones).
        let has_names = record.number(Tag::ContentLength) == Some(u64::MAX);
        let names = has_names.then(|| {
            // Where there are fewer, one is there again.
            let mut names = [address; NAMES_MAX];
            for (name, packed) in names[1..].iter_mut().zip(record.numbers(Tag::PackedBody)) {
                *name = packed;
            }
            names
        });
        let body = Body { number: self.body_count, names };
        self.bodies.insert((record.pid, address), body);
        let names = names.into_iter().flatten();
        self.bodies.extend(names.map(|name| ((record.pid, name), body)));
        Some(self.body_count)
    }

    /// The end of a body; none if it is closed a second time, or is that of no response of ours.
    fn body_end(
        &mut self,
        record: &Record<'_>,
        names: &TypeNames,
    ) -> Result<Option<What>, Malformed> {
        let address = record.number(Tag::Body).ok_or(Malformed)?;
        let body = self.bodies.remove(&(record.pid, address));
        if let Some(Body { number, names: Some(names) }) = body {
            for name in names {
                // Any word may be a name, and be that of a later body.
                let key = (record.pid, name);
                if self.bodies.get(&key).is_some_and(|other| other.number == number) {
                    self.bodies.remove(&key);
                }
            }
        }
        Ok(body.map(|Body { number, .. }| What::BodyEnd {
            body: number,
            // Minus one is the word for unknown.
            remaining: record.number(Tag::Remaining).filter(|&n| n.cast_signed() >= 0),
            short: record.number(Tag::Short).is_some_and(|error| error != 0),
            error: record.failure(names).filter(|failure| !is_end(failure)),
        }))
    }
}

/// A request goes onto a connection.
fn attempt(record: &Record<'_>, protocol: &'static str) -> What {
    let (local, remote, tls) = record.connection().unwrap_or_default();
    What::Try { protocol: protocol.into(), local, remote, tls }
}

/// How a connection is made. None for what is not about TCP, or takes no time.
fn dialing(record: &Record<'_>, names: &TypeNames) -> Result<Option<What>, Malformed> {
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

/// The start of a `go` command, known by this path, with the configuration that is in force in it.
fn go_start(
    record: &Record<'_>,
    exe: &Path,
    go: goenv::Go<'_>,
    environment: &[u8],
    process: &Path,
    root: &Path,
) -> What {
    let variables: Vec<(String, String)> = parse_environment(environment)
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect();
    let files = surroundings::Files::of(process, root);
    let read = |path: &Path| files.read(path);
    let config = goenv::effective(&variables, go, &read);
    let started = surroundings::Started {
        process,
        go,
        environment: &variables,
        config: &config,
        files: &files,
    };
    let surroundings = surroundings::of(&started);
    What::GoStart {
        go_version: go.version.to_owned(),
        exe: exe.to_string_lossy().into_owned(),
        argv: record.arguments(),
        config,
        surroundings: Box::new(surroundings),
    }
}

/// Whether GOPROXY was found where it is set, not only what go takes where it is not.
fn names_a_list(start: &What) -> bool {
    matches!(start, What::GoStart { config, .. }
        if config.get("GOPROXY").is_some_and(|list| list.origin != Origin::Default))
}

/// `io.EOF`, which is the end of a body, not a failure.
fn is_end(failure: &Failure) -> bool {
    matches!(&*failure.steps, [step]
        if step.type_name == "*errors.errorString" && step.text.as_deref() == Some("EOF"))
}

#[cfg(test)]
mod tests;
