//! Executables whose probes may have come too late for a process.
//!
//! A process that enters `main.main` of such an executable was met in time. One that becomes another
//! program first, or never comes there, was not.

use std::collections::{BTreeMap, HashMap};

use super::executables::Identity;
use crate::event::Attach;

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// By process: what it runs.
    waiting: BTreeMap<u32, Attach>,
    /// Executables that got their probes when somebody ran in them already, and when.
    met: HashMap<Identity, (u64, Attach)>,
}

impl Doubts {
    /// An executable that a process runs in has got its probes, at this time.
    pub(super) fn met(&mut self, pid: u32, identity: Identity, attach: Attach, time: u64) {
        self.waiting.insert(pid, attach.clone());
        self.renewed(identity, attach, time);
    }

    /// An executable has got its probes anew, at this time: whoever began to run in it before was
    /// without them meanwhile.
    pub(super) fn renewed(&mut self, identity: Identity, attach: Attach, time: u64) {
        self.met.insert(identity, (time, attach));
    }

    /// A process has begun to run in an executable that had been met, at this time.
    pub(super) fn runs(&mut self, pid: u32, identity: Identity, time: u64) {
        let before = self.met.get(&identity).filter(|(since, _)| time < *since);
        if let Some((_, attach)) = before {
            self.waiting.insert(pid, attach.clone());
        }
    }

    /// A process becomes another program. What it never was seen to start was met late.
    pub(super) fn executes(&mut self, pid: u32) -> Option<Attach> {
        self.waiting.remove(&pid).map(late)
    }

    /// A process has entered `main.main`, of the executable that it was met in if `is_it` says so of
    /// that one's path: nothing was missed.
    pub(super) fn starts(&mut self, pid: u32, is_it: impl Fn(&str) -> bool) -> Option<Attach> {
        self.waiting.get(&pid).filter(|attach| is_it(&attach.exe))?;
        self.waiting.remove(&pid)
    }

    /// What is still in doubt at the end was late.
    pub(super) fn rest(&mut self) -> Vec<(u32, Attach)> {
        let rest = std::mem::take(&mut self.waiting);
        rest.into_iter().map(|(pid, attach)| (pid, late(attach))).collect()
    }
}

fn late(attach: Attach) -> Attach {
    Attach { late: true, ..attach }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(exe: &str) -> Attach {
        Attach { exe: exe.to_owned(), ..Attach::default() }
    }

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, size: 1, changed: (0, 0) }
    }

    #[test]
    fn what_started_was_in_time() {
        let mut doubts = Doubts::default();
        doubts.met(7, identity(1), attach("/a/go"), 50);
        assert_eq!(doubts.starts(8, |exe| exe == "/a/go"), None);
        assert_eq!(doubts.starts(7, |exe| exe == "/a/go"), Some(attach("/a/go")));
        assert_eq!(doubts.rest(), []);
    }

    #[test]
    fn what_became_another_before_it_started_was_late() {
        let mut doubts = Doubts::default();
        doubts.met(7, identity(1), attach("/a/go"), 50);
        assert_eq!(doubts.executes(7), Some(late(attach("/a/go"))));
        doubts.met(7, identity(2), attach("/b/go"), 60);
        assert_eq!(doubts.starts(7, |exe| exe == "/b/go"), Some(attach("/b/go")));
        assert_eq!(doubts.executes(7), None);
    }

    #[test]
    fn a_start_speaks_for_its_own_executable() {
        let mut doubts = Doubts::default();
        doubts.met(7, identity(1), attach("/a/go"), 50);
        // The exec in between was lost.
        assert_eq!(doubts.starts(7, |exe| exe == "/b/go"), None);
        assert_eq!(doubts.rest(), [(7, late(attach("/a/go")))]);
    }

    #[test]
    fn others_may_have_begun_before_it_was_met() {
        let mut doubts = Doubts::default();
        doubts.met(7, identity(1), attach("/a/go"), 50);
        doubts.runs(8, identity(1), 49);
        doubts.runs(9, identity(1), 51);
        doubts.runs(10, identity(2), 1);
        let rest: Vec<u32> = doubts.rest().into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(rest, [7, 8]);
    }

    /// They had passed the gate, and were on the way.
    #[test]
    fn others_may_have_begun_before_it_was_met_again() {
        let mut doubts = Doubts::default();
        doubts.renewed(identity(1), attach("/a/go"), 50);
        doubts.runs(8, identity(1), 49);
        doubts.runs(9, identity(1), 51);
        assert_eq!(doubts.rest(), [(8, late(attach("/a/go")))]);
    }
}
