//! What came well, and then is of no use: it cannot be read, is not what the checksum database or
//! `go.sum` has, or was not verified.

use crate::event::Failure;
use crate::model::{
    Artifact, Attempt, Cause, Chain, Contradiction, Next, Outcome, ProcessId, RequestError,
};

use super::super::{cache, failure};
use super::{At, Chains, Key, Tracked};

impl Chains {
    /// What came for `module` at `version` (which ends in `/go.mod` if it is that file alone) was
    /// not verified.
    pub(in super::super) fn unverified(
        &mut self,
        process: ProcessId,
        (module, version): (&str, &str),
        error: &Failure,
    ) {
        let error = &failure::without_answer(error);
        let why = failure::of_verification(error);
        let (artifact, module, version) = cache::of_sum(module, version);
        let key = |artifact| Key::of(process, artifact, &module, &version);
        if let Some(at) = self.good(&key(artifact)) {
            if why == Outcome::Checksum {
                self.spoil(at, why, Some(error));
            } else {
                self.set_outcome(at, Outcome::Checksum);
            }
            // go verifies a zip after its walk, which had ended well.
            if self.all[at.chain].notes[at.attempt].settled {
                self.attempt_mut(at).next = Some(Next::Stop);
            }
        }
        if why != Outcome::BadContent {
            return;
        }
        let culprit = match failure::bad_tile(error) {
            Some(path) => self.good_tile(process, path),
            None => self.good(&key(Artifact::SumdbLookup)),
        };
        if let Some(at) = culprit {
            self.spoil(at, why, Some(error));
        }
    }

    /// The last tile of the checksum database that came well: the one with this path, or the whole
    /// one that came in its place. What go had from its cache nobody has sent. Where no path is said
    /// and one is bad already, that is why: go keeps tiles, and all that it verifies fails for it.
    fn good_tile(&self, process: ProcessId, path: &str) -> Option<At> {
        let is_bad = |tracked: &Tracked| {
            let Chain { artifact, attempts, .. } = &tracked.chain;
            tracked.chain.process == process
                && *artifact == Artifact::SumdbTile
                && attempts.last().is_some_and(|last| last.outcome == Outcome::BadContent)
        };
        if path.is_empty() && self.all.iter().any(is_bad) {
            return None;
        }
        let whole = path.split_once(".p/").map_or(path, |(whole, _)| whole);
        let chain = self.all.iter().rposition(|tracked| {
            let Tracked { chain, place, .. } = tracked;
            let is_it = |place: &str| place.ends_with(path) || place.ends_with(whole);
            chain.process == process
                && chain.artifact == Artifact::SumdbTile
                && place.as_deref().is_some_and(is_it)
                && chain.attempts.last().is_some_and(|last| last.outcome == Outcome::Ok)
        })?;
        let attempt = self.all[chain].chain.attempts.len().checked_sub(1)?;
        Some(At { chain, attempt })
    }

    /// What came well is of no use, whatever its walk makes of that.
    pub(in super::super) fn useless(&mut self, at: At, error: &Failure) {
        let outcome = failure::outcome(error);
        if outcome == Outcome::BadContent && self.attempt(at).outcome == Outcome::Ok {
            self.spoil(at, outcome, Some(error));
        }
    }

    /// A zip that came well cannot be used: go stops there, whatever its walk would do.
    pub(in super::super) fn unusable(&mut self, at: At, error: &Failure) {
        let outcome = failure::outcome(error);
        if outcome == Outcome::BadContent && self.attempt(at).outcome == Outcome::Ok {
            self.spoil(at, outcome, Some(error));
            self.end(at);
        }
    }

    /// What go has for `module` at `version`, from wherever, is contradicted, for which go ends at
    /// once. Where the checksum database contradicts itself, what came is merely not verified.
    pub(in super::super) fn contradict(
        &mut self,
        process: ProcessId,
        (module, version): (&str, &str),
        by: Contradiction,
    ) {
        let (artifact, module, version) = cache::of_sum(module, version);
        let key = |artifact| Key::of(process, artifact, &module, &version);
        let mut wrong = key(artifact);
        if by == Contradiction::SumdbBefore {
            if let Some(at) = self.good(&wrong) {
                self.set_outcome(at, Outcome::Checksum);
                self.end(at);
            }
            wrong = key(Artifact::SumdbLookup);
        }
        let Some(chain) = self.find(&wrong) else { return };
        let refused = |attempt: &Attempt| attempt.outcome == Outcome::Checksum;
        // What the checksum database has refused is what go compares, whoever else was asked then.
        if !self.all[chain].chain.attempts.iter().any(refused) {
            if let Some(at) = self.good(&wrong) {
                self.spoil(at, Outcome::Checksum, None);
                self.end(at);
            } else if self.all[chain].chain.outcome != Outcome::Cached {
                return;
            }
        }
        let chain = &mut self.all[chain].chain;
        (chain.outcome, chain.contradicted_by) = (Outcome::Checksum, Some(by));
    }

    fn find(&self, key: &Key<'_>) -> Option<usize> {
        self.index.find(key, |chain| self.all[chain].key())
    }

    /// The last attempt of a chain, if it succeeded.
    fn good(&self, key: &Key<'_>) -> Option<At> {
        let chain = self.find(key)?;
        let attempt = self.all[chain].chain.attempts.len().checked_sub(1)?;
        let at = At { chain, attempt };
        (self.attempt(at).outcome == Outcome::Ok).then_some(at)
    }

    /// go ends at this attempt, whatever its walk would do.
    fn end(&mut self, at: At) {
        self.attempt_mut(at).next = Some(Next::Stop);
        self.all[at.chain].notes[at.attempt].settled = true;
    }

    /// A good answer turned out to be none when it was read.
    pub(in super::super) fn spoil(&mut self, at: At, outcome: Outcome, error: Option<&Failure>) {
        let attempt = self.attempt_mut(at);
        attempt.outcome = outcome;
        let mut requests = attempt.requests.iter_mut().rev();
        // Not what opened a tunnel.
        let asked = requests.find(|request| request.cause != Cause::ConnectTunnel);
        if let Some(request) = asked.filter(|request| request.outcome == Outcome::Ok) {
            request.outcome = outcome;
            request.error = error.map(|e| RequestError { kind: outcome, ..failure::error(e) });
        }
    }
}
