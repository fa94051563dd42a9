//! Looking for toolchains on a thread of its own: what is looked at may be on a server that does not
//! answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::capture::executables::Identity;
use crate::capture::regular;
use crate::capture::rights::{self, Capability};

/// What is found below a root.
type Find = fn(&Path) -> BTreeSet<PathBuf>;

/// A search that is made again and again.
pub(super) struct Search {
    find: Find,
    /// One that has begun.
    found: Option<Receiver<BTreeMap<PathBuf, Identity>>>,
    /// Paths that were looked at, and what was there.
    pub(super) places: HashMap<PathBuf, Identity>,
    /// What cannot be probed.
    pub(super) refused: Vec<Identity>,
}

impl Search {
    pub(super) fn by(find: Find) -> Self {
        Self { find, found: None, places: HashMap::new(), refused: Vec::new() }
    }

    /// Begins it, unless the last one has not come to its end.
    pub(super) fn begin(&mut self, roots: &[(u64, &'static Path)]) {
        if self.found.is_some() {
            return;
        }
        let find = self.find;
        let roots: Vec<&'static Path> = roots.iter().map(|(_, root)| *root).collect();
        let (sender, receiver) = channel();
        let search = move || {
            // It may outlive the moment in which all others are given up.
            rights::keep(&[Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE]);
            let found = roots.into_iter().flat_map(find).filter_map(|path| {
                let identity = Identity::of(&regular::open(&path).ok()?).ok()?;
                Some((path, identity))
            });
            // Whoever asked may have gone.
            let _ = sender.send(found.collect());
        };
        // Without a thread nothing is found this time.
        let _ = thread::Builder::new().name("places".to_owned()).spawn(search);
        self.found = Some(receiver);
    }

    /// Whether one has begun that has not come to its end.
    pub(super) fn is_pending(&self) -> bool {
        self.found.is_some()
    }

    /// Whether this file was found at the last one, whatever was changed of it since.
    pub(super) fn has(&self, file: &Identity) -> bool {
        let is_it = |it: &Identity| (it.device, it.inode) == (file.device, file.inode);
        self.places.values().any(is_it)
    }

    /// What is new or has changed since the last time; nothing if it does not come to its end in that
    /// time.
    pub(super) fn end(&mut self, patience: Duration) -> Vec<(PathBuf, Identity)> {
        let Some(search) = self.found.take() else { return Vec::new() };
        match search.recv_timeout(patience) {
            Ok(found) => {
                let before =
                    std::mem::replace(&mut self.places, found.clone().into_iter().collect());
                self.refused.retain(|refused| found.values().any(|identity| identity == refused));
                let is_new =
                    |(path, identity): &(PathBuf, Identity)| before.get(path) != Some(identity);
                found.into_iter().filter(is_new).collect()
            }
            Err(RecvTimeoutError::Timeout) => {
                self.found = Some(search);
                Vec::new()
            }
            Err(RecvTimeoutError::Disconnected) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// What is in a directory of this process's own.
    fn find(_: &Path) -> BTreeSet<PathBuf> {
        let place = std::env::temp_dir().join(format!("proxytrace-search-{}", std::process::id()));
        let _ = create_dir(&place);
        let entries = std::fs::read_dir(place).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_has_changed_is_found_once() {
        let place = std::env::temp_dir().join(format!("proxytrace-search-{}", std::process::id()));
        let _ = create_dir(&place);
        let mut search = Search::by(find);
        let mut names = || {
            search.begin(&[(0, Path::new("/"))]);
            let found = search.end(PATIENCE);
            found
                .into_iter()
                .map(|(path, _)| path.strip_prefix(&place).unwrap().to_owned())
                .collect()
        };
        let mut found: Vec<PathBuf> = names();
        assert!(found.is_empty());
        write(place.join("a"), "a").unwrap();
        found = names();
        assert_eq!(found, [Path::new("a")]);
        write(place.join("b"), "b").unwrap();
        write(place.join("a"), "longer").unwrap();
        found = names();
        assert_eq!(found, [Path::new("a"), Path::new("b")]);
        found = names();
        assert!(found.is_empty());
        std::fs::remove_dir_all(&place).unwrap();
    }

    /// Its mode may have been changed since, or what is in it.
    #[test]
    fn what_was_found_is_known_by_its_file() {
        fn place() -> PathBuf {
            std::env::temp_dir().join(format!("proxytrace-places-{}", std::process::id()))
        }
        fn find(_: &Path) -> BTreeSet<PathBuf> {
            let entries = std::fs::read_dir(place()).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
        create_dir(place()).unwrap();
        let (one, other) = (place().join("one"), place().with_extension("moved"));
        write(&one, "a").unwrap();
        let identity = |path: &Path| Identity::of(&regular::open(path).unwrap()).unwrap();
        let mut search = Search::by(find);
        let mut look = |file: &Identity| {
            search.begin(&[(0, Path::new("/"))]);
            assert!(search.is_pending());
            search.end(PATIENCE);
            assert!(!search.is_pending());
            search.has(file)
        };
        let before = identity(&one);
        write(&one, "longer").unwrap();
        assert!(look(&before) && look(&identity(&one)));
        std::fs::rename(&one, &other).unwrap();
        assert!(!look(&identity(&other)));
        std::fs::remove_file(&other).unwrap();
        std::fs::remove_dir(place()).unwrap();
    }

    /// The answer comes at another time.
    #[test]
    fn who_does_not_answer_holds_nobody_up() {
        fn never(_: &Path) -> BTreeSet<PathBuf> {
            thread::park_timeout(PATIENCE);
            BTreeSet::new()
        }
        let mut search = Search::by(never);
        for _ in 0..3 {
            search.begin(&[(0, Path::new("/"))]);
            assert!(search.end(Duration::from_millis(1)).is_empty());
            assert!(search.found.is_some(), "no other one begins meanwhile");
        }
    }
}
