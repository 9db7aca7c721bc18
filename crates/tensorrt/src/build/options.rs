//! Options of a build.

use std::collections::BTreeMap;

use vla_engines::profile::Profile;
use vla_engines::provenance::ComputeCapability;

/// How strictly the builder applies a layer's requested precision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Constraints {
    /// Not at all; with any [`BuildOptions::fp32_layers`] like [`Self::Obey`].
    #[default]
    Ignore,
    /// Applied where possible, with a warning where not.
    Prefer,
    /// Applied, or the build fails.
    Obey,
}

/// Sources of kernels that the builder may use in addition to its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TacticSources {
    /// cuBLAS (before TensorRT 11).
    pub cublas: bool,
    /// cuBLASLt (before TensorRT 11).
    pub cublas_lt: bool,
    /// cuDNN (before TensorRT 11).
    pub cudnn: bool,
    /// Edge-mask convolutions.
    pub edge_mask: bool,
    /// Convolutions compiled while building.
    pub jit: bool,
}

impl TacticSources {
    pub(super) fn mask(self) -> u32 {
        let bits = [self.cublas, self.cublas_lt, self.cudnn, self.edge_mask, self.jit];
        bits.iter().enumerate().map(|(bit, &on)| u32::from(on) << bit).sum()
    }
}

/// How an engine is built. The default is single precision without TF32 and no auxiliary streams, so that the engine can be
/// captured in one CUDA graph; everything else is TensorRT's default.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Allows half precision. TensorRT 8 and 10.
    pub fp16: bool,
    /// Allows bfloat16. TensorRT 9 and 10.
    pub bf16: bool,
    /// Allows 8-bit integers: with a calibrator, or with Q/DQ nodes in the network. TensorRT 8 and 10.
    pub int8: bool,
    /// Allows TF32 inside single precision.
    pub tf32: bool,
    /// Uses the network's types; `fp16`, `bf16`, `int8` must be off. Optional on TensorRT 10, always on with 11.
    pub strongly_typed: bool,
    /// How strictly the precision of single layers is applied.
    pub constraints: Constraints,
    /// Names of layers to keep in single precision; `*` matches any text. TensorRT 8 and 10.
    pub fp32_layers: Vec<String>,
    /// Inner tensors to add to the outputs, for comparisons.
    pub outputs: Vec<String>,
    /// Limit of any layer's workspace in bytes; TensorRT's default is the whole device memory.
    pub workspace_bytes: Option<u64>,
    /// Limit of device memory for timing tactics, in bytes.
    pub tactic_dram_bytes: Option<u64>,
    /// 0 (fast build) to 5 (fast engine); TensorRT's default is 3.
    pub optimization_level: Option<u8>,
    /// GPUs to build for in place of this machine's; TensorRT-RTX only.
    pub compute_capabilities: Vec<ComputeCapability>,
    /// Sources of tactics; `None`: TensorRT's default.
    pub tactic_sources: Option<TacticSources>,
    /// Timing cache of an earlier build on this device.
    pub timing_cache: Option<Vec<u8>>,
    /// Optimisation profiles: each names every dynamic input. For a shape input the profile holds its values.
    pub profiles: Vec<BTreeMap<String, Profile>>,
    /// Shapes of calibration batches, for every dynamic input; `None`: the optimal ones of the first profile. Not a profile of
    /// the engine.
    pub calibration_shapes: Option<BTreeMap<String, Vec<usize>>>,
    /// Allows several contexts to use one profile at the same time. A preview feature of 8.6, always on later.
    pub share_profiles: bool,
    /// Compiles kernels for dynamic shapes instead of one set per shape. Default in 8.6, always on later.
    pub faster_dynamic_shapes: bool,
    /// Number of auxiliary streams; `None`: TensorRT's default.
    pub aux_streams: Option<u32>,
    /// Stores details of every layer in the plan, for [`crate::Engine::inspect`].
    pub detailed_layers: bool,
    /// Logs the builder's memory use. TensorRT 10.7 and later; ignored before.
    pub monitor_memory: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            fp16: false,
            bf16: false,
            int8: false,
            tf32: false,
            strongly_typed: false,
            constraints: Constraints::Ignore,
            fp32_layers: Vec::new(),
            outputs: Vec::new(),
            workspace_bytes: None,
            tactic_dram_bytes: None,
            optimization_level: None,
            compute_capabilities: Vec::new(),
            tactic_sources: None,
            timing_cache: None,
            profiles: Vec::new(),
            calibration_shapes: None,
            share_profiles: true,
            faster_dynamic_shapes: true,
            aux_streams: Some(0),
            detailed_layers: false,
            monitor_memory: false,
        }
    }
}

/// Whether `name` matches `pattern`, in which `*` matches any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_layer_pattern_stands_for_any_text() {
        for (pattern, name, fitting) in [
            ("/norm", "/norm", true),
            ("/norm", "/norm1", false),
            ("*norm*", "/block.3/norm1/Mul", true),
            ("/block.*/norm*", "/block.3/norm1/Mul", true),
            ("/block.*/norm", "/block.3/norm1", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "", true),
            ("", "x", false),
            ("*b*b", "ab", false),
        ] {
            assert_eq!(fits(pattern, name), fitting, "{pattern} {name}");
        }
    }

    #[test]
    fn tactic_sources_become_the_shims_bits() {
        let all = TacticSources { cublas: true, cublas_lt: true, cudnn: true, edge_mask: true, jit: true };
        assert_eq!((all.mask(), TacticSources::default().mask()), (31, 0));
        assert_eq!(TacticSources { edge_mask: true, ..Default::default() }.mask(), 8);
    }
}
