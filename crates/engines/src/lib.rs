//! Runs the networks of a policy: ONNX files, or TensorRT engines that were built from them.
//!
//! Input: [`Stage`]s, each with its files, tensors, precision and profile. Output: a loaded [`Pipeline`], used through
//! [`Inference`]: write host tensors by name, execute every stage, read the result. On the way engines are checked against
//! their [`provenance`] record, [`memory`] is planned and admitted before each load, and the [`graph`] of the stages is
//! checked for names, types and shapes. A [`Backend`] is what one engine kind implements; [`onnx_runtime`] is here, TensorRT
//! is in the crate `vla_tensorrt`, lists of [`operations`] on CUDA in `vla_cuda`.
//!
//! Errors carry data (stage, differences, figures). Observations, configuration files, command lines and ROS are not known
//! here.
//!
//! The memory plan of two stages on a machine with a budget:
//!
//! ```
//! use vla_engines::memory::{Admission, Figure, Footprint, MemoryPlan};
//!
//! let stage = |name: &str, mib: u64| Footprint {
//!     stage: name.to_owned(),
//!     weights: Figure::measured(mib << 20),
//!     ..Footprint::default()
//! };
//! let plan = MemoryPlan::new(vec![stage("vision", 800), stage("action", 2200)], true);
//! let budget = |mib: u64| Admission { budget: Some(mib << 20), ..Admission::default() };
//! assert!(plan.admit(budget(3200), None).is_ok());
//! let shortage = plan.admit(budget(3100), None).expect_err("3000 MiB and a margin of 5 %");
//! assert_eq!(shortage.missing() >> 20, 50);
//! ```

use std::time::Duration;

use vla_base::tensor::{DType, HostTensor};

mod backend;
mod constants;
mod error;
pub mod frames;
pub mod graph;
pub mod host_copy;
mod inference;
mod instance;
pub mod memory;
pub mod mix;
pub mod onnx;
pub mod onnx_runtime;
pub mod operations;
pub mod pipeline;
pub mod precision;
pub mod profile;
pub mod provenance;
pub mod quantized;
pub mod roofline;

pub use backend::{Backend, BufferSpec, Pass};
pub use error::{Cause, Error, ErrorClass, LoadOrderProblem, RuntimeLibrary};
pub use graph::{Input, Output, Stage, Symbols};
pub use host_copy::HostCopy;
pub use inference::{Inference, LoadEvent, StageReport};
pub use memory::{Admission, Footprint, MemoryUse, Pool};
pub use mix::Mix;
pub use pipeline::Pipeline;
pub use precision::Precision;
pub use profile::Profile;
pub use provenance::ProvenanceStatus;

/// What runs a policy's stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EngineKind {
    /// ONNX Runtime on the CPU.
    #[default]
    Onnx,
    /// TensorRT engines built on this device.
    Tensorrt,
    /// Lists of operations beside the networks, run on the GPU by kernels of this program and cuBLASLt.
    Cuda,
}

/// How a pass over all stages is started on a backend that works asynchronously.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Launch {
    /// The whole pass as one recording (a CUDA graph), after its first run.
    #[default]
    Graph,
    /// One engine after the other, with one wait at the end.
    StepByStep,
    /// One engine after the other, with a wait after each, as scripts do; for comparison.
    WaitAfterEach,
}

/// Time of one stage in one inference, the sum of its iterations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub stage: String,
    /// Sum over its iterations.
    pub time: Duration,
}

/// A tensor that a stage has just written.
#[derive(Clone, Debug)]
pub struct StageOutput<'p> {
    /// The pipeline's name of it.
    pub name: &'p str,
    /// Iteration of a repeated stage.
    pub iteration: Option<usize>,
    /// A copy of the tensor.
    pub tensor: HostTensor,
}

/// A bound input of a stage.
#[derive(Clone, Copy, Debug)]
pub struct BoundInput<'p> {
    /// The stage.
    pub stage: &'p str,
    /// The engine's name of the tensor.
    pub tensor: &'p str,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: &'p [usize],
}
