//! All of a host: `go` commands, wherever they run, and all that they start.
//!
//! Nobody is held, and nothing depends on us: a `go` whose executable was not known is met as it
//! begins, and said to be late where something of it was missed. Which trees are followed the kernel
//! decides ([`proxytrace_common::host`]).

mod files;
mod job;
mod maps;
mod overlay;
mod places;
mod predecessor;
mod refusals;
mod root;
mod running;
mod search;
mod tree;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

pub use job::Job;
pub(in crate::capture) use job::of as job_of;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::{Pid, getuid};
pub(crate) use places::of_machine as toolchains_of_machine;
pub use predecessor::{KEPT, Predecessor};
use proxytrace_common::host::{ANY, FileKey, Member, Sampling, first_of};
use proxytrace_common::record::Tag;
pub(in crate::capture) use root::Root;

use super::program::Programs;
use super::remover::Remover;
use super::{
    Error, btf, cannot_trace, check_privileges, descriptors, kernel_release, monotonic_now, pids,
    rights,
};
use crate::event::{Attach, End, Event, Start};
use files::{Candidate, Files, Look, Patience};
use tree::{After, First, News, Trees};

/// Names a tree of processes while it runs.
pub type TreeId = u64;

/// What a tree begins with.
#[derive(Clone, Debug)]
pub struct Begun {
    /// When it began, by `CLOCK_MONOTONIC`, in nanoseconds.
    pub time: u64,
    /// As of a trace; `argv` is that of the first `go` command.
    pub start: Start,
    /// The share of trees that were chosen when this one was.
    pub share: f64,
    /// `/proc/PID/cgroup` of its first process; none if that had ended.
    pub cgroup: Option<String>,
}

/// Takes what is seen.
pub trait Watcher {
    /// A tree begins.
    fn began(&mut self, tree: TreeId, begun: Begun);
    /// Its first `go` command runs for a CI job, or for none.
    fn job(&mut self, tree: TreeId, job: Job);
    /// Things happened in it, in time order; they came in so many bytes.
    fn events(&mut self, tree: TreeId, events: &[Event], bytes: usize);
    /// Nobody of it lives any more; none if its first process was met too late to see how it ended.
    fn ended(&mut self, tree: TreeId, end: Option<End>);
}

/// Counts, since the start unless said otherwise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Trees that were chosen, and that were passed over.
    pub chosen: u64,
    /// See `chosen`.
    pub passed_over: u64,
    /// Events that arrived, and that were lost.
    pub events: u64,
    /// See `events`.
    pub lost: u64,
    /// Executables with probes, now.
    pub executables: u64,
    /// `go` commands that could not be given probes.
    pub refused: u64,
    /// Of `refused`, those for which there was no room.
    pub refused_for_room: u64,
    /// Of `refused`, those that are for another machine.
    pub refused_for_machine: u64,
    /// Of `refused`, those into which the kernel put no probes, or that it did not let us open or
    /// watch.
    pub refused_by_kernel: u64,
    /// Trees of which the beginning was missed.
    pub late: u64,
    /// Trees that were running already when the watch began, or were gone before it was known that
    /// their executable is a `go` command.
    pub missed: u64,
    /// Trees that were chosen, of which nothing was seen.
    pub unseen: u64,
}

/// Everything that watches a host. Dropping it has every probe taken out, for which nobody waits.
pub struct Host {
    programs: Programs,
    files: Files,
    trees: Trees,
    start: Start,
    /// Records that the kernel could not send.
    dropped: u64,
    lost: u64,
    /// Whether some were lost since the last sweep.
    is_lossy: bool,
    /// Whether the last drain has left some of what had come in: then it is not known of everybody
    /// what has come of them.
    is_behind: bool,
    unseen: u64,
    /// Trees of which nothing had come at the last sweep, although they were chosen.
    doubted: u64,
    /// Processes that were met late: one that was ending already is in no event any more.
    met_late: Vec<(TreeId, u32)>,
    /// Trees that were given up, of which processes may live that were started meanwhile.
    given_up: HashSet<TreeId>,
    /// First processes of the trees that are passed over, and that were over at the last sweep but
    /// for what they have left running.
    over: HashSet<u32>,
    missed: u64,
    /// What was executed and gone when it was to be looked at: each is a tree, if it is a `go` command.
    unmet: VecDeque<FileKey>,
    /// Trees that were chosen by us, and passed over, as their executable was not known.
    adopted: [u64; 2],
    /// What the kernel was told last of how many of its trees were told of.
    told: u64,
    /// See [`Host::untold`].
    untold: Option<u64>,
    /// When it was last forgotten what files turned out to be, by `CLOCK_MONOTONIC`.
    forgot: u64,
}

/// So many are kept in mind: most are no `go` commands.
const UNMET_MAX: usize = 1024;

/// How long toolchains are looked for. With [`RUNNING`] that is less than the service manager waits
/// for the next sign of life.
const AT_START: Patience =
    Patience { search: Duration::from_secs(10), work: Duration::from_secs(20) };
/// See [`AT_START`]: events are waiting.
const AT_SWEEPS: Patience =
    Patience { search: Duration::from_millis(200), work: Duration::from_secs(2) };
/// How long is looked at what runs when the watch begins.
const RUNNING: Duration = Duration::from_secs(10);
/// How long is looked at what was executed, before the next events are read.
const MEETING: Duration = Duration::from_secs(5);
/// So many trees may begin before those that have ended are handed on.
const TREES_AT_A_TIME: u64 = 64;
/// How long is believed what a file turned out to be, in nanoseconds: of two overlays one may show
/// another file under the same number.
const BELIEVED: u64 = 3_600_000_000_000;

/// The threshold that chooses all trees.
const ALL: f64 = 4_294_967_296.0;

/// The share of trees that a threshold chooses.
#[expect(clippy::cast_precision_loss, reason = "it has 33 bits at most")]
fn share_of(threshold: u64) -> f64 {
    threshold as f64 / ALL
}

/// The threshold that chooses a share of trees, from 0 to 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn threshold_of(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * ALL).round() as u64
}

impl Host {
    /// Puts probes into the toolchains that can be found, and follows all that begins from here on.
    /// `seed` makes the choice that of this host. What was before ends.
    pub fn watch(seed: u64, share: f64, before: Predecessor) -> anyhow::Result<Self> {
        check_privileges()?;
        if rights::are_of_the_file() && !getuid().is_root() {
            return Err(Error::CannotTrace {
                why: "the agent watches all users' builds, and the rights that it has are of \
                      whoever starts this program"
                    .to_owned(),
                advice: Some("start it as root, or by a unit with AmbientCapabilities="),
            }
            .into());
        }
        descriptors::make_room();
        if pids::our_namespace()?.is_some() {
            return Err(Error::CannotTrace {
                why: "the agent must see the processes of the host, and is in a pid namespace of \
                      its own"
                    .to_owned(),
                advice: Some(
                    "start it outside of the container, or with the host's pids (docker run \
                     --pid=host, hostPID: true)",
                ),
            }
            .into());
        }
        let load = || {
            let offsets = (btf::kernel_offsets()?, btf::host_offsets()?);
            Programs::load_for_host(offsets.0, offsets.1)
        };
        let mut programs = load().map_err(|error| cannot_trace(&error))?;
        programs.sample(Sampling { seed, threshold: threshold_of(share) })?;
        let start = Start {
            proxytrace: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel_release(),
            backend: programs.backend().to_owned(),
            ..Start::default()
        };
        let files = Files::new().map_err(|error| Error::CannotTrace {
            why: format!("files cannot be watched for changes (inotify: {error})"),
            advice: Some(
                "raise fs.inotify.max_user_instances: other programs of this user have them all",
            ),
        })?;
        let mut host = Self {
            programs,
            files,
            trees: Trees::default(),
            start,
            dropped: 0,
            lost: 0,
            is_lossy: false,
            is_behind: false,
            unseen: 0,
            doubted: 0,
            met_late: Vec::new(),
            given_up: HashSet::new(),
            over: HashSet::new(),
            missed: 0,
            unmet: VecDeque::new(),
            adopted: [0; 2],
            told: 0,
            untold: None,
            forgot: monotonic_now(),
        };
        host.files.foresee(AT_START, &mut host.programs);
        host.programs.follow_processes().map_err(|error| cannot_trace(&error))?;
        // What another version left may be of another form.
        let untold = before.end(&host.programs).ok().flatten();
        host.untold = untold.as_ref().map(|untold| untold.trees);
        host.missed = host.find_running(&untold.unwrap_or_default().running)?;
        // Who ran these ran before.
        host.files.take_released();
        Ok(host)
    }

    /// Puts probes into what runs already, wherever that is, and counts the trees: nothing is known
    /// of how they began, so that they are passed over, with all that they start. The processes of
    /// some are counted already.
    fn find_running(&mut self, counted: &HashSet<u32>) -> anyhow::Result<u64> {
        let Self { programs, files, .. } = self;
        let mut joined = HashSet::new();
        let running = running::commands();
        // Before any of them gets probes, which takes a while. What these start from here on is
        // followed, too: at last these are all.
        loop {
            let mut is_all = true;
            for (pid, root) in running::with_below(&running) {
                if programs.join_new(pid, Member { tree: 0, executable: ANY, root })? {
                    joined.insert(pid);
                    is_all = false;
                }
            }
            if is_all {
                break;
            }
        }
        let members = programs.members()?.into_iter().map(|(pid, _)| pid);
        let members = members.filter(|pid| !joined.contains(pid));
        let known: HashSet<u32> = members.chain(counted.iter().copied()).collect();
        let missed = running::trees(&running, &known);
        let end = Instant::now() + RUNNING;
        // The others get probes when somebody executes them.
        for &pid in running.keys().take_while(|_| Instant::now() < end) {
            let Some(executable) = files.meet(pid, programs) else { continue };
            let member = programs.member(pid)?.filter(|_| joined.contains(&pid));
            // It may have become another `go` since.
            if let Some(member) = member.filter(|member| member.executable == ANY) {
                programs.reassign(pid, Member { executable, ..member })?;
            }
        }
        for pid in joined {
            if !lives(pid) {
                // Nobody would take it out again.
                programs.part(pid)?;
            }
        }
        Ok(missed)
    }

    /// Chooses another share of the trees that begin from here on, or others.
    pub fn choose(&mut self, seed: u64, share: f64) -> anyhow::Result<()> {
        self.programs.sample(Sampling { seed, threshold: threshold_of(share) })
    }

    /// Waits until there is something to do, or one of `others` can be read, but no longer than
    /// `limit`.
    pub fn wait(&self, others: &[BorrowedFd<'_>], limit: Duration) {
        let own = [self.programs.as_fd(), self.files.as_fd()];
        let all = own.into_iter().chain(others.iter().copied());
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let limit = if self.has_more() { Duration::ZERO } else { limit };
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    }

    /// What must be held for the trees to be counted that begin when this is dropped: names for the
    /// service manager ([`KEPT`]), and descriptors.
    pub fn counting(&self) -> anyhow::Result<Vec<(&'static str, BorrowedFd<'_>)>> {
        self.programs.counting()
    }

    /// The trees that were chosen before this began, and of which no agent tells; none if nobody has
    /// counted them.
    pub fn untold(&self) -> Option<u64> {
        self.untold
    }

    /// Hands the last on, and gives up what is running. What was chosen and has not come in is left
    /// to be counted, as is all that begins from here on.
    pub fn retire(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        let end = Instant::now() + MEETING;
        self.drain(watcher)?;
        while self.has_more() && Instant::now() < end {
            self.drain(watcher)?;
        }
        let running: Vec<TreeId> = self.trees.running.keys().copied().collect();
        for tree in running {
            self.give_up(tree)?;
        }
        Ok(())
    }

    /// Whether putting probes in takes `CAP_SYS_ADMIN`, now and later.
    pub fn takes_administrator(&self) -> bool {
        self.programs.backend() == "perf"
    }

    /// The `go` commands that got no probes since this was last asked, and why; no more than a few.
    pub fn take_refused(&mut self) -> Vec<Attach> {
        self.files.refusals.take_told()
    }

    /// How many trees are running.
    pub fn running(&self) -> usize {
        self.trees.running.len()
    }

    /// Counts.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        let (chosen, passed_over) = self.programs.choices()?;
        Ok(Counts {
            chosen: chosen + self.adopted[1],
            passed_over: passed_over + self.adopted[0],
            events: self.trees.events,
            lost: self.lost,
            executables: self.files.count() as u64,
            refused: self.files.refusals.all,
            refused_for_room: self.files.refusals.for_room,
            refused_for_machine: self.files.refusals.for_machine,
            refused_by_kernel: self.files.refusals.by_kernel,
            late: self.trees.late,
            missed: self.missed,
            unseen: self.unseen,
        })
    }

    /// Whether something has come in that the last [`drain`](Self::drain) has left for the next.
    fn has_more(&self) -> bool {
        self.is_behind || !self.trees.news.is_empty()
    }

    /// Reads what has come in and hands it on: no more than what begins some trees, as those that have
    /// ended are to go before others come. Beyond some number of them builds are refused.
    pub fn drain(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        // Before what has come of them is read.
        let mut gone: Vec<_> = self.met_late.extract_if(.., |(_, pid)| !lives(*pid)).collect();
        self.files.look_after(monotonic_now(), &mut self.programs);
        self.lose_released()?;
        self.is_behind = self.read(watcher)?.is_break();
        self.meet_news(watcher)?;
        if self.is_behind {
            // Their ends may be among what is left.
            self.met_late.append(&mut gone);
        }
        for (tree, pid) in gone {
            if let Some(tree) = self.trees.running.get_mut(&tree)
                && tree.live.remove(&pid)
            {
                self.programs.part(pid)?;
            }
        }
        self.trees.hand_on(watcher);
        if !self.is_behind {
            let oldest = self.trees.oldest();
            self.files.let_gone_go(oldest, &mut self.programs);
        }
        self.lose_released()
    }

    /// Reads what has come in, until there is no more of it or many trees have begun.
    fn read(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<ControlFlow<()>> {
        let Self { programs, files, trees, start, .. } = self;
        let begin = |at| beginning(start, at);
        let full = trees.begun + TREES_AT_A_TIME;
        let read = programs.drain(|record| {
            trees.take(record, files, &begin, watcher);
            if trees.begun < full { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let dropped = self.programs.lost()?;
        let malformed = std::mem::take(&mut self.trees.malformed);
        let lost = dropped - self.dropped + malformed;
        self.dropped = dropped;
        self.lost += lost;
        if lost > 0 {
            self.is_lossy = true;
            self.trees.lose(lost, monotonic_now());
        }
        Ok(read)
    }

    /// Looks at what was executed, as long as there is time.
    fn meet_news(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        let end = Instant::now() + MEETING;
        let mut full = self.trees.begun + TREES_AT_A_TIME;
        while Instant::now() < end
            && let Some(next) = self.trees.news.pop_front()
        {
            self.meet(&next, watcher)?;
            // These may have ended long ago.
            if self.trees.begun >= full {
                self.trees.hand_on(watcher);
                full = self.trees.begun + TREES_AT_A_TIME;
            }
        }
        for file in self.trees.put_off(monotonic_now()) {
            self.has_not_met(file);
        }
        Ok(())
    }

    /// What was handed on has arrived: has the kernel know of how many of its trees there is nothing
    /// more to tell.
    pub fn told(&mut self) -> anyhow::Result<()> {
        let over = self.trees.begun - self.trees.running.len() as u64 + self.unseen;
        // Less than none, while all that run are ours.
        let told = over.wrapping_sub(self.adopted[1]);
        if told != self.told {
            self.programs.tell(told)?;
            self.told = told;
        }
        Ok(())
    }

    /// Somebody has executed a file that was not known.
    fn meet(&mut self, news: &News, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        let Self { programs, files, trees, .. } = self;
        match files.look(&news.record(), news.file) {
            Look::Unknown => {
                programs.unsee(&news.file)?;
                if news.begins.is_some() {
                    self.has_not_met(news.file);
                } else {
                    trees.may_lack(news, monotonic_now());
                }
                return Ok(());
            }
            Look::Other => return programs.pass_over(&news.file),
            Look::Refused(attach) => {
                if news.begins.is_none() {
                    trees.lacks(news.pid, &attach);
                }
                return programs.refuse(&news.file);
            }
            Look::Known(index) => {
                files.also(index, news.file, programs);
                self.adopt(news, index, watcher)?;
            }
            Look::Go(candidate) => {
                if !self.attach(news, *candidate, watcher)? {
                    return Ok(());
                }
            }
        }
        let before = self.unmet.len();
        self.unmet.retain(|file| *file != news.file);
        self.missed += (before - self.unmet.len()) as u64;
        Ok(())
    }

    /// Somebody has executed a file that was not looked at in time.
    fn has_not_met(&mut self, file: FileKey) {
        self.unmet.truncate(UNMET_MAX - 1);
        self.unmet.push_front(file);
    }

    /// Puts probes into a `go` command that somebody has just begun to run; says whether it got them.
    fn attach(
        &mut self,
        news: &News,
        candidate: Candidate,
        watcher: &mut dyn Watcher,
    ) -> anyhow::Result<bool> {
        let Self { programs, files, trees, .. } = self;
        match files.attach(candidate, news.file, programs) {
            Ok(index) => {
                self.adopt(news, index, watcher)?;
                Ok(true)
            }
            Err(refused) => {
                if news.begins.is_none() {
                    trees.lacks(news.pid, &refused.attach);
                }
                self.lose_released()?;
                Ok(false)
            }
        }
    }

    /// Follows the process that runs a `go` command which was not known when it began.
    fn adopt(&mut self, news: &News, index: u32, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        let Self { programs, files, trees, start, .. } = self;
        let Some(tree) = news.begins else {
            // It belongs to a tree already, of which nobody is told if it is passed over.
            let member = programs.member(news.pid)?;
            if let Some(member) = member
                && member.executable == ANY
            {
                programs.reassign(news.pid, Member { executable: index, ..member })?;
            }
            // It has become another `go` since, of which the probes speak.
            let is_other = member.is_some_and(|it| ![ANY, index].contains(&it.executable));
            match trees.of(news.pid) {
                Some(tree) if is_other => trees.was_go(tree, index, files),
                _ => trees.is_go(&news.record(), index, files),
            }
            return Ok(());
        };
        // It has become another `go` since, before this one was known.
        match trees.after(&news.record()) {
            // The kernel has begun a tree with that: what came before was missed.
            Some(After::Before(tree)) => {
                trees.was_go(tree, index, files);
                return Ok(());
            }
            // It was that, and is met in its turn: this belongs to the same.
            Some(After::Since(tree)) => {
                let member = Member { tree, executable: index, root: first_of(tree) };
                programs.reassign(news.pid, member)?;
                trees.become_go(tree, &news.record(), index, files);
                return Ok(());
            }
            None if programs.member(news.pid)?.is_some() => {
                // What tells of that tree is on its way; or it has been passed over.
                trees.untold.insert(news.pid, index);
                return Ok(());
            }
            None => {}
        }
        // Whoever started it may have been met just before.
        let parent = news.record().pid_in(Tag::Parent);
        let parents = match parent {
            None => None,
            Some(pid) => match trees.of(pid) {
                Some(tree) => Some((tree, first_of(tree))),
                None => programs.member(pid)?.map(|member| (member.tree, member.root)),
            },
        };
        let (tree, root) = parents.unwrap_or((tree, news.pid));
        if !programs.join(news.pid, Member { tree, executable: index, root })? {
            // As many are followed as can be: the kernel loses what begins then, too.
            self.lost += 1;
            self.is_lossy = true;
            if let Some(tree) = trees.running.get_mut(&tree) {
                tree.lose(1, monotonic_now());
            }
            return Ok(());
        }
        if parents.is_none() {
            self.adopted[usize::from(tree != 0)] += 1;
        }
        if !lives(news.pid) {
            // Nobody would take it out again.
            programs.part(news.pid)?;
        }
        if tree != 0 {
            if let Some(parent) = parent.filter(|_| parents.is_some()) {
                trees.join(tree, parent, &news.record(), index, files);
            } else {
                let begin = |at| beginning(start, at);
                let (record, cgroup, job) = (news.record(), news.cgroup.clone(), news.job.clone());
                let first = First { record: &record, executable: index, cgroup, job };
                trees.begin(tree, first, files, &begin, watcher);
            }
            if lives(news.pid) {
                self.met_late.push((tree, news.pid));
            } else if let Some(tree) = trees.running.get_mut(&tree) {
                tree.live.remove(&news.pid);
            }
        }
        Ok(())
    }

    /// Gives up a tree: it is passed over from here on.
    pub fn give_up(&mut self, tree: TreeId) -> anyhow::Result<()> {
        self.given_up.insert(tree);
        let Some(tree) = self.trees.remove(tree) else { return Ok(()) };
        for pid in tree.live {
            if let Some(member) = self.programs.member(pid)? {
                self.programs.reassign(pid, Member { tree: 0, ..member })?;
            }
        }
        Ok(())
    }

    /// Looks after what no event tells of: to be called every minute or so.
    pub fn sweep(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        // Before what has come of them is read.
        let (chosen, _) = self.programs.choices()?;
        self.find_lost(watcher)?;
        if !self.is_behind {
            self.count_unseen(chosen);
            self.trees.untold.clear();
        }
        let running = self.programs.running()?;
        self.files.let_go(&running, &mut self.programs);
        self.lose_released()?;
        self.files.foresee(AT_SWEEPS, &mut self.programs);
        let now = monotonic_now();
        let is_old = now.saturating_sub(self.forgot) >= BELIEVED;
        // What was lost may have told of a file that nobody tells of again.
        if std::mem::take(&mut self.is_lossy) || is_old {
            self.programs.unsee_all()?;
            self.forgot = now;
        }
        Ok(())
    }

    /// Who runs an executable whose probes were taken out is not seen to its end. To be called before
    /// another one gets that number.
    fn lose_released(&mut self) -> anyhow::Result<()> {
        let released = self.files.take_released();
        if released.is_empty() {
            return Ok(());
        }
        let now = monotonic_now();
        for (pid, member) in self.programs.members()? {
            if released.contains(&member.executable) {
                // Another one may get that number.
                self.programs.reassign(pid, Member { executable: ANY, ..member })?;
                if let Some(tree) = self.trees.running.get_mut(&member.tree) {
                    tree.lose(1, now);
                }
            }
        }
        Ok(())
    }

    /// Trees of which the first process and every `go` have ended, as at the last sweep: what they have
    /// left running is no part of the build, and may run for ever (git's `fsmonitor--daemon`). It is
    /// followed no more.
    fn part_with_daemons(&mut self, members: &HashMap<u32, Member>) -> anyhow::Result<()> {
        for (&id, tree) in &mut self.trees.running {
            let is_other =
                |pid| members.get(pid).is_some_and(|it| it.tree == id && it.executable == ANY);
            let is_over = tree.has_ended() && tree.live.iter().all(is_other);
            if std::mem::replace(&mut tree.is_over, is_over) && is_over {
                for pid in tree.live.drain() {
                    self.programs.part(pid)?;
                }
                // One that was just started may still say that it belongs to it.
                self.given_up.insert(id);
            }
        }
        Ok(())
    }

    /// The same of trees that are passed over.
    fn part_with_others(&mut self, members: &HashMap<u32, Member>) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.over, over(members));
        for (&pid, member) in members {
            let is_over = |roots: &HashSet<u32>| roots.contains(&member.root);
            let is_left = member.tree == 0 && is_over(&before) && is_over(&self.over);
            // It may have become a `go` since.
            if is_left && self.programs.member(pid)? == Some(*member) {
                self.programs.part(pid)?;
            }
        }
        Ok(())
    }

    /// Of trees that began while the ring was full nothing has come, once they are over. What is missing
    /// at two sweeps is not on its way any more.
    fn count_unseen(&mut self, chosen: u64) {
        if self.is_lossy || self.doubted > 0 {
            let known = self.trees.begun + self.unseen;
            let missing = (chosen + self.adopted[1]).saturating_sub(known);
            let sure = missing.min(self.doubted);
            self.unseen += sure;
            self.doubted = missing - sure;
        }
    }

    /// Where records were lost, we and the kernel may not agree on who is followed.
    fn find_lost(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        let members: HashMap<u32, Member> = self.programs.members()?.into_iter().collect();
        let missing: Vec<(TreeId, u32)> = (self.trees.running.iter())
            .flat_map(|(&id, tree)| tree.live.iter().map(move |&pid| (id, pid)))
            .filter(|(id, pid)| members.get(pid).is_none_or(|member| member.tree != *id))
            .collect();
        self.part_with_daemons(&members)?;
        self.part_with_others(&members)?;
        let known: HashSet<TreeId> = self.trees.running.keys().copied().collect();
        // What was on its way when we looked arrives here.
        self.drain(watcher)?;
        let mut strays = HashSet::new();
        for (&pid, member) in &members {
            if !lives(pid) {
                self.programs.part(pid)?;
            } else if !self.is_behind
                && member.tree != 0
                && !known.contains(&member.tree)
                && !self.trees.running.contains_key(&member.tree)
            {
                self.programs.reassign(pid, Member { tree: 0, ..*member })?;
                strays.insert(member.tree);
            }
        }
        // Of one that was given up it is known, until nobody of it is left.
        self.unseen += strays.difference(&self.given_up).count() as u64;
        let still: HashSet<TreeId> = members.values().map(|member| member.tree).collect();
        self.given_up.retain(|tree| still.contains(tree));
        for (id, pid) in missing {
            if !self.is_behind
                && let Some(tree) = self.trees.running.get_mut(&id)
                && !lives(pid)
            {
                tree.live.remove(&pid);
            }
        }
        self.trees.hand_on(watcher);
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.files.release_all(&mut self.programs);
    }
}

/// The first processes of the trees that are passed over, where these and every `go` have ended.
/// Another one that has such a number by now keeps what was left running for longer.
fn over(members: &HashMap<u32, Member>) -> HashSet<u32> {
    let passed_over = || members.values().filter(|member| member.tree == 0);
    let go = passed_over().filter(|member| member.executable != ANY);
    let with_go: HashSet<u32> = go.map(|member| member.root).collect();
    let is_there = |root: &u32| members.get(root).is_some_and(|first| first.root == *root);
    let is_over = |root: &u32| !with_go.contains(root) && !is_there(root);
    passed_over().map(|member| member.root).filter(is_over).collect()
}

/// What a trace begins with that began then, by `CLOCK_MONOTONIC`: it may be a while until we come
/// to that.
fn beginning(start: &Start, at: u64) -> Start {
    let now = jiff::Timestamp::now();
    let since = Duration::from_nanos(monotonic_now().saturating_sub(at));
    let started_at = now.checked_sub(since).unwrap_or(now).to_string();
    Start { started_at, ..start.clone() }
}

/// Waits until the probes of the hosts that are not watched any more are out: before the process
/// ends, which would leave some where they are.
pub fn finish() {
    Remover::finish();
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn now() -> u64 {
    monotonic_now()
}

fn lives(pid: u32) -> bool {
    let exists = kill(Pid::from_raw(pid.cast_signed()), None);
    exists != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process, its tree, executable and root.
    type Row = (u32, u64, u32, u32);

    /// However its processes are related by now, and whether it is known what they run.
    #[test]
    fn a_passed_over_tree_is_over_when_its_first_process_and_every_go_have_ended() {
        const GO: u32 = 3;
        let cases: [(&[Row], &[u32]); 7] = [
            (&[(7, 0, GO, 7), (8, 0, ANY, 7)], &[]),
            // What the first process runs is not there any more, or has no probes.
            (&[(7, 0, ANY, 7), (8, 0, ANY, 7)], &[]),
            (&[(8, 0, ANY, 7), (9, 0, GO, 7)], &[]),
            (&[(8, 0, ANY, 7), (9, 0, ANY, 7)], &[7]),
            // Another tree began with a process of that number, or has a process that has it.
            (&[(7, 1, GO, 7), (8, 0, ANY, 7)], &[]),
            (&[(7, 0, GO, 5), (8, 0, ANY, 7)], &[7]),
            (&[(8, 1, ANY, 7), (9, 0, ANY, 5), (11, 0, GO, 10)], &[5]),
        ];
        for (members, expected) in cases {
            let member = |tree, executable, root| Member { tree, executable, root };
            let all = members.iter().map(|row| (row.0, member(row.1, row.2, row.3)));
            let all: HashMap<u32, Member> = all.collect();
            let expected: HashSet<u32> = expected.iter().copied().collect();
            assert_eq!(over(&all), expected, "{members:?}");
        }
    }

    /// However late we come to it.
    #[test]
    fn a_trace_begins_when_its_first_process_did() {
        let begun = |at: u64| {
            let start = beginning(&Start::default(), at);
            start.started_at.parse::<jiff::Timestamp>().unwrap()
        };
        let (now, at) = (jiff::Timestamp::now(), monotonic_now());
        for (at, seconds) in [(at - 3_000_000_000, -3), (at, 0), (at + 3_600_000_000_000, 0)] {
            let off = begun(at).duration_since(now) - jiff::SignedDuration::from_secs(seconds);
            assert!(off.abs() < jiff::SignedDuration::from_secs(1), "{seconds}: {off:?}");
        }
    }

    #[test]
    fn a_tree_is_named_after_its_first_process() {
        for pid in [1, 4_194_303] {
            assert_eq!(first_of(proxytrace_common::host::tree(u64::MAX, pid)), pid);
        }
    }
}
