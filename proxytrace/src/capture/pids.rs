//! Pids in their namespaces: records have those of the initial one, /proc has those of ours, and a
//! go command knows its children by those of its own.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL: u32 = 0xefff_fffc;

/// The pid namespace that this process is in; none if it is the initial one.
pub(super) fn our_namespace() -> Result<Option<u32>, Error> {
    let link = fs::read_link("/proc/self/ns/pid").ok();
    let inode = link.as_deref().and_then(namespace_of).filter(|&inode| inode != INITIAL);
    let is_ours = || {
        let shown = fs::read_link("/proc/self").ok();
        shown.is_some_and(|shown| shown == Path::new(&std::process::id().to_string()))
    };
    if inode.is_some() && !is_ours() {
        return Err(Error::CannotTrace {
            why: "/proc shows the processes of another pid namespace than the one that proxytrace \
                  runs in"
                .to_owned(),
            advice: Some(
                "mount it anew for this one (unshare --mount-proc, or mount -t proc proc /proc); \
                 `proxytrace doctor` says more",
            ),
        });
    }
    Ok(inode)
}

/// 4026531836 of `pid:[4026531836]`.
fn namespace_of(link: &Path) -> Option<u32> {
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// The pids of traced processes, by those of the initial namespace.
#[derive(Debug, Default)]
pub(super) struct Pids {
    /// In our namespace, where that is another one.
    ours: Option<HashMap<u32, u32>>,
    /// Of children, by parent and the number that the child has in its own namespace.
    children: HashMap<(u32, u32), u32>,
    /// Those that have executed something and not ended.
    living: HashSet<u32>,
}

impl Pids {
    /// Nothing is known yet; `initial` is whether our namespace is the initial one.
    pub(super) fn new(initial: bool) -> Self {
        Self { ours: (!initial).then(HashMap::new), ..Self::default() }
    }

    /// A process forked a child that calls itself `own`.
    pub(super) fn forked(&mut self, parent: u32, child: u32, own: Option<u32>) {
        // Where it calls itself what it is, there is nothing to know.
        match own.filter(|&own| own != child) {
            Some(own) => _ = self.children.insert((parent, own), child),
            None => _ = self.children.remove(&(parent, child)),
        }
    }

    /// A process became another program; `ours` is its pid in our namespace.
    pub(super) fn executed(&mut self, pid: u32, ours: Option<u32>) {
        self.living.insert(pid);
        if let (Some(all), Some(ours)) = (&mut self.ours, ours) {
            all.insert(pid, ours);
        }
    }

    /// A process ended. Its own pid is kept: what it left may still be looked at.
    pub(super) fn ended(&mut self, pid: u32) {
        self.living.remove(&pid);
        self.children.retain(|(parent, _), _| *parent != pid);
    }

    /// Where /proc has those that have executed something and not ended, but for one.
    pub(super) fn others(&self, but: u32) -> impl Iterator<Item = PathBuf> {
        let others = self.living.iter().filter(move |pid| **pid != but);
        others.map(move |pid| self.directory(*pid))
    }

    /// The child that `parent` knows by this number.
    pub(super) fn child(&self, parent: u32, own: u32) -> u32 {
        self.children.get(&(parent, own)).copied().unwrap_or(own)
    }

    /// Where /proc has a process, if it is there; where it is not known under which number, nowhere.
    pub(super) fn directory(&self, pid: u32) -> PathBuf {
        let shown = self.ours.as_ref().map_or(Some(pid), |all| all.get(&pid).copied());
        // There is no process zero.
        format!("/proc/{}", shown.unwrap_or(0)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_by_its_inode() {
        assert_eq!(namespace_of(Path::new("pid:[4026531836]")), Some(INITIAL));
        for other in ["mnt:[4026531841]", "pid:[]", "pid:[4026531836", ""] {
            assert_eq!(namespace_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_process_has_another_number_in_each_namespace() {
        let mut pids = Pids::new(false);
        assert_eq!(pids.directory(700), Path::new("/proc/0"));
        pids.executed(700, Some(2));
        assert_eq!(pids.directory(700), Path::new("/proc/2"));
        pids.forked(700, 701, Some(3));
        pids.forked(800, 801, Some(3));
        assert_eq!((pids.child(700, 3), pids.child(800, 3), pids.child(700, 9)), (701, 801, 9));
        pids.ended(700);
        assert_eq!((pids.child(700, 3), pids.child(800, 3)), (3, 801));
    }

    #[test]
    fn those_that_run_are_known() {
        let mut pids = Pids::new(true);
        for pid in [700, 701, 702] {
            pids.executed(pid, None);
        }
        pids.ended(702);
        assert_eq!(pids.others(701).collect::<Vec<_>>(), [Path::new("/proc/700")]);
    }

    #[test]
    fn in_the_initial_namespace_it_has_one() {
        let mut pids = Pids::new(true);
        pids.executed(700, Some(700));
        pids.forked(700, 701, Some(701));
        assert_eq!(pids.directory(700), Path::new("/proc/700"));
        assert_eq!(pids.child(700, 701), 701);
        assert!(pids.children.is_empty());
    }
}
