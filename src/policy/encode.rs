//! From an observation to host tensors: frames to pixels, the instruction to token ids, joints to the state tensor.

use std::path::PathBuf;

pub mod image;
pub mod prompt;
pub mod resize;
pub mod state;

pub use image::EvalTransform;

/// Why an observation or a file cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A frame that the model's transform has no result for.
    #[error("frame of {width}x{height}: {reason}")]
    Frame {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// What was expected.
        reason: String,
    },
    /// The caller's buffer does not fit.
    #[error("{what}: expected {expected} values, found a buffer of {found}")]
    Length {
        /// Whose buffer.
        what: &'static str,
        /// Values that there are.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
}
