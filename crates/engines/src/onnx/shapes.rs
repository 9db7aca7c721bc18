//! Sizes of the values between nodes, for given values of the symbolic dimensions.
//!
//! Covers what our export writes and the usual operators of transformers exported elsewhere. What is not covered is
//! taken from the types that the exporter noted in the file, and else stays unknown and is reported.

use std::collections::{BTreeMap, HashMap};

use super::Network;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

mod rules;

/// Integer constants up to this many elements are followed: shapes, axes, split sizes.
const SMALL: usize = 64;

/// What is known of a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// ONNX's code of its element type.
    pub data_type: i32,
    /// Its elements, when they are few integers that are known beforehand.
    pub ints: Option<Vec<i64>>,
}

impl Known {
    /// Number of elements, saturating.
    pub(crate) fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |product: u64, dim| product.saturating_mul(*dim as u64))
    }
}

/// Sizes of a graph's values.
pub(super) struct Shapes<'g> {
    known: HashMap<&'g str, Known>,
    noted: HashMap<&'g str, &'g ValueInfoProto>,
    symbols: &'g BTreeMap<String, usize>,
}

impl<'g> Shapes<'g> {
    /// With the graph's inputs and weights known. A symbol without a value counts as 1.
    pub(crate) fn new(graph: &'g GraphProto, symbols: &'g BTreeMap<String, usize>) -> Self {
        let noted = graph.value_info.iter().chain(&graph.output).map(|value| (value.name(), value)).collect();
        let mut shapes = Self { known: HashMap::new(), noted, symbols };
        for input in &graph.input {
            if let Some(known) = shapes.typed(input) {
                shapes.known.insert(input.name(), known);
            }
        }
        for tensor in &graph.initializer {
            shapes.known.insert(tensor.name(), constant(tensor));
        }
        shapes
    }

    /// What is known of a value; nodes before it must have been followed.
    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// Works out a node's outputs; false when one of them stays unknown.
    pub(crate) fn follow(&mut self, node: &'g NodeProto) -> bool {
        let inputs: Vec<Option<&Known>> = node.input.iter().map(|name| self.get(name)).collect();
        let mut found = rules::outputs(node, &inputs).unwrap_or_default().into_iter();
        let mut all = true;
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let noted = || self.noted.get(name.as_str()).and_then(|value| self.typed(value));
            match found.next().or_else(noted) {
                Some(known) => drop(self.known.insert(name, known)),
                None => all = false,
            }
        }
        all
    }

    /// A declared value with its symbols replaced; `None` if it is not a tensor or has no shape.
    fn typed(&self, value: &ValueInfoProto) -> Option<Known> {
        let tensor = value.r#type.as_ref()?.tensor_type.as_ref()?;
        let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match dim.dim_value {
            Some(n) => usize::try_from(n).ok(),
            None => Some(self.symbols.get(dim.dim_param()).copied().unwrap_or(1)),
        });
        Some(Known { dims: dims.collect::<Option<_>>()?, data_type: tensor.elem_type(), ints: None })
    }
}

/// Element type and size of a tensor for given values of the symbolic dimensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inferred {
    /// ONNX's code of the element type.
    pub data_type: i32,
    /// Its dimensions.
    pub dims: Vec<usize>,
}

impl Network {
    /// Types and sizes of all tensors, as far as they can be inferred; a symbol without a value counts as 1.
    pub fn inferred(&self, symbols: &BTreeMap<String, usize>) -> BTreeMap<String, Inferred> {
        let mut shapes = Shapes::new(&self.graph, symbols);
        for node in &self.graph.node {
            shapes.follow(node);
        }
        let known =
            |(name, Known { dims, data_type, .. }): (&str, Known)| (name.to_owned(), Inferred { data_type, dims });
        shapes.known.into_iter().map(known).collect()
    }
}

/// A weight or constant.
pub(super) fn constant(tensor: &TensorProto) -> Known {
    let dims: Vec<usize> = tensor.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let mut known = Known { dims, data_type: tensor.data_type(), ints: None };
    if known.elements() <= SMALL as u64 {
        known.ints = integers(tensor);
    }
    known
}

fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_location() == 1 {
        return None;
    }
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    match tensor.data_type() {
        7 if raw.is_empty() => Some(tensor.int64_data.clone()),
        7 => Some(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        6 if raw.is_empty() => Some(tensor.int32_data.iter().map(|&n| i64::from(n)).collect()),
        6 => Some(raw.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
        _ => None,
    }
}

/// An attribute of a node.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// An integer attribute, or its default.
pub(super) fn int(node: &NodeProto, name: &str, otherwise: i64) -> i64 {
    attribute(node, name).and_then(|attribute| attribute.i).unwrap_or(otherwise)
}

/// A list of integers; empty when absent.
pub(super) fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}
