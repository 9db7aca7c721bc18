//! The demo policy's stages.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;
use vla_engines::onnx::Network;
use vla_export::demo;
use vla_quantize::recipe::{Target, WeightType};
use vla_quantize::{Kind, carrier, products};

use crate::program::{Sizes, deviation, recipe, written};
use crate::runtime::{difference, feeds, run};

const STAGES: [&str; 4] = ["vision", "language", "context", "step"];

fn bundle() -> TempDir {
    let folder = TempDir::new().expect("scratch");
    demo::bundle::write(&vla_export::family::N1D6, folder.path(), 7).expect("the demo policy");
    folder
}

/// Text tokens and all of them.
fn sizes() -> Sizes {
    [("T".to_owned(), 20), ("S".to_owned(), 80)].into()
}

fn kinds(file: &Path) -> BTreeMap<(Kind, Option<usize>), usize> {
    let mut kinds = BTreeMap::new();
    for product in products(&Network::open(file).expect("a network")) {
        *kinds.entry((product.kind, product.block)).or_default() += 1;
    }
    kinds
}

#[test]
fn products_have_kinds_and_blocks() {
    let bundle = bundle();
    let of = |stage: &str| kinds(&bundle.path().join(format!("{stage}.onnx")));
    use Kind::{AttentionOutput, CrossAttention, Edge, FeedForward, SelfAttention};
    let vision = [
        ((FeedForward, Some(0)), 2),
        ((FeedForward, Some(1)), 2),
        ((SelfAttention, Some(0)), 3),
        ((SelfAttention, Some(1)), 3),
        ((AttentionOutput, Some(0)), 1),
        ((AttentionOutput, Some(1)), 1),
        ((Edge, None), 3),
    ];
    assert_eq!(of("vision"), vision.into());
    let language = [
        ((FeedForward, Some(0)), 3),
        ((FeedForward, Some(1)), 3),
        ((SelfAttention, Some(0)), 3),
        ((SelfAttention, Some(1)), 3),
        ((AttentionOutput, Some(0)), 1),
        ((AttentionOutput, Some(1)), 1),
    ];
    assert_eq!(of("language"), language.into());
    assert_eq!(
        of("context"),
        [((CrossAttention, Some(0)), 2), ((CrossAttention, Some(2)), 2), ((Edge, None), 2)].into()
    );
    let mut step: BTreeMap<_, _> = [((Edge, None), 5)].into();
    for block in 0..4 {
        let (kind, count) = if block % 2 == 0 { (CrossAttention, 1) } else { (SelfAttention, 3) };
        step.extend([
            ((kind, Some(block)), count),
            ((AttentionOutput, Some(block)), 1),
            ((FeedForward, Some(block)), 2),
        ]);
    }
    assert_eq!(of("step"), step);
}

#[test]
fn norms_and_gates_carry_a_division_and_modulated_norms_do_not() {
    let bundle = bundle();
    let carried = |stage: &str| {
        let network = Network::open(&bundle.path().join(format!("{stage}.onnx"))).expect("a network");
        let products = products(&network);
        products
            .iter()
            .filter(|product| carrier(&network, &product.input).is_some())
            .map(|product| (product.kind, product.block))
            .fold(BTreeMap::new(), |mut found: BTreeMap<_, usize>, key| {
                *found.entry(key).or_default() += 1;
                found
            })
    };
    use Kind::{Edge, FeedForward, SelfAttention};
    // Of a GELU's two products the first, of a gated one all.
    assert_eq!(
        carried("vision"),
        [
            ((FeedForward, Some(0)), 1),
            ((FeedForward, Some(1)), 1),
            ((SelfAttention, Some(0)), 3),
            ((SelfAttention, Some(1)), 3),
            ((Edge, None), 1)
        ]
        .into()
    );
    assert_eq!(
        carried("language"),
        [
            ((FeedForward, Some(0)), 3),
            ((FeedForward, Some(1)), 3),
            ((SelfAttention, Some(0)), 3),
            ((SelfAttention, Some(1)), 3)
        ]
        .into()
    );
    let step: BTreeMap<_, usize> =
        (0..4).map(|block| ((FeedForward, Some(block)), 1)).chain([((Edge, None), 1)]).collect();
    assert_eq!(carried("step"), step);
}

#[test]
fn every_stage_computes_its_recipe_for_both_targets() {
    let bundle = bundle();
    let folder = TempDir::new().expect("scratch");
    for stage in STAGES {
        let (file, sizes) = (bundle.path().join(format!("{stage}.onnx")), sizes());
        let recipe = recipe(&file, &sizes, true, |_| Some(WeightType::Int8));
        let network = Network::open(&file).expect("a network");
        let inputs = feeds(&network, &sizes);
        let names: Vec<&str> = network.outputs.iter().map(|output| output.name.as_str()).collect();
        let float = run(&file, &sizes, &inputs, &names);
        let found = [Target::Trt8, Target::Trt10].map(|target| {
            let out = written(&file, &recipe, target, folder.path());
            let apart = deviation(&file, &out, &recipe, &sizes);
            assert!(apart <= 1e-5, "{stage}, {target}: {apart:e}");
            let quantized = Network::open(&out).expect("a network");
            let weights = quantized.product_weights();
            assert_eq!(
                (weights.int8, weights.elements()),
                (network.product_weights().single, weights.int8),
                "{stage}, {target}"
            );
            assert_eq!(
                (&quantized.inputs, &quantized.outputs),
                (&network.inputs, &network.outputs),
                "{stage}, {target}"
            );
            run(&out, &sizes, &inputs, &names)
        });
        for name in &names {
            assert_eq!(found[0][*name], found[1][*name], "{stage}: {name}");
            let apart = difference(&found[0][*name], &float[*name]);
            assert!(apart > 0.0 && apart <= 0.1, "{stage}: {name}: {apart:e}");
        }
    }
}

#[test]
fn results_of_products_are_found_again_by_their_weights() {
    let bundle = bundle();
    let folder = TempDir::new().expect("scratch");
    let file = bundle.path().join("vision.onnx");
    let recipe = recipe(&file, &sizes(), false, |_| Some(WeightType::Int8));
    let network = Network::open(&file).expect("a network");
    for target in [Target::Trt8, Target::Trt10] {
        let quantized = Network::open(&written(&file, &recipe, target, folder.path())).expect("a network");
        assert_eq!(quantized.inner(), network.inner(), "{target}");
        let (cost, before) = (quantized.cost(&sizes(), 4), network.cost(&sizes(), 4));
        assert_eq!((cost.flops, cost.weight_flops), (before.flops, before.weight_flops), "{target}");
        assert!(cost.unknown.is_empty(), "{target}: {:?}", cost.unknown);
    }
}
