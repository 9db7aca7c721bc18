//! Engines and the pipeline that runs them: named tensors, wiring, load order, a repeated group of stages.
//!
//! Two seams. [`Device`] is what an engine kind implements: load a network, allocate buffers, bind, run.
//! [`Run`] is what the policy sees: [`pipeline::Pipeline`] over any device, as one object.
//! Nothing here knows an observation, a configuration file or ROS.

use std::path::PathBuf;
use std::time::Duration;

use vla_base::tensor::{DType, HostTensor, TensorSpec};

mod constants;
pub mod host_copy;
pub mod memory;
pub mod mix;
pub mod onnx;
pub mod onnx_runtime;
pub mod pipeline;
pub mod precision;
pub mod profile;
mod program;
pub mod provenance;
pub mod roofline;
pub mod wiring;

pub use host_copy::HostCopy;
pub use memory::{Admission, Footprint, MemoryUse, Pool};
pub use mix::Mix;
pub use pipeline::{LoadEvent, Pipeline, Run, StageReport};
pub use precision::Precision;
pub use profile::Profile;
pub use provenance::Verified;
pub use wiring::{Input, Output, Stage, Symbols};

/// What runs a policy's stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EngineKind {
    /// ONNX Runtime on the CPU.
    #[default]
    Onnx,
    /// TensorRT engines built on this device.
    Tensorrt,
}

/// How a pass over all stages is started on a device that can do more than one thing at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Launch {
    /// The whole pass as one recording (a CUDA graph), after its first run.
    #[default]
    Graph,
    /// Every engine by itself, waiting once at the end.
    StepByStep,
    /// Every engine by itself, waiting after each: the way of scripts, to compare with.
    WaitAfterEach,
}

/// What went wrong in the engine room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime library of an engine kind is missing or unusable.
    #[error("{library} is not usable: {reason}. {remedy}")]
    Library {
        /// Which library.
        library: &'static str,
        /// The loader's own words.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A network file is missing or is refused by the runtime.
    #[error("stage '{stage}': cannot load {}: {reason}", file.display())]
    Load {
        /// Stage that names the file.
        stage: String,
        /// The file.
        file: PathBuf,
        /// The runtime's own words.
        reason: String,
    },
    /// `engines.load_order` is not a permutation of the stages.
    #[error("engines.load_order must name every stage exactly once: {problem}; the stages are {}", stages.join(", "))]
    LoadOrder {
        /// What is wrong with it.
        problem: String,
        /// Every stage of the policy.
        stages: Vec<String>,
    },
    /// The engines do not fit into the memory that they may take, or a runtime found none. What was loaded is freed.
    #[error("{0}")]
    DoesNotFit(Box<memory::Refusal>),
    /// A runtime found no memory: what a device returns. [`Pipeline`] makes [`Error::DoesNotFit`] of it.
    #[error("out of memory while {action}: {reason}")]
    OutOfMemory {
        /// What was being done.
        action: String,
        /// The runtime's own words.
        reason: String,
    },
    /// Engines that were not built on this device from these files, every stage's at once. Nothing was loaded.
    #[error("{}", refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Provenance {
        /// One a stage.
        refusals: Vec<provenance::Refusal>,
    },
    /// An input is not what an engine takes; the device has not seen it.
    #[error("{0}")]
    Profile(Box<profile::Violation>),
    /// The stages do not fit together, or a network differs from its description. Every problem is listed.
    #[error("the policy's stages do not fit together:\n  {}", problems.join("\n  "))]
    Wiring {
        /// One line each.
        problems: Vec<String>,
    },
    /// A table of constants is missing, or lacks this number of repetitions.
    #[error("constants of input '{input}' in {}: {reason}", file.display())]
    Constants {
        /// Input that the constants feed.
        input: String,
        /// Table they should be in.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A symbolic dimension has no value.
    #[error("tensor '{tensor}': dimension '{symbol}' has no value; known are {known}")]
    Symbol {
        /// Tensor that has the dimension.
        tensor: String,
        /// Its name.
        symbol: String,
        /// Names that have a value.
        known: String,
    },
    /// A host tensor does not fit the buffer that it is written to or read from.
    #[error("tensor '{tensor}': expected {expected}, found {found}")]
    HostTensor {
        /// Tensor's name.
        tensor: String,
        /// Element type and dimensions of the buffer.
        expected: String,
        /// Those of the host tensor.
        found: String,
    },
    /// The runtime failed while running a stage.
    #[error("{0}")]
    Enqueue(Box<profile::EnqueueFailure>),
    /// The device does nothing any more until it is made anew: a sticky CUDA error.
    #[error("the device is lost until the engines are loaded again: {reason}")]
    DeviceLost {
        /// What failed, in full.
        reason: String,
    },
    /// The runtime failed outside a stage.
    #[error("{action}: {reason}")]
    Device {
        /// What was being done.
        action: String,
        /// The runtime's own words.
        reason: String,
    },
    /// Called out of order: a bug of the caller.
    #[error("the pipeline has no program yet: call prepare first")]
    NotPrepared,
}

impl Error {
    /// Whether every later call fails too, so that the engines have to be loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::DeviceLost { .. })
    }

    /// Whether the engines were refused, or failed, for want of memory.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::DoesNotFit(_) | Self::OutOfMemory { .. })
    }
}

/// What a failed call says about the calls after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Nothing: the next call may succeed.
    #[default]
    Sound,
    /// It failed for want of memory.
    OutOfMemory,
    /// Every call fails until the device is made anew.
    Lost,
}

/// A way to hold and run networks: ONNX Runtime on the CPU, or TensorRT on a GPU.
///
/// What a device starts may still be going on when the call returns; [`Self::finish`] waits for all of it.
pub trait Device {
    /// A loaded network with the description of its tensors.
    type Engine;
    /// Every tensor of one program where the engines run, and the clock of its stages.
    type Workspace;
    /// An engine joined to tensors of a workspace, ready to run.
    type Bound;
    /// A whole pass that the device can start in one go.
    type Recording;

    /// Short name for logs and diagnostics, e.g. `onnx`.
    fn kind(&self) -> &'static str;

    /// Memory of the machine as engines of this kind see it, now.
    fn pool(&self) -> Pool {
        Pool::host()
    }

    /// Asked before anything is loaded: whether the engine of `stage` was built for this device from these files.
    ///
    /// # Errors
    /// [`Error::Provenance`].
    fn verify(&mut self, _stage: &Stage) -> Result<Verified, Error> {
        Ok(Verified::Unneeded)
    }

    /// What `stage` will take. Its I/O is filled in by the pipeline, which sees all stages.
    ///
    /// # Errors
    /// [`Error::Load`] when a file is missing.
    fn footprint(&self, stage: &Stage, verified: &Verified) -> Result<Footprint, Error>;

    /// Whether all engines share one activation arena; else each keeps its own.
    fn shares_activation(&self) -> bool {
        false
    }

    /// Loads the network of `stage`; `verified` is what [`Self::verify`] said of it.
    ///
    /// # Errors
    /// [`Error::Load`]; [`Error::OutOfMemory`]; [`Error::Provenance`] for what only shows while it is loaded.
    fn load(&mut self, stage: &Stage, verified: &Verified) -> Result<Self::Engine, Error>;

    /// What became of the copy that the runtime keeps of a loaded engine in host memory.
    fn host_copy(&self, _engine: &Self::Engine) -> HostCopy {
        HostCopy::AsLoaded
    }

    /// Lets go of memory that an engine needs only while it is loaded and bound. Called after the first program was made.
    fn settle(&self, _engine: &Self::Engine) {}

    /// The network's inputs, as it describes them itself.
    fn inputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The network's outputs, as it describes them itself.
    fn outputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The optimisation profile of an input; `None`: the engine takes whatever its description leaves open.
    fn tensor_profile<'e>(&self, _engine: &'e Self::Engine, _tensor: &str) -> Option<&'e Profile> {
        None
    }

    /// Whether 64-bit integers of a network are 32-bit ones in its engine (TensorRT before 10).
    fn narrows_int64(&self) -> bool {
        false
    }

    /// Asked after a call failed: what that means for the next ones. Each failure is asked about once; afterwards the
    /// device is sound until another call fails.
    fn take_health(&mut self) -> Health {
        Health::Sound
    }

    /// Last lines of the runtime's log, oldest first.
    fn last_words(&self) -> Vec<String> {
        Vec::new()
    }

    /// Memory for all tensors of a program, zeroed, and a clock with that many marks. Tensors go by their index.
    fn workspace(&mut self, tensors: &[Placement], marks: usize) -> Result<Self::Workspace, Error>;

    /// Joins `engine` to tensors: its own name of each, and the index in `workspace`. They are used in place.
    fn bind(
        &mut self,
        engine: &mut Self::Engine,
        workspace: &mut Self::Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Self::Bound, Error>;

    /// Puts a host tensor of the same type and number of elements where the next [`Self::upload`] takes it.
    fn write(&mut self, workspace: &mut Self::Workspace, index: usize, tensor: &HostTensor) -> Result<(), String>;

    /// That place itself, for a single-precision tensor: what fills it directly saves the copy of [`Self::write`].
    fn place<'w>(&mut self, workspace: &'w mut Self::Workspace, index: usize) -> Option<&'w mut [f32]>;

    /// Starts moving everything that the host wrote.
    fn upload(&mut self, workspace: &mut Self::Workspace) -> Result<(), Error>;

    /// Starts an engine that was bound to this workspace; one of another workspace is refused. `&mut`: neither ONNX
    /// Runtime's binding nor a TensorRT context may run twice at once.
    fn run(
        &mut self,
        engine: &mut Self::Engine,
        bound: &mut Self::Bound,
        workspace: &mut Self::Workspace,
    ) -> Result<(), String>;

    /// Notes the moment when everything started so far is done.
    fn mark(&mut self, workspace: &mut Self::Workspace, mark: usize) -> Result<(), Error>;

    /// Starts moving the tensors placed with `download` to the host.
    fn download(&mut self, workspace: &mut Self::Workspace) -> Result<(), Error>;

    /// Waits until everything that was started is done.
    fn finish(&mut self) -> Result<(), Error>;

    /// Time from a mark to the next, of the pass that was finished last.
    fn between(&self, workspace: &Self::Workspace, mark: usize) -> Duration;

    /// A downloaded tensor, after [`Self::finish`].
    fn downloaded(&self, workspace: &Self::Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String>;

    /// Copies any tensor as it is now. Waits for the device.
    fn read(&mut self, workspace: &Self::Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String>;

    /// Records what `pass` starts on `workspace` instead of starting it; `None` when this device starts everything one
    /// by one. A pass that ran before with the same workspace makes the same calls again.
    fn record(
        &mut self,
        _workspace: &mut Self::Workspace,
        _pass: Pass<'_, Self>,
    ) -> Result<Option<Self::Recording>, Error> {
        Ok(None)
    }

    /// Starts a pass that was recorded on this workspace.
    ///
    /// # Errors
    /// [`Error::Device`] for a recording of another workspace.
    fn replay(&mut self, recording: &mut Self::Recording, workspace: &mut Self::Workspace) -> Result<(), Error>;
}

/// A pass over a workspace, to be recorded.
pub type Pass<'p, D> = &'p mut dyn FnMut(&mut D, &mut <D as Device>::Workspace) -> Result<(), Error>;

/// What a program asks of a device for one tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// The host writes it before a pass.
    pub upload: bool,
    /// The host reads it after a pass.
    pub download: bool,
}

/// Time spent in one stage during one inference, all its repetitions together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub stage: String,
    /// Sum over its repetitions.
    pub time: Duration,
}

/// An output of a stage, just made.
#[derive(Clone, Debug)]
pub struct Made<'p> {
    /// The pipeline's name of it.
    pub name: &'p str,
    /// Which repetition made it; `None` outside the repeated group.
    pub repetition: Option<usize>,
    /// A copy.
    pub tensor: HostTensor,
}

/// An input of a stage as it is bound.
#[derive(Clone, Copy, Debug)]
pub struct BoundInput<'p> {
    /// The stage.
    pub stage: &'p str,
    /// The engine's own name of the tensor.
    pub tensor: &'p str,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: &'p [usize],
}
