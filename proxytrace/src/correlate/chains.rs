//! Chains, attempts and requests as they grow.

mod index;
mod verify;

use std::net::SocketAddr;

use foldhash::{HashMap, HashSet};

use crate::event::{Failure, Headers};
use crate::model::{
    Artifact, Attempt, Cause, Chain, ConnectionId, Next, Outcome, ProcessId, Request, RequestError,
    RequestId, Witness,
};

use self::index::{Index, Key};
use super::cache::Had;
use super::failure;
use super::goproxy::List;
use super::process::{Processes, id};
use super::status;
use super::story;
use super::target::Target;
use super::url::Url;

/// What CONNECT is sent with (`net/http/transport.go:dialConn`).
const TUNNEL_PROTOCOL: &str = "HTTP/1.1";

/// The host that is named `host:port` here, as it is in requests: a tunnel is for https.
pub(super) fn tunneled_host(target: &str) -> &str {
    target.strip_suffix(":443").unwrap_or(target)
}

/// An attempt: chain and place in it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct At {
    pub(super) chain: usize,
    pub(super) attempt: usize,
}

/// A request: its attempt and place in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RequestAt {
    pub(super) at: At,
    request: usize,
}

/// What a request begins with.
pub(super) struct Opening {
    pub(super) cause: Cause,
    pub(super) follows: Option<RequestId>,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Headers,
    pub(super) credentials: Option<Vec<String>>,
    pub(super) cut: Vec<String>,
}

/// What a request ends with.
pub(super) struct Ending<'a> {
    pub(super) status: Option<u16>,
    pub(super) protocol: Option<String>,
    pub(super) headers: Headers,
    pub(super) error: Option<&'a Failure>,
    pub(super) cut: Vec<String>,
    pub(super) content_length: Option<u64>,
}

/// How the body of a response ended.
pub(super) struct BodyEnd<'a> {
    pub(super) remaining: Option<u64>,
    pub(super) short: bool,
    pub(super) error: Option<&'a Failure>,
}

/// All chains of a trace, in the order of their first requests.
#[derive(Debug, Default)]
pub(super) struct Chains {
    all: Vec<Tracked>,
    index: Index,
    /// The modules that go may have got something of without a request.
    unseen: HashMap<ProcessId, HashSet<String>>,
    requests: u32,
    /// Chains whose walks have ended, and which nobody has taken yet.
    ended: Vec<usize>,
    /// Those of each process that has not ended.
    of_process: HashMap<ProcessId, Vec<usize>>,
    /// Addresses as texts: there are few, and each request has one.
    addresses: HashMap<SocketAddr, String>,
}

/// A chain and what is known beside it.
#[derive(Clone, Debug)]
struct Tracked {
    chain: Chain,
    /// What tells it apart beside module and version.
    place: Option<String>,
    /// Beside each attempt.
    notes: Vec<Note>,
    /// The last time something of it ended.
    ended: u64,
    /// Whether it has changed since it was handed out.
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    by: By,
    /// Whether the walk said how it went on.
    settled: bool,
}

/// What made an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// A walk through the list.
    Walk,
    /// A question that is asked at one place.
    Itself,
    /// A walk, but it is not known which.
    SomeWalk,
}

impl Chains {
    /// The chain that `target` is about: an old one if its process asked for the same before.
    pub(super) fn chain(&mut self, process: ProcessId, target: &Target<'_>, time: u64) -> usize {
        let key = Key {
            process,
            artifact: target.artifact,
            module: target.module.as_deref(),
            version: target.version.as_deref(),
            place: target.place.as_deref(),
        };
        self.of(&key, Outcome::Unfinished, time)
    }

    /// go has something. What it has not asked for was in the module cache.
    pub(super) fn had(&mut self, process: ProcessId, had: &Had<'_>, time: u64) {
        let (artifact, module, version) = had;
        if !self.unseen.get(&process).is_some_and(|modules| modules.contains(&**module)) {
            let key = Key::of(process, *artifact, module, version);
            self.of(&key, Outcome::Cached, time);
        }
    }

    /// go may get something of a module without a request: from a repository, or from files.
    pub(super) fn leave_http(&mut self, process: ProcessId, module: &str) {
        let modules = self.unseen.entry(process).or_default();
        if !modules.contains(module) {
            modules.insert(module.to_owned());
        }
    }

    fn of(&mut self, key: &Key<'_>, outcome: Outcome, time: u64) -> usize {
        let known = self.index.find(key, |chain| self.all[chain].key());
        known.unwrap_or_else(|| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let chain = self.all.len();
            self.all.push(Tracked {
                chain: Chain {
                    id: id(chain),
                    process: key.process,
                    module: owned(key.module),
                    version: owned(key.version),
                    artifact: key.artifact,
                    outcome,
                    started_ns: time,
                    duration_ns: None,
                    contradicted_by: None,
                    commands: Vec::new(),
                    attempts: Vec::with_capacity(1),
                },
                place: owned(key.place),
                notes: Vec::with_capacity(1),
                ended: time,
                changed: true,
            });
            self.index.insert(chain, key, |chain| self.all[chain].key());
            self.of_process.entry(key.process).or_default().push(chain);
            chain
        })
    }

    pub(super) fn artifact(&self, chain: usize) -> Artifact {
        self.all[chain].chain.artifact
    }

    pub(super) fn attempt(&self, at: At) -> &Attempt {
        &self.all[at.chain].chain.attempts[at.attempt]
    }

    pub(super) fn attempt_mut(&mut self, at: At) -> &mut Attempt {
        let tracked = &mut self.all[at.chain];
        tracked.changed = true;
        &mut tracked.chain.attempts[at.attempt]
    }

    /// One more entry tried for a chain.
    pub(super) fn try_entry(
        &mut self,
        chain: usize,
        proxy: &str,
        list: &List,
        index: Option<usize>,
        by: By,
    ) -> At {
        let tracked = &mut self.all[chain];
        tracked.chain.attempts.push(Attempt {
            proxy: proxy.to_owned(),
            index: index.map(id),
            separator: index.and_then(|index| list.entries.get(index)?.separator),
            outcome: Outcome::Unfinished,
            next: None,
            reason: String::new(),
            requests: Vec::new(),
        });
        tracked.notes.push(Note { by, settled: false });
        tracked.changed = true;
        At { chain, attempt: tracked.chain.attempts.len() - 1 }
    }

    pub(super) fn set_outcome(&mut self, at: At, outcome: Outcome) {
        self.attempt_mut(at).outcome = outcome;
    }

    /// Says where the walk went from here.
    pub(super) fn settle(&mut self, at: At, next: Option<Next>, time: u64) {
        let attempt = self.attempt_mut(at);
        attempt.next = next;
        let empty = attempt.requests.is_empty();
        if matches!(next, None | Some(Next::Stop)) {
            self.ended.push(at.chain);
        }
        let tracked = &mut self.all[at.chain];
        tracked.notes[at.attempt].settled = true;
        if empty {
            tracked.ended = tracked.ended.max(time);
        }
    }

    pub(super) fn request(&self, at: RequestAt) -> &Request {
        &self.attempt(at.at).requests[at.request]
    }

    fn request_mut(&mut self, at: RequestAt) -> &mut Request {
        &mut self.attempt_mut(at.at).requests[at.request]
    }

    /// A request begins.
    pub(super) fn open(&mut self, at: At, opening: Opening, time: u64) -> RequestAt {
        let Opening { cause, follows, method, url, headers, credentials, cut } = opening;
        let host = Url::parse(&url).map_or_else(String::new, |url| url.named_host());
        let begun = Request::begun(self.requests, method, url, host, time);
        self.push(at, Request { cause, follows, headers, credentials, cut, ..begun })
    }

    fn push(&mut self, at: At, request: Request) -> RequestAt {
        self.requests = self.requests.saturating_add(1);
        let requests = &mut self.attempt_mut(at).requests;
        // Most attempts have one request or two, and a request is large.
        requests.reserve_exact(1);
        requests.push(request);
        RequestAt { at, request: requests.len() - 1 }
    }

    /// CONNECT is sent to a forward proxy.
    pub(super) fn open_tunnel(
        &mut self,
        at: At,
        target: &str,
        connection: Option<ConnectionId>,
        remote: Option<SocketAddr>,
        time: u64,
    ) -> RequestAt {
        let opening = Opening {
            cause: Cause::ConnectTunnel,
            follows: None,
            method: "CONNECT".to_owned(),
            url: target.to_owned(),
            headers: Headers::new(),
            credentials: None,
            cut: Vec::new(),
        };
        let tunnel = self.open(at, opening, time);
        self.connect(tunnel, connection, TUNNEL_PROTOCOL, remote, time);
        tunneled_host(target).clone_into(&mut self.request_mut(tunnel).host);
        tunnel
    }

    /// The forward proxy answered it: 200 alone opens the tunnel.
    pub(super) fn close_tunnel(
        &mut self,
        at: RequestAt,
        status: Option<u16>,
        headers: Headers,
        time: u64,
    ) {
        let request = self.request_mut(at);
        request.status = status;
        add(&mut request.headers, headers);
        request.duration_ns = Some(time.saturating_sub(request.started_ns));
        request.outcome = match status {
            Some(200) => Outcome::Ok,
            Some(_) => Outcome::ProxyRefused,
            None => Outcome::Unknown,
        };
    }

    /// Whether a forward proxy refused a tunnel while the request was made. The error of the
    /// request says so with nothing but the words that came with the status.
    fn tunnel_refused(&self, at: RequestAt) -> bool {
        let since = self.request(at).started_ns;
        self.attempt(at.at).requests.iter().any(|request| {
            request.cause == Cause::ConnectTunnel
                && request.outcome == Outcome::ProxyRefused
                && request.started_ns >= since
        })
    }

    /// A program that go ran for a chain has ended.
    pub(super) fn command(&mut self, at: At, process: ProcessId) {
        let tracked = &mut self.all[at.chain];
        tracked.changed = true;
        let commands = &mut tracked.chain.commands;
        if !commands.contains(&process) {
            commands.push(process);
        }
    }

    /// net/http gave a request up on its connection and begins it again on another.
    pub(super) fn open_again(&mut self, at: RequestAt, time: u64) -> RequestAt {
        let before = self.request_mut(at);
        before.duration_ns = Some(time.saturating_sub(before.started_ns));
        before.outcome = Outcome::Reset;
        let again = Request {
            cause: Cause::TransportRetry,
            follows: Some(before.id),
            connection: None,
            remote_addr: None,
            started_ns: time,
            duration_ns: None,
            sent_ns: None,
            outcome: Outcome::Unfinished,
            ..before.clone()
        };
        let again = Request { id: self.requests, ..again };
        self.push(at.at, again)
    }

    /// A request goes onto a connection.
    pub(super) fn connect(
        &mut self,
        at: RequestAt,
        connection: Option<ConnectionId>,
        protocol: &str,
        remote: Option<SocketAddr>,
        time: u64,
    ) {
        let remote_addr = remote.map(|remote| {
            self.addresses.entry(remote).or_insert_with(|| remote.to_string()).clone()
        });
        let request = self.request_mut(at);
        request.sent_ns = Some(time);
        request.connection = connection;
        request.remote_addr = remote_addr;
        request.protocol = (!protocol.is_empty()).then(|| protocol.to_owned());
    }

    /// A request ends.
    pub(super) fn close(&mut self, at: RequestAt, ending: Ending<'_>, time: u64) {
        let outcome = match (ending.error, ending.status) {
            (Some(error), _) => match failure::outcome(error) {
                Outcome::Unknown if self.tunnel_refused(at) => Outcome::ProxyRefused,
                outcome => outcome,
            },
            (None, status) => status.map_or(Outcome::Unknown, |status| {
                status::of_request(status, ending.headers.contains_key("Location"))
            }),
        };
        let request = self.request_mut(at);
        request.status = ending.status;
        request.location = ending.headers.get("Location").cloned();
        if ending.protocol.is_some() {
            request.protocol = ending.protocol;
        }
        add(&mut request.headers, ending.headers);
        request.cut.extend(ending.cut);
        request.duration_ns = Some(time.saturating_sub(request.started_ns));
        let sent = request.sent_ns.filter(|_| ending.status.is_some());
        request.ttfb_ns = sent.map(|sent| time.saturating_sub(sent));
        request.content_length = ending.content_length;
        request.error =
            ending.error.map(|error| RequestError { kind: outcome, ..failure::error(error) });
        request.outcome = outcome;
        let redirects = ending.status.is_some_and(status::redirects) && request.location.is_some();
        let tracked = &mut self.all[at.at.chain];
        tracked.ended = tracked.ended.max(time);
        // The send says it better, if its end is seen.
        if !redirects {
            tracked.chain.attempts[at.at.attempt].outcome = outcome;
        }
    }

    /// The body of a response was closed.
    pub(super) fn close_body(&mut self, at: RequestAt, body: &BodyEnd<'_>, time: u64) {
        let request = self.request_mut(at);
        let head = request.started_ns.saturating_add(request.duration_ns.unwrap_or(0));
        request.body_ns = Some(time.saturating_sub(head));
        request.body_bytes = request
            .content_length
            .zip(body.remaining)
            .and_then(|(length, remaining)| length.checked_sub(remaining));
        let outcome = match body.error.map(failure::outcome) {
            Some(outcome @ (Outcome::Reset | Outcome::Truncated)) => Some(outcome),
            None if body.short => Some(Outcome::Truncated),
            _ => None,
        };
        // Of other bodies go reads what it likes.
        let wanted = request.outcome == Outcome::Ok && request.status == Some(200);
        if let Some(outcome) = outcome.filter(|_| wanted) {
            request.outcome = outcome;
            request.error = body.error.map(failure::error);
            self.set_outcome(at.at, outcome);
        }
        let tracked = &mut self.all[at.at.chain];
        tracked.ended = tracked.ended.max(time);
    }

    /// Says who saw a request.
    pub(super) fn witness(&mut self, at: RequestAt, witness: Witness) {
        self.request_mut(at).witness = witness;
    }

    /// What came of a request is not known.
    pub(super) fn give_up(&mut self, at: RequestAt) {
        self.request_mut(at).outcome = Outcome::Unknown;
    }

    /// Chains whose walks have ended since the last time, as far as they are known.
    pub(super) fn take_ended(&mut self, processes: &Processes) -> Vec<Chain> {
        std::mem::take(&mut self.ended)
            .into_iter()
            .filter_map(|chain| {
                let tracked = &mut self.all[chain];
                std::mem::take(&mut tracked.changed).then(|| tracked.clone().finish(processes))
            })
            .collect()
    }

    /// A process has ended, and with it all its chains.
    pub(super) fn end_process(&mut self, process: ProcessId) {
        let chains = self.of_process.remove(&process).unwrap_or_default();
        let changed = |&chain: &usize| {
            let Tracked { chain, changed, .. } = &self.all[chain];
            *changed && !chain.attempts.is_empty()
        };
        self.ended.extend(chains.into_iter().filter(changed));
    }

    /// Ends all chains. Where something may not have been seen, what was cached is not known.
    pub(super) fn into_model(self, processes: &Processes, complete: bool) -> Vec<Chain> {
        let known = |tracked: &Tracked| complete || !tracked.chain.attempts.is_empty();
        let chains = self.all.into_iter().filter(known);
        chains.map(|tracked| tracked.finish(processes)).collect()
    }
}

/// Adds the headers of a response to those of its request.
fn add(headers: &mut Headers, more: Headers) {
    for (name, value) in more {
        headers.insert(name, value);
    }
}

impl Tracked {
    fn key(&self) -> Key<'_> {
        let Chain { process, artifact, module, version, .. } = &self.chain;
        Key {
            process: *process,
            artifact: *artifact,
            module: module.as_deref(),
            version: version.as_deref(),
            place: self.place.as_deref(),
        }
    }

    fn finish(mut self, processes: &Processes) -> Chain {
        let list = &processes.get(self.chain.process).list;
        self.settle_rest(list);
        let Tracked { mut chain, notes, ended, .. } = self;
        let failed_tool = chain.commands.last().and_then(|&id| {
            let process = &processes.get(id).process;
            let code = process.exit_code.filter(|&code| code != 0)?;
            let tool = process.argv.first()?.rsplit('/').next()?;
            Some(format!("{tool} ended with exit code {code}"))
        });
        for (attempt, note) in chain.attempts.iter_mut().zip(notes) {
            story::tell(attempt, chain.artifact, list);
            if let Some(ended) =
                failed_tool.as_ref().filter(|_| attempt.outcome == Outcome::Unknown)
            {
                attempt.reason = format!("{}: {ended}", attempt.proxy);
            }
            if note.by == By::SomeWalk && attempt.next.is_none() && story::failed(attempt.outcome) {
                attempt.reason =
                    format!("{}; what became of it is not known", story::answer(attempt));
            }
        }
        if let Some(last) = chain.attempts.last() {
            chain.outcome = last.outcome;
        }
        let mut requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        let open = requests.any(|request| request.duration_ns.is_none());
        chain.duration_ns = (!open).then(|| ended.saturating_sub(chain.started_ns));
        chain
    }

    /// What no walk said: attempts that no walk made, or whose walk was not seen to end.
    fn settle_rest(&mut self, list: &List) {
        let attempts = &mut self.chain.attempts;
        for place in 0..attempts.len() {
            if self.notes[place].settled {
                continue;
            }
            let after = attempts.get(place + 1).and_then(|next| Some((next.index?, &next.proxy)));
            let moved = after.and_then(|(index, proxy)| {
                let next = if proxy == "direct" { Next::Direct } else { Next::NextEntry };
                (attempts[place].index? < index).then_some(next)
            });
            let attempt = &attempts[place];
            let stopped = match self.notes[place].by {
                By::Walk => story::must_stop(attempt, list),
                By::Itself => true,
                // It may be that of a probe, whose failure ends nothing.
                By::SomeWalk => false,
            };
            let stop = (stopped && story::failed(attempt.outcome)).then_some(Next::Stop);
            attempts[place].next = moved.or(stop);
        }
    }
}
