//! Report of a network, from its file only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::{FORMAT, Products};
use vla_base::tensor::{Dim, TensorSpec, display_dims};
use vla_engines::onnx::{FP32_SCOPE, Network, proto};

/// A network.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NetworkReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The file.
    pub file: PathBuf,
    /// Size of the file in bytes, without external data.
    pub bytes: u64,
    /// Tool that wrote the file.
    pub producer: String,
    /// Operator sets as `domain version`; `ai.onnx` has the standard operators.
    pub opsets: Vec<String>,
    /// Inputs as `name: type [dims]`.
    pub inputs: Vec<String>,
    /// Outputs, likewise.
    pub outputs: Vec<String>,
    /// Names of the inputs' symbolic dimensions.
    pub symbols: Vec<String>,
    /// Weights and constants by element type.
    pub parameters: Vec<Parameters>,
    /// Files of external data.
    pub data_files: Vec<DataFile>,
    /// Nodes by operator, most frequent first.
    pub operators: Vec<Operator>,
    /// Whether the network contains QuantizeLinear or DequantizeLinear nodes, which replace calibration.
    pub quantized: bool,
    /// Products with weights, and how much of the weights is quantised.
    pub products: Products,
    /// Nodes that are kept in single precision in an engine.
    pub fp32_scope_nodes: usize,
    /// Values of the symbols for the cost; default 1.
    pub cost_dims: BTreeMap<String, usize>,
    /// Operations of one run, two for each multiply-add of MatMul, Gemm and Conv.
    pub flops: u64,
    /// Peak size of live tensors between nodes in bytes, floating-point values in single precision.
    pub live_bytes: u64,
    /// Operators whose sizes could not be inferred. If there are any, both figures are too low.
    pub cost_unknown: Vec<String>,
}

/// Weights of one element type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Parameters {
    /// Element type.
    pub dtype: &'static str,
    /// Number of elements.
    pub elements: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

/// A file beside the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DataFile {
    /// The file.
    pub file: PathBuf,
    /// Size in bytes; `None` if missing.
    pub bytes: Option<u64>,
    /// Bytes that the network needs of it.
    pub needed: u64,
    /// Why the network's weights cannot be read from it.
    pub problem: Option<String>,
}

/// Number of nodes of an operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Operator {
    /// ONNX's name.
    pub operator: String,
    /// Number of nodes.
    pub nodes: usize,
}

pub(super) fn report(network: &Network, dims: &[(String, usize)]) -> NetworkReport {
    let symbols = symbols(&network.inputs);
    let given: BTreeMap<String, usize> = dims.iter().cloned().collect();
    let cost_dims = symbols.iter().map(|name| (name.clone(), given.get(name).copied().unwrap_or(1))).collect();
    let cost = network.cost(&cost_dims, 4);
    let scope = format!("/{FP32_SCOPE}/");
    let size = |path: &PathBuf| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
    let operators = operators(network);
    NetworkReport {
        format: FORMAT,
        file: network.path.clone(),
        bytes: size(&network.path).unwrap_or(0),
        producer: network.producer.clone(),
        opsets: network.opsets.iter().map(|(domain, version)| format!("{} {version}", standard(domain))).collect(),
        inputs: words(&network.inputs),
        outputs: words(&network.outputs),
        symbols,
        parameters: parameters(network),
        data_files: data_files(network, size),
        quantized: network.is_quantized(),
        products: Products::of(network),
        operators,
        fp32_scope_nodes: network.nodes().filter(|(name, _)| name.contains(&scope)).count(),
        cost_dims,
        flops: cost.flops,
        live_bytes: cost.live_bytes,
        cost_unknown: cost.unknown,
    }
}

/// The files beside the model, with what is wrong with each.
fn data_files(network: &Network, size: impl Fn(&PathBuf) -> Option<u64>) -> Vec<DataFile> {
    let (needed, problems) = (network.data_needed().0, network.data_problems());
    let about = |file: &PathBuf| {
        let own = problems.iter().find(|problem| problem.file().is_none_or(|other| other == file));
        own.map(ToString::to_string)
    };
    let file = |file: &PathBuf| DataFile {
        file: file.clone(),
        bytes: size(file),
        needed: needed.get(file).map_or(0, |(bytes, _)| *bytes),
        problem: about(file),
    };
    network.data_files.iter().map(file).collect()
}

fn standard(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

fn words(specs: &[TensorSpec]) -> Vec<String> {
    specs.iter().map(|spec| format!("{}: {} {}", spec.name, spec.dtype, display_dims(&spec.dims))).collect()
}

fn symbols(inputs: &[TensorSpec]) -> Vec<String> {
    let names = inputs.iter().flat_map(|input| &input.dims).filter_map(|dim| match dim {
        Dim::Symbol(name) => Some(name.clone()),
        Dim::Fixed(_) => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn parameters(network: &Network) -> Vec<Parameters> {
    let mut sums: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for weight in &network.weights {
        let sum = sums.entry(proto::type_name(weight.data_type)).or_default();
        *sum = (sum.0.saturating_add(weight.elements), sum.1.saturating_add(weight.bytes));
    }
    let mut all: Vec<Parameters> =
        sums.into_iter().map(|(dtype, (elements, bytes))| Parameters { dtype, elements, bytes }).collect();
    all.sort_by_key(|each| std::cmp::Reverse(each.bytes));
    all
}

fn operators(network: &Network) -> Vec<Operator> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, operator) in network.nodes() {
        *counts.entry(operator).or_default() += 1;
    }
    let mut all: Vec<Operator> =
        counts.into_iter().map(|(operator, nodes)| Operator { operator: operator.to_owned(), nodes }).collect();
    all.sort_by_key(|each| std::cmp::Reverse(each.nodes));
    all
}
