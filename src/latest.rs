//! A latest-value slot between threads: no queue, so nothing can pile up behind a slow reader.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds the newest value. The lock is held for one clone or one store, never over work.
#[derive(Debug, Default)]
pub(crate) struct Latest<T>(Mutex<T>);

impl<T: Clone> Latest<T> {
    /// A slot that holds `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// The newest value.
    pub(crate) fn get(&self) -> T {
        self.lock().clone()
    }

    /// Puts `value` in the place of what was there.
    pub(crate) fn set(&self, value: T) {
        *self.lock() = value;
    }

    /// Changes the value in place; `change` must be short.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // A value is stored in one move, so a panic elsewhere cannot leave half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
