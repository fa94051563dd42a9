//! The `go` commands that got no probes: how many, why, and which are not looked at again.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;

use proxytrace_common::host::FileKey;

use super::running::is_named_go;
use crate::capture::executables::{Unprobed, has_gone, is_ours, unreadable};
use crate::capture::monotonic_now;
use crate::event::{Attach, MissingHook};
use crate::gobinary::{self, Plan};

/// As many are told of between two looks at those without probes.
const TOLD_MAX: usize = 16;
/// So many of those without probes are kept in mind; another one is looked at again.
const UNPROBED_MAX: usize = 64;
/// When one that the kernel has refused to put probes into, to open or to watch, is tried again:
/// after an hour, in nanoseconds.
const AGAIN: u64 = 3_600_000_000_000;

/// Why a `go` command got no probes.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// No such release is known.
    Release,
    /// There is no room for it.
    Room,
    /// It is for another machine.
    Machine,
    /// The kernel did not take them, or did not let us open the file, or watch it.
    Kernel,
}

impl From<Unprobed> for Why {
    fn from(why: Unprobed) -> Self {
        match why {
            Unprobed::Release => Self::Release,
            Unprobed::Machine => Self::Machine,
            Unprobed::Kernel => Self::Kernel,
        }
    }
}

/// A `go` command that got no probes.
pub(super) struct Refused {
    /// What a trace is told of it.
    pub(super) attach: Rc<Attach>,
    /// Whether it cannot be probed, rather than that there is no room for now.
    pub(super) is_for_good: bool,
}

/// A `go` command that got no probes, for whoever executes it again.
struct Without {
    key: FileKey,
    attach: Rc<Attach>,
    /// When it is tried again, by `CLOCK_MONOTONIC`; never if that is useless.
    again: Option<u64>,
}

/// All that got none.
#[derive(Default)]
pub(super) struct Refusals {
    /// How many.
    pub(super) all: u64,
    /// See [`Why`].
    pub(super) for_room: u64,
    /// See [`Why`].
    pub(super) for_machine: u64,
    /// See [`Why`].
    pub(super) by_kernel: u64,
    /// The last ones that somebody is to be told of, and why they got none.
    told: Vec<Attach>,
    /// The last of those that got none for good, for whoever executes them again.
    unprobed: VecDeque<Without>,
    /// The last of those that may not be opened: each is counted once, however often it is tried.
    counted: VecDeque<FileKey>,
}

impl Refusals {
    /// What is told of a file, if it got none and is not tried again yet.
    pub(super) fn of(&self, key: FileKey) -> Option<Rc<Attach>> {
        let without = self.unprobed.iter().find(|without| without.key == key)?;
        Some(Rc::clone(&without.attach))
    }

    /// Those that somebody is to be told of since the last call; no more than a few.
    pub(super) fn take_told(&mut self) -> Vec<Attach> {
        std::mem::take(&mut self.told)
    }

    /// Another one.
    pub(super) fn count(&mut self, why: Why) {
        self.all += 1;
        match why {
            Why::Release => {}
            Why::Room => self.for_room += 1,
            Why::Machine => self.for_machine += 1,
            Why::Kernel => self.by_kernel += 1,
        }
    }

    /// Has somebody told of one, as far as there is room.
    fn tell(&mut self, refused: &Attach) {
        if self.told.len() < TOLD_MAX {
            self.told.push(refused.clone());
        }
    }

    /// There is no room for one, for this reason. The next time there may be some.
    pub(super) fn for_now(
        &mut self,
        path: &Path,
        plan: &Result<Plan, gobinary::Error>,
        reason: String,
    ) -> Refused {
        self.count(Why::Room);
        Refused { attach: Rc::new(without(path, plan, reason)), is_for_good: false }
    }

    /// One cannot be watched for changes, for this reason: as long as there are no watches, there are
    /// none for any, and nobody is to look at each that is executed.
    pub(super) fn unwatched(
        &mut self,
        key: FileKey,
        path: &Path,
        plan: &Result<Plan, gobinary::Error>,
        reason: String,
    ) -> Refused {
        self.for_good(key, without(path, plan, reason), Unprobed::Kernel)
    }

    /// One cannot be probed.
    pub(super) fn for_good(&mut self, key: FileKey, attach: Attach, why: Unprobed) -> Refused {
        self.count(why.into());
        self.tell(&attach);
        let attach = Rc::new(attach);
        let again = (why == Unprobed::Kernel).then(|| monotonic_now() + AGAIN);
        self.keep_in_mind(key, &attach, again);
        Refused { attach, is_for_good: true }
    }

    /// What is told of a file that was executed under the first of these names, and that we may not
    /// open, as on a server that gives root less than its user. The process runs the second one by
    /// now: if either is no `go` command by its name, or has gone, nothing is known of the file.
    pub(super) fn unopened(
        &mut self,
        key: FileKey,
        names: [&Path; 2],
        error: &io::Error,
    ) -> Option<Rc<Attach>> {
        if has_gone(error) || is_ours(error) || !names.into_iter().all(is_named_go) {
            return None;
        }
        let attach = Rc::new(unreadable(names[1], error));
        if !self.counted.contains(&key) {
            self.counted.truncate(UNPROBED_MAX - 1);
            self.counted.push_front(key);
            self.count(Why::Kernel);
            self.tell(&attach);
        }
        self.keep_in_mind(key, &attach, Some(monotonic_now() + AGAIN));
        Some(attach)
    }

    /// A `go` command has got no probes; `again` says when it is tried again.
    fn keep_in_mind(&mut self, key: FileKey, attach: &Rc<Attach>, again: Option<u64>) {
        self.forget(key);
        self.unprobed.truncate(UNPROBED_MAX - 1);
        self.unprobed.push_front(Without { key, attach: Rc::clone(attach), again });
    }

    /// One has probes now, if it was refused before.
    pub(super) fn forget(&mut self, key: FileKey) {
        self.unprobed.retain(|without| without.key != key);
    }

    /// Forgets that the kernel refused these, which are to be told of again.
    pub(super) fn try_again(&mut self, now: u64) -> Vec<FileKey> {
        let is_due = |without: &Without| without.again.is_some_and(|again| again <= now);
        let due = self.unprobed.iter().filter(|without| is_due(without));
        let due = due.map(|without| without.key).collect();
        self.unprobed.retain(|without| !is_due(without));
        due
    }
}

/// What is told of one without probes, for this reason.
fn without(path: &Path, plan: &Result<Plan, gobinary::Error>, reason: String) -> Attach {
    Attach {
        exe: path.to_string_lossy().into_owned(),
        go_version: plan.as_ref().ok().map(|plan| plan.build.go_version.clone()),
        missing: vec![MissingHook { hook: "*".to_owned(), reason }],
        ..Attach::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As where others of root's have all watches of inotify.
    #[test]
    fn what_cannot_be_watched_is_told_and_not_looked_at_each_time() {
        let mut refusals = Refusals::default();
        let (key, plan) = (FileKey::default(), Err(gobinary::Error::Relocations));
        let reason = "inotify: ENOSPC".to_owned();
        let refused = refusals.unwatched(key, Path::new("/usr/bin/go"), &plan, reason);
        assert!(refused.is_for_good && refusals.of(key).is_some());
        assert_eq!((refusals.all, refusals.by_kernel), (1, 1));
        assert_eq!(refusals.take_told(), [(*refused.attach).clone()]);
        assert_eq!(refusals.try_again(u64::MAX), [key]);
    }

    /// Who is merely gone, or another program by now, is none of these.
    #[test]
    fn a_go_command_that_cannot_be_read_is_told() {
        let (go, other) = (Path::new("/home/me/go/bin/go"), Path::new("/home/me/go/bin/gopls"));
        for (number, names, is_told) in [
            (libc::EACCES, [go, go], true),
            (libc::ESTALE, [go, go], true),
            (libc::EACCES, [go, other], false),
            (libc::EACCES, [other, go], false),
            (libc::ENOENT, [go, go], false),
            (libc::ESRCH, [go, go], false),
            (libc::EMFILE, [go, go], false),
        ] {
            let mut refusals = Refusals::default();
            let error = io::Error::from_raw_os_error(number);
            // It is counted once, and tried again each time.
            for _ in 0..2 {
                let attach = refusals.unopened(FileKey::default(), names, &error);
                let again = refusals.try_again(u64::MAX).len();
                let counts = (refusals.all, refusals.by_kernel, refusals.told.len(), again);
                let expected = if is_told { (1, 1, 1, 1) } else { (0, 0, 0, 0) };
                assert_eq!((attach.is_some(), counts), (is_told, expected), "{number} {names:?}");
            }
        }
    }

    /// One of a release that is not known is not.
    #[test]
    fn what_the_kernel_refused_is_tried_again() {
        let mut refusals = Refusals::default();
        let keys = [1, 2, 3].map(|inode| FileKey { inode, ..FileKey::default() });
        for (key, again) in keys.into_iter().zip([None, Some(10), Some(20)]) {
            refusals.unprobed.push_back(Without { key, attach: Rc::default(), again });
        }
        let none = &keys[..0];
        for (now, expected) in [(9, none), (10, &keys[1..2]), (30, &keys[2..]), (40, none)] {
            assert_eq!(refusals.try_again(now), expected, "{now}");
        }
        assert_eq!(refusals.unprobed.len(), 1);
    }
}
