//! Report of an engine: file, record, and with TensorRT its contents.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{FORMAT, Layers};
use vla_engines::Stage;
use vla_engines::provenance;
use vla_engines::provenance::{DeviceIdentity, Difference, Provenance, Reason, hash};

/// An engine.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EngineReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The file.
    pub file: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// File type by its first bytes.
    pub begins_with: String,
    /// The provenance record.
    pub record: Option<Provenance>,
    /// Why there is no record.
    pub record_problem: Option<String>,
    /// Whether it would be loaded on this device.
    pub verdict: Verdict,
    /// TensorRT's description; `None` if it was not loaded.
    pub loaded: Option<Loaded>,
    /// Why it was not loaded.
    pub not_loaded: Option<String>,
}

/// Whether an engine would be loaded on this device, apart from the requirements of policy.yaml.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "is", content = "differences", rename_all = "snake_case")]
pub enum Verdict {
    /// Built on this device from these files.
    Matches,
    /// Its files, L4T and board match; GPU, driver and TensorRT of this machine are unknown.
    FilesMatch,
    /// Differences, each as `property: engine: X, here: Y`.
    Differs(Vec<String>),
    /// It has no record.
    Unknown,
}

/// TensorRT's description of a loaded engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Loaded {
    /// Inputs, with their profiles.
    pub inputs: Vec<LoadedTensor>,
    /// Outputs.
    pub outputs: Vec<LoadedTensor>,
    /// Activation memory of a context for the largest profile, in bytes.
    pub activation_bytes: u64,
    /// Size of the weights on the device, if this version reports it.
    pub weight_bytes: Option<u64>,
    /// Layers.
    pub layers: Layers,
}

/// An input or output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LoadedTensor {
    /// As `name: type [dims]`.
    pub tensor: String,
    /// Ranges as `min..opt..max`, one per profile; outputs have none.
    pub profiles: Vec<String>,
    /// Whether it is in host memory.
    pub on_host: bool,
}

pub(super) fn report(path: &Path, begins_with: String, device: Option<&DeviceIdentity>) -> io::Result<EngineReport> {
    let bytes = std::fs::metadata(path)?.len();
    let sha256 = hash::file_sha256(path)?;
    let (record, record_problem) = match Provenance::read(path) {
        Ok(Some(record)) => (Some(record), None),
        Ok(None) => (None, Some(format!("{} is missing", Provenance::path(path).display()))),
        Err(error) => (None, Some(error.to_string())),
    };
    let verdict = record.as_ref().map_or(Verdict::Unknown, |record| verdict(path, record, device));
    let not_loaded = Some(NOT_LOADED.to_owned());
    Ok(EngineReport {
        format: FORMAT,
        file: path.to_owned(),
        bytes,
        sha256,
        begins_with,
        record,
        record_problem,
        verdict,
        loaded: None,
        not_loaded,
    })
}

#[cfg(feature = "tensorrt")]
const NOT_LOADED: &str = "not asked for";
#[cfg(not(feature = "tensorrt"))]
const NOT_LOADED: &str = "this program was built without the feature 'tensorrt'; tensors, profiles and layers are told by \
                          one that was built with it";

/// Verifies like a load, with the values of the record instead of policy.yaml.
fn verdict(path: &Path, record: &Provenance, device: Option<&DeviceIdentity>) -> Verdict {
    let stage = Stage {
        name: String::new(),
        file: path.to_owned(),
        onnx: network(path, record),
        repeat: false,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: record.precision.clone(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    };
    let result = match device {
        Some(device) => provenance::verify(&stage, device),
        None => provenance::verify_without_gpu(&stage, Path::new("/")),
    };
    match result {
        Ok(_) if device.is_some() => Verdict::Matches,
        Ok(_) => Verdict::FilesMatch,
        Err(rejection) => match rejection.reason {
            Reason::Mismatch(differences) => {
                let line = |Difference { what, built, here }| format!("{what}: engine: {built}, here: {here}");
                Verdict::Differs(differences.into_iter().map(line).collect())
            }
            _ => Verdict::Differs(vec![rejection.to_string()]),
        },
    }
}

/// The network at the build's path, or one of that name beside the engine, because a policy's folder may have moved.
fn network(engine: &Path, record: &Provenance) -> PathBuf {
    let given = &record.onnx.file;
    let folder = engine.parent().unwrap_or(Path::new(""));
    let name = given.file_name().map(PathBuf::from).unwrap_or_default();
    let places = [given.clone(), folder.join(&name), folder.join("..").join(&name)];
    places.iter().find(|place| place.is_file()).unwrap_or(given).clone()
}

/// Loads an engine with this library and describes it. Temporarily needs the engine's memory.
///
/// # Errors
/// TensorRT's error.
#[cfg(feature = "tensorrt")]
pub fn loaded(
    library: &vla_tensorrt::Library,
    log: &vla_tensorrt::Log,
    path: &Path,
) -> Result<Loaded, vla_tensorrt::Error> {
    use vla_base::tensor::display_dims;
    use vla_tensorrt::{Error, Runtime, Tensor};

    let engine = Runtime::new(library, log)?.load(path)?;
    let tell = |tensor: &Tensor| {
        let name = &tensor.spec.name;
        let ranges = (0..engine.profiles()).map(|profile| engine.profile(name, profile));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        Ok(LoadedTensor {
            tensor: format!("{name}: {} {}", tensor.spec.dtype, display_dims(&tensor.spec.dims)),
            profiles: ranges.into_iter().flatten().map(|profile| profile.to_string()).collect(),
            on_host: tensor.on_host,
        })
    };
    let inputs = engine.inputs().iter().map(tell).collect::<Result<Vec<_>, Error>>()?;
    let outputs = engine.outputs().iter().map(tell).collect::<Result<Vec<_>, Error>>()?;
    Ok(Loaded {
        inputs,
        outputs,
        activation_bytes: engine.activation_bytes(),
        weight_bytes: engine.weights_bytes(),
        layers: Layers::parse(&engine.inspect()?).map_err(Error::Internal)?,
    })
}
