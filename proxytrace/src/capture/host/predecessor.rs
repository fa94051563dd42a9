//! Trees that begin between two agents. The programs that follow processes stay where they are for as
//! long as somebody holds their links; a service manager does that for one that it starts anew
//! (systemd's file descriptor store), and so they go on to count.

use std::collections::HashSet;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{Array, HashMap, Map, MapData};
use proxytrace_common::host::{Choices, Member};

use super::lives;
use crate::capture::bpf::map_fd;
use crate::capture::program::Programs;

/// The programs that count trees.
const COUNTING: [&str; 3] = ["fork", "exec", "exit"];

/// Names of what is held, for the service manager.
const LINK: &str = "proxytrace-link";
const CHOICES: &str = "proxytrace-choices";
const TRACKED: &str = "proxytrace-tracked";
/// All of them.
pub const KEPT: [&str; 3] = [LINK, CHOICES, TRACKED];

/// What the agent before had in the kernel, and still has.
#[derive(Default)]
pub struct Predecessor {
    links: Vec<OwnedFd>,
    choices: Option<OwnedFd>,
    tracked: Option<OwnedFd>,
}

/// Trees that were chosen, and of which no agent tells.
#[derive(Default)]
pub(super) struct Untold {
    pub(super) trees: u64,
    /// Processes of those that have not ended.
    pub(super) running: HashSet<u32>,
}

impl Predecessor {
    /// Takes what the service manager has kept: once in a process, and nothing where there is none.
    pub fn take() -> Self {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        let mut predecessor = Self::default();
        if IS_TAKEN.swap(true, Ordering::Relaxed) {
            return predecessor;
        }
        let Ok(kept) = sd_notify::listen_fds_with_names() else { return predecessor };
        for (fd, name) in kept {
            // SAFETY: the service manager has opened it for this process, and nobody else takes it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            match &*name {
                LINK => predecessor.links.push(fd),
                CHOICES => predecessor.choices = Some(fd),
                TRACKED => predecessor.tracked = Some(fd),
                _ => {}
            }
        }
        predecessor
    }

    /// Ends its count; none if nobody counted. `programs` follow all that begins by now: what begins
    /// at this moment is seen by both rather than by none.
    pub(super) fn end(self, programs: &Programs) -> anyhow::Result<Option<Untold>> {
        let (Some(choices), Some(tracked)) = (self.choices, self.tracked) else { return Ok(None) };
        let choices = Map::Array(MapData::from_fd(choices)?);
        let choices = Array::<_, u64>::try_from(&choices)?;
        let tracked = Map::HashMap(MapData::from_fd(tracked)?);
        let tracked = HashMap::<_, u32, Member>::try_from(&tracked)?;
        let chosen = choices.get(&(Choices::Chosen as u32), 0)?;
        let told = choices.get(&(Choices::Told as u32), 0)?;
        let members = tracked.iter().filter_map(Result::ok);
        let running = members.filter(|(pid, member)| member.tree != 0 && lives(*pid));
        let running: Vec<(u32, u64)> = running.map(|(pid, member)| (pid, member.tree)).collect();
        let ours: HashSet<u32> = programs.members()?.into_iter().map(|(pid, _)| pid).collect();
        let both = running.iter().filter(|(pid, _)| ours.contains(pid));
        let both: HashSet<u64> = both.map(|(_, tree)| *tree).collect();
        let trees = u64::try_from(chosen.wrapping_sub(told).cast_signed()).unwrap_or(0);
        Ok(Some(Untold {
            trees: trees.saturating_sub(both.len() as u64),
            running: running.into_iter().map(|(pid, _)| pid).collect(),
        }))
    }
}

impl Programs {
    /// What must be held for the count to go on, with its name for the service manager.
    pub(super) fn counting(&self) -> anyhow::Result<Vec<(&'static str, BorrowedFd<'_>)>> {
        let links = self.held(&COUNTING).map(|link| (LINK, link));
        let maps = [(CHOICES, self.object.map("CHOICES")?), (TRACKED, self.object.map("TRACKED")?)];
        let maps = maps.into_iter().map(|(name, map)| Ok((name, map_fd(map)?)));
        links.map(Ok).chain(maps).collect()
    }
}
