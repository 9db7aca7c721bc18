//! A small network with every form that a product can have.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use vla_engines::onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

use crate::runtime::numbers;

pub(crate) const ROWS: usize = 24;
pub(crate) const WIDTH: usize = 128;
pub(crate) const INNER: usize = 256;

/// A network under construction, its floating-point values of one type.
pub(crate) struct Build {
    pub graph: GraphProto,
    pub half: bool,
    pub opset: i64,
    seed: u32,
}

impl Build {
    pub(crate) fn new(half: bool) -> Self {
        let graph = GraphProto { name: Some("block".to_owned()), ..GraphProto::default() };
        Self { graph, half, opset: 17, seed: 0 }
    }

    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
        });
    }

    /// A weight of seeded numbers, `offset` added.
    pub(crate) fn weight(&mut self, name: &str, dims: &[usize], scale: f32, offset: f32) {
        self.seed += 1;
        let values = numbers(dims.iter().product(), self.seed).iter().map(|value| value * scale + offset).collect();
        self.values(name, dims, values);
    }

    pub(crate) fn values(&mut self, name: &str, dims: &[usize], values: Vec<f32>) {
        let bytes: Vec<u8> = if self.half {
            values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
        } else {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|n| *n as i64).collect(),
            data_type: Some(if self.half { 10 } else { 1 }),
            name: Some(name.to_owned()),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
    }

    pub(crate) fn input(&mut self, name: &str, dims: &[usize]) {
        self.graph.input.push(value(name, dims, 1));
    }

    pub(crate) fn output(&mut self, name: &str, dims: &[usize]) {
        self.graph.output.push(value(name, dims, 1));
    }

    pub(crate) fn model(self) -> ModelProto {
        let entry = StringStringEntryProto { key: Some("note".to_owned()), value: Some("kept".to_owned()) };
        ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            metadata_props: vec![entry],
            ..ModelProto::default()
        }
    }

    pub(crate) fn write(self, folder: &Path) -> PathBuf {
        let file = folder.join("block.onnx");
        fs::write(&file, self.model().encode_to_vec()).expect("written");
        file
    }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), i: Some(value), r#type: Some(2), ..AttributeProto::default() }
}

pub(crate) fn value(name: &str, dims: &[usize], data_type: i32) -> ValueInfoProto {
    let dim = dims.iter().map(|n| DimensionProto { dim_value: Some(*n as i64), dim_param: None }).collect();
    let shape = TensorTypeProto { elem_type: Some(data_type), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(shape) }) }
}

/// A block of a transformer without its attention: queries, keys and values of one norm, a gated feed-forward network behind a
/// scale, and a head with a Relu. Input and outputs are in single precision; the first and the last matrix are one.
pub(crate) fn block(half: bool) -> Build {
    let mut net = Build::new(half);
    let (row, square) = ([WIDTH], [WIDTH, WIDTH]);
    net.input("input", &[ROWS, WIDTH]);
    net.output("output", &[ROWS, WIDTH]);
    net.weight("norm.weight", &row, 0.3, 1.0);
    net.weight("norm.bias", &row, 0.2, 0.0);
    for part in ["q", "k", "v"] {
        net.weight(&format!("self_attn.{part}_proj.weight"), &square, 0.15, 0.0);
    }
    net.weight("self_attn.q_proj.bias", &row, 0.5, 0.0);
    net.weight("scale", &row, 0.4, 1.0);
    net.weight("mlp.gate_proj.weight", &[INNER, WIDTH], 0.2, 0.0);
    net.weight("mlp.up_proj.weight", &[INNER, WIDTH], 0.2, 0.0);
    net.weight("mlp.up_proj.bias", &[INNER], 0.2, 0.0);
    net.weight("mlp.down_proj.weight", &[INNER, WIDTH], 0.1, 0.0);
    net.weight("head.weight", &square, 0.1, 0.0);
    net.weight("head.bias", &[1, WIDTH], 0.4, 0.0);
    let to = |code| vec![int("to", code)];
    if half {
        net.node("Cast", &["input"], "x", to(10));
    } else {
        net.node("Identity", &["input"], "x", Vec::new());
    }
    let linear = || vec![int("transB", 1)];
    net.node("LayerNormalization", &["x", "norm.weight", "norm.bias"], "normed", vec![int("axis", -1)]);
    net.node("Gemm", &["normed", "self_attn.q_proj.weight", "self_attn.q_proj.bias"], "q", linear());
    net.node("Gemm", &["normed", "self_attn.k_proj.weight"], "k", linear());
    net.node("MatMul", &["normed", "self_attn.v_proj.weight"], "v", Vec::new());
    net.node("Add", &["q", "k"], "qk", Vec::new());
    net.node("Tanh", &["qk"], "mixed", Vec::new());
    net.node("Add", &["mixed", "v"], "mixed.v", Vec::new());
    net.node("Mul", &["mixed.v", "scale"], "scaled", Vec::new());
    net.node("Gemm", &["scaled", "mlp.gate_proj.weight"], "gate", linear());
    net.node("Gemm", &["scaled", "mlp.up_proj.weight", "mlp.up_proj.bias"], "up", linear());
    net.node("Sigmoid", &["gate"], "sigmoid", Vec::new());
    net.node("Mul", &["gate", "sigmoid"], "silu", Vec::new());
    net.node("Mul", &["silu", "up"], "gated", Vec::new());
    net.node("MatMul", &["gated", "mlp.down_proj.weight"], "down", Vec::new());
    net.node("Gemm", &["down", "head.weight", "head.bias"], "inner", Vec::new());
    net.node("Relu", &["inner"], "relu", Vec::new());
    net.node("MatMul", &["relu", "head.weight"], "last", Vec::new());
    if half {
        net.node("Cast", &["last"], "output", to(1));
    } else {
        net.node("Identity", &["last"], "output", Vec::new());
    }
    net
}
