//! The highest anonymous memory of this process over a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::MemoryUse;

/// How often it is read. Copies of gigabytes take far longer.
const PERIOD: Duration = Duration::from_millis(2);

/// Samples the anonymous memory of this process in a thread until it is stopped.
pub struct AnonymousPeak {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    peak: AtomicU64,
    stop: AtomicBool,
}

impl AnonymousPeak {
    /// Starts to watch.
    pub fn watch() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let watcher = thread::spawn(move || {
            while !theirs.stop.load(Ordering::Relaxed) {
                theirs.peak.fetch_max(MemoryUse::now().anonymous, Ordering::Relaxed);
                thread::sleep(PERIOD);
            }
        });
        Self { shared, watcher: Some(watcher) }
    }

    /// The highest that was seen, in bytes.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.shared.peak.fetch_max(MemoryUse::now().anonymous, Ordering::Relaxed);
        self.shared.peak.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            // It cannot panic; if it did, the peak until then is returned.
            watcher.join().unwrap_or_default();
        }
    }
}

impl Drop for AnonymousPeak {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_given_back_still_shows_in_the_peak() {
        let before = MemoryUse::now().anonymous;
        let peak = AnonymousPeak::watch();
        let block = vec![1u8; 96 << 20];
        // Longer than a period, however the threads are scheduled.
        thread::sleep(50 * PERIOD);
        drop(block);
        assert!(peak.stop() >= before + (90 << 20));
    }
}
