//! One build with TensorRT-RTX for GPUs that need not be here. Runs in a separate process, as every build.

use std::fs;
use std::io::BufWriter;
use std::time::Instant;

use super::{Built, Error, LogFigures, Request, TooLarge, refused, settings, too_large};
use vla_base::sys::fs::Replacement;
use vla_engines::memory::MemoryUse;
use vla_engines::onnx::Network;
use vla_engines::provenance::BuildSettings;
use vla_tensorrt::{BuildOptions, BuildProgress, Family, Library, Log};

/// Builds the engine of `request` for its compute capabilities; the file appears only when it is complete. Opens no driver.
///
/// # Errors
/// [`Error::Request`] before any library is opened; [`Error::Engine`] without TensorRT-RTX; [`Error::Builder`] with the builder's
/// error.
pub(super) fn build(
    request: &Request,
    progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send),
) -> Result<Built, Error> {
    let started = Instant::now();
    let profiles = request.profiles()?;
    let library = Library::open_family(Family::Rtx, None).map_err(vla_engines::Error::from)?;
    let options = BuildOptions {
        strongly_typed: true,
        workspace_bytes: request.effort.workspace,
        optimization_level: request.effort.level,
        compute_capabilities: request.ahead.clone(),
        profiles: if profiles.is_empty() { Vec::new() } else { vec![profiles] },
        ..BuildOptions::default()
    };
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
    let built = vla_tensorrt::build(&library, &log, &request.onnx, &options, &mut out, &mut watched);
    let built = built.map_err(|error| refused(request, &error))?;
    let network = Network::open(&request.onnx)?;
    if let Some(TooLarge { planned, most }) =
        too_large(&network, request.precision, &library.record_name(), built.bytes)
    {
        return Err(Error::NotQuantized { onnx: request.onnx.clone(), bytes: built.bytes, planned, most });
    }
    let file = out.into_inner().map_err(|error| Error::io(&request.engine)(error.into_error()))?;
    file.commit()?;
    Ok(Built {
        bytes: built.bytes,
        duration: started.elapsed(),
        layers: built.layers,
        // Switches of TensorRT 8.6.
        flags: BuildSettings { share_profiles: false, faster_dynamic_shapes: false, ..settings(&options) },
        timing_cache_used: false,
        calibrated: None,
        unscaled: figures.unscaled,
        peak_resident: MemoryUse::now().peak_resident,
        peak_anonymous: 0,
        peak_device: None,
    })
}
