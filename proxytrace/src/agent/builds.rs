//! The builds that are running: each a trace of its own, within bounds.

use std::collections::BTreeMap;

use foldhash::HashMap;

use super::origin;
use crate::capture::host::{Begun, Job, TreeId, Watcher};
use crate::correlate::Correlator;
use crate::diagnose::diagnose;
use crate::event::{End, Event, What};
use crate::export::{Build, Origin};

/// What is kept at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Builds at a time.
    pub(super) builds: usize,
    /// Bytes in which the events of one came, and of all: what they take in memory is of that order.
    pub(super) bytes: usize,
    /// See `bytes`.
    pub(super) all_bytes: usize,
    /// How long one is watched, in nanoseconds: `go run` may run a server.
    pub(super) age: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { builds: 256, bytes: 8 << 20, all_bytes: 16 << 20, age: 3_600_000_000_000 }
    }
}

/// One that is running.
struct Running {
    correlator: Correlator,
    share: f64,
    origin: Origin,
    began: u64,
    bytes: usize,
}

/// All that are running, and those that are done.
#[derive(Default)]
pub(super) struct Builds {
    bounds: Bounds,
    running: HashMap<TreeId, Running>,
    done: Vec<Build>,
    /// There was no room for them.
    refused: Vec<TreeId>,
    pub(super) abandoned: u64,
}

impl Builds {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Those that have ended since the last call.
    pub(super) fn take(&mut self) -> Vec<Build> {
        std::mem::take(&mut self.done)
    }

    /// Those that must be given up, at this time by `CLOCK_MONOTONIC`. What was seen of them is done.
    pub(super) fn excess(&mut self, now: u64) -> Vec<TreeId> {
        let mut excess = std::mem::take(&mut self.refused);
        let Bounds { bytes, age, all_bytes, .. } = self.bounds;
        let reason = |running: &Running| {
            if running.bytes > bytes {
                Some("it did more than is kept of one build")
            } else if now.saturating_sub(running.began) > age {
                Some("it ran for longer than a build is watched")
            } else {
                None
            }
        };
        let over = self.running.iter().filter_map(|(id, it)| Some((*id, reason(it)?)));
        let over: Vec<(TreeId, &str)> = over.collect();
        for (id, reason) in over {
            self.give_up(id, reason, now);
            excess.push(id);
        }
        while self.running.values().map(|running| running.bytes).sum::<usize>() > all_bytes {
            let largest = self.running.iter().max_by_key(|(_, running)| running.bytes);
            let Some((&id, _)) = largest else { break };
            self.give_up(id, "all builds together did more than is kept", now);
            excess.push(id);
        }
        excess
    }

    /// What was seen of all that are running, as the watch ends.
    pub(super) fn give_up_all(&mut self, reason: &str, now: u64) {
        let all: Vec<TreeId> = self.running.keys().copied().collect();
        for id in all {
            self.give_up(id, reason, now);
        }
    }

    fn give_up(&mut self, id: TreeId, reason: &str, now: u64) {
        let Some(mut running) = self.running.remove(&id) else { return };
        self.abandoned += 1;
        let time = now.saturating_sub(running.began);
        let what = What::WatchEnded { reason: reason.to_owned() };
        running.correlator.push(Event { time, pid: 0, goroutine: None, what });
        self.done.push(running.finish(Some(End { time, exit_code: None, signal: None })));
    }
}

impl Watcher for Builds {
    fn began(&mut self, tree: TreeId, begun: Begun) {
        if self.running.len() >= self.bounds.builds {
            self.abandoned += 1;
            return self.refused.push(tree);
        }
        let (container, pod) = begun.cgroup.as_deref().map(origin::of_cgroup).unwrap_or_default();
        let running = Running {
            correlator: Correlator::new(&begun.start),
            share: begun.share,
            origin: Origin { container, pod, job: BTreeMap::new() },
            began: begun.time,
            bytes: 0,
        };
        self.running.insert(tree, running);
    }

    fn job(&mut self, tree: TreeId, job: Job) {
        if let Some(running) = self.running.get_mut(&tree) {
            running.origin.job = job;
        }
    }

    fn events(&mut self, tree: TreeId, events: &[Event], bytes: usize) {
        if let Some(running) = self.running.get_mut(&tree) {
            running.bytes += bytes;
            for event in events {
                running.correlator.push(event.clone());
            }
        }
    }

    fn ended(&mut self, tree: TreeId, end: Option<End>) {
        if let Some(running) = self.running.remove(&tree) {
            self.done.push(running.finish(end));
        }
    }
}

impl Running {
    fn finish(self, end: Option<End>) -> Build {
        let mut trace = self.correlator.finish(end.as_ref());
        trace.findings = diagnose(&trace);
        Build { trace, share: self.share, origin: self.origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Start;

    const END: End = End { time: 9, exit_code: Some(1), signal: None };

    fn begun(time: u64) -> Begun {
        let start = Start { argv: vec!["go".into(), "version".into()], ..Start::default() };
        Begun { time, start, share: 0.25, cgroup: None }
    }

    fn some_events(count: u64) -> Vec<Event> {
        let what = || What::Fork { child: 2 };
        (0..count).map(|time| Event { time, pid: 1, goroutine: None, what: what() }).collect()
    }

    #[test]
    fn a_build_is_done_when_its_tree_has_ended() {
        let mut builds = Builds::within(Bounds::default());
        builds.began(1, begun(5));
        builds.job(1, Job::from([("cicd.pipeline.name", "p".to_owned())]));
        builds.events(1, &some_events(3), 300);
        assert!(builds.take().is_empty() && builds.excess(10).is_empty());
        builds.ended(1, Some(END));
        let [build] = &builds.take()[..] else { panic!("one build") };
        assert_eq!((build.share, build.trace.capture.events), (0.25, 3));
        assert_eq!(build.trace.command.exit_code, Some(1));
        assert_eq!(build.origin.job["cicd.pipeline.name"], "p");
        assert_eq!(builds.abandoned, 0);
    }

    /// A process that had ended when it was met: of how long it ran, and how it ended, nothing is said.
    #[test]
    fn an_end_that_was_not_seen_is_unknown() {
        let mut builds = Builds::within(Bounds::default());
        builds.began(1, begun(5));
        builds.ended(1, None);
        let command = &builds.take()[0].trace.command;
        assert_eq!((command.duration_ns, command.exit_code, command.signal), (None, None, None));
    }

    #[test]
    fn what_is_too_much_is_given_up_and_counted() {
        let bounds = Bounds { builds: 3, bytes: 500, all_bytes: 800, age: 100 };
        let mut builds = Builds::within(bounds);
        for tree in 1..=4 {
            builds.began(tree, begun(0));
        }
        assert_eq!((builds.excess(1), builds.abandoned), (vec![4], 1));
        builds.events(1, &some_events(11), 501);
        assert_eq!((builds.excess(1), builds.abandoned), (vec![1], 2));
        builds.began(5, begun(50));
        builds.events(2, &some_events(1), 450);
        builds.events(3, &some_events(1), 440);
        assert_eq!((builds.excess(1), builds.abandoned), (vec![2], 3));
        assert_eq!((builds.excess(101), builds.abandoned), (vec![3], 4));
        let done = builds.take();
        assert_eq!(done.len(), 3);
        for build in done {
            assert!(build.trace.capture.watch_ended.is_some() && !build.trace.capture.complete);
            assert_eq!(build.trace.command.exit_code, None);
        }
        builds.give_up_all("the agent ended", 60);
        assert_eq!((builds.take().len(), builds.abandoned), (1, 5));
    }
}
