//! Describes a network (ONNX), an engine (a TensorRT plan) or the networks of a policy as a report.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

mod engine;
mod layers;
mod network;
mod operations;
mod products;

#[cfg(feature = "tensorrt")]
pub use engine::loaded;
pub use engine::{EngineReport, Loaded, LoadedTensor, Verdict};
pub use layers::{LayerCount, Layers};
pub use network::{DataFile, NetworkReport, Operator, Parameters};
pub use operations::OperationsReport;
pub use products::{FloatingProduct, PolicyReport, Products, StageProducts};

use vla_engines::onnx;
use vla_engines::onnx::Network;
use vla_engines::operations::ProgramError;
use vla_engines::provenance::{DeviceIdentity, Provenance};
use vla_policy::spec::POLICY_FILE;

/// Version of the JSON form.
pub const FORMAT: u32 = 1;
/// First bytes of a plan of TensorRT 8 and later.
const PLAN: &[u8] = b"ftrt";
/// First bytes of a plan of TensorRT-RTX.
const RTX_PLAN: &[u8] = b"vtrt";
/// File name extensions of engines.
const ENGINE_ENDINGS: &[&str] = &["engine", "plan", "trt"];

/// Why a file cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is named as a network and is not a valid one.
    #[error("{} (it begins with {looks})", source)]
    Network {
        /// What is wrong.
        source: onnx::Error,
        /// File type by its first bytes.
        looks: String,
    },
    /// The file is named as a list of operations and is not a valid one.
    #[error(transparent)]
    Operations(#[from] ProgramError),
    /// The policy, or one of its networks, cannot be read.
    #[error(transparent)]
    Policy(vla_engines::Cause),
    /// The file is neither.
    #[error(
        "{}: neither a network nor an engine: it begins with {looks}; expected an ONNX file, or a TensorRT engine (it \
         begins with 'ftrt' or 'vtrt', or has {} beside it)", path.display(), Provenance::path(path).display()
    )]
    Neither {
        /// The file.
        path: PathBuf,
        /// File type by its first bytes.
        looks: String,
    },
}

/// The report.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// An ONNX file.
    Network(Box<NetworkReport>),
    /// An engine.
    Engine(Box<EngineReport>),
    /// A list of operations (engine kind cuda).
    Operations(Box<OperationsReport>),
    /// The networks of a policy.
    Policy(Box<PolicyReport>),
}

/// Reads a network's description, an engine's file and record, a list of operations, or the networks of a policy's folder. `device` is this device, if known; `dims` are values of
/// symbolic dimensions for the cost of a run.
///
/// # Errors
/// [`Error`].
pub fn inspect(path: &Path, device: Option<&DeviceIdentity>, dims: &[(String, usize)]) -> Result<Report, Error> {
    let fail = |source| Error::Io { path: path.to_owned(), source };
    let mut first = Vec::new();
    if path.join(POLICY_FILE).is_file() {
        return products::policy(path).map(|report| Report::Policy(Box::new(report)));
    }
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        let reason = "neither a file nor the folder of a policy (which has a policy.yaml)";
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    if path.to_string_lossy().ends_with(operations::ENDING) {
        return Ok(Report::Operations(Box::new(operations::report(path)?)));
    }
    File::open(path).map_err(fail)?.take(64).read_to_end(&mut first).map_err(fail)?;
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let is_named_engine = ENGINE_ENDINGS.contains(&ending.as_str());
    let is_plan = first.starts_with(PLAN) || first.starts_with(RTX_PLAN);
    if is_plan || is_named_engine || Provenance::path(path).exists() {
        return engine::report(path, looks(&first), device)
            .map(|report| Report::Engine(Box::new(report)))
            .map_err(fail);
    }
    match Network::open(path) {
        Ok(network) => Ok(Report::Network(Box::new(network::report(&network, dims)))),
        Err(source) if ending == "onnx" => Err(Error::Network { source, looks: looks(&first) }),
        Err(onnx::Error::Io { source, .. }) => Err(fail(source)),
        Err(onnx::Error::Invalid { .. }) => Err(Error::Neither { path: path.to_owned(), looks: looks(&first) }),
    }
}

/// Names the file type by its first bytes.
fn looks(first: &[u8]) -> String {
    const KNOWN: &[(&[u8], &str)] = &[
        (PLAN, "'ftrt', as TensorRT engines do"),
        (RTX_PLAN, "'vtrt', as TensorRT-RTX engines do"),
        (b"PK\x03\x04", "'PK', as zip archives do (.npz, PyTorch's .pt)"),
        (b"\x1f\x8b", "1f 8b, as gzip files do: unpack it"),
        (b"\x28\xb5\x2f\xfd", "28 b5 2f fd, as zstd files do: unpack it"),
        (b"\x7fELF", "7f 'ELF', as programs and libraries do"),
        (b"\x80\x02", "80 02, as Python pickles do (PyTorch's .pt)"),
        (b"\x89HDF", "89 'HDF', as HDF5 files do"),
        (b"version https://git-lfs", "'version https://git-lfs': a pointer in place of the file; run git lfs pull"),
        (b"<!DOCTYPE", "'<!DOCTYPE', as web pages do: a download that went wrong"),
        (b"<html", "'<html', as web pages do: a download that went wrong"),
    ];
    if first.is_empty() {
        return "nothing, it is empty".to_owned();
    }
    if let Some((_, words)) = KNOWN.iter().find(|(start, _)| first.starts_with(start)) {
        return (*words).to_owned();
    }
    if first.get(8) == Some(&b'{') && first.get(4..8) == Some(&[0; 4]) {
        return "a length and '{', as safetensors do".to_owned();
    }
    let start = &first[..first.len().min(16)];
    if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return format!("the text {:?}", String::from_utf8_lossy(start));
    }
    start.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
