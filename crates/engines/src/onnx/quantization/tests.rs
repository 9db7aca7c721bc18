use prost::Message as _;

use super::*;
use crate::onnx::ProductWeights;
use crate::onnx::proto::{ModelProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};

const F32: i32 = 1;
const I8: i32 = 3;
const F16: i32 = 10;
const I4: i32 = 22;

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("node:{output}")),
        op_type: Some(operator.to_owned()),
        attribute: Vec::new(),
    }
}

fn weight(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(vec![0; 4096].into()),
        ..TensorProto::default()
    }
}

fn network(nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> Network {
    let shape = TensorTypeProto { elem_type: Some(F32), shape: Some(TensorShapeProto::default()) };
    let value = |name: &str| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type: Some(shape.clone()) }),
    };
    let graph = GraphProto {
        node: nodes,
        initializer: weights,
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    Network::decode("net.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
}

/// Q and DQ of the input `x`, and its scale.
fn activation() -> (Vec<NodeProto>, Vec<TensorProto>) {
    let nodes =
        vec![node("QuantizeLinear", &["x", "xs", "z"], "xq"), node("DequantizeLinear", &["xq", "xs", "z"], "xd")];
    (nodes, vec![weight("xs", F32, &[]), weight("z", I8, &[])])
}

/// A product of the quantised input with a weight in the form of TensorRT 10, or with `floating` of TensorRT 8.
fn quantized(floating: bool) -> Network {
    let (mut nodes, mut weights) = activation();
    weights.extend([weight("ws", F32, &[16]), weight("wz", I8, &[16])]);
    if floating {
        weights.push(weight("w", F32, &[64, 16]));
        nodes.push(node("QuantizeLinear", &["w", "ws", "wz"], "wq"));
        nodes.push(node("DequantizeLinear", &["wq", "ws", "wz"], "wd"));
    } else {
        weights.push(weight("w", I8, &[64, 16]));
        nodes.push(node("DequantizeLinear", &["w", "ws", "wz"], "wd"));
    }
    nodes.push(node("MatMul", &["xd", "wd"], "y"));
    network(nodes, weights)
}

#[test]
fn a_weight_behind_quantize_and_dequantize_is_8_bit_in_either_form() {
    for (floating, stored) in [(false, 1024), (true, 4096)] {
        let network = quantized(floating);
        let products = network.products();
        let [product] = products.as_slice() else { panic!("one product, found {products:?}") };
        assert_eq!((product.weight.as_str(), product.elements, product.bytes), ("w", 1024, stored));
        assert_eq!((product.bits, product.floating_on_disk, product.is_int8()), (Some(8), floating, true));
        assert_eq!(network.product_weights(), ProductWeights { int8: 1024, ..ProductWeights::default() });
        // A byte a weight, its scales in single precision, and the zero points.
        assert_eq!(network.weight_bytes_in("int8"), 1024 + 4 * 17 + 17);
        assert_eq!(network.weight_bytes_in("fp32"), network.weight_bytes_in("int8"));
    }
}

#[test]
fn int8_in_the_precision_says_nothing_about_what_a_quantised_network_leaves_floating() {
    let (mut nodes, mut weights) = activation();
    nodes.push(node("MatMul", &["x", "w"], "y"));
    weights.push(weight("w", F32, &[64, 16]));
    let network = network(nodes, weights);
    assert_eq!(network.weight_bytes_in("int8+fp16"), 2 * 1024 + 2 + 1);
    assert_eq!(network.weight_bytes_in("int8"), 4 * 1024 + 4 + 1);
}

#[test]
fn weights_of_4_bits_take_half_a_byte_and_leave_the_product_floating() {
    let nodes = vec![node("DequantizeLinear", &["w", "s"], "wd"), node("MatMul", &["x", "wd"], "y")];
    let network = network(nodes, vec![weight("w", I4, &[128, 15]), weight("s", F16, &[1, 15])]);
    let products = network.products();
    assert_eq!((products[0].bits, products[0].is_int8(), products[0].bytes), (Some(4), false, 960));
    assert_eq!(network.product_weights(), ProductWeights { int4: 1920, ..ProductWeights::default() });
    assert_eq!(network.weight_bytes_in("fp16"), 960 + 30);
    assert_eq!(network.weight_bytes(), 960 + 30);
    assert!(network.is_quantized(), "DequantizeLinear alone");
}

#[test]
fn a_shared_weight_counts_once_and_other_products_are_not_listed() {
    let nodes = vec![
        node("Transpose", &["w"], "t"),
        node("MatMul", &["x", "t"], "a"),
        node("Gemm", &["a", "w"], "b"),
        node("MatMul", &["a", "b"], "attention"),
        node("MatMul", &["attention", "table"], "y"),
    ];
    let products = network(nodes, vec![weight("w", F32, &[8, 8]), weight("table", F32, &[2, 8, 8])]).products();
    let names: Vec<&str> = products.iter().map(|product| product.node.as_str()).collect();
    assert_eq!(names, ["node:a", "node:b"]);
    assert_eq!(ProductWeights::of(&products), ProductWeights { single: 64, ..ProductWeights::default() });
}

#[test]
fn a_relu_is_found_behind_a_bias_and_a_cast_and_not_behind_another_function() {
    let relu = |between: &str| {
        let (mut nodes, mut weights) = activation();
        nodes.extend([
            node("MatMul", &["xd", "w"], "p"),
            node("Cast", &["p"], "c"),
            node("Add", &["c", "b"], "s"),
            node(between, &["s"], "m"),
            node("Relu", &["m"], "y"),
        ]);
        weights.extend([weight("w", F32, &[8, 8]), weight("b", F32, &[8])]);
        network(nodes, weights).products()[0].relu.clone()
    };
    assert_eq!(relu("Identity").as_deref(), Some("node:y"));
    assert_eq!(relu("Gelu"), None);
}

#[test]
fn operations_of_integers_are_those_of_two_dequantised_inputs() {
    let typed = |dims: Vec<i64>| TypeProto {
        tensor_type: Some(TensorTypeProto {
            elem_type: Some(F32),
            shape: Some(TensorShapeProto {
                dim: dims
                    .iter()
                    .map(|n| crate::onnx::proto::DimensionProto { dim_value: Some(*n), dim_param: None })
                    .collect(),
            }),
        }),
    };
    for (form, int8) in [("both", 1), ("weights", 0)] {
        let (mut nodes, mut weights) = activation();
        weights.extend([weight("w", I8, &[64, 16]), weight("ws", F32, &[])]);
        nodes.push(node("DequantizeLinear", &["w", "ws"], "wd"));
        nodes.push(node("MatMul", &[if form == "both" { "xd" } else { "x" }, "wd"], "y"));
        let mut network = network(nodes, weights);
        network.graph.input[0].r#type = Some(typed(vec![5, 64]));
        let cost = network.cost(&BTreeMap::new(), 4);
        assert_eq!((cost.flops, cost.weight_flops, cost.int8_flops), (10240, 10240, int8 * 10240), "{form}");
        // The dequantised weight is no value of a run: x in 8 bits and again in 32.
        assert!(cost.live_bytes <= 5 * 64 * 5, "{}", cost.live_bytes);
    }
}

#[test]
fn a_graph_that_reads_itself_ends() {
    let nodes = vec![node("Identity", &["b"], "a"), node("Identity", &["a"], "b"), node("MatMul", &["a", "b"], "y")];
    assert!(network(nodes, Vec::new()).products().is_empty());
}
