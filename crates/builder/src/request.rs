//! A request for one engine, checked against the network before any library is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, Scales, ahead, quantized};
use vla_base::tensor::{Dim, TensorSpec};
use vla_engines::Precision;
use vla_engines::onnx::Network;
use vla_engines::precision::Lacking;
use vla_engines::profile::Profile;
use vla_engines::provenance::{ComputeCapability, DeviceIdentity};

/// Smallest, optimal and largest value of a symbolic dimension.
pub type Range = [usize; 3];

/// Request to build one engine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// The network.
    pub onnx: PathBuf,
    /// The engine file to write.
    pub engine: PathBuf,
    /// Precision of the engine.
    pub precision: Precision,
    /// Values of the network's symbolic dimensions, by name.
    pub profile: BTreeMap<String, Range>,
    /// Largest value of any symbolic dimension: limits the ranges above, and gives dimensions without a range `1:N:N`.
    pub longest: Option<usize>,
    /// Prefix of the network's arrays in a calibration file for several networks; default: the stem of the network's file.
    pub group: Option<String>,
    /// Source of the INT8 scales, unless the network has scales.
    pub scales: Option<Scales>,
    /// Timing cache: read if it exists, written after the build.
    pub timing_cache: Option<PathBuf>,
    /// Limits of the builder.
    pub effort: Effort,
    /// Build ahead of time with TensorRT-RTX for GPUs of these compute capabilities; empty: for this device.
    #[serde(default)]
    pub ahead: Vec<ComputeCapability>,
}

/// Limits of the builder. The default sets none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Effort {
    /// Limit of a tactic's workspace in bytes.
    pub workspace: Option<u64>,
    /// Limit of the device memory while tactics are timed, in bytes.
    pub tactic_memory: Option<u64>,
    /// Optimisation level, 0 to 5: higher levels time more tactics.
    pub level: Option<u8>,
    /// Uses TensorRT's own kernels only: cuBLAS, cuBLASLt and cuDNN are not loaded.
    pub own_kernels: bool,
}

impl Request {
    /// The profile of every input that has a symbolic dimension, by the network's own name.
    ///
    /// # Errors
    /// [`Error::Request`] listing every symbol without a range, every range without a symbol, every invalid range, and missing
    /// INT8 scales; [`Error::Onnx`] when the network cannot be read.
    pub fn profiles(&self) -> Result<BTreeMap<String, Profile>, Error> {
        let network = Network::open(&self.onnx)?;
        let ranges = self.ranges(&network.inputs);
        let mut problems = self.range_problems(&network.inputs, &ranges);
        problems.extend(match self.ahead.is_empty() {
            true => Scales::problems(self, &network),
            false => ahead::problems(self, &network),
        });
        if !problems.is_empty() {
            return Err(Error::Request { onnx: self.onnx.clone(), problems });
        }
        let profile = |input: &TensorSpec| {
            let is_open = input.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
            is_open.then(|| (input.name.clone(), profile_of(input, &ranges)))
        };
        Ok(network.inputs.iter().filter_map(profile).collect())
    }

    /// What `device` lacks to build this. Where it takes element types from the network alone (TensorRT 11, TensorRT-RTX), a
    /// precision names what the network has to hold, and nothing is lacking when it does.
    ///
    /// # Errors
    /// [`Error::Onnx`] when the network cannot be read.
    pub fn lacking(&self, device: &DeviceIdentity) -> Result<Option<Lacking>, Error> {
        match self.precision.lacking(device) {
            Some(Lacking::BuilderPrecision { .. }) if ahead::problems(self, &Network::open(&self.onnx)?).is_empty() => {
                Ok(None)
            }
            lacking => Ok(lacking),
        }
    }

    /// Checks that TensorRT of this version builds a network that quantises itself; others pass.
    ///
    /// # Errors
    /// [`Error::Request`] listing what it does not build; [`Error::Onnx`] when the network cannot be read.
    pub fn check_quantization(&self, tensorrt: &str) -> Result<(), Error> {
        let network = Network::open(&self.onnx)?;
        let problems = quantized::problems(&network, self.precision, tensorrt);
        for warning in quantized::warnings(&network, tensorrt) {
            tracing::warn!("{}: {warning}", self.onnx.display());
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Request { onnx: self.onnx.clone(), problems }) }
    }

    /// The range of every symbol for which one is given or derived.
    pub fn ranges(&self, inputs: &[TensorSpec]) -> BTreeMap<String, Range> {
        let mut ranges = self.profile.clone();
        if let Some(longest) = self.longest {
            for range in ranges.values_mut() {
                *range = range.map(|value| value.min(longest));
            }
            for symbol in symbols(inputs) {
                ranges.entry(symbol.to_owned()).or_insert([1.min(longest), longest, longest]);
            }
        }
        ranges
    }

    fn range_problems(&self, inputs: &[TensorSpec], ranges: &BTreeMap<String, Range>) -> Vec<String> {
        let used = symbols(inputs);
        let missing = used.iter().filter(|symbol| !ranges.contains_key(**symbol)).map(|symbol| {
            format!(
                "dimension '{symbol}' has no range: give --profile {symbol}=MIN:OPT:MAX (policy.yaml has it under \
                 profile), or --max-seq-len N for 1 to N"
            )
        });
        let mut problems: Vec<String> = missing.collect();
        for (symbol, [min, opt, max]) in ranges {
            if !used.contains(&symbol.as_str()) {
                let known = if used.is_empty() { "none".to_owned() } else { used.join(", ") };
                problems.push(format!("--profile {symbol}: the network's symbolic dimensions are {known}"));
            } else if !(1..=*opt).contains(min) || opt > max {
                problems.push(format!("--profile {symbol}: expected 1 <= MIN <= OPT <= MAX, found {min}:{opt}:{max}"));
            }
        }
        problems
    }
}

/// Names of symbolic dimensions, each once, sorted.
fn symbols(inputs: &[TensorSpec]) -> Vec<&str> {
    let dims = inputs.iter().flat_map(|input| &input.dims);
    let mut symbols: Vec<&str> = dims
        .filter_map(|dim| match dim {
            Dim::Symbol(symbol) => Some(symbol.as_str()),
            Dim::Fixed(_) => None,
        })
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

/// The shapes of an input when its symbols take these values; a symbol without a range is 0.
pub(super) fn profile_of(input: &TensorSpec, ranges: &BTreeMap<String, Range>) -> Profile {
    let mut profile = Profile::default();
    for dim in &input.dims {
        let [min, opt, max] = match dim {
            Dim::Fixed(n) => [*n; 3],
            Dim::Symbol(symbol) => ranges.get(symbol).copied().unwrap_or_default(),
        };
        profile.min.push(min);
        profile.opt.push(opt);
        profile.max.push(max);
    }
    profile
}
