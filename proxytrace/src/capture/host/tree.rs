//! Trees of processes, each of which is a trace of its own.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::Path;
use std::rc::Rc;

use proxytrace_common::host::{ANY, FileKey};
use proxytrace_common::record::{Kind, Tag};

use super::files::Files;
use super::running::is_named_go;
use super::{Begun, Job, TreeId, Watcher, job, root};
use crate::capture::decode::Decoder;
use crate::capture::environment::{ENVIRONMENT_OF_OTHERS_MAX, kept_environment};
use crate::capture::monotonic_now;
use crate::capture::pids::Pids;
use crate::capture::record::Record;
use crate::event::{Attach, End, Event, Start, What};

/// One tree, as long as a process of it lives.
pub(super) struct Tree {
    /// When it began, by `CLOCK_MONOTONIC`.
    pub(super) began: u64,
    root: u32,
    decoder: Decoder,
    /// Processes that have not ended.
    pub(super) live: HashSet<u32>,
    /// All that ever were.
    pids: Vec<u32>,
    /// Processes that run a `go` command and have not entered its `main.main`.
    awaited: BTreeMap<u32, (u32, Rc<Attach>)>,
    /// Whether one of them was met late.
    is_late: bool,
    /// Executables of which the trace knows.
    attached: HashSet<u32>,
    /// The same of those without probes, by their paths.
    unprobed: HashSet<String>,
    end: Option<End>,
    /// Whether it was found to be over but for what it has left running.
    pub(super) is_over: bool,
    /// Whether the CI job was looked for.
    has_job: bool,
    /// Events of this turn, and the bytes that they came in.
    turn: Vec<Event>,
    bytes: usize,
}

/// An executable that nobody has looked at.
pub(super) struct News {
    pub(super) pid: u32,
    pub(super) file: FileKey,
    /// The tree that begins if it is a `go` command, zero for one that is passed over.
    pub(super) begins: Option<TreeId>,
    /// Of the one with which that begins: to look at the file may take longer than it lives.
    pub(super) cgroup: Option<String>,
    pub(super) job: Option<Job>,
    bytes: Vec<u8>,
}

impl News {
    /// What was said of it.
    pub(super) fn record(&self) -> Record<'_> {
        Record::parse(&self.bytes).expect("it was taken apart before")
    }
}

/// What a tree begins with.
pub(super) struct First<'a> {
    /// Of its process, which became `executable` with it.
    pub(super) record: &'a Record<'a>,
    pub(super) executable: u32,
    pub(super) cgroup: Option<String>,
    /// None if that is to be seen where its `main.main` is entered.
    pub(super) job: Option<Job>,
}

/// The control groups of a process, unless it has ended by now.
fn cgroup_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// The CI job that a process runs for, unless it has ended by now.
fn job_of(pid: u32) -> Option<Job> {
    let process = format!("/proc/{pid}");
    let environment = kept_environment(Path::new(&process), ENVIRONMENT_OF_OTHERS_MAX)?;
    Some(job::of(&environment))
}

/// So many executables wait to be looked at, at most. While so many do, no more environments are
/// read: anybody may execute as many as the ring has room for, each with a long one.
const NEWS_MAX: usize = 1024;

/// So long after the end of a process there may come more of it, as what it had open is closed, in
/// nanoseconds. Another one gets its pid no sooner.
const ENDED: u64 = 1_000_000_000;

/// All trees that are running.
#[derive(Default)]
pub(super) struct Trees {
    pub(super) running: HashMap<TreeId, Tree>,
    by_pid: HashMap<u32, TreeId>,
    /// Processes that have ended, and when: others get their pids while a tree runs for long.
    ended: VecDeque<(u64, u32, TreeId)>,
    pub(super) news: VecDeque<News>,
    pub(super) malformed: u64,
    pub(super) events: u64,
    /// How many ever began.
    pub(super) begun: u64,
    /// Trees of which the beginning was missed.
    pub(super) late: u64,
    /// Processes that ran this `go` before the one that a tree is to begin with.
    pub(super) untold: HashMap<u32, u32>,
}

/// Where a process is that became a `go` which was not known, and has become another one since.
pub(super) enum After {
    /// In a tree that began after that.
    Before(TreeId),
    /// In one that began before.
    Since(TreeId),
}

impl Trees {
    /// Gives a record to the tree that it belongs to.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        files: &Files,
        begin: &dyn Fn(u64) -> Start,
        watcher: &mut dyn Watcher,
    ) {
        let Some(record) = Record::parse(bytes) else {
            self.malformed += 1;
            return;
        };
        if record.kind == Kind::Exec {
            let begins = record.number(Tag::Tree);
            if let Some(file) = record.bytes(Tag::FileKey).and_then(file_key) {
                let (pid, bytes) = (record.pid, bytes.to_vec());
                let cgroup = begins.and_then(|_| cgroup_of(pid));
                let is_room = self.news.len() < NEWS_MAX;
                let job = begins.filter(|_| is_room).and_then(|_| job_of(pid));
                self.news.push_back(News { pid, file, begins, cgroup, job, bytes });
                if begins.is_some() {
                    return;
                }
            } else if let Some(tree) = begins {
                let cgroup = cgroup_of(record.pid);
                let executable = record.executable;
                let first = First { record: &record, executable, cgroup, job: None };
                return self.begin(tree, first, files, begin, watcher);
            }
        }
        // Of a tree that was given up, or has ended, there may be some on their way.
        let Some(id) = self.by_pid.get(&record.pid).copied() else { return };
        let Some(tree) = self.running.get_mut(&id) else { return };
        // One that has ended is another process: a passed-over one tells of new files, too.
        let is_news = record.kind == Kind::Exec && record.bytes(Tag::FileKey).is_some();
        if is_news && !tree.live.contains(&record.pid) {
            return;
        }
        tree.bytes += bytes.len();
        if tree.take(&record, files).is_err() {
            self.malformed += 1;
        }
        match record.kind {
            Kind::Fork => {
                if let Some(child) = record.pid_in(Tag::Child) {
                    self.by_pid.insert(child, id);
                }
            }
            Kind::Exit => self.ended.push_back((record.time, record.pid, id)),
            _ => {}
        }
        if !tree.has_job
            && let Some(job) = tree.decoder.job.take()
        {
            tree.has_job = true;
            watcher.job(id, job);
        }
    }

    /// Keeps what there was no time to look at for another time, as far as there is room. Yields
    /// the files of the others that may have begun a tree; one in which another was executed is
    /// told.
    pub(super) fn put_off(&mut self, now: u64) -> Vec<FileKey> {
        let others = self.news.split_off(self.news.len().min(NEWS_MAX));
        let mut unmet = Vec::new();
        for News { pid, file, begins, .. } in others {
            if begins.is_some() {
                unmet.push(file);
            } else if let Some(tree) = self.of(pid).and_then(|id| self.running.get_mut(&id)) {
                tree.lose(1, now);
            }
        }
        unmet
    }

    /// A tree begins.
    pub(super) fn begin(
        &mut self,
        id: TreeId,
        first: First<'_>,
        files: &Files,
        beginning: &dyn Fn(u64) -> Start,
        watcher: &mut dyn Watcher,
    ) {
        let First { record, executable, cgroup, job } = first;
        let threshold = record.number(Tag::Threshold).unwrap_or(0);
        let mut tree = Tree {
            began: record.time,
            root: record.pid,
            decoder: Decoder::new(record.time, Pids::new(true)).of_host(),
            live: HashSet::from([record.pid]),
            pids: vec![record.pid],
            awaited: BTreeMap::new(),
            is_late: false,
            attached: HashSet::new(),
            unprobed: HashSet::new(),
            end: None,
            is_over: false,
            has_job: job.is_some(),
            turn: Vec::new(),
            bytes: 0,
        };
        if tree.take(record, files).is_err() {
            self.malformed += 1;
        }
        tree.await_start(record, executable, files);
        let argv = tree.turn.iter().find_map(|event| match &event.what {
            What::Exec { argv, .. } => Some(argv.clone()),
            _ => None,
        });
        let begun = Begun {
            time: record.time,
            start: Start { argv: argv.unwrap_or_default(), ..beginning(record.time) },
            share: super::share_of(threshold),
            cgroup,
        };
        watcher.began(id, begun);
        if let Some(job) = job {
            watcher.job(id, job);
        }
        self.by_pid.insert(record.pid, id);
        self.running.insert(id, tree);
        self.begun += 1;
        if let Some(before) = self.untold.remove(&record.pid) {
            self.was_go(id, before, files);
        }
    }

    /// The tree of the process of this record, if it is in one already.
    pub(super) fn after(&self, record: &Record<'_>) -> Option<After> {
        let id = self.of(record.pid)?;
        let tree = self.running.get(&id)?;
        if record.time < tree.began {
            return Some(After::Before(id));
        }
        // One that has ended is another process.
        tree.live.contains(&record.pid).then_some(After::Since(id))
    }

    /// A process of a tree had been this `go` before it became the one that is known of it.
    pub(super) fn was_go(&mut self, id: TreeId, executable: u32, files: &Files) {
        if let Some(tree) = self.running.get_mut(&id)
            && let Some(attach) = files.attached(executable)
        {
            tree.tell(executable, &attach, true);
            tree.is_late = true;
        }
    }

    /// A process of a tree has become this `go`, as is told now.
    pub(super) fn become_go(
        &mut self,
        id: TreeId,
        record: &Record<'_>,
        executable: u32,
        files: &Files,
    ) {
        let Some(tree) = self.running.get_mut(&id) else { return };
        if tree.take(record, files).is_err() {
            self.malformed += 1;
        }
        tree.await_start(record, executable, files);
    }

    /// A process of a tree has started another one, as is told now: that of this record, in which it
    /// became `executable`.
    pub(super) fn join(
        &mut self,
        id: TreeId,
        parent: u32,
        record: &Record,
        executable: u32,
        files: &Files,
    ) {
        let Some(tree) = self.running.get_mut(&id) else { return };
        let time = record.time.saturating_sub(tree.began);
        let what = What::Fork { child: record.pid };
        tree.turn.push(Event { time, pid: parent, goroutine: None, what });
        tree.live.insert(record.pid);
        tree.pids.push(record.pid);
        self.by_pid.insert(record.pid, id);
        if tree.take(record, files).is_err() {
            self.malformed += 1;
        }
        tree.await_start(record, executable, files);
    }

    /// The tree of a process.
    pub(super) fn of(&self, pid: u32) -> Option<TreeId> {
        self.by_pid.get(&pid).copied()
    }

    /// A process turns out to have become a `go` command.
    pub(super) fn is_go(&mut self, record: &Record<'_>, executable: u32, files: &Files) {
        let tree = self.of(record.pid).and_then(|id| self.running.get_mut(&id));
        if let Some(tree) = tree {
            tree.await_start(record, executable, files);
        }
    }

    /// A process has become a `go` command without probes: of its tree, if it is in one, not all is
    /// seen.
    pub(super) fn lacks(&mut self, pid: u32, attach: &Attach) {
        let tree = self.of(pid).and_then(|id| self.running.get_mut(&id));
        if let Some(tree) = tree
            && tree.unprobed.insert(attach.exe.clone())
        {
            tree.put(attach.clone());
        }
    }

    /// A process has executed what nobody knows: if that was a `go` command by its name, not all of
    /// its tree is seen.
    pub(super) fn may_lack(&mut self, news: &News, now: u64) {
        let name = news.record().text(Tag::Executable).unwrap_or_default();
        let tree = self.of(news.pid).and_then(|id| self.running.get_mut(&id));
        if let Some(tree) = tree
            && is_named_go(Path::new(&name))
        {
            tree.lose(1, now);
        }
    }

    /// Says of every tree that something was lost.
    pub(super) fn lose(&mut self, count: u64, now: u64) {
        for tree in self.running.values_mut() {
            tree.lose(count, now);
        }
    }

    /// Hands on what has come in, in time order, and ends the trees of which nobody lives.
    pub(super) fn hand_on(&mut self, watcher: &mut dyn Watcher) {
        self.forget_ended(monotonic_now());
        let mut ended = Vec::new();
        // What is still to be looked at may be of it.
        let waiting =
            self.news.iter().flat_map(|it| [Some(it.pid), it.record().pid_in(Tag::Parent)]);
        let waiting: HashSet<TreeId> = waiting.flatten().filter_map(|pid| self.of(pid)).collect();
        for (&id, tree) in &mut self.running {
            let over = tree.live.is_empty() && !waiting.contains(&id);
            if over {
                self.late += u64::from(tree.settle());
                ended.push(id);
            }
            if !tree.turn.is_empty() {
                tree.turn.sort_by_key(|event| event.time);
                self.events += tree.turn.len() as u64;
                watcher.events(id, &tree.turn, tree.bytes);
                tree.turn.clear();
                tree.bytes = 0;
            }
        }
        for id in ended {
            if let Some(tree) = self.remove(id) {
                watcher.ended(id, tree.end);
            }
        }
    }

    /// Forgets to which trees the processes belonged that have ended a while ago.
    fn forget_ended(&mut self, now: u64) {
        // What is still to be looked at may be of them.
        while self.news.is_empty()
            && let Some(&(time, pid, id)) = self.ended.front()
            && time.saturating_add(ENDED) <= now
        {
            self.ended.pop_front();
            // By now it may be another one of the same tree.
            let lives = self.running.get(&id).is_some_and(|tree| tree.live.contains(&pid));
            if !lives && self.by_pid.get(&pid) == Some(&id) {
                self.by_pid.remove(&pid);
            }
        }
    }

    /// Forgets a tree.
    pub(super) fn remove(&mut self, id: TreeId) -> Option<Tree> {
        let tree = self.running.remove(&id)?;
        for pid in &tree.pids {
            if self.by_pid.get(pid) == Some(&id) {
                self.by_pid.remove(pid);
            }
        }
        Some(tree)
    }

    /// When the oldest of those that are running began.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.running.values().map(|tree| tree.began).min()
    }
}

impl Tree {
    fn take(
        &mut self,
        record: &Record<'_>,
        files: &Files,
    ) -> Result<(), crate::capture::decode::Malformed> {
        self.decoder.read(record, &files.executables, &mut self.turn)?;
        let pid = record.pid;
        match record.kind {
            Kind::Fork => {
                if let Some(child) = record.pid_in(Tag::Child) {
                    self.live.insert(child);
                    self.pids.push(child);
                }
            }
            Kind::Exec => {
                self.miss(pid);
                self.await_start(record, record.executable, files);
            }
            Kind::Start => {
                let started = record.executable;
                let awaited = self.awaited.get(&pid).filter(|(awaited, _)| *awaited == started);
                let awaited = awaited.map(|(_, attach)| Rc::clone(attach));
                if awaited.is_some() {
                    self.awaited.remove(&pid);
                }
                if let Some(attach) = awaited.or_else(|| files.attached(started)) {
                    self.tell(started, &attach, false);
                }
            }
            Kind::Exit => {
                self.live.remove(&pid);
                if pid == self.root
                    && let Some(Event { time, what: What::Exit { code, signal }, .. }) =
                        self.turn.last()
                {
                    let exit_code = code.or(signal.map(|signal| 128 + signal));
                    self.end = Some(End { time: *time, exit_code, signal: *signal });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Says that something was lost.
    pub(super) fn lose(&mut self, count: u64, now: u64) {
        let time = now.saturating_sub(self.began);
        self.turn.push(Event { time, pid: 0, goroutine: None, what: What::Lost { count } });
    }

    /// Whether its first process has ended, and been seen to.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The process of this record has become a `go` command, if the executable is known.
    fn await_start(&mut self, record: &Record<'_>, executable: u32, files: &Files) {
        if executable != ANY
            && let Some(attach) = files.attached(executable)
        {
            let roots = record.number(Tag::Mounts).map_or_else(Vec::new, |mounts| {
                let name = record.text(Tag::Executable).unwrap_or_default();
                let lasting = files.root(executable, mounts, Path::new(&name));
                lasting.into_iter().chain(root::of_ancestors(record, mounts)).collect()
            });
            self.decoder.has_roots(record.pid, roots);
            self.awaited.insert(record.pid, (executable, attach));
        }
    }

    /// Puts what is known of an executable into the trace, once.
    fn tell(&mut self, executable: u32, attach: &Attach, late: bool) {
        if self.attached.insert(executable) || late {
            self.put(Attach { late, ..attach.clone() });
        }
    }

    /// The same, whether the trace knows of it or not.
    fn put(&mut self, attach: Attach) {
        let time = self.turn.last().map_or(0, |event| event.time);
        self.turn.push(Event { time, pid: 0, goroutine: None, what: What::Attach(attach) });
    }

    /// A `go` command that is not seen to start before its process becomes something else, or ends,
    /// was met late.
    fn miss(&mut self, pid: u32) {
        if let Some((executable, attach)) = self.awaited.remove(&pid) {
            self.tell(executable, &attach, true);
            self.is_late = true;
        }
    }

    /// Nothing comes any more. Says whether there was a `go` command that was met late.
    fn settle(&mut self) -> bool {
        let awaited: Vec<u32> = self.awaited.keys().copied().collect();
        for pid in awaited {
            self.miss(pid);
        }
        self.is_late
    }
}

/// The key of a file in a record.
fn file_key(bytes: &[u8]) -> Option<FileKey> {
    let number = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let device = u32::from_ne_bytes(bytes.get(16..20)?.try_into().ok()?);
    Some(FileKey { inode: number(0)?, size: number(8)?, device, padding: 0 })
}

#[cfg(test)]
pub(super) mod tests {
    use proxytrace_common::record::{FieldHeader, Header};

    use super::*;

    /// What a trace is told of executables.
    #[derive(Default)]
    struct Told(Vec<Attach>);

    impl Watcher for Told {
        fn began(&mut self, _: TreeId, _: Begun) {}

        fn job(&mut self, _: TreeId, _: Job) {}

        fn events(&mut self, _: TreeId, events: &[Event], _: usize) {
            self.0.extend(events.iter().filter_map(|event| match &event.what {
                What::Attach(attach) => Some(attach.clone()),
                _ => None,
            }));
        }

        fn ended(&mut self, _: TreeId, _: Option<End>) {}
    }

    fn beginning(_: u64) -> Start {
        Start::default()
    }

    /// That a process has become another program, of which no more is known than that.
    pub(in super::super) fn exec(pid: u32, fields: &[(Tag, &[u8])]) -> Vec<u8> {
        of_kind(Kind::Exec, pid, fields)
    }

    fn of_kind(kind: Kind, pid: u32, fields: &[(Tag, &[u8])]) -> Vec<u8> {
        let length = |(_, bytes): &(Tag, &[u8])| size_of::<FieldHeader>() + bytes.len();
        let size = size_of::<Header>() + fields.iter().map(length).sum::<usize>();
        let numbers = [pid, pid, u32::try_from(size).unwrap(), ANY];
        let mut bytes = [1_u64, 0, 0].map(u64::to_ne_bytes).concat();
        bytes.extend(numbers.map(u32::to_ne_bytes).concat());
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.resize(size_of::<Header>(), 0);
        for (tag, field) in fields {
            bytes.extend([*tag as u8, 0]);
            bytes.extend(u16::try_from(field.len()).unwrap().to_ne_bytes());
            bytes.extend(*field);
        }
        bytes
    }

    /// Tree 1, which process 7 has begun.
    fn of_one(files: &Files, told: &mut Told) -> Trees {
        let mut trees = Trees::default();
        let bytes = exec(7, &[]);
        let record = Record::parse(&bytes).unwrap();
        let first = First { record: &record, executable: ANY, cgroup: None, job: None };
        trees.begin(1, first, files, &beginning, told);
        trees
    }

    /// As where somebody executes new files all the time.
    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let (files, mut told) = (Files::new().unwrap(), Told::default());
        let mut trees = of_one(&files, &mut told);
        let (tree, file) = ((Tag::Tree, &[0; 8][..]), (Tag::FileKey, &[0; 24][..]));
        let begins = exec(std::process::id(), &[tree, file]);
        for _ in 0..NEWS_MAX + 2 {
            trees.take(&begins, &files, &beginning, &mut told);
        }
        trees.take(&exec(7, &[file]), &files, &beginning, &mut told);
        let is_read = |news: &&News| news.job.is_some();
        assert_eq!(trees.news.iter().filter(is_read).count(), NEWS_MAX);
        let losses = |trees: &Trees| {
            let turn = trees.running[&1].turn.iter();
            turn.filter(|event| matches!(event.what, What::Lost { .. })).count()
        };
        let before = losses(&trees);
        assert_eq!(trees.put_off(0), [FileKey::default(); 2]);
        assert_eq!((trees.news.len(), losses(&trees) - before), (NEWS_MAX, 1));
        assert!(trees.put_off(0).is_empty());
        assert_eq!((trees.news.len(), losses(&trees) - before), (NEWS_MAX, 1));
    }

    /// It was gone, and its file cannot be read.
    #[test]
    fn a_tree_may_lack_what_was_a_go_command_by_its_name() {
        let (files, mut told) = (Files::new().unwrap(), Told::default());
        let mut trees = of_one(&files, &mut told);
        for (pid, name, count) in
            [(7, "/nfs/sdk/bin/go", 1), (7, "/nfs/sdk/bin/vet", 0), (8, "/nfs/sdk/bin/go", 0)]
        {
            let fields = [(Tag::FileKey, &[0; 24][..]), (Tag::Executable, name.as_bytes())];
            let news = News {
                pid,
                file: FileKey::default(),
                begins: None,
                cgroup: None,
                job: None,
                bytes: exec(pid, &fields),
            };
            let before = trees.running[&1].turn.len();
            trees.may_lack(&news, 0);
            assert_eq!(trees.running[&1].turn.len() - before, count, "{pid} {name}");
        }
    }

    /// Whatever it was, the tree is not seen whole if it is a `go` command.
    #[test]
    fn a_tree_waits_for_what_is_still_to_be_looked_at() {
        let (files, mut told) = (Files::new().unwrap(), Told::default());
        let mut trees = of_one(&files, &mut told);
        trees.take(&exec(7, &[(Tag::FileKey, &[0; 24])]), &files, &beginning, &mut told);
        trees.running.get_mut(&1).unwrap().live.clear();
        trees.hand_on(&mut told);
        assert!(trees.running.contains_key(&1));
        trees.news.clear();
        trees.hand_on(&mut told);
        assert!(trees.running.is_empty());
    }

    /// Its pid is another one's by now, of a build that is passed over, or of none.
    #[test]
    fn what_has_ended_belongs_to_its_tree_no_more() {
        let (files, mut told) = (Files::new().unwrap(), Told::default());
        let mut trees = of_one(&files, &mut told);
        let (child, file) = (8_u64.to_ne_bytes(), exec(8, &[(Tag::FileKey, &[0; 24])]));
        let fork = of_kind(Kind::Fork, 7, &[(Tag::Child, &child)]);
        let exit = of_kind(Kind::Exit, 8, &[(Tag::Status, &[0; 8])]);
        let took = |trees: &Trees| trees.running[&1].turn.len();
        let all = [(&fork, 1), (&file, 1), (&exit, 1), (&file, 0), (&fork, 1), (&file, 1)];
        for (bytes, count) in all {
            let before = took(&trees);
            trees.take(bytes, &files, &beginning, &mut Told::default());
            assert_eq!(took(&trees) - before, count, "{bytes:?}");
        }
        // Its news are waiting, or another one of the tree has its pid.
        for exits in [false, true] {
            trees.take(&file, &files, &beginning, &mut told);
            if exits {
                trees.take(&exit, &files, &beginning, &mut told);
            }
            trees.hand_on(&mut told);
            assert_eq!(trees.of(8), Some(1));
            trees.news.clear();
            trees.hand_on(&mut told);
            assert_eq!((trees.of(7), trees.of(8)), (Some(1), (!exits).then_some(1)));
        }
    }

    /// However often it is executed there; and of another process it is nobody's.
    #[test]
    fn a_tree_is_told_once_of_what_has_no_probes() {
        let (files, mut told) = (Files::new().unwrap(), Told::default());
        let mut trees = of_one(&files, &mut told);
        let of = |exe: &str| Attach { exe: exe.to_owned(), ..Attach::default() };
        for (pid, exe) in [(7, "/a/go"), (7, "/b/go"), (7, "/a/go"), (8, "/c/go")] {
            trees.lacks(pid, &of(exe));
            trees.hand_on(&mut told);
        }
        assert_eq!(told.0, [of("/a/go"), of("/b/go")]);
    }
}
