//! Sources of INT8 scales: recorded inputs, or the cache of an earlier calibration of the same network.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Request;
use crate::calibration::Calibration;
use vla_engines::onnx::Network;
use vla_engines::provenance::hash;

/// The format of [`CacheKey`].
const FORMAT: u32 = 1;
/// Maximum size of a cache, which has one line per tensor.
const LARGEST: u64 = 64 << 20;

/// Recorded inputs and the calibration cache.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scales {
    /// Inputs of the network, as `vla-trt calibrate` writes them.
    pub data: Option<PathBuf>,
    /// TensorRT's calibration cache: used if it matches network, version and data, otherwise written.
    pub cache: PathBuf,
}

/// Identifies the network, version and data of a calibration cache; stored as `<cache>.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheKey {
    /// Version of this format: 1.
    pub format: u32,
    /// [`vla_engines::provenance::OnnxIdentity::sha256`] of the network.
    pub onnx: String,
    /// TensorRT's version.
    pub tensorrt: String,
    /// SHA-256 of the recorded inputs.
    pub data: Option<String>,
    /// SHA-256 of the cache itself.
    pub cache: String,
}

/// A cache with its key; a cache written by another tool has no key.
type Held = (Vec<u8>, Option<CacheKey>);

/// Whether a cache is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The cache is used without a calibration.
    Use(Vec<u8>),
    /// The network is calibrated on the recorded inputs, and the cache is written.
    Calibrate {
        /// Why an existing cache is not used.
        stale: Option<String>,
    },
}

impl Scales {
    /// Default path of an engine's cache.
    pub fn beside(engine: &Path) -> PathBuf {
        with_suffix(engine, "calibration")
    }

    /// Problems of the scales: missing, or not needed.
    pub(super) fn problems(request: &Request, network: &Network) -> Vec<String> {
        let own = network.is_quantized();
        let Some(scales) = &request.scales else {
            return if request.precision.int8 && !own { vec![missing(network)] } else { Vec::new() };
        };
        if !request.precision.int8 {
            return vec![format!(
                "--calib-data and --calib-cache are for int8, and the precision is {}: leave them out, or ask for int8+fp16",
                request.precision
            )];
        }
        if own {
            let words = "the network has QuantizeLinear and DequantizeLinear nodes, whose scales are used: leave \
                         --calib-data and --calib-cache out";
            return vec![words.to_owned()];
        }
        match &scales.data {
            Some(data) => match Calibration::open(data, &network.inputs, group(request).as_deref()) {
                Ok(_) => Vec::new(),
                Err(error) => vec![error.to_string()],
            },
            None if scales.cache.is_file() => Vec::new(),
            None => {
                vec![format!("--calib-cache {}: there is no such file; {}", scales.cache.display(), missing(network))]
            }
        }
    }

    /// Decides whether the cache is used or written, for a network with this hash on this TensorRT version.
    ///
    /// # Errors
    /// A message, if the cache cannot be used and no recorded inputs are given.
    pub fn decide(&self, network: &Network, onnx_sha256: &str, tensorrt: &str) -> Result<Decision, String> {
        let stale = match self.read() {
            Ok(None) => None,
            Ok(Some((cache, key))) => match self.differs(&cache, key.as_ref(), network, onnx_sha256, tensorrt) {
                None => return Ok(Decision::Use(cache)),
                difference => difference,
            },
            Err(problem) => Some(problem),
        };
        if self.data.is_some() {
            return Ok(Decision::Calibrate { stale });
        }
        let stale = stale.unwrap_or_else(|| "there is no such file".to_owned());
        Err(format!(
            "calibration cache {}: {stale}; give --calib-data to calibrate anew (vla-trt calibrate records it)",
            self.cache.display()
        ))
    }

    fn read(&self) -> Result<Option<Held>, String> {
        match fs::metadata(&self.cache) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
            Ok(meta) if meta.len() > LARGEST => return Err(format!("{} bytes, more than any cache has", meta.len())),
            Ok(_) => {}
        }
        let cache = fs::read(&self.cache).map_err(|error| error.to_string())?;
        let key = match fs::read(CacheKey::path(&self.cache)) {
            Ok(text) => Some(serde_json::from_slice(&text).map_err(|error| format!("its key is damaged: {error}"))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("its key cannot be read: {error}")),
        };
        Ok(Some((cache, key)))
    }

    /// Why the cache cannot be used; `None` if it can.
    fn differs(
        &self,
        cache: &[u8],
        key: Option<&CacheKey>,
        network: &Network,
        onnx_sha256: &str,
        tensorrt: &str,
    ) -> Option<String> {
        let text = String::from_utf8_lossy(cache);
        let made_by = version_of(&text);
        if made_by.as_deref() != Some(tensorrt) {
            let by = made_by.map_or("it is no calibration cache of TensorRT".to_owned(), |version| {
                format!("TensorRT {version} made it, here is {tensorrt}")
            });
            return Some(by);
        }
        let Some(key) = key else {
            // A cache of another tool has no key: its tensor names are compared with the network's.
            return foreign_tensor(&text, network);
        };
        let sha256 = |data: &PathBuf| hash::file_sha256(data).unwrap_or_default();
        let expected = [
            ("its key has a format of another version", key.format == FORMAT),
            ("it is of another network, or of this one before it was exported again", key.onnx == onnx_sha256),
            ("its key is of another TensorRT", key.tensorrt == tensorrt),
            ("it was changed since it was written", key.cache == hash::sha256(cache)),
        ];
        let same_data = || self.data.as_ref().is_none_or(|data| key.data.as_deref() == Some(sha256(data).as_str()));
        let broken = expected.into_iter().find(|(_, holds)| !holds).map(|(words, _)| words.to_owned());
        broken.or_else(|| (!same_data()).then(|| "it is of other recorded inputs".to_owned()))
    }

    /// Writes the cache and its key.
    ///
    /// # Errors
    /// A message that names the file.
    pub fn store(&self, cache: &[u8], onnx_sha256: &str, tensorrt: &str) -> Result<(), String> {
        let fail = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let data = self.data.as_ref().map(|data| hash::file_sha256(data).map_err(|error| fail(data, &error)));
        let key = CacheKey {
            format: FORMAT,
            onnx: onnx_sha256.to_owned(),
            tensorrt: tensorrt.to_owned(),
            data: data.transpose()?,
            cache: hash::sha256(cache),
        };
        let path = CacheKey::path(&self.cache);
        let text = serde_json::to_vec_pretty(&key).map_err(|error| fail(&path, &error))?;
        super::replace(&self.cache, cache).map_err(|error| error.to_string())?;
        super::replace(&path, &text).map_err(|error| error.to_string())
    }
}

impl CacheKey {
    fn path(cache: &Path) -> PathBuf {
        with_suffix(cache, "json")
    }
}

/// Prefix of the network's arrays in a file for several networks.
pub(super) fn group(request: &Request) -> Option<String> {
    let stem = || request.onnx.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    request.group.clone().or_else(stem)
}

fn missing(network: &Network) -> String {
    let names: Vec<&str> = network.inputs.iter().map(|input| input.name.as_str()).collect();
    format!(
        "int8 needs scales: give --calib-data FILE.npz with its inputs ({}; vla-trt calibrate records them from a bag), or \
         --calib-cache of an earlier build",
        names.join(", ")
    )
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The version in a cache's first line: `TRT-8600-EntropyCalibration2` is 8.6.0, `TRT-100300-...` is 10.3.0.
fn version_of(cache: &str) -> Option<String> {
    let packed: u32 = cache.lines().next()?.strip_prefix("TRT-")?.split('-').next()?.parse().ok()?;
    Some(if packed < 10_000 {
        format!("{}.{}.{}", packed / 1000, packed / 100 % 10, packed % 100)
    } else {
        format!("{}.{}.{}", packed / 10_000, packed / 100 % 100, packed % 100)
    })
}

/// A tensor of the cache that is not in the network. Lines are `name: 3c010a14`. A name may contain colons; names in brackets
/// are tensors that TensorRT itself added.
fn foreign_tensor(cache: &str, network: &Network) -> Option<String> {
    let known = network.tensor_names();
    let mut names = cache.lines().skip(1).filter_map(|line| line.rsplit_once(':')).map(|(name, _)| name.trim());
    let own = |name: &str| name.contains('(') || known.contains(name);
    names.find(|name| !own(name)).map(|name| format!("it is of another network: this one has no tensor '{name}'"))
}

#[cfg(test)]
mod tests;
