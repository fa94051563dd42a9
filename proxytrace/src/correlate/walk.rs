//! One walk through the GOPROXY list: the entry that it is at, and what is asked of it.

use std::sync::Arc;

use crate::event::Failure;
use crate::model::{Artifact, Attempt, Next, Outcome, Separator};

use super::chains::{At, By};
use super::context::Context;
use super::failure;
use super::story;
use super::target::Lookup;
use crate::gomod::TOOLCHAIN;
use crate::goproxy::{List, asks_repositories, is_keyword, same_entry};

/// One run of `TryProxies`.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) lookup: Option<Arc<Lookup>>,
    /// Whether its own goroutine has looked something up in it, or fetched something.
    pub(super) asks: bool,
    /// Whether several modules were looked up in it.
    several: bool,
    /// The entry it is at, and where that stands in the list.
    entry: Option<String>,
    index: Option<usize>,
    /// Attempts made at this entry.
    pub(super) here: Vec<At>,
    /// Chains that this walk goes on with, from the entries before.
    carried: Vec<usize>,
    /// Entries before the first request of the walk that answered without one: `file://`, or what
    /// go remembers.
    silent: Vec<(String, Option<usize>)>,
    /// Attempts made at `noproxy`, which the walk has left.
    left: Vec<At>,
    /// The private module with the longest path of those that were looked up there.
    private: Option<Arc<Lookup>>,
}

/// How a walk leaves an entry.
pub(super) enum Leave<'a> {
    For(Next),
    Succeeded,
    Failed(&'a Failure),
}

impl Walk {
    /// go looks a module up at an entry.
    pub(super) fn look_up(&mut self, lookup: Arc<Lookup>, time: u64, context: &mut Context<'_>) {
        let (proxy, module) = (lookup.entry.proxy.as_str(), lookup.module.as_str());
        if self.is_tried_again(proxy, module, context) {
            self.go_to(proxy, Some(module), time, context);
        } else {
            self.enter(proxy, Some(module), time, context);
        }
        let other = |last: &Arc<Lookup>| is_other(&last.module, module);
        self.several |= self.lookup.as_ref().is_some_and(other);
        let longer = |known: &Arc<Lookup>| known.module.len() < module.len();
        if proxy == "noproxy"
            && self.private.as_ref().is_none_or(longer)
            && context.list.passes_by(module)
        {
            self.private = Some(Arc::clone(&lookup));
        }
        self.lookup = Some(lookup);
    }

    /// The walk is at `proxy`: it may have been before.
    pub(super) fn enter(
        &mut self,
        proxy: &str,
        module: Option<&str>,
        time: u64,
        context: &mut Context<'_>,
    ) {
        if self.entry.as_deref() != Some(proxy) {
            self.go_to(proxy, module, time, context);
        }
    }

    /// Whether the list has the present entry once more, and the walk gets there. `TryProxies` calls
    /// its function once for each, which looks a module up before it asks for something of it.
    fn is_tried_again(&self, proxy: &str, module: &str, context: &Context<'_>) -> bool {
        let next = self.index.and_then(|index| context.list.entries.get(index + 1));
        let twice = self.entry.as_deref() == Some(proxy)
            && next.is_some_and(|next| same_entry(&next.proxy, proxy));
        let of_module = |at: &&At| context.chains.module(at.chain) == Some(module);
        let asked = self.here.iter().rev().find(of_module).filter(|_| twice);
        asked.is_some_and(|&at| {
            let attempt = context.chains.attempt(at);
            story::failed(attempt.outcome) && !story::must_stop(attempt, context.list)
        })
    }

    /// The walk comes to its next entry.
    fn go_to(&mut self, proxy: &str, module: Option<&str>, time: u64, context: &mut Context<'_>) {
        if self.entry.is_some() {
            let next = if proxy == "direct" { Next::Direct } else { Next::NextEntry };
            self.leave(&Leave::For(next), time, context);
            if self.entry.as_deref() == Some("noproxy") {
                self.left.extend(&self.here);
            }
            self.carry(context);
        }
        let from = self.index.map_or(0, |index| index + 1);
        let position = |from| context.list.position(proxy, from);
        self.index = position(from).or_else(|| position(0));
        self.entry = Some(proxy.to_owned());
        // `noproxy` is for private modules alone: the others pass it.
        let private = || module.is_some_and(|module| context.list.passes_by(module));
        if is_keyword(proxy) && (proxy != "noproxy" || private()) {
            self.try_carried(context);
        }
    }

    /// The attempt of `chain` at the present entry.
    pub(super) fn attempt(&mut self, chain: usize, context: &mut Context<'_>) -> At {
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
    pub(super) fn leave(&mut self, leave: &Leave<'_>, time: u64, context: &mut Context<'_>) {
        let Some(proxy) = self.entry.as_deref() else { return };
        if self.here.is_empty() && !is_keyword(proxy) && !self.is_passed(context.list) {
            if self.carried.is_empty() {
                self.silent.push((proxy.to_owned(), self.index));
            }
            self.try_carried(context);
        }
        self.spoil_last(leave, context);
        let beside = self.outcome_beside(context);
        if let Leave::Failed(error) = leave {
            spoil_page(&self.here, error, context);
        }
        let proxy = self.entry.as_deref().unwrap_or_default();
        for &at in &self.here {
            let attempt = context.chains.attempt(at);
            if attempt.requests.is_empty() && attempt.outcome == Outcome::Unfinished {
                let several = self.is_of_several(at, context);
                let told_of = |error| several && self.is_of_another(error, at, context);
                let outcome = match leave {
                    Leave::Failed(error) if told_of(error) => Outcome::Unknown,
                    // Which of them it had, go does not say.
                    Leave::Succeeded if several && !is_had(at, context) => Outcome::Unknown,
                    _ => unasked(leave, proxy, beside, (at, several), context),
                };
                context.chains.set_outcome(at, outcome);
            } else if attempt.outcome == Outcome::Unfinished
                && !matches!(leave, Leave::Succeeded)
                && attempt.requests.last().is_some_and(|last| last.duration_ns.is_some())
            {
                // It may have led on, and did not: what it said of that was not seen.
                context.chains.set_outcome(at, Outcome::Unknown);
            }
            let supported = context.chains.artifact(at.chain) == Artifact::SumdbSupported;
            let next = match leave {
                _ if self.led_on(at, context) => None,
                Leave::For(next) => Some(*next),
                Leave::Succeeded => None,
                // `sumdb.go:initBase`: no proxy has the database, so go asks it directly.
                Leave::Failed(error) if supported && failure::is_absence(error) => {
                    Some(Next::Direct)
                }
                Leave::Failed(error) if self.did_without(error, at, context) => None,
                Leave::Failed(_) => Some(Next::Stop),
            };
            context.chains.settle(at, next, time);
        }
        if let Leave::Failed(error) = leave
            && self.is_of_noproxy(error)
        {
            self.settle_left(error, time, context);
        }
    }

    /// What was asked for at `noproxy`, and of nobody since. Whatever else is in the list, go tells
    /// of what failed there (`modfetch/proxy.go:TryProxies`: `directRank`).
    fn settle_left(&self, error: &Failure, time: u64, context: &mut Context<'_>) {
        let ended =
            |at: &&At| context.chains.is_last(**at) && context.chains.attempt(**at).next.is_some();
        let left: Vec<At> = self.left.iter().filter(ended).copied().collect();
        spoil_page(&left, error, context);
        for at in left {
            let of_repository = context.chains.artifact(at.chain) == Artifact::Vcs
                && context.chains.attempt(at).outcome == Outcome::Ok;
            if of_repository && failure::outcome(error) == Outcome::NotFound {
                context.chains.spoil(at, Outcome::NotFound, Some(error));
            }
            context.chains.settle(at, Some(Next::Stop), time);
        }
    }

    /// Whether a walk that asked something at `noproxy` failed with what that lacked: nothing but
    /// absence leads on from there, and `direct` alone has a better word after it. What could not
    /// be reached is absent as well, in whatever words (`modfetch/repo.go:lookupDirect`).
    fn is_of_noproxy(&self, error: &Failure) -> bool {
        let is_past = !self.entry.as_deref().is_some_and(asks_repositories);
        is_past || failure::is_absence(error)
    }

    /// Whether go asks no proxy about the module that was looked up.
    fn is_passed(&self, list: &List) -> bool {
        self.lookup.as_ref().is_some_and(|lookup| list.passes_by(&lookup.module))
    }

    /// Whether a query failed for something else than this: for what is in a module that it found, or
    /// for what was fetched of one in a walk of its own. go reports an absence only where nothing else
    /// is wrong, and of several that of the longest path (`modload/query.go:queryPrefixModules`).
    /// That of `noproxy` it reports whatever is wrong at a proxy.
    fn did_without(&self, error: &Failure, at: At, context: &Context<'_>) -> bool {
        let outcome = context.chains.attempt(at).outcome;
        let absent = outcome == Outcome::NotFound;
        let of_found = absent
            && !failure::is_absence(error)
            && self.is_of_several(at, context)
            && !self.failed_otherwise(context)
            && !self.is_of_entry_before(error, context);
        let failed = story::failed(outcome);
        let of_longer =
            failed && self.is_of_noproxy(error) && self.is_shorter_than_private(at, context);
        of_found || of_longer || (failed && failure::is_of_query(error))
    }

    /// Whether it is about a prefix of a private module, of which `noproxy` had nothing: one that is
    /// not private itself, and was not asked for there for the sake of that module.
    fn is_shorter_than_private(&self, at: At, context: &Context<'_>) -> bool {
        let (Some(private), Some(module)) = (&self.private, context.chains.module(at.chain)) else {
            return false;
        };
        let rest = private.module.strip_prefix(module);
        rest.is_some_and(|rest| rest.starts_with('/'))
            && !context.list.passes_by(module)
            && self.left.iter().all(|left| left.chain != at.chain)
    }

    /// Whether something was asked for here that failed for another reason than absence: it may be
    /// what the query failed for, and then that is the reason of all.
    fn failed_otherwise(&self, context: &Context<'_>) -> bool {
        self.here.iter().any(|&at| {
            let outcome = context.chains.attempt(at).outcome;
            let wanted = !is_search(context.chains.artifact(at.chain));
            wanted && story::failed(outcome) && outcome != Outcome::NotFound
        })
    }

    /// Whether a walk failed with what was wrong at an entry before, that `|` let it go on from: of
    /// absence it tells only where nothing else is wrong (`modfetch/proxy.go:TryProxies`).
    fn is_of_entry_before(&self, error: &Failure, context: &Context<'_>) -> bool {
        let said = failure::outcome(error);
        let is_it = |attempt: &Attempt| {
            let is_failed = story::failed(attempt.outcome);
            is_failed && attempt.outcome != Outcome::NotFound && is_said(attempt, said)
        };
        // What was found here may have failed for what was asked for next.
        let absent = |at: &At| {
            is_search(context.chains.artifact(at.chain))
                || context.chains.attempt(*at).outcome == Outcome::NotFound
        };
        let walk = |at: At| context.chains.before(at).iter().rev();
        let goes_on = |attempt: &&Attempt| attempt.next == Some(Next::NextEntry);
        self.here.iter().all(absent)
            && self.here.iter().any(|&at| walk(at).take_while(goes_on).any(is_it))
    }

    /// Whether several modules were wanted at the same time. What go remembers of one, it looks up
    /// and asks nobody for. Of searches for a repository that is no sign: go looks up each path.
    fn is_of_several(&self, at: At, context: &Context<'_>) -> bool {
        if self.several && !is_search(context.chains.artifact(at.chain)) {
            return true;
        }
        let wanted = self.here.iter().filter(|at| !is_search(context.chains.artifact(at.chain)));
        let mut modules = wanted.map(|at| context.chains.module(at.chain));
        modules.next().is_some_and(|first| modules.any(|other| other != first))
    }

    /// Whether what a walk failed with came of a request for another module than this.
    fn is_of_another(&self, error: &Failure, at: At, context: &Context<'_>) -> bool {
        let outcome = failure::outcome(error);
        let came_of = |other: &At| {
            let attempt = context.chains.attempt(*other);
            other.chain != at.chain && is_said(attempt, outcome) && !attempt.requests.is_empty()
        };
        outcome != Outcome::NotFound && self.here.iter().any(came_of)
    }

    /// A walk that failed after a good answer failed for what was in it, where its error says so; or
    /// for what is not in a repository that was there. Where several modules were asked for at the
    /// same time, the error may be of any of them, or of what was fetched of one in a walk of its own;
    /// and a request that was not answered is none of the good answer.
    fn spoil_last(&self, leave: &Leave<'_>, context: &mut Context<'_>) {
        let (Leave::Failed(error), Some(&last)) = (leave, self.here.last()) else { return };
        if self.is_of_several(last, context) || failure::is_of_send(error) {
            return;
        }
        let outcome = failure::outcome(error);
        let fits = match context.chains.artifact(last.chain) {
            Artifact::Vcs => outcome == Outcome::NotFound || is_of_contents(outcome),
            // What it led to is what failed; or else the error names it (`spoil_page`).
            Artifact::GoGet => false,
            _ => is_of_contents(outcome),
        };
        if fits && context.chains.attempt(last).outcome == Outcome::Ok {
            context.chains.spoil(last, outcome, Some(error));
        }
    }

    /// How the search for a repository failed, if it did.
    fn outcome_beside(&self, context: &Context<'_>) -> Option<Outcome> {
        let search = self.here.iter().rev().filter(|at| {
            is_search(context.chains.artifact(at.chain)) && !self.led_on(**at, context)
        });
        search.map(|&at| context.chains.attempt(at).outcome).find(|&outcome| story::failed(outcome))
    }

    /// Whether a page led to somebody who failed. One that came with an error may have led to a
    /// repository all the same, or another page did: go reads it whatever its status, and goes by
    /// that only where there is nothing in it (`vcs.go:repoRootForImportDynamic`,
    /// `metaImportsForPrefix`).
    fn led_on(&self, at: At, context: &Context<'_>) -> bool {
        let artifact = |at: &At| context.chains.artifact(at.chain);
        let outcome = |at: &At| context.chains.attempt(*at).outcome;
        let led_to = |it: &At| match outcome(&at) {
            Outcome::Ok => artifact(it) != Artifact::GoGet && story::failed(outcome(it)),
            Outcome::NotFound | Outcome::HttpError => artifact(it) == Artifact::Vcs,
            _ => false,
        };
        artifact(&at) == Artifact::GoGet && self.here.iter().any(led_to)
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

/// The page that a failed search was for, where it came well: nothing in it leads to a repository.
/// Where more than the page was asked for of its module, that is what failed.
fn spoil_page(asked: &[At], error: &Failure, context: &mut Context<'_>) {
    let Some(path) = failure::path_of_page(error) else { return };
    let mut of_module =
        asked.iter().filter(|at| context.chains.module(at.chain) == Some(path)).copied();
    let (Some(at), None) = (of_module.next(), of_module.next()) else { return };
    let is_page = context.chains.artifact(at.chain) == Artifact::GoGet;
    if is_page && context.chains.attempt(at).outcome == Outcome::Ok {
        context.chains.spoil(at, Outcome::BadContent, Some(error));
    }
}

/// What go makes one module of (`modfetch/repo.go:lookup`).
const TOOLCHAINS: [&str; 3] = ["go", "toolchain", TOOLCHAIN];

/// Whether these are two modules.
fn is_other(one: &str, other: &str) -> bool {
    one != other && ![one, other].iter().all(|module| TOOLCHAINS.contains(module))
}

/// Whether it is what came that was wrong, or that not all of it came.
fn is_of_contents(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::BadContent | Outcome::Checksum | Outcome::Truncated | Outcome::Reset)
}

/// Whether go asked for the sake of finding a repository.
fn is_search(artifact: Artifact) -> bool {
    matches!(artifact, Artifact::GoGet | Artifact::Vcs)
}

/// Whether go has something of what an attempt is about; or it is the search for a repository, which
/// there was.
fn is_had(at: At, context: &Context<'_>) -> bool {
    let module = context.chains.module(at.chain);
    is_search(context.chains.artifact(at.chain))
        || module.is_some_and(|module| context.chains.has_unseen(context.process, module))
}

/// Whether an attempt came to what an error says. It has the status of whatever answer there was, and
/// of a tunnel what the forward proxy said, in whatever words, or how the connection ended.
fn is_said(attempt: &Attempt, said: Outcome) -> bool {
    match attempt.outcome {
        Outcome::RedirectInvalid => {
            matches!(said, Outcome::RedirectInvalid | Outcome::RedirectRefused | Outcome::HttpError)
        }
        Outcome::Reset => matches!(said, Outcome::Reset | Outcome::Truncated),
        Outcome::ProxyRefused => matches!(
            said,
            Outcome::ProxyRefused
                | Outcome::HttpError
                | Outcome::Unknown
                | Outcome::Reset
                | Outcome::Truncated
                | Outcome::BadContent
                | Outcome::Canceled
        ),
        outcome => outcome == said,
    }
}

/// The outcome of an attempt without requests.
fn unasked(
    leave: &Leave<'_>,
    proxy: &str,
    beside: Option<Outcome>,
    (at, several): (At, bool),
    context: &Context<'_>,
) -> Outcome {
    match leave {
        Leave::Succeeded if is_keyword(proxy) || proxy.starts_with("file:") => Outcome::Ok,
        Leave::Succeeded => Outcome::Cached,
        _ if proxy == "off" => Outcome::NotFound,
        Leave::For(_) => beside.unwrap_or_else(|| skipped(context, at)),
        Leave::Failed(error) => {
            beside.unwrap_or_else(|| reported(error, proxy, (at, several), context))
        }
    }
}

/// What the last entry came to without a request, where the walk failed with `error`. That is what
/// `direct` says, or else the last that is no absence (`modfetch/proxy.go:TryProxies`): it may be
/// of an entry before, or of another module.
fn reported(
    error: &Failure,
    proxy: &str,
    (at, several): (At, bool),
    context: &Context<'_>,
) -> Outcome {
    let outcome = failure::outcome(error);
    if is_keyword(proxy) || outcome == Outcome::NotFound {
        // Where go remembers the search, it is what that came to.
        let search = context.chains.search(context.process, at.chain);
        return match search {
            Some(search) if is_said(search, outcome) => search.outcome,
            // A page that named somebody is not what is wrong, and of another it may be told.
            Some(search)
                if several && search.outcome == Outcome::Ok && outcome != Outcome::NotFound =>
            {
                Outcome::Unknown
            }
            _ => outcome,
        };
    }
    let before = context.chains.before(at);
    let remembered = |it: &&Attempt| same_entry(&it.proxy, proxy) && story::failed(it.outcome);
    if let Some(same) = before.iter().rfind(remembered) {
        return same.outcome;
    }
    let of_before = before.iter().any(|it| it.outcome == outcome);
    // What a file may come to as well is that of the entry before, if that came to it: the file had
    // none of it.
    let of_host = match outcome {
        Outcome::Unknown => false,
        Outcome::BadContent | Outcome::Checksum => of_before,
        _ => true,
    };
    if proxy.starts_with("file:") && of_host && !failure::is_of_file(error) {
        return Outcome::NotFound;
    }
    if several || of_before { Outcome::Unknown } else { outcome }
}

/// The outcome of an entry that was left without a request: only `|` leaves it open.
fn skipped(context: &Context<'_>, at: At) -> Outcome {
    match context.chains.attempt(at).separator {
        Some(Separator::Pipe) => Outcome::Unknown,
        _ => Outcome::NotFound,
    }
}
