//! Reads the parts of a model file, and writes the new one from them.

use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use vla_base::sys::fs::Replacement;
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::{OperatorSetIdProto, TensorProto, ValueInfoProto};

use super::draft::{Form, INT4, INT8, Made, Weight};
use super::plan::Plan;
use super::store::Store;
use super::wire::{self, Field};
use super::{Written, opset};
use crate::Error;
use crate::float::Float;
use crate::integers::{BLOCK, Integers, int4, int8};
use crate::matrix::Matrix;
use crate::weights::read;

/// ModelProto: version of the format, graph, operator sets.
const MODEL: [u64; 3] = [1, 7, 8];
/// GraphProto: nodes, initializers.
const GRAPH: [u64; 2] = [1, 5];
/// GraphProto: inputs and types of values, which may name an initializer.
const VALUES: [u64; 2] = [11, 13];
/// TensorProto: places of external data.
const PLACE: [u64; 2] = [13, 14];

/// A model by its parts.
pub(crate) struct Parts {
    /// Bytes of each node.
    pub nodes: Vec<Bytes>,
    tensors: Vec<Bytes>,
    model: Vec<Field>,
    graph: Vec<Field>,
}

impl Parts {
    /// Of a model file.
    pub(crate) fn of(network: &Network, model: &Bytes) -> Result<Self, Error> {
        let fail = |reason: String| {
            let (path, reason) = (network.path.clone(), format!("{reason}; export the network again"));
            Error::Unsupported { path, reason }
        };
        let model = wire::fields(model).map_err(fail)?;
        let mut parts = Self { nodes: Vec::new(), tensors: Vec::new(), model: Vec::new(), graph: Vec::new() };
        for field in model {
            if field.tag != MODEL[1] {
                parts.model.push(field);
                continue;
            }
            // Several are one, as protobuf has it.
            for field in wire::fields(&field.value).map_err(fail)? {
                match field.tag {
                    tag if tag == GRAPH[0] => parts.nodes.push(field.value),
                    tag if tag == GRAPH[1] => parts.tensors.push(field.value),
                    _ => parts.graph.push(field),
                }
            }
        }
        let graph = network.graph();
        if (parts.nodes.len(), parts.tensors.len()) != (graph.node.len(), graph.initializer.len()) {
            return Err(fail("a model whose nodes or initializers cannot be counted".to_owned()));
        }
        Ok(parts)
    }
}

/// Writes the weights, then the model.
pub(crate) fn write(network: &Network, parts: Parts, plan: Plan<'_>, out: &Path) -> Result<Written, Error> {
    let draft = plan.draft;
    let expected = draft.made.iter().map(|made| bytes_of(network, made)).fold(0, u64::saturating_add);
    let mut store = Store::beside(out, expected);
    let mut graph: Vec<Bytes> = draft.nodes.iter().flat_map(|node| whole(GRAPH[0], node)).collect();
    let dropped: Vec<&str> =
        draft.dropped.iter().filter_map(|place| Some(network.weights.get(*place)?.name.as_str())).collect();
    graph.extend(parts.graph.iter().filter(|field| !names_one(field, &dropped)).map(|field| field.raw.clone()));
    for made in &draft.made {
        let tensors = match made {
            Made::Kept(place) => vec![kept(network, *place, &parts.tensors[*place], &mut store)?],
            Made::Ready(tensor) => vec![Bytes::from(tensor.encode_to_vec())],
            Made::Divided { tensor, name, by } => vec![encoded(&divided(network, *tensor, name, by, &mut store)?)],
            Made::Weight(weight) => made_weight(network, weight, &mut store)?.iter().map(encoded).collect(),
        };
        graph.extend(tensors.iter().flat_map(|tensor| whole(GRAPH[1], tensor)));
    }
    let data = store.finish()?;
    let model = model(&parts.model, graph, plan.opset);
    let bytes: usize = model.iter().map(Bytes::len).sum();
    let mut file = Replacement::create_for(out, bytes as u64)?;
    for part in &model {
        file.write_all(part).map_err(Error::io(out))?;
    }
    file.commit()?;
    let bytes = (bytes as u64).saturating_add(data.as_ref().map_or(0, |(_, bytes)| *bytes));
    Ok(Written { model: out.to_owned(), data: data.map(|(path, _)| path), bytes, opset: plan.opset })
}

/// Bytes that an initializer takes at most, its scales and padding left out.
fn bytes_of(network: &Network, made: &Made<'_>) -> u64 {
    let (place, form) = match made {
        Made::Kept(place) | Made::Divided { tensor: place, .. } => (place, &Form::Float),
        Made::Weight(weight) => (&weight.tensor, &weight.form),
        Made::Ready(_) => return 0,
    };
    let Some(weight) = network.weights.get(*place) else { return 0 };
    match form {
        Form::Float => weight.bytes,
        Form::Int8(_) => weight.elements,
        Form::Folded(_) => weight.elements.saturating_mul(4),
        Form::Int4(_) => weight.elements.div_ceil(2),
    }
}

fn encoded(tensor: &TensorProto) -> Bytes {
    tensor.encode_to_vec().into()
}

/// A field with a message, without a copy of it.
fn whole(tag: u64, message: &Bytes) -> [Bytes; 2] {
    [wire::prefix(tag, message.len()), message.clone()]
}

/// Whether a field of the graph declares an initializer that is not there any more, or of another type.
fn names_one(field: &Field, dropped: &[&str]) -> bool {
    let name = || ValueInfoProto::decode(field.value.clone()).ok().and_then(|value| value.name);
    VALUES.contains(&field.tag) && name().is_some_and(|name| dropped.contains(&name.as_str()))
}

/// The model's fields with this graph and at least this operator set.
fn model(fields: &[Field], graph: Vec<Bytes>, opset: i64) -> Vec<Bytes> {
    // The last of several values counts.
    let found = fields.iter().filter(|field| field.tag == MODEL[0]).filter_map(|field| version(&field.raw)).next_back();
    let ir_version = found.unwrap_or(0).max(opset::ir_version(opset));
    let mut model = vec![wire::number(MODEL[0], ir_version.unsigned_abs())];
    for field in fields.iter().filter(|field| field.tag != MODEL[0]) {
        let set = OperatorSetIdProto::decode(field.value.clone()).ok().filter(|_| field.tag == MODEL[2]);
        let standard = set.is_some_and(|set| matches!(set.domain(), "" | "ai.onnx") && set.version() < opset);
        model.push(if standard {
            let set = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
            wire::field(MODEL[2], &set.encode_to_vec())
        } else {
            field.raw.clone()
        });
    }
    model.push(wire::prefix(MODEL[1], graph.iter().map(Bytes::len).sum()));
    model.extend(graph);
    model
}

/// The format's version in its field.
fn version(field: &Bytes) -> Option<i64> {
    vla_engines::onnx::proto::ModelProto::decode(field.clone()).ok()?.ir_version
}

/// An initializer as it was, its external data in the new file.
fn kept(network: &Network, place: usize, raw: &Bytes, store: &mut Store) -> Result<Bytes, Error> {
    let tensor = &network.graph().initializer[place];
    if tensor.data_location() != 1 {
        return Ok(raw.clone());
    }
    let entries = store.append(&network.elements(tensor)?)?;
    let fields = wire::fields(raw).unwrap_or_default();
    let mut parts: Vec<Bytes> =
        fields.into_iter().filter(|field| !PLACE.contains(&field.tag)).map(|field| field.raw).collect();
    parts.extend(entries.iter().map(|entry| wire::field(PLACE[0], &entry.encode_to_vec())));
    parts.push(wire::number(PLACE[1], 1));
    Ok(parts.concat().into())
}

/// A vector divided by another.
fn divided(network: &Network, place: usize, name: &str, by: &[f32], store: &mut Store) -> Result<TensorProto, Error> {
    let tensor = &network.graph().initializer[place];
    let float = Float::of_tensor(tensor);
    let values: Vec<f32> = read(network, tensor)?.iter().zip(by).map(|(value, by)| value / by).collect();
    if let Some(column) = values.iter().position(|value| !float.nearest(*value).is_finite()) {
        let (weight, dtype) = (tensor.name().to_owned(), float.name());
        return Err(Error::NotFinite { weight, dtype, row: 0, column, found: values[column] });
    }
    store.tensor(name, float.code(), &network.weights[place].dims, float.bytes(&values))
}

/// A product's weight with its factors, in the form that it has in the new network.
fn made_weight(network: &Network, weight: &Weight<'_>, store: &mut Store) -> Result<Vec<TensorProto>, Error> {
    let tensor = &network.graph().initializer[weight.tensor];
    let (float, dims) = (Float::of_tensor(tensor), network.weights[weight.tensor].dims.clone());
    let mut matrix = Matrix { rows: dims[0], columns: dims[1], values: read(network, tensor)? };
    scaled(&mut matrix, weight);
    finite(&matrix, weight, tensor.name(), float)?;
    if let Form::Float = weight.form {
        return Ok(vec![store.tensor(&weight.name, float.code(), &dims, float.bytes(&matrix.values))?]);
    }
    if weight.transposed {
        matrix = matrix.transposed();
    }
    let dims = [matrix.rows, matrix.columns];
    Ok(match &weight.form {
        Form::Float => Vec::new(),
        Form::Int8(scale) => {
            let Integers { values, scales, .. } = int8(&matrix, float);
            let bytes = values.into_iter().map(i8::cast_unsigned).collect();
            vec![
                store.tensor(&weight.name, INT8, &dims, bytes)?,
                store.tensor(scale, float.code(), &dims[1..], float.bytes(&scales))?,
            ]
        }
        Form::Folded(scale) => {
            let integers = int8(&matrix, float);
            let single = Float::F32;
            vec![
                store.tensor(&weight.name, single.code(), &dims, single.bytes(&integers.dequantized()))?,
                store.tensor(scale, single.code(), &dims[1..], single.bytes(&integers.scales))?,
            ]
        }
        Form::Int4(scale) => {
            let integers = int4(&matrix, float);
            let blocks = [matrix.rows.div_ceil(BLOCK), matrix.columns];
            vec![
                store.tensor(&weight.name, INT4, &dims, integers.packed())?,
                store.tensor(scale, float.code(), &blocks, float.bytes(&integers.scales))?,
            ]
        }
    })
}

/// Applies a weight's factors to the matrix as it is stored.
fn scaled(matrix: &mut Matrix, weight: &Weight<'_>) {
    let (outer, inner) = if weight.transposed { (weight.columns, weight.rows) } else { (weight.rows, weight.columns) };
    // Rows of the product are multiplied, its columns divided.
    let multiplied = |is_row: bool, value: f32, by: f32| if is_row { value * by } else { value / by };
    for (row, values) in matrix.values.chunks_exact_mut(matrix.columns.max(1)).enumerate() {
        if let Some(by) = outer.and_then(|by| by.get(row)) {
            values.iter_mut().for_each(|value| *value = multiplied(!weight.transposed, *value, *by));
        }
        if let Some(by) = inner {
            values.iter_mut().zip(by).for_each(|(value, by)| *value = multiplied(weight.transposed, *value, *by));
        }
    }
}

/// Refuses elements that the network's type does not hold, or not when their scale is rounded up.
fn finite(matrix: &Matrix, weight: &Weight<'_>, name: &str, float: Float) -> Result<(), Error> {
    let slack = if let Form::Float = weight.form { 1.0 } else { float.slack() };
    let Some(bad) = matrix.values.iter().position(|value| !float.nearest(*value * slack).is_finite()) else {
        return Ok(());
    };
    let (outer, inner) = (bad / matrix.columns, bad % matrix.columns);
    let (row, column) = if weight.transposed { (inner, outer) } else { (outer, inner) };
    Err(Error::NotFinite { weight: name.to_owned(), dtype: float.name(), row, column, found: matrix.values[bad] })
}
