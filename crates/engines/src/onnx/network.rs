//! A network's description: inputs, outputs, weights and the files that hold them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use prost::Message as _;

use super::Error;
use super::proto::{self, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use vla_base::sys::map;
use vla_base::tensor::{Dim, TensorSpec};

/// Name of a dimension that the file leaves open without a name.
const UNNAMED: &str = "?";

/// Model files up to this size are read. Larger ones, with their weights inside, are mapped as long as the network is
/// looked at.
const READ: u64 = 64 << 20;

/// A network read from its file.
#[derive(Debug)]
pub struct Network {
    /// The model file.
    pub path: PathBuf,
    /// What it takes, without weights that are listed among the inputs.
    pub inputs: Vec<TensorSpec>,
    /// What it makes.
    pub outputs: Vec<TensorSpec>,
    /// What it holds.
    pub weights: Vec<Weight>,
    /// Files beside the model that hold weights, each once, sorted.
    pub data_files: Vec<PathBuf>,
    /// Tool that wrote the file, with its version; empty where the file does not say.
    pub producer: String,
    /// Operator sets by domain; the empty domain has the standard operators.
    pub opsets: Vec<(String, i64)>,
    pub(super) graph: GraphProto,
}

/// One weight or constant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weight {
    /// Its name.
    pub name: String,
    /// ONNX's code of the element type.
    pub data_type: i32,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Number of elements.
    pub elements: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

/// A weight that lies in a file beside the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalWeight {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Where it begins there.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

impl Network {
    /// Reads a model file. Large weights inside it are neither copied nor touched.
    ///
    /// # Errors
    /// [`Error`] when it cannot be read, is no ONNX model, or names data outside its folder.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = map::read_or_map(path, READ).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::decode(path, bytes)
    }

    /// As [`Self::open`], of bytes that are there already.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn decode(path: &Path, bytes: bytes::Bytes) -> Result<Self, Error> {
        let fail = |reason: String| Error::Invalid { path: path.to_owned(), reason };
        let model = ModelProto::decode(bytes).map_err(|error| fail(format!("not an ONNX model ({error})")))?;
        let producer = [model.producer_name(), model.producer_version()].join(" ").trim().to_owned();
        let opsets = model.opset_import.iter().map(|set| (set.domain().to_owned(), set.version())).collect();
        let graph = model.graph.ok_or_else(|| fail("an ONNX model without a graph".into()))?;
        let weights = graph.initializer.iter().map(weight).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let names: BTreeSet<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        let taken = graph.input.iter().filter(|input| !names.contains(input.name()));
        let inputs = taken.map(spec).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let outputs = graph.output.iter().map(spec).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let data_files = data_files(path, &graph).map_err(fail)?;
        Ok(Self { path: path.to_owned(), inputs, outputs, weights, data_files, producer, opsets, graph })
    }

    /// Whether it has nodes in [`super::FP32_SCOPE`].
    pub fn has_fp32_scope(&self) -> bool {
        let scope = format!("/{}/", super::FP32_SCOPE);
        self.graph.node.iter().any(|node| node.name().contains(&scope))
    }

    /// Every weight that lies outside the model's file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a place is no number.
    pub fn external_weights(&self) -> Result<Vec<ExternalWeight>, Error> {
        let fail = |reason| Error::Invalid { path: self.path.clone(), reason };
        let dir = self.path.parent().unwrap_or(Path::new(""));
        let pairs = self.graph.initializer.iter().zip(&self.weights);
        let outside = pairs.filter(|(tensor, _)| tensor.data_location() == 1);
        outside.map(|(tensor, weight)| external(dir, tensor, weight.bytes)).collect::<Result<_, _>>().map_err(fail)
    }

    /// Names of all tensors: inputs, weights, and outputs of nodes.
    pub fn tensor_names(&self) -> BTreeSet<&str> {
        let inputs = self.inputs.iter().map(|input| input.name.as_str());
        let weights = self.weights.iter().map(|weight| weight.name.as_str());
        let made = self.graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
        inputs.chain(weights).chain(made).collect()
    }

    /// Every node in the file's order: name and operator.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.graph.node.iter().map(|node| (node.name(), node.op_type()))
    }

    /// Bytes of all weights as stored.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().fold(0, |sum, weight| sum.saturating_add(weight.bytes))
    }
}

fn weight(tensor: &TensorProto) -> Result<Weight, String> {
    let (name, data_type) = (tensor.name(), tensor.data_type());
    let size = |dim: &i64| usize::try_from(*dim).ok();
    let dims = tensor.dims.iter().map(size).collect::<Option<Vec<_>>>();
    let dims = dims.ok_or_else(|| format!("weight '{name}' has the dimensions {:?}", tensor.dims))?;
    let elements = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim as u64));
    // Strings count as a byte an element: they are rare, and never large here.
    let bytes = elements.and_then(|elements| match proto::type_name(data_type) {
        "string" | "unknown" => Some(elements),
        _ => proto::bytes_of(data_type, elements),
    });
    let (Some(elements), Some(bytes)) = (elements, bytes) else {
        return Err(format!("weight '{name}' has the dimensions {dims:?}, more than any file holds"));
    };
    Ok(Weight { name: name.to_owned(), data_type, dims, elements, bytes })
}

/// Where an external tensor of that many bytes lies. Offset and length may be left out.
pub(super) fn external(dir: &Path, tensor: &TensorProto, bytes: u64) -> Result<ExternalWeight, String> {
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
    let number = |key: &str| {
        let value = entry(key).map(|text| text.parse::<u64>().map_err(|error| (text, error)));
        value.transpose().map_err(|(text, error)| format!("weight '{}': {key} '{text}' ({error})", tensor.name()))
    };
    let file = entry("location").ok_or_else(|| format!("weight '{}' is external but names no file", tensor.name()))?;
    Ok(ExternalWeight {
        name: tensor.name().to_owned(),
        file: dir.join(file),
        offset: number("offset")?.unwrap_or(0),
        bytes: number("length")?.unwrap_or(bytes),
    })
}

fn spec(value: &ValueInfoProto) -> Result<TensorSpec, String> {
    let name = value.name();
    let tensor = value.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| format!("'{name}' is not a tensor"))?;
    let dtype = proto::dtype(tensor.elem_type());
    let dtype =
        dtype.ok_or_else(|| format!("'{name}' has the element type {}, which no policy uses", tensor.elem_type()))?;
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match (dim.dim_value, dim.dim_param()) {
        (Some(n), _) if n >= 0 => Dim::Fixed(usize::try_from(n).unwrap_or(usize::MAX)),
        (_, "") => Dim::Symbol(UNNAMED.to_owned()),
        (_, symbol) => Dim::Symbol(symbol.to_owned()),
    });
    Ok(TensorSpec { name: name.to_owned(), dtype, dims: dims.collect() })
}

/// Every weight and constant of a graph and of the graphs in it.
pub(super) fn held<'g>(graph: &'g GraphProto, tensors: &mut Vec<&'g TensorProto>) {
    tensors.extend(&graph.initializer);
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        tensors.extend(&attribute.t);
        if let Some(graph) = &attribute.g {
            held(graph, tensors);
        }
    }
}

/// Files that hold weights, as paths. ONNX wants them beside the model or below.
fn data_files(model: &Path, graph: &GraphProto) -> Result<Vec<PathBuf>, String> {
    let mut tensors = Vec::new();
    held(graph, &mut tensors);
    let mut locations = BTreeSet::new();
    for tensor in tensors.into_iter().filter(|tensor| tensor.data_location() == 1) {
        let location = tensor.external_data.iter().find(|entry| entry.key() == "location");
        let location = location.ok_or_else(|| format!("weight '{}' is external but names no file", tensor.name()))?;
        let inside = Path::new(location.value())
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.value().is_empty() || !inside {
            return Err(format!(
                "weight '{}' lies in '{}'; expected a file beside the model",
                tensor.name(),
                location.value()
            ));
        }
        locations.insert(location.value());
    }
    let dir = model.parent().unwrap_or(Path::new(""));
    Ok(locations.into_iter().map(|location| dir.join(location)).collect())
}
