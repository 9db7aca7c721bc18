//! Why the node shuts down by itself, for `/diagnostics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::latest::Latest;

/// The fault, and whether diagnostics published it.
#[derive(Debug, Default)]
pub(crate) struct ShutdownReason {
    reason: Latest<Option<Arc<str>>>,
    published: AtomicBool,
}

impl ShutdownReason {
    /// Sets the reason.
    pub(crate) fn set(&self, reason: &str) {
        self.reason.set(Some(reason.into()));
    }

    /// The reason, if the node shuts down by itself.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.get()
    }

    /// Marks the reason as published.
    pub(crate) fn set_published(&self) {
        self.published.store(true, Ordering::Relaxed);
    }

    /// Whether it was published.
    pub(crate) fn is_published(&self) -> bool {
        self.published.load(Ordering::Relaxed)
    }
}
