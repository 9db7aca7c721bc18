//! A rewritten network before it is written: nodes, and how each of its weights is made.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use vla_engines::onnx::proto::{AttributeProto, NodeProto, TensorProto};

use super::names::Names;
use crate::float::Float;

/// ONNX's code of signed 8-bit integers.
pub(crate) const INT8: i32 = 3;
/// ONNX's code of signed 4-bit integers.
pub(crate) const INT4: i32 = 22;

/// What an initializer of the new network is made from.
pub(crate) enum Made<'r> {
    /// That initializer of the old network, unchanged.
    Kept(usize),
    /// A product's weight.
    Weight(Weight<'r>),
    /// A vector divided by another.
    Divided {
        /// Place of the initializer.
        tensor: usize,
        /// Name of the new one.
        name: String,
        /// The divisors.
        by: &'r [f32],
    },
    /// A small one that is there already.
    Ready(TensorProto),
}

/// A weight matrix with factors, and its type.
pub(crate) struct Weight<'r> {
    /// Place of the initializer.
    pub tensor: usize,
    /// Name of the new one.
    pub name: String,
    /// Whether the old one is `[output, input channels]`.
    pub transposed: bool,
    /// What each row (input channel) is multiplied by.
    pub rows: Option<&'r [f32]>,
    /// What each column (output channel) is divided by.
    pub columns: Option<&'r [f32]>,
    /// How it is stored.
    pub form: Form,
}

/// How a weight matrix is stored.
pub(crate) enum Form {
    /// As before: type and layout of the old one.
    Float,
    /// `[input, output channels]` 8-bit integers, and their scales under this name.
    Int8(String),
    /// `[input, output channels]` the real values of the 8-bit integers in single precision, and the scales. A reader that divides by
    /// the scales finds the integers again, whichever way it rounds.
    Folded(String),
    /// `[input, output channels]` 4-bit integers in blocks of input channels, and their scales.
    Int4(String),
}

/// Nodes and initializers of the new network.
pub(crate) struct Draft<'r> {
    /// Names that are taken.
    pub names: Names,
    /// Encoded nodes in order.
    pub nodes: Vec<Bytes>,
    /// Initializers in order.
    pub made: Vec<Made<'r>>,
    /// Old initializers that are not in the new network, or not as they were.
    pub dropped: BTreeSet<usize>,
    shared: BTreeMap<String, String>,
}

impl<'r> Draft<'r> {
    /// Without nodes.
    pub(crate) fn new(names: Names) -> Self {
        Self { names, nodes: Vec::new(), made: Vec::new(), dropped: BTreeSet::new(), shared: BTreeMap::new() }
    }

    /// Appends a node that is named as its output, unless it takes the name of an old one.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        name: Option<&str>,
        attribute: Vec<AttributeProto>,
    ) {
        let node = NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            name: Some(name.unwrap_or(output).to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
        };
        self.nodes.push(node.encode_to_vec().into());
    }

    /// Zero points of 8-bit scales: one for all, or `[channels]`.
    pub(crate) fn zero(&mut self, channels: Option<usize>) -> String {
        let name = channels.map_or_else(|| "zero.int8".to_owned(), |n| format!("zero.int8[{n}]"));
        let dims = channels.into_iter().collect::<Vec<_>>();
        let bytes = vec![0; channels.unwrap_or(1)];
        self.shared(name, INT8, &dims, bytes)
    }

    /// Zero of a floating-point type.
    pub(crate) fn float_zero(&mut self, float: Float) -> String {
        self.shared(format!("zero.{}", float.name()), float.code(), &[], float.bytes(&[0.0]))
    }

    /// Axes of a reduction.
    pub(crate) fn axes(&mut self, axes: &[i64]) -> String {
        let bytes = axes.iter().flat_map(|axis| axis.to_le_bytes()).collect();
        self.shared(format!("axes{axes:?}"), 7, &[axes.len()], bytes)
    }

    /// A small initializer that is made once.
    fn shared(&mut self, name: String, data_type: i32, dims: &[usize], bytes: Vec<u8>) -> String {
        if let Some(taken) = self.shared.get(&name) {
            return taken.clone();
        }
        let taken = self.small(name.clone(), "zero", data_type, dims, bytes);
        self.shared.insert(name, taken.clone());
        taken
    }

    /// A small initializer; returns its name.
    pub(crate) fn small(
        &mut self,
        name: String,
        purpose: &str,
        data_type: i32,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> String {
        let taken = self.names.take(name, purpose);
        self.made.push(Made::Ready(tensor(&taken, data_type, dims, bytes)));
        taken
    }
}

/// A tensor with its elements inside.
pub(crate) fn tensor(name: &str, data_type: i32, dims: &[usize], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

/// An integer attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), i: Some(value), r#type: Some(2), ..AttributeProto::default() }
}
