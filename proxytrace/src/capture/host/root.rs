//! Where the files are that a process sees, when the process itself has ended.

use std::fs;
use std::path::{Path, PathBuf};

use proxytrace_common::record::Tag;

use crate::capture::record::Record;

/// A directory that is the root of a process, as another one shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::capture) struct Root {
    pub(in crate::capture) path: PathBuf,
    /// The thread that shows it, and its mount namespace; none where it stays.
    by: Option<(u64, u64)>,
}

impl Root {
    /// One that stays.
    pub(super) fn lasting(path: &Path) -> Self {
        Self { path: path.to_owned(), by: None }
    }

    /// Whether it is there still, so that what was read before was read in it.
    pub(in crate::capture) fn is_there(&self) -> bool {
        self.by.is_none_or(|(thread, mounts)| mount_namespace(&thread.to_string()) == Some(mounts))
    }
}

/// The roots of those ancestors that had the same one when a process executed something.
pub(super) fn of_ancestors(exec: &Record<'_>, mounts: u64) -> impl Iterator<Item = Root> {
    exec.numbers(Tag::Ancestor).map(move |thread| Root {
        path: format!("/proc/{thread}/root").into(),
        by: Some((thread, mounts)),
    })
}

/// 4026531841 of `mnt:[4026531841]`.
pub(super) fn mount_namespace(process: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    link.to_str()?.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}
