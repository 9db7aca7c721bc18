//! The networks that are measured.

use std::path::Path;

use prost::Message as _;

use super::{Error, stage, unwritten};
use vla_base::sys::fs::replace;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_engines::Stage;
use vla_engines::onnx::proto::{
    self, AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// ONNX's codes of element types.
const F32: i32 = 1;
const I8: i32 = 3;
const F16: i32 = 10;
/// Products in the chain.
const CHAIN: usize = 8;
/// Columns of one weight that is read, and its rows: 2048 to 8192 as in a feed-forward product.
const READ: [usize; 2] = [2048, 8192];

/// Types of the matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Multiplied {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// 8-bit integers between floating tensors, weights as TensorRT 10 and ONNX Runtime take them.
    I8,
    /// The same with floating weights behind QuantizeLinear, as TensorRT 8 takes them.
    I8Floating,
}

/// A network, and what a run of it does.
pub struct Network {
    model: ModelProto,
    /// Bytes that are read, or operations that are done.
    pub work: u64,
}

impl Network {
    /// Writes it as `<name>.onnx`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<Stage, Error> {
        let file = folder.join(name).with_extension("onnx");
        replace(&file, &self.model.encode_to_vec()).map_err(|error| unwritten(&file, error))?;
        Ok(stage(&file))
    }
}

/// Products of one row with weights of this many bytes, rounded to whole weights: the sum of them all.
pub fn reading(dtype: DType, bytes: usize) -> Network {
    let data_type = proto::element_type(dtype);
    let one = READ[0] * READ[1] * dtype.size();
    let count = (bytes / one).max(1);
    let (mut nodes, mut weights) = (Vec::new(), Vec::new());
    let mut sum = String::new();
    for index in 0..count {
        let (weight, made) = (format!("w{index}"), format!("y{index}"));
        weights.push(matrix(&weight, data_type, READ, index));
        nodes.push(node("MatMul", &["x", &weight], &made));
        sum = if index == 0 {
            made
        } else {
            let next = format!("s{index}");
            nodes.push(node("Add", &[&sum, &made], &next));
            next
        };
    }
    let model = model(nodes, weights, value("x", data_type, [1, READ[0]]), value(&sum, data_type, [1, READ[1]]));
    Network { model, work: (count * one) as u64 }
}

/// A chain of products of square matrices.
pub fn multiplying(multiplied: Multiplied, side: usize) -> Network {
    let data_type = if multiplied == Multiplied::F16 { F16 } else { F32 };
    let square = [side, side];
    let (mut nodes, mut weights) = (Vec::new(), Vec::new());
    let weight = match multiplied {
        Multiplied::F32 | Multiplied::F16 => {
            weights.push(matrix("w", data_type, square, 0));
            "w"
        }
        Multiplied::I8 | Multiplied::I8Floating => {
            weights.push(scalar("zero", I8, &[0]));
            weights.push(scalar("x.scale", F32, &(1.0_f32 / 32.0).to_le_bytes()));
            weights.push(scalar("w.scale", F32, &(1.0 / (64.0 * (side as f32).sqrt())).to_le_bytes()));
            if multiplied == Multiplied::I8 {
                weights.push(matrix("w8", I8, square, 0));
            } else {
                weights.push(matrix("w", F32, square, 0));
                nodes.push(node("QuantizeLinear", &["w", "w.scale", "zero"], "w8"));
            }
            nodes.push(node("DequantizeLinear", &["w8", "w.scale", "zero"], "wd"));
            "wd"
        }
    };
    let mut last = "x".to_owned();
    for index in 0..CHAIN {
        let made = format!("y{index}");
        if data_type == F32 && multiplied != Multiplied::F32 {
            let (integers, again) = (format!("{last}.q"), format!("{last}.d"));
            nodes.push(node("QuantizeLinear", &[&last, "x.scale", "zero"], &integers));
            nodes.push(node("DequantizeLinear", &[&integers, "x.scale", "zero"], &again));
            last = again;
        }
        nodes.push(node("MatMul", &[&last, weight], &made));
        last = made;
    }
    let model = model(nodes, weights, value("x", data_type, square), value(&last, data_type, square));
    Network { model, work: (2 * CHAIN * side * side * side) as u64 }
}

/// Values of an input, in -1..1.
pub(super) fn ramp(dtype: DType, dims: &[usize]) -> Option<HostTensor> {
    let mut tensor = HostTensor::zeros(dtype, dims)?;
    match tensor.data_mut() {
        Data::F32(values) => values.iter_mut().zip(numbers(1)).for_each(|(value, n)| *value = f32::from(n) / 128.0),
        // Sign and mantissa vary; 2^-1 to 1.
        Data::F16(values) => values.iter_mut().zip(numbers(1)).for_each(|(value, n)| {
            let bits = n.cast_unsigned();
            *value = half_of(bits, 14);
        }),
        _ => return None,
    }
    Some(tensor)
}

/// A value of half precision with this exponent field, its sign and the start of its mantissa from `bits`.
fn half_of(bits: u8, exponent: u16) -> half::f16 {
    half::f16::from_bits(u16::from(bits & 0x80) << 8 | exponent << 10 | u16::from(bits & 0x7f) << 3)
}

/// Small integers in an order without a pattern that a cache or a compression of memory could use.
fn numbers(seed: usize) -> impl Iterator<Item = i8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3].cast_signed()
    })
}

/// A weight with values of about one over the root of its rows, so that no product overflows.
fn matrix(name: &str, data_type: i32, [rows, columns]: [usize; 2], seed: usize) -> TensorProto {
    let count = rows * columns;
    let values = numbers(seed + 1).take(count);
    let root = (rows as f32).sqrt();
    let bytes = match data_type {
        F32 => values.flat_map(|n| (f32::from(n) / 64.0 / root).to_le_bytes()).collect(),
        F16 => {
            let exponent = 15_u16.saturating_sub(root.log2().round() as u16);
            values.flat_map(|n| half_of(n.cast_unsigned(), exponent).to_le_bytes()).collect()
        }
        _ => values.map(i8::cast_unsigned).collect::<Vec<u8>>(),
    };
    TensorProto {
        dims: vec![rows as i64, columns as i64],
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

fn scalar(name: &str, data_type: i32, bytes: &[u8]) -> TensorProto {
    TensorProto {
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(bytes.to_vec().into()),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        attribute: Vec::<AttributeProto>::new(),
    }
}

fn value(name: &str, data_type: i32, dims: [usize; 2]) -> ValueInfoProto {
    let dim = dims.map(|n| DimensionProto { dim_value: Some(n as i64), dim_param: None }).to_vec();
    let tensor = TensorTypeProto { elem_type: Some(data_type), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn model(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    input: ValueInfoProto,
    output: ValueInfoProto,
) -> ModelProto {
    let graph = GraphProto {
        node,
        initializer,
        name: Some("roof".to_owned()),
        input: vec![input],
        output: vec![output],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        ..ModelProto::default()
    }
}
