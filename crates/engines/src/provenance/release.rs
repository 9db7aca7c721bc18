//! Result of the test whether the runtime's host copy of an engine can be released.

use serde::{Deserialize, Serialize};

/// Result of the test, in a separate process: the copy was mapped read-only from a file, and the engine ran again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Release {
    /// The copy was found, nothing wrote to it, and the engine's results stayed equal, bit by bit.
    pub works: bool,
    /// Anonymous memory that is kept with the copy released, as a multiple of the engine's size.
    #[serde(default)]
    pub kept_factor: Option<f64>,
    /// Bytes of the copy that were read after it was released.
    #[serde(default)]
    pub touched_bytes: u64,
    /// Why it does not work.
    #[serde(default)]
    pub reason: Option<String>,
    /// The kernel that it was tried on, as `uname -r`.
    #[serde(default)]
    pub kernel: String,
}

impl Release {
    /// A trial that failed.
    pub fn failed(reason: impl Into<String>) -> Self {
        let (kept_factor, touched_bytes) = (None, 0);
        Self { works: false, kept_factor, touched_bytes, reason: Some(reason.into()), kernel: kernel() }
    }
}

/// `uname -r`.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}
