//! Why the node ends by itself, for `/diagnostics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::latest::Latest;

/// What failed, and whether the last diagnostics said so.
#[derive(Debug, Default)]
pub struct ShutdownReason {
    reason: Latest<Option<Arc<str>>>,
    published: AtomicBool,
}

impl ShutdownReason {
    /// The node ends for this reason.
    pub fn set(&self, reason: &str) {
        self.reason.set(Some(reason.into()));
    }

    /// The reason, when the node ends for one.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.get()
    }

    /// It was published.
    pub fn set_published(&self) {
        self.published.store(true, Ordering::Relaxed);
    }

    /// Whether it was published.
    pub fn is_published(&self) -> bool {
        self.published.load(Ordering::Relaxed)
    }
}
