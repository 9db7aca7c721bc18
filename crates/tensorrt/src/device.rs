//! The TensorRT backend: loads engines one after the other, shares one stream and one activation arena among them, and replays
//! whole passes as CUDA graphs.

use std::path::Path;
use std::sync::Arc;

use super::{Family, Library, Log, Runtime, identity};
use vla_base::tensor::TensorSpec;
use vla_cuda::driver::Cuda;
use vla_cuda::{DeviceBlock, Id, Queue, Recording, Workspace};
use vla_engines::host_copy::HostCopy;
use vla_engines::provenance::DeviceIdentity;
use vla_engines::{Error, Launch, Pass};

mod backend;
mod checks;
mod engine;
mod host_copy;
mod runtime_cache;

use engine::InstanceContext;
use runtime_cache::KeptCache;

pub use engine::{Bound, LoadedEngine};

/// Switches of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How passes are started.
    pub launch: Launch,
    /// Whether the device reads inputs in place from host memory; `None`: if they share one memory.
    pub in_place: Option<bool>,
    /// Whether to release TensorRT's host copy of an engine, if the engine's record says that this was tested.
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
    /// Activation memory of the running engine: allocated with the first instance, for the largest engine.
    arena: Option<Arc<DeviceBlock>>,
    largest_activation: u64,
    log: Log,
    queue: Queue,
    identity: DeviceIdentity,
    integrated: bool,
    launch: Launch,
    release_host_copy: bool,
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
            identity: identity(&cuda, &library)?,
            queue: Queue::new(cuda, options.in_place.unwrap_or(integrated)),
            integrated,
            launch: options.launch,
            release_host_copy: options.release_host_copy,
        })
    }

    /// The CUDA side.
    pub fn cuda(&self) -> &Cuda {
        self.queue.cuda()
    }

    /// The device as an engine's record names it.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// TensorRT's warning about another GPU model, logged while the last engine was loaded.
    pub fn other_model(&self) -> Option<String> {
        self.log.other_device()
    }

    /// Loads an engine without checking its record.
    ///
    /// # Errors
    /// [`Error::Load`] with TensorRT's error; [`Error::OutOfMemory`].
    pub fn load_file(&mut self, stage: &str, file: &Path) -> Result<LoadedEngine, Error> {
        self.cuda().enter()?;
        self.log.clear();
        let refused = |error: super::Error| match error.is_out_of_memory() {
            true => Error::OutOfMemory { action: format!("loading {}", file.display()), source: error.into() },
            false => Error::Load { stage: stage.to_owned(), file: file.to_owned(), source: error.into() },
        };
        let engine = self.runtime.load(file).map_err(refused)?;
        engine.check_locations().map_err(refused)?;
        self.largest_activation = self.largest_activation.max(engine.activation_bytes());
        let specs = |tensors: &[super::Tensor]| tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let profiles = engine.inputs().iter().map(|input| input.profile.clone()).collect();
        let (inputs, outputs) = (specs(engine.inputs()), specs(engine.outputs()));
        let (id, host_copy, remapped) = (Id::new(), HostCopy::AsLoaded, None);
        let is_compiled_here = self.runtime.library().family() == Family::Rtx;
        let cache = is_compiled_here.then(|| KeptCache::open(&engine, file)).transpose().map_err(refused)?;
        let (stage, handle) = (stage.to_owned(), engine);
        Ok(LoadedEngine { id, stage, cache, handle, inputs, outputs, profiles, host_copy, remapped })
    }

    /// Shapes of the engine's outputs, in its order, for these input shapes.
    ///
    /// # Errors
    /// TensorRT's error for invalid shapes.
    pub fn output_shapes(
        &mut self,
        engine: &LoadedEngine,
        inputs: &[(String, Vec<usize>)],
    ) -> Result<Vec<Vec<usize>>, Error> {
        self.cuda().enter()?;
        let mut context = engine.context()?;
        for (tensor, dims) in inputs {
            context.set_shape(tensor, dims)?;
        }
        let shape = |spec: &TensorSpec| {
            let dims = context.shape(&spec.name)?;
            let known = dims.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<_>>>();
            known.ok_or_else(|| Error::Device {
                action: format!("asking engine '{}' for the shape of '{}'", engine.stage, spec.name),
                source: format!("it depends on values: {dims:?}").into(),
            })
        };
        engine.outputs.iter().map(shape).collect()
    }

    /// Error of a failed enqueue. TensorRT reports a lost device like any other failure, so this asks the driver, which is not
    /// allowed during a capture.
    fn enqueue_error(&self, error: super::Error) -> Error {
        if !self.queue.is_capturing() && matches!(self.cuda().wait(), Err(Error::DeviceLost { .. })) {
            return Error::DeviceLost { source: error.into() };
        }
        error.into()
    }

    /// The arena, allocated at the first call. Contexts keep its address, so it never moves.
    fn arena(&mut self) -> Result<Arc<DeviceBlock>, Error> {
        if let Some(arena) = &self.arena {
            return Ok(Arc::clone(arena));
        }
        let bytes = usize::try_from(self.largest_activation).unwrap_or(usize::MAX);
        Ok(Arc::clone(self.arena.insert(Arc::new(DeviceBlock::zeroed(self.queue.cuda(), bytes)?))))
    }

    /// Index in `workspace` of the engine's context, created with the shapes of `inputs` if necessary.
    fn context(
        &mut self,
        engine: &LoadedEngine,
        workspace: &mut Workspace<InstanceContext>,
        inputs: &[(String, usize)],
    ) -> Result<usize, Error> {
        if let Some(held) = workspace.contexts.iter().position(|held| held.engine == engine.id) {
            return Ok(held);
        }
        let mut context = engine.context()?;
        for (tensor, index) in inputs {
            context.set_shape(tensor, workspace.dims(*index))?;
        }
        let arena = self.arena()?;
        // SAFETY: `set_activation` refuses an arena that is too small; the context's owner holds the arena, which is
        // dropped after it; engines of this device run one after the other on one stream, and `check_workspace` keeps
        // those of other devices away.
        unsafe { context.set_activation(arena.address(), arena.bytes() as u64) }?;
        workspace.contexts.push(InstanceContext { engine: engine.id, context, bound: None, _arena: arena });
        Ok(workspace.contexts.len() - 1)
    }

    fn capture(
        &mut self,
        workspace: &mut Workspace<InstanceContext>,
        pass: Pass<'_, Self>,
    ) -> Result<Recording, Error> {
        self.queue.begin_capture(workspace)?;
        let passed = pass(self, workspace);
        self.queue.end_capture(workspace, passed)
    }
}
