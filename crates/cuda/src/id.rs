//! Identifiers of engines, workspaces and bindings, to check that they belong together.

use std::sync::atomic::{AtomicU64, Ordering};

/// Identifier of a device, plan, workspace or bound engine, unique in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(u64);

impl Id {
    /// The next one.
    #[expect(clippy::new_without_default, reason = "two of them are never equal")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
