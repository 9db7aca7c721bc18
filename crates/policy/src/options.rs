//! Options and progress of loading a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use vla_base::tensor::TensorSpec;
use vla_engines::{Admission, EngineKind, Inference, Launch, LoadEvent, Stage};

use super::Error;
use super::encode::pose::PoseMap;
use super::observation::JointMap;
use super::processor::DeltaRows;

/// The operator's options for loading a policy.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Engine kind of every stage.
    pub engine: EngineKind,
    /// Loading order; `None`: largest file first.
    pub load_order: Option<Vec<String>>,
    /// Files used instead of the bundle's, by stage.
    pub stage_files: BTreeMap<String, PathBuf>,
    /// Stages whose engines may be loaded without a record of where they were built.
    pub allow_unverified: BTreeSet<String>,
    /// Stages whose engines may be loaded although they failed their accuracy check.
    pub allow_inaccurate: BTreeSet<String>,
    /// Views that no camera gives: they are black.
    pub blank_views: Vec<String>,
    /// Joints of each state key that is read from joints, in model order.
    pub state: Vec<JointMap>,
    /// State keys that are read from poses.
    pub poses: Vec<PoseMap>,
    /// Joints of each action key that moves joints, in model order.
    pub action: Vec<JointMap>,
    /// Action keys that move no joints although they are no end effector's: their columns are `<key>.0`, `<key>.1`, ...
    pub columns: BTreeSet<String>,
    /// Meaning of the rows of each action key with `rep: DELTA`, where it differs from policy.yaml.
    pub deltas: BTreeMap<String, DeltaRows>,
    /// Step count of the warm-up inference.
    pub denoise_steps: u32,
    /// CPU threads of one inference.
    pub threads: usize,
    /// Run quantised networks with ONNX Runtime's integer kernels, in place of what the networks say.
    pub integer_kernels: bool,
    /// CPU threads that encode the frames of one observation, the inference thread among them; 0: what
    /// [`FrameEncoder::new`](crate::encode::FrameEncoder::new) takes then.
    pub encode_threads: usize,
    /// What resamples frames.
    pub encode_device: EncodeDevice,
    /// How inferences are launched (TensorRT).
    pub launch: Launch,
    /// Release TensorRT's host copies of the engines where the build verified it.
    pub release_host_copy: bool,
    /// Memory that the engines may use.
    pub admission: Admission,
}

/// What resamples camera frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EncodeDevice {
    /// The GPU where the engine kind does that and the GPU has memory of its own; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU where the engine kind does that, whatever its memory.
    Gpu,
}

/// Progress of [`Policy::load`](super::Policy::load).
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The bundle's files are read and checked.
    Planning,
    /// An engine is being loaded, or is loaded.
    Engine(LoadEvent),
    /// The first inference runs, on zeros.
    WarmUp,
}

/// Loads the stages into a pipeline that reads the given host tensors.
pub type LoadPipeline<'l> =
    &'l mut dyn FnMut(&[Stage], &[TensorSpec], &mut dyn FnMut(Progress)) -> Result<Box<dyn Inference>, Error>;
