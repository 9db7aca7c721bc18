//! Products of a network with weight matrices, and the type that each matrix has where the network quantises it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::network::Network;
use super::proto::{self, GraphProto, NodeProto, TensorProto};
use super::shapes::{attribute, int};

/// Operators that multiply by a matrix, which is their second input.
const PRODUCTS: [&str; 2] = ["MatMul", "Gemm"];
/// Operators that only rearrange or convert the elements of their first input.
const SAME_ELEMENTS: [&str; 7] = ["Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// A MatMul or Gemm whose second input is a weight matrix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// Name of the node; of its output where the node has none.
    pub node: String,
    /// Name of the weight.
    pub weight: String,
    /// Number of the weight's elements.
    pub elements: u64,
    /// Bytes of the weight as stored.
    pub bytes: u64,
    /// ONNX's code of the type that it is stored in.
    pub data_type: i32,
    /// Bits of a weight's element where the network quantises it; `None`: it stays floating.
    pub bits: Option<u8>,
    /// The stored elements are floating and pass QuantizeLinear and DequantizeLinear, which a builder folds.
    pub floating_on_disk: bool,
    /// The other input comes from DequantizeLinear, so that a runtime can multiply integers.
    pub integer_input: bool,
    /// A Relu that reads the product, directly or behind a bias: the name of its node.
    pub relu: Option<String>,
    /// Place of the node in the file.
    pub(super) place: usize,
}

impl Product {
    /// Whether both inputs are 8-bit integers, so that TensorRT multiplies integers.
    pub fn is_int8(&self) -> bool {
        self.bits == Some(8) && self.integer_input
    }
}

impl Network {
    /// Every product with a weight matrix, in the file's order.
    pub fn products(&self) -> Vec<Product> {
        let graph = Graph::of(&self.graph);
        let product = |(place, node): (usize, &NodeProto)| {
            let source = graph.source(node.input.get(1)?)?;
            let elements = (source.tensor.dims.len() == 2).then(|| elements(source.tensor))??;
            let integer_input = graph.is_dequantized(node.input.first()?);
            let data_type = source.tensor.data_type();
            let output = node.output.first().map_or("", String::as_str);
            Some(Product {
                node: named(node),
                weight: source.name.to_owned(),
                elements,
                data_type,
                bytes: proto::bytes_of(data_type, elements)?,
                bits: source.quantized.then(|| source.bits()).flatten(),
                floating_on_disk: proto::is_float(data_type),
                integer_input,
                relu: graph.relu_behind(output),
                place,
            })
        };
        let nodes = self.graph.node.iter().enumerate();
        nodes.filter(|(_, node)| PRODUCTS.contains(&node.op_type())).filter_map(product).collect()
    }

    /// Floating weights that pass QuantizeLinear, with the bits of an element behind it: what an engine holds of them.
    pub(super) fn quantized_floats(&self) -> BTreeMap<&str, u8> {
        let graph = Graph::of(&self.graph);
        let quantize = self.graph.node.iter().filter(|node| node.op_type() == "QuantizeLinear");
        let sources = quantize.filter_map(|node| graph.source(node.output.first()?));
        let floating = sources.filter(|source| proto::is_float(source.tensor.data_type()));
        floating.filter_map(|source| Some((source.name, source.bits()?))).collect()
    }
}

/// Nodes with scales, and what they read that a builder may not take.
impl Network {
    /// QuantizeLinear and DequantizeLinear nodes whose scale is in half precision.
    pub fn half_scales(&self) -> Vec<String> {
        self.linear(|graph, node| {
            let scale = node.input.get(1).and_then(|scale| graph.source(scale));
            scale.is_some_and(|scale| matches!(scale.tensor.data_type(), 10 | 16))
        })
    }

    /// QuantizeLinear and DequantizeLinear nodes that quantise to unsigned integers, or around another point than 0.
    pub(crate) fn foreign_zero_points(&self) -> Vec<String> {
        self.linear(|graph, node| {
            let made = if node.op_type() == "QuantizeLinear" { graph.quantized_type(node) } else { 0 };
            let zero = node.input.get(2).and_then(|zero| graph.source(zero));
            is_unsigned(made) || zero.is_some_and(|zero| is_unsigned(zero.tensor.data_type()) || !is_zero(zero.tensor))
        })
    }

    /// DequantizeLinear nodes that read 32-bit integers.
    pub(crate) fn integer_biases(&self) -> Vec<String> {
        self.linear(|graph, node| {
            let read = node.input.first().and_then(|input| graph.source(input));
            node.op_type() == "DequantizeLinear" && read.is_some_and(|read| read.tensor.data_type() == 6)
        })
    }

    /// Names of the QuantizeLinear and DequantizeLinear nodes for which `wanted` holds.
    fn linear<'g>(&'g self, wanted: impl Fn(&Graph<'g>, &'g NodeProto) -> bool) -> Vec<String> {
        let graph = Graph::of(&self.graph);
        let linear =
            self.graph.node.iter().filter(|node| matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear"));
        linear.filter(|node| wanted(&graph, node)).map(named).collect()
    }
}

/// A node's name; that of its output where it has none.
fn named(node: &NodeProto) -> String {
    if node.name().is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name().to_owned() }
}

const fn is_unsigned(data_type: i32) -> bool {
    matches!(data_type, 2 | 4 | 12 | 13 | 21)
}

/// Whether every element is 0; what lies in another file is taken to be.
fn is_zero(tensor: &TensorProto) -> bool {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    raw.iter().all(|byte| *byte == 0) && tensor.int32_data.iter().all(|value| *value == 0)
}

/// A graph by the names of its values.
pub(super) struct Graph<'g> {
    tensors: HashMap<&'g str, &'g TensorProto>,
    makers: HashMap<&'g str, &'g NodeProto>,
    readers: HashMap<&'g str, Vec<&'g NodeProto>>,
}

/// The stored tensor behind a value.
pub(super) struct Source<'g> {
    pub(super) name: &'g str,
    tensor: &'g TensorProto,
    /// Type behind QuantizeLinear, where there is one between.
    made: Option<i32>,
    /// A QuantizeLinear or DequantizeLinear lies between.
    quantized: bool,
}

impl Source<'_> {
    /// Bits of a quantised element.
    fn bits(&self) -> Option<u8> {
        proto::bits(self.made.unwrap_or(self.tensor.data_type())).and_then(|bits| u8::try_from(bits).ok())
    }
}

impl<'g> Graph<'g> {
    pub(super) fn of(graph: &'g GraphProto) -> Self {
        let mut found = Self { tensors: HashMap::new(), makers: HashMap::new(), readers: HashMap::new() };
        found.tensors.extend(graph.initializer.iter().map(|tensor| (tensor.name(), tensor)));
        for node in &graph.node {
            found.makers.extend(node.output.iter().map(|output| (output.as_str(), node)));
            for input in &node.input {
                found.readers.entry(input).or_default().push(node);
            }
            let constant = (node.op_type() == "Constant").then(|| attribute(node, "value")?.t.as_ref()).flatten();
            if let (Some(tensor), Some(output)) = (constant, node.output.first()) {
                found.tensors.insert(output, tensor);
            }
        }
        found
    }

    /// The stored tensor that `value` is, behind operators that keep its elements.
    pub(super) fn source(&self, value: &'g str) -> Option<Source<'g>> {
        let (mut name, mut made, mut quantized) = (value, None, false);
        // No chain is longer than the graph, and a graph with a cycle is none.
        for _ in 0..=self.makers.len() {
            if let Some(tensor) = self.tensors.get(name) {
                return Some(Source { name, tensor, made, quantized });
            }
            let node = self.makers.get(name)?;
            match node.op_type() {
                "QuantizeLinear" => {
                    quantized = true;
                    made = made.or_else(|| Some(self.quantized_type(node)));
                }
                "DequantizeLinear" => quantized = true,
                operator if SAME_ELEMENTS.contains(&operator) => {}
                _ => return None,
            }
            name = node.input.first()?;
        }
        None
    }

    /// Type of what a QuantizeLinear makes: that of its zero point, or by its attribute.
    fn quantized_type(&self, node: &NodeProto) -> i32 {
        let zero = node.input.get(2).and_then(|zero| self.tensors.get(zero.as_str()));
        let stated = int(node, "output_dtype", 0);
        zero.map(|zero| zero.data_type()).or(i32::try_from(stated).ok().filter(|code| *code != 0)).unwrap_or(2)
    }

    /// Whether a value that no weight makes comes from DequantizeLinear.
    fn is_dequantized(&self, value: &'g str) -> bool {
        let mut name = value;
        for _ in 0..=self.makers.len() {
            let Some(node) = self.makers.get(name) else { return false };
            match node.op_type() {
                "DequantizeLinear" => return self.source(value).is_none(),
                operator if SAME_ELEMENTS.contains(&operator) => {}
                _ => return false,
            }
            let Some(input) = node.input.first() else { return false };
            name = input;
        }
        false
    }

    /// The Relu that reads a value, directly or behind a bias and operators that keep the elements.
    fn relu_behind(&self, value: &'g str) -> Option<String> {
        let (mut next, mut seen) = (vec![value], HashSet::new());
        while let Some(name) = next.pop() {
            for node in self.readers.get(name).into_iter().flatten() {
                match node.op_type() {
                    "Relu" => return Some(named(node)),
                    operator if operator == "Add" || SAME_ELEMENTS.contains(&operator) => {
                        let outputs = node.output.iter().map(String::as_str);
                        next.extend(outputs.filter(|output| seen.insert(*output)));
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

fn elements(tensor: &TensorProto) -> Option<u64> {
    tensor.dims.iter().try_fold(1u64, |product, dim| product.checked_mul(u64::try_from(*dim).ok()?))
}

#[cfg(test)]
mod tests;
