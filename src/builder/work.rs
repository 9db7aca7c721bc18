//! The builder's own work: a network parsed, tactics timed, the plan written. Runs in a process of its own.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Error, Precision, Request, Target};
use crate::engine::tensorrt::cuda::Cuda;
use crate::engine::tensorrt::{self, BuildOptions, BuildProgress, Library, Log};
use crate::onnx::{FP32_SCOPE, Network};

/// What TensorRT logs when it takes a timing cache and then cannot read the part about fused kernels in it.
const CACHE_REFUSED: &str = "timing cache will not be used";

/// What a build made, and with which switches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Built {
    /// Size of the plan.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// Layers of the network before fusion.
    pub layers: usize,
    /// Builder flags and settings, for the record.
    pub flags: Vec<String>,
    /// Whether a timing cache was there, of this device, version and network.
    pub timing_cache_used: bool,
}

/// Builds the engine of `request` and puts it in place: to a file beside it that is synced and renamed, so that no half
/// of one is ever found at its name.
///
/// # Errors
/// [`Error::Request`] before any library is opened; [`Error::Builder`] with the builder's words.
pub fn build(request: &Request, progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send)) -> Result<Built, Error> {
    let started = Instant::now();
    let profiles = request.profiles()?;
    let cuda = Cuda::open()?;
    cuda.enter()?;
    let library = Library::open().map_err(crate::engine::Error::from)?;
    let cache = timing_cache(request)?;
    let given = !cache.is_empty();
    let options = BuildOptions {
        fp16: request.precision == Precision::Fp16,
        fp32_layers: fp32_layers(request)?,
        workspace_bytes: request.workspace,
        optimization_level: request.level,
        timing_cache: Some(cache),
        profiles: if profiles.is_empty() { Vec::new() } else { vec![profiles] },
        ..BuildOptions::default()
    };
    let partial = Target::partial(&request.engine);
    if let Some(folder) = request.engine.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(Error::io(&partial))?);
    let mut cache_refused = false;
    let mut watched = |what: BuildProgress<'_>| {
        cache_refused |= matches!(what, BuildProgress::Line { text, .. } if text.contains(CACHE_REFUSED));
        progress(what)
    };
    let built = tensorrt::build(&library, &Log::new(), &request.onnx, &options, &mut out, &mut watched);
    let finished = built.map_err(|error| refused(request, &error)).and_then(|built| {
        out.flush().map_err(Error::io(&partial))?;
        out.get_ref().sync_all().map_err(Error::io(&partial))?;
        fs::rename(&partial, &request.engine).map_err(Error::io(&request.engine))?;
        Ok(built)
    });
    let built = finished.inspect_err(|_| fs::remove_file(&partial).unwrap_or_default())?;
    if let Some(path) = &request.timing_cache {
        replace(path, &built.timing_cache)?;
    }
    Ok(Built {
        bytes: built.bytes,
        duration: started.elapsed(),
        layers: built.layers,
        flags: flags(&options),
        timing_cache_used: built.timing_cache_used && !cache_refused && given,
    })
}

/// Which layers stay in single precision.
fn fp32_layers(request: &Request) -> Result<Vec<String>, Error> {
    let scoped = request.precision != Precision::Fp32 && Network::open(&request.onnx)?.has_fp32_scope();
    Ok(if scoped { vec![format!("*/{FP32_SCOPE}/*")] } else { Vec::new() })
}

fn refused(request: &Request, error: &tensorrt::Error) -> Error {
    Error::Builder { onnx: request.onnx.clone(), reason: error.to_string() }
}

/// The cache of earlier builds; an empty one makes the builder fill it.
fn timing_cache(request: &Request) -> Result<Vec<u8>, Error> {
    let Some(path) = request.timing_cache.as_deref().filter(|path| path.exists()) else { return Ok(Vec::new()) };
    fs::read(path).map_err(Error::io(path))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let temporary = beside(path, "tmp");
    fs::write(&temporary, bytes).map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{suffix}", std::process::id()));
    name.into()
}

/// What is not as TensorRT has it by itself.
fn flags(options: &BuildOptions) -> Vec<String> {
    let mut flags = Vec::new();
    let mut on = |set: bool, flag: &str| flags.extend(set.then(|| flag.to_owned()));
    on(options.fp16, "FP16");
    on(!options.fp32_layers.is_empty(), "FP32 layers held");
    on(!options.tf32, "no TF32");
    on(options.share_profiles, "PROFILE_SHARING_0806");
    on(options.faster_dynamic_shapes, "FASTER_DYNAMIC_SHAPES_0805");
    flags.extend(options.aux_streams.map(|count| format!("aux streams {count}")));
    flags.extend(options.workspace_bytes.map(|bytes| format!("workspace {} MiB", bytes >> 20)));
    flags.extend(options.optimization_level.map(|level| format!("optimisation level {level}")));
    flags
}
