//! A loaded pipeline as its user sees it.

use std::time::Duration;

use super::frames::FrameSlots;
use super::host_copy::HostCopy;
use super::memory::{Footprint, Growth};
use super::{BoundInput, Error, StageOutput, StageTime, Symbols};
use vla_base::tensor::{HostTensor, TensorSpec};

/// Progress of [`crate::Pipeline::load`].
#[derive(Clone, Debug, PartialEq)]
pub enum LoadEvent {
    /// Engine `index` of `total` (in load order) is about to be loaded.
    Loading {
        /// From 0.
        index: usize,
        /// Number of stages.
        total: usize,
        /// Stage.
        stage: String,
        /// Size of its file.
        bytes: u64,
    },
    /// The engine is loaded.
    Loaded(Box<StageReport>),
}

/// Report of loading one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Stage.
    pub stage: String,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// Planned memory.
    pub planned: Footprint,
    /// Measured memory.
    pub measured: Growth,
    /// State of the runtime's host copy of the engine.
    pub host_copy: HostCopy,
    /// The engine has no provenance record.
    pub unverified: bool,
    /// The engine failed its accuracy gate.
    pub inaccurate: bool,
    /// Duration of the load.
    pub duration: Duration,
}

/// A loaded pipeline of any engine kind.
pub trait Inference: Send {
    /// Short name of the engine kind, e.g. `onnx`.
    fn kind(&self) -> &'static str;

    /// Selects the instance for these values of the symbols and this number of iterations, and creates it when it is new.
    ///
    /// # Errors
    /// [`Error::Profile`] when an engine does not take such sizes; [`Error::Symbol`], [`Error::Constants`];
    /// [`Error::DoesNotFit`] when memory is short.
    fn prepare(&mut self, symbols: &Symbols, iterations: u32) -> Result<(), Error>;

    /// Writes a host tensor for the next run, once for each type that stages read it in.
    ///
    /// # Errors
    /// [`Error::HostTensor`] when type or dimensions differ from the prepared instance's.
    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error>;

    /// The buffer of an `f32` input of the prepared instance, row-major. Fill it directly to avoid the copy of
    /// [`Self::write`]. `None` when the networks take another type.
    fn input_buffer_mut(&mut self, name: &str) -> Option<&mut [f32]>;

    /// Lets the input `name`, `[images, 3, height, width]` in single precision, be given as frames by [`Self::frames_mut`] from the next
    /// [`Self::prepare`] on. False where the host makes the pixels.
    fn accept_frames(&mut self, _name: &str) -> bool {
        false
    }

    /// The slots of an input of the prepared instance for which [`Self::accept_frames`] was true.
    fn frames_mut(&mut self, _name: &str) -> Option<FrameSlots<'_>> {
        None
    }

    /// Runs every stage, repeated ones once for each iteration, and adds to `times`, which is in run order.
    ///
    /// # Errors
    /// [`Error::Enqueue`] with every shape and the runtime's log; [`Error::DoesNotFit`]; [`Error::DeviceLost`].
    fn execute(&mut self, times: &mut [StageTime]) -> Result<(), Error>;

    /// Like [`Self::execute`], and passes every output of a stage to `see` as soon as it is computed, and the constants of each
    /// iteration. For inspection: copies and allocates.
    ///
    /// # Errors
    /// As [`Self::execute`], and [`Error::Device`] for an output that cannot be read.
    fn inspect(&mut self, see: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), Error>;

    /// Reads a tensor after a run.
    ///
    /// # Errors
    /// [`Error::HostTensor`] when type or dimensions differ.
    fn read(&mut self, name: &str, tensor: &mut HostTensor) -> Result<(), Error>;

    /// Shows every input of every stage as the prepared instance has it.
    fn shapes(&self, see: &mut dyn FnMut(BoundInput<'_>));

    /// The tensors that the stages take from the host; a name comes once for each type that stages read it in.
    fn host_inputs(&self) -> Vec<TensorSpec>;

    /// Description of a tensor by its pipeline name.
    fn tensor(&self, name: &str) -> Option<&TensorSpec>;

    /// What loading took, in load order.
    fn reports(&self) -> &[StageReport];
}
