//! What runs already when the watch begins.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::capture::credentials::status;

/// The parent of each process that runs a `go` command. Those are known by their name; whether one
/// is a `go` command indeed, `is_go` says.
pub(super) fn commands(mut is_go: impl FnMut(u32) -> bool) -> BTreeMap<u32, u32> {
    let named_so = processes().filter(|pid| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.file_name() == Some(OsStr::new("go")))
    });
    let parents = named_so.filter(|pid| is_go(*pid)).filter_map(|pid| Some((pid, parent(pid)?)));
    parents.collect()
}

/// How many trees these processes are, without those that are followed: one that a `go` command
/// started belongs to that one's.
pub(super) fn trees(commands: &BTreeMap<u32, u32>, followed: &HashSet<u32>) -> u64 {
    let up = |pid: u32| commands.get(&pid).copied().or_else(|| parent(pid));
    let is_command = |pid: u32| commands.contains_key(&pid);
    let is_theirs = |pid: u32| is_below(pid, up, is_command) == Some(true);
    let begins = |pid: &&u32| !followed.contains(pid) && !is_theirs(**pid);
    commands.keys().filter(begins).count() as u64
}

/// What these processes, and those that they started, have started.
pub(super) fn below(commands: &BTreeMap<u32, u32>) -> Vec<u32> {
    if commands.is_empty() {
        return Vec::new();
    }
    let processes = processes().filter_map(|pid| Some((pid, parent(pid)?)));
    let parents: BTreeMap<u32, u32> = processes.collect();
    let up = |pid: u32| parents.get(&pid).copied();
    let is_command = |pid: u32| commands.contains_key(&pid);
    let is_theirs = |pid: &u32| !is_command(*pid) && is_below(*pid, up, is_command) == Some(true);
    parents.keys().copied().filter(is_theirs).collect()
}

/// Whether a process is for sure below none of those.
pub(super) fn is_left(pid: u32, is_one: impl Fn(u32) -> bool) -> bool {
    is_below(pid, parent, is_one) == Some(false)
}

/// So many are above a process at most: of those that end meanwhile, others may have the numbers.
const ABOVE_MAX: usize = 1024;

/// Whether one of those is above a process; none if that cannot be said.
fn is_below(
    mut pid: u32,
    parent: impl Fn(u32) -> Option<u32>,
    is_one: impl Fn(u32) -> bool,
) -> Option<bool> {
    for _ in 0..ABOVE_MAX {
        pid = parent(pid)?;
        if pid == 0 {
            return Some(false);
        }
        if is_one(pid) {
            return Some(true);
        }
    }
    None
}

fn processes() -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    status(Path::new(&format!("/proc/{pid}")), "PPid:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// 1 has started 2, which has started 3; where 5 and 6 were, others are by now.
    #[test]
    fn what_is_above_a_process_is_found() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 9), (5, 6), (6, 5)]);
        let parent = |pid: u32| parents.get(&pid).copied();
        for (pid, one, expected) in [
            (3, 1, Some(true)),
            (3, 2, Some(true)),
            (3, 3, Some(false)),
            (1, 2, Some(false)),
            (4, 9, Some(true)),
            (4, 1, None),
            (5, 1, None),
            (8, 1, None),
        ] {
            assert_eq!(is_below(pid, parent, |it| it == one), expected, "{pid} below {one}");
        }
    }

    #[test]
    fn what_a_command_has_started_is_below_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let us = std::process::id();
        let commands = BTreeMap::from([(us, parent(us).unwrap())]);
        let below = below(&commands);
        assert!(below.contains(&child.id()) && !below.contains(&us) && !below.contains(&1));
        assert!(is_left(child.id(), |pid| pid == child.id()));
        assert!(!is_left(child.id(), |pid| pid == us));
        assert_eq!(trees(&commands, &HashSet::new()), 1);
        assert_eq!(trees(&commands, &HashSet::from([us])), 0);
        let both = BTreeMap::from([(us, commands[&us]), (child.id(), us)]);
        assert_eq!(trees(&both, &HashSet::new()), 1);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
