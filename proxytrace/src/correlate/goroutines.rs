//! Goroutines: where in the call structure of go's fetching each of them is.
//!
//! From `TryProxies` down to `Transport.roundTrip` it is one goroutine, except that
//! `queryPrefixModules` asks for each prefix in a child. So a stack of walks, the last lookup and
//! the running fetch are kept by goroutine, and a goroutine without a walk is in the walk of the
//! one that started it.

use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashMap;

use crate::event::{Event, Failure, Headers, What};
use crate::model::{Artifact, Contradiction, Outcome, ProcessId};

use super::chains::{At, BodyEnd, By, Ending, RequestAt, tunneled_host};
use super::connection::canonical;
use super::context::Context;
use super::failure::{may_be_of_tunnel, outcome};
use super::fetch::{Asking, Fetch, On};
use super::target::{self, Asked, Lookup};
use super::walk::{Leave, Walk};
use crate::goproxy::is_keyword;

/// How far up a goroutine's walk is searched: `queryPrefixModules` needs one step.
const ANCESTORS: usize = 8;
/// The goroutine that nobody started.
const MAIN: u64 = 1;

/// The goroutines of all processes that have not ended.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    /// By process, whose names are numbers that begin at zero.
    by_process: Vec<HashMap<u64, Goroutine>>,
    /// Responses whose bodies are open.
    bodies: HashMap<u64, RequestAt>,
    /// Entries that were looked up.
    asked: HashMap<Arc<str>, Arc<Asked>>,
}

#[derive(Debug, Default)]
struct Goroutine {
    parent: u64,
    walks: Vec<Walk>,
    /// The last lookup outside of a walk of its own.
    lookup: Option<Arc<Lookup>>,
    fetch: Option<Fetch>,
    /// What it dials for.
    dials_for: Option<At>,
    tunnel: Option<RequestAt>,
    /// The same, while it is not known whose it is.
    unclaimed: Option<Unclaimed>,
    /// The host to which its tunnel was opened, and when.
    opened: Option<(String, u64)>,
    /// The zip that its last walk brought.
    served: Option<At>,
    /// What is being compared with the checksum database.
    verified: Option<(String, String)>,
}

/// A tunnel that a forward proxy is asked for, by a goroutine of which nothing tells who started it,
/// while several wait for a connection to one host.
#[derive(Debug)]
struct Unclaimed {
    target: String,
    ends: (Option<SocketAddr>, Option<SocketAddr>),
    since: u64,
    /// Why it was not opened, and when that came.
    refused: Option<(Option<u16>, Headers, u64)>,
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

impl Goroutines {
    /// A process ended, or became another image.
    pub(super) fn forget(&mut self, process: ProcessId) {
        if let Some(goroutines) = self.by_process.get_mut(process as usize) {
            *goroutines = HashMap::default();
        }
    }

    /// Something happened in a goroutine.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of event")]
    pub(super) fn push(&mut self, event: Event, context: &mut Context<'_>) {
        let Event { time, goroutine, what, .. } = event;
        let process = context.process as usize;
        if process >= self.by_process.len() {
            self.by_process.resize_with(process + 1, HashMap::default);
        }
        let goroutines = &mut self.by_process[process];
        let (id, parent) = goroutine.map_or((0, 0), |g| (g.id, g.parent));
        let goroutine = goroutines.entry(id).or_default();
        if parent != 0 {
            goroutine.parent = parent;
        }
        match what {
            What::WalkEnter => goroutine.walks.push(Walk::default()),
            What::WalkReturn { error } => {
                // What was fetched in the walk is over.
                goroutine.fetch = None;
                if let Some(mut walk) = goroutine.walks.pop() {
                    let is_zip = |at: &&At| context.chains.artifact(at.chain) == Artifact::Zip;
                    let zip = walk.here.iter().rfind(is_zip).copied();
                    goroutine.served = zip.filter(|_| error.is_none());
                    let leave = error.as_ref().map_or(Leave::Succeeded, Leave::Failed);
                    walk.leave(&leave, time, context);
                }
            }
            What::Lookup { proxy, module } => {
                goroutine.fetch = None;
                let passed_on = &*proxy == "noproxy" && !context.list.passes_by(&module);
                if !proxy.starts_with("http") && !passed_on {
                    context.chains.leave_http(context.process, &module);
                }
                let known = self.asked.get(&proxy).map(Arc::clone);
                let asked = known.unwrap_or_else(|| {
                    let asked = Arc::new(Asked::of(&proxy));
                    self.asked.insert(proxy, Arc::clone(&asked));
                    asked
                });
                let lookup = Arc::new(Lookup { entry: asked, module });
                if let Some(own) = goroutine.walks.last_mut() {
                    own.asks = true;
                    own.look_up(lookup, time, context);
                } else {
                    goroutine.lookup = Some(Arc::clone(&lookup));
                    if let Some(walk) = walk_of(goroutines, id) {
                        walk.look_up(lookup, time, context);
                    }
                }
            }
            What::SendFailed { error } => {
                if let Some(fetch) = &mut goroutine.fetch {
                    fetch.give_up(error.as_ref(), context);
                }
            }
            What::RequestEnter { method, url, headers, credentials, cut } => {
                let mut fetch = goroutine.fetch.get_or_insert_default();
                fetch.begin_request(&url, context.chains);
                let mut own = goroutine.walks.last_mut();
                if let Some(walk) = &mut own {
                    walk.asks = true;
                }
                if fetch.goal.is_none() {
                    let goal = match own {
                        _ if method == "HEAD" => aside(&url, time, context),
                        Some(walk) => {
                            let lookup = walk.lookup.clone();
                            place((Some(walk), lookup.as_deref()), false, &url, time, context)
                        }
                        None => {
                            let orphan = is_orphan(goroutines, id);
                            let lookup = lookup_of(goroutines, id);
                            let place_of = (walk_of(goroutines, id), lookup.as_deref());
                            let goal = place(place_of, orphan, &url, time, context);
                            fetch = goroutines.entry(id).or_default().fetch.get_or_insert_default();
                            goal
                        }
                    };
                    fetch.goal = Some(goal);
                }
                let asked = Asking { method, url, headers, credentials, cut };
                fetch.open_request(asked, time, context);
            }
            What::Try { protocol, local, remote, tls } => {
                if let Some(fetch) = &mut goroutine.fetch {
                    fetch.try_connection(On { protocol, local, remote, tls }, time, context);
                }
            }
            What::RequestReturn { status, protocol, headers, error, cut, content_length, body } => {
                let error = error.as_ref();
                let ending = Ending { status, protocol, headers, error, cut, content_length };
                if let Some(request) = goroutine.fetch.as_mut().and_then(|f| f.open.take()) {
                    if let Some(error) = error {
                        claim_tunnel(goroutines, request, error, context);
                    }
                    context.chains.close(request, ending, time);
                    self.bodies.extend(body.map(|body| (body, request)));
                }
            }
            What::BodyEnd { body, remaining, short, error } => {
                if let Some(request) = self.bodies.remove(&body) {
                    let end = BodyEnd { remaining, short, error: error.as_ref() };
                    context.chains.close_body(request, &end, time);
                }
            }
            What::NewConnection => {
                let asking = goroutines.get(&parent).and_then(|asking| asking.fetch.as_ref());
                let goal = asking.and_then(|fetch| fetch.goal);
                goroutines.entry(id).or_default().dials_for = goal;
            }
            What::TunnelEnter { target, local, remote } => {
                let at = match goroutines.get(&parent) {
                    _ if parent == 0 => only_one_asking(goroutines, &target, context),
                    dialing => dialing.and_then(|dialing| dialing.dials_for),
                };
                let ends = (local, remote);
                let tunnel = at.map(|at| open_tunnel(at, &target, ends, time, context));
                let dialing = goroutines.entry(id).or_default();
                let unclaimed = Unclaimed { target, ends, since: time, refused: None };
                dialing.unclaimed = (parent == 0 && tunnel.is_none()).then_some(unclaimed);
                dialing.tunnel = tunnel;
            }
            What::TunnelReturn { status, headers } => {
                if parent == 0 && status == Some(200) {
                    let claimed =
                        goroutine.tunnel.map(|at| context.chains.request(at).host.clone());
                    let unclaimed = || Some(tunneled_host(&goroutine.unclaimed.as_ref()?.target));
                    goroutine.opened = claimed.or_else(unclaimed).map(|host| (host, time));
                }
                if let Some(tunnel) = goroutine.tunnel.take() {
                    context.chains.close_tunnel(tunnel, status, headers, time);
                } else if status == Some(200) {
                    goroutine.unclaimed = None;
                } else if let Some(tunnel) = &mut goroutine.unclaimed {
                    tunnel.refused = Some((status, headers, time));
                }
            }
            What::EntryFailed { error } => {
                if let Some(at) = goroutine.fetch.as_ref().and_then(|fetch| fetch.goal) {
                    context.chains.useless(at, &error);
                }
            }
            What::ZipFailed { error } => {
                if let Some(at) = goroutine.served.take() {
                    context.chains.unusable(at, &error);
                }
            }
            What::Stderr { text } => {
                let verified = goroutine.verified.as_ref();
                if let Some((of, by)) = last_words(&text, verified) {
                    context.chains.contradict(context.process, of, by, time);
                }
            }
            What::VerifyEnter { module, version } => {
                goroutine.verified = Some((module, version));
            }
            What::VerifyReturn { error } => {
                if let (Some((module, version)), Some(error)) = (goroutine.verified.take(), error) {
                    let of = (&*module, &*version);
                    context.chains.unverified(context.process, of, &error, time);
                }
            }
            _ => {}
        }
    }

    /// A goroutine started the program `child`, a version control tool that asks a server: for the
    /// module that it looked up, or that its walk is at. None if it is in no walk.
    pub(super) fn command(
        &mut self,
        event: &Event,
        child: ProcessId,
        context: &mut Context<'_>,
    ) -> Option<At> {
        let goroutines = self.by_process.get_mut(context.process as usize)?;
        let id = event.goroutine?.id;
        let lookup = lookup_of(goroutines, id).filter(|lookup| is_keyword(&lookup.entry.proxy))?;
        let walk = walk_of(goroutines, id)?;
        let target = target::repository(&lookup);
        let chain = context.chains.chain(context.process, &target, event.time);
        let at = walk.attempt(chain, context);
        context.chains.command(at, child);
        Some(at)
    }
}

/// What go ends for, with words alone: `go.sum` contradicts what they name
/// (`modfetch/fetch.go:haveModSumLocked`), or the checksum database itself what is being compared
/// (`modfetch/sumdb.go:SecurityError`). They begin a text: others pass on what compilers say.
fn last_words<'a>(
    text: &'a str,
    verified: Option<&'a (String, String)>,
) -> Option<((&'a str, &'a str), Contradiction)> {
    if !text.contains("SECURITY ERROR\n") {
        return None;
    }
    if let Some((module, version)) = verified {
        let forked = text.contains("go.sum database server misbehavior detected!");
        return forked.then_some(((module, version), Contradiction::SumdbBefore));
    }
    let of = text.strip_prefix("go: ").unwrap_or(text).strip_prefix("verifying ")?;
    let (of, _) = of.split_once(": checksum mismatch\n")?;
    Some((of.split_once('@')?, Contradiction::GoSum))
}

/// Before Go 1.21 nothing tells which goroutine started the one that dials. It is known all the
/// same where only one waits for a connection to this `host:port`.
fn only_one_asking(
    goroutines: &HashMap<u64, Goroutine>,
    target: &str,
    context: &Context<'_>,
) -> Option<At> {
    let host = tunneled_host(target);
    let mut asking = goroutines.values().filter_map(|goroutine| {
        let fetch = goroutine.fetch.as_ref()?;
        let request = context.chains.request(fetch.open?);
        let waits = request.connection.is_none() && request.host == host;
        fetch.goal.filter(|_| waits)
    });
    asking.next().filter(|_| asking.next().is_none())
}

/// A request that failed before it had a connection waited for a tunnel: one that was refused, or
/// else, if its error may be of that, one without an answer, where as many are without one as wait,
/// or none was opened. Whose it was of several that waited for the same is a guess, and the same for
/// each of them.
fn claim_tunnel(
    goroutines: &mut HashMap<u64, Goroutine>,
    at: RequestAt,
    error: &Failure,
    context: &mut Context<'_>,
) {
    let request = context.chains.request(at);
    let said = outcome(error);
    let may_be_of_tunnel = may_be_of_tunnel(error) || said == Outcome::ProxyRefused;
    if request.sent_ns.is_some() || request.connection.is_some() || !may_be_of_tunnel {
        return;
    }
    let waits = |it: &&Goroutine| {
        let open = it.fetch.as_ref().and_then(|fetch| fetch.open);
        open.map(|at| context.chains.request(at))
            .is_some_and(|it| it.connection.is_none() && it.host == request.host)
    };
    let others = goroutines.values().filter(waits).count();
    let is_for_it = |it: &Unclaimed| {
        tunneled_host(&it.target) == request.host && it.since >= request.started_ns
    };
    let is_pending = |it: &Unclaimed| it.refused.is_none() && is_for_it(it);
    let pending = goroutines.values().filter(|it| it.unclaimed.as_ref().is_some_and(is_pending));
    let is_opened = |it: &Goroutine| {
        let opened = it.opened.as_ref();
        opened.is_some_and(|(host, at)| *host == request.host && *at >= request.started_ns)
    };
    // An error is handed to nobody but whom the connection was dialed for, so that it is of a tunnel
    // that was begun since.
    let is_cut = (pending.count() > others || !goroutines.values().any(is_opened))
        && matches!(said, Outcome::Reset | Outcome::Truncated | Outcome::BadContent);
    let dialing = goroutines.values_mut().filter(|it| it.unclaimed.as_ref().is_some_and(is_for_it));
    let order =
        |it: &&mut Goroutine| it.unclaimed.as_ref().map(|it| (it.refused.is_none(), it.since));
    let Some(dialing) = dialing.min_by_key(order) else { return };
    let Some(it) = dialing.unclaimed.take_if(|it| it.refused.is_some() || is_cut) else { return };
    let tunnel = open_tunnel(at.at, &it.target, it.ends, it.since, context);
    match it.refused {
        Some((status, headers, time)) => context.chains.close_tunnel(tunnel, status, headers, time),
        None => dialing.tunnel = Some(tunnel),
    }
}

fn open_tunnel(
    at: At,
    target: &str,
    (local, remote): (Option<SocketAddr>, Option<SocketAddr>),
    time: u64,
    context: &mut Context<'_>,
) -> RequestAt {
    // What speaks in the tunnel is not what opened it: the connection's protocol stays open.
    let host = target.to_ascii_lowercase();
    let connection =
        local.zip(remote).map(|ends| context.connections.carry(context.process, ends, &host, ""));
    let remote = remote.map(canonical);
    let tunnel = context.chains.open_tunnel(at, target, connection, remote, time);
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

/// What a goroutine looked up itself, or else what was looked up last in the walk that it is in:
/// `queryPrefixModules` looks up all prefixes there before anything is fetched of the first.
fn lookup_of(goroutines: &mut HashMap<u64, Goroutine>, id: u64) -> Option<Arc<Lookup>> {
    let own = goroutines.get(&id).and_then(|goroutine| match goroutine.walks.last() {
        Some(walk) => walk.lookup.clone(),
        None => goroutine.lookup.clone(),
    });
    own.or_else(|| walk_of(goroutines, id)?.lookup.clone())
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

/// The attempt that a HEAD belongs to. go makes it for `GOAUTH=git` alone, in a goroutine of its
/// own, so that git learns whether its credentials are good: no walk waits for it
/// (`cmd/go/internal/auth/gitauth.go:updateGitCredentialHelper`).
fn aside(url: &str, time: u64, context: &mut Context<'_>) -> At {
    let target = target::aside(url);
    let chain = context.chains.chain(context.process, &target, time);
    let index = context.list.position(&target.proxy, 0);
    context.chains.try_entry(chain, &target.proxy, context.list, index, By::Aside)
}

/// The attempt that a fetch of `url` belongs to, in this walk and after this lookup.
fn place(
    (walk, lookup): (Option<&mut Walk>, Option<&Lookup>),
    orphan: bool,
    url: &str,
    time: u64,
    context: &mut Context<'_>,
) -> At {
    let target = target::read(url, lookup, context.list);
    // The checksum database is read beside any walk: `sumdb.Client` asks what `initBase` found.
    let beside = matches!(target.artifact, Artifact::SumdbLookup | Artifact::SumdbTile);
    if let Some(walk) = walk.filter(|_| !beside) {
        walk.enter(&target.proxy, target.module.as_deref(), time, context);
        let chain = context.chains.chain(context.process, &target, time);
        walk.attempt(chain, context)
    } else {
        let chain = context.chains.chain(context.process, &target, time);
        let index = context.list.position(&target.proxy, 0);
        let by = if orphan && !beside { By::SomeWalk } else { By::Itself };
        context.chains.try_entry(chain, &target.proxy, context.list, index, by)
    }
}
