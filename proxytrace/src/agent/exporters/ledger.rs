//! What became of records, where several threads count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::export::Delivery;

/// One exporter's account.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    delivery: Arc<Mutex<Delivery>>,
    /// Why it failed the last time.
    why: Arc<Mutex<String>>,
}

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Delivery> {
        lock(&self.delivery)
    }

    /// Something was not handed over, and will be tried again.
    pub(super) fn failed(&self, why: String) {
        self.book().failures += 1;
        *lock(&self.why) = why;
    }

    pub(super) fn why(&self) -> String {
        lock(&self.why).clone()
    }

    pub(super) fn now(&self) -> Delivery {
        *self.book()
    }
}

/// Whoever held it before, sums are still sums.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
