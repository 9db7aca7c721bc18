//! The provenance record of an engine: device, network and settings of its build. An engine that does not match is rejected
//! before it is deserialized.
//!
//! A TensorRT engine is tied to the GPU model (SM version and SM count), to the versions of TensorRT and of CUDA or L4T, and
//! to its network. An engine of another device may load with a warning and fail at its first inference. So every engine has
//! a record `<engine>.provenance.json` beside it, written when it is built or registered.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::profile::Profile;

mod check;
mod device;
pub mod figures;
pub mod hash;
mod operations;
mod portable;
mod rejection;
mod release;
mod settings;
mod time;
mod verification;

pub use check::{OTHER_MODEL, ProvenanceStatus, check, check_accuracy, other_model, verify, verify_without_gpu};
pub use device::{CUBLASLT, DeviceIdentity, board, driver, l4t};
pub use hash::{FileMark, OnnxIdentity, network_files};
pub use operations::{
    OperationsFault, check_operations, eight_bit_weights, operations, record_of_operations, verdict_on_operations,
};
pub use portable::{ComputeCapability, Portable, RTX};
pub use rejection::{Difference, Reason, Rejection};
pub use release::{Release, kernel};
pub use settings::BuildSettings;
pub use time::rfc3339;
pub use verification::{Figures, TensorFigures, Verification};

/// Version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;
/// Maximum size of a record; usual ones have a few kilobytes.
const LARGEST: u64 = 1 << 20;
/// Largest plausible host memory of a runtime as a multiple of the engine's size.
const LARGEST_FACTOR: f64 = 16.0;

/// A record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file cannot be created or renamed.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// The file is not a provenance record.
    #[error("{}: not a provenance record: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The format's version is unknown to this program.
    #[error("{}: provenance format {found}, this build reads format {FORMAT}; build the engine again with this version, or use the version that built it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// The record is inconsistent.
    #[error("{}: not a usable provenance record: {}", path.display(), problems.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// One text per problem.
        problems: Vec<String>,
    },
}

/// The record of one engine. Keys that this version does not know are ignored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// [`FORMAT`].
    pub format: u32,
    /// The device on which it was built.
    pub device: DeviceIdentity,
    /// Built ahead of time, without the GPU that runs it: where it runs. The device above then names the library only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portable: Option<Portable>,
    /// Built on a larger module that emulated the device above (flashed or set so by nvpmodel).
    #[serde(default)]
    pub emulated: bool,
    /// Written for an engine that another tool built.
    #[serde(default)]
    pub adopted: bool,
    /// The network.
    pub onnx: OnnxIdentity,
    /// Precision in the notation of `policy.yaml`, e.g. `fp16` or `int8+fp16`.
    pub precision: String,
    /// Optimisation profile of each input, by the network's input name.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
    /// Settings of the builder.
    #[serde(default)]
    pub flags: BuildSettings,
    /// Source of the INT8 scales.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// The engine itself.
    pub engine: EngineIdentity,
    /// When the build ended, RFC 3339 in UTC.
    pub built_at: String,
    /// Duration of the build in seconds.
    #[serde(default)]
    pub build_s: f64,
    /// Memory of the engine.
    #[serde(default)]
    pub memory: Memory,
    /// Verdict of its accuracy gate, with the figures.
    #[serde(default)]
    pub verification: Option<Verification>,
}

/// A calibration cache.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// File name if it is beside the engine, otherwise the given path.
    pub file: PathBuf,
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// The recorded inputs of the calibration, if known.
    #[serde(default)]
    pub data: Option<PathBuf>,
}

/// The engine file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EngineIdentity {
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Memory of an engine, as far as known or measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Host memory that the runtime keeps after deserializing, as a multiple of the engine's size.
    pub kept_factor: Option<f64>,
    /// Whether that copy can be released, and the memory that stays allocated then; `None`: not tested.
    pub release: Option<Release>,
    /// Activation memory that the runtime requests.
    pub activation_bytes: Option<u64>,
    /// Weights on the device.
    pub weight_bytes: Option<u64>,
    /// Peak increase of anonymous memory during the load.
    pub load_peak_bytes: Option<u64>,
    /// Peak anonymous memory of the build process.
    pub build_peak_bytes: Option<u64>,
}

impl Provenance {
    /// The record's file beside an engine: `<engine>.provenance.json`.
    pub fn path(engine: &Path) -> PathBuf {
        let mut name = engine.as_os_str().to_owned();
        name.push(".provenance.json");
        name.into()
    }

    /// Reads the record of `engine`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error`] if the file exists and is not a valid record.
    pub fn read(engine: &Path) -> Result<Option<Self>, Error> {
        let path = Self::path(engine);
        let fail = |source| Error::Io { path: path.clone(), source };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
            Ok(meta) if meta.len() > LARGEST => {
                let reason = format!("{} bytes; a record has a few thousand", meta.len());
                return Err(Error::Json { path, reason });
            }
            Ok(_) => {}
        }
        Self::parse(&path, &fs::read(&path).map_err(fail)?).map(Some)
    }

    /// Parses a record; `path` is for the errors.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Format`], and [`Error::Invalid`] with every problem.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        let fail = |error: serde_json::Error| Error::Json { path: path.to_owned(), reason: error.to_string() };
        let Head { format } = serde_json::from_slice(text).map_err(fail)?;
        if format != u64::from(FORMAT) {
            return Err(Error::Format { path: path.to_owned(), found: format });
        }
        let record: Self = serde_json::from_slice(text).map_err(fail)?;
        let problems = record.problems();
        if problems.is_empty() { Ok(record) } else { Err(Error::Invalid { path: path.to_owned(), problems }) }
    }

    /// Writes the record of `engine` atomically.
    ///
    /// # Errors
    /// [`Error::Output`]; [`Error::Invalid`] for a record that could not be read back.
    pub fn write(&self, engine: &Path) -> Result<(), Error> {
        let path = Self::path(engine);
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(Error::Invalid { path, problems });
        }
        let fail = |source| Error::Io { path: path.clone(), source };
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::from).map_err(fail)?;
        text.push(b'\n');
        Ok(vla_base::sys::fs::replace(&path, &text)?)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut hex = |what: &str, value: &str| {
            if !hash::is_hex_sha256(value) {
                problems.push(format!("{what}: expected 64 lower-case hex digits, found '{value:.80}'"));
            }
        };
        hex("onnx.sha256", &self.onnx.sha256);
        hex("engine.sha256", &self.engine.sha256);
        if let Some(calibration) = &self.calibration {
            hex("calibration.sha256", &calibration.sha256);
        }
        if let Some(verification) = &self.verification {
            hex("verification.bag_sha256", &verification.bag_sha256);
        }
        if let Some(factor) = self.memory.kept_factor.filter(|f| !(0.0..=LARGEST_FACTOR).contains(f)) {
            problems.push(format!("memory.kept_factor: expected 0 to {LARGEST_FACTOR}, found {factor}"));
        }
        let released = self.memory.release.as_ref().and_then(|release| release.kept_factor);
        if let Some(factor) = released.filter(|f| !(0.0..=LARGEST_FACTOR).contains(f)) {
            problems.push(format!("memory.release.kept_factor: expected 0 to {LARGEST_FACTOR}, found {factor}"));
        }
        if !(self.build_s.is_finite() && self.build_s >= 0.0) {
            problems.push(format!("build_s: expected seconds of 0 or more, found {}", self.build_s));
        }
        for (tensor, profile) in self.profiles.iter().filter(|(_, profile)| !profile.is_sound()) {
            problems.push(format!("profiles.{tensor}: expected min <= opt <= max of one rank, found {profile}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests;
