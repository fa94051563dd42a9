//! The second witness: plain HTTP as it went over sockets.
//!
//! What go itself asked is known from inside of go; here it is compared, request by request, on
//! each connection in the order in which go put requests onto it. What other programs asked is
//! known from here alone. It belongs to the attempt for which go ran the program, or the one above
//! it; otherwise to a chain of the process. How such a program ended says what came of it: a
//! program can live with a 404.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};

use crate::event::{Headers, What};
use crate::model::{
    Artifact, Cause, ConnectionId, Outcome, ProcessId, RequestId, Witness, Witnesses,
};

use super::chains::{At, By, Chains, Ending, Opening, RequestAt};
use super::connection::Connections;
use super::process::{Image, Processes};
use super::story::failed;
use super::target::Target;
use crate::goproxy::List;
use crate::status;
use crate::url;

/// Requests as sockets saw them.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// In the order of their heads.
    exchanges: Vec<Exchange>,
    /// By socket and number, until they are answered.
    open: HashMap<(u64, u32), usize>,
    /// What go put onto connections without TLS.
    by_go: HashMap<ConnectionId, Vec<RequestAt>>,
    /// Connections that could not be read to their end.
    unread: HashSet<ConnectionId>,
    /// What go ran programs for.
    commands: HashMap<ProcessId, At>,
}

/// A request, and its answer.
#[derive(Debug)]
struct Exchange {
    process: ProcessId,
    connection: ConnectionId,
    method: String,
    url: String,
    headers: Headers,
    cut: Vec<String>,
    time: u64,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    protocol: String,
    headers: Headers,
    content_length: Option<u64>,
    cut: Vec<String>,
    time: u64,
}

impl Wire {
    /// go puts a request onto a connection without TLS.
    pub(super) fn asked_by_go(&mut self, connection: ConnectionId, request: RequestAt) {
        self.by_go.entry(connection).or_default().push(request);
    }

    /// go runs a program for an attempt.
    pub(super) fn command(&mut self, process: ProcessId, at: At) {
        self.commands.insert(process, at);
    }

    /// A head went over a socket of a process.
    pub(super) fn push(
        &mut self,
        what: &What,
        time: u64,
        process: ProcessId,
        connections: &Connections,
    ) {
        match what {
            What::WireRequest { socket, number, method, url, headers, cut } => {
                let Some(connection) = connections.of_socket(*socket) else { return };
                self.open.insert((*socket, *number), self.exchanges.len());
                self.exchanges.push(Exchange {
                    process,
                    connection,
                    method: method.clone(),
                    url: url.clone(),
                    headers: headers.clone(),
                    cut: cut.clone(),
                    time,
                    answer: None,
                });
            }
            What::WireResponse {
                socket,
                number,
                status,
                protocol,
                headers,
                content_length,
                cut,
            } => {
                let Some(exchange) = self.open.remove(&(*socket, *number)) else { return };
                self.exchanges[exchange].answer = Some(Answer {
                    status: *status,
                    protocol: protocol.clone(),
                    headers: headers.clone(),
                    content_length: *content_length,
                    cut: cut.clone(),
                    time,
                });
            }
            What::WireLost { socket } => self.unread.extend(connections.of_socket(*socket)),
            _ => {}
        }
    }

    /// Compares what both witnesses saw, and adds what go cannot tell of.
    pub(super) fn finish(
        self,
        processes: &Processes,
        chains: &mut Chains,
        connections: &mut Connections,
    ) -> Witnesses {
        let mut witnesses = Witnesses {
            unread: u32::try_from(self.unread.len()).unwrap_or(u32::MAX),
            ..Witnesses::default()
        };
        let mut of_go: HashMap<ConnectionId, Vec<&Exchange>> = HashMap::default();
        let mut others = Others::new(&self.commands);
        for exchange in &self.exchanges {
            let image = processes.get(exchange.process);
            // One that got its probes late has not said that it is a go command.
            let is_go =
                image.process.go_version.is_some() || self.by_go.contains_key(&exchange.connection);
            if is_go {
                if !image.telemetry {
                    of_go.entry(exchange.connection).or_default().push(exchange);
                }
            } else {
                let unread = self.unread.contains(&exchange.connection);
                others.add(exchange, unread, processes, chains, connections);
            }
        }
        others.settle(processes, chains);
        for (connection, asked) in &self.by_go {
            let seen = of_go.remove(connection).unwrap_or_default();
            // Without its socket there was nothing to be seen.
            if connections.has_socket(*connection) {
                let unread = self.unread.contains(connection);
                compare(asked, &seen, unread, chains, &mut witnesses);
            }
        }
        witnesses.wire_only += of_go.values().map(|seen| seen.len() as u64).sum::<u64>();
        witnesses
    }
}

/// Compares what go says of a connection with what went over it; both are in order. What go did not
/// get an answer to may not have been sent.
fn compare(
    asked: &[RequestAt],
    seen: &[&Exchange],
    unread: bool,
    chains: &mut Chains,
    witnesses: &mut Witnesses,
) {
    let mut asked = asked;
    for exchange in seen {
        let same = |&at: &RequestAt| {
            let request = chains.request(at);
            request.method == exchange.method && same_url(&request.url, &exchange.url)
        };
        let status = exchange.answer.as_ref().map(|answer| answer.status);
        let whole = |at: &RequestAt| same(at) && chains.request(*at).status == status;
        // The request itself; or the same without an answer; or else the one in its place.
        let known = asked.iter().position(whole).or_else(|| asked.iter().position(same));
        let place = known.unwrap_or(0);
        let Some(&at) = asked.get(place) else {
            witnesses.wire_only += 1;
            continue;
        };
        witnesses.go_only += answered(&asked[..place], chains);
        asked = &asked[place + 1..];
        let statuses = chains.request(at).status.zip(status);
        if known.is_some() && statuses.is_none_or(|(by_go, by_wire)| by_go == by_wire) {
            witnesses.agreed += 1;
        } else {
            witnesses.disagreed += 1;
        }
        chains.witness(at, Witness::Both);
    }
    if !unread {
        witnesses.go_only += answered(asked, chains);
    }
}

fn answered(asked: &[RequestAt], chains: &Chains) -> u64 {
    asked.iter().filter(|&&at| chains.request(at).status.is_some()).count() as u64
}

/// Whether what go calls a URL is this one on the wire, where there is no userinfo and no empty
/// path, but may be an empty query. A host that is written otherwise there (in punycode, without
/// its zone) is not compared.
fn same_url(by_go: &str, by_wire: &str) -> bool {
    if by_go == by_wire {
        return true;
    }
    let (Some((scheme, host, rest)), Some(wire)) = (in_parts(by_go), in_parts(by_wire)) else {
        return false;
    };
    let is_as_written = host.is_ascii() && !host.contains('%');
    (scheme, rest) == (wire.0, wire.2) && (host == wire.1 || !is_as_written)
}

/// Scheme, host, and what follows its slash.
fn in_parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let tail = tail.strip_prefix('/').unwrap_or(tail);
    Some((scheme, host, tail.strip_suffix('?').unwrap_or(tail)))
}

/// What programs asked that are not go.
struct Others<'a> {
    commands: &'a HashMap<ProcessId, At>,
    /// Where the requests of a process belong.
    places: HashMap<ProcessId, At>,
    /// The last request of a process.
    last: HashMap<ProcessId, RequestAt>,
    /// The attempts that they belong to: of several processes, one after the other or at once.
    attempts: BTreeMap<At, Asked>,
}

/// What was asked in one attempt.
struct Asked {
    whose: Whose,
    /// The last request, of whatever process.
    last: RequestAt,
}

enum Whose {
    /// go's, which ran a program for it: what had come of it before any of these requests.
    Go(Outcome),
    /// The process's own.
    Process(ProcessId),
}

impl<'a> Others<'a> {
    fn new(commands: &'a HashMap<ProcessId, At>) -> Self {
        Self {
            commands,
            places: HashMap::default(),
            last: HashMap::default(),
            attempts: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        exchange: &Exchange,
        unread: bool,
        processes: &Processes,
        chains: &mut Chains,
        connections: &mut Connections,
    ) {
        let process = exchange.process;
        let mut above =
            std::iter::successors(Some(process), |&id| processes.get(id).process.parent);
        let command = above.find_map(|id| self.commands.get(&id).copied());
        let at = *self.places.entry(process).or_insert_with(|| {
            command.unwrap_or_else(|| own_chain(process, exchange.time, chains))
        });
        let whose = match command {
            Some(at) => Whose::Go(chains.attempt(at).outcome),
            None => Whose::Process(process),
        };
        let remote = connections.remote(exchange.connection);
        let connection = Some(exchange.connection);
        let request = if exchange.method == "CONNECT" {
            connections.carry_on(exchange.connection, &exchange.url.to_ascii_lowercase(), "");
            chains.open_tunnel(at, &exchange.url, connection, remote, exchange.time)
        } else {
            let follows = self.last.get(&process).and_then(|&at| redirected(at, exchange, chains));
            let opening = Opening {
                cause: if follows.is_some() { Cause::Redirect } else { Cause::Initial },
                follows,
                method: exchange.method.clone().into(),
                url: exchange.url.clone(),
                credentials: None,
                headers: exchange.headers.clone(),
                cut: exchange.cut.clone(),
            };
            let request = chains.open(at, opening, exchange.time);
            let protocol = exchange.answer.as_ref().map_or("HTTP/1.1", |answer| &answer.protocol);
            let host = chains.request(request).host.clone();
            connections.carry_on(exchange.connection, &host, protocol);
            let protocol = protocol.to_owned().into();
            chains.connect(request, connection, protocol, remote, exchange.time);
            request
        };
        chains.witness(request, Witness::Wire);
        self.last.insert(process, request);
        let asked = self.attempts.entry(at).or_insert(Asked { whose, last: request });
        asked.last = request;
        match &exchange.answer {
            Some(answer) if exchange.method == "CONNECT" => {
                let headers = answer.headers.clone();
                chains.close_tunnel(request, Some(answer.status), headers, answer.time);
            }
            Some(answer) => {
                let ending = Ending {
                    status: Some(answer.status),
                    protocol: Some(answer.protocol.clone().into()),
                    headers: answer.headers.clone(),
                    error: None,
                    cut: answer.cut.clone(),
                    content_length: answer.content_length,
                };
                chains.close(request, ending, answer.time);
            }
            None if unread => chains.give_up(request),
            None => {}
        }
    }

    /// What the attempts came to. Where go ran a program that failed, and it is not known why, the
    /// last answer that it got tells.
    fn settle(self, processes: &Processes, chains: &mut Chains) {
        for (at, Asked { whose, last }) in self.attempts {
            let last = chains.request(last).outcome;
            let outcome = match whose {
                Whose::Go(Outcome::Unknown) if failed(last) => last,
                Whose::Go(before) => before,
                Whose::Process(process) => outcome_of(processes.get(process)),
            };
            chains.set_outcome(at, outcome);
        }
    }
}

/// The chain of what a process asked for its own sake.
fn own_chain(process: ProcessId, time: u64, chains: &mut Chains) -> At {
    let target = Target {
        artifact: Artifact::Vcs,
        module: None,
        version: None,
        proxy: "direct".into(),
        place: None,
    };
    let chain = chains.chain(process, &target, time);
    chains.try_entry(chain, "direct", &List::default(), None, By::Itself)
}

fn outcome_of(image: &Image) -> Outcome {
    match (image.process.exit_code, image.process.ended_ns) {
        (Some(0), _) => Outcome::Ok,
        (_, Some(_)) => Outcome::Unknown,
        (_, None) => Outcome::Unfinished,
    }
}

/// The request before, if it was answered by a redirect that leads here.
fn redirected(before: RequestAt, exchange: &Exchange, chains: &Chains) -> Option<RequestId> {
    let before = chains.request(before);
    let target = before
        .status
        .filter(|&status| status::redirects(status))
        .and(before.location.as_ref())
        .and_then(|location| url::resolve(&before.url, location))?;
    url::same_place(&target, &exchange.url).then_some(before.id)
}
