//! Writes a network anew with the products of a recipe in 8 or 4 bits.
//!
//! What the recipe does not name keeps its bytes, with fields that our schema does not know. One weight at a time is in memory.
//!
//! The form of a quantised product `y = x W + b`:
//!
//! | | [`Target::Trt10`] | [`Target::Trt8`] |
//! |---|---|---|
//! | `x` | QuantizeLinear, DequantizeLinear, once for all products that read it | the same, in single precision |
//! | `W` | `[input, output channels]` 8-bit integers, DequantizeLinear | their real values in single precision, QuantizeLinear, DequantizeLinear |
//! | product | MatMul, then Add of `b` | the same; in half-precision networks MatMul in single precision between Casts |
//! | Relu | as it was | `Max(x, 0)` |
//!
//! Scales have the network's type, rounded up, for both targets, and so the same integers. A network in single precision is the same
//! program for both. In half precision they differ by roundings: for `Trt10` the dequantised values and the product's result are
//! rounded to half precision each, for `Trt8` the product's result alone.

use std::path::{Path, PathBuf};

use vla_base::sys::fs::Outputs;
use vla_base::sys::map;
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::GraphProto;

use crate::Error;
use crate::recipe::{Recipe, Target};

mod check;
mod draft;
mod file;
mod names;
mod opset;
mod plan;
mod store;
mod wire;

pub use check::int4_problem;

/// A network that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The model.
    pub model: PathBuf,
    /// Its weights, when any left the model's file.
    pub data: Option<PathBuf>,
    /// Bytes of both.
    pub bytes: u64,
    /// Operator set.
    pub opset: i64,
}

/// Writes the network at `network` with the products of `recipe` quantised to `out` and `out.data`, which are replaced.
/// The same network and recipe give the same bytes.
///
/// # Errors
/// [`Error`]: the recipe does not fit the network; a weight is not finite; the network has scales already, an operator set before
/// 13, or an operator that has no form in the set that is needed; files.
pub fn rewrite(network: &Path, recipe: &Recipe, target: Target, out: &Path) -> Result<Written, Error> {
    let model = map::map(network).map_err(Error::io(network))?;
    let read = Network::decode(network, model.clone())?;
    let data = store::data_file(out);
    let inputs = [network.to_owned()].into_iter().chain(read.data_files.iter().cloned());
    Outputs::default()
        .file("the new network", out)
        .file("its weights", data.as_path())
        .reading("the network", inputs)
        .check()?;
    supported(&read)?;
    let parts = file::Parts::of(&read, &model)?;
    let products = crate::product::products(&read);
    let plan = plan::plan(&read, &products, &parts.nodes, recipe, target)?;
    file::write(&read, parts, plan, out)
}

/// Refuses what cannot be kept.
fn supported(network: &Network) -> Result<(), Error> {
    if let Some(problem) = network.data_problems().into_iter().next() {
        return Err(problem.into());
    }
    let unsupported = |reason: String| Err(Error::Unsupported { path: network.path.clone(), reason });
    if network.is_quantized() {
        return unsupported(
            "expected a network in floating point, found QuantizeLinear and DequantizeLinear; quantise the network that it was \
             made from"
                .to_owned(),
        );
    }
    match outside(network.graph()) {
        Some(node) => unsupported(format!(
            "the node '{node}' has a constant in a file beside the model; export the network with constants inside of it"
        )),
        None => Ok(()),
    }
}

/// A node with a constant, or a graph with a weight, outside of the model's file.
fn outside(graph: &GraphProto) -> Option<String> {
    graph.node.iter().find_map(|node| {
        node.attribute.iter().find_map(|attribute| {
            let tensor = attribute.t.iter().any(|tensor| tensor.data_location() == 1);
            let inner = attribute.g.as_ref().and_then(|graph| {
                let weight = graph.initializer.iter().any(|tensor| tensor.data_location() == 1);
                if weight { Some(node.name().to_owned()) } else { outside(graph) }
            });
            if tensor { Some(node.name().to_owned()) } else { inner }
        })
    })
}
