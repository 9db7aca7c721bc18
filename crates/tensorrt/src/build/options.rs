//! Options of a build.

use std::collections::BTreeMap;

use vla_engines::profile::Profile;

/// What a layer's requested precision means to the builder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Constraints {
    /// Nothing, unless some layer is held in single precision: then as [`Self::Obey`].
    #[default]
    Ignore,
    /// Applied where possible, with a warning where not.
    Prefer,
    /// Applied, or the build fails.
    Obey,
}

/// Libraries and methods that the builder may take kernels from, beside its own.
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

/// How an engine is built. The default is single precision without TF32, everything else as TensorRT has it, except
/// that no auxiliary streams are used, so that the engine can be captured in one CUDA graph.
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
    /// Types are the network's own and `fp16`, `bf16`, `int8` must be off. A choice on TensorRT 10, the rule on 11.
    pub strongly_typed: bool,
    /// What the precision of single layers means.
    pub constraints: Constraints,
    /// Layers held in single precision, by name; `*` stands for any text. TensorRT 8 and 10.
    pub fp32_layers: Vec<String>,
    /// Tensors inside the network that become outputs too, for comparing them.
    pub outputs: Vec<String>,
    /// Bound on the scratch memory of any layer, in bytes; TensorRT's default is the whole device memory.
    pub workspace_bytes: Option<u64>,
    /// Bound on device memory that may be used to try tactics out, in bytes.
    pub tactic_dram_bytes: Option<u64>,
    /// 0 (fast build) to 5 (fast engine); TensorRT's default is 3.
    pub optimization_level: Option<u8>,
    /// Exactly these sources.
    pub tactic_sources: Option<TacticSources>,
    /// Measurements of an earlier build on this device.
    pub timing_cache: Option<Vec<u8>>,
    /// Optimisation profiles: each names every dynamic input. For a shape input the profile holds its values.
    pub profiles: Vec<BTreeMap<String, Profile>>,
    /// Shapes of calibration batches, for every dynamic input; `None`: the usual ones of the first profile. Not a
    /// profile of the engine.
    pub calibration_shapes: Option<BTreeMap<String, Vec<usize>>>,
    /// Contexts of one engine may use one profile at once. A preview feature of 8.6, the rule later.
    pub share_profiles: bool,
    /// Compile kernels for dynamic shapes rather than one set per shape. On in 8.6 by default, the rule later.
    pub faster_dynamic_shapes: bool,
    /// Streams beside the one that the engine is put on; `None` leaves it to TensorRT.
    pub aux_streams: Option<u32>,
    /// Keeps details of every layer in the plan, for [`crate::Engine::inspect`].
    pub detailed_layers: bool,
    /// The builder logs what memory it uses. TensorRT 10.7 and later; passed over before.
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

/// Whether `name` fits `pattern`, in which `*` stands for any text.
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
