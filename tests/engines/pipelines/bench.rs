//! Engine kinds with the demo policy on them.

#[cfg(feature = "tensorrt")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use vla_base::tensor::{DType, TensorSpec};
#[cfg(feature = "cuda")]
use vla_cuda::device::{Device, Options as CudaOptions};
use vla_engines::memory::MemoryPlan;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, EngineKind, Error, Inference, Launch, LoadEvent, Pipeline, Stage, pipeline};
use vla_policy::PolicySpec;
#[cfg(feature = "tensorrt")]
use vla_tensorrt::device::{Options, Tensorrt};

use vla_trt_tests::demo;

/// What runs the stages, and in what it computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// ONNX Runtime, with networks in this element type.
    Onnx(DType),
    /// TensorRT.
    #[cfg(feature = "tensorrt")]
    Tensorrt(vla_engines::Precision),
    /// Lists of operations, of networks in this element type.
    #[cfg(feature = "cuda")]
    Cuda(DType),
}

impl Kind {
    /// As the settings name it.
    pub(super) fn engine(self) -> EngineKind {
        match self {
            Self::Onnx(_) => EngineKind::Onnx,
            #[cfg(feature = "tensorrt")]
            Self::Tensorrt(_) => EngineKind::Tensorrt,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => EngineKind::Cuda,
        }
    }
}

/// How stages are loaded.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(any(feature = "tensorrt", feature = "cuda")),
    expect(dead_code, reason = "ONNX Runtime has neither choice")
)]
pub(super) struct Load<'l> {
    pub order: Option<&'l [String]>,
    pub admission: Admission,
    /// Record passes where the kind can.
    pub launch: Launch,
    /// The device reads in place what the host writes, where the kind can choose.
    pub in_place: Option<bool>,
}

impl Default for Load<'_> {
    fn default() -> Self {
        Self { order: None, admission: Admission::default(), launch: Launch::Graph, in_place: None }
    }
}

/// One engine kind with a bundle of the demo policy.
pub(super) struct Bench {
    pub kind: Kind,
    dir: PathBuf,
    /// Of the bundles that a test has to itself.
    _folder: Option<TempDir>,
    /// One test at a time: a load measures the memory of the process and of the GPU.
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// `None`, said aloud, where a library is missing.
    pub(super) fn open(kind: Kind) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        demo::point_at_onnx_runtime();
        there(kind, Onnx::new(1))?;
        match kind {
            Kind::Onnx(dtype) => {
                let folder = policy(dtype);
                Some(Self { kind, dir: folder.path().to_owned(), _folder: Some(folder), _turn })
            }
            #[cfg(feature = "tensorrt")]
            Kind::Tensorrt(precision) => {
                there(kind, Tensorrt::open(Options::default()))?;
                Some(Self { kind, dir: super::bundles::of(precision), _folder: None, _turn })
            }
            #[cfg(feature = "cuda")]
            Kind::Cuda(dtype) => {
                there(kind, Device::open(CudaOptions::default()))?;
                if vla_cuda::device::compiled().is_empty() {
                    eprintln!("SKIPPED: {kind:?}: this program has no kernels; build it where nvcc is");
                    return None;
                }
                let folder = policy(dtype);
                Some(Self { kind, dir: folder.path().to_owned(), _folder: Some(folder), _turn })
            }
        }
    }

    /// The bundle's folder.
    #[cfg(feature = "tensorrt")]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn spec(&self) -> PolicySpec {
        PolicySpec::load(&self.dir).expect("the demo policy's description")
    }

    /// The stages as this kind loads them.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let spec = self.spec();
        let kind = self.kind.engine();
        let stage = |stage| Stage { allow_unverified: kind == EngineKind::Cuda, ..spec.stage_for(stage, kind) };
        spec.stages.iter().map(stage).collect()
    }

    /// The plan of loading them.
    pub(super) fn plan(&self) -> MemoryPlan {
        pipeline::plan(self.kind.engine(), &self.stages(), None, true, None).expect("a plan")
    }

    /// Loads `stages`; `progress` is told of each.
    pub(super) fn load_stages(
        &self,
        stages: &[Stage],
        how: Load<'_>,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Box<dyn Inference>, Error> {
        let (host, Load { order, admission, .. }) = (host(stages), how);
        match self.kind {
            Kind::Onnx(_) => Ok(Box::new(Pipeline::load(Onnx::new(1)?, stages, order, &host, admission, progress)?)),
            #[cfg(feature = "tensorrt")]
            Kind::Tensorrt(_) => {
                let device =
                    Tensorrt::open(Options { launch: how.launch, in_place: how.in_place, ..Options::default() })?;
                Ok(Box::new(Pipeline::load(device, stages, order, &host, admission, progress)?))
            }
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => {
                let device =
                    Device::open(CudaOptions { launch: how.launch, in_place: how.in_place, frames: Some(true) })?;
                Ok(Box::new(Pipeline::load(device, stages, order, &host, admission, progress)?))
            }
        }
    }

    /// The policy's stages, which must load.
    pub(super) fn load(&self, how: Load<'_>) -> Box<dyn Inference> {
        self.load_stages(&self.stages(), how, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The demo policy in this element type.
fn policy(dtype: DType) -> TempDir {
    match dtype {
        DType::F16 => demo::policy_in_half_precision(&[]),
        _ => demo::policy(),
    }
}

/// What the host gives: whatever the description states in full.
fn host(stages: &[Stage]) -> Vec<TensorSpec> {
    let inputs = stages.iter().flat_map(|stage| &stage.inputs);
    let stated = inputs.filter_map(|input| {
        Some(TensorSpec { name: input.name.clone(), dtype: input.dtype?, dims: input.dims.clone()? })
    });
    stated.collect()
}

/// The device says itself whether it is there.
fn there<D>(kind: Kind, opened: Result<D, Error>) -> Option<D> {
    match opened {
        Ok(device) => Some(device),
        Err(error @ Error::Library { .. }) => {
            eprintln!("SKIPPED: {kind:?}: {error}");
            None
        }
        Err(error) => panic!("{kind:?}: {error}"),
    }
}
