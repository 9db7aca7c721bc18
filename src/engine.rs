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
mod program;
#[cfg(feature = "tensorrt")]
#[expect(unsafe_code, reason = "calls into the C++ shim; every block says why it is sound")]
pub mod tensorrt;
pub mod wiring;

pub use memory::{Admission, MemoryUse};
pub use pipeline::{LoadEvent, Pipeline, Run, StageReport};
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
    /// The engines do not fit into the memory that they may take. Nothing more was loaded.
    #[error("not enough memory to load stage '{stage}': {problem}\n{table}")]
    DoesNotFit {
        /// The stage that was to be loaded next.
        stage: String,
        /// Which bound is broken, with the numbers.
        problem: String,
        /// What is loaded and what is still to come.
        table: String,
    },
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
    #[error("stage '{stage}' failed while running: {reason}")]
    Run {
        /// The stage.
        stage: String,
        /// The runtime's own words.
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

    /// Loads the network of `stage`.
    fn load(&mut self, stage: &Stage) -> Result<Self::Engine, Error>;

    /// The network's inputs, as it describes them itself.
    fn inputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The network's outputs, as it describes them itself.
    fn outputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

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

    /// Puts a host tensor of the same type and dimensions where the next [`Self::upload`] takes it.
    fn write(&mut self, workspace: &mut Self::Workspace, index: usize, tensor: &HostTensor) -> Result<(), String>;

    /// That place itself, for a single-precision tensor: what fills it directly saves the copy of [`Self::write`].
    fn place<'w>(&mut self, workspace: &'w mut Self::Workspace, index: usize) -> Option<&'w mut [f32]>;

    /// Starts moving everything that the host wrote.
    fn upload(&mut self, workspace: &mut Self::Workspace) -> Result<(), Error>;

    /// Starts a bound engine. `&mut`: neither ONNX Runtime's binding nor a TensorRT context may run twice at once.
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

    /// Records what `pass` starts instead of starting it; `None` when this device starts everything one by one. A pass
    /// that ran before with the same workspace makes the same calls again.
    fn record(
        &mut self,
        _pass: &mut dyn FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<Option<Self::Recording>, Error> {
        Ok(None)
    }

    /// Starts a recorded pass.
    fn replay(&mut self, recording: &mut Self::Recording) -> Result<(), Error>;
}

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
