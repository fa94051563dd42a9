//! What runs already when the watch begins.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;

use crate::capture::credentials::status;
use crate::capture::executables::is_go_command;

/// Names of what runs as a `go` command: that of one whose file is gone, as after an update, too
/// (`d_path`).
const NAMES: [&str; 2] = ["go", "go (deleted)"];

/// Whether this is the link to what a `go` command runs, by its name.
pub(super) fn is_named_go(exe: &Path) -> bool {
    exe.file_name().is_some_and(|name| NAMES.iter().any(|go| name == *go))
}

/// The parent of each process that runs a `go` command. Those are known by their name, and looked
/// into.
pub(super) fn commands() -> BTreeMap<u32, u32> {
    let go = processes().filter(|pid| {
        let exe = format!("/proc/{pid}/exe");
        fs::read_link(&exe).is_ok_and(|name| is_named_go(&name))
            && File::open(&exe).is_ok_and(|file| is_go_command(&file))
    });
    go.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// How many trees these processes are, without those that are followed: one that a `go` command
/// started belongs to that one's.
pub(super) fn trees(commands: &BTreeMap<u32, u32>, followed: &HashSet<u32>) -> u64 {
    let up = |pid: u32| commands.get(&pid).copied().or_else(|| parent(pid));
    let is_command = |pid: u32| commands.contains_key(&pid);
    let begins =
        |pid: &&u32| !followed.contains(pid) && first(**pid, up, is_command) == Some(**pid);
    commands.keys().filter(begins).count() as u64
}

/// These processes, and all that they have started; each with the one of them with which its tree
/// began.
pub(super) fn with_below(commands: &BTreeMap<u32, u32>) -> Vec<(u32, u32)> {
    if commands.is_empty() {
        return Vec::new();
    }
    let processes = processes().filter_map(|pid| Some((pid, parent(pid)?)));
    let parents: BTreeMap<u32, u32> = processes.collect();
    let up = |pid: u32| parents.get(&pid).copied();
    let is_command = |pid: u32| commands.contains_key(&pid);
    let theirs = parents.keys().filter_map(|&pid| Some((pid, first(pid, up, is_command)?)));
    theirs.collect()
}

/// So many are above a process at most: of those that end meanwhile, others may have the numbers.
const ABOVE_MAX: usize = 1024;

/// Which of those is highest above a process, or that itself; as far as can be said.
fn first(
    mut pid: u32,
    parent: impl Fn(u32) -> Option<u32>,
    is_one: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mut first = is_one(pid).then_some(pid);
    for _ in 0..ABOVE_MAX {
        let Some(above) = parent(pid).filter(|above| *above != 0) else { break };
        pid = above;
        if is_one(pid) {
            first = Some(pid);
        }
    }
    first
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

    #[test]
    fn a_go_command_is_known_by_its_name_while_its_file_is_gone() {
        for (exe, is_go) in [
            ("/usr/bin/go", true),
            ("/usr/bin/go (deleted)", true),
            ("/usr/bin/gofmt (deleted)", false),
            ("/opt/go/bin/vet", false),
            ("/", false),
        ] {
            assert_eq!(is_named_go(Path::new(exe)), is_go, "{exe}");
        }
    }

    /// 1 has started 2, which has started 3; where 5 and 6 were, others are by now.
    #[test]
    fn what_is_above_a_process_is_found() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 9), (5, 6), (6, 5)]);
        let parent = |pid: u32| parents.get(&pid).copied();
        let cases: [(u32, &[u32], Option<u32>); 9] = [
            (3, &[1], Some(1)),
            (3, &[2], Some(2)),
            (3, &[1, 2, 3], Some(1)),
            (3, &[2, 3], Some(2)),
            (3, &[3], Some(3)),
            (1, &[2], None),
            (4, &[9], Some(9)),
            (4, &[1], None),
            (5, &[1], None),
        ];
        for (pid, those, expected) in cases {
            let is_one = |it| those.contains(&it);
            assert_eq!(first(pid, parent, is_one), expected, "{pid} below {those:?}");
        }
    }

    #[test]
    fn what_a_command_has_started_is_below_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let us = std::process::id();
        let commands = BTreeMap::from([(us, parent(us).unwrap())]);
        let below: BTreeMap<u32, u32> = with_below(&commands).into_iter().collect();
        assert_eq!((below.get(&us), below.get(&child.id())), (Some(&us), Some(&us)));
        assert!(!below.contains_key(&1));
        assert_eq!(trees(&commands, &HashSet::new()), 1);
        assert_eq!(trees(&commands, &HashSet::from([us])), 0);
        let both = BTreeMap::from([(us, commands[&us]), (child.id(), us)]);
        assert_eq!(trees(&both, &HashSet::new()), 1);
        assert!(with_below(&both).contains(&(child.id(), us)));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
