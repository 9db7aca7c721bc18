//! What is done to the products of one network.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Type of a product's weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// Signed 8-bit integers, one scale an output channel, zero point 0; the product's input is 8-bit too.
    Int8,
    /// Signed 4-bit integers, one scale a block of 128 input channels and an output channel; the product's input stays floating.
    Int4,
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

/// What is done to each product of a network. Names are those of the network before.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Recipe {
    /// Quantised products, by the name of the node. Others stay as they are.
    pub products: BTreeMap<String, WeightType>,
    /// Scale of each tensor that a product with [`WeightType::Int8`] reads: a real value is `scale` times an integer
    /// in -128..=127. After smoothing.
    pub activations: BTreeMap<String, f32>,
    /// Factors `s` of a tensor that products read, one a channel (its last dimension): the network computes `x / s` in
    /// its place, and every product that reads it has `s` in the rows of its weight (SmoothQuant, arXiv 2211.10438, equation 3).
    pub smoothing: BTreeMap<String, Vec<f32>>,
}

/// Who reads the network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// TensorRT 8.6: floating weights behind QuantizeLinear and DequantizeLinear, scales in single precision, Relu as `max(x, 0)`.
    Trt8,
    /// TensorRT 10 and 11, TensorRT-RTX and ONNX Runtime: 8-bit weights behind DequantizeLinear.
    #[default]
    Trt10,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trt8 => "trt8",
            Self::Trt10 => "trt10",
        })
    }
}
