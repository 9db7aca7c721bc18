//! The graph under construction: values, initializers, nodes, and the files it ends in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::external::{Counter, ExternalData};
use super::pieces::Piece;
use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, element_type,
};
use crate::Error;
use vla_base::tensor::{DType, Dim, TensorSpec, display_dims};

/// Operator set of everything written here: TensorRT 8.6 and later read it.
pub(crate) const OPSET: i64 = 17;
/// File format version of [`OPSET`].
const IR_VERSION: i64 = 8;
/// Initializers of fewer bytes stay inside the model file, where shape inference can see them.
const INLINE_BELOW: u64 = 1024;

/// A tensor in a [`Graph`]: the result of an operator, an input or an initializer.
#[derive(Clone, Debug)]
pub struct Value {
    pub(crate) id: usize,
    dtype: DType,
    dims: Vec<Dim>,
}

impl Value {
    /// A value of any shape, for operators that accept any.
    pub(super) fn shapeless(id: usize, dtype: DType) -> Self {
        Self { id, dtype, dims: Vec::new() }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn dims(&self) -> &[Dim] {
        &self.dims
    }

    /// One dimension; `None` beyond the rank.
    pub fn dim(&self, axis: usize) -> Option<&Dim> {
        self.dims.get(axis)
    }
}

/// An attribute of a node.
pub enum Attribute {
    /// Integer.
    Int(i64),
    /// Float.
    Float(f32),
    /// Integers.
    Ints(Vec<i64>),
}

pub(crate) struct Node {
    pub operator: &'static str,
    pub name: String,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Of its outputs.
    pub dtype: DType,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The files of a finished graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GraphFiles {
    /// The model.
    pub model: PathBuf,
    /// Its weights, when any left the model file.
    pub data: Option<PathBuf>,
}

/// An ONNX graph under construction.
pub struct Graph {
    name: String,
    path: PathBuf,
    pub(crate) names: Vec<String>,
    /// Element type and dimensions of each value.
    pub(crate) shapes: Vec<(DType, Vec<Dim>)>,
    pub(crate) nodes: Vec<Node>,
    /// Runs of nodes that are one operation, an inner one before the outer.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<(usize, TensorSpec)>,
    pub(crate) initializers: Vec<TensorProto>,
    known: BTreeMap<String, Value>,
    scopes: Vec<String>,
    external: ExternalData,
    metadata: Vec<StringStringEntryProto>,
    measured: bool,
}

impl Graph {
    /// An empty graph that will be written to `path`, its weights to `<path>.data`.
    pub fn new(name: &str, path: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_path_buf(),
            names: Vec::new(),
            shapes: Vec::new(),
            nodes: Vec::new(),
            pieces: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            initializers: Vec::new(),
            known: BTreeMap::new(),
            scopes: Vec::new(),
            external: ExternalData::beside(path),
            metadata: Vec::new(),
            measured: false,
        }
    }

    /// Makes this a graph that is measured: built as in half precision, and everything half precision in it is held in
    /// single precision, so that nothing overflows. `Graph::add_activation_ranges` then puts out how large it got.
    pub fn measured(&mut self) {
        self.measured = true;
    }

    /// Whether [`Graph::measured`] was asked for.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    /// The storage type of a value of type `dtype`.
    pub fn storage(&self, dtype: DType) -> DType {
        if self.measured && dtype == DType::F16 { DType::F32 } else { dtype }
    }

    /// Words about the model that go into its file.
    pub(super) fn note(&mut self, key: &str, value: String) {
        self.metadata.push(StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) });
    }

    /// Opens a named part of the network; names of nodes and errors carry it until [`Graph::leave`].
    pub fn enter(&mut self, scope: impl Into<String>) {
        self.scopes.push(scope.into());
    }

    /// Closes the part opened last.
    pub fn leave(&mut self) {
        self.scopes.pop();
    }

    /// The part being built, e.g. `vision/layers.0/attention`.
    pub fn scope(&self) -> String {
        let mut parts = vec![self.name.as_str()];
        parts.extend(self.scopes.iter().map(String::as_str));
        parts.join("/")
    }

    fn value(&mut self, name: String, dtype: DType, dims: Vec<Dim>) -> Value {
        self.names.push(name);
        self.shapes.push((dtype, dims.clone()));
        Value { id: self.names.len() - 1, dtype, dims }
    }

    fn claim(&mut self, name: &str, dtype: DType, dims: Vec<Dim>) -> Result<Value, Error> {
        if let Some(found) = self.known.get(name) {
            return Err(Error::DuplicateName {
                name: name.to_owned(),
                expected: format!("{dtype} {}", display_dims(&dims)),
                found: format!("{} {}", found.dtype, display_dims(&found.dims)),
            });
        }
        let value = self.value(name.to_owned(), dtype, dims);
        self.known.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, dtype: DType, dims: &[Dim]) -> Result<Value, Error> {
        let value = self.claim(name, dtype, dims.to_vec())?;
        self.inputs.push(value.clone());
        Ok(value)
    }

    /// Declares `value` an output under `name`; the node that makes it takes the name.
    pub fn output(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        self.claim(name, value.dtype, value.dims.clone())?;
        let made_here = self.nodes.iter().any(|node| node.outputs.contains(&value.id));
        let free = made_here && self.outputs.iter().all(|(id, _)| *id != value.id);
        let id =
            if free { value.id } else { self.node("Identity", &[value], vec![], value.dtype, value.dims.clone()).id };
        self.names[id] = name.to_owned();
        let dtype = self.storage(value.dtype);
        let spec = TensorSpec { name: name.to_owned(), dtype, dims: value.dims.clone() };
        self.outputs.push((id, spec));
        Ok(())
    }

    /// An initializer whose bytes, of [`Graph::storage`]'s type, `write` produces. A second call with the same name returns the first value.
    pub fn initializer(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[usize],
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Value, Error> {
        let fixed: Vec<Dim> = dims.iter().map(|n| Dim::Fixed(*n)).collect();
        if let Some(found) = self.known.get(name)
            && found.dtype == dtype
            && found.dims == fixed
        {
            return Ok(found.clone());
        }
        let value = self.claim(name, dtype, fixed)?;
        let stored = self.storage(dtype);
        let expected = dims.iter().product::<usize>() as u64 * stored.size() as u64;
        let mut tensor = TensorProto {
            dims: dims.iter().map(|n| *n as i64).collect(),
            data_type: Some(element_type(stored)),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        };
        let found = if expected < INLINE_BELOW {
            let mut bytes = Counter { inner: Vec::new(), written: 0 };
            write(&mut bytes).map_err(Error::io(&self.path))?;
            tensor.raw_data = Some(bytes.inner.into());
            bytes.written
        } else {
            let (location, length) = self.external.append(write)?;
            tensor.external_data = location;
            tensor.data_location = Some(1);
            length
        };
        if found != expected {
            return Err(Error::InitializerSize { name: name.to_owned(), expected, found });
        }
        self.initializers.push(tensor);
        Ok(value)
    }

    /// Appends a node with one output.
    pub fn node(
        &mut self,
        operator: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
        dtype: DType,
        dims: Vec<Dim>,
    ) -> Value {
        let name = format!("{}/{operator}_{}", self.scope(), self.nodes.len());
        let output = self.value(name.clone(), dtype, dims);
        let inputs = inputs.iter().map(|value| value.id).collect();
        self.nodes.push(Node { operator, name, inputs, outputs: vec![output.id], dtype, attributes });
        output
    }

    /// Appends a `Split` node: several outputs of the given shapes.
    pub(super) fn split_node(&mut self, inputs: &[&Value], axis: i64, shapes: Vec<Vec<Dim>>) -> Vec<Value> {
        let name = format!("{}/Split_{}", self.scope(), self.nodes.len());
        let dtype = inputs[0].dtype;
        let outputs: Vec<Value> =
            shapes.into_iter().enumerate().map(|(i, dims)| self.value(format!("{name}.{i}"), dtype, dims)).collect();
        self.nodes.push(Node {
            operator: "Split",
            name,
            inputs: inputs.iter().map(|value| value.id).collect(),
            outputs: outputs.iter().map(|value| value.id).collect(),
            dtype,
            attributes: vec![("axis", Attribute::Int(axis))],
        });
        outputs
    }

    /// Inputs as declared, in the type in which the file has them ([`Graph::storage`]).
    pub fn inputs(&self) -> Vec<TensorSpec> {
        let spec = |value: &Value| TensorSpec {
            name: self.names[value.id].clone(),
            dtype: self.storage(value.dtype),
            dims: value.dims.clone(),
        };
        self.inputs.iter().map(spec).collect()
    }

    /// Outputs as declared, in the type in which the file has them.
    pub fn outputs(&self) -> Vec<TensorSpec> {
        self.outputs.iter().map(|(_, spec)| spec.clone()).collect()
    }

    /// Writes the model file and closes the weights file.
    pub fn finish(self) -> Result<GraphFiles, Error> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let names = self.names;
        let node = self
            .nodes
            .into_iter()
            .map(|node| NodeProto {
                input: node.inputs.iter().map(|id| names[*id].clone()).collect(),
                output: node.outputs.iter().map(|id| names[*id].clone()).collect(),
                name: Some(node.name),
                op_type: Some(node.operator.to_owned()),
                attribute: node.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
            })
            .collect();
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("vla_trt".to_owned()),
            // Not this build's version: the same network is the same bytes.
            producer_version: None,
            graph: Some(GraphProto {
                node,
                name: Some(self.name),
                initializer: self.initializers,
                input: inputs.iter().map(value_info).collect(),
                output: outputs.iter().map(value_info).collect(),
                value_info: Vec::new(),
            }),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            metadata_props: self.metadata,
        };
        let data = self.external.finish()?;
        let mut file = File::create(&self.path).map_err(Error::io(&self.path))?;
        file.write_all(&model.encode_to_vec()).map_err(Error::io(&self.path))?;
        file.sync_all().map_err(Error::io(&self.path))?;
        Ok(GraphFiles { model: self.path, data })
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match value {
        Attribute::Float(f) => (proto.r#type, proto.f) = (Some(1), Some(f)),
        Attribute::Int(i) => (proto.r#type, proto.i) = (Some(2), Some(i)),
        Attribute::Ints(ints) => (proto.r#type, proto.ints) = (Some(7), ints),
    }
    proto
}

fn value_info(spec: &TensorSpec) -> ValueInfoProto {
    let dim = spec
        .dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(n) => DimensionProto { dim_value: Some(*n as i64), dim_param: None },
            Dim::Symbol(name) => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
        })
        .collect();
    let tensor = TensorTypeProto { elem_type: Some(element_type(spec.dtype)), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(spec.name.clone()), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
