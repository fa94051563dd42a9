//! What the threads of the exporters have in common, and what outlives new options.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ledger::{Ledger, lock};
use crate::export::metrics::{Limits, Registry};
use crate::export::{Delivery, Host, otlp, prometheus};

/// The sums, and the account of each exporter.
pub(super) struct Shared {
    sums: Mutex<Sums>,
    ledgers: Mutex<Vec<(&'static str, Ledger)>>,
    address: Mutex<Option<SocketAddr>>,
    started_ns: u64,
    youth: Duration,
}

struct Sums {
    registry: Registry,
    /// Since when, in nanoseconds since 1970.
    since_ns: u64,
}

impl Shared {
    /// `youth` is how long a new series is shown as none.
    pub(super) fn new(limits: Limits, youth: Duration) -> Self {
        let started_ns = now_ns();
        Shared {
            sums: Mutex::new(Sums {
                registry: registry(limits, started_ns, youth),
                since_ns: started_ns,
            }),
            ledgers: Mutex::default(),
            address: Mutex::default(),
            started_ns,
            youth,
        }
    }

    /// The sums, to be changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut Registry)) {
        change(&mut lock(&self.sums).registry);
    }

    /// Other bounds. Sums begin anew then, as what was put together cannot be taken apart.
    pub(super) fn limit(&self, limits: Limits) {
        let mut sums = lock(&self.sums);
        if sums.registry.limits() != limits {
            sums.registry = registry(limits, self.started_ns, self.youth);
            // By the same clock as before: readers of sums know a new one by this.
            sums.since_ns = now_ns().max(sums.since_ns + 1);
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
        // By a clock that was set back, the agent has not begun yet.
        self.with_deliveries(|sums| {
            otlp::metrics(&sums.registry, host, sums.since_ns.min(now), now)
        })
    }

    fn with_deliveries<T>(&self, read: impl FnOnce(&Sums) -> T) -> T {
        let deliveries = self.deliveries();
        let mut sums = lock(&self.sums);
        for (name, delivery) in &deliveries {
            sums.registry.delivery(name, delivery);
        }
        sums.registry.show(Instant::now());
        read(&sums)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time to the microsecond")]
fn registry(limits: Limits, started_ns: u64, youth: Duration) -> Registry {
    Registry::new(limits, started_ns as f64 / 1e9).beginning_at_none(youth)
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use prost::Message as _;

    use super::*;

    /// Sums that begin again at none have another beginning: else they have shrunk.
    #[test]
    fn new_sums_have_a_new_beginning() {
        let began = |shared: &Shared| {
            let message = shared.metrics(&Host::default());
            let request = ExportMetricsServiceRequest::decode(&*message.bytes).unwrap();
            let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
            let sum = metrics.iter().find_map(|metric| match metric.data.as_ref()? {
                Data::Sum(sum) => Some(sum.data_points[0].start_time_unix_nano),
                _ => None,
            });
            sum.unwrap()
        };
        let shared = Shared::new(Limits::default(), Duration::ZERO);
        let first = began(&shared);
        shared.limit(Limits::default());
        assert_eq!(began(&shared), first);
        shared.limit(Limits { values: 7, ..Limits::default() });
        assert!(began(&shared) > first);
    }
}
