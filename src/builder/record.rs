//! The provenance record of an engine: what it was built from, and what a probe of it showed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Error, Probe, probe};
use crate::engine::provenance::{self, EngineIdentity, FORMAT, OnnxIdentity, Provenance, hash};

/// How an engine came to be.
#[derive(Clone, Debug, Default)]
pub struct Origin<'a> {
    /// As in policy.yaml.
    pub precision: &'a str,
    /// Builder flags and settings.
    pub flags: Vec<String>,
    /// How long the build took.
    pub duration: Duration,
    /// Another tool built it.
    pub adopted: bool,
    /// Built on a larger module that emulates this one.
    pub emulated: bool,
}

/// Probes `engine`, hashes it and its network, and writes the record beside it.
///
/// # Errors
/// As [`probe`], and [`Error::Record`].
pub fn record(engine: &Path, onnx: &Path, origin: &Origin<'_>) -> Result<Provenance, Error> {
    let Probe { device, memory, profiles } = probe(engine, origin.emulated)?;
    let network = OnnxIdentity::of(onnx).map_err(|reason| Error::Unclean { engine: engine.to_owned(), reason })?;
    let bytes = std::fs::metadata(engine).map_err(Error::io(engine))?.len();
    let sha256 = hash::file_sha256(engine).map_err(Error::io(engine))?;
    let record = Provenance {
        format: FORMAT,
        device,
        emulated: origin.emulated,
        adopted: origin.adopted,
        onnx: network,
        precision: origin.precision.to_owned(),
        profiles,
        flags: origin.flags.clone(),
        calibration: None,
        engine: EngineIdentity { sha256, bytes },
        built_at: provenance::rfc3339(SystemTime::now()),
        build_s: origin.duration.as_secs_f64(),
        memory,
        verification: None,
    };
    record.write(engine)?;
    Ok(record)
}
