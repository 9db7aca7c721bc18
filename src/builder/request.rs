//! What is to be built, checked against the network before any library is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::engine::profile::Profile;
use crate::onnx::Network;
use crate::tensor::Dim;

/// What an engine computes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision throughout.
    Fp32,
    /// Half precision where the builder finds it faster, single precision elsewhere.
    Fp16,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fp32" => Ok(Self::Fp32),
            "fp16" => Ok(Self::Fp16),
            other => Err(format!("expected fp32 or fp16, found '{other}'")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
        })
    }
}

/// Smallest, usual and largest value of a symbolic dimension.
pub type Range = [usize; 3];

/// One engine to be built.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The network.
    pub onnx: PathBuf,
    /// Where the engine goes.
    pub engine: PathBuf,
    /// What it computes in.
    pub precision: Precision,
    /// Values of the network's symbolic dimensions, by name.
    pub profile: BTreeMap<String, Range>,
    /// Tactic timings of earlier builds; read when it is there, written when the build is done.
    pub timing_cache: Option<PathBuf>,
    /// Scratch memory that a tactic may take, in bytes; `None`: the builder's own choice.
    pub workspace: Option<u64>,
    /// How long the builder looks for fast tactics, 0 to 5; `None`: the builder's own choice.
    pub level: Option<u8>,
}

impl Request {
    /// The profile of every input that has a symbolic dimension, by the network's own name.
    ///
    /// # Errors
    /// [`Error::Request`] listing every symbol without a range, every range without a symbol, and every range that is
    /// none; [`Error::Onnx`] when the network cannot be read.
    pub fn profiles(&self) -> Result<BTreeMap<String, Profile>, Error> {
        let network = Network::open(&self.onnx)?;
        let mut problems = Vec::new();
        let mut used = Vec::new();
        let mut profiles = BTreeMap::new();
        for input in &network.inputs {
            let mut profile = Profile::default();
            for dim in &input.dims {
                let [min, opt, max] = match dim {
                    Dim::Fixed(n) => [*n; 3],
                    Dim::Symbol(symbol) => {
                        used.push(symbol.as_str());
                        self.profile.get(symbol).copied().unwrap_or_default()
                    }
                };
                profile.min.push(min);
                profile.opt.push(opt);
                profile.max.push(max);
            }
            if input.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_))) {
                profiles.insert(input.name.clone(), profile);
            }
        }
        used.sort_unstable();
        used.dedup();
        for symbol in used.iter().filter(|symbol| !self.profile.contains_key(**symbol)) {
            problems.push(format!(
                "dimension '{symbol}' has no range: give --profile {symbol}=MIN:OPT:MAX (policy.yaml has it under profile)"
            ));
        }
        for (symbol, [min, opt, max]) in &self.profile {
            if !used.contains(&symbol.as_str()) {
                let known = if used.is_empty() { "none".to_owned() } else { used.join(", ") };
                problems.push(format!("--profile {symbol}: the network's symbolic dimensions are {known}"));
            } else if !(1..=*opt).contains(min) || opt > max {
                problems.push(format!("--profile {symbol}: expected 1 <= MIN <= OPT <= MAX, found {min}:{opt}:{max}"));
            }
        }
        if problems.is_empty() { Ok(profiles) } else { Err(Error::Request { onnx: self.onnx.clone(), problems }) }
    }
}
