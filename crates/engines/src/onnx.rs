//! Reads ONNX files without a runtime: inputs, outputs, weights and computational cost of a network.
//!
//! The file is mapped and weights stay where they are, so a network of gigabytes is read in milliseconds and a few
//! megabytes. Everything here is an estimate for planning, or a fact of the file; nothing is computed.

pub mod cost;
mod data;
mod elements;
mod inner;
mod network;
mod products;
pub mod proto;
mod quantization;
mod shapes;

use std::path::PathBuf;

pub use cost::Cost;
pub use data::DataProblem;
pub use inner::Inner;
pub use network::{ExternalWeight, Network, Weight};
pub use products::{PRODUCT_SUFFIX, ProductWeights};
pub use quantization::Product;
pub use shapes::Inferred;

/// Part of a network whose nodes an engine keeps in single precision whatever else it is built in: nodes are named
/// `.../fp32/...`.
pub const FP32_SCOPE: &str = "fp32";

/// Why a file is no usable network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no ONNX model, or one that contradicts itself.
    #[error("{}: {reason}; export the network again", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
