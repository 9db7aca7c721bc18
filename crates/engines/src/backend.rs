//! What an engine kind implements.

use std::time::Duration;

use super::frames::FrameBuffers;
use super::{Error, Footprint, HostCopy, Pool, Profile, ProvenanceStatus, Stage};
use vla_base::tensor::{DType, HostTensor, TensorSpec};

/// Loads and runs networks: ONNX Runtime on the CPU, or TensorRT on a GPU.
///
/// Work that a call starts may still be running when the call returns; [`Self::finish`] waits for all of it. Errors are
/// final: [`Error::OutOfMemory`] and [`Error::DeviceLost`] where the runtime says so, else [`Error::Device`].
pub trait Backend {
    /// A loaded network with the description of its tensors.
    type Engine;
    /// The buffers of every tensor of one pipeline instance, and its timing events.
    type Workspace;
    /// An engine bound to buffers of a workspace, ready to run.
    type Bound;
    /// A recorded pass, which starts with one call.
    type Recording;

    /// Short name for logs and diagnostics, e.g. `onnx`.
    fn kind(&self) -> &'static str;

    /// Memory of the machine as engines of this kind see it, now.
    fn pool(&self) -> Pool {
        Pool::host()
    }

    /// Checks before anything is loaded that the engine of `stage` was built for this device from these files.
    ///
    /// # Errors
    /// [`Error::Provenance`].
    fn verify(&mut self, _stage: &Stage) -> Result<ProvenanceStatus, Error> {
        Ok(ProvenanceStatus::NotApplicable)
    }

    /// Memory of `stage`, without inputs and outputs: the pipeline adds those, because stages share them.
    ///
    /// # Errors
    /// [`Error::Load`] when a file is missing.
    fn footprint(&self, stage: &Stage, status: &ProvenanceStatus) -> Result<Footprint, Error>;

    /// Whether all engines share one activation arena; else each has its own.
    fn shares_activation(&self) -> bool {
        false
    }

    /// Loads the network of `stage`; `status` is the result of [`Self::verify`].
    ///
    /// # Errors
    /// [`Error::Load`]; [`Error::OutOfMemory`]; [`Error::Provenance`] for a mismatch that is detected during the load.
    fn load(&mut self, stage: &Stage, status: &ProvenanceStatus) -> Result<Self::Engine, Error>;

    /// State of the copy that the runtime keeps of a loaded engine in host memory.
    fn host_copy(&self, _engine: &Self::Engine) -> HostCopy {
        HostCopy::AsLoaded
    }

    /// Releases memory that an engine needs only until its first instance is bound. Called once after that.
    fn release_load_memory(&self, _engine: &Self::Engine) {}

    /// The network's inputs, as it describes them itself.
    fn inputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The network's outputs, as it describes them itself.
    fn outputs<'e>(&self, engine: &'e Self::Engine) -> &'e [TensorSpec];

    /// The optimisation profile of an input; `None`: every size that the description leaves open is accepted.
    fn tensor_profile<'e>(&self, _engine: &'e Self::Engine, _tensor: &str) -> Option<&'e Profile> {
        None
    }

    /// Whether 64-bit integers of a network are 32-bit integers in its engine (TensorRT before 10).
    fn narrows_int64(&self) -> bool {
        false
    }

    /// Last lines of the runtime's log, oldest first.
    fn log_tail(&self) -> Vec<String> {
        Vec::new()
    }

    /// Allocates and clears the buffers of an instance, and creates timing events. Both are used by their index.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    fn workspace(&mut self, buffers: &[BufferSpec], events: usize) -> Result<Self::Workspace, Error>;

    /// Binds `engine` to buffers: pairs of its tensor name and the index in `workspace`. The buffers are used in place.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    fn bind(
        &mut self,
        engine: &mut Self::Engine,
        workspace: &mut Self::Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Self::Bound, Error>;

    /// Copies a host tensor of the same type and number of elements into a buffer, for the next [`Self::upload`].
    ///
    /// # Errors
    /// [`Error::BufferSize`]; [`Error::Device`].
    fn write(&mut self, workspace: &mut Self::Workspace, index: usize, tensor: &HostTensor) -> Result<(), Error>;

    /// The upload buffer of an `f32` tensor. Fill it directly to avoid the copy of [`Self::write`].
    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Self::Workspace, index: usize) -> Option<&'w mut [f32]>;

    /// Whether pixels may be given as frames, from which [`Self::make_pixels`] makes them.
    fn takes_frames(&self) -> bool {
        false
    }

    /// Starts making the pixels of one input from its slots. Called after each upload where [`Self::takes_frames`].
    ///
    /// # Errors
    /// [`Error::Device`].
    fn make_pixels(&mut self, _workspace: &mut Self::Workspace, _buffers: &FrameBuffers) -> Result<(), Error> {
        Ok(())
    }

    /// Starts the transfer of everything that the host wrote.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn upload(&mut self, workspace: &mut Self::Workspace) -> Result<(), Error>;

    /// Starts an engine that was bound to this workspace; one of another workspace is refused. `&mut`: neither an ONNX
    /// Runtime binding nor a TensorRT context may run twice at once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::Device`].
    fn run(
        &mut self,
        engine: &mut Self::Engine,
        bound: &mut Self::Bound,
        workspace: &mut Self::Workspace,
    ) -> Result<(), Error>;

    /// Records a timing event after everything that was started so far.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn record_event(&mut self, workspace: &mut Self::Workspace, event: usize) -> Result<(), Error>;

    /// Starts the transfer of the buffers with [`BufferSpec::download`] to the host.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn download(&mut self, workspace: &mut Self::Workspace) -> Result<(), Error>;

    /// Waits until everything that was started is done.
    ///
    /// # Errors
    /// The error of any part of it.
    fn finish(&mut self) -> Result<(), Error>;

    /// Time from an event to the next one, in the last finished pass.
    fn elapsed(&self, workspace: &Self::Workspace, event: usize) -> Duration;

    /// Copies a downloaded tensor out, after [`Self::finish`].
    ///
    /// # Errors
    /// [`Error::BufferSize`]; [`Error::Device`].
    fn downloaded(&self, workspace: &Self::Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error>;

    /// Copies the current values of any tensor to the host. Waits for the device.
    ///
    /// # Errors
    /// [`Error::BufferSize`]; [`Error::Device`].
    fn read(&mut self, workspace: &Self::Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error>;

    /// Records the work that `pass` starts on `workspace` instead of starting it; `None` if this backend cannot record. A pass
    /// that ran before with the same workspace makes the same calls again.
    ///
    /// # Errors
    /// [`Error::Device`].
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
    /// [`Error::Device`], also for a recording of another workspace; as [`Self::run`].
    fn replay(&mut self, recording: &mut Self::Recording, workspace: &mut Self::Workspace) -> Result<(), Error>;
}

/// A pass over a workspace, to be recorded.
pub type Pass<'p, B> = &'p mut dyn FnMut(&mut B, &mut <B as Backend>::Workspace) -> Result<(), Error>;

/// Buffer of one tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BufferSpec {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// The host writes it before a pass.
    pub upload: bool,
    /// The host reads it after a pass.
    pub download: bool,
}
