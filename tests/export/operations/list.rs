//! What the lists hold, and which exports write them.

use std::collections::BTreeMap as Map;

use vla_engines::operations::{Operation, Source};
use vla_export::layout::Network as Cut;
use vla_export::{backbone_dit, vendor};

use super::*;

fn names(program: &Program) -> Vec<&'static str> {
    program.operations.iter().map(Operation::name).collect()
}

/// Names of operations between two stages' cuts: of one block.
fn block(case: &Case, stage: &str) -> Vec<&'static str> {
    let scratch = tempfile::tempdir().expect("scratch");
    case.export(scratch.path());
    names(&Listed::read(scratch.path(), stage).program)
}

#[test]
fn a_block_is_few_operations() {
    const HEAD: [&str; 7] = ["norm", "linear", "attention", "linear", "norm", "linear", "linear"];
    const QWEN3: [&str; 10] =
        ["norm", "linear", "rotary", "rotary", "attention", "linear", "norm", "linear", "activate", "linear"];
    for family in FAMILIES {
        let mut case = Case::of(family);
        case.options.blocks_per_engine = Some(1);
        // Cross-attention and self-attention.
        assert_eq!(block(&case, "step_1"), HEAD, "{}", family.title());
        assert_eq!(block(&case, "step_2"), HEAD, "{}", family.title());
        let language = block(&case, "language_1");
        assert_eq!(language[..10], QWEN3, "{}", family.title());
        let rest: &[&str] = if family.name == "n1d6" { &["norm", "norm"] } else { &["concat", "gather", "add"] };
        assert_eq!(language[10..], *rest, "{}", family.title());
    }
    let mut case = Case::of(&N1D7);
    case.options.blocks_per_engine = Some(1);
    assert_eq!(block(&case, "fusion_1"), HEAD);
    // The fourth layer has no tap; the merger follows it.
    let (layer, rest) = (block(&case, "vision_3"), ["norm", "permute", "linear", "linear"]);
    assert_eq!(layer, [["norm", "linear", "rotary"].as_slice(), &HEAD[2..], &rest].concat());
    case = Case::of(&N1D6);
    case.options.blocks_per_engine = Some(1);
    let rest = ["norm", "permute", "norm", "linear", "linear"];
    assert_eq!(block(&case, "vision_1"), [HEAD.as_slice(), &rest].concat());
}

#[test]
fn what_surrounds_the_blocks_is_few_operations_too() {
    for family in FAMILIES {
        let case = Case::of(family);
        let count = |stage: &str| block(&case, stage).len();
        assert_eq!(count("step"), 7 * case.model.head.blocks + 8, "{}", family.title());
        // Gather and keys and values of text and of images in one product each; k0, v0, k2, v2; the state.
        assert_eq!(count("context"), 2 + 2 + 4 + 2, "{}", family.title());
    }
}

#[test]
fn every_weight_of_a_product_is_read_once() {
    for family in FAMILIES {
        for stacked_projections in [false, true] {
            let scratch = tempfile::tempdir().expect("scratch");
            let mut case = Case::of(family);
            case.options.stacked_projections = stacked_projections;
            for stage in case.export(scratch.path()) {
                let program = Listed::read(scratch.path(), &stage).program;
                let network = Network::open(&scratch.path().join(format!("{stage}.onnx"))).expect("a network");
                let products = network.graph().node.iter().filter(|node| ["Gemm", "MatMul"].contains(&node.op_type()));
                // Of attention, both factors are results.
                let held = |name: &&String| network.weights.iter().any(|weight| weight.name == **name);
                let mut expected: Vec<&String> = products.filter_map(|node| node.input.get(1).filter(held)).collect();
                let parts = program.operations.iter().filter_map(|operation| match operation {
                    Operation::Linear { parts, .. } => Some(parts),
                    _ => None,
                });
                let mut found: Vec<&String> = parts.flatten().map(|part| &program.weights[part.weight].name).collect();
                expected.sort();
                found.sort();
                assert_eq!(found, expected, "{stage}");
                assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{stage}");
            }
        }
    }
}

#[test]
fn every_weight_that_is_listed_is_read_and_none_that_only_onnx_needs() {
    for family in FAMILIES {
        let scratch = tempfile::tempdir().expect("scratch");
        for stage in Case::of(family).export(scratch.path()) {
            let program = Listed::read(scratch.path(), &stage).program;
            let mut reads: Map<usize, usize> = (0..program.weights.len()).map(|index| (index, 0)).collect();
            for operation in &program.operations {
                let operands = operation.operands().into_iter().filter_map(|operand| match operand.source {
                    Source::Weight(index) => Some(index),
                    Source::Value(_) => None,
                });
                operation.weights().into_iter().chain(operands).for_each(|index| *reads.entry(index).or_default() += 1);
            }
            for (index, count) in reads {
                let name = &program.weights[index].name;
                // One table serves all layers.
                let table = ["rope_", "vision_cos", "vision_sin", "image_places", "zeros[1x"];
                let shared = table.iter().any(|prefix| name.starts_with(prefix));
                assert!(count == 1 || (shared && count > 1), "{stage}: {name} is read {count} times");
                assert!(!["scalar[", "ints[", "ones["].iter().any(|prefix| name.starts_with(prefix)), "{name}");
            }
        }
    }
}

#[test]
fn only_networks_that_run_on_a_robot_have_a_list() {
    let case = Case::of(&N1D6);
    let lists = |dir: &Path| {
        let files = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        files.filter(|name| name.to_string_lossy().ends_with(".operations.json")).count()
    };
    let scratch = tempfile::tempdir().expect("scratch");
    let stages = case.export(scratch.path());
    assert_eq!(lists(scratch.path()), stages.len());
    let scratch = tempfile::tempdir().expect("scratch");
    let options = Options { debug_outputs: true, ..case.options.clone() };
    Case { options, ..case.clone() }.export(scratch.path());
    assert_eq!(lists(scratch.path()), 0);
    for layout in [backbone_dit::LAYOUT, vendor::LAYOUT] {
        let scratch = tempfile::tempdir().expect("scratch");
        let views = [View { camera: "a".to_owned(), width: 84, height: 56, images: 1 }];
        let network = Cut { model: &case.model, views: &views, image_token: 1 };
        let weights = DemoWeights::new(7, case.model.clone());
        layout.write_stages(&weights, &network, &case.options, scratch.path()).expect("export");
        assert_eq!(lists(scratch.path()), 0, "{}", layout.name);
    }
}

#[test]
fn a_list_of_another_network_is_refused() {
    let scratch = tempfile::tempdir().expect("scratch");
    let [first, second] = ["a", "b"].map(|name| scratch.path().join(name));
    let case = Case::of(&N1D6);
    for (dir, blocks) in [(&first, None), (&second, Some(3))] {
        std::fs::create_dir(dir).expect("a folder");
        let options = Options { blocks_per_engine: blocks, ..case.options.clone() };
        Case { options, ..case.clone() }.export(dir);
    }
    let [mine, other] = [&first, &second].map(|dir| dir.join("vision.onnx"));
    Program::read_beside(&mine).expect("its own");
    std::fs::copy(path_beside(&mine), path_beside(&other)).expect("copied");
    Program::read_beside(&other).expect("the same network");
    std::fs::copy(first.join("context.operations.json"), path_beside(&mine)).expect("copied");
    let error = Program::read_beside(&mine).expect_err("of another network").to_string();
    assert!(error.contains("vision.operations.json") && error.contains("SHA-256"), "{error}");
}
