//! `policy.yaml`: what a policy bundle holds and how its stages fit together.
//!
//! Parsed in two steps: as typed (`raw`), then checked. Everything wrong is reported at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::SharedEncoder;
use super::processor::{DeltaRows, Processor, ProcessorError};
use vla_base::time::Span;
use vla_engines::{EngineKind, Input, Output, Precision, Stage, operations};

mod accuracy;
mod check;
mod raw;

pub use accuracy::Accuracy;

use check::Checker;
use raw::{Named, RawAccuracy, RawPolicy, RawStage};

/// Name of the description inside a bundle.
pub const POLICY_FILE: &str = "policy.yaml";

/// Folder of a bundle's engines, built on the device.
pub const ENGINES: &str = "engines";

/// Least and greatest time from one action row to the next, in s.
pub const STEP_S: std::ops::RangeInclusive<f64> = 1e-4..=10.0;

/// How far a history may go back, in control steps.
pub const LONGEST_HISTORY: i64 = 1000;
/// Most values of a row of states or actions, and rows of a chunk: a hundred times what robots have.
const MOST_VALUES: usize = 4096;

/// The format version that this build reads.
pub const FORMAT: u32 = 1;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The folder has no readable `policy.yaml`.
    #[error("{}: {source}; expected a policy folder with a {POLICY_FILE} (make one with `vla-trt export` or `vla-trt make-demo-policy`)", path.display())]
    Missing {
        /// The missing file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not the YAML of a policy: a wrong type, an unknown or repeated key, with its place.
    #[error("{}: {reason}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The parser's error, with line and column.
        reason: String,
    },
    /// Well-formed, but contradictory or incomplete.
    #[error("{} cannot be used:\n  {}", path.display(), problems.join("\n  "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// One line each, with the key's path.
        problems: Vec<String>,
    },
}

/// A checked policy bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// The bundle's folder.
    pub dir: PathBuf,
    /// Name, for people.
    pub name: String,
    /// `sha256:...` over the bundle's files, written by the exporter.
    pub fingerprint: String,
    /// The weights are random, for tests and measurements: the policy moves nothing meaningfully.
    pub random_weights: bool,
    /// Camera names in the order of the model's views.
    pub cameras: Vec<String>,
    /// Cameras among them that a robot may lack: their frames were black in a part of the training data.
    pub blank_views: Vec<String>,
    /// Which frames of each camera the model takes, in control steps relative to the newest: ascending, the last is 0.
    pub video_history: Vec<i64>,
    /// State keys and widths in model order.
    pub state: Vec<(String, usize)>,
    /// Which samples of the state the model takes, as [`Self::video_history`].
    pub state_history: Vec<i64>,
    /// The action chunk.
    pub action: ActionSpec,
    /// Tokenizer, prompt and embedding table.
    pub instruction: InstructionSpec,
    /// The vendor's processor files.
    pub processor: ProcessorFiles,
    /// Denoising step counts.
    pub denoise: DenoiseSpec,
    /// How far engines may be from their networks.
    pub accuracy: Accuracy,
    /// Stages in run order.
    pub stages: Vec<Stage>,
    /// Stages whose network is not in the bundle and must be provided by the user: description and expected source.
    pub supplied: BTreeMap<String, String>,
}

/// Shape of what the model predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionSpec {
    /// Time between rows.
    pub step: Span,
    /// Rows that the model predicts.
    pub horizon: usize,
    /// Rows that are used.
    pub rows: usize,
    /// Columns of the model's action tensor.
    pub dims: usize,
    /// Action keys and widths in model order.
    pub keys: Vec<(String, usize)>,
    /// What a row of each key with `rep: DELTA` is, as far as the bundle says it.
    pub deltas: BTreeMap<String, DeltaRows>,
}

/// Files of the instruction's way to token ids and embedding rows.
#[derive(Clone, Debug, PartialEq)]
pub struct InstructionSpec {
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Prompt template.
    pub template: PathBuf,
    /// Most tokens that the text may have (image tokens not counted).
    pub max_tokens: usize,
    /// Safetensors file and tensor of the token embedding, when rows are gathered on the host.
    pub embedding: Option<(PathBuf, String)>,
    /// Tokenizer and template, once they are read.
    pub encoder: SharedEncoder,
}

/// The vendor's processor files and the embodiment to read from them.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessorFiles {
    /// `processor_config.json`.
    pub config: PathBuf,
    /// `statistics.json`.
    pub statistics: PathBuf,
    /// Embodiment tag.
    pub embodiment: String,
    /// Its row in the per-embodiment weights, for networks that hold those of all.
    pub embodiment_id: Option<i32>,
    /// Whether frames are padded to squares; `None` for what `processor_config.json` says.
    pub letterbox: Option<bool>,
}

/// Step counts that have constants.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoiseSpec {
    /// Exported counts.
    pub steps: Vec<u32>,
    /// The count used unless a parameter says otherwise.
    pub default: u32,
}

impl ProcessorFiles {
    /// Reads both files, with what policy.yaml says instead of them.
    ///
    /// # Errors
    /// As [`Processor::load`].
    pub fn load(&self) -> Result<Processor, ProcessorError> {
        let mut processor = Processor::load(&self.config, &self.statistics, &self.embodiment)?;
        processor.image.letterbox = self.letterbox.unwrap_or(processor.image.letterbox);
        Ok(processor)
    }
}

impl PolicySpec {
    /// Reads and checks the bundle in `dir`.
    ///
    /// # Errors
    /// [`SpecError`], with every problem of the bundle at once.
    pub fn load(dir: &Path) -> Result<Self, SpecError> {
        let path = dir.join(POLICY_FILE);
        let text = fs::read_to_string(&path).map_err(|source| SpecError::Missing { path: path.clone(), source })?;
        Self::parse(dir, &text)
    }

    /// Checks the text of a `policy.yaml` whose files lie in `dir`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(dir: &Path, text: &str) -> Result<Self, SpecError> {
        let path = dir.join(POLICY_FILE);
        let raw: RawPolicy = serde_yaml::from_str(text)
            .map_err(|error| SpecError::Yaml { path: path.clone(), reason: error.to_string() })?;
        let mut checker = Checker { dir, problems: Vec::new() };
        let spec = checker.policy(raw);
        if checker.problems.is_empty() {
            Ok(spec)
        } else {
            Err(SpecError::Invalid { path, problems: checker.problems })
        }
    }

    /// Whether inference accepts an action prefix: whether a stage reads `strength`, the guidance weights.
    pub fn accepts_prefix(&self) -> bool {
        let mut inputs = self.stages.iter().flat_map(|stage| &stage.inputs);
        inputs.any(|input| input.name == "strength" && input.constants.is_none())
    }

    /// Names of the stages in run order.
    pub fn stage_names(&self) -> Vec<String> {
        self.stages.iter().map(|stage| stage.name.clone()).collect()
    }

    /// Every file of the exported bundle, relative to it, as in the fingerprint. Networks provided by the user are not included.
    pub fn files(&self) -> Vec<String> {
        let instruction = [&self.instruction.tokenizer, &self.instruction.template];
        let embedding = self.instruction.embedding.iter().map(|(file, _)| file);
        let networks =
            self.stages.iter().filter(|stage| !self.supplied.contains_key(&stage.name)).map(|stage| &stage.onnx);
        let inputs = self.stages.iter().flat_map(|stage| &stage.inputs);
        let constants = inputs.filter_map(|input| input.constants.as_ref());
        let all = instruction.into_iter().chain(embedding).chain([&self.processor.config, &self.processor.statistics]);
        let relative = |file: &PathBuf| file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy().into_owned();
        let mut files: Vec<String> = all.chain(networks).chain(constants).map(relative).collect();
        files.sort();
        files.dedup();
        files
    }

    /// A stage with the file that engines of this kind load: its network, `engines/<stage>.engine` of the bundle, or the
    /// list of operations beside the network.
    pub fn stage_for(&self, stage: &Stage, kind: EngineKind) -> Stage {
        let file = match kind {
            EngineKind::Onnx => stage.onnx.clone(),
            EngineKind::Tensorrt => self.dir.join(ENGINES).join(format!("{}.engine", stage.name)),
            EngineKind::Cuda => operations::path_beside(&stage.onnx),
        };
        Stage { file, ..stage.clone() }
    }

    /// Every stage as TensorRT loads it.
    pub fn engine_stages(&self) -> Vec<Stage> {
        self.stages.iter().map(|stage| self.stage_for(stage, EngineKind::Tensorrt)).collect()
    }

    /// Networks provided by the user that are in the bundle's folder, relative to it.
    pub fn supplied_files(&self) -> Vec<String> {
        let supplied =
            self.stages.iter().filter(|stage| self.supplied.contains_key(&stage.name)).map(|stage| &stage.onnx);
        let there = supplied.filter(|file| file.is_file()).filter_map(|file| file.strip_prefix(&self.dir).ok());
        there.map(|file| file.to_string_lossy().into_owned()).collect()
    }

    /// Largest value of the symbolic dimension `symbol` in any stage's profile.
    pub fn largest(&self, symbol: &str) -> Option<usize> {
        let profiles = self.stages.iter().flat_map(|stage| &stage.profile);
        profiles.filter(|(name, _)| name == symbol).map(|(_, range)| range[2]).max()
    }
}
