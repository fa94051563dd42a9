//! What runs already when the watch begins.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::capture::credentials::status;

/// The parent of each process that runs a `go` command. Those are known by their name; whether one
/// is a `go` command indeed, `is_go` says.
pub(super) fn commands(mut is_go: impl FnMut(u32) -> bool) -> BTreeMap<u32, u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let named_so = pids.filter(|pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.file_name() == Some(OsStr::new("go")))
    });
    let parents = named_so.filter(|pid| is_go(*pid)).filter_map(|pid| Some((pid, parent(pid)?)));
    parents.collect()
}

/// How many trees these processes are, without those that are followed: one that a `go` command
/// started belongs to that one's.
pub(super) fn trees(commands: &BTreeMap<u32, u32>, followed: &HashSet<u32>) -> u64 {
    let begins = |(pid, up): &(&u32, &u32)| {
        let mut above = Some(**up);
        while let Some(pid) = above.filter(|pid| *pid != 0) {
            if commands.contains_key(&pid) {
                return false;
            }
            above = parent(pid);
        }
        !followed.contains(pid)
    };
    commands.iter().filter(begins).count() as u64
}

fn parent(pid: u32) -> Option<u32> {
    status(Path::new(&format!("/proc/{pid}")), "PPid:")?.parse().ok()
}
