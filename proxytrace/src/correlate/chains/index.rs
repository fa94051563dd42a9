//! Where a chain is, by what it is about.
//!
//! The names are those in the chains themselves: nothing is copied, be it to look for a chain or to
//! keep it.

use std::hash::{BuildHasher as _, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::model::{Artifact, ProcessId};

/// What a chain is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key<'a> {
    pub(super) process: ProcessId,
    pub(super) artifact: Artifact,
    pub(super) module: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) place: Option<&'a str>,
}

impl<'a> Key<'a> {
    pub(super) fn of(
        process: ProcessId,
        artifact: Artifact,
        module: &'a str,
        version: &'a str,
    ) -> Self {
        Self { process, artifact, module: Some(module), version: Some(version), place: None }
    }
}

/// In as few steps as tell keys apart: this is asked for each request, and more often.
impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.process) << u8::BITS | self.artifact as u64);
        for name in [self.module, self.version, self.place].into_iter().flatten() {
            state.write(name.as_bytes());
        }
    }
}

/// Places of chains; whose keys they are, the callers say.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashTable<usize>,
    state: RandomState,
}

impl Index {
    pub(super) fn find<'a>(
        &self,
        key: &Key<'_>,
        key_of: impl Fn(usize) -> Key<'a>,
    ) -> Option<usize> {
        self.places.find(self.state.hash_one(key), |&place| key_of(place) == *key).copied()
    }

    /// Adds a chain that is not there.
    pub(super) fn insert<'a>(
        &mut self,
        place: usize,
        key: &Key<'_>,
        key_of: impl Fn(usize) -> Key<'a>,
    ) {
        let Self { places, state } = self;
        let hash = state.hash_one(key);
        places.insert_unique(hash, place, |&place| state.hash_one(key_of(place)));
    }
}
