//! Engines and the pipeline that runs them: named tensors, wiring, load order, a repeated group of stages.
//!
//! Two seams. [`Device`] is what an engine kind implements: load a network, allocate buffers, bind, run.
//! [`Run`] is what the policy sees: [`pipeline::Pipeline`] over any device, as one object.
//! Nothing here knows an observation, a configuration file or ROS.

use std::path::PathBuf;
use std::time::Duration;

use crate::tensor::{DType, HostTensor, TensorSpec};

pub mod memory;
pub mod onnx;
pub mod pipeline;
pub mod profile;
mod program;
pub mod provenance;
pub mod roofline;
pub mod wiring;

pub use memory::{Admission, Footprint, MemoryUse, Pool};
pub use pipeline::{LoadEvent, Pipeline, Run, StageReport};
pub use profile::Profile;
pub use provenance::Verified;
pub use wiring::{Input, Output, Stage, Symbols};

/// What runs a policy's stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EngineKind {
    /// ONNX Runtime on the CPU.
    Onnx,
    /// TensorRT engines built on this device.
    Tensorrt,
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
pub trait Device {
    /// A loaded network with the description of its tensors.
    type Engine;
    /// Memory of one tensor where the engines run.
    type Buffer;
    /// An engine with buffers bound to its tensors, ready to run.
    type Bound;

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

    /// Loads the network of `stage`.
    ///
    /// # Errors
    /// [`Error::Load`]; [`Error::OutOfMemory`].
    fn load(&mut self, stage: &Stage) -> Result<Self::Engine, Error>;

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

    /// Asked after a call failed: what that means for the next ones.
    fn health(&self) -> Health {
        Health::Sound
    }

    /// Last lines of the runtime's log, oldest first.
    fn last_words(&self) -> Vec<String> {
        Vec::new()
    }

    /// Memory for a tensor, zeroed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Device`].
    fn allocate(&mut self, dtype: DType, dims: &[usize]) -> Result<Self::Buffer, Error>;

    /// Starts binding `engine`; every input and output follows before the first run.
    fn bind(&mut self, engine: &mut Self::Engine) -> Result<Self::Bound, Error>;

    /// Binds an input. The buffer is read in place at each run.
    fn bind_input(&mut self, bound: &mut Self::Bound, tensor: &str, buffer: &Self::Buffer) -> Result<(), Error>;

    /// Binds an output. The buffer is written in place at each run.
    fn bind_output(&mut self, bound: &mut Self::Bound, tensor: &str, buffer: &mut Self::Buffer) -> Result<(), Error>;

    /// Runs a bound engine. `&mut`: neither ONNX Runtime's binding nor a TensorRT context may run twice at once.
    fn run(&mut self, engine: &mut Self::Engine, bound: &mut Self::Bound) -> Result<(), String>;

    /// Copies a host tensor of the buffer's type and dimensions into it.
    fn write(&mut self, buffer: &mut Self::Buffer, tensor: &HostTensor) -> Result<(), String>;

    /// Copies a buffer into a host tensor of its type and dimensions.
    fn read(&mut self, buffer: &Self::Buffer, tensor: &mut HostTensor) -> Result<(), String>;

    /// Waits until everything that was started is done.
    fn finish(&mut self) -> Result<(), Error>;
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
