//! What the kernel side of a watched host is told, and tells, through its maps.

use std::collections::BTreeSet;

use aya::maps::{Array, HashMap};
use proxytrace_common::host::{Choices, FileKey, Known, Member, PASSED_OVER, REFUSED, Sampling};

use crate::capture::program::Programs;

/// `BPF_NOEXIST`: only if there is no such entry.
const NEW: u64 = 1;
/// `BPF_EXIST`: only if there is one.
const EXISTING: u64 = 2;

impl Programs {
    /// How trees are chosen from here on.
    pub(super) fn sample(&mut self, sampling: Sampling) -> anyhow::Result<()> {
        let map = self.object.map_mut("SAMPLING")?;
        Ok(Array::<_, Sampling>::try_from(map)?.set(0, sampling, 0)?)
    }

    /// How many trees were chosen, and passed over, so far.
    pub(super) fn choices(&self) -> anyhow::Result<(u64, u64)> {
        let choices = Array::<_, u64>::try_from(self.object.map("CHOICES")?)?;
        let count = |of: Choices| choices.get(&(of as u32), 0);
        Ok((count(Choices::Chosen)?, count(Choices::PassedOver)?))
    }

    /// Of the trees that the kernel chose, so many are told of.
    pub(super) fn tell(&mut self, told: u64) -> anyhow::Result<()> {
        let map = self.object.map_mut("CHOICES")?;
        Ok(Array::<_, u64>::try_from(map)?.set(Choices::Told as u32, told, 0)?)
    }

    /// A file has the probes of this executable.
    pub(super) fn know(&mut self, file: FileKey, executable: u32) -> anyhow::Result<()> {
        let map = self.object.map_mut("KNOWN")?;
        let known = Known { executable, ..Known::default() };
        Ok(HashMap::<_, FileKey, Known>::try_from(map)?.insert(file, known, 0)?)
    }

    /// What the kernel knows of a file, if it has probes.
    fn known(&self, file: &FileKey) -> Option<Known> {
        let map = self.object.map("KNOWN").ok()?;
        HashMap::<_, FileKey, Known>::try_from(map).ok()?.get(file, 0).ok()
    }

    /// Whether the kernel takes a file for this executable.
    pub(super) fn knows(&self, file: &FileKey, executable: u32) -> bool {
        self.known(file).is_some_and(|known| known.executable == executable)
    }

    /// When a file with probes was last executed, by `CLOCK_MONOTONIC`; zero if it was not.
    pub(super) fn used(&self, file: &FileKey) -> u64 {
        self.known(file).map_or(0, |known| known.used)
    }

    /// A file has none of this executable any more; it may have those of another.
    pub(super) fn unknow(&mut self, file: &FileKey, executable: u32) -> anyhow::Result<()> {
        if self.knows(file, executable) {
            let map = self.object.map_mut("KNOWN")?;
            // It may be gone.
            let _ = HashMap::<_, FileKey, Known>::try_from(map)?.remove(file);
        }
        Ok(())
    }

    /// A file is none to be told of.
    pub(super) fn pass_over(&mut self, file: &FileKey) -> anyhow::Result<()> {
        self.decide(file, PASSED_OVER)
    }

    /// A file is a `go` command that got no probes, to be told of where a tree is followed.
    pub(super) fn refuse(&mut self, file: &FileKey) -> anyhow::Result<()> {
        self.decide(file, REFUSED)
    }

    fn decide(&mut self, file: &FileKey, found: u32) -> anyhow::Result<()> {
        let map = self.object.map_mut("SEEN")?;
        Ok(HashMap::<_, FileKey, u32>::try_from(map)?.insert(file, found, 0)?)
    }

    /// Let us be told of a file again.
    pub(super) fn unsee(&mut self, file: &FileKey) -> anyhow::Result<()> {
        let map = self.object.map_mut("SEEN")?;
        let _ = HashMap::<_, FileKey, u32>::try_from(map)?.remove(file);
        Ok(())
    }

    /// Let us be told of every file again.
    pub(super) fn unsee_all(&mut self) -> anyhow::Result<()> {
        let mut seen = HashMap::<_, FileKey, u32>::try_from(self.object.map_mut("SEEN")?)?;
        let keys: Vec<FileKey> = seen.keys().filter_map(Result::ok).collect();
        for key in keys {
            // It may be gone.
            let _ = seen.remove(&key);
        }
        Ok(())
    }

    /// Follows a process that is followed by nobody yet. Says whether there is room for it.
    pub(super) fn join(&mut self, pid: u32, member: Member) -> anyhow::Result<bool> {
        let map = self.object.map_mut("TRACKED")?;
        Ok(HashMap::<_, u32, Member>::try_from(map)?.insert(pid, member, 0).is_ok())
    }

    /// The same where that is not sure: one that is followed stays where it is. Says whether it
    /// joins.
    pub(super) fn join_new(&mut self, pid: u32, member: Member) -> anyhow::Result<bool> {
        let map = self.object.map_mut("TRACKED")?;
        Ok(HashMap::<_, u32, Member>::try_from(map)?.insert(pid, member, NEW).is_ok())
    }

    /// A process that is followed belongs to this from here on.
    pub(super) fn reassign(&mut self, pid: u32, member: Member) -> anyhow::Result<()> {
        let map = self.object.map_mut("TRACKED")?;
        // One that has ended stays out.
        let _ = HashMap::<_, u32, Member>::try_from(map)?.insert(pid, member, EXISTING);
        Ok(())
    }

    /// Follows a process no more.
    pub(super) fn part(&mut self, pid: u32) -> anyhow::Result<()> {
        let map = self.object.map_mut("TRACKED")?;
        let _ = HashMap::<_, u32, Member>::try_from(map)?.remove(&pid);
        Ok(())
    }

    /// What a process belongs to, if it is followed, or passed over.
    pub(super) fn member(&self, pid: u32) -> anyhow::Result<Option<Member>> {
        let map = HashMap::<_, u32, Member>::try_from(self.object.map("TRACKED")?)?;
        Ok(map.get(&pid, 0).ok())
    }

    /// The executables that are run by somebody who is followed, or passed over.
    pub(super) fn running(&self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(self.members()?.into_iter().map(|(_, member)| member.executable).collect())
    }

    /// Everybody who is followed, as far as that can be said while it changes.
    pub(super) fn members(&self) -> anyhow::Result<Vec<(u32, Member)>> {
        let map = HashMap::<_, u32, Member>::try_from(self.object.map("TRACKED")?)?;
        Ok(map.iter().filter_map(Result::ok).collect())
    }
}
