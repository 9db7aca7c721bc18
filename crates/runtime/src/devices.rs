//! Chooses the backend of an engine kind: the only place that names them all.

use vla_base::tensor::TensorSpec;
#[cfg(feature = "cuda")]
use vla_cuda::device as cuda;
use vla_engines::onnx_runtime::Onnx;
#[cfg(feature = "cuda")]
use vla_engines::provenance;
use vla_engines::{Backend, EngineKind, Inference, LoadEvent, Pipeline, Pool, Stage};
#[cfg(feature = "cuda")]
use vla_policy::EncodeDevice;
use vla_policy::{Error, LoadOptions, Policy, PolicySpec, Progress};
#[cfg(feature = "tensorrt")]
use vla_tensorrt::device::{Options, Tensorrt};

/// Loads a policy on the device of its engine kind, in the operator's order, and runs one inference on zeros.
///
/// # Errors
/// [`Error`] naming the file, stage or tensor; nothing stays loaded.
pub fn load_policy(
    spec: PolicySpec,
    options: LoadOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Policy, Error> {
    let (kind, threads, integer_kernels) = (options.engine, options.threads, options.integer_kernels);
    #[cfg(feature = "tensorrt")]
    let device_options =
        Options { launch: options.launch, in_place: None, release_host_copy: options.release_host_copy };
    #[cfg(feature = "cuda")]
    let cuda_options = cuda::Options { launch: options.launch, in_place: None, frames: frames(options.encode_device) };
    let (order, admission) = (options.load_order.clone(), options.admission);
    let load = &mut |stages: &[Stage], host: &[TensorSpec], progress: &mut dyn FnMut(Progress)| {
        let mut report = |event| progress(Progress::Engine(event));
        let request = Load { stages, order: order.as_deref(), host, admission, progress: &mut report };
        match kind {
            EngineKind::Onnx => {
                let device = Onnx::new(threads)?;
                request.on(if integer_kernels { device.with_integer_kernels() } else { device })
            }
            #[cfg(feature = "tensorrt")]
            EngineKind::Tensorrt => request.on(Tensorrt::open(device_options)?),
            #[cfg(not(feature = "tensorrt"))]
            EngineKind::Tensorrt => Err(Error::NoTensorrt),
            #[cfg(feature = "cuda")]
            EngineKind::Cuda => {
                // Faults of the files are named on a machine without a GPU, too.
                provenance::check_operations(stages)?;
                request.on(cuda::Device::open(cuda_options)?)
            }
            #[cfg(not(feature = "cuda"))]
            EngineKind::Cuda => Err(Error::NoCuda),
        }
    };
    Policy::load(spec, options, load, progress)
}

/// Whether the device makes pixels of frames; `None`: it chooses.
#[cfg(feature = "cuda")]
fn frames(encode: EncodeDevice) -> Option<bool> {
    match encode {
        EncodeDevice::Auto => None,
        EncodeDevice::Cpu => Some(false),
        EncodeDevice::Gpu => Some(true),
    }
}

/// What engines of this kind could take here, now. Without a driver, or in a program without the kind: host memory alone,
/// [`Pool::device_free`] unknown.
pub fn pool(kind: EngineKind) -> Pool {
    match kind {
        #[cfg(feature = "tensorrt")]
        EngineKind::Tensorrt => vla_tensorrt::cuda::memory_here().unwrap_or_else(Pool::host),
        #[cfg(feature = "cuda")]
        EngineKind::Cuda => vla_cuda::driver::memory_here().unwrap_or_else(Pool::host),
        _ => Pool::host(),
    }
}

/// A pipeline to be loaded, on any device.
struct Load<'l> {
    stages: &'l [Stage],
    order: Option<&'l [String]>,
    host: &'l [TensorSpec],
    admission: vla_engines::Admission,
    progress: &'l mut dyn FnMut(LoadEvent),
}

impl Load<'_> {
    fn on<B>(self, backend: B) -> Result<Box<dyn Inference>, Error>
    where
        B: Backend + 'static,
        Pipeline<B>: Inference,
    {
        let Self { stages, order, host, admission, progress } = self;
        Ok(Box::new(Pipeline::load(backend, stages, order, host, admission, progress)?))
    }
}
