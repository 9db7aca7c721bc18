//! TensorRT as an engine kind: plans loaded one after the other, one stream, one activation arena for all of them,
//! whole passes replayed as CUDA graphs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::blocks::DeviceBlock;
use super::cuda::{Cuda, failed};
use super::id::Id;
use super::workspace::{ProgramContext, Workspace};
use super::{Engine, Library, Log, Runtime, identity};
use vla_base::sys::remap::RemappedMemory;
use vla_base::tensor::{Dim, HostTensor, TensorSpec};
use vla_engines::host_copy::HostCopy;
use vla_engines::memory::{Footprint, Pool};
use vla_engines::profile::Profile;
use vla_engines::provenance;
use vla_engines::provenance::{DeviceIdentity, Verified};
use vla_engines::{Device, Error, Health, Launch, Pass, Placement, Stage};

mod checks;
mod host_copy;

/// Switches of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How passes are started.
    pub launch: Launch,
    /// Let the device read in place what the host writes; `None`: where they share one memory.
    pub in_place: Option<bool>,
    /// Give back the copy that TensorRT keeps of a plan in host memory, where its record says that this was tried.
    pub release_host_copy: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { launch: Launch::Graph, in_place: None, release_host_copy: true }
    }
}

/// The GPU with TensorRT on it.
pub struct Tensorrt {
    // Dropped in this order: the runtime before the memory that its engines were given, the context last.
    runtime: Runtime,
    /// One block for the activations of whichever engine runs: made when the first program is, for the largest.
    arena: Option<Arc<DeviceBlock>>,
    largest_activation: u64,
    log: Log,
    cuda: Cuda,
    identity: DeviceIdentity,
    integrated: bool,
    health: Health,
    launch: Launch,
    in_place: bool,
    release_host_copy: bool,
    /// The workspace whose pass is being captured.
    capturing: Option<Id>,
    /// Something was started and not waited for: the host may not touch what the GPU reads or writes.
    busy: bool,
    id: Id,
}

/// A loaded plan.
pub struct Plan {
    id: Id,
    stage: String,
    engine: Engine,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// Of each input.
    profiles: Vec<Option<Profile>>,
    host_copy: HostCopy,
    /// The host copy, where it was given back.
    remapped: Option<RemappedMemory>,
}

impl Plan {
    /// Activation memory that it needs while it runs, in bytes.
    pub fn activation_bytes(&self) -> u64 {
        self.engine.activation_bytes()
    }

    /// The profile of every input that has an open dimension, by the plan's own name.
    pub fn profiles(&self) -> BTreeMap<String, Profile> {
        let open = |(spec, profile): (&TensorSpec, &Option<Profile>)| {
            let is_open = spec.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
            Some((spec.name.clone(), profile.clone().filter(|_| is_open)?))
        };
        self.inputs.iter().zip(&self.profiles).filter_map(open).collect()
    }
}

/// A plan joined to tensors of one workspace: their addresses, by the plan's own names. It runs on that workspace only.
pub struct Bound {
    id: Id,
    workspace: Id,
    /// Index of the context in the workspace.
    context: usize,
    addresses: Vec<(String, u64)>,
}

/// A pass as a CUDA graph. It is replayed on the workspace that it was captured on only.
pub struct Recording {
    graph: CudaGraph,
    workspace: Id,
}

// SAFETY: a graph may be used from any thread, by one at a time; `&mut` on every use sees to that.
unsafe impl Send for Recording {}

/// What this machine and its GPU could give now; `None` without a driver. Loads no engine and no TensorRT.
pub fn memory_here() -> Option<Pool> {
    let cuda = Cuda::open().ok()?;
    let integrated = cuda.properties().ok()?.integrated;
    Some(pool(&cuda, integrated))
}

fn pool(cuda: &Cuda, integrated: bool) -> Pool {
    let device = cuda.memory().ok();
    Pool {
        device_free: device.map(|(free, _)| free),
        device_total: device.map(|(_, total)| total),
        integrated,
        ..Pool::host()
    }
}

impl Tensorrt {
    /// Opens the first CUDA device and TensorRT.
    ///
    /// # Errors
    /// [`Error::Library`] naming what is missing and how to get it.
    pub fn open(options: Options) -> Result<Self, Error> {
        let cuda = Cuda::open()?;
        let log = Log::new();
        let library = Library::open()?;
        let runtime = Runtime::new(&library, &log)?;
        let integrated = cuda.properties()?.integrated;
        Ok(Self {
            runtime,
            arena: None,
            largest_activation: 0,
            log,
            identity: identity(&cuda, library.version())?,
            cuda,
            integrated,
            health: Health::Sound,
            launch: options.launch,
            in_place: options.in_place.unwrap_or(integrated),
            release_host_copy: options.release_host_copy,
            capturing: None,
            busy: false,
            id: Id::new(),
        })
    }

    /// The CUDA side.
    pub fn cuda(&self) -> &Cuda {
        &self.cuda
    }

    /// The device as an engine's record names it.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// What TensorRT said of another module while the last engine was loaded.
    pub fn other_model(&self) -> Option<String> {
        self.log.other_device()
    }

    /// Loads a plan whatever its record says.
    ///
    /// # Errors
    /// [`Error::Load`] with TensorRT's words; [`Error::OutOfMemory`].
    pub fn load_file(&mut self, stage: &str, file: &Path) -> Result<Plan, Error> {
        self.cuda.enter()?;
        self.log.clear();
        let engine = self.runtime.load(file).map_err(|error| match error.is_out_of_memory() {
            true => Error::OutOfMemory { action: format!("loading {}", file.display()), reason: error.to_string() },
            false => Error::Load { stage: stage.to_owned(), file: file.to_owned(), reason: error.to_string() },
        })?;
        let unsupported = engine.check_locations();
        unsupported.map_err(|error| Error::Load {
            stage: stage.to_owned(),
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        self.largest_activation = self.largest_activation.max(engine.activation_bytes());
        let specs = |tensors: &[super::Tensor]| tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let profiles = engine.inputs().iter().map(|input| input.profile.clone()).collect();
        let (inputs, outputs) = (specs(engine.inputs()), specs(engine.outputs()));
        let (id, host_copy, remapped) = (Id::new(), HostCopy::AsLoaded, None);
        Ok(Plan { id, stage: stage.to_owned(), engine, inputs, outputs, profiles, host_copy, remapped })
    }

    /// Shapes of the plan's outputs, in its order, when its inputs have these.
    ///
    /// # Errors
    /// Those of TensorRT, for shapes that it does not take.
    pub fn output_shapes(&mut self, plan: &Plan, inputs: &[(String, Vec<usize>)]) -> Result<Vec<Vec<usize>>, Error> {
        self.cuda.enter()?;
        let mut context = plan.engine.context(0)?;
        for (tensor, dims) in inputs {
            context.set_shape(tensor, dims)?;
        }
        let shape = |spec: &TensorSpec| {
            let dims = context.shape(&spec.name)?;
            let known = dims.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<_>>>();
            known.ok_or_else(|| Error::Device {
                action: format!("asking engine '{}' for the shape of '{}'", plan.stage, spec.name),
                reason: format!("it depends on values: {dims:?}"),
            })
        };
        plan.outputs.iter().map(shape).collect()
    }

    /// What a failed enqueue means for the calls after it.
    fn examine(&mut self, error: &super::Error) {
        self.health = match self.cuda.wait() {
            Err(Error::DeviceLost { .. }) => Health::Lost,
            _ if error.is_out_of_memory() => Health::OutOfMemory,
            _ => Health::Sound,
        };
    }

    /// The arena, made when it is first asked for. Contexts keep its address, so it never moves.
    fn arena(&mut self) -> Result<Arc<DeviceBlock>, Error> {
        if let Some(arena) = &self.arena {
            return Ok(Arc::clone(arena));
        }
        let bytes = usize::try_from(self.largest_activation).unwrap_or(usize::MAX);
        Ok(Arc::clone(self.arena.insert(Arc::new(DeviceBlock::zeroed(&self.cuda, bytes)?))))
    }

    /// Index in `workspace` of the plan's context, made with the shapes of `inputs` when it is new.
    fn context(&mut self, plan: &Plan, workspace: &mut Workspace, inputs: &[(String, usize)]) -> Result<usize, Error> {
        if let Some(held) = workspace.contexts.iter().position(|held| held.engine == plan.id) {
            return Ok(held);
        }
        let mut context = plan.engine.context(0)?;
        for (tensor, index) in inputs {
            context.set_shape(tensor, workspace.dims(*index))?;
        }
        let arena = self.arena()?;
        // SAFETY: `set_activation` refuses an arena that is too small; the context's owner holds the arena, which is
        // dropped after it; plans of this device run one after the other on one stream, and `check_workspace` keeps
        // those of other devices away.
        unsafe { context.set_activation(arena.address(), arena.bytes() as u64) }?;
        workspace.contexts.push(ProgramContext { engine: plan.id, context, bound: None, _arena: arena });
        Ok(workspace.contexts.len() - 1)
    }

    fn capture(&mut self, workspace: &mut Workspace, pass: Pass<'_, Self>) -> Result<Recording, Error> {
        let stream = Arc::clone(self.cuda.stream());
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(failed("beginning to capture the stream"))?;
        self.capturing = Some(workspace.id());
        let passed = pass(self, workspace);
        self.capturing = None;
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed("making a CUDA graph"));
        passed?;
        let graph = graph?.ok_or_else(|| Error::Device {
            action: "making a CUDA graph".into(),
            reason: "the driver captured nothing".into(),
        })?;
        graph.upload().map_err(failed("uploading a CUDA graph"))?;
        Ok(Recording { graph, workspace: workspace.id() })
    }
}

impl Device for Tensorrt {
    type Engine = Plan;
    type Workspace = Workspace;
    type Bound = Bound;
    type Recording = Recording;

    fn kind(&self) -> &'static str {
        "tensorrt"
    }

    fn pool(&self) -> Pool {
        pool(&self.cuda, self.integrated)
    }

    fn verify(&mut self, stage: &Stage) -> Result<Verified, Error> {
        provenance::verify(stage, &self.identity).map_err(|refusal| Error::Provenance { refusals: vec![refusal] })
    }

    fn footprint(&self, stage: &Stage, verified: &Verified) -> Result<Footprint, Error> {
        Footprint::of_tensorrt(stage, verified.provenance(), self.release_host_copy)
    }

    fn shares_activation(&self) -> bool {
        true
    }

    fn load(&mut self, stage: &Stage, verified: &Verified) -> Result<Plan, Error> {
        let copy = self.before_load(verified);
        let mut plan = self.load_file(&stage.name, &stage.file)?;
        (plan.host_copy, plan.remapped) = self.after_load(stage, copy);
        let words = self.log.other_device();
        provenance::other_model(stage, verified, words.as_deref())
            .map_err(|refusal| Error::Provenance { refusals: vec![refusal] })?;
        Ok(plan)
    }

    fn host_copy(&self, plan: &Plan) -> HostCopy {
        plan.host_copy.clone()
    }

    /// TensorRT reads all of its host copy when a context is made, and nothing of it after that.
    fn settle(&self, plan: &Plan) {
        if let Some(Err(error)) = plan.remapped.as_ref().map(RemappedMemory::page_out) {
            tracing::debug!(stage = %plan.stage, %error, "pages of its host copy stay until memory is short");
        }
    }

    fn inputs<'e>(&self, plan: &'e Plan) -> &'e [TensorSpec] {
        &plan.inputs
    }

    fn outputs<'e>(&self, plan: &'e Plan) -> &'e [TensorSpec] {
        &plan.outputs
    }

    fn tensor_profile<'e>(&self, plan: &'e Plan, tensor: &str) -> Option<&'e Profile> {
        let at = plan.inputs.iter().position(|input| input.name == tensor)?;
        plan.profiles[at].as_ref()
    }

    fn narrows_int64(&self) -> bool {
        Library::headers().major < 10
    }

    fn take_health(&mut self) -> Health {
        std::mem::take(&mut self.health)
    }

    fn last_words(&self) -> Vec<String> {
        const LINES: usize = 8;
        let mut lines = self.log.tail();
        lines.drain(..lines.len().saturating_sub(LINES));
        lines
    }

    fn workspace(&mut self, tensors: &[Placement], marks: usize) -> Result<Workspace, Error> {
        Workspace::new(&self.cuda, self.id, tensors, marks, self.in_place)
    }

    fn bind(
        &mut self,
        plan: &mut Plan,
        workspace: &mut Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Bound, Error> {
        self.check_workspace(workspace, "binding an engine")?;
        self.cuda.enter()?;
        let context = self.context(plan, workspace, inputs)?;
        Self::check_places(plan, workspace, context, inputs)?;
        Self::check_places(plan, workspace, context, outputs)?;
        let both = inputs.iter().chain(outputs);
        let addresses = both.map(|(name, index)| (name.clone(), workspace.address(*index))).collect();
        Ok(Bound { id: Id::new(), workspace: workspace.id(), context, addresses })
    }

    fn write(&mut self, workspace: &mut Workspace, index: usize, tensor: &HostTensor) -> Result<(), String> {
        self.wait_if_busy()?;
        workspace.write(&self.cuda, index, tensor)
    }

    fn place<'w>(&mut self, workspace: &'w mut Workspace, index: usize) -> Option<&'w mut [f32]> {
        self.wait_if_busy().ok()?;
        workspace.host_place(index)
    }

    fn upload(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.check_workspace(workspace, "copying the inputs to the device")?;
        self.cuda.enter()?;
        self.busy = true;
        workspace.upload(&self.cuda)
    }

    fn run(&mut self, plan: &mut Plan, bound: &mut Bound, workspace: &mut Workspace) -> Result<(), String> {
        self.health = Health::Sound;
        self.check_workspace(workspace, "starting an engine").map_err(|error| error.to_string())?;
        if bound.workspace != workspace.id() {
            return Err(format!("engine '{}': it is bound to another workspace", plan.stage));
        }
        let held = &mut workspace.contexts[bound.context];
        if held.bound != Some(bound.id) {
            for (tensor, address) in &bound.addresses {
                // SAFETY: addresses of this workspace's own memory (just checked), which lives as long as the context
                // in it and is freed after the stream was waited for; `bind` checked that each place is as large as
                // the tensor's shape in this context, which nothing changes later.
                unsafe { held.context.set_address(tensor, *address) }.map_err(|error| error.to_string())?;
            }
            held.bound = Some(bound.id);
        }
        self.busy = true;
        // SAFETY: the stream is alive and of the current context; every address was set. What they point to stays until
        // the stream is done: dropping a workspace waits for it.
        let enqueued = unsafe { held.context.enqueue(self.cuda.stream().cu_stream().cast()) };
        enqueued.map_err(|error| {
            if self.capturing.is_none() {
                self.examine(&error);
            }
            format!("engine '{}': {error}", plan.stage)
        })?;
        match self.launch {
            Launch::WaitAfterEach => self.cuda.wait().map_err(|error| format!("engine '{}': {error}", plan.stage)),
            Launch::Graph | Launch::StepByStep => Ok(()),
        }
    }

    fn mark(&mut self, workspace: &mut Workspace, mark: usize) -> Result<(), Error> {
        self.check_workspace(workspace, "recording a CUDA event")?;
        self.cuda.record(workspace.mark(mark), self.capturing.is_some())
    }

    fn download(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.check_workspace(workspace, "copying the result from the device")?;
        self.busy = true;
        workspace.download(&self.cuda)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.cuda.wait()?;
        self.busy = false;
        Ok(())
    }

    fn between(&self, workspace: &Workspace, mark: usize) -> Duration {
        let milliseconds = workspace.mark(mark).elapsed_ms(workspace.mark(mark + 1)).unwrap_or_default();
        Duration::from_secs_f32(milliseconds.max(0.0) / 1e3)
    }

    fn downloaded(&self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String> {
        if self.busy {
            self.cuda.wait().map_err(|error| error.to_string())?;
        }
        workspace.downloaded(index, tensor)
    }

    fn read(&mut self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String> {
        workspace.read(&self.cuda, index, tensor)
    }

    fn record(&mut self, workspace: &mut Workspace, pass: Pass<'_, Self>) -> Result<Option<Recording>, Error> {
        if self.launch != Launch::Graph {
            return Ok(None);
        }
        match self.capture(workspace, pass) {
            Ok(recording) => Ok(Some(recording)),
            Err(error) => {
                // An engine that cannot be captured still runs, step by step.
                tracing::warn!(%error, "no CUDA graph of this pass; its engines are started one by one");
                self.cuda.wait()?;
                Ok(None)
            }
        }
    }

    fn replay(&mut self, recording: &mut Recording, workspace: &mut Workspace) -> Result<(), Error> {
        self.health = Health::Sound;
        self.check_workspace(workspace, "launching a CUDA graph")?;
        if recording.workspace != workspace.id() {
            return Err(Error::Device {
                action: "launching a CUDA graph".to_owned(),
                reason: "it was captured on another workspace".to_owned(),
            });
        }
        self.busy = true;
        // The graph holds addresses of the workspace, of the contexts in it and of the arena that those hold: all of it
        // is there, since the workspace is, and dropping it waits for the stream.
        recording.graph.launch().map_err(failed("launching a CUDA graph"))
    }
}
