//! What came well, and then is of no use: it cannot be read, is not what the checksum database or
//! `go.sum` has, or was not verified.

use crate::event::Failure;
use crate::model::{
    Artifact, Attempt, Cause, Chain, Contradiction, Next, Outcome, ProcessId, RequestError,
};

use super::super::cache;
use super::super::failure::{self, BadTile};
use super::{At, Chains, Key, Tracked};

impl Chains {
    /// What came for `module` at `version` (which ends in `/go.mod` if it is that file alone) was
    /// not verified.
    pub(in super::super) fn unverified(
        &mut self,
        process: ProcessId,
        (module, version): (&str, &str),
        error: &Failure,
        time: u64,
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
        if why == Outcome::BadContent {
            self.bad_sums(&key(Artifact::SumdbLookup), error, time);
        }
    }

    /// What `lookup` asked the checksum database for is no good, or a tile that it needs; or what go
    /// has kept of them, which nobody has sent.
    fn bad_sums(&mut self, lookup: &Key<'_>, error: &Failure, time: u64) {
        let Some(bad) = failure::bad_tile(error) else {
            match self.good(lookup) {
                Some(at) => self.spoil(at, Outcome::BadContent, Some(error)),
                // It was kept before it was looked at, and what is asked anew may be the same.
                None if failure::is_of_another(error) => {}
                None => _ = self.of(lookup, Outcome::BadContent, time),
            }
            return;
        };
        // go keeps tiles, and all that it verifies fails for one that is bad.
        let is_known = self.has_bad_tile(lookup.process);
        if is_known && bad == BadTile::Unnamed {
            return;
        }
        match self.good_tile(lookup.process, bad) {
            Some(at) => self.spoil(at, Outcome::BadContent, Some(error)),
            None if is_known => {}
            None => {
                let (artifact, module, version) = (Artifact::SumdbTile, None, None);
                let key = Key { artifact, module, version, place: bad.path(), ..*lookup };
                self.of(&key, Outcome::BadContent, time);
            }
        }
    }

    fn has_bad_tile(&self, process: ProcessId) -> bool {
        let is_bad = |chain: &Chain| {
            chain.process == process
                && chain.artifact == Artifact::SumdbTile
                && chain.attempts.last().map_or(chain.outcome, |last| last.outcome)
                    == Outcome::BadContent
        };
        self.all.iter().any(|tracked| is_bad(&tracked.chain))
    }

    /// The last tile of the checksum database that came well and may be this one: with its path, or
    /// the whole one that came in its place.
    fn good_tile(&self, process: ProcessId, tile: BadTile<'_>) -> Option<At> {
        let path = tile.path().unwrap_or_default();
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
        time: u64,
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
            // What nobody was asked for go had kept.
            self.of(&wrong, Outcome::Cached, time);
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
