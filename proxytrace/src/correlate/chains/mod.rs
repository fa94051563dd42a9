//! Chains, attempts and requests as they grow.

mod index;
mod requests;
mod verify;

use std::net::SocketAddr;

use foldhash::HashMap;

use crate::model::{Artifact, Attempt, Chain, Next, Outcome, ProcessId};

use self::index::{Index, Key};
pub(super) use self::requests::{BodyEnd, Ending, Opening, RequestAt, tunneled_host};
use super::cache::Had;
use super::process::{Image, Processes, id};
use super::story;
use super::target::Target;
use crate::goproxy::List;

/// An attempt: chain and place in it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct At {
    pub(super) chain: usize,
    pub(super) attempt: usize,
}

/// All chains of a trace, in the order of their first requests.
#[derive(Debug, Default)]
pub(super) struct Chains {
    all: Vec<Tracked>,
    index: Index,
    /// The modules that go may have got something of without a request, and whether it has something.
    unseen: HashMap<ProcessId, HashMap<String, bool>>,
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
    /// What the last program came to that go ran for it.
    tool: Option<Outcome>,
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
    /// A question whose answer nothing waits for.
    Aside,
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
        let unseen = self.unseen.get_mut(&process);
        if let Some(has) = unseen.and_then(|modules| modules.get_mut(&**module)) {
            *has = true;
        } else {
            let key = Key::of(process, *artifact, module, version);
            self.of(&key, Outcome::Cached, time);
        }
    }

    /// go may get something of a module without a request: from a repository, or from files.
    pub(super) fn leave_http(&mut self, process: ProcessId, module: &str) {
        self.unseen.entry(process).or_default().entry(module.to_owned()).or_default();
    }

    /// Whether go has something of a module that it may have got without a request.
    pub(super) fn has_unseen(&self, process: ProcessId, module: &str) -> bool {
        self.unseen.get(&process).is_some_and(|modules| modules.get(module) == Some(&true))
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

    pub(super) fn module(&self, chain: usize) -> Option<&str> {
        self.all[chain].chain.module.as_deref()
    }

    pub(super) fn attempt(&self, at: At) -> &Attempt {
        &self.all[at.chain].chain.attempts[at.attempt]
    }

    /// The attempts of the same chain before this one.
    pub(super) fn before(&self, at: At) -> &[Attempt] {
        &self.all[at.chain].chain.attempts[..at.attempt]
    }

    /// How the last search for the repository of a chain's module ended, or else of the longest path
    /// that it begins with.
    pub(super) fn search(&self, process: ProcessId, chain: usize) -> Option<&Attempt> {
        let module = self.module(chain)?;
        let is_its = |other: &&Tracked| {
            let rest = other.chain.module.as_deref().and_then(|path| module.strip_prefix(path));
            other.chain.artifact == Artifact::GoGet
                && other.chain.process == process
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = |other: &&Tracked| other.chain.module.as_deref().map_or(0, str::len);
        self.all.iter().filter(is_its).max_by_key(longest)?.chain.attempts.last()
    }

    /// Whether an attempt is the last of its chain.
    pub(super) fn is_last(&self, at: At) -> bool {
        at.attempt + 1 == self.all[at.chain].chain.attempts.len()
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
        tracked.notes.push(Note { by, settled: false, tool: None });
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

    /// A program that go ran for a chain has ended.
    pub(super) fn command(&mut self, at: At, process: ProcessId) {
        let tracked = &mut self.all[at.chain];
        tracked.changed = true;
        let commands = &mut tracked.chain.commands;
        if !commands.contains(&process) {
            commands.push(process);
        }
    }

    /// What it came to.
    pub(super) fn command_came_to(&mut self, at: At, outcome: Outcome) {
        self.all[at.chain].notes[at.attempt].tool = Some(outcome);
        self.set_outcome(at, outcome);
    }

    /// Chains whose walks have ended since the last time, as far as they are known.
    pub(super) fn take_ended(&mut self, processes: &Processes) -> Vec<Chain> {
        std::mem::take(&mut self.ended)
            .into_iter()
            .filter_map(|chain| {
                let tracked = &mut self.all[chain];
                std::mem::take(&mut tracked.changed)
                    .then(|| tracked.clone().finish(processes, true))
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
        chains.map(|tracked| tracked.finish(processes, complete)).collect()
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

    /// Ends the chain. Where not all may have been seen (`complete` is false), that may be how a walk
    /// ended.
    fn finish(mut self, processes: &Processes, complete: bool) -> Chain {
        let Image { process, list, .. } = processes.get(self.chain.process);
        // Who was killed may have had walks open.
        self.settle_rest(list, !complete && process.exit_code.is_some());
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
            if note.by == By::Walk && is_untold(attempt) && story::walks_the_list(chain.artifact) {
                attempt.reason = format!(
                    "{} has some of the modules that go tried at once; whether this one is not known",
                    attempt.proxy
                );
            }
            let is_open = match note.by {
                By::SomeWalk => true,
                By::Walk => !note.settled,
                By::Itself | By::Aside => false,
            };
            if is_open && attempt.next.is_none() && story::failed(attempt.outcome) {
                attempt.reason =
                    format!("{}; what became of it is not known", story::answer(attempt));
            }
        }
        if let Some(last) = chain.attempts.last()
            && chain.contradicted_by.is_none()
        {
            chain.outcome = last.outcome;
        }
        let mut requests = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
        let open = requests.any(|request| request.duration_ns.is_none());
        chain.duration_ns = (!open).then(|| ended.saturating_sub(chain.started_ns));
        chain
    }

    /// What no walk said: attempts that no walk made, or whose walk was not seen to end. Where an
    /// event may have been lost, it ended by go's rule; or else go ended within it, and what failed
    /// may be a probe that it would have done without.
    fn settle_rest(&mut self, list: &List, may_miss: bool) {
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
                By::Walk => may_miss && story::must_stop(attempt, list),
                By::Itself => true,
                // It may be that of a probe, whose failure ends nothing.
                By::SomeWalk | By::Aside => false,
            };
            let stop = (stopped && story::failed(attempt.outcome)).then_some(Next::Stop);
            attempts[place].next = moved.or(stop);
        }
    }
}

/// Whether a walk ended well at an attempt that was not seen, and of which nothing is known.
fn is_untold(attempt: &Attempt) -> bool {
    attempt.outcome == Outcome::Unknown && attempt.next.is_none() && attempt.requests.is_empty()
}
