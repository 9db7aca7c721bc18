//! Errors of reading and rewriting a network.

use std::path::PathBuf;

use crate::recipe::{Target, WeightType};

/// A network cannot be rewritten, or a recipe does not fit it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network cannot be read.
    #[error(transparent)]
    Network(#[from] vla_engines::onnx::Error),
    /// A file with weights is missing or cut.
    #[error(transparent)]
    Data(#[from] vla_engines::onnx::DataProblem),
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The network has something that the rewriting cannot keep.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// What it has, and what to do.
        reason: String,
    },
    /// The recipe names a product that the network does not have.
    #[error(
        "{}: expected a MatMul or Gemm with a weight matrix named '{node}', as the recipe names one, found none; create \
         a new recipe for this network",
        path.display()
    )]
    UnknownProduct {
        /// The model file.
        path: PathBuf,
        /// Name in the recipe.
        node: String,
    },
    /// The recipe names a tensor that the network does not have.
    #[error(
        "{}: expected a tensor named '{tensor}', as the recipe names one, found none; create a new recipe for this \
         network",
        path.display()
    )]
    UnknownTensor {
        /// The model file.
        path: PathBuf,
        /// Name in the recipe.
        tensor: String,
    },
    /// An 8-bit product reads a tensor without a scale.
    #[error("product '{node}': expected a scale of its input '{tensor}' in the recipe, found none; calibrate it")]
    MissingScale {
        /// The product.
        node: String,
        /// Its input.
        tensor: String,
    },
    /// A scale is not a positive number that the network's type holds.
    #[error("scale of '{tensor}': expected a positive number that {dtype} holds, found {found:e}; calibrate it again")]
    Scale {
        /// The tensor.
        tensor: String,
        /// Type of the scale.
        dtype: &'static str,
        /// The scale.
        found: f32,
    },
    /// There is another number of smoothing factors than channels.
    #[error("smoothing of '{tensor}': expected {expected} factors, one a channel, found {found}; calibrate it again")]
    Factors {
        /// The tensor.
        tensor: String,
        /// Its channels.
        expected: usize,
        /// Factors in the recipe.
        found: usize,
    },
    /// A smoothing factor is not a positive number.
    #[error(
        "smoothing of '{tensor}', channel {channel}: expected a positive number, found {found:e}; calibrate it again"
    )]
    Factor {
        /// The tensor.
        tensor: String,
        /// The channel.
        channel: usize,
        /// The factor.
        found: f32,
    },
    /// No weight in front of a tensor can take its smoothing factors.
    #[error(
        "smoothing of '{tensor}': expected a norm, a scale or a product in front that no other node reads, found none; \
         leave its factors out of the recipe"
    )]
    NoCarrier {
        /// The tensor.
        tensor: String,
    },
    /// A weight is not a matrix of floating-point numbers.
    #[error("weight '{weight}': {reason}; export the network again")]
    Weight {
        /// The weight.
        weight: String,
        /// What is wrong.
        reason: String,
    },
    /// A weight has an element that is not finite, or is not after smoothing.
    #[error(
        "weight '{weight}': expected a finite number that {dtype} holds at row {row}, column {column}, found {found:e}; \
         check the checkpoint, or leave the smoothing of this product out"
    )]
    NotFinite {
        /// The weight.
        weight: String,
        /// Type that has to hold it.
        dtype: &'static str,
        /// Input channel.
        row: usize,
        /// Output channel.
        column: usize,
        /// The element.
        found: f32,
    },
    /// The weights of a product cannot have the type that the recipe asks for.
    #[error("product '{node}' with {wanted} weights for {target}: {reason}")]
    Refused {
        /// The product.
        node: String,
        /// Type in the recipe.
        wanted: WeightType,
        /// Reader of the network.
        target: Target,
        /// Why, and what to do.
        reason: String,
    },
}

impl Error {
    /// Turns an error of the system at `path` into one of this crate.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
