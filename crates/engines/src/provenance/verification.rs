//! Verdict of the accuracy gate: an engine's results compared with its network's.

use serde::{Deserialize, Serialize};

/// Figures of one comparison, the worst of all its samples. `None`: one of the tensors is not finite somewhere, or the
/// figure has no value; such a figure holds no limit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Cosine of the two tensors, flattened.
    pub cosine: Option<f64>,
    /// Largest difference of two elements.
    pub max_abs: Option<f64>,
    /// That difference as a part of the reference's largest magnitude.
    pub relative: Option<f64>,
}

/// One tensor, with the limit that it was held to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TensorFigures {
    /// Name of the tensor in the policy; of one inside the network, the network's own.
    pub tensor: String,
    /// How far apart.
    #[serde(flatten)]
    pub figures: Figures,
    /// Least cosine allowed; `None`: it is only shown.
    #[serde(default)]
    pub least_cosine: Option<f64>,
}

impl TensorFigures {
    /// Whether it is within its limit.
    pub fn passes(&self) -> bool {
        self.least_cosine.is_none_or(|least| self.figures.cosine.is_some_and(|cosine| cosine >= least))
    }
}

/// Result of an accuracy gate, for one engine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Whether every limit held.
    pub passed: bool,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// SHA-256 of the bag that the inputs come from, hex; of a folder, over the names and hashes of its files.
    pub bag_sha256: String,
    /// Observations of it.
    pub observations: usize,
    /// Tensors that the engine makes.
    pub tensors: Vec<TensorFigures>,
    /// The figures that decided, with their limits, in one line.
    pub summary: String,
}
