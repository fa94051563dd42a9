//! What became of records, where several threads count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::export::Delivery;

/// One exporter's account.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    delivery: Arc<Mutex<Delivery>>,
    /// How often it failed for good, and why it failed the last time.
    told: Arc<Mutex<(u64, String)>>,
}

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Delivery> {
        lock(&self.delivery)
    }

    /// Something was not handed over, and will be tried again.
    pub(super) fn failed(&self, why: String) {
        self.book().failures += 1;
        lock(&self.told).1 = why;
    }

    /// Something was not taken, and never will be.
    pub(super) fn refused(&self, why: String) {
        let mut told = lock(&self.told);
        *told = (told.0 + 1, why);
    }

    /// How often it failed, for good or not, and why the last time.
    pub(super) fn failures(&self) -> (u64, String) {
        let passing = self.book().failures;
        let (for_good, why) = lock(&self.told).clone();
        (passing + for_good, why)
    }

    pub(super) fn now(&self) -> Delivery {
        *self.book()
    }
}

/// Whoever held it before, sums are still sums.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
