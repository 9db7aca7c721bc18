use prost::Message as _;

use super::*;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};

const F32: i32 = 1;
const U8: i32 = 2;
const I8: i32 = 3;
const I32: i32 = 6;
const F16: i32 = 10;
const I4: i32 = 22;

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        attribute: Vec::new(),
    }
}

fn weight(name: &str, data_type: i32, dims: &[i64], byte: u8) -> TensorProto {
    let bytes = 4 * dims.iter().product::<i64>().unsigned_abs() as usize;
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(vec![byte; bytes].into()),
        ..TensorProto::default()
    }
}

/// One quantised product `y`, and the things that differ: the weight's form, its scale's type, its zero point, what reads it.
struct Case {
    weight: i32,
    scale: i32,
    zero: (i32, u8),
    reader: &'static str,
    /// Elements of a product that is not quantised.
    floating: i64,
}

/// The form for TensorRT 8: floating weight, scales in single precision.
const TRT8: Case = Case { weight: F32, scale: F32, zero: (I8, 0), reader: "Max", floating: 0 };
/// The form for TensorRT 10.
const TRT10: Case = Case { weight: I8, ..TRT8 };

fn network(case: &Case) -> Network {
    let mut nodes =
        vec![node("QuantizeLinear", &["x", "s", "z"], "xq"), node("DequantizeLinear", &["xq", "s", "z"], "xd")];
    let mut weights = vec![weight("w", case.weight, &[100, 10], 1), weight("s", case.scale, &[], 1)];
    weights.push(weight("z", case.zero.0, &[], case.zero.1));
    if case.weight == F32 {
        nodes.push(node("QuantizeLinear", &["w", "s", "z"], "wq"));
    }
    let integers = if case.weight == F32 { "wq" } else { "w" };
    nodes.push(node("DequantizeLinear", &[integers, "s", "z"], "wd"));
    nodes.extend([node("MatMul", &["xd", "wd"], "y"), node(case.reader, &["y"], "r")]);
    if case.floating > 0 {
        weights.push(weight("f", F32, &[case.floating, 1], 0));
        nodes.push(node("MatMul", &["r", "f"], "attention"));
    }
    let graph = GraphProto { node: nodes, initializer: weights, ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    Network::decode("net.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
}

fn found(case: &Case, tensorrt: &str) -> Vec<Unfit> {
    check(&network(case), tensorrt)
}

#[test]
fn each_form_is_taken_by_the_versions_that_it_is_for() {
    for version in ["8.6.1", "9.2.0", "10.3.0", "11.0.0", "RTX 1.7.1"] {
        assert_eq!(found(&TRT8, version), [], "{version}");
    }
    for version in ["10.3.0", "11.0.0", "RTX 1.7.1"] {
        assert_eq!(found(&TRT10, version), [], "{version}");
    }
    let on_8 = found(&TRT10, "8.6.1");
    assert!(matches!(on_8.as_slice(), [Unfit::IntegerWeights { products, .. }] if products == &["y"]), "{on_8:?}");
    assert!(on_8.iter().all(|unfit| unfit.is_refused() && unfit.is_form()));
}

#[test]
fn scales_in_half_precision_and_4_bit_weights_are_newer_than_tensorrt_8() {
    let half = Case { scale: F16, ..TRT8 };
    assert!(matches!(found(&half, "8.6.1").as_slice(), [Unfit::HalfScales { .. }]));
    assert_eq!(found(&half, "10.3.0"), []);
    let int4 = Case { weight: I4, ..TRT8 };
    let on_8 = found(&int4, "8.6.1");
    assert!(matches!(on_8.as_slice(), [Unfit::Int4 { .. }]), "{on_8:?}");
    assert!(on_8[0].is_refused() && !on_8[0].is_form());
    assert_eq!(found(&int4, "RTX 1.7.1"), []);
}

#[test]
fn a_relu_behind_an_int8_product_is_refused_where_it_is_left_out() {
    let relu = Case { reader: "Relu", ..TRT8 };
    assert!(matches!(found(&relu, "8.6.0").as_slice(), [Unfit::Relu { nodes }] if nodes == &["r"]));
    assert_eq!(found(&relu, "10.3.0"), []);
}

#[test]
fn a_partly_quantised_stage_is_refused_where_single_precision_makes_it_larger_than_fp16() {
    for (floating, refused) in [(1, None), (300, Some(false)), (600, Some(true))] {
        let on_8 = found(&Case { floating, ..TRT8 }, "8.6.1");
        let refusals: Vec<bool> = on_8.iter().map(Unfit::is_refused).collect();
        assert_eq!(refusals.first().copied(), refused, "{floating}: {on_8:?}");
        assert_eq!(found(&Case { floating, ..TRT8 }, "10.3.0"), [], "{floating}");
    }
}

#[test]
fn other_zero_points_and_integer_biases_are_refused_by_every_version() {
    for version in ["8.6.1", "10.3.0", "RTX 1.7.1"] {
        for zero in [(U8, 0), (I8, 3)] {
            let unfit = found(&Case { zero, ..TRT8 }, version);
            assert!(
                matches!(unfit.as_slice(), [Unfit::ZeroPoint { nodes }] if nodes.len() == 4),
                "{version} {unfit:?}"
            );
        }
        let nodes = vec![node("DequantizeLinear", &["b", "s"], "bias")];
        let weights = vec![weight("b", I32, &[4], 7), weight("s", F32, &[4], 1)];
        let graph = GraphProto { node: nodes, initializer: weights, ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let network = Network::decode("net.onnx".as_ref(), model.encode_to_vec().into()).expect("a network");
        assert!(matches!(check(&network, version).as_slice(), [Unfit::IntegerBias { .. }]), "{version}");
    }
}

#[test]
fn a_message_names_three_and_counts_the_rest() {
    let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    assert_eq!(list(&names), "'a', 'b', 'c' and 2 more");
    assert_eq!(list(&names[..1]), "'a'");
}
