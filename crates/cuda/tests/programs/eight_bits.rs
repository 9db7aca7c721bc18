//! Feed-forward layers and self-attention's projections in 8-bit weights and activations.

use std::cell::RefCell;
use std::collections::BTreeSet;

use vla_base::tensor::DType;
use vla_cuda::launch::{ByteTile, Tile};
use vla_cuda::plan::{Plan, Summary, WeightLayout};
use vla_cuda::tactics::{Choose, Key, Split};
use vla_engines::Precision;
use vla_export::Family;
use vla_export::family::{N1D6, N1D7};

use super::demo::{Policy, sizes};
use super::run::{Difference, Network, Random};

/// Our own kernel where it takes the product, in parts where those can be added.
struct Own;

impl Choose for Own {
    fn split(&self, key: &Key) -> Split {
        let tile = Tile::Bytes(ByteTile { out_warps: 3, channel_warps: 2, cluster: 1, resident: 1 });
        if key.eight_bits { Split { parts: 3, single: false, tile: Some(tile) } } else { Split::WHOLE }
    }
}

fn in_eight_bits(network: &Network) -> WeightLayout {
    WeightLayout::with_eight_bits(&network.program, &network.program.eight_bit_weights(Precision::INT8_FP16))
}

fn names(network: &Network, precision: Precision) -> BTreeSet<&str> {
    let chosen = network.program.eight_bit_weights(precision);
    chosen.into_iter().map(|weight| network.program.weights[weight].name.as_str()).collect()
}

/// Whether a weight is of a feed-forward layer, or of queries, keys and values of self-attention: every second block of the DiT has
/// cross-attention.
fn is_meant(stage: &str, name: &str) -> bool {
    let in_block = name.contains("layers.") || name.contains("visual.blocks.") || name.contains("transformer_blocks.");
    let feed_forward = [".mlp.", ".ff."].iter().any(|part| name.contains(part));
    let parts = ["q_proj", "k_proj", "v_proj", ".qkv.", "attn1.to_q", "attn1.to_k", "attn1.to_v"];
    let cross = |block: &str| name.contains(&format!("action_head.model.transformer_blocks.{block}."));
    let cross = stage == "context" || (stage == "step" && ["0", "2"].into_iter().any(cross));
    let projection = parts.iter().any(|part| name.contains(part)) && !cross;
    in_block && name.ends_with(".weight") && (feed_forward || projection)
}

#[test]
fn feed_forward_layers_and_projections_of_self_attention_have_8_bits_and_nothing_else() {
    for (family, layers) in
        [(&N1D6, [2 * 5, 2 * 6, 0, 4 * 2 + 2 * 3].as_slice()), (&N1D7, &[4 * 3, 3 * 6, 2 * 5, 0, 14])]
    {
        let policy = Policy::new(family, DType::F16);
        for ((stage, network), expected) in policy.stages.iter().zip(layers) {
            let found = names(network, Precision::INT8_FP16);
            let products = network.program.operations.iter().filter(|operation| operation.name() == "linear");
            let weights = products.flat_map(|product| product.weights());
            let names_of = weights.map(|weight| network.program.weights[weight].name.as_str());
            let meant: BTreeSet<&str> = names_of.filter(|name| is_meant(stage, name)).collect();
            assert_eq!(found, meant, "{} {stage}", policy.name);
            assert_eq!(found.len(), *expected, "{} {stage}", policy.name);
            assert!(names(network, Precision::FP16).is_empty(), "without int8");
        }
    }
    for (stage, network) in Policy::new(&N1D6, DType::F32).stages {
        assert!(names(&network, Precision::INT8_FP16).is_empty(), "{stage} in single precision");
    }
}

#[test]
fn weights_in_8_bits_take_half_of_the_memory_and_a_scale_an_output() {
    for (stage, network) in Policy::new(&N1D7, DType::F16).stages {
        let chosen = network.program.eight_bit_weights(Precision::INT8_FP16);
        let (before, after) = (WeightLayout::new(&network.program), in_eight_bits(&network));
        let saved: usize = chosen
            .iter()
            .map(|weight| &network.program.weights[*weight].dims)
            .map(|dims| dims[0] * dims[1] - 4 * dims[0])
            .sum();
        let room = 256 * (2 * chosen.len() as u64 + 1);
        let found = before.bytes() - after.bytes();
        assert!(found.abs_diff(saved as u64) <= room, "{stage}: {found} bytes, expected about {saved}");
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for (index, weight) in network.program.weights.iter().enumerate() {
            let elements: usize = weight.dims.iter().product();
            let size = if after.scales(index).is_some() { 1 } else { weight.dtype.size() };
            taken.push((after.offset(index), (elements * size) as u64));
            taken.extend(after.scales(index).map(|place| (place, 4 * weight.dims[0] as u64)));
        }
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{stage}: places overlap");
        assert!(taken.last().is_some_and(|(place, bytes)| place + bytes <= after.bytes()));
    }
}

fn summary(network: &Network, layout: &WeightLayout, choose: &dyn Choose) -> Summary {
    Plan::new(&network.program, layout, &sizes(20, 38), choose).unwrap().summary()
}

#[test]
fn a_product_in_8_bits_is_our_kernel_or_the_librarys_with_one_that_scales_behind_it() {
    let policy = Policy::new(&N1D6, DType::F16);
    let (_, step) = policy.stages.iter().find(|(stage, _)| *stage == "step").unwrap();
    let half = summary(step, &WeightLayout::new(&step.program), &Split::WHOLE);
    let library = summary(step, &in_eight_bits(step), &Split::parts(4, true));
    // Four feed-forward layers of two products, and two blocks' projections.
    let products = 4 * 2 + 2;
    // A norm makes the rows of the others.
    assert_eq!((library.kernels["quantize"], library.kernels["dequantize"]), (4, products), "{library}");
    assert_eq!((library.products, library.launches()), (half.products, half.launches() + 4 + products));
    let own = summary(step, &in_eight_bits(step), &Own);
    // The widths of the second products of the layers fit the tile.
    assert_eq!((own.kernels["own product"], own.kernels["dequantize"]), (4, products - 4), "{own}");
    assert!(own.floor < half.floor * 7 / 10, "{own}, with 16 bits {half}");
}

/// Remembers what it is asked for.
#[derive(Default)]
struct Asked(RefCell<BTreeSet<Key>>);

impl Choose for Asked {
    fn split(&self, key: &Key) -> Split {
        self.0.borrow_mut().insert(*key);
        Split::WHOLE
    }
}

#[test]
fn what_is_measured_of_whole_products_is_what_plans_ask_for() {
    for (stage, network) in Policy::new(&N1D7, DType::F16).stages {
        let asked = Asked::default();
        let plan = Plan::new(&network.program, &in_eight_bits(&network), &sizes(20, 38), &asked).unwrap();
        let found: BTreeSet<Key> = plan.products().map(Key::of).collect();
        assert_eq!(found, asked.0.take(), "{stage}");
        assert_eq!(found.iter().any(|key| key.eight_bits), stage != "context");
    }
}

/// Differences of all outputs of a stage in 8 bits from the list in double precision.
fn differences(network: &Network, text: usize, rows: usize, choose: &dyn Choose) -> Vec<Difference> {
    let symbols = sizes(text, rows);
    let inputs = network.inputs(&symbols, &mut Random(1));
    let found = network.emulated_by(&in_eight_bits(network), &symbols, &inputs, choose);
    let expected = network.expected(&symbols, &inputs);
    // What a step adds to the actions is what the network computes.
    let named = |value: &usize| network.program.values[*value].name == "actions";
    let actions = network.program.inputs.iter().position(named).map(|at| &inputs[at]);
    let change = |outputs: Vec<Vec<f64>>| match actions {
        None => outputs,
        Some(from) => outputs.iter().map(|to| to.iter().zip(from).map(|(to, from)| to - from).collect()).collect(),
    };
    let (found, expected) = (change(found), change(expected));
    found.iter().zip(&expected).map(|(found, expected)| Difference::of(found, expected)).collect()
}

/// Gives neighbouring outputs scales that are far apart, so that one in the place of another shows.
fn make_rows_differ(network: &mut Network) {
    for weight in network.program.eight_bit_weights(Precision::INT8_FP16) {
        let columns = network.program.weights[weight].dims[1];
        for (row, elements) in network.weights[weight].chunks_mut(columns).enumerate() {
            let factor = [1.0, 0.7, 1.4][row % 3];
            elements.iter_mut().for_each(|element| *element *= factor);
        }
    }
}

/// Every stage that has such products, with short texts.
fn check(family: &'static Family, dtype: DType, choose: &dyn Choose) {
    let policy = Policy::new(family, dtype);
    for (stage, mut network) in policy.stages.into_iter().filter(|(stage, _)| *stage != "context") {
        make_rows_differ(&mut network);
        for difference in differences(&network, 17, 79, choose) {
            let what = format!("{} {stage}: {difference:?}", policy.name);
            // Less is no product in 8 bits. The demo policies are narrow, so that errors average less than in GR00T; a scale in
            // the place of another gives 1.
            assert!(difference.relative > 2e-3, "{what}");
            assert!(difference.relative < 0.1 && difference.cosine > 0.995, "{what}");
        }
    }
}

#[test]
fn stages_of_n1d6_by_the_library() {
    check(&N1D6, DType::F16, &Split::WHOLE);
}

#[test]
fn stages_of_n1d6_by_our_own_kernel_in_bfloat16() {
    check(&N1D6, DType::BF16, &Own);
}

#[test]
fn stages_of_n1d7_by_our_own_kernel() {
    check(&N1D7, DType::F16, &Own);
}
