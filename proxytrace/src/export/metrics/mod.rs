//! The sums that Prometheus and OpenTelemetry are given.
//!
//! Each build counts for `1 / share` builds, so that rates are those of the whole host. What comes
//! from outside is bounded, however hostile it is: see [`Limits`].
#![expect(clippy::cast_precision_loss, reason = "sums are exact to 2^53, as the formats have them")]

mod families;
mod labels;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem;
use std::time::{Duration, Instant};

pub(crate) use self::families::HANDED_ON;
use self::families::Id;
pub use self::families::{BUCKETS, FAMILIES, Family, Kind};
use self::labels::{Admitted, Open};
pub use self::labels::{Limits, OTHER};
use super::fetch::{fetches, operations, requests, server};
use super::{Build, Delivery, Health, names, prometheus};
use crate::model::Request;

/// All metrics.
#[derive(Debug)]
pub struct Registry {
    series: Vec<BTreeMap<Labels, Point>>,
    /// Families whose sums come from elsewhere.
    told: HashSet<&'static str>,
    admitted: Admitted,
    limits: Limits,
    /// Series that come from builds, as readers count them.
    grown: usize,
    /// What they take as text, in bytes.
    length: usize,
    /// What new series have come to, while they are shown as none.
    young: BTreeMap<(usize, Labels), Young>,
    youth: Duration,
}

/// A series that nobody can have seen before.
#[derive(Debug)]
struct Young {
    /// When it was first shown.
    since: Option<Instant>,
    point: Point,
}

/// Values of labels, in the order of their names.
pub type Labels = Box<[Box<str>]>;

/// What a series has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// Of a counter or a gauge.
    Value(f64),
    /// Of a histogram.
    Histogram(Box<Histogram>),
}

/// Durations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many are within each of [`BUCKETS`], and not within the one before.
    pub buckets: [f64; BUCKETS.len()],
    /// How many are longer than all of them.
    pub longer: f64,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Point {
    /// What it begins with.
    fn none(&self) -> Self {
        match self {
            Point::Value(_) => Point::Value(0.0),
            Point::Histogram(_) => Point::Histogram(Box::default()),
        }
    }

    fn add(&mut self, more: &Self) {
        match (self, more) {
            (Point::Value(value), Point::Value(more)) => *value += more,
            (Point::Histogram(all), Point::Histogram(more)) => {
                all.buckets.iter_mut().zip(more.buckets).for_each(|(sum, more)| *sum += more);
                all.longer += more.longer;
                all.sum += more.sum;
            }
            _ => {}
        }
    }
}

impl Histogram {
    /// How many there are.
    pub fn count(&self) -> f64 {
        self.buckets.iter().sum::<f64>() + self.longer
    }

    fn observe(&mut self, seconds: f64, weight: f64) {
        match BUCKETS.iter().position(|bound| seconds <= *bound) {
            Some(at) => self.buckets[at] += weight,
            None => self.longer += weight,
        }
        self.sum += seconds * weight;
    }
}

impl Registry {
    /// Without a build yet. `started` is when the agent did, in seconds since 1970.
    pub fn new(limits: Limits, started: f64) -> Self {
        let series = FAMILIES.iter().map(|_| BTreeMap::new()).collect();
        let mut registry = Registry {
            series,
            told: HashSet::new(),
            admitted: Admitted::new(limits),
            limits,
            grown: 0,
            length: 0,
            young: BTreeMap::new(),
            youth: Duration::ZERO,
        };
        for (at, family) in FAMILIES.iter().enumerate() {
            // A rate needs a beginning. What has labels begins with their values.
            if family.labels.is_empty() && !family.by_module && family.kind == Kind::Counter {
                registry.series[at].insert(Labels::default(), Point::Value(0.0));
            }
        }
        registry.set(Id::Info, &[env!("CARGO_PKG_VERSION")], 1.0);
        registry.set(Id::Started, &[], started);
        registry
    }

    /// Has new series begin at none: as that they are shown at first, and for `time` from then on.
    ///
    /// A series that appears with a value has not grown, as Prometheus counts, and most failures are
    /// the first of their kind on their host. Who reads at intervals up to `time` sees it begin.
    #[must_use]
    pub fn beginning_at_none(mut self, time: Duration) -> Self {
        self.youth = time;
        // Sums without labels are there already, and nobody has seen them: builds may be over
        // before anybody comes.
        for (at, (family, series)) in FAMILIES.iter().zip(&self.series).enumerate() {
            if family.kind == Kind::Counter {
                let young = series.iter().map(|(labels, point)| {
                    ((at, labels.clone()), Young { since: None, point: point.none() })
                });
                self.young.extend(young);
            }
        }
        self
    }

    /// The sums are about to be shown: series that were new for long enough get their values.
    pub fn show(&mut self, now: Instant) {
        let Self { series, young, youth, .. } = self;
        young.retain(|(at, labels), new| {
            let since = *new.since.get_or_insert(now);
            let still = now.saturating_duration_since(since) < *youth;
            if !still && let Some(point) = series[*at].get_mut(labels) {
                point.add(&new.point);
            }
            still
        });
    }

    /// The sums are shown for the last time: all series get their values.
    pub fn settle(&mut self) {
        self.youth = Duration::ZERO;
        self.show(Instant::now());
    }

    /// Its bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Other bounds. Sums of builds begin anew then, as what was put together cannot be taken apart;
    /// what comes from elsewhere goes on.
    pub fn limit(&mut self, limits: Limits) {
        let anew = Self::new(limits, 0.0).beginning_at_none(self.youth);
        let before = mem::replace(self, anew);
        let is_told = |at: usize| before.told.contains(FAMILIES[at].name);
        self.young.retain(|(at, _), _| !is_told(*at));
        self.young.extend(before.young.into_iter().filter(|((at, _), _)| is_told(*at)));
        for (at, series) in before.series.into_iter().enumerate().filter(|(at, _)| is_told(*at)) {
            self.series[at] = series;
        }
        self.told = before.told;
    }

    /// Counts a build.
    pub fn observe(&mut self, build: &Build) {
        let trace = &build.trace;
        let weight = build.weight();
        for chain in operations(trace) {
            let labels = [names::kind(chain.artifact), names::outcome(chain.outcome)];
            self.add(Id::Operations, &labels, None, weight);
        }
        let asked = fetches(trace).map(|fetch| labels::proxy(&fetch.attempt.proxy));
        // Several that are too many are one.
        let asked: BTreeSet<_> = asked
            .map(
                |proxy| {
                    if self.admitted.admit(Open::Proxy, &proxy) { proxy } else { OTHER.into() }
                },
            )
            .collect();
        for proxy in asked {
            self.add(Id::AskedBy, &[&proxy], None, 1.0);
        }
        for fetch in fetches(trace) {
            let proxy = labels::proxy(&fetch.attempt.proxy);
            let kind = names::kind(fetch.chain.artifact);
            let module = fetch.chain.module.as_deref();
            let outcome = fetch.outcome();
            self.add(Id::Fetches, &[&proxy, kind, outcome], module, weight);
            if fetch.succeeded() {
                self.add(Id::Successes, &[&proxy, kind], module, weight);
            }
            if let Some(error) = fetch.error_type() {
                self.add(Id::Errors, &[&proxy, &error], module, weight);
            }
            if let Some(duration) = fetch.duration_ns() {
                self.time(Id::Durations, &[&proxy, kind], seconds(duration), weight);
            }
            for (_, target) in fetch.redirects() {
                let target = target.as_deref().map_or("invalid", labels::host);
                self.add(Id::Redirects, &[&proxy, target], None, weight);
            }
            if let Some((to, reason)) = fetch.fallback() {
                self.add(Id::Fallbacks, &[&proxy, &labels::proxy(to), &reason], None, weight);
            }
            self.add(Id::Resends, &[], None, weight * fetch.resends() as f64);
        }
        for request in requests(trace) {
            self.request(request, weight);
        }
        for finding in &trace.findings {
            let labels = [finding.code.as_str(), names::severity(finding.severity)];
            self.add(Id::Findings, &labels, finding.module.as_deref(), weight);
        }
        let observed = trace.findings.iter();
        let observed: BTreeSet<_> =
            observed.map(|found| (&*found.code, names::severity(found.severity))).collect();
        for (code, severity) in observed {
            self.add(Id::FindingsObserved, &[code, severity], None, 1.0);
        }
        let result = match trace.command.exit_code {
            Some(0) => "success",
            Some(_) => "failure",
            None => "unknown",
        };
        self.add(Id::Builds, &[result], None, weight);
        self.add(Id::BuildsObserved, &[], None, 1.0);
        self.add(Id::BuildsIncomplete, &[], None, f64::from(u8::from(!trace.capture.complete)));
    }

    /// What the agent says of itself.
    pub fn health(&mut self, health: &Health) {
        let count = |count: u64| count as f64;
        self.set(Id::Share, &[], health.share);
        self.set(Id::Wished, &[], health.wished);
        self.set(Id::Chosen, &[], count(health.chosen));
        self.set(Id::PassedOver, &[], count(health.passed_over));
        self.set(Id::Running, &[], count(health.running));
        self.set(Id::Events, &[], count(health.events));
        self.set(Id::Lost, &[], count(health.lost));
        self.set(Id::Executables, &[], count(health.executables));
        let others = [
            ("room", health.refused_for_room),
            ("machine", health.refused_for_machine),
            ("kernel", health.refused_by_kernel),
        ];
        let of_others: u64 = others.iter().map(|(_, refused)| refused).sum();
        self.set(Id::Refused, &["release"], count(health.refused.saturating_sub(of_others)));
        for (reason, refused) in others {
            self.set(Id::Refused, &[reason], count(refused));
        }
        self.set(Id::Late, &[], count(health.late));
        self.set(Id::Missed, &[], count(health.missed));
        self.set(Id::Abandoned, &[], count(health.abandoned));
        self.set(Id::Unwatched, &[], count(health.unwatched));
        self.set(Id::UnwatchedTime, &[], seconds(health.unwatched_ns));
        self.set(Id::Cpu, &[], seconds(health.cpu_ns));
        self.set(Id::Resident, &[], count(health.resident));
    }

    /// What became of what an exporter was given.
    pub fn delivery(&mut self, exporter: &str, delivery: &Delivery) {
        self.set(Id::Sent, &[exporter], delivery.sent as f64);
        self.set(Id::Failures, &[exporter], delivery.failures as f64);
        if let Some(queued) = delivery.queued_bytes {
            self.set(Id::Queued, &[exporter], queued as f64);
        }
        for (reason, dropped) in delivery.dropped.reasons() {
            self.set(Id::Dropped, &[exporter, reason], dropped as f64);
        }
    }

    /// Every family that has a series, with all of them.
    pub fn families(&self) -> impl Iterator<Item = (&'static Family, &BTreeMap<Labels, Point>)> {
        let all = FAMILIES.iter().zip(&self.series);
        all.filter(|(_, series)| !series.is_empty())
    }

    /// Whether a family's sums come from builds that were observed here, and not from elsewhere.
    pub fn is_of_builds(&self, family: &Family) -> bool {
        !self.told.contains(family.name)
    }

    /// The names of a family's labels.
    pub fn labels(&self, family: &Family) -> Vec<&'static str> {
        let module = (family.by_module && self.limits.modules.is_some()).then_some("module");
        family.labels.iter().copied().chain(module).collect()
    }

    /// The sum of a series; none if there is no such series.
    pub fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let at = FAMILIES.iter().position(|family| family.name == name)?;
        let labels: Labels = labels.iter().map(|value| Box::from(*value)).collect();
        match self.series[at].get(&labels)? {
            Point::Value(value) => Some(*value),
            Point::Histogram(durations) => Some(durations.count()),
        }
    }

    fn set(&mut self, id: Id, labels: &[&str], value: f64) {
        let labels: Labels = labels.iter().map(|value| Box::from(*value)).collect();
        let value = Point::Value(value);
        self.told.insert(id.family().name);
        // What goes on from the agent before was seen to begin with that.
        if id.family().kind == Kind::Counter && !HANDED_ON.contains(&id) {
            *self.grow(id, labels, Point::Value(0.0)) = value;
        } else {
            self.series[id as usize].insert(labels, value);
        }
    }

    fn add(&mut self, id: Id, labels: &[&str], module: Option<&str>, amount: f64) {
        let empty = Point::Value(0.0);
        if let Point::Value(value) = self.point(id, labels, module, empty) {
            *value += amount;
        }
    }

    /// A request that was answered, or was not: by the host that really was asked.
    fn request(&mut self, request: &Request, weight: f64) {
        let Some(duration) = request.duration_ns else { return };
        let status = request.status.map(|status| status.to_string()).unwrap_or_default();
        let error = names::error_type(request.outcome, Some(request)).filter(|_| status.is_empty());
        if status.is_empty() && error.is_none() {
            return;
        }
        let (address, port) = server(request);
        let port = port.filter(|port| !labels::is_of_a_test(address, *port));
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let labels = [address, &port, &status, error.as_deref().unwrap_or("")];
        self.time(Id::Requests, &labels, seconds(duration), weight);
    }

    fn time(&mut self, id: Id, labels: &[&str], seconds: f64, weight: f64) {
        let empty = Point::Histogram(Box::default());
        if let Point::Histogram(durations) = self.point(id, labels, None, empty) {
            durations.observe(seconds, weight);
        }
    }

    /// The series of these labels, or of what stands for them where there are too many.
    fn point(&mut self, id: Id, values: &[&str], module: Option<&str>, empty: Point) -> &mut Point {
        let names = self.labels(id.family());
        debug_assert_eq!(id.family().labels.len(), values.len());
        let values = values.iter().copied().chain([module.unwrap_or("")]).zip(names);
        let (mut labels, mut overflows) = (Vec::new(), Vec::new());
        for (value, name) in values {
            let open = Open::of(name).filter(|open| !self.admitted.admit(*open, value));
            labels.push((name, if open.is_some() { OTHER } else { value }));
            overflows.extend(open.map(Open::name));
        }
        let mut key: Labels = labels.iter().map(|(_, value)| Box::from(*value)).collect();
        if !self.series[id as usize].contains_key(&key) {
            let (lines, length) = prometheus::size(id.family(), &labels);
            let (grown, length) = (self.grown + lines, self.length + length);
            if grown > self.limits.series || length > self.limits.bytes {
                overflows.push("series");
                // What is empty says that there is no such thing, as of an error.
                let closed = labels.iter().map(|(name, value)| match Open::of(name) {
                    Some(_) if !value.is_empty() => OTHER,
                    _ => value,
                });
                key = closed.map(Box::from).collect();
            } else {
                (self.grown, self.length) = (grown, length);
            }
        }
        for label in overflows {
            let count = self.grow(Id::Overflows, [label.into()].into(), Point::Value(0.0));
            if let Point::Value(count) = count {
                *count += 1.0;
            }
        }
        self.grow(id, key, empty)
    }

    /// Where what a series grows by is counted.
    fn grow(&mut self, id: Id, key: Labels, empty: Point) -> &mut Point {
        let at = id as usize;
        if !self.youth.is_zero() && !self.series[at].contains_key(&key) {
            self.series[at].insert(key.clone(), empty.none());
            self.young.insert((at, key.clone()), Young { since: None, point: empty.none() });
        }
        // The key is needed again where it is not among the new ones.
        match self.young.entry((at, key)) {
            Entry::Occupied(new) => &mut new.into_mut().point,
            Entry::Vacant(none) => {
                let (_, key) = none.into_key();
                self.series[at].entry(key).or_insert(empty)
            }
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
