//! What the threads of the exporters have in common, and what outlives new options.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ledger::{Ledger, lock};
use crate::export::metrics::{Limits, Registry};
use crate::export::{Delivery, Host, otlp, prometheus};

/// The sums, and the account of each exporter.
pub(super) struct Shared {
    registry: Mutex<Registry>,
    ledgers: Mutex<Vec<(&'static str, Ledger)>>,
    address: Mutex<Option<SocketAddr>>,
    started_ns: u64,
    youth: Duration,
}

impl Shared {
    /// `youth` is how long a new series is shown as none.
    pub(super) fn new(limits: Limits, youth: Duration) -> Self {
        let started_ns = now_ns();
        Shared {
            registry: Mutex::new(registry(limits, started_ns, youth)),
            ledgers: Mutex::default(),
            address: Mutex::default(),
            started_ns,
            youth,
        }
    }

    /// The sums, to be changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut Registry)) {
        change(&mut lock(&self.registry));
    }

    /// Other bounds. Sums begin anew then, as what was put together cannot be taken apart.
    pub(super) fn limit(&self, limits: Limits) {
        self.change(|sums| {
            if sums.limits() != limits {
                *sums = registry(limits, self.started_ns, self.youth);
            }
        });
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
        let failed = ledgers.iter().map(|(name, ledger)| (*name, ledger.now().failures, ledger));
        let failed = failed.filter(|(_, failures, _)| *failures > 0);
        failed.map(|(name, failures, ledger)| (name, failures, ledger.why())).collect()
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
        self.with_deliveries(|registry| {
            prometheus::write(registry, &mut text).expect("memory takes everything");
        });
        text
    }

    /// All metrics as OTLP has them.
    pub(super) fn metrics(&self, host: &Host) -> otlp::Message {
        let now = now_ns();
        // By a clock that was set back, the agent has not begun yet.
        let started = self.started_ns.min(now);
        self.with_deliveries(|registry| otlp::metrics(registry, host, started, now))
    }

    fn with_deliveries<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        let deliveries = self.deliveries();
        let mut registry = lock(&self.registry);
        for (name, delivery) in &deliveries {
            registry.delivery(name, delivery);
        }
        registry.show(Instant::now());
        read(&registry)
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
