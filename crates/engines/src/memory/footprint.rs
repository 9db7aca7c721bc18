//! Memory of one stage.

use crate::Precision;
use std::fmt;
use std::ops::AddAssign;

/// Bytes of a file that are resident while it is read in windows.
pub const READ_WINDOW: u64 = 64 << 20;

/// Source of a figure, the most reliable first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Measured on this device, or the size of a file.
    #[default]
    Measured,
    /// Stated by the runtime or the policy.
    Declared,
    /// Estimated from the network.
    Estimated,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measured => "measured",
            Self::Declared => "declared",
            Self::Estimated => "estimated",
        })
    }
}

/// A number of bytes with its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figure {
    /// Bytes.
    pub bytes: u64,
    /// Their source.
    pub origin: Origin,
}

impl Figure {
    /// Measured.
    pub const fn measured(bytes: u64) -> Self {
        Self { bytes, origin: Origin::Measured }
    }

    /// Stated by the runtime or the policy.
    pub const fn declared(bytes: u64) -> Self {
        Self { bytes, origin: Origin::Declared }
    }

    /// Estimated from the network.
    pub const fn estimated(bytes: u64) -> Self {
        Self { bytes, origin: Origin::Estimated }
    }
}

/// Adds the bytes; the sum is as sure as the least sure part of it.
impl AddAssign for Figure {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        if other.bytes > 0 {
            self.origin = self.origin.max(other.origin);
        }
    }
}

/// MiB with a `~` before an estimate.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.origin == Origin::Estimated { "~" } else { "" };
        f.pad(&format!("{mark}{:.1}", super::mib(self.bytes)))
    }
}

/// Memory of one stage.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// The stage.
    pub stage: String,
    /// Its file, weights beside it included. Says how much is read; it is not memory by itself.
    pub file: Figure,
    /// Weights where the engine runs. They stay.
    pub weights: Figure,
    /// Host memory that the runtime keeps beside them. It stays.
    pub host_copy: Figure,
    /// Values between the engine's layers while it runs, at the profile's maximum.
    pub activation: Figure,
    /// Inputs and outputs of the stage at the profile's maximum; a tensor that passes between stages counts with the
    /// stage that makes it.
    pub io: Figure,
    /// On the host only while it is loaded: the read window, or all of the file.
    pub transient: Figure,
    /// Activation and I/O if the profile ended at its usual size instead; `None` when that is not known.
    pub at_usual: Option<(u64, u64)>,
    /// Precision of a TensorRT engine in policy.yaml; `None` where it is not one.
    pub precision: Option<Precision>,
}

impl Footprint {
    /// Memory that stays after loading.
    pub fn kept(&self) -> u64 {
        self.weights.bytes.saturating_add(self.host_copy.bytes)
    }

    /// Whether one of the figures that count is estimated.
    pub fn is_estimated(&self) -> bool {
        [self.weights, self.host_copy, self.activation, self.io].iter().any(|f| f.origin == Origin::Estimated)
    }
}
