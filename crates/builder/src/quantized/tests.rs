use prost::Message as _;

use super::*;
use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};

const F32: i32 = 1;
const I8: i32 = 3;
const MIB: u64 = 1 << 20;

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

/// A weight of `mib` Mi elements in a file beside the model, which nothing here reads.
fn weight(name: &str, data_type: i32, mib: i64) -> TensorProto {
    let place = StringStringEntryProto { key: Some("location".to_owned()), value: Some("net.onnx.data".to_owned()) };
    TensorProto {
        dims: vec![1024 * mib, 1024],
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        external_data: vec![place],
        data_location: Some(1),
        ..TensorProto::default()
    }
}

/// `quantized` Mi weights of 8 bits in the form of TensorRT 10, and `floating` Mi others.
fn network(quantized: i64, floating: i64) -> Network {
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], "xq"),
        node("DequantizeLinear", &["xq", "s", "z"], "xd"),
        node("DequantizeLinear", &["w", "s", "z"], "wd"),
        node("MatMul", &["xd", "wd"], "y"),
        node("MatMul", &["y", "f"], "r"),
    ];
    let scalar = |name: &str, data_type| TensorProto {
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(vec![0; 4].into()),
        ..TensorProto::default()
    };
    let initializer = vec![weight("w", I8, quantized), weight("f", F32, floating), scalar("s", F32), scalar("z", I8)];
    let graph = GraphProto { node: nodes, initializer, ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    Network::decode("net.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
}

#[test]
fn an_engine_as_large_as_in_fp16_does_not_hold_the_integers() {
    let (network, precision) = (network(100, 20), Precision::INT8_FP16);
    let judged = |mib: u64| {
        too_large(&network, precision, "10.3.0", mib * MIB).map(|sizes| (sizes.planned >> 20, sizes.most >> 20))
    };
    // 100 MiB of integers and 20 Mi others in FP16; with few MiB of descriptions and kernels.
    assert_eq!(judged(145), None);
    assert_eq!(judged(240), Some((140, 190)), "all in FP16");
    assert_eq!(judged(195), Some((140, 190)), "half of the weights in FP16");
    let single = too_large(&network, Precision { int8: true, ..Precision::FP32 }, "10.3.0", 280 * MIB);
    assert_eq!(single.map(|sizes| sizes.planned >> 20), Some(180), "what is floating is in single precision");
}

#[test]
fn what_tensorrt_8_is_allowed_to_build_of_a_network_in_parts_passes_the_gate() {
    // 70 % of the weights as integers; TensorRT 8 keeps the others in single precision: 70 MiB and 30 times 4.
    let (network, precision, built) = (network(70, 30), Precision::INT8_FP16, 193 * MIB);
    assert!(warnings(&network, "8.6.1").len() == 1, "not refused before the build");
    assert_eq!(too_large(&network, precision, "8.6.1", built), None);
    // Not one of them an integer: 70 times 2, and 30 times 4.
    let floating = too_large(&network, precision, "8.6.1", 260 * MIB);
    assert_eq!(floating.map(|sizes| (sizes.planned >> 20, sizes.most >> 20)), Some((190, 225)));
    for newer in ["10.3.0", "RTX 1.7.1"] {
        let sizes = too_large(&network, precision, newer, built);
        assert_eq!(sizes.map(|sizes| (sizes.planned >> 20, sizes.most >> 20)), Some((130, 165)), "{newer}");
    }
}

#[test]
fn few_weights_are_not_judged_by_size() {
    assert_eq!(too_large(&network(20, 1), Precision::INT8_FP16, "10.3.0", 4000 * MIB), None);
}

#[test]
fn a_network_of_another_form_is_refused_with_the_command_that_writes_it() {
    let refused = problems(&network(9, 1), Precision::INT8_FP16, "8.6.1");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("--target trt8"), "{refused:?}");
    assert_eq!(problems(&network(9, 1), Precision::INT8_FP16, "10.3.0"), Vec::<String>::new());
    let (few, many) = (problems(&network(1, 9), Precision::INT8_FP16, "8.6.1"), warnings(&network(9, 1), "8.6.1"));
    assert_eq!((few.len(), many.len()), (2, 1), "larger than FP16 is refused, else a warning: {few:?} {many:?}");
    assert_eq!(warnings(&network(9, 1), "10.3.0"), Vec::<String>::new());
}

#[test]
fn integers_of_the_network_need_int8_in_the_precision_where_the_builder_has_flags() {
    let problems = |tensorrt| problems(&network(9, 1), Precision::FP16, tensorrt).len();
    assert_eq!([problems("10.3.0"), problems("11.0.0"), problems("RTX 1.7.1")], [1, 0, 0]);
}

#[test]
fn a_precision_names_what_the_network_holds_where_types_come_from_it_alone() {
    use vla_engines::provenance::DeviceIdentity;

    let folder = tempfile::tempdir().expect("a folder");
    let onnx = folder.path().join("net.onnx");
    let model = ModelProto { graph: Some(network(1, 1).graph().clone()), ..ModelProto::default() };
    std::fs::write(&onnx, model.encode_to_vec()).expect("written");
    let lacking = |precision: Precision, tensorrt: &str| {
        let device = DeviceIdentity {
            tensorrt: tensorrt.into(),
            gpu: "Orin".into(),
            sm_version: "8.7".into(),
            sm_count: 8,
            driver: String::new(),
            cuda: String::new(),
            l4t: None,
            board: None,
        };
        let request = crate::Request { onnx: onnx.clone(), precision, ..crate::Request::default() };
        request.lacking(&device).expect("a network").is_some()
    };
    let int8 = Precision { int8: true, ..Precision::FP32 };
    for tensorrt in ["11.0.0", "RTX 1.7.1"] {
        assert!(!lacking(int8, tensorrt), "8-bit weights are in the network: {tensorrt}");
        assert!(lacking(Precision::INT8_FP16, tensorrt), "the others are in single precision: {tensorrt}");
    }
    assert!(!lacking(Precision::INT8_FP16, "10.3.0"), "the builder has flags for both");
}
