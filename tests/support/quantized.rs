//! Networks quantised in the plainest way: one scale a weight, and activations in steps of 1/16. For tests of what knows such
//! networks; how well they compute is nobody's concern.

use std::fs;
use std::path::Path;

use prost::Message as _;
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};

const F32: i32 = 1;
const I8: i32 = 3;

/// How weights lie in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Floating, behind QuantizeLinear and DequantizeLinear: for TensorRT 8.
    Floating,
    /// 8-bit integers behind DequantizeLinear: for TensorRT 10 and newer.
    Integers,
}

/// Writes the network in `file` anew with its products in 8 bits, those whose node's name `wanted` accepts; returns how many.
pub fn quantize(file: &Path, form: Form, wanted: impl Fn(&str) -> bool) -> usize {
    let network = Network::open(file).expect("a network");
    let mut graph = network.graph().clone();
    let products: Vec<(String, String)> =
        network.products().into_iter().map(|product| (product.node, product.weight)).collect();
    let chosen: Vec<&(String, String)> = products.iter().filter(|(node, _)| wanted(node)).collect();
    graph.initializer.push(tensor("quantized.zero", I8, &[], vec![0]));
    graph.initializer.push(tensor("quantized.step", F32, &[], (1.0_f32 / 16.0).to_le_bytes().to_vec()));
    let mut nodes = Vec::new();
    for mut node in std::mem::take(&mut graph.node) {
        if chosen.iter().any(|(name, _)| name == node.name()) {
            let (input, weight) = (node.input[0].clone(), node.input[1].clone());
            let place = node.name().to_owned();
            nodes.extend(pair(&input, &format!("{place}.x"), "quantized.step"));
            nodes.extend(of_weight(&network, &mut graph, &weight, &place, form));
            node.input[0] = format!("{place}.x.d");
            node.input[1] = format!("{place}.w.d");
        }
        nodes.push(node);
    }
    graph.node = nodes;
    let read: Vec<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
    graph.initializer.retain(|tensor| read.contains(tensor.name.as_ref().expect("a name")));
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    let model =
        ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() };
    let count = chosen.len();
    drop(network);
    fs::write(file, model.encode_to_vec()).expect("written");
    count
}

/// Nodes that give `<name>.w.d`, and the weight's tensors.
fn of_weight(network: &Network, graph: &mut GraphProto, weight: &str, place: &str, form: Form) -> Vec<NodeProto> {
    let name = format!("{place}.w");
    let stored = graph.initializer.iter().find(|tensor| tensor.name() == weight).expect("a weight").clone();
    assert_eq!(stored.data_type(), F32, "{weight}");
    let bytes = network.elements(&stored).expect("its elements");
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let scale = values.iter().fold(1e-8_f32, |most, value| most.max(value.abs())) / 127.0;
    graph.initializer.push(tensor(&format!("{name}.s"), F32, &[], scale.to_le_bytes().to_vec()));
    if form == Form::Floating {
        return pair(weight, &name, &format!("{name}.s"));
    }
    let integers = values.iter().map(|value| ((value / scale).round_ties_even() as i8).to_le_bytes()[0]).collect();
    graph.initializer.push(tensor(&format!("{name}.q"), I8, &stored.dims, integers));
    vec![node(
        "DequantizeLinear",
        &[&format!("{name}.q"), &format!("{name}.s"), "quantized.zero"],
        &format!("{name}.d"),
    )]
}

/// QuantizeLinear and DequantizeLinear of `value`: `<name>.q`, `<name>.d`.
fn pair(value: &str, name: &str, scale: &str) -> Vec<NodeProto> {
    let (quantized, dequantized) = (format!("{name}.q"), format!("{name}.d"));
    vec![
        node("QuantizeLinear", &[value, scale, "quantized.zero"], &quantized),
        node("DequantizeLinear", &[&quantized, scale, "quantized.zero"], &dequantized),
    ]
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        attribute: Vec::new(),
    }
}

fn tensor(name: &str, data_type: i32, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}
