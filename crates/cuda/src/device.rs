//! The engine kind: runs lists of operations on the first GPU, one stream, one arena for all stages, whole passes as CUDA graphs.

use std::sync::Arc;

use crate::cublas;
use crate::driver::{Cuda, Properties};
use crate::{DeviceBlock, Queue, Recording, Workspace};
use vla_engines::memory::Footprint;
use vla_engines::provenance::{self, CUBLASLT, DeviceIdentity};
use vla_engines::{Error, Launch, Pass};

mod backend;
mod engine;
mod instance;
mod measure;
mod module;
mod products;
mod weights;

pub use engine::{Bound, LoadedOperations};
pub use instance::Instance;
pub use module::{Module, PreparedKernel};

/// Switches of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How passes are started.
    pub launch: Launch,
    /// Whether the device reads inputs in place from host memory; `None`: if they share one memory.
    pub in_place: Option<bool>,
    /// Whether pixels are made of frames on the device; `None`: if it has memory of its own.
    pub frames: Option<bool>,
}

impl Options {
    /// Whether pixels are made of frames on a device that is `integrated` or not. Where device and host share one memory, it was not
    /// measured.
    fn makes_pixels(self, integrated: bool) -> bool {
        self.frames.unwrap_or(!integrated)
    }
}

/// The GPU with the kernels of this program and cuBLASLt.
pub struct Device {
    // Dropped in this order: what is in the context before the context.
    /// `None`: this program has none for the GPU, which is refused by stage.
    module: Option<Arc<module::Module>>,
    products: products::Products,
    /// Inner values of the running stage: allocated with the first instance, for the stage that needs most.
    arena: Option<Arc<DeviceBlock>>,
    largest_arena: u64,
    queue: Queue,
    identity: DeviceIdentity,
    properties: Properties,
    launch: Launch,
    frames: bool,
}

/// Version of the cuBLASLt that opens here.
///
/// # Errors
/// [`Error::Library`].
pub fn cublas_version() -> Result<String, Error> {
    Ok(cublas::Library::open()?.version().to_string())
}

/// Compute capabilities that this program has kernels for, e.g. `8.7`.
pub fn compiled() -> Vec<String> {
    crate::kernels::compiled().map(|(major, minor)| format!("{major}.{minor}")).collect()
}

/// This device as the records of accuracy name it.
///
/// # Errors
/// [`Error::Library`], [`Error::Device`].
pub fn identity_here() -> Result<DeviceIdentity, Error> {
    identity(&Cuda::open()?.properties()?, &cublas::Library::open()?)
}

fn identity(properties: &Properties, library: &cublas::Library) -> Result<DeviceIdentity, Error> {
    let (major, minor) = properties.compute_capability;
    let cuda = format!("{}.{}", properties.driver / 1000, properties.driver % 1000 / 10);
    let root = std::path::Path::new("/");
    Ok(DeviceIdentity {
        // A verdict or a time of other kernels says nothing about these.
        tensorrt: format!("{CUBLASLT} {}, {}", library.version(), crate::kernels::version_for(major, minor)),
        gpu: properties.name.clone(),
        sm_version: format!("{major}.{minor}"),
        sm_count: properties.multiprocessors,
        driver: provenance::driver(root).unwrap_or_else(|| cuda.clone()),
        cuda,
        l4t: provenance::l4t(root),
        board: provenance::board(root),
    })
}

impl Device {
    /// Opens the first CUDA device and cuBLASLt, and loads the kernels.
    ///
    /// # Errors
    /// [`Error::Library`] naming what is missing or too old; [`Error::Device`].
    pub fn open(options: Options) -> Result<Self, Error> {
        let cuda = Cuda::open()?;
        let properties = cuda.properties()?;
        module::check_driver(&properties)?;
        let library = cublas::Library::open()?;
        cuda.enter()?;
        let (major, minor) = properties.compute_capability;
        let image = crate::kernels::for_capability(major, minor).ok();
        let module = image.map(|image| module::Module::load(&cuda, &properties, image)).transpose()?.map(Arc::new);
        let identity = identity(&properties, &library)?;
        let products = products::Products::new(&cuda, library)?;
        let integrated = properties.integrated;
        Ok(Self {
            module,
            products,
            arena: None,
            largest_arena: 0,
            queue: Queue::new(cuda, options.in_place.unwrap_or(integrated)),
            identity,
            properties,
            launch: options.launch,
            frames: options.makes_pixels(integrated),
        })
    }

    /// The CUDA side.
    pub fn cuda(&self) -> &Cuda {
        self.queue.cuda()
    }

    /// The device as records name it.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// The arena, with at least this many bytes. Launches keep its address, so an arena never grows: instances of before keep
    /// theirs. One is enough, because stages run one after the other on one stream.
    fn arena(&mut self, bytes: u64) -> Result<Arc<DeviceBlock>, Error> {
        if let Some(arena) = self.arena.as_ref().filter(|arena| arena.bytes() as u64 >= bytes) {
            return Ok(Arc::clone(arena));
        }
        let bytes = usize::try_from(bytes.max(self.largest_arena)).unwrap_or(usize::MAX);
        Ok(Arc::clone(self.arena.insert(Arc::new(DeviceBlock::zeroed(self.queue.cuda(), bytes)?))))
    }

    fn capture(&mut self, workspace: &mut Workspace<Instance>, pass: Pass<'_, Self>) -> Result<Recording, Error> {
        self.queue.begin_capture(workspace)?;
        let passed = pass(self, workspace);
        self.queue.end_capture(workspace, passed)
    }

    /// Waits for what was started, where passes are run so.
    fn wait_after_each(&self) -> Result<(), Error> {
        match self.launch {
            Launch::WaitAfterEach => self.cuda().wait(),
            Launch::Graph | Launch::StepByStep => Ok(()),
        }
    }

    /// Error of failed launches. A library reports a lost device like any other failure, so this asks the driver, which is not allowed
    /// during a capture.
    fn launch_error(&self, error: Error) -> Error {
        if !error.is_sticky()
            && !self.queue.is_capturing()
            && matches!(self.cuda().wait(), Err(Error::DeviceLost { .. }))
        {
            return Error::DeviceLost { source: error.into() };
        }
        error
    }
}

/// Bytes that products may use beside their operands.
const PRODUCT_WORKSPACE: usize = Footprint::PRODUCT_WORKSPACE as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_to_devices_with_memory_of_their_own_and_elsewhere_where_that_is_wanted() {
        let of =
            |frames| [false, true].map(|integrated| Options { frames, ..Options::default() }.makes_pixels(integrated));
        assert_eq!([None, Some(true), Some(false)].map(of), [[true, false], [true, true], [false, false]]);
    }
}
