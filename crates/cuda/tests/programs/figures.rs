//! How short plans are.

use std::collections::BTreeMap;

use vla_base::tensor::DType;
use vla_cuda::plan::{Plan, Summary, WeightLayout};
use vla_cuda::tactics::Split;
use vla_export::family::{N1D6, N1D7};

use super::demo::{Policy, sizes};

/// Figures of each stage.
fn summaries(policy: &Policy) -> BTreeMap<&'static str, Summary> {
    let summary = |program| {
        let layout = WeightLayout::new(program);
        Plan::new(program, &layout, &sizes(20, 38), &Split::parts(4, false)).unwrap().summary()
    };
    policy.stages.iter().map(|(name, network)| (*name, summary(&network.program))).collect()
}

fn counts<const N: usize>(kernels: [(&'static str, usize); N]) -> BTreeMap<&'static str, usize> {
    kernels.into_iter().collect()
}

#[test]
fn a_step_is_four_products_two_norms_and_an_attention_a_block() {
    for (family, blocks) in [(&N1D6, 4), (&N1D7, 4)] {
        let step = &summaries(&Policy::new(family, DType::F32))["step"];
        // Two products of the action encoder, three of the output and decoder.
        assert_eq!(step.products, 4 * blocks + 2 + 3, "{step}");
        // The encoder's two ends, a copy of the state's row, the output's norm and the update.
        let kernels =
            counts([("norm", 2 * blocks + 1), ("attention", blocks), ("elementwise", 2), ("gather", 1), ("euler", 1)]);
        assert_eq!(step.kernels, kernels);
        assert!(step.moved < step.floor * 4, "{step}");
    }
}

#[test]
fn half_precision_adds_casts_of_what_comes_in_single_precision() {
    let [single, half] =
        [DType::F32, DType::F16].map(|dtype| summaries(&Policy::new(&N1D6, dtype)).remove("step").unwrap());
    let mut kernels = single.kernels;
    // The actions and the modulation of the step.
    kernels.insert("cast", 2);
    assert_eq!(half.kernels, kernels);
    assert_eq!(half.products, single.products);
    assert!(half.floor < single.floor * 6 / 10 && half.arena < single.arena, "{half}");
}

#[test]
fn a_layer_of_the_language_model_is_nine_launches() {
    let language = &summaries(&Policy::new(&N1D6, DType::F32))["language"];
    let layers = 2;
    assert_eq!(language.products, 4 * layers, "{language}");
    // Text and images are joined and put in order; the last norms are the model's and the head's.
    let kernels = counts([
        ("norm", 2 * layers + 2),
        ("rotary", layers),
        ("attention", layers),
        ("elementwise", layers),
        ("gather", 3),
    ]);
    assert_eq!(language.kernels, kernels);
}

#[test]
fn queries_and_keys_are_turned_in_one_launch() {
    let stages = summaries(&Policy::new(&N1D7, DType::F32));
    // Four blocks of vision, and three layers of the language model.
    assert_eq!((stages["vision"].kernels["rotary"], stages["language"].kernels["rotary"]), (4, 3));
}
