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
pub trait Device {
    /// A loaded network with the description of its tensors.
    type Engine;
    /// Memory of one tensor where the engines run.
    type Buffer;
    /// An engine with buffers bound to its tensors, ready to run.
    type Bound;

    /// Short name for logs and diagnostics, e.g. `onnx`.
    fn kind(&self) -> &'static str;

    /// Loads the network of `stage`.
    fn load(&mut self, stage: &Stage) -> Result<Self::Engine, Error>;

    /// The network's inputs, as it describes them itself.
    fn inputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The network's outputs, as it describes them itself.
    fn outputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// Memory for a tensor, zeroed.
    fn allocate(&mut self, dtype: DType, dims: &[usize]) -> Result<Self::Buffer, Error>;

    /// Starts binding `engine`; every input and output follows before the first run.
    fn bind(&mut self, engine: &mut Self::Engine) -> Result<Self::Bound, Error>;

    /// Binds an input. The buffer is read in place at each run.
    fn bind_input(&mut self, bound: &mut Self::Bound, tensor: &str, buffer: &Self::Buffer) -> Result<(), Error>;

    /// Binds an output. The buffer is written in place at each run.
    fn bind_output(&mut self, bound: &mut Self::Bound, tensor: &str, buffer: &mut Self::Buffer) -> Result<(), Error>;

    /// Runs a bound engine. `&mut`: neither ONNX Runtime's binding nor a TensorRT context may run twice at once.
    fn run(&mut self, engine: &mut Self::Engine, bound: &mut Self::Bound) -> Result<(), String>;

    /// Copies a host tensor of the buffer's type and number of elements into it.
    fn write(&mut self, buffer: &mut Self::Buffer, tensor: &HostTensor) -> Result<(), String>;

    /// Copies a buffer into a host tensor of its type and number of elements.
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
