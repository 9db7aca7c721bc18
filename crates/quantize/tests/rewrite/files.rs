//! What is kept of a file, and that the same recipe gives the same bytes.

use std::fs;

use prost::Message as _;
use tempfile::TempDir;
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use vla_quantize::recipe::{Target, WeightType};
use vla_quantize::rewrite;

use crate::networks::{self, int};
use crate::program::{Sizes, recipe, written};
use crate::runtime::{difference, feeds, run};

#[test]
fn the_same_recipe_gives_the_same_bytes() {
    let (first, second) = (TempDir::new().expect("scratch"), TempDir::new().expect("scratch"));
    let file = networks::block(false).write(first.path());
    let recipe = recipe(&file, &Sizes::new(), true, |_| Some(WeightType::Int8));
    for target in [Target::Trt8, Target::Trt10] {
        let [a, b] = [first.path(), second.path()].map(|folder| written(&file, &recipe, target, folder));
        assert_eq!(fs::read(&a).expect("written"), fs::read(&b).expect("written"), "{target}");
        let data = |file: &std::path::Path| fs::read(file.with_extension("onnx.data")).expect("written");
        assert_eq!(data(&a), data(&b), "{target}");
    }
}

#[test]
fn weights_lie_on_pages_beside_the_model() {
    let folder = TempDir::new().expect("scratch");
    let file = networks::block(false).write(folder.path());
    let recipe = recipe(&file, &Sizes::new(), false, |_| Some(WeightType::Int8));
    let out = folder.path().join("out.onnx");
    let written = rewrite(&file, &recipe, Target::Trt10, &out).expect("written");
    let network = Network::open(&out).expect("a network");
    assert_eq!(network.data_files, written.data.clone().into_iter().collect::<Vec<_>>());
    assert!(network.data_problems().is_empty());
    let outside = network.external_weights().expect("places");
    assert!(!outside.is_empty() && outside.iter().all(|weight| weight.offset % 4096 == 0));
    let size = |path: &std::path::Path| fs::metadata(path).expect("a file").len();
    assert_eq!(written.bytes, size(&out) + size(&written.data.expect("weights")));
}

#[test]
fn fields_that_the_schema_does_not_know_stay() {
    let folder = TempDir::new().expect("scratch");
    let file = networks::block(false).write(folder.path());
    let recipe = recipe(&file, &Sizes::new(), true, |_| Some(WeightType::Int8));
    let mut bytes = fs::read(&file).expect("written");
    // doc_string of the model (6), and of its graph (10), which is merged with the one before.
    bytes.extend([6 << 3 | 2, 3]);
    bytes.extend(b"doc");
    bytes.extend([7 << 3 | 2, 7, 10 << 3 | 2, 5]);
    bytes.extend(b"inner");
    fs::write(&file, &bytes).expect("written");
    let found = fs::read(written(&file, &recipe, Target::Trt10, folder.path())).expect("written");
    let has = |part: &[u8]| found.windows(part.len()).any(|window| window == part);
    assert!(has(b"\x32\x03doc") && has(b"\x52\x05inner"));
    let model = ModelProto::decode(found.as_slice()).expect("a model");
    assert_eq!((model.metadata_props[0].key(), model.metadata_props[0].value()), ("note", "kept"));
}

#[test]
fn an_older_set_of_operators_is_raised_where_the_form_needs_it() {
    let folder = TempDir::new().expect("scratch");
    let mut net = networks::block(false);
    let axes =
        AttributeProto { name: Some("axes".to_owned()), ints: vec![-1], r#type: Some(7), ..AttributeProto::default() };
    net.node("ReduceMean", &["output"], "mean", vec![axes, int("keepdims", 1)]);
    net.graph.node.push(NodeProto {
        input: vec!["output".to_owned()],
        output: vec!["left".to_owned(), "right".to_owned()],
        name: Some("split".to_owned()),
        op_type: Some("Split".to_owned()),
        attribute: vec![int("axis", 1)],
    });
    net.output("mean", &[networks::ROWS, 1]);
    net.output("left", &[networks::ROWS, networks::WIDTH / 2]);
    let (file, sizes) = (net.write(folder.path()), Sizes::new());
    let recipe = recipe(&file, &sizes, false, |product| (product.node == "down").then_some(WeightType::Int4));
    let out = written(&file, &recipe, Target::Trt10, folder.path());
    let model = ModelProto::decode(fs::read(&out).expect("written").as_slice()).expect("a model");
    assert_eq!((model.ir_version, model.opset_import[0].version), (Some(10), Some(21)));
    let found = run(&out, &sizes, &feeds(&Network::open(&file).expect("a network"), &sizes), &["mean", "left"]);
    let row = |row: usize| &found["output"][row * networks::WIDTH..(row + 1) * networks::WIDTH];
    let means: Vec<f32> = (0..networks::ROWS).map(|at| row(at).iter().sum::<f32>() / networks::WIDTH as f32).collect();
    assert!(difference(&found["mean"], &means) <= 1e-5);
    let left: Vec<f32> = (0..networks::ROWS).flat_map(|at| row(at)[..networks::WIDTH / 2].to_vec()).collect();
    assert_eq!(found["left"], left);
}

#[test]
fn elements_that_are_listed_one_by_one_are_read_and_kept() {
    let folder = TempDir::new().expect("scratch");
    let mut net = networks::block(false);
    for tensor in &mut net.graph.initializer {
        let raw = tensor.raw_data.take().expect("raw");
        tensor.float_data = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    }
    let (raw, sizes) = (networks::block(false).write(folder.path()), Sizes::new());
    let recipe = recipe(&raw, &sizes, true, |product| (product.node != "k").then_some(WeightType::Int8));
    let expected = written(&raw, &recipe, Target::Trt8, folder.path());
    let inputs = feeds(&Network::open(&raw).expect("a network"), &sizes);
    let expected = run(&expected, &sizes, &inputs, &["output"]);
    let listed = net.write(folder.path());
    let found = run(&written(&listed, &recipe, Target::Trt8, folder.path()), &sizes, &inputs, &["output"]);
    assert_eq!(found["output"], expected["output"]);
}
