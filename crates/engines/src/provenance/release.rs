//! Result of the test whether the runtime's host copy of an engine can be released.

use serde::{Deserialize, Serialize};

/// Result of the test, in a separate process: the copy was mapped read-only from a file, and the engine ran again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Release {
    /// The copy was found, nothing wrote to it, and the engine's results were bit-identical.
    pub works: bool,
    /// Anonymous memory that stays allocated after the release, as a multiple of the engine's size.
    #[serde(default)]
    pub kept_factor: Option<f64>,
    /// Bytes of the copy that were read after it was released.
    #[serde(default)]
    pub touched_bytes: u64,
    /// Why the copy cannot be released.
    #[serde(default)]
    pub reason: Option<String>,
    /// The kernel of the test, as printed by `uname -r`.
    #[serde(default)]
    pub kernel: String,
}

impl Release {
    /// A failed test.
    pub fn failed(reason: impl Into<String>) -> Self {
        let (kept_factor, touched_bytes) = (None, 0);
        Self { works: false, kept_factor, touched_bytes, reason: Some(reason.into()), kernel: kernel() }
    }
}

/// `uname -r`.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}
