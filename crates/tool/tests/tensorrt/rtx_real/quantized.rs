//! Networks with QuantizeLinear and DequantizeLinear: their 8-bit weights stay 8-bit in the plan.

use prost::Message as _;
use vla_engines::onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

use vla_base::tensor::DType;
use vla_engines::onnx::Network;
use vla_export::Family;
use vla_export::family::{FAMILIES, N1D6};
use vla_policy::PolicySpec;
use vla_quantize::recipe::{Recipe, Target, WeightType};
use vla_quantize::{int4_problem, products as products_of, rewrite};

use super::networks::{KERNELS, demo, real_widths};
use super::*;

/// ONNX's codes of element types.
const INT8: i32 = 3;
const FP16: i32 = 10;
/// Width of the square products: the feed-forward parts of GR00T's DiT are 1536 wide.
const WIDTH: usize = 1536;
const LAYERS: usize = 4;

fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(name.to_owned()),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn axis(axis: i64) -> AttributeProto {
    AttributeProto { name: Some("axis".to_owned()), i: Some(axis), r#type: Some(2), ..AttributeProto::default() }
}

fn initializer(name: &str, data_type: i32, dims: &[usize], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(data_type),
        dims: dims.iter().map(|&dim| i64::try_from(dim).expect("small")).collect(),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

fn tensor(name: &str, data_type: i32, dims: &[usize]) -> ValueInfoProto {
    let dim = |&dim: &usize| DimensionProto {
        dim_value: Some(i64::try_from(dim).expect("small")),
        ..DimensionProto::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(data_type), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: None, version: Some(19) };
    ModelProto { ir_version: Some(9), opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() }
}

pub(super) fn write(path: &Path, model: ModelProto) {
    std::fs::write(path, model.encode_to_vec()).expect("written");
}

/// A product, and behind it an operator that TensorRT-RTX does not have.
pub(super) fn unknown_operator() -> ModelProto {
    let one = half::f16::ONE.to_le_bytes();
    model(GraphProto {
        name: Some("det".to_owned()),
        node: vec![node("/head/MatMul", "MatMul", &["x", "w"], "y"), node("/head/Det", "Det", &["y"], "z")],
        initializer: vec![initializer("w", FP16, &[4, 4], one.repeat(16))],
        input: vec![tensor("x", FP16, &[4, 4])],
        output: vec![tensor("z", FP16, &[])],
        ..GraphProto::default()
    })
}

/// Products in a row. `quantized`: 8-bit weights with a scale for each column, and activations with one scale; else FP16.
fn products(quantized: bool) -> ModelProto {
    let mut graph = GraphProto {
        name: Some("products".to_owned()),
        input: vec![tensor("x0", FP16, &[50, WIDTH])],
        output: vec![tensor(&format!("x{LAYERS}"), FP16, &[50, WIDTH])],
        ..GraphProto::default()
    };
    let value = |index: usize| index.wrapping_mul(2_654_435_761).to_le_bytes()[2];
    let scale = half::f16::from_f32(1.0 / 512.0).to_le_bytes();
    if quantized {
        graph.initializer.push(initializer("activation_scale", FP16, &[], scale.to_vec()));
        graph.initializer.push(initializer("zero", INT8, &[], vec![0]));
        graph.initializer.push(initializer("weight_scale", FP16, &[WIDTH], scale.repeat(WIDTH)));
        graph.initializer.push(initializer("weight_zero", INT8, &[WIDTH], vec![0; WIDTH]));
    }
    for layer in 0..LAYERS {
        let named = |what: &str| format!("/layer{layer}/{what}");
        let (input, output, weight) = (format!("x{layer}"), format!("x{}", layer + 1), named("weight"));
        let seeds = (0..WIDTH * WIDTH).map(|index| index + layer);
        if !quantized {
            let half = |index: usize| half::f16::from_f32((f32::from(value(index)) - 127.5) / 4096.0).to_le_bytes();
            graph.initializer.push(initializer(&weight, FP16, &[WIDTH, WIDTH], seeds.flat_map(half).collect()));
            graph.node.push(node(&named("MatMul"), "MatMul", &[&input, &weight], &output));
            continue;
        }
        graph.initializer.push(initializer(&weight, INT8, &[WIDTH, WIDTH], seeds.map(value).collect()));
        let (q, dq, wide) = (named("q"), named("dq"), named("wide"));
        graph.node.push(node(&named("Quantize"), "QuantizeLinear", &[&input, "activation_scale", "zero"], &q));
        graph.node.push(node(&named("Dequantize"), "DequantizeLinear", &[&q, "activation_scale", "zero"], &dq));
        let mut weights = node(&named("Weights"), "DequantizeLinear", &[&weight, "weight_scale", "weight_zero"], &wide);
        weights.attribute.push(axis(1));
        graph.node.push(weights);
        graph.node.push(node(&named("MatMul"), "MatMul", &[&dq, &wide], &output));
    }
    model(graph)
}

#[test]
fn weights_behind_dequantizelinear_stay_8_bit_in_the_plan() {
    let Some(rtx) = Rtx::open() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let plan = |name: &str, model: ModelProto| {
        let onnx: PathBuf = dir.path().join(name);
        write(&onnx, model);
        rtx.plan(&onnx, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let (half, int8) = (plan("half.onnx", products(false)), plan("int8.onnx", products(true)));
    assert_eq!((half.layers("dequantize"), int8.layers("dequantize")), (0, 2 * LAYERS));
    assert_eq!(int8.layers("quantize"), LAYERS);
    let elements = (LAYERS * WIDTH * WIDTH) as u64;
    assert!((2 * elements..2 * elements + (4 << 20)).contains(&half.bytes), "{} bytes in FP16", half.bytes);
    assert!((elements..elements + (4 << 20)).contains(&int8.bytes), "{} bytes in INT8", int8.bytes);
}

/// Writes a network anew with the weights of every product in 8 bits, or in 4 where they have blocks for it.
fn quantized(network: &Path, weights: WeightType, target: Target) -> PathBuf {
    let read = Network::open(network).expect("a network");
    let mut recipe = Recipe::default();
    for product in products_of(&read) {
        let int4 = weights == WeightType::Int4 && int4_problem(&product).is_none();
        recipe.products.insert(product.node, if int4 { WeightType::Int4 } else { WeightType::Int8 });
        // No calibration: a build does not depend on the values of scales.
        recipe.activations.insert(product.input, 0.05);
    }
    let out = network.with_extension(format!("{weights}-{target}.onnx"));
    rewrite(network, &recipe, target, &out).unwrap_or_else(|error| panic!("{}: {error}", network.display()));
    out
}

/// Every stage of a policy, quantised, parses and builds in the form for each reader.
fn build_quantized(rtx: &Rtx, policy: &Path, weights: WeightType, targets: &[Target]) {
    for stage in PolicySpec::load(policy).expect("a policy").engine_stages() {
        for &target in targets {
            let name = format!("{} {weights} {target}", stage.name);
            let onnx = quantized(&stage.onnx, weights, target);
            let plan = rtx.plan(&onnx, &stage.profile).unwrap_or_else(|error| panic!("{name}: {error}"));
            let nodes = (plan.nodes(&["QuantizeLinear"]), plan.nodes(&["DequantizeLinear"]));
            assert!(nodes.1 > 0, "{name}");
            assert_eq!(
                (plan.layers("quantize"), plan.layers("dequantize")),
                nodes,
                "{name}: {:?}",
                plan.built.layer_types
            );
        }
    }
}

const BOTH: &[Target] = &[Target::Trt8, Target::Trt10];

#[test]
fn the_demo_policy_builds_in_8_bits_in_single_precision() {
    let Some(rtx) = Rtx::open() else { return };
    let policy = demo(&N1D6, vla_export::split::LAYOUT, DType::F32);
    build_quantized(&rtx, &policy.path().join("policy"), WeightType::Int8, BOTH);
}

#[test]
fn the_demo_policy_builds_in_8_bits_in_half_precision() {
    let Some(rtx) = Rtx::open() else { return };
    let policy = demo(&N1D6, vla_export::split::LAYOUT, DType::F16);
    build_quantized(&rtx, &policy.path().join("policy"), WeightType::Int8, BOTH);
}

#[test]
fn the_demo_policy_in_the_layout_backbone_dit_builds_in_8_bits() {
    let Some(rtx) = Rtx::open() else { return };
    let policy = demo(&N1D6, vla_export::backbone_dit::LAYOUT, DType::F16);
    build_quantized(&rtx, &policy.path().join("policy"), WeightType::Int8, BOTH);
}

#[test]
fn the_reach_policy_builds_in_8_bits() {
    let Some(rtx) = Rtx::open() else { return };
    // The networks are written beside those that they are made from.
    let scratch = tempfile::tempdir().expect("scratch");
    for entry in std::fs::read_dir(vla_trt_tests::root().join("data/reach_policy")).expect("the policy") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).expect("copied");
    }
    build_quantized(&rtx, scratch.path(), WeightType::Int8, BOTH);
}

#[test]
fn one_block_of_the_real_widths_has_its_weights_in_the_plan_in_16_8_and_4_bits() {
    let Some(rtx) = Rtx::open() else { return };
    for family in FAMILIES {
        real_widths_of(&rtx, family);
    }
}

fn real_widths_of(rtx: &Rtx, family: &'static Family) {
    let scratch = tempfile::tempdir().expect("scratch");
    for stage in real_widths(family, scratch.path()) {
        let half = scratch.path().join(format!("{}.onnx", stage.name));
        let plan = rtx.plan(&half, &stage.profile).unwrap_or_else(|error| panic!("{}: {error}", stage.name));
        plan.assert_whole(&stage.name, KERNELS);
        if stage.name == "context" {
            continue;
        }
        assert!(plan.weights > 40 << 20, "{}: {} bytes are no block of the real width", stage.name, plan.weights);
        for (weights, share) in [(WeightType::Int8, 0.52), (WeightType::Int4, 0.32)] {
            let name = format!("{} {weights}", stage.name);
            let onnx = quantized(&half, weights, Target::Trt10);
            let planned = Network::open(&onnx).expect("a network").weight_bytes_in("fp16");
            assert!((planned as f64) < share * plan.weights as f64, "{name}: {planned} bytes planned");
            let quantized = rtx.plan(&onnx, &stage.profile).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                quantized.bytes < planned * 21 / 20 + (2 << 20),
                "{name}: {} bytes in the plan, {planned} planned",
                quantized.bytes
            );
        }
    }
}
