//! What the node is doing, as one word and its details.

use std::fmt;

/// The node's phase; shown by `/diagnostics` and in refusals of services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Working out what has to be loaded.
    Planning,
    /// Loading engine `index` of `total`.
    Loading {
        /// From 1, in load order.
        index: usize,
        /// Number of engines.
        total: usize,
        /// Its stage.
        stage: String,
    },
    /// Every engine is loaded; the first inference sets up what the next ones reuse.
    WarmUp,
    /// Inferring, or waiting to be asked.
    Ready,
    /// No policy: loading failed. `~/reload` tries again.
    Degraded {
        /// What failed.
        reason: String,
    },
    /// A violation stopped the robot. `~/resume` goes on.
    Stopped {
        /// Which.
        reason: String,
    },
}

impl Phase {
    /// The word for diagnostics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Loading { .. } => "loading",
            Self::WarmUp => "warm-up",
            Self::Ready => "ready",
            Self::Degraded { .. } => "degraded",
            Self::Stopped { .. } => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading { index, total, stage } => write!(f, "loading {index} of {total} ({stage})"),
            Self::Degraded { reason } => write!(f, "degraded: {reason}"),
            Self::Stopped { reason } => write!(f, "stopped: {reason}; call ~/resume"),
            plain => f.write_str(plain.word()),
        }
    }
}
