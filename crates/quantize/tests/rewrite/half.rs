//! Networks in half precision.

use std::path::Path;

use tempfile::TempDir;
use vla_engines::onnx::Network;
use vla_quantize::recipe::{Recipe, Target, WeightType};

use crate::networks::{self, Build, ROWS, WIDTH, int, value};
use crate::program::{Sizes, deviation, recipe, written};
use crate::runtime::{difference, feeds, run};

/// ONNX's code of half precision.
const HALF: i32 = 10;

/// As the network's type has the scales.
fn rounded_up(mut recipe: Recipe) -> Recipe {
    recipe.activations.values_mut().for_each(|scale| *scale = vla_quantize::Float::F16.round_up(*scale));
    recipe
}

/// Products that read the network's input and make its outputs: ONNX Runtime's CPU kernels round nothing to half precision between
/// two operators.
fn products() -> Build {
    let mut net = Build::new(true);
    net.graph.input.push(value("x", &[ROWS, WIDTH], HALF));
    for name in ["q", "k", "v"] {
        net.graph.output.push(value(name, &[ROWS, WIDTH], HALF));
        net.weight(&format!("{name}.weight"), &[WIDTH, WIDTH], 0.15, 0.0);
    }
    net.weight("q.bias", &[WIDTH], 0.5, 0.0);
    net.node("Gemm", &["x", "q.weight", "q.bias"], "q", vec![int("transB", 1)]);
    net.node("Gemm", &["x", "k.weight"], "k", vec![int("transB", 1)]);
    net.node("MatMul", &["x", "v.weight"], "v", Vec::new());
    net
}

/// A scalar of a network.
fn scale(file: &Path, name: &str) -> f32 {
    let network = Network::open(file).expect("a network");
    let tensor = network.graph().initializer.iter().find(|tensor| tensor.name() == name).expect("a scale");
    let bytes = network.elements(tensor).expect("inside");
    match bytes.as_ref() {
        [a, b] => half::f16::from_le_bytes([*a, *b]).to_f32(),
        [a, b, c, d] => f32::from_le_bytes([*a, *b, *c, *d]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_targets_compute_the_8_bit_program_to_half_precision() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (products().write(folder.path()), Sizes::new());
    let mut recipe = recipe(&file, &sizes, false, |_| Some(WeightType::Int8));
    // Between two numbers of half precision, nearer to the lower one.
    recipe.activations.insert("x".to_owned(), 0.015_625 + 1e-6);
    let as_stored = rounded_up(recipe.clone());
    for target in [Target::Trt8, Target::Trt10] {
        let out = written(&file, &recipe, target, folder.path());
        // Half precision has a part in 2048.
        let apart = deviation(&file, &out, &as_stored, &sizes);
        assert!(apart <= 1e-3, "{target}: {apart:e}");
        assert_eq!(scale(&out, "x.scale").to_bits(), as_stored.activations["x"].to_bits(), "{target}");
        assert!(as_stored.activations["x"] > recipe.activations["x"]);
    }
}

#[test]
fn a_block_in_half_precision_is_near_the_float_one_for_both_targets() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(true).write(folder.path()), Sizes::new());
    let recipe = recipe(&file, &sizes, true, |_| Some(WeightType::Int8));
    let inputs = feeds(&Network::open(&file).expect("a network"), &sizes);
    let float = run(&file, &sizes, &inputs, &["output"]);
    for (target, opset) in [(Target::Trt8, 17), (Target::Trt10, 19)] {
        let out = written(&file, &recipe, target, folder.path());
        assert_eq!(Network::open(&out).expect("a network").opsets, [(String::new(), opset)], "{target}");
        let apart = difference(&run(&out, &sizes, &inputs, &["output"])["output"], &float["output"]);
        assert!(apart > 0.0 && apart <= 0.1, "{target}: {apart:e}");
    }
}

#[test]
fn on_tensorrt_8_products_are_islands_in_single_precision() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(true).write(folder.path()), Sizes::new());
    let recipe = recipe(&file, &sizes, false, |_| Some(WeightType::Int8));
    for (target, single) in [(Target::Trt8, true), (Target::Trt10, false)] {
        let network = Network::open(&written(&file, &recipe, target, folder.path())).expect("a network");
        let types = network.inferred(&Sizes::new());
        let graph = network.graph();
        let (mut scales, mut products) = (0, 0);
        for node in &graph.node {
            if matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear") {
                scales += 1;
                assert_eq!(types[&node.input[1]].data_type == 1, single, "{target}: {}", node.name());
            }
            if node.op_type() == "MatMul" {
                products += 1;
                assert_eq!(types[&node.output[0]].data_type == 1, single, "{target}: {}", node.name());
            }
            assert_eq!(node.op_type() == "Max", single && node.name() == "relu", "{target}: {}", node.name());
        }
        // Five tensors are read by products; seven matrices, with two nodes each where they are folded.
        assert_eq!((scales, products), (10 + 7 * if single { 2 } else { 1 }, 8), "{target}");
    }
}
