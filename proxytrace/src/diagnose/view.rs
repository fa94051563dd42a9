//! Questions that several rules ask of a trace.

use foldhash::{HashMap, HashSet};

use super::configuration::ended_at_no_port;
use super::said::{Unused, names, tells_of, unused};
use super::sent::last_walk;
use super::speaker::is_page;
use crate::correlate::story::{failed, last_asked, unverified, walks_the_list};
use crate::forward::{Forward, ForwardProxy};
use crate::gomod::path::escape;
use crate::gomod::sources::command;
use crate::goproxy::{self, List, asks_repositories, is_keyword};
use crate::model::{
    Artifact, Attempt, Cause, Chain, Connection, ConnectionId, Next, Outcome, Process, ProcessId,
    Request, Trace, Witness,
};
use crate::url::{Url, host_name, unbracketed};

/// A trace and what is derived from it once.
pub(super) struct View<'a> {
    pub(super) trace: &'a Trace,
    processes: HashMap<ProcessId, ProcessView<'a>>,
    /// What each process asked for.
    chains: HashMap<ProcessId, Vec<&'a Chain>>,
    /// Failed searches for a repository, by module.
    searches: HashMap<(ProcessId, &'a str), &'a Chain>,
    /// Failed lookups in the checksum database, by module and version.
    lookups: HashMap<(ProcessId, &'a str, Option<&'a str>), &'a Chain>,
    /// The first other failure of the checksum database.
    databases: HashMap<ProcessId, &'a Chain>,
    /// Tiles of the checksum database, by their URLs, of which the whole one came.
    whole_tiles: HashSet<(ProcessId, &'a str)>,
    /// Those of which a part failed for another reason than absence.
    broken_tiles: HashSet<(ProcessId, &'a str)>,
    /// Failed chains that ended at `direct`, by their modules and the prefixes of these.
    subjects: HashMap<(ProcessId, &'a str), &'a Chain>,
    /// Longer modules that failed for another reason than absence, by their prefixes.
    stronger: HashSet<(ProcessId, &'a str, Option<&'a str>)>,
    /// Queries that failed for another reason than absence, by module and version.
    serious: HashMap<(ProcessId, &'a str, Option<&'a str>), &'a Chain>,
    /// What failed of a module for another reason than absence.
    failing: HashMap<(ProcessId, &'a str), &'a Chain>,
    /// What was asked for beside something with a longer path, by module and version.
    prefixes: HashSet<(ProcessId, &'a str, Option<&'a str>)>,
    /// The modules for which a query has found something, by version.
    found: HashMap<(ProcessId, Option<&'a str>), HashSet<&'a str>>,
    /// The modules of which a version was had.
    had: HashSet<(ProcessId, &'a str)>,
    /// What the checksum database was asked about.
    looked_up: HashSet<(ProcessId, &'a str, Option<&'a str>)>,
    /// What entries answered when they were asked for the checksum database.
    supported: HashMap<(ProcessId, &'a str), Option<&'a Request>>,
    /// Connections whose servers asked for a certificate of the client, and the hosts of these.
    certificates: HashSet<ConnectionId>,
    wanting: HashSet<(ProcessId, &'a str)>,
    /// Modules with their versions whose `go.mod` go could make nothing of.
    nameless: HashSet<(ProcessId, &'a str)>,
}

/// What go says of a `go.mod` that is none (`modload/modfile.go:rawGoModSummary`).
const NAMELESS: &str = ": parsing go.mod: missing module line";

struct ProcessView<'a> {
    process: &'a Process,
    list: List,
    /// Whether a failure in it mattered: go ended with an error, as far as is known.
    failed: bool,
    /// The forward proxies that it was told of.
    forward: Forward<ForwardProxy<'a>>,
    /// The patterns of GOPRIVATE.
    private: &'a str,
}

impl<'a> View<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        let became: HashSet<(Option<ProcessId>, u32)> =
            trace.processes.iter().map(|process| (process.parent, process.pid)).collect();
        let processes = trace.processes.iter().map(|process| {
            let list = List::of(&process.config);
            let went_on = became.contains(&(Some(process.id), process.pid));
            let failed = !succeeded(process, went_on);
            let forward = Forward::of_config(&process.config);
            let private = process.config.get("GOPRIVATE").map_or("", |it| it.value.as_str());
            (process.id, ProcessView { process, list, failed, forward, private })
        });
        let wanting = trace
            .connections
            .iter()
            .filter(|connection| connection.tls.as_ref().is_some_and(|tls| tls.certificate_wanted));
        let host = |it: &'a Connection| Some((it.process, meant(it)?));
        let mut view = Self {
            trace,
            processes: processes.collect(),
            chains: HashMap::default(),
            searches: HashMap::default(),
            lookups: HashMap::default(),
            databases: HashMap::default(),
            whole_tiles: HashSet::default(),
            broken_tiles: HashSet::default(),
            subjects: HashMap::default(),
            stronger: HashSet::default(),
            serious: HashMap::default(),
            failing: HashMap::default(),
            prefixes: HashSet::default(),
            found: HashMap::default(),
            had: HashSet::default(),
            looked_up: HashSet::default(),
            supported: HashMap::default(),
            certificates: wanting.clone().map(|connection| connection.id).collect(),
            wanting: wanting.filter_map(host).collect(),
            nameless: trace.processes.iter().flat_map(nameless).collect(),
        };
        for chain in &trace.chains {
            view.index(chain);
        }
        for chain in trace.chains.iter().filter(|chain| ended_in_failure(chain)) {
            if matches!(chain.artifact, Artifact::SumdbSupported | Artifact::SumdbTile)
                && !view.is_other_tile(chain)
            {
                view.databases.entry(chain.process).or_insert(chain);
            }
            let Some(module) = chain.module.as_deref() else { continue };
            if chain.artifact == Artifact::SumdbLookup {
                view.lookups.insert((chain.process, module, chain.version.as_deref()), chain);
                continue;
            }
            if chain.artifact == Artifact::GoGet {
                view.searches.insert((chain.process, module), chain);
                continue;
            }
            let is_last = |last: &Attempt| asks_repositories(&last.proxy);
            if chain.attempts.last().is_some_and(is_last) && !is_answered(chain) {
                for path in std::iter::once(module).chain(prefixes(module)) {
                    view.subjects.entry((chain.process, path)).or_insert(chain);
                }
            }
            if is_serious(chain) && is_query(chain.artifact) {
                view.serious.insert((chain.process, module, chain.version.as_deref()), chain);
                for prefix in prefixes(module) {
                    view.stronger.insert((chain.process, prefix, chain.version.as_deref()));
                }
            }
        }
        view
    }

    /// What is asked of a chain whether it failed or not.
    fn index(&mut self, chain: &'a Chain) {
        let (process, version) = (chain.process, chain.version.as_deref());
        self.chains.entry(process).or_default().push(chain);
        let serious = |it: &Attempt| failed(it.outcome) && it.outcome != Outcome::NotFound;
        if let Some(module) = chain.module.as_deref()
            && chain.attempts.last().is_some_and(|last| failed(last.outcome))
            && culprit(chain).is_some_and(serious)
            && walks_the_list(chain.artifact)
            && !is_answered(chain)
        {
            self.failing.entry((process, module)).or_insert(chain);
        }
        if chain.artifact == Artifact::SumdbSupported {
            for attempt in &chain.attempts {
                let answer = last_asked(&attempt.requests);
                self.supported.entry((process, &attempt.proxy)).or_insert(answer);
            }
        }
        if let Some((url, is_part)) = tile(chain) {
            if !is_part && chain.outcome == Outcome::Ok {
                self.whole_tiles.insert((process, url));
            }
            if is_part && chain.outcome != Outcome::NotFound && ended_in_failure(chain) {
                self.broken_tiles.insert((process, url));
            }
        }
        let Some(module) = chain.module.as_deref() else { return };
        if chain.artifact == Artifact::SumdbLookup {
            self.looked_up.insert((process, module, version));
        }
        if is_of_had(chain) {
            self.had.insert((process, module));
        }
        if is_query(chain.artifact) {
            self.prefixes.extend(prefixes(module).map(|path| (process, path, version)));
            if chain.outcome == Outcome::Ok {
                self.found.entry((process, version)).or_default().insert(module);
            }
        }
    }

    /// What a process asked for.
    pub(super) fn chains_of(&self, process: ProcessId) -> &[&'a Chain] {
        self.chains.get(&process).map_or(&[], Vec::as_slice)
    }

    /// Whether the checksum database was asked about the module and version of a chain.
    pub(super) fn is_looked_up(&self, chain: &Chain) -> bool {
        let version = chain.version.as_deref();
        chain
            .module
            .as_deref()
            .is_some_and(|module| self.looked_up.contains(&(chain.process, module, version)))
    }

    /// The list that a chain's process walks.
    pub(super) fn list(&self, chain: &Chain) -> Option<&List> {
        self.processes.get(&chain.process).map(|process| &process.list)
    }

    /// Whether nothing is to be said of a chain but that it had a good answer to its only request:
    /// it did not fail, nothing was redirected, asked again or asked elsewhere, and what came is no
    /// page, which go may be unable to read, nor a `go.mod` that it could not read.
    pub(super) fn is_well(&self, chain: &Chain) -> bool {
        let [attempt] = &*chain.attempts else { return false };
        let [request] = &*attempt.requests else { return false };
        attempt.outcome == Outcome::Ok
            && attempt.next.is_none()
            && request.outcome == Outcome::Ok
            && request.status == Some(200)
            && request.cause == Cause::Initial
            && chain.contradicted_by.is_none()
            && (chain.artifact != Artifact::Mod || !is_page(request) && !self.is_nameless(chain))
    }

    /// Whether the chain failed, and go cared: not where go ended well all the same, nor where the
    /// chain is a probe of a shorter path beside one whose failure go reports
    /// (`modload/query.go:queryPrefixModules`), nor where go can do without ([`Self::is_shrugged_off`]),
    /// nor where it is a tile of the checksum database beside the one that counts
    /// ([`Self::is_other_tile`]).
    pub(super) fn failed(&self, chain: &Chain) -> bool {
        !self.is_well(chain)
            && (ended_in_failure(chain)
                || self.failed_command(chain).is_some()
                || self.unused_tool(chain).is_some()
                || self.unread_mod(chain).is_some()
                || self.is_kept_badly(chain)
                || self.is_failure_told(chain)
                || ended_at_no_port(self, chain))
            && self.processes.get(&chain.process).is_none_or(|process| process.failed)
            && !self.is_weaker_probe(chain)
            && !self.is_shrugged_off(chain)
            && !self.is_other_tile(chain)
    }

    /// Whether go did not get a file of a module, and ended well all the same: `go list` shows what
    /// it has. What was looked for in vain is not meant, nor what go asks for to learn of.
    pub(super) fn failed_unheeded(&self, chain: &'a Chain) -> bool {
        let looked_for = is_query(chain.artifact) && chain.outcome == Outcome::NotFound;
        let is_none = || self.unread_mod(chain).is_some() || self.is_kept_badly(chain);
        matches!(chain.artifact, Artifact::Info | Artifact::Mod | Artifact::Zip)
            && (ended_in_failure(chain) || is_none())
            && self.process(chain.process).is_some_and(|process| process.exit_code == Some(0))
            && !looked_for
            && !self.is_done_without(chain)
            && !self.is_learning(chain)
    }

    /// A chain as it was when a walk of it failed, where go told of that and ended with an error,
    /// and yet another walk had it: `go list -m -u` asks once for what it shows, and once for what is
    /// newer.
    pub(super) fn failed_before(&self, chain: &Chain) -> Option<Chain> {
        let process = self.processes.get(&chain.process).filter(|process| process.failed)?;
        let stopped = |it: &Attempt| it.next == Some(Next::Stop) && failed(it.outcome);
        let last = chain.attempts.iter().rposition(stopped)?;
        let named = format!("{}@{}: ", chain.module.as_deref()?, chain.version.as_deref()?);
        // Of which of its files it tells, the URL says.
        let files = chain.attempts[last].requests.iter().filter_map(|it| it.url.rsplit('/').next());
        let files: Vec<&str> = files.collect();
        let tells = |line: &str| line.contains(&named) && files.iter().any(|it| line.contains(it));
        let told = process.process.stderr_tail.as_deref()?.lines().any(tells);
        let attempts = &chain.attempts[..=last];
        let is_over = told && chain.outcome == Outcome::Ok;
        is_over.then(|| Chain {
            attempts: attempts.to_vec(),
            outcome: attempts[last].outcome,
            ..chain.clone()
        })
    }

    /// The version control tool that failed where nothing more is known of the reason.
    pub(super) fn failed_command(&self, chain: &Chain) -> Option<&'a Process> {
        let last = chain.attempts.last()?;
        if last.next != Some(Next::Stop) || last.outcome != Outcome::Unknown {
            return None;
        }
        let command = *chain.commands.last()?;
        let process = self.process(command)?;
        process.exit_code.is_some_and(|code| code != 0).then_some(process)
    }

    /// The version control tool that go did not run, where it said so of the chain's module, and
    /// why: it is not there (`os/exec`), or not allowed (`cmd/go/internal/vcs:CheckGOVCS`). Where
    /// no proxy was asked, all that is known is the page that named the repository.
    pub(super) fn unused_tool(&self, chain: &Chain) -> Option<(&'a str, Unused)> {
        let last = chain.attempts.last()?;
        let untold = match last.outcome {
            Outcome::Unknown => true,
            Outcome::Ok => chain.artifact == Artifact::GoGet,
            _ => false,
        };
        if !untold || last.next != Some(Next::Stop) || !is_keyword(&last.proxy) {
            return None;
        }
        let module = chain.module.as_deref()?;
        let said = self.process(chain.process)?.stderr_tail.as_deref()?;
        said.lines().filter(|line| names(line, module, false)).find_map(unused)
    }

    /// What came as a `go.mod` file, where go said that it could not read it: that is outside of
    /// the walk, which was well (`modload/modfile.go:rawGoModSummary`). Of what is no page, it had to
    /// say that nothing in it is a `go.mod`: some are faulty as their authors wrote them.
    pub(super) fn unread_mod(&self, chain: &'a Chain) -> Option<&'a Request> {
        let last = last_asked(&chain.attempts.last()?.requests)?;
        if chain.artifact != Artifact::Mod || last.outcome != Outcome::Ok {
            return None;
        }
        if self.is_nameless(chain) {
            return Some(last);
        }
        let process = self.process(chain.process).filter(|_| is_page(last))?;
        let (module, version) = (chain.module.as_deref()?, chain.version.as_deref()?);
        let named = format!("{module}@{version}");
        let said = process.stderr_tail.as_deref()?.lines().any(|line| {
            line.contains("go.mod") && line.split([' ', ':', '\t']).any(|word| word == named)
        });
        said.then_some(last)
    }

    /// Whether what go has kept from before is no good: something else than a `go.mod` file, or what
    /// the checksum database is said to have answered.
    pub(super) fn is_kept_badly(&self, chain: &Chain) -> bool {
        match chain.outcome {
            Outcome::Cached => self.is_nameless(chain),
            Outcome::BadContent => chain.attempts.is_empty(),
            _ => false,
        }
    }

    /// Whether go tells that a chain's last request failed, where its walk was not seen to end.
    fn is_failure_told(&self, chain: &Chain) -> bool {
        let serious = |outcome| failed(outcome) && outcome != Outcome::NotFound;
        let open = |last: &&Attempt| last.next.is_none() && serious(last.outcome);
        let told = || {
            let last = chain.attempts.last().filter(open)?;
            let plain = |text: &str| text.replace("%21", "!");
            let url = plain(&last_asked(&last.requests)?.url);
            // Where it was redirected to, the beginning is another one.
            let file = &url[url.rfind(&format!("/{}/@", escape(chain.module.as_deref()?)))?..];
            let said = plain(self.process(chain.process)?.stderr_tail.as_deref()?);
            said.lines().any(|line| tells_of(line, file)).then_some(())
        };
        told().is_some()
    }

    /// Whether the checksum database may be a directory, which go reads without asking anybody.
    pub(super) fn reads_sums_from_files(&self, chain: &Chain) -> bool {
        let is_file = |url: &str| url.starts_with("file:");
        let config = self.process(chain.process).map(|process| &process.config);
        let given =
            config.and_then(|config| config.get("GOSUMDB")?.value.split_whitespace().nth(1));
        let list = self.list(chain);
        given.is_some_and(is_file)
            || list.is_some_and(|list| list.entries.iter().any(|entry| is_file(&entry.proxy)))
    }

    /// Whether go could make nothing of the `go.mod` file that a chain is about.
    fn is_nameless(&self, chain: &Chain) -> bool {
        if self.nameless.is_empty() || chain.artifact != Artifact::Mod {
            return false;
        }
        let (Some(module), Some(version)) = (&chain.module, &chain.version) else { return false };
        self.nameless.contains(&(chain.process, &*format!("{module}@{version}")))
    }

    /// Whether go has got something of a chain's module: then nobody had to find out whether it is one.
    fn is_had(&self, chain: &Chain) -> bool {
        chain.module.as_deref().is_some_and(|module| self.had.contains(&(chain.process, module)))
    }

    /// Whether something with a longer path was asked for at the same time.
    pub(super) fn is_probe(&self, chain: &Chain) -> bool {
        let (module, version) = (chain.module.as_deref(), chain.version.as_deref());
        let key = |module| (chain.process, module, version);
        is_query(chain.artifact) && module.is_some_and(|m| self.prefixes.contains(&key(m)))
    }

    /// Whether the same query has found something with a shorter path, which it gave up for the failure
    /// of this one: what fails beside something longer is passed over.
    pub(super) fn is_found_elsewhere(&self, chain: &Chain) -> bool {
        let Some(module) = chain.module.as_deref().filter(|_| !self.is_had(chain)) else {
            return false;
        };
        let found = self.found.get(&(chain.process, chain.version.as_deref()));
        found.is_some_and(|modules| prefixes(module).any(|path| modules.contains(path)))
    }

    /// Whether it is one of the queries that go makes of all prefixes of a path at once, and found
    /// nothing though another did, or might have: its absence says nothing of a proxy. Nor is anything
    /// known of one of which `direct` may have nothing, as it has another.
    pub(super) fn is_fruitless_probe(&self, chain: &Chain) -> bool {
        let absent = chain.outcome == Outcome::NotFound
            && (self.is_probe(chain) || self.is_found_elsewhere(chain));
        let untold = |last: &Attempt| {
            last.outcome == Outcome::Unknown && last.next.is_none() && last.requests.is_empty()
        };
        is_query(chain.artifact) && (absent || chain.attempts.last().is_some_and(untold))
    }

    /// Whether it is a query that came to nothing, and that go did without: a probe beside what it
    /// found, or a question about a module that it had ([`Self::is_shrugged_off`]).
    pub(super) fn is_done_without(&self, chain: &Chain) -> bool {
        failed(chain.outcome)
            && is_query(chain.artifact)
            && !self.failed(chain)
            && (self.is_probe(chain) || self.is_found_elsewhere(chain) || self.is_had(chain))
    }

    pub(super) fn process(&self, id: ProcessId) -> Option<&'a Process> {
        self.processes.get(&id).map(|process| process.process)
    }

    /// Every request of go itself, with its chain.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'a Chain, &'a Request)> + use<'a> {
        self.trace.chains.iter().flat_map(|chain| {
            let requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
            requests.filter(|request| is_of_go(request)).map(move |request| (chain, request))
        })
    }

    /// Whether the host of a request asked for a certificate of the client.
    pub(super) fn wants_certificate(&self, chain: &Chain, request: &Request) -> bool {
        let wants = |id: ConnectionId| self.certificates.contains(&id);
        // Where the handshake failed, the request had no connection. Of CONNECT it is known which
        // host and port it was for, where the handshake names the host alone.
        let is_tunnel = |tunnel: &Request| {
            tunnel.cause == Cause::ConnectTunnel
                && tunnel.host == request.host
                && tunnel.connection.is_some_and(wants)
        };
        let mut asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        request.connection.map_or_else(
            || {
                self.wanting.contains(&(chain.process, request.host.as_str()))
                    || asked.any(is_tunnel)
            },
            wants,
        )
    }

    /// Whether a host has answered a process with something else than an error.
    pub(super) fn is_served(&self, process: ProcessId, host: &str) -> bool {
        let mut requests = self.chains_of(process).iter().flat_map(|chain| &chain.attempts);
        requests.any(|attempt| {
            let well = |request: &Request| {
                request.host == host && request.status.is_some_and(|status| status < 400)
            };
            attempt.requests.iter().any(well)
        })
    }

    /// The value of GOPROXY of every go command that asked for something.
    pub(super) fn goproxies(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let asked: HashSet<ProcessId> = self.trace.chains.iter().map(|c| c.process).collect();
        let asking = self.trace.processes.iter().filter(move |p| asked.contains(&p.id));
        asking.filter_map(|process| process.config.get("GOPROXY")).map(|s| s.value.as_str())
    }

    /// The forward proxy that the process of a chain was told to send a request through.
    pub(super) fn forward_proxy(
        &self,
        chain: &Chain,
        request: &Request,
    ) -> Option<&ForwardProxy<'a>> {
        let forward = &self.processes.get(&chain.process)?.forward;
        if request.cause == Cause::ConnectTunnel {
            // To a host and port; go opens none for what it asks without TLS.
            return forward.of_url(&Url {
                scheme: "https",
                host: &request.url,
                path: "",
                query: None,
            });
        }
        forward.of_url(&Url::parse(&request.url)?)
    }

    /// How the forward proxy is called that a request went through: as in the settings, or else by the
    /// address that was connected to. None if nobody was.
    pub(super) fn forward_proxy_name<'b>(
        &'b self,
        chain: &Chain,
        request: &'b Request,
    ) -> Option<&'b str> {
        let address = request.remote_addr.as_deref()?;
        Some(self.forward_proxy(chain, request).map_or(address, |proxy| proxy.host))
    }

    /// Whether GOPRIVATE matches the module.
    pub(super) fn is_private(&self, chain: &Chain, module: &str) -> bool {
        let patterns = self.processes.get(&chain.process).map_or("", |process| process.private);
        !patterns.is_empty() && goproxy::matches(patterns, module)
    }

    fn is_weaker_probe(&self, chain: &Chain) -> bool {
        // A module that is there is meant itself, whatever `|` hides of it.
        let is_meant = is_serious(chain) && self.is_had(chain);
        is_query(chain.artifact)
            && chain.outcome == Outcome::NotFound
            && self.is_overshadowed(chain)
            && !is_meant
    }

    /// Whether it is a tile of the checksum database whose failure is no reason. After any failure
    /// of a part go asks for the whole tile; where that fails too, it tells of the part
    /// (`x/mod/sumdb/client.go:readTile`). A part may be gone where the tile is whole by now, and
    /// where it is not, the whole one does not exist yet.
    fn is_other_tile(&self, chain: &Chain) -> bool {
        let Some((url, is_part)) = tile(chain) else { return false };
        let absent = chain.outcome == Outcome::NotFound;
        let key = (chain.process, url);
        if is_part {
            absent || self.whole_tiles.contains(&key)
        } else {
            absent && self.broken_tiles.contains(&key)
        }
    }

    /// Whether go asked which versions there are of a module that it has, as it does to learn of
    /// retractions, and did without (`modload/modfile.go:CheckRetractions`): it says nothing of the
    /// module. `go get` and `go list` do without the search for it and the files of the newest
    /// version, too (`modget/get.go:checkPackageProblems`, `modload/build.go:addUpdate`). Of a long
    /// text the end alone is known.
    fn is_shrugged_off(&self, chain: &Chain) -> bool {
        const WHOLE: usize = 2048;
        let search = matches!(chain.artifact, Artifact::GoGet | Artifact::Vcs);
        let said = self.process(chain.process).and_then(|process| process.stderr_tail.as_deref());
        let (Some(module), Some(said)) = (chain.module.as_deref(), said) else { return false };
        let at_off = chain.attempts.last().is_some_and(|last| last.proxy == "off");
        let tells =
            |line: &str| names(line, module, search) || (at_off && goproxy::is_off_alone(line));
        self.is_learning(chain) && said.len() < WHOLE && !said.lines().any(tells)
    }

    /// Whether go asked for something of a module that it has, to learn of what it can do without.
    fn is_learning(&self, chain: &Chain) -> bool {
        let Some(module) = chain.module.as_deref() else { return false };
        let Some(process) = self.process(chain.process) else { return false };
        let first = command(&process.argv).first();
        let lax = || first.is_some_and(|first| matches!(first.as_str(), "get" | "list"));
        let search = matches!(chain.artifact, Artifact::GoGet | Artifact::Vcs);
        let learns = match chain.artifact {
            Artifact::List | Artifact::Latest => true,
            Artifact::Info | Artifact::Mod | Artifact::SumdbLookup => {
                lax() && self.is_of_another_version(chain, module)
            }
            _ => search && lax(),
        };
        learns && self.is_had(chain)
    }

    /// Whether go found out which versions there are of a chain's module, and has another one.
    fn is_of_another_version(&self, chain: &Chain, module: &str) -> bool {
        let listed = self.found.get(&(chain.process, None));
        let other =
            |it: &&Chain| is_of_had(it) && it.module == chain.module && it.version != chain.version;
        listed.is_some_and(|modules| modules.contains(module))
            && self.chains_of(chain.process).iter().any(other)
    }

    /// Whether the same was asked of a longer path, and failed for another reason than absence.
    pub(super) fn is_overshadowed(&self, chain: &Chain) -> bool {
        let (module, version) = (chain.module.as_deref(), chain.version.as_deref());
        module.is_some_and(|module| self.stronger.contains(&(chain.process, module, version)))
    }

    /// The chain whose failure explains that of this one: a search for a repository fails with the
    /// module that it was made for, and what cannot be verified with the checksum database.
    pub(super) fn subject(&self, chain: &'a Chain) -> &'a Chain {
        if culprit(chain).is_some_and(unverified) {
            return self.verification(chain).unwrap_or(chain);
        }
        if let Some(probe) = self.spoiling_probe(chain) {
            return probe;
        }
        // Go asked on for what failed after a good answer; that the next entry had none of it is
        // not why the walk failed.
        let asked_on = chain.module.as_deref().filter(|_| is_answered(chain));
        if let Some(failing) = asked_on.and_then(|m| self.failing.get(&(chain.process, m))) {
            return failing;
        }
        let module = chain.module.as_deref().filter(|_| chain.artifact == Artifact::GoGet);
        let made_for = module.and_then(|m| self.subjects.get(&(chain.process, m)).copied());
        made_for.map_or(chain, |made_for| self.subject(made_for))
    }

    /// The query for a shorter path whose failure go reports in place of the absence of this one
    /// (`modload/query.go:queryPrefixModules`).
    fn spoiling_probe(&self, chain: &Chain) -> Option<&'a Chain> {
        let absent =
            is_query(chain.artifact) && chain.outcome == Outcome::NotFound && !self.is_had(chain);
        let module = chain.module.as_deref().filter(|_| absent)?;
        let version = chain.version.as_deref();
        prefixes(module).find_map(|path| self.serious.get(&(chain.process, path, version)).copied())
    }

    /// The failure of the checksum database that kept this chain from being verified.
    fn verification(&self, chain: &Chain) -> Option<&'a Chain> {
        let module = chain.module.as_deref()?;
        let lookup = self.lookups.get(&(chain.process, module, chain.version.as_deref()));
        lookup.or_else(|| self.databases.get(&chain.process)).copied()
    }

    /// What the entry of an attempt answered when it was asked for the checksum database.
    pub(super) fn supported(&self, chain: &Chain, proxy: &str) -> Option<&'a Request> {
        self.supported.get(&(chain.process, proxy)).copied().flatten()
    }

    /// The failed search for the repository of a chain's module.
    pub(super) fn search(&self, chain: &Chain) -> Option<&'a Attempt> {
        let module = chain.module.as_deref()?;
        let found = std::iter::once(module)
            .chain(prefixes(module))
            .find_map(|path| self.searches.get(&(chain.process, path)))?;
        found.attempts.last()
    }
}

/// Of the last walk, the first attempt that failed for another reason than absence, or else the
/// last.
pub(crate) fn culprit(chain: &Chain) -> Option<&Attempt> {
    let walk = last_walk(chain);
    let serious =
        |attempt: &&Attempt| failed(attempt.outcome) && attempt.outcome != Outcome::NotFound;
    walk.iter().find(serious).or(walk.last())
}

/// The host that a connection was for. Through a forward proxy, that is who the handshake was with.
pub(super) fn meant(connection: &Connection) -> Option<&str> {
    let host = connection.host.as_deref();
    let name = connection.tls.as_ref().map(|tls| tls.server_name.as_str());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return host };
    let is_named =
        |host: &&str| unbracketed(host_name(host)).eq_ignore_ascii_case(unbracketed(name));
    // What CONNECT is for is named with its port, whichever that is.
    let same = host.filter(is_named).map(|host| host.strip_suffix(":443").unwrap_or(host));
    same.or(Some(name))
}

/// Whether go itself made a request. Its rules are not those of other programs, as git and what
/// `go test` runs.
pub(super) fn is_of_go(request: &Request) -> bool {
    request.witness != Witness::Wire
}

/// The URL of the whole tile of the checksum database, and whether a part of it was asked for
/// (`x/mod/sumdb/tlog/tile.go:Tile.Path`: `…/123.p/45`).
fn tile(chain: &Chain) -> Option<(&str, bool)> {
    let mut requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    let first = requests.next().filter(|_| chain.artifact == Artifact::SumdbTile);
    let url = first?.url.as_str();
    let part = url.rsplit_once(".p/");
    let part = part.filter(|(_, width)| width.bytes().all(|byte| byte.is_ascii_digit()));
    Some(part.map_or((url, false), |(whole, _)| (whole, true)))
}

/// Whether go has got what a chain is about, and that is of a version.
fn is_of_had(chain: &Chain) -> bool {
    matches!(chain.artifact, Artifact::Info | Artifact::Mod | Artifact::Zip)
        && matches!(chain.outcome, Outcome::Ok | Outcome::Cached)
}

pub(super) fn is_query(artifact: Artifact) -> bool {
    matches!(artifact, Artifact::List | Artifact::Latest | Artifact::Info)
}

/// Proper prefixes of a path, longest first.
pub(super) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at])
}

/// Whether it is a query that an entry answered well before another had none of it, or was not
/// asked.
fn is_answered(chain: &Chain) -> bool {
    is_query(chain.artifact)
        && chain.attempts.iter().any(|attempt| attempt.outcome == Outcome::Ok)
        && chain.attempts.last().is_some_and(|last| {
            last.outcome == Outcome::NotFound || failed(last.outcome) && last.requests.is_empty()
        })
}

/// Whether a chain failed for another reason than absence, be it behind `|`.
fn is_serious(chain: &Chain) -> bool {
    culprit(chain).is_none_or(|culprit| culprit.outcome != Outcome::NotFound)
}

fn ended_in_failure(chain: &Chain) -> bool {
    let ended = |last: &Attempt| last.next == Some(Next::Stop) && failed(last.outcome);
    // What go had kept may be contradicted, too, or no good.
    chain.contradicted_by.is_some()
        || chain.attempts.last().map_or_else(|| failed(chain.outcome), ended)
}

/// The modules of which go said that their `go.mod` is none.
fn nameless(process: &Process) -> impl Iterator<Item = (ProcessId, &str)> {
    let lines = process.stderr_tail.as_deref().unwrap_or_default().lines();
    let before = lines.filter_map(|line| line.split_once(NAMELESS)).map(|(before, _)| before);
    before.filter_map(|before| Some((process.id, before.rsplit([' ', '\t']).next()?)))
}

/// Whether a process ended well, or went on as another image.
fn succeeded(process: &Process, went_on: bool) -> bool {
    process.exit_code == Some(0)
        || (process.ended_ns.is_some()
            && process.exit_code.is_none()
            && process.signal.is_none()
            && went_on)
}
