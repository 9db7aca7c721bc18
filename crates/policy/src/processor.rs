//! The processor of a policy: how images, state and instruction become tensors, and how predictions become actions.
//!
//! Read from the vendor's own two files, `processor_config.json` and `statistics.json`, for one embodiment, in two
//! steps: as typed (`raw`), then checked. Everything wrong with the values is reported at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::encode::prompt::TextRules;
use crate::family::Family;

mod check;
mod delta;
mod eef;
mod image;
mod known;
mod on_use;
mod raw;

pub use delta::DeltaRows;
pub use eef::EefValues;
pub use image::{Framing, ImageTransformSpec, ShrunkBy, SmartResize};
pub use known::{Harmless, KNOWN_KEYS, KnownKey, Place};
pub use on_use::python_json;

/// Why a processor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// A file cannot be read.
    #[error("{}: {source}; expected the file that the checkpoint's processor was saved to", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is not JSON, or not the outline of the vendor's schema: a wrong type or a repeated key, with its place.
    #[error("{}: {reason}; expected the schema that the processor class {} saves", path.display(), Family::processor_classes())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// Well-formed, but contradictory, incomplete, or of a kind that this build does not compute.
    #[error("the processor of embodiment '{embodiment}' cannot be used:\n  {}", problems.join("\n  "))]
    Invalid {
        /// The embodiment tag that was asked for.
        embodiment: String,
        /// One line each, with the file and the key's path.
        problems: Vec<String>,
    },
}

/// A `processor_config.json`, of the vendor's schema but not yet checked for an embodiment.
#[derive(Clone, Debug)]
pub struct ProcessorConfig(raw::RawConfig);

/// A `statistics.json`, of the vendor's schema but not yet checked for an embodiment.
#[derive(Clone, Debug)]
pub struct Statistics(raw::RawStatistics);

/// What a policy computes before and after its engines, for one embodiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Processor {
    /// The family of models that it belongs to.
    pub family: &'static Family,
    /// Embodiment tag.
    pub embodiment: String,
    /// Camera names in the order of the model's views.
    pub cameras: Vec<String>,
    /// Which frames of each camera the model takes, in control steps relative to the newest; ascending, the last is 0.
    pub video_deltas: Vec<i64>,
    /// State keys in model order.
    pub state: Vec<StateKey>,
    /// Which samples of the state the model takes, in control steps relative to the observation; `[0]` is the
    /// observation's alone.
    pub state_deltas: Vec<i64>,
    /// The network gets zeros for the state. Relative actions refer to it all the same.
    pub exclude_state: bool,
    /// Normalised state values are clipped to [-1, 1] where they are scaled by a range.
    pub clip_state: bool,
    /// Action keys in model order.
    pub action: Vec<ActionKey>,
    /// Which control steps the action rows are for, relative to the observation; one row each.
    pub action_deltas: Vec<i64>,
    /// Columns of the model's state tensor.
    pub max_state_dim: usize,
    /// Columns of the model's action tensor.
    pub max_action_dim: usize,
    /// Rows that the model predicts at most.
    pub max_action_horizon: usize,
    /// How frames become pixels.
    pub image: ImageTransformSpec,
    /// The instruction is lower-cased and stripped of punctuation.
    pub normalise_text: bool,
}

/// One group of state values.
#[derive(Clone, Debug, PartialEq)]
pub struct StateKey {
    /// The key.
    pub name: String,
    /// Raw values.
    pub width: usize,
    /// How the model sees them.
    pub encoding: StateEncoding,
}

/// How raw state values are normalised. Vectors have the key's width.
#[derive(Clone, Debug, PartialEq)]
pub enum StateEncoding {
    /// `[sin(all), cos(all)]`: twice the width.
    SinCos,
    /// `(x - mean) / std`; unchanged where `std` is 0.
    MeanStd {
        /// Mean of the training data.
        mean: Vec<f64>,
        /// Standard deviation of the training data.
        std: Vec<f64>,
    },
    /// `2 (x - low) / (high - low) - 1`; 0 where the range is degenerate.
    Range {
        /// Becomes -1.
        low: Vec<f64>,
        /// Becomes 1.
        high: Vec<f64>,
    },
}

/// One group of action columns.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionKey {
    /// The key.
    pub name: String,
    /// Columns of the prediction.
    pub width: usize,
    /// How normalised values become physical ones.
    pub scaling: ActionScaling,
    /// What physical values are relative to.
    pub conversion: Conversion,
    /// What the decoded values are, when they are an end effector's; `None`: joint values.
    pub eef: Option<EefValues>,
}

/// How predictions are scaled. Tables are `[1, width]` or `[rows, width]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionScaling {
    /// `x std + mean`; unchanged where `std` is 0.
    MeanStd {
        /// Mean of the training data.
        mean: Vec<f64>,
        /// Standard deviation of the training data.
        std: Vec<f64>,
    },
    /// `(clip(x) + 1) / 2 (high - low) + low`.
    Range {
        /// What -1 becomes.
        low: Vec<f64>,
        /// What 1 becomes.
        high: Vec<f64>,
    },
}

/// What action values are relative to. The reference is the raw state of the observation; only deltas may add up earlier rows
/// of the chunk to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conversion {
    /// Nothing: they leave as they are.
    Absolute,
    /// Values of a state key of the same width, added.
    AddState {
        /// Index into [`Processor::state`].
        state: usize,
    },
    /// Values of a state key of the same width, added to deltas as their rows say.
    Delta {
        /// Index into [`Processor::state`].
        state: usize,
        /// `None` until [`Processor::set_deltas`] has said it: such a key cannot be decoded.
        rows: Option<DeltaRows>,
    },
    /// A pose in a state key: the predicted pose is in its frame.
    ComposePose {
        /// Index into [`Processor::state`].
        state: usize,
        /// How both are written.
        predicted: PoseFormat,
        /// How the resulting pose is written.
        format: PoseFormat,
    },
}

/// How an absolute end-effector pose is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoseFormat {
    /// Position, then the first two rows of the rotation matrix: 9 values.
    Rot6d,
    /// Position, then axis times angle: 6 values.
    Rotvec,
    /// The homogeneous matrix, row by row: 16 values.
    Matrix,
}

impl ProcessorConfig {
    /// Reads a `processor_config.json`.
    ///
    /// # Errors
    /// [`ProcessorError::Unreadable`], [`ProcessorError::Json`].
    pub fn load(path: &Path) -> Result<Self, ProcessorError> {
        Self::parse(path, &read(path)?)
    }

    /// The text of a `processor_config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`ProcessorError::Json`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ProcessorError> {
        serde_json::from_str(&on_use::python_json(text)).map(Self).map_err(|error| json_error(path, &error))
    }

    /// Whether the file says that frames are letterboxed; `None` where it does not have the key (`letter_box_transform`).
    pub fn letterbox(&self) -> Option<bool> {
        check::letterbox(&self.0.processor_kwargs.rest)
    }

    /// Tags of the embodiments that it configures, in the file's order.
    pub fn embodiments(&self) -> impl Iterator<Item = &str> {
        self.0.processor_kwargs.modality_configs.0.iter().map(|(tag, _)| tag.as_str())
    }
}

impl Statistics {
    /// Reads a `statistics.json`.
    ///
    /// # Errors
    /// [`ProcessorError::Unreadable`], [`ProcessorError::Json`].
    pub fn load(path: &Path) -> Result<Self, ProcessorError> {
        Self::parse(path, &read(path)?)
    }

    /// The text of a `statistics.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`ProcessorError::Json`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ProcessorError> {
        serde_json::from_str(&on_use::python_json(text)).map(Self).map_err(|error| json_error(path, &error))
    }
}

impl Processor {
    /// Reads and checks both files for one embodiment.
    ///
    /// # Errors
    /// [`ProcessorError`]; problems of the two files' values are all reported at once.
    pub fn load(config: &Path, statistics: &Path, embodiment: &str) -> Result<Self, ProcessorError> {
        Self::new(&ProcessorConfig::load(config)?, &Statistics::load(statistics)?, embodiment)
    }

    /// Checks both files for one embodiment.
    ///
    /// # Errors
    /// [`ProcessorError::Invalid`], with every problem.
    pub fn new(config: &ProcessorConfig, statistics: &Statistics, embodiment: &str) -> Result<Self, ProcessorError> {
        check::processor(&config.0, &statistics.0, embodiment)
            .map_err(|problems| ProcessorError::Invalid { embodiment: embodiment.to_owned(), problems })
    }

    /// How instructions are read.
    pub fn text_rules(&self) -> TextRules {
        self.family.text_rules(self.normalise_text)
    }

    /// Raw state values of one time step.
    pub fn state_width(&self) -> usize {
        self.state.iter().map(|key| key.width).sum()
    }

    /// Columns of the model's state tensor that carry values.
    pub fn encoded_state_width(&self) -> usize {
        self.state.iter().map(StateKey::encoded_width).sum()
    }

    /// Action rows: the first this many that the model predicts are used.
    pub fn rows(&self) -> usize {
        self.action_deltas.len()
    }

    /// Columns of the model's action tensor that carry values.
    pub fn predicted_width(&self) -> usize {
        self.action.iter().map(|key| key.width).sum()
    }

    /// Values of one decoded action row.
    pub fn action_width(&self) -> usize {
        self.action.iter().map(ActionKey::decoded_width).sum()
    }
}

impl StateKey {
    /// Values that the model gets for this key.
    pub fn encoded_width(&self) -> usize {
        match self.encoding {
            StateEncoding::SinCos => 2 * self.width,
            StateEncoding::MeanStd { .. } | StateEncoding::Range { .. } => self.width,
        }
    }
}

impl ActionKey {
    /// Values of this key in a decoded row. Differs from [`Self::width`] for poses alone.
    pub fn decoded_width(&self) -> usize {
        match self.conversion {
            Conversion::ComposePose { format, .. } => format.width(),
            Conversion::Absolute | Conversion::AddState { .. } | Conversion::Delta { .. } => self.width,
        }
    }
}

fn read(path: &Path) -> Result<String, ProcessorError> {
    fs::read_to_string(path).map_err(|source| ProcessorError::Unreadable { path: path.to_owned(), source })
}

fn json_error(path: &Path, error: &serde_json::Error) -> ProcessorError {
    ProcessorError::Json { path: path.to_owned(), reason: error.to_string() }
}
