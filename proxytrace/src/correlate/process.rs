//! The command's tree: one [`Process`] per program image.

use foldhash::HashMap;

use crate::event::{Event, Surroundings};
use crate::model::{Process, ProcessId};

use crate::goproxy::List;

/// The longest [`Process::stderr_tail`], in bytes.
const STDERR_MAX: usize = 4096;

/// Processes in the order in which they became what they are.
#[derive(Debug, Default)]
pub(super) struct Processes {
    images: Vec<Image>,
    /// The image that a pid is now.
    now: HashMap<u32, ProcessId>,
    /// Children that have done nothing yet, and the image that forked them.
    forked: HashMap<u32, ProcessId>,
}

/// A program image, and what is derived from it once.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) process: Process,
    /// The GOPROXY list that it walks.
    pub(super) list: List,
    /// go's telemetry child, or something below it: no chain and no finding.
    pub(super) telemetry: bool,
    /// Whether it has entered `main.main`.
    started: bool,
}

impl Processes {
    pub(super) fn get(&self, id: ProcessId) -> &Image {
        &self.images[id as usize]
    }

    /// The image that a pid is now.
    pub(super) fn current(&self, pid: u32) -> Option<ProcessId> {
        self.now.get(&pid).copied()
    }

    pub(super) fn into_model(self) -> Vec<Process> {
        self.images.into_iter().map(|image| image.process).collect()
    }

    /// The last image that a pid was as a child of `parent`. In another pid namespace go knows its
    /// children by other numbers, and none is found.
    pub(super) fn child(&self, parent: ProcessId, pid: u32) -> Option<ProcessId> {
        let is_child =
            |image: &&Image| image.process.pid == pid && image.process.parent == Some(parent);
        self.images.iter().rev().find(is_child).map(|image| image.process.id)
    }

    /// Whether a pid is a child of `parent` that has not become another program yet.
    pub(super) fn is_waiting(&self, pid: u32, parent: ProcessId) -> bool {
        self.forked.get(&pid) == Some(&parent)
    }

    /// Whether `process` is `ancestor`, or was started by it or by what it started.
    pub(super) fn descends(&self, process: ProcessId, ancestor: ProcessId) -> bool {
        // A parent comes before its children.
        let mut above = Some(process);
        while let Some(id) = above.filter(|&id| id > ancestor) {
            above = self.get(id).process.parent;
        }
        above == Some(ancestor)
    }

    /// A fork outside of the command's tree is not ours.
    pub(super) fn fork(&mut self, pid: u32, child: u32) {
        let parent = self.now.get(&pid).or_else(|| self.forked.get(&pid)).copied();
        self.now.remove(&child);
        self.forked.remove(&child);
        if let Some(parent) = parent {
            self.forked.insert(child, parent);
        }
    }

    /// Whether the pid belongs to the command's tree.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.now.contains_key(&pid) || self.forked.contains_key(&pid)
    }

    /// The image that an event is about. A child that acts without an exec is its parent's image
    /// over again; a pid that nothing is known of is an image without a name.
    pub(super) fn of(&mut self, event: &Event) -> ProcessId {
        if let Some(&id) = self.now.get(&event.pid) {
            return id;
        }
        let (exe, argv) = self.forked.get(&event.pid).map_or_else(Default::default, |&parent| {
            let parent = &self.get(parent).process;
            (parent.exe.clone(), parent.argv.clone())
        });
        self.become_image(event, &exe, &argv)
    }

    /// The process became another program: the image it was, or else the one that forked it, is
    /// the parent.
    pub(super) fn become_image(&mut self, event: &Event, exe: &str, argv: &[String]) -> ProcessId {
        let forked = self.forked.remove(&event.pid);
        let before = self.now.get(&event.pid).copied();
        if let Some(before) = before {
            self.images[before as usize].process.ended_ns = Some(event.time);
        }
        let parent = before.or(forked);
        let id = id(self.images.len());
        self.images.push(Image {
            telemetry: argv.iter().any(|argument| argument == "** telemetry **")
                || parent.is_some_and(|parent| self.get(parent).telemetry),
            list: List::default(),
            started: false,
            process: Process {
                id,
                pid: event.pid,
                parent,
                argv: argv.to_vec(),
                exe: exe.to_owned(),
                go_version: None,
                config: std::collections::BTreeMap::new(),
                surroundings: Surroundings::default(),
                started_ns: event.time,
                ended_ns: None,
                exit_code: None,
                signal: None,
                stderr_tail: None,
            },
        });
        self.now.insert(event.pid, id);
        id
    }

    /// A `go` entered `main.main`. An image enters it once, so if it has, an exec was not seen.
    pub(super) fn go_start(
        &mut self,
        event: &Event,
        go_version: &str,
        exe: &str,
        argv: &[String],
        config: &std::collections::BTreeMap<String, crate::event::Setting>,
    ) -> ProcessId {
        let fresh = self.now.get(&event.pid).filter(|&&id| !self.get(id).started).copied();
        let id = fresh.unwrap_or_else(|| self.become_image(event, exe, argv));
        let image = &mut self.images[id as usize];
        image.started = true;
        image.list = List::of(config);
        exe.clone_into(&mut image.process.exe);
        image.process.argv = argv.to_vec();
        image.process.go_version = Some(go_version.to_owned());
        image.process.config.clone_from(config);
        image.telemetry |= argv.iter().any(|argument| argument == "** telemetry **");
        id
    }

    /// Where a `go` runs, and what does not reach it.
    pub(super) fn surround(&mut self, id: ProcessId, surroundings: &Surroundings) {
        self.images[id as usize].process.surroundings.clone_from(surroundings);
    }

    /// A process wrote to its stderr: the last whole lines are kept.
    pub(super) fn wrote(&mut self, id: ProcessId, text: &str) {
        let tail = self.images[id as usize].process.stderr_tail.get_or_insert_default();
        tail.push_str(text);
        if tail.len() > STDERR_MAX {
            let from = tail.ceil_char_boundary(tail.len() - STDERR_MAX - 1);
            let whole = tail[from..].find('\n').map_or(tail.len(), |end| from + end + 1);
            tail.drain(..whole);
        }
    }

    /// The process ended. None if it never was an image of its own.
    pub(super) fn exit(
        &mut self,
        event: &Event,
        code: Option<i32>,
        signal: Option<i32>,
    ) -> Option<ProcessId> {
        self.forked.remove(&event.pid);
        let id = self.now.remove(&event.pid)?;
        let process = &mut self.images[id as usize].process;
        process.ended_ns = Some(event.time);
        process.exit_code = code;
        process.signal = signal;
        Some(id)
    }
}

/// An index as a name in the trace.
pub(super) fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
