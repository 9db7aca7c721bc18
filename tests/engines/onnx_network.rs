//! Reading networks for planning: what the exporter wrote comes back, costs are those worked out by hand, and no file
//! makes the reader panic.

use vla_trt_tests::demo;
use vla_trt_tests::fuzz;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use vla_base::tensor::{DType, Dim};
use vla_engines::memory::estimate;
use vla_engines::memory::estimate::Size;
use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use vla_engines::onnx::{Cost, Network, cost};
use vla_export::onnx::{Graph, Value};
use vla_policy::PolicySpec;

fn fixed(dims: &[usize]) -> Vec<Dim> {
    dims.iter().map(|n| Dim::Fixed(*n)).collect()
}

fn weight(graph: &mut Graph, name: &str, dims: &[usize]) -> Value {
    let bytes = vec![0u8; dims.iter().product::<usize>() * 4];
    graph.initializer(name, DType::F32, dims, |out| out.write_all(&bytes)).expect("a weight")
}

/// x `[T, 16]` -> relu(x W + b) V `[T, 8]`, W `[16, 32]`, V `[32, 8]`.
fn two_layers(dir: &Path) -> Network {
    let path = dir.join("net.onnx");
    let mut graph = Graph::new("net", &path);
    let x = graph.input("x", DType::F32, &[Dim::Symbol("T".into()), Dim::Fixed(16)]).expect("x");
    let (w, b, v) =
        (weight(&mut graph, "w", &[16, 32]), weight(&mut graph, "b", &[32]), weight(&mut graph, "v", &[32, 8]));
    let hidden = graph.gemm(&x, &w, Some(&b), false).expect("gemm");
    let hidden = graph.relu(&hidden);
    let y = graph.matmul(&hidden, &v).expect("matmul");
    graph.output("y", &y).expect("y");
    graph.finish().expect("written");
    Network::open(&path).expect("reads")
}

fn at(t: usize) -> BTreeMap<String, usize> {
    [("T".to_owned(), t)].into()
}

#[test]
fn a_network_says_what_it_takes_makes_and_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let network = two_layers(dir.path());
    assert_eq!(network.inputs[0].to_string(), "x: f32 [T, 16]");
    assert_eq!(network.outputs[0].to_string(), "y: f32 [T, 8]");
    assert_eq!(network.weight_bytes(), 4 * (16 * 32 + 32 + 32 * 8));
    assert_eq!(network.data_files, [dir.path().join("net.onnx.data")]);
}

#[test]
fn products_inside_a_network_are_named_by_their_weights_with_the_inputs_symbols() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("deep.onnx");
    let mut graph = Graph::new("deep", &path);
    let x = graph.input("x", DType::F32, &[Dim::Symbol("T".into()), Dim::Fixed(16)]).expect("x");
    let [w, v] = ["w", "v"].map(|name| weight(&mut graph, name, &[16, 16]));
    let once = graph.matmul(&x, &w).expect("matmul");
    // The weight is there a second time, and twice as many rows are no dimension of the input.
    let twice = graph.matmul(&once, &w).expect("matmul");
    let doubled = graph.concat(&[&x, &twice], 0).expect("concat");
    let y = graph.matmul(&doubled, &v).expect("matmul");
    let y = graph.relu(&y);
    graph.output("y", &y).expect("y");
    graph.finish().expect("written");
    let network = Network::open(&path).expect("reads");
    let found: Vec<String> = network
        .inner()
        .iter()
        .map(|inner| format!("{}: {} {:?}", inner.weight, inner.tensor.dtype, inner.tensor.dims))
        .collect();
    assert_eq!(found, [r#"w: f32 [Symbol("T"), Fixed(16)]"#]);
}

#[test]
fn a_network_that_shows_more_is_the_same_file_with_more_outputs_and_its_weights_beside_it() {
    let (dir, scratch) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let network = two_layers(dir.path());
    let inner = network.inner();
    assert_eq!(inner.iter().map(|inner| inner.weight.as_str()).collect::<Vec<_>>(), ["w"], "v makes an output");
    for _ in 0..2 {
        let shown = network.write_showing(&[&inner[0].tensor], &scratch.path().join("a/b")).expect("written");
        let bytes = std::fs::read(&shown).expect("reads");
        assert!(bytes.starts_with(&std::fs::read(&network.path).expect("reads")), "what we do not know stays");
        let shown = Network::open(&shown).expect("reads");
        assert_eq!(shown.outputs[0], network.outputs[0]);
        assert_eq!(shown.outputs[1], inner[0].tensor);
        assert_eq!((shown.inputs, shown.weights), (network.inputs.clone(), network.weights.clone()));
        assert!(shown.data_files.iter().all(|file| file.is_file()), "{:?}", shown.data_files);
    }
}

#[test]
fn cost_is_the_one_worked_out_by_hand_and_scales_with_the_symbol() {
    let dir = tempfile::tempdir().expect("a folder");
    let network = two_layers(dir.path());
    // Hidden values before and after the activation are alive at once: 2 * T * 32 values.
    let by_hand = |t: u64, bytes: u64| Cost {
        flops: 2 * t * 16 * 32 + 2 * t * 32 * 8,
        weight_flops: 2 * t * 16 * 32 + 2 * t * 32 * 8,
        int8_flops: 0,
        gathered: BTreeMap::new(),
        live_bytes: 2 * t * 32 * bytes,
        unknown: Vec::new(),
    };
    assert_eq!(network.cost(&at(10), 4), by_hand(10, 4));
    assert_eq!(network.cost(&at(70), 2), by_hand(70, 2));
}

#[test]
fn weights_shrink_with_the_precision_and_vectors_stay_in_half_precision_under_int8() {
    let dir = tempfile::tempdir().expect("a folder");
    let network = two_layers(dir.path());
    let matrices = 16 * 32 + 32 * 8;
    assert_eq!(network.weight_bytes_in("fp32"), 4 * (matrices + 32));
    assert_eq!(network.weight_bytes_in("fp16"), 2 * (matrices + 32));
    assert_eq!(network.weight_bytes_in("int8+fp16"), matrices + 2 * 32);
    assert_eq!(cost::float_bytes("bf16", 2), 2);
}

#[test]
fn values_shown_in_another_shape_take_no_memory_of_their_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("net.onnx");
    let mut graph = Graph::new("net", &path);
    let x = graph.input("x", DType::F32, &fixed(&[4, 6])).expect("x");
    let a = graph.relu(&x);
    let shown = graph.reshape(&a, &fixed(&[24])).expect("reshape");
    let b = graph.relu(&shown);
    let back = graph.reshape(&b, &fixed(&[4, 6])).expect("reshape");
    let c = graph.add(&a, &back).expect("add");
    graph.output("y", &c).expect("y");
    graph.finish().expect("written");
    // a and b at once: each is shown in another shape, and c is the output.
    assert_eq!(Network::open(&path).expect("reads").cost(&BTreeMap::new(), 4).live_bytes, 2 * 24 * 4);
}

#[test]
fn every_operator_of_the_demo_policy_is_followed_at_every_size_of_its_profiles() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("loads");
    let mut flops = Vec::new();
    for stage in &spec.stages {
        let network = Network::open(&stage.onnx).expect("reads");
        let cost = |size| network.cost(&estimate::symbols(stage, Some(&network), size), 4);
        for size in [Size::Least, Size::Usual, Size::Most] {
            assert_eq!(cost(size).unknown, Vec::<String>::new(), "{}", stage.name);
        }
        assert!(cost(Size::Least).live_bytes <= cost(Size::Most).live_bytes);
        assert!(cost(Size::Most).flops > 0 && network.weight_bytes() > 0, "{}", stage.name);
        flops.push((stage.name.as_str(), cost(Size::Least).flops < cost(Size::Most).flops));
        let names: Vec<&str> = stage.inputs.iter().map(|input| input.tensor.as_str()).collect();
        let mut own: Vec<&str> = network.inputs.iter().map(|spec| spec.name.as_str()).collect();
        own.sort_by_key(|name| names.iter().position(|n| n == name));
        assert_eq!(own, names, "{}", stage.name);
    }
    assert_eq!(flops, [("vision", false), ("language", true), ("context", true), ("step", true)]);
}

#[test]
fn weights_outside_the_models_folder_are_refused() {
    let entry = |key: &str, value: &str| vla_engines::onnx::proto::StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    for location in ["../secret", "/etc/passwd", ""] {
        let weight = TensorProto {
            name: Some("w".into()),
            data_location: Some(1),
            external_data: vec![entry("location", location)],
            ..TensorProto::default()
        };
        let graph = GraphProto { initializer: vec![weight], ..GraphProto::default() };
        let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
        let error = Network::decode(Path::new("m.onnx"), bytes.into()).expect_err("refused").to_string();
        assert!(error.contains("beside the model"), "{error}");
    }
}

#[test]
fn an_operator_that_is_not_known_is_named_and_the_rest_is_still_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let network = two_layers(dir.path());
    let bytes = std::fs::read(&network.path).expect("reads");
    let mut model = ModelProto::decode(Bytes::from(bytes)).expect("decodes");
    let graph = model.graph.as_mut().expect("a graph");
    let node = |operator: &str, input: &str, output: &str| NodeProto {
        op_type: Some(operator.into()),
        input: vec![input.into()],
        output: vec![output.into()],
        ..NodeProto::default()
    };
    graph.node.push(node("FancyAttention", "x", "z"));
    graph.node.push(node("Relu", "z", "zz"));
    let network = Network::decode(&network.path, model.encode_to_vec().into()).expect("reads");
    let cost = network.cost(&at(10), 4);
    assert_eq!(cost.unknown, ["FancyAttention", "Relu"]);
    assert_eq!(cost.flops, 2 * 10 * 16 * 32 + 2 * 10 * 32 * 8);
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = std::fs::read(two_layers(dir.path()).path).expect("reads");
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("loads");
    let mut seeds = vec![small];
    seeds.extend(spec.stages.iter().map(|stage| std::fs::read(&stage.onnx).expect("reads")));
    let symbols: BTreeMap<String, usize> = [("T", 20), ("S", usize::MAX)].map(|(s, n)| (s.to_owned(), n)).into();
    fuzz::check!(3_000, seeds).for_each(|bytes: &[u8]| {
        if let Ok(network) = Network::decode(Path::new("m.onnx"), Bytes::copy_from_slice(bytes)) {
            network.cost(&symbols, 4);
            network.weight_bytes_in("int8");
        }
    });
}
