//! From an observation to host tensors: frames to pixels, the instruction to token ids, joints and poses to the state tensor.

use std::path::PathBuf;

pub mod frames;
mod framing;
pub mod image;
mod letterbox;
pub mod normalise_text;
pub mod pose;
pub mod prompt;
pub mod resize;
pub mod state;

pub use frames::{Frame, FrameEncoder};
pub use image::EvalTransform;

/// Why an observation or a file cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A frame that the model's transform cannot resample.
    #[error("frame of {width}x{height}: {reason}")]
    Frame {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// The expected value.
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
        /// The reason, with the expected value.
        reason: String,
    },
    /// A token of the prompt that is not in the tokenizer's vocabulary.
    #[error(
        "{}: expected '{token}' of {} as a single token; {found}; use the tokenizer that the language model was \
         trained with",
        tokenizer.display(),
        template.display()
    )]
    Token {
        /// The token.
        token: String,
        /// File or folder of the tokenizer.
        tokenizer: PathBuf,
        /// File of the template.
        template: PathBuf,
        /// What the tokenizer has instead.
        found: &'static str,
    },
    /// An instruction that the model does not accept.
    #[error("instruction: {reason}")]
    Instruction {
        /// Expected and found value, and the remedy.
        reason: String,
    },
    /// The prompt has another number of places for image rows than there are image rows.
    #[error(
        "prompt: expected {expected} image tokens, found {found} from the tokenizer; check that tokenizer and template belong \
         to the same model"
    )]
    ImageTokens {
        /// Image rows.
        expected: usize,
        /// Places for them.
        found: usize,
    },
    /// A table of statistics has another width than its key.
    #[error(
        "statistics of state key '{key}': expected {expected} values, found {found}; use the checkpoint's own file"
    )]
    Statistics {
        /// The key.
        key: String,
        /// Its width.
        expected: usize,
        /// Values of the table.
        found: usize,
    },
}
