//! TensorRT as an engine kind: plans loaded one after the other, one stream, one activation arena for all of them,
//! whole passes replayed as CUDA graphs.

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::blocks::DeviceBlock;
use super::cuda::{Cuda, failed};
use super::workspace::{ProgramContext, Workspace};
use super::{Engine, Library, Log, Runtime};
use crate::engine::{Device, Error, Placement, Stage};
use crate::tensor::{HostTensor, TensorSpec};

/// Switches of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Record passes as CUDA graphs.
    pub graph: bool,
    /// Let the device read in place what the host writes; `None`: where they share one memory.
    pub in_place: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { graph: true, in_place: None }
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
    graph: bool,
    in_place: bool,
    /// The stream is being captured.
    capturing: bool,
    engines: usize,
    bounds: usize,
}

/// A loaded plan.
pub struct Plan {
    /// Number among the device's engines.
    number: usize,
    stage: String,
    engine: Engine,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

/// A plan joined to tensors: their addresses, by the plan's own names.
pub struct Bound {
    number: usize,
    /// Index of the context in the workspace.
    context: usize,
    addresses: Vec<(String, u64)>,
}

/// A pass as a CUDA graph.
pub struct Recording(CudaGraph);

// SAFETY: a graph may be used from any thread, by one at a time; `&mut` on every use sees to that.
unsafe impl Send for Recording {}

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
        let in_place = match options.in_place {
            Some(in_place) => in_place,
            None => cuda.properties()?.integrated,
        };
        Ok(Self {
            runtime,
            arena: None,
            largest_activation: 0,
            log,
            cuda,
            graph: options.graph,
            in_place,
            capturing: false,
            engines: 0,
            bounds: 0,
        })
    }

    /// The CUDA side.
    pub fn cuda(&self) -> &Cuda {
        &self.cuda
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
        if let Some(held) = workspace.contexts.iter().position(|held| held.engine == plan.number) {
            return Ok(held);
        }
        let mut context = plan.engine.context(0)?;
        for (tensor, index) in inputs {
            context.set_shape(tensor, workspace.dims(*index))?;
        }
        let arena = self.arena()?;
        // SAFETY: the arena is at least as large as this plan's activations, which `largest_activation` counts; it is
        // held by the device, which outlives every workspace; plans run one after the other on one stream.
        unsafe { context.set_activation(arena.address(), arena.bytes() as u64) }?;
        workspace.contexts.push(ProgramContext { engine: plan.number, context, bound: None });
        Ok(workspace.contexts.len() - 1)
    }

    /// The last lines of TensorRT's log, indented.
    fn log_tail(&self) -> String {
        const LINES: usize = 8;
        let lines = self.log.tail();
        let from = lines.len().saturating_sub(LINES);
        lines.iter().skip(from).map(|line| format!("\n    {line}")).collect()
    }

    fn capture(&mut self, pass: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<Recording, Error> {
        let stream = Arc::clone(self.cuda.stream());
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(failed("beginning to capture the stream"))?;
        self.capturing = true;
        let passed = pass(self);
        self.capturing = false;
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed("making a CUDA graph"));
        passed?;
        let graph = graph?.ok_or_else(|| Error::Device {
            action: "making a CUDA graph".into(),
            reason: "the driver captured nothing".into(),
        })?;
        graph.upload().map_err(failed("uploading a CUDA graph"))?;
        Ok(Recording(graph))
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

    fn load(&mut self, stage: &Stage) -> Result<Plan, Error> {
        let fail = |reason: String| Error::Load { stage: stage.name.clone(), file: stage.file.clone(), reason };
        self.cuda.enter()?;
        self.log.clear();
        let engine = self.runtime.load(&stage.file).map_err(|error| fail(format!("{error}{}", self.log_tail())))?;
        self.largest_activation = self.largest_activation.max(engine.activation_bytes());
        self.engines += 1;
        let specs = |tensors: &[super::Tensor]| tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let (inputs, outputs) = (specs(engine.inputs()), specs(engine.outputs()));
        Ok(Plan { number: self.engines, stage: stage.name.clone(), engine, inputs, outputs })
    }

    fn inputs<'e>(&self, plan: &'e Plan) -> &'e [TensorSpec] {
        &plan.inputs
    }

    fn outputs<'e>(&self, plan: &'e Plan) -> &'e [TensorSpec] {
        &plan.outputs
    }

    fn workspace(&mut self, tensors: &[Placement], marks: usize) -> Result<Workspace, Error> {
        Workspace::new(&self.cuda, tensors, marks, self.in_place)
    }

    fn bind(
        &mut self,
        plan: &mut Plan,
        workspace: &mut Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Bound, Error> {
        self.cuda.enter()?;
        let context = self.context(plan, workspace, inputs)?;
        let both = inputs.iter().chain(outputs);
        let addresses = both.map(|(name, index)| (name.clone(), workspace.address(*index))).collect();
        self.bounds += 1;
        Ok(Bound { number: self.bounds, context, addresses })
    }

    fn write(&mut self, workspace: &mut Workspace, index: usize, tensor: &HostTensor) -> Result<(), String> {
        workspace.write(&self.cuda, index, tensor)
    }

    fn place<'w>(&mut self, workspace: &'w mut Workspace, index: usize) -> Option<&'w mut [f32]> {
        workspace.host_place(index)
    }

    fn upload(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.cuda.enter()?;
        workspace.upload(&self.cuda)
    }

    fn run(&mut self, plan: &mut Plan, bound: &mut Bound, workspace: &mut Workspace) -> Result<(), String> {
        let held = &mut workspace.contexts[bound.context];
        if held.bound != Some(bound.number) {
            for (tensor, address) in &bound.addresses {
                // SAFETY: addresses of the workspace's own memory, which lives as long as the context in it; each is
                // as large as the tensor's shape, which the context was given.
                unsafe { held.context.set_address(tensor, *address) }.map_err(|error| error.to_string())?;
            }
            held.bound = Some(bound.number);
        }
        // SAFETY: the stream is alive and of the current context; every address was set.
        unsafe { held.context.enqueue(self.cuda.stream().cu_stream().cast()) }
            .map_err(|error| format!("engine '{}': {error}{}", plan.stage, self.log_tail()))
    }

    fn mark(&mut self, workspace: &mut Workspace, mark: usize) -> Result<(), Error> {
        self.cuda.record(workspace.mark(mark), self.capturing)
    }

    fn download(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        workspace.download(&self.cuda)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.cuda.wait()
    }

    fn between(&self, workspace: &Workspace, mark: usize) -> Duration {
        let milliseconds = workspace.mark(mark).elapsed_ms(workspace.mark(mark + 1)).unwrap_or_default();
        Duration::from_secs_f32(milliseconds.max(0.0) / 1e3)
    }

    fn downloaded(&self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String> {
        workspace.downloaded(index, tensor)
    }

    fn read(&mut self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), String> {
        workspace.read(&self.cuda, index, tensor)
    }

    fn record(&mut self, pass: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<Option<Recording>, Error> {
        if !self.graph {
            return Ok(None);
        }
        match self.capture(pass) {
            Ok(recording) => Ok(Some(recording)),
            Err(error) => {
                // An engine that cannot be captured still runs, step by step.
                tracing::warn!(%error, "no CUDA graph of this pass; its engines are started one by one");
                self.cuda.wait()?;
                Ok(None)
            }
        }
    }

    fn replay(&mut self, recording: &mut Recording) -> Result<(), Error> {
        recording.0.launch().map_err(failed("launching a CUDA graph"))
    }
}
