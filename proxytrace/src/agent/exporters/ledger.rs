//! What became of records, where several threads count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::export::Delivery;

/// One exporter's account.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Delivery>>);

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Delivery> {
        lock(&self.0)
    }

    pub(super) fn now(&self) -> Delivery {
        *self.book()
    }
}

/// Whoever held it before, sums are still sums.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
