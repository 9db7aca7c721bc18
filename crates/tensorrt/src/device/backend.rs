//! The GPU as a [`Backend`].

use std::time::Duration;

use super::engine::InstanceContext;
use super::{Bound, LoadedEngine, Tensorrt};
use vla_base::sys::remap::RemappedMemory;
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_cuda::{Id, Recording};
use vla_engines::host_copy::HostCopy;
use vla_engines::memory::{Footprint, Pool};
use vla_engines::profile::Profile;
use vla_engines::provenance;
use vla_engines::{Backend, BufferSpec, Error, Launch, Pass, ProvenanceStatus, Stage};

type Workspace = vla_cuda::Workspace<InstanceContext>;

impl Backend for Tensorrt {
    type Engine = LoadedEngine;
    type Workspace = Workspace;
    type Bound = Bound;
    type Recording = Recording;

    fn kind(&self) -> &'static str {
        "tensorrt"
    }

    fn pool(&self) -> Pool {
        self.cuda().pool(self.integrated)
    }

    fn verify(&mut self, stage: &Stage) -> Result<ProvenanceStatus, Error> {
        Ok(provenance::verify(stage, &self.identity)?)
    }

    fn footprint(&self, stage: &Stage, status: &ProvenanceStatus) -> Result<Footprint, Error> {
        Footprint::of_tensorrt(stage, status.provenance(), self.release_host_copy, Some(&self.identity.tensorrt))
    }

    fn shares_activation(&self) -> bool {
        true
    }

    fn load(&mut self, stage: &Stage, status: &ProvenanceStatus) -> Result<LoadedEngine, Error> {
        let copy = self.before_load(status);
        let mut engine = self.load_file(&stage.name, &stage.file)?;
        (engine.host_copy, engine.remapped) = self.after_load(stage, copy);
        let warning = self.log.other_device();
        provenance::other_model(stage, status, warning.as_deref())?;
        Ok(engine)
    }

    fn host_copy(&self, engine: &LoadedEngine) -> HostCopy {
        engine.host_copy.clone()
    }

    /// TensorRT reads its whole host copy when a context is created, and never afterwards. By then TensorRT-RTX has compiled the
    /// kernels.
    fn release_load_memory(&self, engine: &LoadedEngine) {
        if let Some(cache) = &engine.cache {
            cache.keep();
        }
        if let Some(Err(error)) = engine.remapped.as_ref().map(RemappedMemory::page_out) {
            tracing::debug!(stage = %engine.stage, %error, "pages of its host copy stay until memory is short");
        }
    }

    fn inputs<'e>(&self, engine: &'e LoadedEngine) -> &'e [TensorSpec] {
        &engine.inputs
    }

    fn outputs<'e>(&self, engine: &'e LoadedEngine) -> &'e [TensorSpec] {
        &engine.outputs
    }

    fn tensor_profile<'e>(&self, engine: &'e LoadedEngine, tensor: &str) -> Option<&'e Profile> {
        let at = engine.inputs.iter().position(|input| input.name == tensor)?;
        engine.profiles[at].as_ref()
    }

    fn narrows_int64(&self) -> bool {
        self.runtime.library().narrows_int64()
    }

    fn log_tail(&self) -> Vec<String> {
        const LINES: usize = 8;
        let mut lines = self.log.tail();
        lines.drain(..lines.len().saturating_sub(LINES));
        lines
    }

    fn workspace(&mut self, buffers: &[BufferSpec], events: usize) -> Result<Workspace, Error> {
        self.queue.workspace(buffers, events)
    }

    fn bind(
        &mut self,
        engine: &mut LoadedEngine,
        workspace: &mut Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Bound, Error> {
        self.queue.check(workspace, "binding an engine")?;
        self.cuda().enter()?;
        let context = self.context(engine, workspace, inputs)?;
        Self::check_buffers(engine, workspace, context, inputs)?;
        Self::check_buffers(engine, workspace, context, outputs)?;
        let both = inputs.iter().chain(outputs);
        let addresses = both.map(|(name, index)| (name.clone(), workspace.address(*index))).collect();
        Ok(Bound { id: Id::new(), workspace: workspace.id(), context, addresses })
    }

    fn write(&mut self, workspace: &mut Workspace, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        self.queue.write(workspace, index, tensor)
    }

    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Workspace, index: usize) -> Option<&'w mut [f32]> {
        self.queue.input_buffer_mut(workspace, index)
    }

    fn upload(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.upload(workspace)
    }

    fn run(&mut self, engine: &mut LoadedEngine, bound: &mut Bound, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.check(workspace, "starting an engine")?;
        if bound.workspace != workspace.id() {
            return Err(Error::Device {
                action: format!("starting engine '{}'", engine.stage),
                source: "it is bound to another workspace".into(),
            });
        }
        let held = &mut workspace.contexts[bound.context];
        if held.bound != Some(bound.id) {
            for (tensor, address) in &bound.addresses {
                // SAFETY: addresses of this workspace's own memory (just checked), which lives as long as the context
                // in it and is freed after the stream was waited for; `bind` checked that each buffer is as large as
                // the tensor's shape in this context, which nothing changes later.
                unsafe { held.context.set_address(tensor, *address) }?;
            }
            held.bound = Some(bound.id);
        }
        self.queue.start();
        // SAFETY: the stream is alive and of the current context; every address was set. What they point to stays until
        // the stream is done: dropping a workspace waits for it.
        let enqueued = unsafe { held.context.enqueue(self.cuda().stream().cu_stream().cast()) };
        enqueued.map_err(|error| self.enqueue_error(error))?;
        match self.launch {
            Launch::WaitAfterEach => self.cuda().wait(),
            Launch::Graph | Launch::StepByStep => Ok(()),
        }
    }

    fn record_event(&mut self, workspace: &mut Workspace, event: usize) -> Result<(), Error> {
        self.queue.record_event(workspace, event)
    }

    fn download(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.download(workspace)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.queue.finish()
    }

    fn elapsed(&self, workspace: &Workspace, event: usize) -> Duration {
        self.queue.elapsed(workspace, event)
    }

    fn downloaded(&self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        self.queue.downloaded(workspace, index, tensor)
    }

    fn read(&mut self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        self.queue.read(workspace, index, tensor)
    }

    fn record(&mut self, workspace: &mut Workspace, pass: Pass<'_, Self>) -> Result<Option<Recording>, Error> {
        if self.launch != Launch::Graph {
            return Ok(None);
        }
        match self.capture(workspace, pass) {
            Ok(recording) => Ok(Some(recording)),
            Err(error) => {
                // An engine that cannot be captured still runs by separate enqueues.
                tracing::warn!(%error, "no CUDA graph of this pass; its engines are started one by one");
                self.cuda().wait()?;
                Ok(None)
            }
        }
    }

    fn replay(&mut self, recording: &mut Recording, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.replay(recording, workspace)
    }
}
