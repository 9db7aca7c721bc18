//! Writes the provenance record of an engine: the sources of its build, and the measurements of [`crate::probe`].

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Error, Probe, Scales};
use vla_engines::provenance;
use vla_engines::provenance::{
    BuildSettings, Calibration, EngineIdentity, FORMAT, OnnxIdentity, Portable, Provenance, hash,
};

/// Sources and settings of an engine's build.
#[derive(Clone, Debug, Default)]
pub struct Origin<'a> {
    /// Precision in the notation of `policy.yaml`, e.g. `int8+fp16`.
    pub precision: &'a str,
    /// Settings of the builder.
    pub flags: BuildSettings,
    /// Source of the INT8 scales: the cache and, if known, the recorded inputs.
    pub scales: Option<&'a Scales>,
    /// Peak anonymous memory of the build process in bytes; 0 if unknown.
    pub peak_anonymous: u64,
    /// Duration of the build.
    pub duration: Duration,
    /// Built ahead of time: where it runs.
    pub portable: Option<Portable>,
    /// Built by another tool.
    pub adopted: bool,
    /// Built on a larger module that emulates this one.
    pub emulated: bool,
}

/// Hashes `engine` and its network, and writes the record with the hashes and the probe's measurements beside the engine.
///
/// # Errors
/// [`Error::Unclean`] for a network that cannot be hashed, [`Error::Record`].
pub fn record(engine: &Path, onnx: &Path, origin: &Origin<'_>, probe: Probe) -> Result<Provenance, Error> {
    let Probe { device, mut memory, profiles } = probe;
    memory.build_peak_bytes = (origin.peak_anonymous > 0).then_some(origin.peak_anonymous);
    let network =
        OnnxIdentity::of(onnx).map_err(|reason| Error::Unclean { engine: engine.to_owned(), source: reason.into() })?;
    let bytes = std::fs::metadata(engine).map_err(Error::io(engine))?.len();
    let sha256 = hash::file_sha256(engine).map_err(Error::io(engine))?;
    let record = Provenance {
        format: FORMAT,
        device,
        portable: origin.portable.clone(),
        emulated: origin.emulated,
        adopted: origin.adopted,
        onnx: network,
        precision: origin.precision.to_owned(),
        profiles,
        flags: origin.flags.clone(),
        calibration: origin.scales.map(|scales| calibration(engine, scales)).transpose()?,
        engine: EngineIdentity { sha256, bytes },
        built_at: provenance::rfc3339(SystemTime::now()),
        build_s: origin.duration.as_secs_f64(),
        memory,
        verification: None,
    };
    record.write(engine)?;
    Ok(record)
}

/// The cache's path in the record: for a file beside the engine the file name only, so that the folder can be moved.
fn calibration(engine: &Path, scales: &Scales) -> Result<Calibration, Error> {
    let sha256 = hash::file_sha256(&scales.cache).map_err(Error::io(&scales.cache))?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io(path));
    let beside = scales.cache.file_name().filter(|_| scales.cache.parent() == engine.parent());
    let file = match beside {
        Some(name) => name.into(),
        None => absolute(&scales.cache)?,
    };
    let data = scales.data.as_deref().map(absolute).transpose()?;
    Ok(Calibration { file, sha256, data })
}
