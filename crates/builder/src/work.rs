//! One build: parses the network, times tactics, writes the engine. Runs in a separate process.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::calibrator::{Calibrated, RecordedInputs};
use super::quantized::{TooLarge, too_large};
use super::{Decision, Error, Request, Scales};
use vla_base::sys::fs::Replacement;
use vla_engines::Precision;
use vla_engines::memory::MemoryUse;
use vla_engines::onnx::{FP32_SCOPE, Network};
use vla_engines::profile::Profile;
use vla_engines::provenance::{BuildSettings, OnnxIdentity};
use vla_tensorrt::cuda::Cuda;
use vla_tensorrt::{BuildOptions, BuildProgress, Library, Log, TacticSources, UNSCALED};

mod ahead;

/// TensorRT's log line for a timing cache whose entries about fused kernels it cannot read.
const CACHE_REFUSED: &str = "timing cache will not be used";

/// Tactic sources without external libraries.
const OWN_KERNELS: TacticSources =
    TacticSources { cublas: false, cublas_lt: false, cudnn: false, edge_mask: true, jit: true };

/// Results of a build and the settings used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Built {
    /// Size of the plan.
    pub bytes: u64,
    /// Duration.
    pub duration: Duration,
    /// Layers of the network before fusion.
    pub layers: usize,
    /// Settings of the builder, for the record.
    pub flags: BuildSettings,
    /// Whether a timing cache of this device, version and network was used.
    pub timing_cache_used: bool,
    /// Samples used for INT8 calibration; `None` without a calibration or with a cache.
    pub calibrated: Option<Calibrated>,
    /// Tensors without an INT8 scale: their layers run in another precision.
    pub unscaled: usize,
    /// Peak resident set of the build process in bytes, including the pages of TensorRT's libraries.
    pub peak_resident: u64,
    /// Peak anonymous memory of that process in bytes, measured by its parent.
    #[serde(default)]
    pub peak_anonymous: u64,
    /// Peak device memory of the builder's allocators in bytes, if TensorRT logs it.
    pub peak_device: Option<u64>,
}

/// Builds the engine of `request`; the file appears only when it is complete.
///
/// # Errors
/// [`Error::Request`] before any library is opened; [`Error::Precision`]; [`Error::Builder`] with the builder's error;
/// [`Error::NotQuantized`] for an engine without the integers of its network.
pub fn build(request: &Request, progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send)) -> Result<Built, Error> {
    if !request.ahead.is_empty() {
        return ahead::build(request, progress);
    }
    let started = Instant::now();
    let profiles = request.profiles()?;
    let network = Network::open(&request.onnx)?;
    let cuda = Cuda::open()?;
    cuda.enter()?;
    let library = Library::open().map_err(vla_engines::Error::from)?;
    let device = vla_tensorrt::identity(&cuda, &library)?;
    if let Some(lacking) = request.lacking(&device)? {
        return Err(Error::Precision { onnx: request.onnx.clone(), precision: request.precision, lacking });
    }
    let identity = identity_for_scales(request)?;
    let here = (&cuda, device.tensorrt.clone(), library.narrows_int64());
    let mut recorded = match (&request.scales, &identity) {
        (Some(scales), Some(identity)) => Some(scales_of(request, scales, &network, &identity.sha256, here)?),
        _ => None,
    };
    let cache = timing_cache(request)?;
    let given = !cache.is_empty();
    // Where types come from the network alone, there is nothing to set.
    let set = if request.precision.lacking(&device).is_some() { Precision::FP32 } else { request.precision };
    let options = options(request, set, &network, profiles, recorded.as_ref(), cache);
    if let Some(folder) = request.engine.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, Replacement::create(&request.engine)?);
    let mut figures = LogFigures::default();
    let mut watched = |what: BuildProgress<'_>| {
        figures.take(&what);
        progress(what)
    };
    let log = Log::new();
    let built = match &mut recorded {
        Some(recorded) => {
            let onnx = &request.onnx;
            vla_tensorrt::build_calibrated(&library, &log, onnx, &options, recorded, &mut out, &mut watched)
        }
        None => vla_tensorrt::build(&library, &log, &request.onnx, &options, &mut out, &mut watched),
    };
    let built = built.map_err(|error| refused(request, &error))?;
    if let Some(TooLarge { planned, most }) = too_large(&network, request.precision, &device.tensorrt, built.bytes) {
        return Err(Error::NotQuantized { onnx: request.onnx.clone(), bytes: built.bytes, planned, most });
    }
    let file = out.into_inner().map_err(|error| Error::io(&request.engine)(error.into_error()))?;
    file.commit()?;
    if let Some(path) = &request.timing_cache {
        super::replace(path, &built.timing_cache)?;
    }
    Ok(Built {
        bytes: built.bytes,
        duration: started.elapsed(),
        layers: built.layers,
        flags: settings(&options),
        timing_cache_used: built.timing_cache_used && !figures.cache_refused && given,
        calibrated: recorded.as_ref().and_then(RecordedInputs::done),
        unscaled: figures.unscaled,
        peak_resident: MemoryUse::now().peak_resident,
        peak_anonymous: 0,
        peak_device: figures.peak_device,
    })
}

/// Hash of the network, which is compared with that of a calibration cache.
fn identity_for_scales(request: &Request) -> Result<Option<OnnxIdentity>, Error> {
    let wanted = request.scales.is_some();
    let identity = wanted.then(|| OnnxIdentity::of(&request.onnx)).transpose();
    identity.map_err(|problem| Error::Request { onnx: request.onnx.clone(), problems: vec![problem] })
}

/// The cache, or recorded inputs to calibrate on.
fn scales_of<'a>(
    request: &Request,
    scales: &'a Scales,
    network: &Network,
    onnx_sha256: &'a str,
    here: (&Cuda, String, bool),
) -> Result<RecordedInputs<'a>, Error> {
    let problem = |problem| Error::Request { onnx: request.onnx.clone(), problems: vec![problem] };
    match (scales.decide(network, onnx_sha256, &here.1).map_err(problem)?, &scales.data) {
        (Decision::Use(cache), _) => Ok(RecordedInputs::cached(scales, cache)),
        (Decision::Calibrate { stale }, Some(data)) => {
            if let Some(stale) = stale {
                tracing::warn!("calibration cache {} is made anew: {stale}", scales.cache.display());
            }
            RecordedInputs::open(request, scales, data, network, onnx_sha256, here)
        }
        (Decision::Calibrate { .. }, None) => Err(problem("there are no recorded inputs to calibrate on".to_owned())),
    }
}

/// `precision`: what the builder is allowed beside single precision.
fn options(
    request: &Request,
    precision: Precision,
    network: &Network,
    profiles: BTreeMap<String, Profile>,
    recorded: Option<&RecordedInputs<'_>>,
    timing_cache: Vec<u8>,
) -> BuildOptions {
    let Precision { int8, bf16, fp16 } = precision;
    let effort = &request.effort;
    let shapes = recorded.into_iter().flat_map(RecordedInputs::shapes);
    let open = shapes.filter(|(name, _)| profiles.contains_key(*name));
    let shapes: BTreeMap<String, Vec<usize>> = open.map(|(name, dims)| (name.to_owned(), dims.to_vec())).collect();
    BuildOptions {
        int8,
        bf16,
        fp16,
        fp32_layers: fp32_layers(precision, network),
        workspace_bytes: effort.workspace,
        tactic_dram_bytes: effort.tactic_memory,
        optimization_level: effort.level,
        tactic_sources: effort.own_kernels.then_some(OWN_KERNELS),
        timing_cache: Some(timing_cache),
        calibration_shapes: (!shapes.is_empty()).then_some(shapes),
        profiles: if profiles.is_empty() { Vec::new() } else { vec![profiles] },
        monitor_memory: true,
        ..BuildOptions::default()
    }
}

/// Figures of the report that come from the builder's log.
#[derive(Default)]
struct LogFigures {
    cache_refused: bool,
    unscaled: usize,
    peak_device: Option<u64>,
}

impl LogFigures {
    fn take(&mut self, what: &BuildProgress<'_>) {
        let BuildProgress::Line { text, .. } = what else { return };
        self.cache_refused |= text.contains(CACHE_REFUSED);
        self.unscaled += usize::from(text.starts_with(UNSCALED));
        self.peak_device = peak_device(text).or(self.peak_device);
    }
}

/// Device memory in TensorRT's log line about the peaks of its allocators.
fn peak_device(line: &str) -> Option<u64> {
    let (_, peaks) = line.split_once("Peak memory usage of TRT CPU/GPU memory allocators:")?;
    let mib: u64 = peaks.split_once("GPU ")?.1.split_whitespace().next()?.parse().ok()?;
    Some(mib << 20)
}

/// Which layers stay in single precision.
fn fp32_layers(precision: Precision, network: &Network) -> Vec<String> {
    let scoped = !precision.is_fp32() && network.has_fp32_scope();
    if scoped { vec![format!("*/{FP32_SCOPE}/*")] } else { Vec::new() }
}

fn refused(request: &Request, error: &vla_tensorrt::Error) -> Error {
    Error::Builder { onnx: request.onnx.clone(), reason: error.to_string() }
}

/// The timing cache of earlier builds; the builder fills an empty one.
fn timing_cache(request: &Request) -> Result<Vec<u8>, Error> {
    let Some(path) = request.timing_cache.as_deref().filter(|path| path.exists()) else { return Ok(Vec::new()) };
    fs::read(path).map_err(Error::io(path))
}

/// Settings that differ from TensorRT's defaults.
fn settings(options: &BuildOptions) -> BuildSettings {
    BuildSettings {
        int8: options.int8,
        bf16: options.bf16,
        fp16: options.fp16,
        fp32_layers: !options.fp32_layers.is_empty(),
        no_tf32: !options.tf32,
        share_profiles: options.share_profiles,
        faster_dynamic_shapes: options.faster_dynamic_shapes,
        own_kernels: options.tactic_sources == Some(OWN_KERNELS),
        aux_streams: options.aux_streams,
        tactic_memory_mib: options.tactic_dram_bytes.map(|bytes| bytes >> 20),
        workspace_mib: options.workspace_bytes.map(|bytes| bytes >> 20),
        optimization_level: options.optimization_level,
        other: Vec::new(),
    }
}
