//! The share of builds that are chosen: what is wished for, or less where that costs too much.

use std::collections::VecDeque;
use std::time::Duration;

use super::options::{Budgets, Share};

/// Over how long the cost is looked at.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a lower share is given to show its effect, and how long before it is raised again.
const SETTLE: Duration = Duration::from_secs(10);
const RECOVER: Duration = Duration::from_mins(1);
/// What is aimed at when a budget was exceeded; and up to where there is room for more.
const AIM: f64 = 0.8;
const ROOM: f64 = 0.5;
/// By how much it is lowered and raised at a time, at most.
const FALL: f64 = 0.05;
const RISE: f64 = 1.5;
/// It is never lowered beyond this part of what is wished for: something must be seen of how it is.
const LEAST: f64 = 1.0 / 1024.0;

/// What has been used, in sums.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Used {
    /// Since the agent began.
    pub(super) time: Duration,
    /// Processor time of the agent.
    pub(super) cpu: Duration,
    /// Events that arrived.
    pub(super) events: u64,
}

/// A change of the share, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) reason: Reason,
    /// Processor share and events a second, as they were.
    pub(super) cpu: f64,
    pub(super) events: f64,
}

/// Why the share changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// More processor time than allowed.
    Cpu,
    /// More events than allowed.
    Events,
    /// There is room again.
    Room,
}

/// Keeps the share such that the budgets hold.
#[derive(Debug)]
pub(super) struct Controller {
    wished: f64,
    budgets: Budgets,
    share: f64,
    window: VecDeque<Used>,
    changed: Duration,
}

impl Controller {
    pub(super) fn new(wished: Share, budgets: Budgets) -> Self {
        let wished = wished.get();
        let window = VecDeque::new();
        Self { wished, budgets, share: wished, window, changed: Duration::ZERO }
    }

    /// The share now.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// Other wishes, and other budgets: from the start again.
    pub(super) fn wish(&mut self, wished: Share, budgets: Budgets) {
        *self = Self { changed: self.changed, ..Self::new(wished, budgets) };
    }

    /// Nothing is watched now: what has been used until then is no measure of what comes.
    pub(super) fn rest(&mut self) {
        self.window.clear();
    }

    /// Looks at what has been used, once a second or so; says if the share must change.
    pub(super) fn observe(&mut self, used: Used) -> Option<Change> {
        self.window.push_back(used);
        while self.window.len() > 2
            && self
                .window
                .get(1)
                .is_some_and(|second| used.time.saturating_sub(second.time) >= WINDOW)
        {
            self.window.pop_front();
        }
        let first = *self.window.front()?;
        let elapsed = used.time.checked_sub(first.time).filter(|time| *time >= WINDOW / 2)?;
        let seconds = elapsed.as_secs_f64();
        let cpu = used.cpu.saturating_sub(first.cpu).as_secs_f64() / seconds;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let events = used.events.saturating_sub(first.events) as f64 / seconds;
        let (load, reason) = self.load(cpu, events)?;
        let since = used.time.saturating_sub(self.changed);
        let (to, reason) = if load > 1.0 && since >= SETTLE {
            ((self.share * (AIM / load).max(FALL)).max(self.wished * LEAST), reason)
        } else if load < ROOM && since >= RECOVER {
            ((self.share * RISE).min(self.wished), Reason::Room)
        } else {
            return None;
        };
        #[expect(clippy::float_cmp, reason = "unchanged is the very same number")]
        if to == self.share {
            return None;
        }
        let change = Change { from: self.share, to, reason, cpu, events };
        (self.share, self.changed) = (to, used.time);
        self.window.clear();
        Some(change)
    }

    /// How much of the budget that is nearest to its end is used; none if there are no budgets.
    fn load(&self, cpu: f64, events: f64) -> Option<(f64, Reason)> {
        let of = |used: f64, limit: Option<f64>, reason| Some((used / limit?, reason));
        let cpu = of(cpu, self.budgets.cpu, Reason::Cpu);
        let events = of(events, self.budgets.events, Reason::Events);
        cpu.into_iter().chain(events).max_by(|(a, _), (b, _)| a.total_cmp(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: Budgets = Budgets { cpu: Some(0.01), events: Some(500.0) };

    /// Seconds of a host on which choosing all would take this much; the shares that came of it.
    struct Host {
        controller: Controller,
        used: Used,
        changes: Vec<Change>,
    }

    impl Host {
        fn new(wished: f64, budgets: Budgets) -> Self {
            let controller = Controller::new(Share::new(wished).unwrap(), budgets);
            Self { controller, used: Used::default(), changes: Vec::new() }
        }

        fn live(&mut self, seconds: u32, cpu: f64, events: f64) -> &mut Self {
            for _ in 0..seconds {
                let share = self.controller.share();
                self.used.time += Duration::from_secs(1);
                self.used.cpu += Duration::from_secs_f64(cpu * share);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "some thousands"
                )]
                let events = (events * share) as u64;
                self.used.events += events;
                self.changes.extend(self.controller.observe(self.used));
            }
            self
        }
    }

    #[test]
    fn a_quiet_host_keeps_its_share() {
        let mut host = Host::new(0.05, BUDGETS);
        host.live(3600, 0.05, 5000.0);
        assert!(host.changes.is_empty(), "{:?}", host.changes);
        assert!((host.controller.share() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn a_busy_one_comes_below_its_budget_and_recovers() {
        let mut host = Host::new(1.0, BUDGETS);
        host.live(120, 0.5, 100.0);
        assert_eq!(host.changes[0].reason, Reason::Cpu);
        let share = host.controller.share();
        assert!(share * 0.5 <= 0.01, "{share}");
        assert!(share * 0.5 >= 0.002, "{share}");
        let before = host.changes.len();
        host.live(600, 0.001, 1.0);
        // Once a minute, by a half each time.
        let raised = &host.changes[before..];
        assert!((9..=10).contains(&raised.len()), "{raised:?}");
        let mut from = share;
        for change in raised {
            let to = (from * RISE).min(1.0);
            let is_it = (change.from - from).abs() < 1e-9 && (change.to - to).abs() < 1e-9;
            assert!(is_it && change.reason == Reason::Room, "{raised:?}");
            from = to;
        }
        host.live(600, 0.001, 1.0);
        assert!((host.controller.share() - 1.0).abs() < 1e-9);
        assert_eq!(host.changes.last().unwrap().reason, Reason::Room);
    }

    #[test]
    fn events_have_a_budget_of_their_own() {
        let mut host = Host::new(0.5, Budgets { cpu: None, ..BUDGETS });
        host.live(60, 10.0, 100_000.0);
        assert_eq!(host.changes[0].reason, Reason::Events);
        assert!(host.controller.share() * 100_000.0 <= 500.0);
    }

    #[test]
    fn it_settles_under_a_steady_load() {
        let mut host = Host::new(1.0, BUDGETS);
        host.live(600, 0.5, 0.0);
        let before = host.changes.len();
        host.live(3600, 0.5, 0.0);
        // Twice the cost fits at most every minute or so, and is taken back.
        assert!(host.changes.len() - before <= 3600 / 60 + 1, "{}", host.changes.len() - before);
        assert!(host.controller.share() * 0.5 <= 0.015);
    }

    /// As while the kill switch is on.
    #[test]
    fn a_time_without_a_watch_is_no_room() {
        let mut host = Host::new(1.0, BUDGETS);
        host.live(600, 0.5, 0.0);
        let before = host.changes.len();
        host.controller.rest();
        host.used.time += Duration::from_hours(1);
        host.live(60, 0.5, 0.0);
        assert_eq!(host.changes.len(), before);
    }

    #[test]
    fn something_is_always_seen() {
        let mut host = Host::new(1.0, BUDGETS);
        host.live(3600, 1e6, 0.0);
        assert!(host.controller.share() >= LEAST);
    }

    #[test]
    fn without_budgets_nothing_changes() {
        let mut host = Host::new(1.0, Budgets::default());
        host.live(600, 8.0, 1e9);
        assert!(host.changes.is_empty());
    }

    #[test]
    fn a_share_of_nothing_stays() {
        let mut host = Host::new(0.0, BUDGETS);
        host.live(600, 8.0, 1e9);
        assert!(host.changes.is_empty());
    }
}
