//! The `go` commands of a host: which have probes, and when these must go.
//!
//! A file that is replaced keeps its probes as long as trees run that may use it. One that is
//! written to loses them at once: they would stand at places of the new contents that nobody has
//! proven. A probe also keeps the mount of its file busy, so that a container's go when it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::{major, minor};
use proxytrace_common::host::{ANY, FileKey};
use proxytrace_common::record::Tag;

use super::refusals::{Refusals, Refused, Why};
use super::root::{self, Root, mount_namespace};
use super::search::Search;
use super::{overlay, places};
use crate::capture::executables::{Executables, Identity, link_to, read_once};
use crate::capture::monotonic_now;
use crate::capture::program::Programs;
use crate::capture::record::Record;
use crate::capture::regular;
use crate::event::Attach;
use crate::gobinary::{self, Plan};

/// Toolchains that get probes before anyone executes them.
const FORESEEN_MAX: usize = 32;
/// Reads of what inotify has to tell, at a time: far more than its queue has room for by default.
const READS_MAX: usize = 1024;
/// How long one that was not among them keeps its probes without being executed.
const IDLE: Duration = Duration::from_hours(1);
/// For tests: another time, in seconds.
const IDLE_VAR: &str = "PROXYTRACE_IDLE";

/// How long toolchains may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// To be found.
    pub(super) search: Duration,
    /// To be read and to get probes, after that.
    pub(super) work: Duration,
}

/// A `go` command that has probes.
struct Known {
    file: File,
    identity: Identity,
    /// What the kernel calls it: on some file systems that is not what a file's metadata say.
    keys: Vec<FileKey>,
    attach: Rc<Attach>,
    watch: WatchDescriptor,
    /// Whether it was found, rather than met, and is still where it was found.
    is_foreseen: bool,
    /// The mount namespace in which it was met, if that is not ours.
    namespace: Option<u64>,
    /// When it got its probes, by `CLOCK_MONOTONIC`.
    since: u64,
    /// Since when it is not there any more.
    gone: Option<u64>,
}

impl Known {
    /// When it was last executed, or got its probes.
    fn used(&self, programs: &Programs) -> u64 {
        self.keys.iter().map(|key| programs.used(key)).fold(self.since, u64::max)
    }

    /// Since when it must have been used to keep its probes: `idle`; `swept`, if the namespace in
    /// which it was met is none of these any more, as what is on a volume outlives that, and others
    /// may execute it. One that is found need not be used.
    fn needed(&self, namespaces: &BTreeSet<u64>, idle: u64, swept: u64) -> u64 {
        let is_homeless = self.namespace.is_some_and(|it| !namespaces.contains(&it));
        match (self.is_foreseen, is_homeless) {
            (true, _) => 0,
            (false, true) => swept,
            (false, false) => idle,
        }
    }

    /// Somebody has changed what its metadata say, and nothing else. Says whether it is gone.
    fn renew(&mut self) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        self.identity = Identity::from(&metadata);
        is_gone(&metadata)
    }

    /// Whether somebody may have written to it.
    fn is_changed(&self) -> bool {
        Identity::of(&self.file).ok() != Some(self.identity)
    }
}

/// All of them: which have probes, how these are watched, and which got none.
pub(super) struct Files {
    pub(super) executables: Executables,
    known: BTreeMap<u32, Known>,
    inotify: Inotify,
    /// Mount namespaces that do not go: ours, and that of the host's first process; and where what
    /// is in them can be found.
    lasting: Vec<(u64, &'static Path)>,
    /// Of the machine, and of its users.
    searches: [Search; 2],
    /// See [`IDLE`]; in nanoseconds.
    idle: u64,
    /// When was last looked for what nobody uses any more, by `CLOCK_MONOTONIC`.
    swept: u64,
    /// Executables whose probes were taken out, since this was last asked.
    released: BTreeSet<u32>,
    pub(super) refusals: Refusals,
}

/// What a file turned out to be.
pub(super) enum Look {
    /// Cannot be said: its process has gone.
    Unknown,
    /// No `go` command, or one that gets no probes.
    Other,
    /// A `go` command that has probes already.
    Known(u32),
    /// A `go` command that has got none before.
    Refused(Rc<Attach>),
    /// A `go` command that should get some.
    Go(Box<Candidate>),
}

/// A `go` command without probes.
pub(super) struct Candidate {
    file: File,
    identity: Identity,
    /// By which it is executed.
    path: PathBuf,
    plan: Result<Plan, gobinary::Error>,
    namespace: Option<u64>,
}

/// A file that is executed, and where it is best met.
struct Found {
    file: File,
    identity: Identity,
    /// By which it is executed.
    path: PathBuf,
    /// The mount namespace that it is met in, unless that lasts.
    namespace: Option<u64>,
}

impl Files {
    /// Without inotify nothing may get probes: nobody would take them out of a file that is changed.
    pub(super) fn new() -> Result<Self, Errno> {
        let idle = std::env::var(IDLE_VAR).ok().and_then(|seconds| seconds.parse().ok());
        let idle = idle.map_or(IDLE, Duration::from_secs);
        Ok(Self {
            executables: Executables::default(),
            known: BTreeMap::new(),
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            lasting: lasting(),
            searches: [Search::by(places::of_machine), Search::by(places::of_users)],
            idle: u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX),
            swept: 0,
            released: BTreeSet::new(),
            refusals: Refusals::default(),
        })
    }

    /// How many have probes.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Readable when a file was changed.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// What is known of the probes in an executable.
    pub(super) fn attached(&self, index: u32) -> Option<Rc<Attach>> {
        self.known.get(&index).map(|known| Rc::clone(&known.attach))
    }

    /// Executables whose probes were taken out since the last call.
    pub(super) fn take_released(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.released)
    }

    /// Puts probes into what is found in the usual places, where something has changed there. What is
    /// not found in that time, or not looked at, is another time's.
    pub(super) fn foresee(&mut self, patience: Patience, programs: &mut Programs) {
        self.searches.iter_mut().for_each(|search| search.begin(&self.lasting));
        let end = Instant::now() + patience.search;
        let over = end + patience.work;
        for number in 0..self.searches.len() {
            let found = self.searches[number].end(end.saturating_duration_since(Instant::now()));
            for (path, identity) in found {
                if self.is_to_be_looked_at(number, &path, identity, over) {
                    self.foresee_one(number, &path, identity, programs);
                }
            }
        }
        let Self { known, searches, .. } = self;
        // One that has not come to its end may yet find it.
        if searches.iter().all(|search| !search.is_pending()) {
            for known in known.values_mut() {
                known.is_foreseen &= searches.iter().any(|search| search.has(&known.identity));
            }
        }
    }

    /// Whether a place that was found is to be looked at, now. One for which there is no room or no
    /// time is found again at the next search.
    fn is_to_be_looked_at(
        &mut self,
        search: usize,
        path: &Path,
        identity: Identity,
        over: Instant,
    ) -> bool {
        // Of two mount namespaces with the same file one is enough.
        let is_refused = self.searches.iter().any(|search| search.refused.contains(&identity));
        if is_refused || self.is_found(identity) {
            return false;
        }
        let is_now = self.may_foresee() && Instant::now() < over;
        if !is_now {
            self.searches[search].places.remove(path);
        }
        is_now
    }

    /// The same for one place. What could not be looked at is found again at the next search.
    fn foresee_one(
        &mut self,
        search: usize,
        path: &Path,
        identity: Identity,
        programs: &mut Programs,
    ) {
        let again = |files: &mut Self| _ = files.searches[search].places.remove(path);
        let Some(file) = regular::open(path).ok() else { return again(self) };
        // By now it may be another one.
        if Identity::of(&file).ok() != Some(identity) {
            return again(self);
        }
        let Some(plan) = read_once(&file, identity) else { return };
        let key = key_of(&file, &identity);
        let name = called(&file);
        let candidate = Candidate { file, identity, path: name, plan, namespace: None };
        match self.attach(candidate, key, programs) {
            Ok(index) => {
                if let Some(known) = self.known.get_mut(&index) {
                    known.is_foreseen = true;
                }
            }
            Err(Refused { is_for_good: true, .. }) => self.searches[search].refused.push(identity),
            Err(_) => again(self),
        }
    }

    /// Whether another one may have probes before anyone executes it.
    fn may_foresee(&self) -> bool {
        self.known.values().filter(|known| known.is_foreseen).count() < FORESEEN_MAX
    }

    /// Whether a file that is found has probes already. It may have been met first, elsewhere, or
    /// not have been there for a while.
    fn is_found(&mut self, identity: Identity) -> bool {
        let may_foresee = self.may_foresee();
        let known = self.known.values_mut().find(|known| known.identity == identity);
        let Some(known) = known else { return false };
        known.is_foreseen |= may_foresee;
        true
    }

    /// The index of the `go` command that a process runs, if it runs one, which gets probes if it
    /// has none; [`ANY`] where it cannot get them.
    pub(super) fn meet(&mut self, pid: u32, programs: &mut Programs) -> Option<u32> {
        let file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let identity = Identity::of(&file).ok()?;
        let lasts = |mounts: &u64| self.lasting.iter().any(|(number, _)| number == mounts);
        let mounts = mount_namespace(&pid.to_string());
        let namespace = mounts.filter(|mounts| !lasts(mounts));
        let key = key_of(&file, &identity);
        let found = self.find(file, identity, namespace, [u64::from(pid)].into_iter());
        let Found { file, identity, path, namespace } = found;
        if let Some(index) = self.known_as(key, identity, namespace) {
            return Some(index);
        }
        let plan = read_once(&file, identity)?;
        let candidate = Candidate { file, identity, path, plan, namespace };
        // What is refused is counted there.
        Some(self.attach(candidate, key, programs).unwrap_or(ANY))
    }

    /// The index of a file that has probes already. One file in two mounts may have two keys, and
    /// is known by its metadata: not across overlays of which the layers were not found, where equal
    /// metadata may be of two files.
    fn known_as(&self, key: FileKey, identity: Identity, namespace: Option<u64>) -> Option<u32> {
        let is_overlay = key.device == FileKey::OVERLAY;
        let is_it = |known: &Known| {
            known.identity == identity && (known.namespace == namespace || !is_overlay)
        };
        self.known.iter().find(|(_, known)| is_it(known)).map(|(&index, _)| index)
    }

    /// Looks at the file that a process has just executed.
    pub(super) fn look(&mut self, exec: &Record<'_>, key: FileKey) -> Look {
        if let Some(attach) = self.refusals.of(key) {
            return Look::Refused(attach);
        }
        let pid = exec.pid;
        let mounts = exec.number(Tag::Mounts).unwrap_or(0);
        let name = exec.text(Tag::Executable).unwrap_or_default();
        let known_by = |file: File| {
            let identity = Identity::of(&file).ok()?;
            // By now it may be another one.
            (identity.size == key.size).then_some((file, identity))
        };
        let root = self.lasting.iter().find(|(number, _)| *number == mounts).map(|(_, root)| *root);
        // What the process runs by now may be another one of that size, of which nothing is to be
        // said of this one. An overlay whose layers are on several file systems adds to the number.
        let is_it = |(file, identity): &(File, Identity)| {
            if key.device == FileKey::OVERLAY {
                overlay::shows(file)
            } else {
                identity.inode == key.inode
            }
        };
        let exe = PathBuf::from(format!("/proc/{pid}/exe"));
        let (by_process, error) = match regular::open(&exe) {
            Ok(file) => (known_by(file).filter(is_it), None),
            Err(error) => (None, Some(error)),
        };
        // One that was short is gone, and its file may be there.
        let by_name = || {
            let name = Path::new(&name).strip_prefix("/").ok()?;
            let ours = root.map(Path::to_owned);
            let roots = ours.into_iter().chain(root::of_ancestors(exec, mounts).map(|it| it.path));
            let mut files =
                roots.filter_map(|root| known_by(regular::open(&root.join(name)).ok()?));
            files.find(|(_, identity)| identity.inode == key.inode)
        };
        let Some((file, identity)) = by_process.or_else(by_name) else {
            // While it waited for us it may have become known.
            let known = self.known.iter().find(|(_, known)| known.keys.contains(&key));
            if let Some((&index, _)) = known {
                return Look::Known(index);
            }
            let unopened = error.and_then(|error| {
                let link = fs::read_link(&exe).ok()?;
                self.refusals.unopened(key, [Path::new(&name), &link], &error)
            });
            return unopened.map_or(Look::Unknown, Look::Refused);
        };
        let namespace = root.is_none().then_some(mounts);
        let seeing = [u64::from(pid)].into_iter().chain(exec.numbers(Tag::Ancestor));
        let Found { file, identity, path, namespace } =
            self.find(file, identity, namespace, seeing);
        if let Some(index) = self.known_as(key, identity, namespace) {
            return Look::Known(index);
        }
        match read_once(&file, identity) {
            None => Look::Other,
            Some(plan) => Look::Go(Box::new(Candidate { file, identity, path, plan, namespace })),
        }
    }

    /// Where a file that is executed in this mount namespace, unless that lasts, is found in lasting
    /// mounts: it is better met there, as it stays when the other ones go. `seeing`: threads that may
    /// see it under the same name.
    fn find(
        &self,
        file: File,
        identity: Identity,
        namespace: Option<u64>,
        mut seeing: impl Iterator<Item = u64>,
    ) -> Found {
        let path = called(&file);
        let Some(mounts) = namespace else { return Found { file, identity, path, namespace } };
        let roots: Vec<&Path> = self.lasting.iter().map(|(_, root)| *root).collect();
        let same = || {
            let name = path.strip_prefix("/").ok()?;
            let mut files = roots.iter().filter_map(|root| regular::open(&root.join(name)).ok());
            files.find(|file| Identity::of(file).is_ok_and(|there| there == identity))
        };
        let behind = || {
            if !overlay::shows(&file) {
                return None;
            }
            let seen = seeing.find_map(|thread| {
                let thread = thread.to_string();
                let seen = File::open(format!("/proc/{thread}/mountinfo")).ok()?;
                // By now it may be another thread.
                (mount_namespace(&thread) == Some(mounts)).then_some(seen)
            })?;
            overlay::behind(&identity, &path, seen, &roots)
        };
        let lasting = same().or_else(behind);
        match lasting.and_then(|file| Some((Identity::of(&file).ok()?, file))) {
            Some((identity, file)) => Found { file, identity, path, namespace: None },
            None => Found { file, identity, path, namespace },
        }
    }

    /// Where a process in this mount namespace has its files, if that will be there without it. It
    /// executed the file under this name: in a root of its own that is another one.
    pub(super) fn root(&self, executable: u32, mounts: u64, name: &Path) -> Option<Root> {
        let (_, root) = self.lasting.iter().find(|(number, _)| *number == mounts)?;
        let there = fs::metadata(root.join(name.strip_prefix("/").ok()?)).ok()?;
        let identity = &self.known.get(&executable)?.identity;
        ((there.dev(), there.ino()) == (identity.device, identity.inode))
            .then(|| Root::lasting(root))
    }

    /// Another name that the kernel has for a file with probes. Where it cannot be kept, whoever
    /// executes the file by it is not followed, and we are told each time.
    pub(super) fn also(&mut self, index: u32, key: FileKey, programs: &mut Programs) {
        let Some(known) = self.known.get_mut(&index) else { return };
        let is_its = known.keys.contains(&key);
        // Another one may have had it in the meantime.
        if is_its && programs.knows(&key, index) {
            return;
        }
        if programs.know(key, index).is_ok() {
            if !is_its {
                known.keys.push(key);
            }
        } else {
            self.refusals.count(Why::Room);
            let _ = programs.unsee(&key);
        }
    }

    /// Puts probes into a `go` command; yields its index. Where there is no room, some is made, for
    /// whoever executes the file next.
    pub(super) fn attach(
        &mut self,
        candidate: Candidate,
        key: FileKey,
        programs: &mut Programs,
    ) -> Result<u32, Refused> {
        let Candidate { file, identity, path, plan, namespace } = candidate;
        let sites = plan.as_ref().map_or(0, |plan| plan.sites.len());
        if !programs.has_room(sites) {
            // What was taken out before may make room in a moment.
            if !programs.is_leaving() {
                self.make_room(programs);
            }
            let _ = programs.unsee(&key);
            let reason = "other toolchains have all the room that there is".to_owned();
            return Err(self.refusals.for_now(&path, &plan, reason));
        }
        // Of what cannot be watched we would not learn that it is changed.
        let watch = match self.watch(&file) {
            Ok(watch) => watch,
            Err(error) => {
                let reason = format!("the file cannot be watched for changes (inotify: {error})");
                let _ = programs.refuse(&key);
                return Err(self.refusals.unwatched(key, &path, &plan, reason));
            }
        };
        let (index, attach) = self.executables.attach(&file, identity, path, plan, programs);
        let index = match index {
            Ok(index) => index,
            Err(why) => {
                let _ = programs.refuse(&key);
                self.unwatch(watch);
                return Err(self.refusals.for_good(key, attach, why));
            }
        };
        // It may have been refused before.
        self.refusals.forget(key);
        for search in &mut self.searches {
            search.refused.retain(|refused| *refused != identity);
        }
        let since = monotonic_now();
        // Of one that is gone before it is watched, no change is told.
        let gone = file.metadata().is_ok_and(|it| is_gone(&it)).then_some(since);
        let known = Known {
            file,
            identity,
            keys: Vec::new(),
            attach: Rc::new(attach),
            watch,
            is_foreseen: false,
            namespace,
            since,
            gone,
        };
        self.known.insert(index, known);
        self.also(index, key, programs);
        Ok(index)
    }

    fn watch(&self, file: &File) -> Result<WatchDescriptor, Errno> {
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        self.inotify.add_watch(&link_to(file), flags)
    }

    /// Ends a watch, unless it is that of another one as well.
    fn unwatch(&self, watch: WatchDescriptor) {
        if !self.known.values().any(|known| known.watch == watch) {
            let _ = self.inotify.rm_watch(watch);
        }
    }

    /// Takes the probes out of what was changed.
    pub(super) fn look_after(&mut self, now: u64, programs: &mut Programs) {
        let Some(changes) = changes(&self.inotify) else {
            // One that was written to may be among those that are not told of.
            let is_changed = |_, known: &Known, _: &Programs| known.is_changed();
            return self.release_those(is_changed, programs);
        };
        for (watch, mask) in changes {
            let watched = self.known.iter().filter(|(_, known)| known.watch == watch);
            let indices: Vec<u32> = watched.map(|(&index, _)| index).collect();
            for index in indices {
                if mask.contains(AddWatchFlags::IN_MODIFY) {
                    // Nobody runs it: who executes a file keeps it from being written to.
                    self.release(index, programs);
                } else if let Some(known) = self.known.get_mut(&index)
                    && known.renew()
                {
                    known.gone.get_or_insert(now);
                    let keys = known.keys.drain(..);
                    keys.for_each(|key| _ = programs.unknow(&key, index));
                }
            }
        }
    }

    /// Takes the probes out of what nobody uses any more, and has what the kernel refused tried
    /// again after a while. `running`: executables that somebody runs.
    pub(super) fn let_go(&mut self, running: &BTreeSet<u32>, programs: &mut Programs) {
        let now = monotonic_now();
        let is_foreign = self.known.values().any(|known| known.namespace.is_some());
        let namespaces = if is_foreign { mount_namespaces() } else { BTreeSet::new() };
        let idle = now.saturating_sub(self.idle);
        let swept = std::mem::replace(&mut self.swept, now);
        let over = |index: u32, known: &Known, programs: &Programs| {
            let needed = known.needed(&namespaces, idle, swept);
            !running.contains(&index) && known.used(programs) < needed
        };
        self.release_those(over, programs);
        self.refusals.try_again(now).iter().for_each(|key| _ = programs.unsee(key));
    }

    /// Takes the probes out of what is not there any more, when no tree is left that may use it.
    pub(super) fn let_gone_go(&mut self, oldest: Option<u64>, programs: &mut Programs) {
        let unused = |since: u64| oldest.is_none_or(|oldest| oldest > since);
        let over = |_, known: &Known, _: &Programs| known.gone.is_some_and(unused);
        self.release_those(over, programs);
    }

    fn release_those(
        &mut self,
        over: impl Fn(u32, &Known, &Programs) -> bool,
        programs: &mut Programs,
    ) {
        let over = self.known.iter().filter(|&(&index, known)| over(index, known, programs));
        let over: Vec<u32> = over.map(|(&index, _)| index).collect();
        for index in over {
            self.release(index, programs);
        }
    }

    /// Takes the probes out of the one that was not used for longest, and that nobody runs.
    fn make_room(&mut self, programs: &mut Programs) {
        let Ok(running) = programs.running() else { return };
        let unused =
            |(index, known): &(&u32, &Known)| !known.is_foreseen && !running.contains(index);
        let met = self.known.iter().filter(unused);
        let longest = met.min_by_key(|(_, known)| known.used(programs));
        if let Some(index) = longest.map(|(&index, _)| index) {
            self.release(index, programs);
        }
    }

    /// Takes the probes out of all, in the background.
    pub(super) fn release_all(&self, programs: &mut Programs) {
        self.known.keys().for_each(|index| programs.release(*index));
    }

    fn release(&mut self, index: u32, programs: &mut Programs) {
        programs.release(index);
        self.executables.forget(index);
        let Some(known) = self.known.remove(&index) else { return };
        self.released.insert(index);
        for key in known.keys {
            let _ = programs.unknow(&key, index);
            let _ = programs.unsee(&key);
        }
        self.unwatch(known.watch);
        for search in &mut self.searches {
            search.places.retain(|_, identity| *identity != known.identity);
        }
    }
}

/// What the kernel is likely to call a file: not on btrfs.
fn key_of(file: &File, identity: &Identity) -> FileKey {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let device = if overlay::shows(file) {
        FileKey::OVERLAY
    } else {
        FileKey::device(number(major(identity.device)), number(minor(identity.device)))
    };
    FileKey { inode: identity.inode, size: identity.size, device, padding: 0 }
}

/// Whether nobody can execute an open file any more, as it has no name.
fn is_gone(metadata: &fs::Metadata) -> bool {
    metadata.nlink() == 0
}

/// What has happened to each file that is watched since the last call; none if some is not told.
fn changes(inotify: &Inotify) -> Option<BTreeMap<WatchDescriptor, AddWatchFlags>> {
    let mut changes = BTreeMap::new();
    for _ in 0..READS_MAX {
        // There is nothing more.
        let Ok(events) = inotify.read_events() else { return Some(changes) };
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                return None;
            }
            *changes.entry(event.wd).or_insert_with(AddWatchFlags::empty) |= event.mask;
        }
    }
    None
}

/// The path of an open file, as whoever has it in his mounts sees it.
fn called(file: &File) -> PathBuf {
    let link = link_to(file);
    fs::read_link(&link).unwrap_or(link)
}

/// Mount namespaces that do not go, each once.
fn lasting() -> Vec<(u64, &'static Path)> {
    let ours = mount_namespace("self").map(|number| (number, Path::new("/")));
    let first = mount_namespace("1").map(|number| (number, Path::new("/proc/1/root")));
    let first = first.filter(|(number, _)| ours.is_none_or(|(ours, _)| ours != *number));
    ours.into_iter().chain(first).collect()
}

/// Those in which somebody lives.
fn mount_namespaces() -> BTreeSet<u64> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter_map(|pid| mount_namespace(&pid)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::NamedTempFile;

    use super::*;
    use crate::capture::host::tree::tests::exec;

    /// Has a file for one with probes, met in the first mount namespace.
    fn known(files: &Files, file: File) -> Known {
        Known {
            identity: Identity::of(&file).unwrap(),
            keys: Vec::new(),
            attach: Rc::default(),
            watch: files.watch(&file).unwrap(),
            is_foreseen: false,
            namespace: Some(1),
            since: 0,
            gone: None,
            file,
        }
    }

    /// One inode has one set of probes, whatever mounts it is seen in.
    #[test]
    fn a_file_that_is_no_overlay_is_known_in_all_mounts() {
        let mut files = Files::new().unwrap();
        let known = known(&files, tempfile::tempfile().unwrap());
        let identity = known.identity;
        files.known.insert(3, known);
        let other = Identity { changed: (0, 0), ..identity };
        for (device, identity, namespace, index) in [
            (8, identity, Some(1), Some(3)),
            (8, identity, Some(2), Some(3)),
            (8, identity, None, Some(3)),
            (8, other, Some(1), None),
            (FileKey::OVERLAY, identity, Some(1), Some(3)),
            (FileKey::OVERLAY, identity, Some(2), None),
            (FileKey::OVERLAY, identity, None, None),
        ] {
            let key = FileKey { device, ..FileKey::default() };
            assert_eq!(files.known_as(key, identity, namespace), index, "{device} {namespace:?}");
        }
    }

    /// The mounts in which it was met may be gone, and others may execute it.
    #[test]
    fn a_toolchain_is_kept_if_it_was_used_lately_or_is_found() {
        let files = Files::new().unwrap();
        let mut known = known(&files, tempfile::tempfile().unwrap());
        let (idle, swept) = (100, 200);
        for (is_foreseen, namespace, expected) in [
            (false, None, idle),
            (false, Some(1), idle),
            (false, Some(2), swept),
            (true, None, 0),
            (true, Some(2), 0),
        ] {
            (known.is_foreseen, known.namespace) = (is_foreseen, namespace);
            let needed = known.needed(&BTreeSet::from([1]), idle, swept);
            assert_eq!(needed, expected, "{is_foreseen} {namespace:?}");
        }
    }

    /// It was met first, or was not there for a while.
    #[test]
    fn what_is_found_is_foreseen() {
        let mut files = Files::new().unwrap();
        let known = known(&files, tempfile::tempfile().unwrap());
        let identity = known.identity;
        files.known.insert(3, known);
        assert!(!files.is_found(Identity { changed: (0, 0), ..identity }));
        assert!(!files.known[&3].is_foreseen);
        assert!(files.is_found(identity));
        assert!(files.known[&3].is_foreseen);
    }

    /// As where somebody has very many, or large ones.
    #[test]
    fn what_there_is_no_time_for_is_found_again() {
        let mut files = Files::new().unwrap();
        let path = Path::new("/usr/bin/go");
        let identity = Identity::of(&tempfile::tempfile().unwrap()).unwrap();
        let now = Instant::now();
        for (over, is_refused, is_now, is_kept) in [
            (now, false, false, false),
            (now, true, false, true),
            (now + Duration::from_mins(1), false, true, true),
        ] {
            files.searches[1].places.insert(path.to_owned(), identity);
            files.searches[0].refused.clear();
            files.searches[0].refused.extend(is_refused.then_some(identity));
            assert_eq!(files.is_to_be_looked_at(1, path, identity, over), is_now);
            assert_eq!(files.searches[1].places.contains_key(path), is_kept);
        }
    }

    /// The process may have become another program since.
    #[test]
    fn only_what_was_executed_is_looked_at() {
        let mut files = Files::new().unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let Identity { inode, size, .. } = Identity::of(&file).unwrap();
        let bytes = exec(std::process::id(), &[]);
        let record = Record::parse(&bytes).unwrap();
        for (inode, device, is_it) in [
            (inode, 8, true),
            (inode + 1, 8, false),
            (inode + 1, FileKey::OVERLAY, overlay::shows(&file)),
        ] {
            let look = files.look(&record, FileKey { inode, size, device, padding: 0 });
            let found = (matches!(look, Look::Other), matches!(look, Look::Unknown));
            assert_eq!(found, (is_it, !is_it), "{inode} {device}");
        }
    }

    /// Builds may run it that are to be seen to their end.
    #[test]
    fn what_is_gone_is_not_changed() {
        let files = Files::new().unwrap();
        let file = NamedTempFile::new().unwrap();
        let mut known = known(&files, file.reopen().unwrap());
        file.as_file().set_permissions(Permissions::from_mode(0o600)).unwrap();
        assert!(!known.renew());
        // The clock of file systems has ticks.
        std::thread::sleep(Duration::from_millis(20));
        file.close().unwrap();
        assert!(known.is_changed());
        assert!(known.renew());
        assert!(!known.is_changed());
    }

    /// The queue has room for so many, or they are more than are read at a time.
    #[test]
    fn changes_that_nobody_is_told_of_are_no_secret() {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
        let files = [(); 2].map(|()| NamedTempFile::new().unwrap());
        let watches = files.each_ref().map(|file| {
            let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
            inotify.add_watch(file.path(), flags).unwrap()
        });
        let change = |number: usize| {
            files[number % 2].as_file().set_permissions(Permissions::from_mode(0o600)).unwrap();
        };
        (0..4).for_each(change);
        files[1].as_file().write_all(b"new").unwrap();
        let attributes = AddWatchFlags::IN_ATTRIB;
        let both = attributes | AddWatchFlags::IN_MODIFY;
        let expected = BTreeMap::from([(watches[0], attributes), (watches[1], both)]);
        assert_eq!(changes(&inotify), Some(expected));
        assert_eq!(changes(&inotify), Some(BTreeMap::new()));
        let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let room: usize = room.trim().parse().unwrap();
        (0..=room).for_each(change);
        assert_eq!(changes(&inotify), None);
    }
}
