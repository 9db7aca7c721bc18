//! Verdict of the accuracy gate: an engine's results compared with its network's.

use serde::{Deserialize, Serialize};

/// Figures of one comparison, the worst over all samples. `None`: a tensor has a non-finite element, or the figure is
/// undefined; it then fails every limit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Cosine of the two tensors, flattened.
    pub cosine: Option<f64>,
    /// Largest difference of two elements.
    pub max_abs: Option<f64>,
    /// That difference divided by the reference's largest magnitude.
    pub relative: Option<f64>,
    /// Norm of the difference divided by the norm of the reference. Records of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_l2: Option<f64>,
}

/// Figures of one tensor, with its limit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TensorFigures {
    /// Name of the tensor in the policy; for an inner tensor, its name in the network.
    pub tensor: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Minimum cosine; `None`: shown without a limit.
    #[serde(default)]
    pub least_cosine: Option<f64>,
}

impl TensorFigures {
    /// Whether the figures are within the limit.
    pub fn passes(&self) -> bool {
        self.least_cosine.is_none_or(|least| self.figures.cosine.is_some_and(|cosine| cosine >= least))
    }
}

/// Result of an accuracy gate, for one engine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Whether all figures are within their limits.
    pub passed: bool,
    /// Time of the comparison, RFC 3339 in UTC.
    pub at: String,
    /// SHA-256 of the bag with the inputs, hex; for a folder, over the names and hashes of its files.
    pub bag_sha256: String,
    /// Number of observations used.
    pub observations: usize,
    /// Outputs of the engine.
    pub tensors: Vec<TensorFigures>,
    /// The decisive figures with their limits, in one line.
    pub summary: String,
}
