//! What the threads of the exporters have in common.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ledger::{Ledger, lock};
use crate::export::metrics::Registry;
use crate::export::{Delivery, Host, otlp, prometheus};

/// The sums, and the account of each exporter.
pub(super) struct Shared {
    registry: Mutex<Registry>,
    ledgers: Vec<(&'static str, Ledger)>,
    host: Host,
    started_ns: u64,
}

impl Shared {
    pub(super) fn new(
        registry: Registry,
        ledgers: Vec<(&'static str, Ledger)>,
        host: Host,
        started_ns: u64,
    ) -> Self {
        Shared { registry: Mutex::new(registry), ledgers, host, started_ns }
    }

    /// The sums, to be changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut Registry)) {
        change(&mut lock(&self.registry));
    }

    /// What became of everything, by exporter.
    pub(super) fn deliveries(&self) -> Vec<(&'static str, Delivery)> {
        self.ledgers.iter().map(|(name, ledger)| (*name, ledger.now())).collect()
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
    pub(super) fn metrics(&self) -> otlp::Message {
        let now = now_ns();
        self.with_deliveries(|registry| otlp::metrics(registry, &self.host, self.started_ns, now))
    }

    fn with_deliveries<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        let deliveries = self.deliveries();
        let mut registry = lock(&self.registry);
        for (name, delivery) in &deliveries {
            registry.delivery(name, delivery);
        }
        read(&registry)
    }
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
