//! What the threads of the exporters have in common, and what outlives new options.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ledger::{Ledger, lock};
use crate::export::metrics::{Limits, Registry};
use crate::export::otlp::Since;
use crate::export::{Delivery, Health, Host, otlp, prometheus};

/// The sums, and the account of each exporter.
pub(super) struct Shared {
    sums: Mutex<Sums>,
    ledgers: Mutex<Vec<(&'static str, Ledger)>>,
    address: Mutex<Option<SocketAddr>>,
}

struct Sums {
    registry: Registry,
    since: Since,
}

impl Shared {
    /// `youth` is how long a new series is shown as none, `health` what there is to go on from.
    pub(super) fn new(limits: Limits, youth: Duration, health: &Health) -> Self {
        let started_ns = now_ns();
        #[expect(clippy::cast_precision_loss, reason = "a time to the microsecond")]
        let started = started_ns as f64 / 1e9;
        let mut registry = Registry::new(limits, started).beginning_at_none(youth);
        registry.health(health);
        let first = match health.unwatched_since_ns {
            0 => started_ns,
            since_ns => since_ns,
        };
        let since = Since { agent: started_ns, builds: started_ns, first };
        Shared {
            sums: Mutex::new(Sums { registry, since }),
            ledgers: Mutex::default(),
            address: Mutex::default(),
        }
    }

    /// The sums, to be changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut Registry)) {
        change(&mut lock(&self.sums).registry);
    }

    /// Other bounds, with which sums of builds begin anew.
    pub(super) fn limit(&self, limits: Limits) {
        let mut sums = lock(&self.sums);
        if sums.registry.limits() != limits {
            sums.registry.limit(limits);
            // By the same clock as before: readers of sums know a new one by this.
            sums.since.builds = now_ns().max(sums.since.builds + 1);
        }
    }

    /// The account of an exporter: the same each time.
    pub(super) fn ledger(&self, exporter: &'static str) -> Ledger {
        let mut ledgers = lock(&self.ledgers);
        if let Some((_, ledger)) = ledgers.iter().find(|(name, _)| *name == exporter) {
            return ledger.clone();
        }
        let ledger = Ledger::default();
        ledgers.push((exporter, ledger.clone()));
        ledger
    }

    /// What became of everything, by exporter.
    pub(super) fn deliveries(&self) -> Vec<(&'static str, Delivery)> {
        lock(&self.ledgers).iter().map(|(name, ledger)| (*name, ledger.now())).collect()
    }

    /// How often each exporter has failed, and why the last time, of those that have.
    pub(super) fn failures(&self) -> Vec<(&'static str, u64, String)> {
        let ledgers = lock(&self.ledgers);
        let all = ledgers.iter().map(|(name, ledger)| (*name, ledger.failures()));
        let failed = all.filter(|(_, (failures, _))| *failures > 0);
        failed.map(|(name, (failures, why))| (name, failures, why)).collect()
    }

    /// Where the port is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        *lock(&self.address)
    }

    pub(super) fn serve_at(&self, address: Option<SocketAddr>) {
        *lock(&self.address) = address;
    }

    /// All metrics as Prometheus reads them.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.with_deliveries(|sums| {
            prometheus::write(&sums.registry, &mut text).expect("memory takes everything");
        });
        text
    }

    /// All metrics as OTLP has them.
    pub(super) fn metrics(&self, host: &Host) -> otlp::Message {
        let now = now_ns();
        self.with_deliveries(|sums| {
            // By a clock that was set back, the agent has not begun yet. What it says once instead it
            // says from then on: each other beginning is one of new sums.
            let Since { agent, builds, first } = &mut sums.since;
            for begun in [agent, builds, first] {
                *begun = (*begun).min(now);
            }
            otlp::metrics(&sums.registry, host, sums.since, now)
        })
    }

    fn with_deliveries<T>(&self, read: impl FnOnce(&mut Sums) -> T) -> T {
        let deliveries = self.deliveries();
        let mut sums = lock(&self.sums);
        for (name, delivery) in &deliveries {
            sums.registry.delivery(name, delivery);
        }
        sums.registry.show(Instant::now());
        read(&mut sums)
    }
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
    use prost::Message as _;

    use super::*;

    const BUILDS: &str = "proxytrace_builds_observed_total";
    const LATE: &str = "proxytrace_builds_late_total";

    /// Since when there is a sum, and what it has come to.
    fn began(shared: &Shared, name: &str) -> (u64, f64) {
        let message = shared.metrics(&Host::default());
        let request = ExportMetricsServiceRequest::decode(&*message.bytes).unwrap();
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        let Some(Value::AsDouble(value)) = sum.data_points[0].value else { panic!("{sum:?}") };
        (sum.data_points[0].start_time_unix_nano, value)
    }

    /// Sums that begin again at none have another beginning: else they have shrunk.
    #[test]
    fn new_sums_have_a_new_beginning() {
        let health = |late| Health { late, ..Health::default() };
        let shared = Shared::new(Limits::default(), Duration::ZERO, &health(3));
        let first = began(&shared, BUILDS);
        assert_eq!(began(&shared, LATE), (first.0, 3.0));
        shared.limit(Limits::default());
        assert_eq!(began(&shared, BUILDS), first);
        shared.change(|registry| registry.health(&health(4)));
        shared.limit(Limits { values: 7, ..Limits::default() });
        assert!(began(&shared, BUILDS).0 > first.0);
        // What does not come from builds goes on.
        assert_eq!(began(&shared, LATE), (first.0, 4.0));
        let text = String::from_utf8(shared.text()).unwrap();
        assert!(text.contains("\nproxytrace_builds_late_total 4\n"), "{text}");
    }

    /// It is the sum of all agents: with another beginning each would seem to add all of it.
    #[test]
    fn what_agents_hand_on_begins_with_the_first() {
        let unwatched = "proxytrace_unwatched_seconds_total";
        let health = Health { unwatched_ns: 30, unwatched_since_ns: 7, ..Health::default() };
        let shared = Shared::new(Limits::default(), Duration::ZERO, &health);
        assert_eq!(began(&shared, unwatched).0, 7);
        assert!(began(&shared, LATE).0 > 7);
        let shared = Shared::new(Limits::default(), Duration::ZERO, &Health::default());
        assert_eq!(began(&shared, unwatched).0, began(&shared, LATE).0);
    }

    /// Where each message had another beginning, the sums would seem to begin anew with each.
    #[test]
    fn a_clock_that_was_set_back_moves_the_beginning_once() {
        let shared = Shared::new(Limits::default(), Duration::ZERO, &Health::default());
        let ahead = now_ns() + 3_600_000_000_000;
        lock(&shared.sums).since = Since { agent: ahead, builds: ahead, first: ahead };
        let first = [BUILDS, LATE].map(|name| began(&shared, name));
        assert!(first.iter().all(|(since, _)| *since < ahead), "{first:?}");
        assert_eq!([BUILDS, LATE].map(|name| began(&shared, name)), first);
    }
}
