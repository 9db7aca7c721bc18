//! Networks that quantise themselves: what this TensorRT does not build of them, and whether a built engine holds the integers.

use vla_engines::Precision;
use vla_engines::memory::mib;
use vla_engines::onnx::Network;
use vla_engines::quantized::{self, Unfit};

/// An engine is judged by its size where at least this much decides: beside weights it holds a few MiB (kernels, descriptions of
/// layers; up to 3 MiB were measured with 8.6.0).
const JUDGED: u64 = 16 << 20;

/// Why `network` is not built by TensorRT of this version in this precision, one line each.
pub(super) fn problems(network: &Network, precision: Precision, tensorrt: &str) -> Vec<String> {
    let unfit = quantized::check(network, tensorrt).into_iter().filter(Unfit::is_refused);
    let mut problems: Vec<String> = unfit.map(|unfit| format!("{unfit}; {}", remedy(&unfit))).collect();
    if network.is_quantized() && !precision.int8 && needs_flag(tensorrt) {
        problems.push(format!(
            "the network has QuantizeLinear and DequantizeLinear nodes, which TensorRT {tensorrt} builds with int8 in the \
             precision alone; expected int8+fp16, found {precision}: set precision in policy.yaml, or give --precision"
        ));
    }
    problems
}

/// What an engine would be larger for than it could be, one line each; nothing that prevents a build.
pub fn warnings(network: &Network, tensorrt: &str) -> Vec<String> {
    let unfit = quantized::check(network, tensorrt).into_iter().filter(|unfit| !unfit.is_refused());
    unfit.map(|unfit| format!("{unfit}; {}", remedy(&unfit))).collect()
}

/// What to do about a network that TensorRT does not build.
pub fn remedy(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::IntegerWeights { .. } | Unfit::HalfScales { .. } | Unfit::Relu { .. } => {
            "write the policy for TensorRT 8: vla-trt quantize POLICY --bag BAG --params FILE --target trt8 -o OUT"
        }
        Unfit::Int4 { .. } => {
            "quantise these products to 8 bits: vla-trt quantize POLICY --bag BAG --params FILE --target trt8 -o OUT"
        }
        Unfit::PartlyQuantized { .. } => {
            "quantise all products of the stage, or leave the stage in FP16: \
             vla-trt quantize POLICY --bag BAG --params FILE --target trt8 -o OUT (docs/quantize.md)"
        }
        Unfit::ZeroPoint { .. } | Unfit::IntegerBias { .. } => {
            "quantise the policy before it was quantised elsewhere: vla-trt quantize POLICY --bag BAG --params FILE -o OUT"
        }
    }
}

/// Whether this TensorRT computes INT8 only with the builder's flag; from 11 on, and in TensorRT-RTX, the network says it all.
fn needs_flag(tensorrt: &str) -> bool {
    tensorrt.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 11)
}

/// Sizes of an engine that does not hold the integers of its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// Expected size in bytes, with the weights as integers.
    pub planned: u64,
    /// Size from which on the engine is refused.
    pub most: u64,
}

/// The sizes, where an engine of `bytes`, built by TensorRT of this version, shows that at least half of the quantised weights
/// are no integers in it. They are expected to take a byte (half of one with 4 bits) and take at least two otherwise; the others
/// take what [`quantized::engine_precision`] says. `None` also where so few weights are quantised that the size does not show it.
pub fn too_large(network: &Network, precision: Precision, tensorrt: &str, bytes: u64) -> Option<TooLarge> {
    let weights = network.product_weights();
    let planned = network.weight_bytes_in(quantized::engine_precision(network, &precision.to_string(), Some(tensorrt)));
    let saved = weights.int8.saturating_add(weights.int4.saturating_mul(3) / 2);
    let most = planned.saturating_add(saved / 2);
    (saved / 2 >= JUDGED && bytes > most).then_some(TooLarge { planned, most })
}

/// The reason of a refusal, for [`super::Error::NotQuantized`].
pub(super) fn sizes(bytes: u64, planned: u64, most: u64) -> String {
    format!("{:.1} MiB, expected about {:.1} and at most {:.1}", mib(bytes), mib(planned), mib(most))
}

#[cfg(test)]
mod tests;
