//! Goroutines: where in the call structure of go's fetching each of them is.
//!
//! From `TryProxies` down to `Transport.roundTrip` it is one goroutine, except that
//! `queryPrefixModules` asks for each prefix in a child. So a stack of walks, the last lookup and
//! the running fetch are kept by goroutine, and a goroutine without a walk is in the walk of the
//! one that started it.

use foldhash::HashMap;
use std::net::SocketAddr;

use crate::event::{Event, Failure, What};
use crate::model::{Artifact, Contradiction, Next, Outcome, ProcessId};

use super::chains::{At, BodyEnd, By, Chains, Ending, RequestAt, tunneled_host};
use super::connection::{Connections, canonical};
use super::failure;
use super::fetch::{Fetch, On};
use super::goproxy::List;
use super::story;
use super::target::{self, Lookup, is_word};
use super::wire::Wire;

/// How far up a goroutine's walk is searched: `queryPrefixModules` needs one step.
const ANCESTORS: usize = 8;
/// The goroutine that nobody started.
const MAIN: u64 = 1;

/// The goroutines of all processes that have not ended.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    by_process: HashMap<ProcessId, HashMap<u64, Goroutine>>,
    /// Responses whose bodies are open.
    bodies: HashMap<u64, RequestAt>,
}

#[derive(Debug, Default)]
struct Goroutine {
    parent: u64,
    walks: Vec<Walk>,
    /// The last lookup outside of a walk of its own.
    lookup: Option<Lookup>,
    fetch: Option<Fetch>,
    /// What it dials for.
    dials_for: Option<At>,
    tunnel: Option<RequestAt>,
    /// Where its last walk ended well.
    served: Option<At>,
    /// What is being compared with `go.sum`: module and version.
    summed: Option<(String, String)>,
    /// What is being compared with the checksum database.
    verified: Option<(String, String)>,
}

impl Goroutine {
    /// Whether it is in a walk in which others may ask: it has asked nothing in it by itself, and
    /// is none of those others. A child of `queryPrefixModules` looks its module up before it walks
    /// for something.
    fn lets_ask(&self, id: u64) -> bool {
        let quiet = matches!(&*self.walks, [walk] if !walk.asks);
        quiet && (id == MAIN || self.lookup.is_none())
    }
}

/// One run of `TryProxies`.
#[derive(Debug, Default)]
struct Walk {
    lookup: Option<Lookup>,
    /// Whether its own goroutine has looked something up in it, or fetched something.
    asks: bool,
    /// The entry it is at, and where that stands in the list.
    entry: Option<String>,
    index: Option<usize>,
    /// Attempts made at this entry.
    here: Vec<At>,
    /// Chains that this walk goes on with, from the entries before.
    carried: Vec<usize>,
    /// Entries before the first request of the walk that answered without one: `file://`, or what
    /// go remembers.
    silent: Vec<(String, Option<usize>)>,
}

/// How a walk leaves an entry.
enum Leave<'a> {
    For(Next),
    Succeeded,
    Failed(&'a Failure),
}

/// What the events of one process are read with.
pub(super) struct Context<'a> {
    pub(super) process: ProcessId,
    pub(super) list: &'a List,
    pub(super) chains: &'a mut Chains,
    pub(super) connections: &'a mut Connections,
    pub(super) wire: &'a mut Wire,
}

impl Goroutines {
    /// A process ended, or became another image.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.by_process.remove(&process);
    }

    /// Something happened in a goroutine.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of event")]
    pub(super) fn push(&mut self, event: &Event, context: &mut Context<'_>) {
        let goroutines = self.by_process.entry(context.process).or_default();
        let (id, parent) = event.goroutine.map_or((0, 0), |g| (g.id, g.parent));
        let goroutine = goroutines.entry(id).or_default();
        if parent != 0 {
            goroutine.parent = parent;
        }
        match &event.what {
            What::WalkEnter => goroutine.walks.push(Walk::default()),
            What::WalkReturn { error } => {
                // What was fetched in the walk is over.
                goroutine.fetch = None;
                if let Some(mut walk) = goroutine.walks.pop() {
                    goroutine.served = walk.here.last().copied().filter(|_| error.is_none());
                    let leave = error.as_ref().map_or(Leave::Succeeded, Leave::Failed);
                    walk.leave(&leave, event.time, context);
                }
            }
            What::Lookup { proxy, module } => {
                goroutine.fetch = None;
                let passed_on = proxy == "noproxy" && !context.list.passes_by(module);
                if !proxy.starts_with("http") && !passed_on {
                    context.chains.leave_http(context.process, module);
                }
                let own = goroutine.walks.last_mut().map(|walk| walk.asks = true).is_some();
                let lookup = Lookup { proxy: proxy.clone(), module: module.clone() };
                if !own {
                    goroutine.lookup = Some(lookup.clone());
                }
                if let Some(walk) = walk_of(goroutines, id) {
                    walk.enter(proxy, Some(module), event.time, context);
                    walk.lookup = Some(lookup);
                }
            }
            What::FetchEnter => {
                goroutine.fetch = Some(Fetch::default());
                if let Some(walk) = goroutine.walks.last_mut() {
                    walk.asks = true;
                }
            }
            What::SendEnter => goroutine.fetch.get_or_insert_default().begin_send(),
            What::SendReturn { status, error } => {
                if let Some(fetch) = &mut goroutine.fetch {
                    fetch.end_send(*status, error.as_ref(), context);
                }
            }
            What::RequestEnter { method, url, headers, credentials, cut } => {
                let mut fetch = goroutine.fetch.take().unwrap_or_default();
                fetch.begin_request(url);
                if fetch.goal.is_none() {
                    let at = place(goroutines, id, url, event.time, context);
                    fetch.goal = Some((at, url.clone()));
                }
                let with = (url.as_str(), headers, credentials.as_deref(), cut.as_slice());
                fetch.open_request(method, with, event.time, context);
                goroutines.entry(id).or_default().fetch = Some(fetch);
            }
            What::Try { protocol, local, remote, tls } => {
                if let Some(fetch) = &mut goroutine.fetch {
                    let on = On { protocol, local: *local, remote: *remote, tls: *tls };
                    fetch.try_connection(&on, event.time, context);
                }
            }
            What::RequestReturn { status, protocol, headers, error, cut, content_length, body } => {
                let ending = Ending {
                    status: *status,
                    protocol: protocol.as_deref(),
                    headers,
                    error: error.as_ref(),
                    cut,
                    content_length: *content_length,
                };
                if let Some(request) = goroutine.fetch.as_mut().and_then(|f| f.open.take()) {
                    context.chains.close(request, &ending, event.time);
                    self.bodies.extend(body.map(|body| (body, request)));
                }
            }
            What::BodyEnd { body, remaining, short, error } => {
                if let Some(request) = self.bodies.remove(body) {
                    let end =
                        BodyEnd { remaining: *remaining, short: *short, error: error.as_ref() };
                    context.chains.close_body(request, &end, event.time);
                }
            }
            What::NewConnection => {
                let asking = goroutines.get(&parent).and_then(|asking| asking.fetch.as_ref());
                let goal = asking.and_then(|fetch| fetch.goal.as_ref()).map(|(at, _)| *at);
                goroutines.entry(id).or_default().dials_for = goal;
            }
            What::TunnelEnter { target, local, remote } => {
                let at = match goroutines.get(&parent) {
                    _ if parent == 0 => only_one_asking(goroutines, target, context),
                    dialing => dialing.and_then(|dialing| dialing.dials_for),
                };
                let tunnel =
                    at.map(|at| open_tunnel(at, target, (*local, *remote), event, context));
                goroutines.entry(id).or_default().tunnel = tunnel;
            }
            What::TunnelReturn { status, headers } => {
                if let Some(tunnel) = goroutine.tunnel.take() {
                    context.chains.close_tunnel(tunnel, *status, headers, event.time);
                }
            }
            What::EntryFailed { error } => {
                let goal = goroutine.fetch.as_ref().and_then(|fetch| fetch.goal.as_ref());
                if let Some((at, _)) = goal {
                    context.chains.useless(*at, error);
                }
            }
            What::ZipFailed { error } => {
                if let Some(at) = goroutine.served.take() {
                    context.chains.unusable(at, error);
                }
            }
            What::SumEnter { module, version } => {
                goroutine.summed = Some((module.clone(), version.clone()));
            }
            What::Stderr { text } => {
                let (summed, verified) = (goroutine.summed.as_ref(), goroutine.verified.as_ref());
                if let Some(((module, version), by)) = last_words(text, summed, verified) {
                    context.chains.contradict(context.process, (module, version), by);
                }
            }
            What::VerifyEnter { module, version } => {
                goroutine.verified = Some((module.clone(), version.clone()));
            }
            What::VerifyReturn { error } => {
                if let (Some((module, version)), Some(error)) = (goroutine.verified.take(), error) {
                    context.chains.unverified(context.process, (&module, &version), error);
                }
            }
            _ => {}
        }
    }

    /// A goroutine started the program `child`, a version control tool that asks a server: for the
    /// module that its walk is at. None if it is in no walk.
    pub(super) fn command(
        &mut self,
        event: &Event,
        child: ProcessId,
        context: &mut Context<'_>,
    ) -> Option<At> {
        let goroutines = self.by_process.get_mut(&context.process)?;
        let walk = walk_of(goroutines, event.goroutine?.id)?;
        let lookup = walk.lookup.as_ref().filter(|lookup| is_word(&lookup.proxy))?;
        let target = target::repository(lookup);
        let chain = context.chains.chain(context.process, target, event.time);
        let at = walk.attempt(chain, context);
        context.chains.command(at, child);
        Some(at)
    }
}

/// What go ends for, with words alone: `go.sum` (`modfetch/fetch.go:haveModSumLocked`) or the
/// checksum database itself (`modfetch/sumdb.go:SecurityError`) contradicts what is being compared.
fn last_words<'a>(
    text: &str,
    summed: Option<&'a (String, String)>,
    verified: Option<&'a (String, String)>,
) -> Option<(&'a (String, String), Contradiction)> {
    if !text.contains("SECURITY ERROR\n") {
        return None;
    }
    if let Some(of) = verified {
        let forked = text.contains("go.sum database server misbehavior detected!");
        return forked.then_some((of, Contradiction::SumdbBefore));
    }
    let of = summed?;
    let mismatch = format!("verifying {}@{}: checksum mismatch\n", of.0, of.1);
    text.contains(&mismatch).then_some((of, Contradiction::GoSum))
}

/// Before Go 1.21 nothing tells which goroutine started the one that dials. It is known all the
/// same where only one waits for a connection to this `host:port`.
fn only_one_asking(
    goroutines: &HashMap<u64, Goroutine>,
    target: &str,
    context: &Context<'_>,
) -> Option<At> {
    let mut asking = goroutines.values().filter_map(|goroutine| {
        let fetch = goroutine.fetch.as_ref()?;
        let request = context.chains.request(fetch.open?);
        let waits = request.connection.is_none() && request.host == tunneled_host(target);
        fetch.goal.as_ref().filter(|_| waits).map(|(at, _)| *at)
    });
    asking.next().filter(|_| asking.next().is_none())
}

fn open_tunnel(
    at: At,
    target: &str,
    (local, remote): (Option<SocketAddr>, Option<SocketAddr>),
    event: &Event,
    context: &mut Context<'_>,
) -> RequestAt {
    // What speaks in the tunnel is not what opened it: the connection's protocol stays open.
    let connection =
        local.zip(remote).map(|ends| context.connections.carry(context.process, ends, target, ""));
    let remote = remote.map(canonical);
    let tunnel = context.chains.open_tunnel(at, target, connection, remote, event.time);
    if let Some(connection) = connection.filter(|&it| !context.connections.is_secured(it)) {
        context.wire.asked_by_go(connection, tunnel);
    }
    tunnel
}

/// The innermost walk that a goroutine is in: its own, or that of an ancestor.
fn walk_of(goroutines: &mut HashMap<u64, Goroutine>, id: u64) -> Option<&mut Walk> {
    if is_orphan(goroutines, id) {
        return only_walk(goroutines);
    }
    let mut owner = id;
    for _ in 0..ANCESTORS {
        let goroutine = goroutines.get(&owner)?;
        if !goroutine.walks.is_empty() {
            return goroutines.get_mut(&owner)?.walks.last_mut();
        }
        owner = goroutine.parent;
    }
    None
}

/// Whether a goroutine is in no walk of its own, and nobody knows who started it.
fn is_orphan(goroutines: &HashMap<u64, Goroutine>, id: u64) -> bool {
    let alone = |goroutine: &Goroutine| goroutine.parent == 0 && goroutine.walks.is_empty();
    id != MAIN && goroutines.get(&id).is_some_and(alone)
}

/// Before Go 1.21 nothing tells who started a goroutine. Where one walk runs in which others ask,
/// it can be no other.
fn only_walk(goroutines: &mut HashMap<u64, Goroutine>) -> Option<&mut Walk> {
    let mut walking = goroutines.iter_mut().filter(|(id, goroutine)| goroutine.lets_ask(**id));
    let (_, only) = walking.next()?;
    if walking.next().is_some() { None } else { only.walks.last_mut() }
}

/// The attempt that a fetch of `url` belongs to.
fn place(
    goroutines: &mut HashMap<u64, Goroutine>,
    id: u64,
    url: &str,
    time: u64,
    context: &mut Context<'_>,
) -> At {
    let own = goroutines.get(&id).and_then(|g| match g.walks.last() {
        Some(walk) => walk.lookup.clone(),
        None => g.lookup.clone(),
    });
    let orphan = is_orphan(goroutines, id);
    let walk = walk_of(goroutines, id);
    let lookup = own.or_else(|| walk.as_ref().and_then(|walk| walk.lookup.clone()));
    let target = target::read(url, lookup.as_ref(), context.list);
    let proxy = target.proxy.clone();
    // The checksum database is read beside any walk: `sumdb.Client` asks what `initBase` found.
    let beside = matches!(target.artifact, Artifact::SumdbLookup | Artifact::SumdbTile);
    let module = target.module.clone();
    if let Some(walk) = walk.filter(|_| !beside) {
        walk.enter(&proxy, module.as_deref(), time, context);
        let chain = context.chains.chain(context.process, target, time);
        walk.attempt(chain, context)
    } else {
        let chain = context.chains.chain(context.process, target, time);
        let index = context.list.position(&proxy, 0);
        let by = if orphan && !beside { By::SomeWalk } else { By::Itself };
        context.chains.try_entry(chain, &proxy, context.list, index, by)
    }
}

impl Walk {
    /// The walk is at `proxy`: it may have been before.
    fn enter(&mut self, proxy: &str, module: Option<&str>, time: u64, context: &mut Context<'_>) {
        if self.entry.as_deref() == Some(proxy) {
            return;
        }
        if self.entry.is_some() {
            let next = if proxy == "direct" { Next::Direct } else { Next::NextEntry };
            self.leave(&Leave::For(next), time, context);
        }
        let from = self.index.map_or(0, |index| index + 1);
        let position = |from| context.list.position(proxy, from);
        self.index = position(from).or_else(|| position(0));
        self.entry = Some(proxy.to_owned());
        // `noproxy` is for private modules alone: the others pass it.
        let private = module.is_some_and(|module| context.list.passes_by(module));
        if is_word(proxy) && (proxy != "noproxy" || private) {
            self.try_carried(context);
        }
    }

    /// The attempt of `chain` at the present entry.
    fn attempt(&mut self, chain: usize, context: &mut Context<'_>) -> At {
        if let Some(&at) = self.here.iter().find(|at| at.chain == chain) {
            return at;
        }
        for (proxy, index) in self.silent.drain(..) {
            let at = context.chains.try_entry(chain, &proxy, context.list, index, By::Walk);
            let outcome = skipped(context, at);
            context.chains.set_outcome(at, outcome);
            context.chains.settle(at, Some(Next::NextEntry), 0);
        }
        let proxy = self.entry.as_deref().unwrap_or_default();
        let at = context.chains.try_entry(chain, proxy, context.list, self.index, By::Walk);
        self.here.push(at);
        at
    }

    fn try_carried(&mut self, context: &mut Context<'_>) {
        let proxy = self.entry.as_deref().unwrap_or_default();
        for &chain in &self.carried {
            self.here.push(context.chains.try_entry(
                chain,
                proxy,
                context.list,
                self.index,
                By::Walk,
            ));
        }
    }

    /// The walk leaves its entry.
    fn leave(&mut self, leave: &Leave<'_>, time: u64, context: &mut Context<'_>) {
        let Some(proxy) = self.entry.clone() else { return };
        let module = self.lookup.as_ref().map(|lookup| lookup.module.as_str());
        let passed = module.is_some_and(|module| context.list.passes_by(module));
        if self.here.is_empty() && !is_word(&proxy) && !passed {
            if self.carried.is_empty() {
                self.silent.push((proxy.clone(), self.index));
            }
            self.try_carried(context);
        }
        self.spoil_last(leave, context);
        let beside = self.outcome_beside(context);
        for &at in &self.here {
            let attempt = context.chains.attempt(at);
            if attempt.requests.is_empty() && attempt.outcome == Outcome::Unfinished {
                let outcome = unasked(leave, &proxy, beside, at, context);
                context.chains.set_outcome(at, outcome);
            }
            let supported = context.chains.artifact(at.chain) == Artifact::SumdbSupported;
            let next = match leave {
                Leave::For(next) => Some(*next),
                Leave::Succeeded => None,
                // `sumdb.go:initBase`: no proxy has the database, so go asks it directly.
                Leave::Failed(error) if supported && failure::is_absence(error) => {
                    Some(Next::Direct)
                }
                Leave::Failed(_) => Some(Next::Stop),
            };
            context.chains.settle(at, next, time);
        }
        self.carry(context);
    }

    /// A walk that failed after a good answer failed for what was in it, where its error says so.
    fn spoil_last(&self, leave: &Leave<'_>, context: &mut Context<'_>) {
        let (Leave::Failed(error), Some(&last)) = (leave, self.here.last()) else { return };
        let outcome = failure::outcome(error);
        let of_contents = matches!(
            outcome,
            Outcome::BadContent | Outcome::Checksum | Outcome::Truncated | Outcome::Reset
        );
        if of_contents && context.chains.attempt(last).outcome == Outcome::Ok {
            context.chains.spoil(last, outcome, Some(error));
        }
    }

    /// How the search for a repository failed, if it did.
    fn outcome_beside(&self, context: &Context<'_>) -> Option<Outcome> {
        let search =
            self.here.iter().rev().filter(|at| is_search(context.chains.artifact(at.chain)));
        search.map(|&at| context.chains.attempt(at).outcome).find(|&outcome| story::failed(outcome))
    }

    /// What the next entry is asked for: what failed here, or else everything; the search for a
    /// repository goes on by itself only where nothing else is known to be wanted.
    fn carry(&mut self, context: &Context<'_>) {
        let is_search = |at: &At| is_search(context.chains.artifact(at.chain));
        let failed = |at: &At| story::failed(context.chains.attempt(*at).outcome);
        let here = std::mem::take(&mut self.here);
        let (searches, wanted): (Vec<At>, Vec<At>) = here.into_iter().partition(is_search);
        let of = if wanted.is_empty() && self.carried.is_empty() { searches } else { wanted };
        let any_failed = of.iter().any(failed);
        let carried: Vec<usize> =
            of.iter().filter(|at| !any_failed || failed(at)).map(|at| at.chain).collect();
        if !carried.is_empty() {
            self.carried = carried;
        }
    }
}

/// Whether go asked for the sake of finding a repository.
fn is_search(artifact: Artifact) -> bool {
    matches!(artifact, Artifact::GoGet | Artifact::Vcs)
}

/// The outcome of an attempt without requests.
fn unasked(
    leave: &Leave<'_>,
    proxy: &str,
    beside: Option<Outcome>,
    at: At,
    context: &Context<'_>,
) -> Outcome {
    match leave {
        Leave::Succeeded if is_word(proxy) || proxy.starts_with("file:") => Outcome::Ok,
        Leave::Succeeded => Outcome::Cached,
        _ if proxy == "off" => Outcome::NotFound,
        Leave::For(_) => beside.unwrap_or_else(|| skipped(context, at)),
        Leave::Failed(error) => beside.unwrap_or_else(|| failure::outcome(error)),
    }
}

/// The outcome of an entry that was left without a request: only `|` leaves it open.
fn skipped(context: &Context<'_>, at: At) -> Outcome {
    match context.chains.attempt(at).separator {
        Some(crate::model::Separator::Pipe) => Outcome::Unknown,
        _ => Outcome::NotFound,
    }
}
