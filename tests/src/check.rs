//! The comparison of a trace with the log of the servers: natively and in virtual machines.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use proxytrace::model::{
    Artifact, Attempt, Cause, Chain, ChainId, Connection, Finding, NameLookup, Next, Outcome,
    Process, Request, RequestId, Role, Separator, Severity, Trace, Witness, Witnesses,
};

use crate::log::{Accepted, Entry, Query};
use crate::scenario::{self, Action, Rule, SLOW_NAME, Scenario, Trouble};
use crate::toolchain::Toolchain;

/// Whether the trace holds exactly the requests of the log, each in its place, and nothing less
/// was captured.
pub fn equals(trace: &Trace, log: &[Entry]) -> Result<()> {
    equals_as_go_saw_it(trace, log)?;
    sockets_agree(trace, log)
}

fn sockets_agree(trace: &Trace, log: &[Entry]) -> Result<()> {
    let requests: Vec<&Request> = requests(trace).collect();
    let log = under_way_aside(trace, log);
    let answered: Vec<&Entry> = log.into_iter().filter(|entry| entry.status.is_some()).collect();
    witnesses_agree(trace, &requests, &answered)
}

/// The log without tunnels that were opened and the trace does not have. For which of several that
/// wait one was opened is not known before Go 1.21, and later some are not waited for any more.
pub(crate) fn tunnels_aside(trace: &Trace, log: &[Entry]) -> Result<Vec<Entry>> {
    let known = requests(trace).filter(|it| it.method == "CONNECT" && it.status.is_some());
    let known: Vec<Option<String>> = known.map(|it| local_addr(trace, it)).collect();
    let is_opened = |it: &&Entry| it.method == "CONNECT" && it.status == Some(200);
    let is_known = |entry: &&Entry| known.contains(&Some(entry.peer.to_string()));
    let opened = log.iter().filter(is_opened);
    let (all, told) = (opened.clone().count(), opened.filter(is_known).count());
    ensure!(told * 2 >= all || is_debians(trace), "{told} tunnels told of {all}");
    Ok(log.iter().filter(|it| !is_opened(it) || is_known(it)).cloned().collect())
}

/// The log without the answers that a go did not live to see: one that fails ends whatever else it
/// has asked for.
fn under_way_aside<'a>(trace: &Trace, log: &'a [Entry]) -> Vec<&'a Entry> {
    let mut log: Vec<&Entry> = log.iter().collect();
    if !failed(trace) {
        return log;
    }
    for under_way in requests(trace).filter(|it| it.outcome == Outcome::Unfinished) {
        let over =
            under_way.connection.and_then(|id| trace.connections.iter().find(|it| it.id == id));
        let local = over.and_then(|connection| connection.local_addr.as_deref());
        let is_its = |entry: &&Entry| local.is_none_or(|local| entry.peer.to_string() == local);
        let is_it =
            |entry: &&Entry| entry.url == under_way.url && entry.status.is_some() && is_its(entry);
        let seen = requests(trace).filter(|it| {
            let same = under_way.connection.is_none() || it.connection == under_way.connection;
            same && it.url == under_way.url && it.status.is_some()
        });
        if log.iter().copied().filter(is_it).count() > seen.count()
            && let Some(last) = log.iter().rposition(is_it)
        {
            log.remove(last);
        }
    }
    log
}

/// Whether a go did, whatever the command that it is of made of that.
pub(crate) fn failed(trace: &Trace) -> bool {
    let ended_badly = |process: &Process| {
        // Where what it is run by was killed, its own end may not have been seen.
        let is_killed = process.signal.is_some()
            || (process.exit_code.is_none() && trace.command.signal.is_some());
        process.exit_code.is_some_and(|code| code != 0) || is_killed
    };
    trace.processes.iter().any(|process| process.go_version.is_some() && ended_badly(process))
}

/// The go's end of the connection that a request was sent on.
fn local_addr(trace: &Trace, request: &Request) -> Option<String> {
    let is_its = |connection: &&Connection| Some(connection.id) == request.connection;
    trace.connections.iter().find(is_its)?.local_addr.clone()
}

/// The same, for a trace that has nothing from sockets.
pub fn equals_as_go_saw_it(trace: &Trace, log: &[Entry]) -> Result<()> {
    has_the_requests(trace, log)?;
    came_well(trace, false)
}

/// The same of a scenario that is drawn, for either.
pub(crate) fn equals_drawn(trace: &Trace, log: &[Entry]) -> Result<()> {
    has_the_requests(trace, log)?;
    came_well(trace, true)?;
    if trace.capture.witnesses.is_some() { sockets_agree(trace, log) } else { Ok(()) }
}

/// Whether the trace has the requests of the log, and each of its attempts is sound.
fn has_the_requests(trace: &Trace, log: &[Entry]) -> Result<()> {
    let requests: Vec<&Request> = requests(trace).collect();
    let (answered, cut_off): (Vec<&Entry>, Vec<&Entry>) =
        under_way_aside(trace, log).into_iter().partition(|entry| entry.status.is_some());

    same(
        "requests",
        requests
            .iter()
            .filter(|request| request.status.is_some())
            .map(|request| (&*request.method, &request.url, request.status)),
        answered.iter().map(|entry| (&*entry.method, &entry.url, entry.status)),
    )?;
    let refused = refused_streams(&requests);
    let failed = failed(trace);
    let unseen = |request: &Request| {
        let seen = cut_off.iter().any(|entry| entry.url == request.url);
        // It may not have come there before the go that fails ended, nor need any go wait for a
        // tunnel that it dialed for.
        let is_idle = failed || request.cause == Cause::ConnectTunnel;
        let under_way = is_idle && request.outcome == Outcome::Unfinished;
        (under_way || refused.contains(&request.id)) && !seen
    };
    same(
        "requests without an answer",
        requests
            .iter()
            .filter(|request| request.status.is_none() && was_sent(request) && !unseen(request))
            .map(|request| (&*request.method, &request.url)),
        cut_off.iter().map(|entry| (&*entry.method, &entry.url)),
    )?;
    let connections: HashMap<_, _> = trace
        .connections
        .iter()
        .map(|connection| (connection.id, connection.local_addr.clone()))
        .collect();
    same(
        "details",
        requests.iter().filter(|request| request.status.is_some()).map(|request| {
            let local = request.connection.and_then(|id| connections.get(&id).cloned().flatten());
            let referer = request.headers.get("Referer").cloned();
            let protocol = request.protocol.as_deref();
            (&request.url, request.status, &request.location, protocol, local, referer)
        }),
        answered.iter().map(|entry| {
            let (local, referer) = (Some(entry.peer.to_string()), entry.referer.clone());
            let protocol = Some(&*entry.protocol);
            (&entry.url, entry.status, &entry.location, protocol, local, referer)
        }),
    )?;

    let mut keys = HashSet::new();
    for chain in &trace.chains {
        // Of tiles each is a chain.
        let is_tile = chain.artifact == Artifact::SumdbTile;
        let first = || chain.attempts.first()?.requests.first();
        let tile = first().filter(|_| is_tile).map(|request| &request.url);
        let key = (chain.process, &chain.module, &chain.version, chain.artifact, tile);
        ensure!(keys.insert(key), "two chains for {key:?}");
        for attempt in &chain.attempts {
            attempt_is_sound(chain, attempt)
                .with_context(|| format!("chain {}, attempt {}", chain.id, attempt.proxy))?;
        }
    }
    ensure!(trace.capture.lost == 0, "{} events lost", trace.capture.lost);
    ensure!(trace.capture.complete, "incomplete: {:?}", trace.capture);
    Ok(())
}

/// Whether each chain came well where no go failed. More commands do without something in what is
/// drawn.
fn came_well(trace: &Trace, is_drawn: bool) -> Result<()> {
    // What these show or look through may have failed.
    let lax: &[&str] = if is_drawn { &["list", "why", "vendor", "-u"] } else { &["list"] };
    let does_without = trace.command.argv.iter().any(|word| lax.contains(&word.as_str()));
    if !failed(trace) && !does_without {
        let good = |chain: &&Chain| {
            // That no proxy forwards the checksum database is an answer like another, and `|`
            // lets go ask it itself after any.
            let last = chain.attempts.last();
            let went_on = last.is_some_and(|last| last.next == Some(Next::Direct));
            // Who looks for the newest version asks on for another list of them, and a module that is
            // there need not be listed.
            let looks_on = match chain.artifact {
                Artifact::Latest => last.is_some_and(|last| last.next == Some(Next::NextEntry)),
                Artifact::List => chain.outcome == Outcome::NotFound,
                _ => false,
            };
            let is_direct = last.is_some_and(|last| matches!(&*last.proxy, "direct" | "noproxy"));
            let absent = chain.artifact == Artifact::SumdbSupported
                && (chain.outcome == Outcome::NotFound || went_on);
            // What `direct` has of several modules is not known of each.
            matches!(chain.outcome, Outcome::Ok | Outcome::Cached)
                || absent
                || (is_drawn && looks_on)
                || (chain.outcome == Outcome::Unknown
                    && chain.artifact == Artifact::List
                    && is_direct)
                || is_no_module(chain, trace)
        };
        let bad = trace.chains.iter().find(|chain| !good(chain));
        ensure!(bad.is_none(), "the command succeeded, and yet: {bad:?}");
    }
    Ok(())
}

/// Whether the sockets saw each request of plain HTTP as go did, and no other.
fn witnesses_agree(trace: &Trace, requests: &[&Request], answered: &[&Entry]) -> Result<()> {
    let witnesses = trace.capture.witnesses.context("the sockets were not asked")?;
    let plain = requests.iter().filter(|request| request.url.starts_with("http://"));
    for request in plain.filter(|request| request.status.is_some()) {
        ensure!(request.witness == Witness::Both, "not seen by its socket: {request:?}");
    }
    for request in requests.iter().filter(|request| request.url.starts_with("https://")) {
        ensure!(request.witness == Witness::Go, "seen through TLS: {request:?}");
    }
    let Witnesses { agreed, wire_only, go_only, disagreed, unread } = witnesses;
    let plain = answered.iter().filter(|entry| entry.scheme == "http").count() as u64;
    ensure!(agreed >= plain, "{plain} answers, and {witnesses:?}");
    // Of a tunnel that was opened go has no answer to tell of.
    let is_tunnel = |it: &&&Request| it.method == "CONNECT" && it.witness == Witness::Wire;
    let tunnels = requests.iter().filter(is_tunnel).count() as u64;
    // Nor is there one of a request whose tunnel it was.
    let most = trace.connections.iter().filter(|it| is_forwarded(it)).count() as u64;
    let only_tunnels = (tunnels..=tunnels.max(most)).contains(&wire_only);
    let same = only_tunnels && (go_only, disagreed, unread) == (0, 0, 0);
    ensure!(same, "go and its sockets do not agree: {witnesses:?}");
    Ok(())
}

/// Whether go only asked if a prefix of a package's path is a module.
fn is_no_module(chain: &Chain, trace: &Trace) -> bool {
    let Some(prefix) = &chain.module else { return false };
    let is_longer = |path: &String| path.strip_prefix(prefix).is_some_and(|s| s.starts_with('/'));
    let is_shorter = |path: &String| prefix.strip_prefix(path).is_some_and(|s| s.starts_with('/'));
    let found = trace.chains.iter().filter(|other| other.outcome == Outcome::Ok);
    chain.outcome == Outcome::NotFound
        && found.flat_map(|chain| &chain.module).any(|path| is_longer(path) || is_shorter(path))
}

/// Whether the connections of the trace are those that the servers accepted, with as many requests
/// on each, and whether it says how long they took to make.
pub fn connections(
    trace: &Trace,
    accepted: &[Accepted],
    log: &[Entry],
    scenario: &Scenario,
    is_drawn: bool,
) -> Result<()> {
    // go can end before the server has looked at one that it did not come to use.
    let peers: HashSet<String> = accepted.iter().map(|it| it.peer.to_string()).collect();
    let is_new = |it: &Connection| {
        let is_known = it.local_addr.as_ref().is_some_and(|local| peers.contains(local));
        is_drawn && it.requests == 0 && !is_known
    };
    let made = || trace.connections.iter().filter(|it| it.connect_ns.is_some() && !is_new(it));
    same(
        "connections",
        made().map(|connection| {
            let host = connection.host.as_deref();
            let host = host.map(|host| host.split(':').next().unwrap_or(host).to_owned());
            (host, connection.local_addr.clone())
        }),
        accepted
            .iter()
            .map(|accepted| (Some(accepted.host.to_owned()), Some(accepted.peer.to_string()))),
    )?;

    let requests: Vec<&Request> = requests(trace).collect();
    let refused = refused_streams(&requests);
    for connection in made() {
        let on: Vec<_> =
            requests.iter().filter(|request| request.connection == Some(connection.id)).collect();
        ensure!(connection.requests as usize == on.len(), "{connection:?} has {}", on.len());
        let cut_short = |r: &&&&Request| {
            let is_idle = !scenario.succeeds || r.cause == Cause::ConnectTunnel;
            is_idle && r.outcome == Outcome::Unfinished
        };
        let sure = |r: &&&&Request| was_sent(r) && !refused.contains(&r.id) && !cut_short(r);
        let sure = on.iter().filter(sure).count();
        // Connections to several servers can have one port at this end.
        let over_it = |entry: &&Entry| {
            (is_forwarded(connection) || connection.host.as_deref() == Some(entry.host))
                && Some(entry.peer.to_string()) == connection.local_addr
        };
        let came = log.iter().filter(over_it).count();
        let most = on.iter().filter(|request| was_sent(request)).count();
        ensure!((sure..=most).contains(&came), "{connection:?} brought {came} requests");

        let trouble = scenario
            .hosts
            .iter()
            .find(|host| Some(host.name) == connection.host.as_deref())
            .and_then(|host| host.trouble);
        let name = connection.dns_ns.map(Duration::from_nanos);
        // Before Go 1.21 no goroutine says who started it, and the two that race are children.
        let races = trouble == Some(Trouble::DeadIpv6);
        ensure!(name.is_some() || races, "no time for the name: {connection:?}");
        // Who comes while another asks for the name has only the rest of the wait.
        let quick = trouble == Some(Trouble::SlowName)
            && name.is_some_and(|name| name + joined_after(trace, connection) < SLOW_NAME);
        ensure!(!quick, "the name took {name:?}: {connection:?}");
        let tls = connection.remote_addr.as_deref().is_some_and(|addr| addr.ends_with(":443"));
        // go can end before the handshake of a connection that it does not need.
        let is_idle = on.iter().all(|request| request.cause == Cause::ConnectTunnel);
        let none_yet = connection.tls.is_none() && is_idle;
        let same = connection.tls.is_some() == tls || is_forwarded(connection);
        ensure!(same || none_yet, "TLS or not: {connection:?}");
        if let (Some(tls), false) = (&connection.tls, is_idle) {
            let whole = connection.tls_ns.is_some() && tls.error.is_none();
            let h2 = connection.protocol.as_deref() == Some("HTTP/2.0");
            let agreed = (tls.protocol.as_deref() == Some("h2")) == h2;
            ensure!(whole && agreed && tls.version.is_some(), "handshake: {connection:?}");
            let same = Some(&tls.server_name) == connection.host.as_ref();
            ensure!(same || is_forwarded(connection), "name: {connection:?}");
        }
    }
    let of_go = |request: &&Request| request.cause != Cause::ConnectTunnel;
    for request in requests.iter().filter(|it| of_go(it) && it.status.is_some()) {
        let within = request.ttfb_ns.is_some() && request.ttfb_ns <= request.duration_ns;
        ensure!(within, "time to first byte: {request:?}");
    }
    let files = trace
        .chains
        .iter()
        .filter(|chain| matches!(chain.artifact, Artifact::Info | Artifact::Mod | Artifact::Zip));
    let answers = files.flat_map(|chain| &chain.attempts).flat_map(|attempt| &attempt.requests);
    let rules = scenario.hosts.iter().flat_map(|host| host.rules);
    let packs = |rule: &Rule| matches!(rule.action, Action::Gzip | Action::TruncateGzip);
    let is_packed = rules.into_iter().any(packs);
    for request in answers.filter(|request| request.status == Some(200) && of_go(request)) {
        if is_packed && request.content_length.is_none() {
            // net/http forgets the length of what it decompresses.
            ensure!(request.body_ns.is_some() && request.body_bytes.is_none(), "{request:?}");
            continue;
        }
        let length = request.content_length.context("the lab's servers always say a length")?;
        let whole = match (request.body_bytes, request.outcome) {
            (Some(bytes), Outcome::Reset | Outcome::Truncated) => bytes < length,
            (Some(bytes), _) => bytes == length,
            // go can end before it closes a body.
            (None, outcome) => outcome == Outcome::Ok && !scenario.succeeds,
        };
        ensure!(whole && request.body_ns.is_some() == request.body_bytes.is_some(), "{request:?}");
    }
    Ok(())
}

/// Whether a connection is to a forward proxy.
fn is_forwarded(connection: &Connection) -> bool {
    connection.remote_addr.as_deref().is_some_and(|addr| addr.ends_with(":3128"))
}

/// The lab's, as go names it.
const NAME_SERVER: &str = "127.0.0.53:53";

/// Whether the names that were resolved are those that the name server was asked for, and failed
/// where it did.
pub fn lookups(trace: &Trace, queries: &[Query]) -> Result<()> {
    let mut asked: BTreeMap<&str, bool> = BTreeMap::new();
    for query in queries {
        *asked.entry(&query.name).or_default() |= query.code == Some(0);
    }
    let mut resolved: BTreeMap<&str, bool> = BTreeMap::new();
    let mut given_up: BTreeSet<&str> = BTreeSet::new();
    for lookup in &trace.lookups {
        // go ended, or gave it up, without waiting for it.
        let detail = lookup.error.as_ref().and_then(|error| error.detail.as_deref());
        let is_canceled = detail.is_some_and(|it| it.contains("operation was canceled"));
        if lookup.duration_ns.is_none() || is_canceled {
            given_up.insert(&lookup.host);
            continue;
        }
        ensure!(lookup.addresses.is_some() == lookup.error.is_none(), "both: {lookup:?}");
        ensure!(lookup.cut.is_empty() && lookup.answers.is_some() == lookup.addresses.is_some());
        let count = lookup.answers.as_ref().map(Vec::len);
        ensure!(count == lookup.addresses.map(|count| count as usize), "{lookup:?}");
        let asked = lookup.servers.as_deref();
        // Before Go 1.21 it is not told for which of several names a server was asked.
        let told = asked == Some(&[NAME_SERVER.to_owned()]);
        ensure!(told || asked.is_none() && is_debians(trace), "another name server: {lookup:?}");
        let good = lookup.error.is_none();
        let before = resolved.insert(&lookup.host, good);
        ensure!(before.is_none_or(|before| before == good), "it changed: {lookup:?}");
    }
    for connection in trace.connections.iter().filter(|connection| connection.host.is_some()) {
        let host = connection.host.as_deref().map(|host| host.split(':').next().unwrap_or(host));
        let of_host =
            |lookup: &&NameLookup| Some(&*lookup.host) == host || is_forwarded(connection);
        let answers = trace.lookups.iter().filter(of_host).filter_map(|l| l.answers.as_ref());
        let remote: Option<SocketAddr> =
            connection.remote_addr.as_deref().map(str::parse).transpose()?;
        let told = remote.is_some_and(|remote| answers.flatten().any(|ip| *ip == remote.ip()));
        ensure!(told, "no lookup had this address: {connection:?}");
    }
    asked.retain(|name, _| resolved.contains_key(name) || !given_up.contains(name));
    ensure!(resolved == asked, "names resolved: {resolved:?}, asked for: {asked:?}");
    Ok(())
}

/// Whether the go is that of Debian, the only one without parents of goroutines.
fn is_debians(trace: &Trace) -> bool {
    let mut versions = trace.processes.iter().filter_map(|process| process.go_version.as_deref());
    versions.any(|version| version.starts_with("go1.19"))
}

/// Whether a request was sent, as far as its client knows: not where its host was not reached.
fn was_sent(request: &Request) -> bool {
    let detail = request.error.as_ref().and_then(|error| error.detail.as_deref());
    // net/http: `errClientConnNotEstablished`.
    let unestablished =
        detail.is_some_and(|it| it.contains("client conn could not be established"));
    !unestablished
        && !matches!(
            request.outcome,
            Outcome::Dns
                | Outcome::ConnectRefused
                | Outcome::ConnectTimeout
                | Outcome::Unreachable
                | Outcome::TlsUnknownAuthority
                | Outcome::TlsOther
        )
        // What was for a tunnel that was not opened.
        && (request.outcome != Outcome::ProxyRefused
            || request.cause == Cause::ConnectTunnel
            || request.status.is_some())
}

/// Requests that net/http sent again, of which a server that retires an HTTP/2 connection need not
/// have seen anything (RFC 9113, 6.8).
fn refused_streams(requests: &[&Request]) -> HashSet<RequestId> {
    let again: HashSet<RequestId> = requests
        .iter()
        .filter(|request| request.cause == Cause::TransportRetry)
        .filter_map(|request| request.follows)
        .collect();
    let h2 = |request: &&&Request| request.protocol.as_deref() == Some("HTTP/2.0");
    requests.iter().filter(h2).map(|request| request.id).filter(|id| again.contains(id)).collect()
}

/// Whether each walk through the GOPROXY list is one that go can take, to its end.
pub fn walks(trace: &Trace, goproxy: &str) -> Result<()> {
    entries(trace, goproxy, false)?;
    ends(trace, false)?;
    let mut attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    let open = attempts.find(|attempt| is_open(attempt));
    ensure!(open.is_none(), "left open: {open:?}");
    let open = requests(trace).find(|request| request.outcome == Outcome::Unfinished);
    ensure!(open.is_none(), "left open: {open:?}");
    Ok(())
}

/// Whether each attempt was at an entry of the list.
pub(crate) fn entries(trace: &Trace, goproxy: &str, is_drawn: bool) -> Result<()> {
    // Who looks for versions walks for several things at once.
    let looks = trace.command.argv.iter().any(|word| word == "list" || word == "get");
    let entries: Vec<(&str, Option<Separator>)> = goproxy
        .split_inclusive([',', '|'])
        .map(|entry| match entry.as_bytes().last() {
            // What stands before all others for what is private has nothing behind it.
            Some(b',') if entry == "noproxy," => ("noproxy", None),
            Some(b',') => (&entry[..entry.len() - 1], Some(Separator::Comma)),
            Some(b'|') => (&entry[..entry.len() - 1], Some(Separator::Pipe)),
            _ => (entry, None),
        })
        .collect();
    for chain in &trace.chains {
        let sorted = chain.attempts.is_sorted_by_key(|attempt| attempt.index);
        ensure!(sorted || (is_drawn && looks), "order: {chain:?}");
        for attempt in &chain.attempts {
            let entry = attempt.index.and_then(|index| entries.get(index as usize));
            // The checksum database itself is asked by no walk, and `direct` need not be in the list.
            let beside = matches!(chain.artifact, Artifact::SumdbLookup | Artifact::SumdbTile)
                && attempt.proxy == "direct"
                && attempt.index.is_none();
            let same = entry == Some(&(attempt.proxy.as_str(), attempt.separator)) || beside;
            ensure!(same, "{entry:?} is the entry of {attempt:?}");
        }
    }
    Ok(())
}

/// Whether each attempt leads on after a failure, and nowhere after a success. That is not so of who
/// looks for a version: several things are asked for at one entry before the walk ends there.
pub(crate) fn ends(trace: &Trace, is_drawn: bool) -> Result<()> {
    let failed = failed(trace);
    for chain in &trace.chains {
        let probe = is_no_module(chain, trace);
        for attempt in &chain.attempts {
            // go ended before it went on.
            let ended_before = failed && is_open(attempt);
            let done = attempt.outcome == Outcome::Ok || ended_before || (probe && !is_drawn);
            let ended = attempt.next.is_none() == done;
            ensure!(
                ended || (is_drawn && probe && attempt.outcome != Outcome::Ok),
                "it goes on after a success, or nowhere after a failure: {attempt:?}"
            );
        }
    }
    Ok(())
}

/// Whether it is not known what came of an attempt.
fn is_open(attempt: &Attempt) -> bool {
    attempt.outcome == Outcome::Unfinished
        || attempt.reason.ends_with("; what became of it is not known")
}

/// Whether the modules that were in the module cache, and no others, came from there.
pub fn cached(trace: &Trace, scenario: &Scenario) -> Result<()> {
    let all = scenario.cached == ["all"];
    for module in scenario.modules.paths() {
        let expected =
            all || scenario.cached.iter().any(|name| name.split('@').next() == Some(&module));
        let chains = trace.chains.iter().filter(|chain| chain.module.as_ref() == Some(&module));
        let from_cache = chains.filter(|chain| chain.outcome == Outcome::Cached);
        let mut artifacts: Vec<Artifact> = from_cache
            .filter(|chain| chain.attempts.is_empty() && chain.version.is_some())
            .map(|chain| chain.artifact)
            .collect();
        artifacts.sort_by_key(|artifact| format!("{artifact:?}"));
        let wanted: &[Artifact] =
            if expected { &[Artifact::Info, Artifact::Mod, Artifact::Zip] } else { &[] };
        // A go that fails need not come to all of them.
        let some = !scenario.succeeds && artifacts.iter().all(|found| wanted.contains(found));
        ensure!(
            artifacts == wanted || some,
            "of {module} cached: {artifacts:?}, and not {wanted:?}"
        );
    }
    Ok(())
}

/// Whether each failed chain has one root. Go does without much that it asks about a module, if it
/// has its files: of a scenario that is drawn it is not known which. Nor is it known there what came
/// of that which was not asked for where several things were.
pub(crate) fn roots(trace: &Trace, is_drawn: bool) -> Result<()> {
    let stopped = |chain: &&Chain| {
        let last = chain.attempts.last();
        last.is_some_and(|last| last.next == Some(Next::Stop) && last.outcome != Outcome::Ok)
    };
    let lists = trace.command.argv.iter().any(|word| word == "list");
    let queries = !trace.command.argv.ends_with(&["mod".to_owned(), "download".to_owned()]);
    for chain in trace.chains.iter().filter(stopped) {
        let is_file = matches!(chain.artifact, Artifact::Mod | Artifact::Zip);
        let done_without =
            (lists || !failed(trace)) && !is_file || chain.artifact == Artifact::GoGet;
        let answered = chain.attempts.iter().any(|attempt| attempt.outcome == Outcome::Ok);
        let last = chain.attempts.last();
        let untold =
            last.is_some_and(|last| last.outcome == Outcome::Unknown && last.requests.is_empty());
        let absent = matches!(chain.outcome, Outcome::NotFound | Outcome::Unknown);
        let is_probe = absent && queries && is_beside_longer(chain, trace);
        // A module that is there need not be listed.
        let is_listed = chain.artifact == Artifact::List && chain.outcome == Outcome::NotFound;
        // After a part of a tile go asks for the whole, and tells of one of them.
        let is_part = chain.artifact == Artifact::SumdbTile
            && trace.findings.iter().any(|found| {
                let tile = |id: &ChainId| {
                    trace.chains.iter().any(|other| other.id == *id && is_tile(other, chain))
                };
                found.role == Role::Root && found.chains.iter().any(tile)
            });
        let is_spared =
            is_part || is_drawn && (done_without || answered || untold || is_probe || is_listed);
        if is_spared || is_no_module(chain, trace) {
            continue;
        }
        let root =
            |finding: &&Finding| finding.role == Role::Root && finding.chains.contains(&chain.id);
        let roots: Vec<_> = trace.findings.iter().filter(root).map(|found| &found.code).collect();
        ensure!(roots.len() == 1, "{roots:?} are the roots of {chain:?}");
    }
    Ok(())
}

/// Whether both chains of one process are of one tile of the checksum database, or of a part of it.
fn is_tile(one: &Chain, other: &Chain) -> bool {
    let whole = |chain: &Chain| {
        let url = &chain.attempts.first()?.requests.first()?.url;
        Some(url.split_once(".p/").map_or(url.as_str(), |(whole, _)| whole).to_owned())
    };
    let is_tile = one.artifact == Artifact::SumdbTile && other.artifact == Artifact::SumdbTile;
    is_tile && one.process == other.process && whole(one) == whole(other)
}

/// Whether something of a longer path was asked for, too.
fn is_beside_longer(chain: &Chain, trace: &Trace) -> bool {
    let Some(prefix) = &chain.module else { return false };
    let is_longer = |path: &String| path.strip_prefix(prefix).is_some_and(|s| s.starts_with('/'));
    trace.chains.iter().flat_map(|other| &other.module).any(is_longer)
}

/// The findings of a trace, each code and severity once.
pub fn found(trace: &Trace) -> BTreeSet<(&str, scenario::Severity)> {
    let severity = |finding: &Finding| match finding.severity {
        Severity::Note => scenario::Severity::Note,
        Severity::Warning => scenario::Severity::Warning,
        Severity::Error => scenario::Severity::Error,
    };
    trace.findings.iter().map(|finding| (finding.code.as_str(), severity(finding))).collect()
}

/// Whether the findings are those of the scenario, and no others.
pub fn findings(trace: &Trace, scenario: &Scenario, toolchain: &Toolchain) -> Result<()> {
    let found = found(trace);
    let expected = scenario.expected(toolchain);
    let all = || format!("of all findings {found:?}");
    let missing: Vec<_> = expected.difference(&found).collect();
    ensure!(missing.is_empty(), "{missing:?} not found, {}", all());
    let sometimes = |(code, severity): &(&str, scenario::Severity)| {
        *severity == scenario::Severity::Note && scenario.sometimes.contains(code)
    };
    let extra: Vec<_> = found.difference(&expected).filter(|finding| !sometimes(finding)).collect();
    ensure!(extra.is_empty(), "{extra:?} not expected, {}", all());
    for finding in &trace.findings {
        // A host that could not be reached is named.
        let about_transport = finding.code.starts_with("PT2") || finding.code == "PT007";
        let mut troubled = scenario.hosts.iter().filter(|host| host.trouble.is_some());
        let named = troubled.clone().any(|host| finding.message.contains(host.name));
        let expected = about_transport && troubled.next().is_some();
        ensure!(!expected || named, "it names another host: {}", finding.message);
        ensure!(!about_transport || !finding.requests.is_empty(), "no evidence: {finding:?}");
    }
    roots(trace, false)
}

pub(crate) fn requests(trace: &Trace) -> impl Iterator<Item = &Request> {
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    attempts.flat_map(|attempt| &attempt.requests)
}

/// Whether two multisets are the same; if not, what only one of them has.
fn same<T: Ord + Debug>(
    what: &str,
    trace: impl Iterator<Item = T>,
    log: impl Iterator<Item = T>,
) -> Result<()> {
    let mut surplus: BTreeMap<T, i64> = BTreeMap::new();
    for item in trace {
        *surplus.entry(item).or_default() += 1;
    }
    for item in log {
        *surplus.entry(item).or_default() -= 1;
    }
    surplus.retain(|_, count| *count != 0);
    let lines: Vec<String> =
        surplus.iter().map(|(item, count)| format!("\n  {count:+} {item:?}")).collect();
    ensure!(
        lines.is_empty(),
        "{what}: more (+) or less (-) than the servers saw:{}",
        lines.concat()
    );
    Ok(())
}

/// Whether each request of an attempt is about what the chain is about, and follows what its cause
/// says.
fn attempt_is_sound(chain: &Chain, attempt: &Attempt) -> Result<()> {
    let by_id: HashMap<RequestId, &Request> =
        attempt.requests.iter().map(|request| (request.id, request)).collect();
    // What reached nobody is in no log. But go asks once for what a chain is about, unless that is
    // all tiles or a page, and what came of a request leads to one other.
    let many = matches!(chain.artifact, Artifact::SumdbTile | Artifact::GoGet);
    let is_tunnel = |request: &Request| request.cause == Cause::ConnectTunnel;
    let mut led_to = HashSet::new();
    for request in &attempt.requests {
        let once = is_tunnel(request)
            || led_to.insert(request.follows)
            || (many && request.follows.is_none());
        ensure!(once, "another one has the same place: {request:?}");
        let before = match request.follows {
            None => None,
            Some(id) => Some(*by_id.get(&id).with_context(|| format!("{id} is not here"))?),
        };
        let cause = (request.cause, before);
        let sound = match cause {
            (Cause::Initial, None) => {
                let based =
                    !attempt.proxy.contains("://") || request.url.starts_with(&attempt.proxy);
                based && is_about(&request.url, chain)
            }
            (Cause::ConnectTunnel, _) => request.method == "CONNECT",
            (Cause::Redirect, Some(before)) => {
                let location = before.location.as_deref().context("no Location")?;
                let within = location.starts_with('/')
                    && (before.host == request.host || location.starts_with("//"));
                location == request.url || (within && request.url.ends_with(location))
            }
            (Cause::AuthResend, Some(before)) => {
                let refused = before.status.is_some_and(|status| (400..500).contains(&status));
                refused && is_about(&request.url, chain)
            }
            (Cause::TransportRetry, Some(before)) => {
                before.url == request.url && before.status.is_none()
            }
            _ => bail!("no scenario has this: {request:?}"),
        };
        ensure!(sound, "out of place in the chain of {:?}: {request:?}", about(chain));
        let redirects = request.status.is_some_and(|status| (300..400).contains(&status));
        ensure!(request.after_redirect.is_some() == redirects, "after_redirect: {request:?}");
    }
    Ok(())
}

fn about(chain: &Chain) -> (Artifact, Option<&str>, Option<&str>) {
    (chain.artifact, chain.module.as_deref(), chain.version.as_deref())
}

/// Whether a URL asks for what a chain is about, by the module proxy protocol.
fn is_about(url: &str, chain: &Chain) -> bool {
    let (module, version) = (chain.module.as_deref().map(escape), chain.version.as_deref());
    let version = version.map(escape);
    let file = match (chain.artifact, module, version) {
        // It says no version, whatever the chain knows.
        (Artifact::GoGet, Some(_), _) => {
            let module = chain.module.as_deref().unwrap_or_default();
            let slash = if module.contains('/') { "" } else { "/" };
            // With GOINSECURE, what https does not bring is asked for over http.
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            return rest == Some(&*format!("{module}{slash}?go-get=1"));
        }
        (Artifact::SumdbSupported, None, None) => "sumdb/sum.lab/supported".to_owned(),
        (Artifact::SumdbTile, None, None) => return url.contains("/tile/"),
        (Artifact::SumdbLookup, Some(module), Some(version)) => {
            let file = format!("lookup/{module}@{version}");
            // Asked itself, it is asked as files are named (`x/mod/sumdb/client.go:Lookup`).
            return [file.replace("%21", "!"), file].iter().any(|it| url.ends_with(it));
        }
        (Artifact::List, Some(module), None) => format!("{module}/@v/list"),
        (Artifact::Latest, Some(module), None) => format!("{module}/@latest"),
        (Artifact::Info, Some(module), Some(version)) => format!("{module}/@v/{version}.info"),
        (Artifact::Mod, Some(module), Some(version)) => format!("{module}/@v/{version}.mod"),
        (Artifact::Zip, Some(module), Some(version)) => format!("{module}/@v/{version}.zip"),
        _ => return false,
    };
    url.ends_with(&format!("/{file}"))
}

/// Case-encoding, as go writes it into URLs: `M` is `%21m`.
fn escape(name: &str) -> String {
    name.chars().fold(String::new(), |mut escaped, letter| {
        if letter.is_ascii_uppercase() {
            escaped.push_str("%21");
        }
        escaped.push(letter.to_ascii_lowercase());
        escaped
    })
}

/// How long somebody else had been asking for the name of a connection when its own lookup began.
fn joined_after(trace: &Trace, connection: &Connection) -> Duration {
    let of_host = |lookup: &&NameLookup| {
        lookup.process == connection.process && Some(&lookup.host) == connection.host.as_ref()
    };
    let all = || trace.lookups.iter().filter(of_host);
    let Some(own) = all().find(|lookup| lookup.duration_ns == connection.dns_ns) else {
        return Duration::ZERO;
    };
    let is_under_way = |lookup: &&NameLookup| {
        let ended = lookup.started_ns + lookup.duration_ns.unwrap_or(0);
        (lookup.started_ns..=ended).contains(&own.started_ns)
    };
    let began = all().filter(is_under_way).map(|lookup| lookup.started_ns).min();
    Duration::from_nanos(began.map_or(0, |began| own.started_ns - began))
}
