//! Whether a version of TensorRT builds a quantised network into what the network says.
//!
//! Rules for TensorRT 8 were measured with 8.6.0, those for zero points and biases with TensorRT-RTX 1.7.

use crate::onnx::{Network, Product, ProductWeights};

/// Names in a message at most; the rest is counted.
const NAMED: usize = 3;
/// Share of weights that may stay floating in a quantised stage on TensorRT 8 without a word: they take four bytes there.
const FEW: f64 = 0.01;
/// With fewer weights quantised, an engine of TensorRT 8 is larger than the one in FP16: 1 byte for those and 4 for the others,
/// against 2 for all.
const LEAST_SHARE: f64 = 2.0 / 3.0;

/// Why TensorRT does not build a network, or not into what it says.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Unfit {
    /// TensorRT 8 ends with an assertion on weights that are 8-bit in the file.
    #[error(
        "the weights of {} are 8-bit integers in the file, which TensorRT {tensorrt} does not build (an assertion in its builder); \
         expected floating weights behind QuantizeLinear and DequantizeLinear",
        list(products)
    )]
    IntegerWeights {
        /// Version of TensorRT.
        tensorrt: String,
        /// Names of the products.
        products: Vec<String>,
    },
    /// TensorRT 8 reads scales in single precision alone.
    #[error(
        "the scales of {} are in half precision; TensorRT {tensorrt} reads scales in single precision alone",
        list(nodes)
    )]
    HalfScales {
        /// Version of TensorRT.
        tensorrt: String,
        /// Names of the QuantizeLinear and DequantizeLinear nodes.
        nodes: Vec<String>,
    },
    /// 4-bit weights are newer than TensorRT 8.
    #[error(
        "the weights of {} have 4 bits, and TensorRT {tensorrt} has no 4-bit weights; expected TensorRT 10 or newer, or \
         TensorRT-RTX",
        list(products)
    )]
    Int4 {
        /// Version of TensorRT.
        tensorrt: String,
        /// Names of the products.
        products: Vec<String>,
    },
    /// TensorRT 8 leaves out a Relu behind an INT8 product of few rows.
    #[error(
        "Relu {} reads an INT8 product: TensorRT 8.6.0 computes such a product without the Relu when it has few rows, and says \
         nothing; expected Max with 0 in place of Relu",
        list(nodes)
    )]
    Relu {
        /// Names of the Relu nodes.
        nodes: Vec<String>,
    },
    /// TensorRT 8 keeps the other products of a quantised network in single precision.
    #[error(
        "{:.0} % of the weights of products are quantised; TensorRT {tensorrt} keeps the others ({}) in single precision, \
         whatever the precision is (measured with 8.6.0){}",
        100.0 * share, list(floating),
        if *share <= LEAST_SHARE { ", so that the engine is larger than one in FP16" } else { "" }
    )]
    PartlyQuantized {
        /// Version of TensorRT.
        tensorrt: String,
        /// Share of the weights' elements that is quantised, 0 to 1.
        share: f64,
        /// Names of the products that are not.
        floating: Vec<String>,
    },
    /// TensorRT quantises around zero, to signed integers.
    #[error(
        "the zero points of {} are not 0, or of an unsigned type; TensorRT takes signed integers and zero points of 0 alone",
        list(nodes)
    )]
    ZeroPoint {
        /// Names of the QuantizeLinear and DequantizeLinear nodes.
        nodes: Vec<String>,
    },
    /// TensorRT dequantises no 32-bit integers.
    #[error("{} dequantise 32-bit integers (biases); TensorRT takes biases in floating point alone", list(nodes))]
    IntegerBias {
        /// Names of the DequantizeLinear nodes.
        nodes: Vec<String>,
    },
}

impl Unfit {
    /// Whether no engine is built. Otherwise the engine is right, and larger than it could be.
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::PartlyQuantized { share, .. } if *share > LEAST_SHARE)
    }

    /// Whether the same quantisation in the form for TensorRT 8 has this problem no more.
    pub const fn is_form(&self) -> bool {
        matches!(self, Self::IntegerWeights { .. } | Self::HalfScales { .. } | Self::Relu { .. })
    }
}

/// Everything about a quantised network that TensorRT of this version does not build; `tensorrt` as in an engine's record, such as
/// `8.6.1` or `RTX 1.7.1`. Nothing for a network that is not quantised.
pub fn check(network: &Network, tensorrt: &str) -> Vec<Unfit> {
    if !network.is_quantized() {
        return Vec::new();
    }
    let mut found = of_every_version(network);
    if is_before_10(tensorrt) {
        found.extend(of_tensorrt_8(&network.products(), &network.half_scales(), tensorrt));
    }
    found
}

/// The precision, for [`Network::weight_bytes_in`], in which an engine holds the weights that a network leaves floating: before
/// TensorRT 10, FP32 for a quantised network, whatever `precision` is; otherwise, and where the version is not known, `precision`.
pub fn engine_precision<'p>(network: &Network, precision: &'p str, tensorrt: Option<&str>) -> &'p str {
    if network.is_quantized() && tensorrt.is_some_and(is_before_10) { "fp32" } else { precision }
}

/// Whether it is TensorRT itself, before 10.
fn is_before_10(tensorrt: &str) -> bool {
    let major = tensorrt.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < 10)
}

fn of_every_version(network: &Network) -> Vec<Unfit> {
    let (zero_points, biases) = (network.foreign_zero_points(), network.integer_biases());
    let mut found = Vec::new();
    if !zero_points.is_empty() {
        found.push(Unfit::ZeroPoint { nodes: zero_points });
    }
    if !biases.is_empty() {
        found.push(Unfit::IntegerBias { nodes: biases });
    }
    found
}

fn of_tensorrt_8(products: &[Product], half_scales: &[String], tensorrt: &str) -> Vec<Unfit> {
    let tensorrt = tensorrt.to_owned();
    let named = |wanted: &dyn Fn(&Product) -> bool| -> Vec<String> {
        products.iter().filter(|product| wanted(product)).map(|product| product.node.clone()).collect()
    };
    let mut found = Vec::new();
    let int4 = named(&|product| product.bits == Some(4));
    if !int4.is_empty() {
        found.push(Unfit::Int4 { tensorrt: tensorrt.clone(), products: int4 });
    }
    let integers = named(&|product| product.bits == Some(8) && !product.floating_on_disk);
    if !integers.is_empty() {
        found.push(Unfit::IntegerWeights { tensorrt: tensorrt.clone(), products: integers });
    }
    if !half_scales.is_empty() {
        found.push(Unfit::HalfScales { tensorrt: tensorrt.clone(), nodes: half_scales.to_vec() });
    }
    let relus: Vec<String> =
        products.iter().filter(|product| product.is_int8()).filter_map(|product| product.relu.clone()).collect();
    if !relus.is_empty() {
        found.push(Unfit::Relu { nodes: relus });
    }
    let share = ProductWeights::of(products).quantized_share();
    if share < 1.0 - FEW && !products.is_empty() {
        let floating = named(&|product| product.bits.is_none());
        found.push(Unfit::PartlyQuantized { tensorrt, share, floating });
    }
    found
}

/// The first names, and how many more there are.
fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| format!("'{name}'")).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
