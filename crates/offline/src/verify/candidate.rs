//! Candidates of a comparison: engines, or the networks of another export.

use std::path::{Path, PathBuf};

use crate::Error;
use vla_base::tensor::{DType, TensorSpec};
use vla_engines::onnx::{Inner, Network, proto};
use vla_engines::onnx_runtime::Onnx;
#[cfg(feature = "cuda")]
use vla_engines::provenance::Provenance;
use vla_engines::provenance::Verification;
use vla_engines::{Admission, EngineKind, Inference, Output, Pipeline, Stage};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// ONNX's code of half precision.
const HALF: i32 = proto::element_type(DType::F16);

/// Loads stages, one alone or all together, on any device.
pub trait Candidate {
    /// What it is, for the report.
    fn name(&self) -> String;

    /// Its stages in run order, each with the file that it loads. Names of stages and of the tensors between them are
    /// the reference's; a network's own names, types and files may differ.
    fn stages(&self) -> &[Stage];

    /// Loads these stages, which are [`Self::stages`] or one of them described anew.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    fn load(&mut self, stages: &[Stage], host: &[TensorSpec]) -> Result<Box<dyn Inference>, vla_engines::Error>;

    /// Tensors inside a stage that it can put out beside the outputs, each by the weight that makes it
    /// ([`vla_engines::onnx::Inner`]), in their order; none, where an engine was not built so.
    ///
    /// # Errors
    /// A network that cannot be read.
    fn inner(&self, _stage: &Stage) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// Keeps the verdict on a stage where its next load finds it, in place of an earlier one.
    ///
    /// # Errors
    /// [`Error::NoRecord`]; [`Error::Provenance`].
    fn record(&self, stage: &Stage, verification: &Verification) -> Result<(), Error> {
        super::record(&stage.file, verification)
    }

    /// Stages whose networks are in half precision and run where that is computed in single precision, so that nothing
    /// overflows or is rounded between operators as it is on a GPU.
    fn without_half_rounding(&self) -> Vec<String> {
        Vec::new()
    }

    /// The stage with a file that puts out these tensors too, of those that [`Self::inner`] gave, each with its
    /// `inner_output` among the stage's outputs. What it writes goes to `folder`.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn showing(&self, stage: &Stage, _weights: &[String], _folder: &Path) -> Result<Stage, Error> {
        Ok(stage.clone())
    }
}

/// ONNX files on ONNX Runtime: the reference itself, or another export of the same policy.
pub struct Networks {
    name: String,
    stages: Vec<Stage>,
    threads: usize,
    integer_kernels: bool,
}

impl Networks {
    /// The networks of a policy.
    pub fn of(spec: &PolicySpec, threads: usize) -> Self {
        let stages = spec.stages.iter().map(|stage| spec.stage_for(stage, EngineKind::Onnx)).collect();
        Self { name: format!("onnx of {}", spec.dir.display()), stages, threads, integer_kernels: false }
    }

    /// With the files that these settings name in place of the policy's own, when they are for ONNX Runtime.
    pub fn with_paths(mut self, settings: &Settings) -> Self {
        if settings.engine.kind == EngineKind::Onnx {
            replace_files(&mut self.stages, settings);
            self.stages.iter_mut().for_each(|stage| stage.onnx.clone_from(&stage.file));
        }
        self
    }
}

impl Networks {
    /// On the integer kernels of quantised products, in place of the program that the files describe.
    pub(crate) fn with_integer_kernels(self) -> Self {
        Self { integer_kernels: true, ..self }
    }

    /// The file of a stage's network.
    pub(crate) fn file(&self, stage: &str) -> Option<PathBuf> {
        self.stages.iter().find(|each| each.name == stage).map(|each| each.file.clone())
    }

    /// Another network in place of a stage's own.
    pub(crate) fn replace(&mut self, stage: &str, file: PathBuf) {
        for each in self.stages.iter_mut().filter(|each| each.name == stage) {
            each.onnx.clone_from(&file);
            each.file.clone_from(&file);
        }
    }
}

impl Candidate for Networks {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn load(&mut self, stages: &[Stage], host: &[TensorSpec]) -> Result<Box<dyn Inference>, vla_engines::Error> {
        let device = Onnx::new(self.threads)?.without_prepacking();
        let device = if self.integer_kernels { device.with_integer_kernels() } else { device };
        Ok(Box::new(Pipeline::load(device, stages, None, host, Admission::default(), &mut |_| {})?))
    }

    fn inner(&self, stage: &Stage) -> Result<Vec<String>, Error> {
        Ok(Network::open(&stage.file)?.inner().into_iter().map(|inner| inner.weight).collect())
    }

    fn without_half_rounding(&self) -> Vec<String> {
        let is_half = |stage: &&Stage| {
            let network = Network::open(&stage.file);
            network.is_ok_and(|network| network.weights.iter().any(|weight| weight.data_type == HALF))
        };
        self.stages.iter().filter(is_half).map(|stage| stage.name.clone()).collect()
    }

    fn showing(&self, stage: &Stage, weights: &[String], folder: &Path) -> Result<Stage, Error> {
        let network = Network::open(&stage.file)?;
        let shown: Vec<Inner> = network.inner().into_iter().filter(|inner| weights.contains(&inner.weight)).collect();
        let tensors: Vec<&TensorSpec> = shown.iter().map(|inner| &inner.tensor).collect();
        let file = network.write_showing(&tensors, folder)?;
        let mut stage = Stage { onnx: file.clone(), file, ..stage.clone() };
        stage.outputs.extend(shown.iter().map(|inner| inner_output(&inner.weight, &inner.tensor)));
        Ok(stage)
    }
}

/// Prefix of the pipeline's name of a tensor inside a network.
pub(crate) const INNER: &str = "inner:";

/// A tensor inside a network as an output of its stage: `tensor` is the network's own description of it.
pub(crate) fn inner_output(weight: &str, tensor: &TensorSpec) -> Output {
    Output {
        tensor: tensor.name.clone(),
        name: format!("{INNER}{weight}"),
        dtype: None,
        dims: Some(tensor.dims.clone()),
        feeds: None,
    }
}

/// TensorRT engines on this device. One that failed before is loaded all the same: it may be another one by now, and its
/// verdict is what is being made.
#[cfg(feature = "tensorrt")]
pub struct Engines {
    stages: Vec<Stage>,
    admission: Admission,
    launch: vla_engines::Launch,
}

#[cfg(feature = "tensorrt")]
impl Engines {
    /// These stages, whose `file` is the engine.
    pub fn new(stages: Vec<Stage>, settings: &Settings) -> Self {
        let stages = stages.into_iter().map(|stage| Stage { allow_inaccurate: true, ..stage }).collect();
        let options = vla_runtime::session::load_options(settings);
        Self { stages, admission: options.admission, launch: options.launch }
    }
}

#[cfg(feature = "tensorrt")]
impl Candidate for Engines {
    fn name(&self) -> String {
        "tensorrt".to_owned()
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn load(&mut self, stages: &[Stage], host: &[TensorSpec]) -> Result<Box<dyn Inference>, vla_engines::Error> {
        use vla_tensorrt::device::{Options, Tensorrt};
        let device = Tensorrt::open(Options { launch: self.launch, ..Options::default() })?;
        Ok(Box::new(Pipeline::load(device, stages, None, host, self.admission, &mut |_| {})?))
    }
}

/// Lists of operations on CUDA, with those that failed before.
#[cfg(feature = "cuda")]
struct Operations {
    stages: Vec<Stage>,
    admission: Admission,
    launch: vla_engines::Launch,
}

#[cfg(feature = "cuda")]
impl Candidate for Operations {
    fn name(&self) -> String {
        "cuda".to_owned()
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn load(&mut self, stages: &[Stage], host: &[TensorSpec]) -> Result<Box<dyn Inference>, vla_engines::Error> {
        use vla_cuda::device::{Device, Options};
        vla_engines::provenance::check_operations(stages)?;
        let device = Device::open(Options { launch: self.launch, ..Options::default() })?;
        Ok(Box::new(Pipeline::load(device, stages, None, host, self.admission, &mut |_| {})?))
    }

    /// There was no build, so the record is made now.
    fn record(&self, stage: &Stage, verification: &Verification) -> Result<(), Error> {
        let device = vla_cuda::device::identity_here()?;
        let record = vla_engines::provenance::record_of_operations(stage, device).map_err(Error::Internal)?;
        Ok(Provenance { verification: Some(verification.clone()), ..record }.write(&stage.file)?)
    }
}

/// What a policy's own engines are: with the files that these settings name, when they are for this kind, and what they
/// allow by name.
///
/// # Errors
/// [`Error::NoTensorrt`] and [`Error::NoCuda`] in a build without it.
pub fn of_policy(spec: &PolicySpec, settings: &Settings, kind: EngineKind) -> Result<Box<dyn Candidate>, Error> {
    match kind {
        EngineKind::Onnx => Ok(Box::new(Networks::of(spec, settings.engine.threads).with_paths(settings))),
        #[cfg(feature = "tensorrt")]
        EngineKind::Tensorrt => {
            let mut stages = spec.engine_stages();
            if settings.engine.kind == kind {
                replace_files(&mut stages, settings);
            }
            for stage in &mut stages {
                stage.allow_unverified =
                    settings.engine.stages.get(&stage.name).is_some_and(|stage| stage.allow_unverified);
            }
            Ok(Box::new(Engines::new(stages, settings)))
        }
        #[cfg(not(feature = "tensorrt"))]
        EngineKind::Tensorrt => Err(Error::NoTensorrt),
        #[cfg(feature = "cuda")]
        EngineKind::Cuda => {
            let mut stages: Vec<Stage> = spec.stages.iter().map(|stage| spec.stage_for(stage, kind)).collect();
            if settings.engine.kind == kind {
                replace_files(&mut stages, settings);
            }
            for stage in &mut stages {
                // What this makes is the verdict.
                (stage.allow_unverified, stage.allow_inaccurate) = (true, true);
            }
            let options = vla_runtime::session::load_options(settings);
            Ok(Box::new(Operations { stages, admission: options.admission, launch: options.launch }))
        }
        #[cfg(not(feature = "cuda"))]
        EngineKind::Cuda => Err(Error::NoCuda),
    }
}

fn replace_files(stages: &mut [Stage], settings: &Settings) {
    for stage in stages {
        if let Some(file) = settings.engine.stages.get(&stage.name).and_then(|stage| stage.path.as_ref()) {
            stage.file.clone_from(file);
        }
    }
}
