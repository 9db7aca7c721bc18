//! A rewritten network computes the program of its recipe: each product of it, in double precision, of the input that it has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::NodeProto;
use vla_quantize::recipe::{Recipe, Target, WeightType};
use vla_quantize::{Float, Matrix, Product, carrier, products, read_weight, rewrite};

use crate::networks::{self, INNER, WIDTH};
use crate::runtime::{difference, feeds, numbers, run};

pub(crate) type Sizes = BTreeMap<String, usize>;

/// Every product in `wanted` bits, with the scales of what the float network has in them; factors of 0.5 to 2 where there is a
/// carrier and `smooth`.
pub(crate) fn recipe(
    file: &Path,
    sizes: &Sizes,
    smooth: bool,
    wanted: impl Fn(&Product) -> Option<WeightType>,
) -> Recipe {
    let network = Network::open(file).expect("a network");
    let products = products(&network);
    let inputs: Vec<&str> = products.iter().map(|product| product.input.as_str()).collect();
    let mut values = run(file, sizes, &feeds(&network, sizes), &inputs);
    values.extend(
        feeds(&network, sizes).iter().filter_map(|(name, x)| Some((name.clone(), x.to_single().as_f32()?.to_vec()))),
    );
    let mut recipe = Recipe::default();
    for (seed, product) in products.iter().enumerate() {
        let x = &values[&product.input];
        if smooth && carrier(&network, &product.input).is_some() && !recipe.smoothing.contains_key(&product.input) {
            let factors = numbers(product.rows, 100 + seed as u32).iter().map(|value| value.exp2()).collect();
            recipe.smoothing.insert(product.input.clone(), factors);
        }
        let by = recipe.smoothing.get(&product.input);
        let channel = |(at, value): (usize, &f32)| value.abs() / by.map_or(1.0, |by| by[at % product.rows]);
        let most = x.iter().enumerate().map(channel).fold(0.0, f32::max);
        recipe.activations.insert(product.input.clone(), most / 127.0);
        recipe.products.extend(wanted(product).map(|wanted| (product.node.clone(), wanted)));
    }
    recipe
}

/// Writes the network of a recipe.
pub(crate) fn written(file: &Path, recipe: &Recipe, target: Target, folder: &Path) -> PathBuf {
    let out = folder.join(format!("{target}.onnx"));
    rewrite(file, recipe, target, &out).expect("written").model
}

fn rounded(value: f32, scale: f32, most: f32) -> f32 {
    (value / scale).round_ties_even().clamp(-most - 1.0, most) * scale
}

/// A product's weight as the recipe has it, `[rows, columns]`.
fn weight(network: &Network, product: &Product, recipe: &Recipe) -> Matrix {
    let mut matrix = read_weight(network, &product.weight).expect("a weight");
    let stored = network.weights.iter().find(|weight| weight.name == product.weight).expect("a weight");
    let float = if stored.data_type == 10 { Float::F16 } else { Float::F32 };
    let divided = recipe.smoothing.iter().find(|(tensor, _)| {
        carrier(network, tensor).is_some_and(|carrier| carrier.product.as_ref() == Some(&product.node))
    });
    for (at, value) in matrix.values.iter_mut().enumerate() {
        let (row, column) = (at / product.columns, at % product.columns);
        *value *= recipe.smoothing.get(&product.input).map_or(1.0, |by| by[row]);
        *value /= divided.map_or(1.0, |(_, by)| by[column]);
    }
    let (block, most) = match recipe.products.get(&product.node) {
        Some(WeightType::Int8) => (product.rows, 127.0),
        Some(WeightType::Int4) => (128, 7.0),
        None => return matrix,
    };
    for (first, column) in
        (0..product.rows).step_by(block).flat_map(|row| (0..product.columns).map(move |column| (row, column)))
    {
        let rows = first..(first + block).min(product.rows);
        let largest =
            rows.clone().fold(0.0_f32, |most, row| most.max(matrix.values[row * product.columns + column].abs()));
        let scale = if largest == 0.0 { 1.0 } else { float.round_up(largest / most) };
        for row in rows {
            let value = &mut matrix.values[row * product.columns + column];
            *value = rounded(*value, scale, most);
        }
    }
    matrix
}

/// The largest deviation of any product of the network in `file`, which was made of `float`, from the recipe.
pub(crate) fn deviation(float: &Path, file: &Path, recipe: &Recipe, sizes: &Sizes) -> f32 {
    let network = Network::open(float).expect("a network");
    let products = products(&network);
    let inputs = feeds(&network, sizes);
    let mut names: Vec<&str> =
        products.iter().flat_map(|product| [product.input.as_str(), product.output.as_str()]).collect();
    let weights: Vec<&str> = network.weights.iter().map(|weight| weight.name.as_str()).collect();
    let gemms = network.graph().node.iter().filter(|node| node.op_type() == "Gemm");
    names.extend(gemms.filter_map(|node| node.input.get(2)).map(String::as_str).filter(|name| !weights.contains(name)));
    let mut values = run(file, sizes, &inputs, &names);
    values.extend(inputs.iter().filter_map(|(name, x)| Some((name.clone(), x.to_single().as_f32()?.to_vec()))));
    let biases = biases(&network, &values);
    let mut most = 0.0_f32;
    for product in products {
        let weight = weight(&network, &product, recipe);
        let is_8_bit = recipe.products.get(&product.node) == Some(&WeightType::Int8);
        let scale = recipe.activations[&product.input];
        let x =
            values[&product.input].iter().map(|value| if is_8_bit { rounded(*value, scale, 127.0) } else { *value });
        let x: Vec<f64> = x.map(f64::from).collect();
        let divided = recipe.smoothing.iter().find(|(tensor, _)| {
            carrier(&network, tensor).is_some_and(|carrier| carrier.product.as_ref() == Some(&product.node))
        });
        let bias = biases.get(&product.node);
        let rows = x.len() / product.rows;
        let mut expected = Vec::with_capacity(rows * product.columns);
        for row in x.chunks_exact(product.rows) {
            let mut sums = vec![0.0_f64; product.columns];
            for (x, weights) in row.iter().zip(weight.values.chunks_exact(product.columns)) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * f64::from(*weight));
            }
            let made = expected.len() / product.columns;
            expected.extend(sums.iter().enumerate().map(|(column, sum)| {
                let term = bias.map_or(0.0, |bias| bias[(made * product.columns + column) % bias.len()]);
                (sum + f64::from(term / divided.map_or(1.0, |(_, by)| by[column]))) as f32
            }));
        }
        let apart = difference(&values[&product.output], &expected);
        most = most.max(apart);
    }
    most
}

/// Third inputs of products by their names: computed ones as the network has them.
fn biases(network: &Network, values: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f32>> {
    let graph = network.graph();
    let bias = |node: &NodeProto| {
        let name = node.input.get(2)?;
        if let Some(values) = values.get(name) {
            return Some((node.name().to_owned(), values.clone()));
        }
        let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name)?;
        let bytes = network.elements(tensor).ok()?;
        let values = match tensor.data_type() {
            1 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            _ => bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        };
        Some((node.name().to_owned(), values))
    };
    graph.node.iter().filter(|node| node.op_type() == "Gemm").filter_map(bias).collect()
}

fn bits(values: &BTreeMap<String, Vec<f32>>) -> Vec<Vec<u32>> {
    values.values().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn both_targets_compute_the_8_bit_program_and_the_same_bits() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(false).write(folder.path()), Sizes::new());
    for smooth in [false, true] {
        let recipe = recipe(&file, &sizes, smooth, |_| Some(WeightType::Int8));
        assert_eq!((recipe.products.len(), recipe.smoothing.len()), (8, if smooth { 4 } else { 0 }));
        let outputs = [Target::Trt8, Target::Trt10].map(|target| {
            let out = written(&file, &recipe, target, folder.path());
            let apart = deviation(&file, &out, &recipe, &sizes);
            assert!(apart <= 2e-6, "{target}, smoothing {smooth}: {apart:e}");
            bits(&run(&out, &sizes, &feeds(&Network::open(&file).expect("a network"), &sizes), &["q", "gate", "relu"]))
        });
        assert_eq!(outputs[0], outputs[1], "smoothing {smooth}");
    }
}

#[test]
fn smoothing_alone_leaves_the_result_as_it_was() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(false).write(folder.path()), Sizes::new());
    let recipe = recipe(&file, &sizes, true, |_| None);
    let inputs = feeds(&Network::open(&file).expect("a network"), &sizes);
    let before = run(&file, &sizes, &inputs, &["normed", "output"]);
    for target in [Target::Trt8, Target::Trt10] {
        let after = run(&written(&file, &recipe, target, folder.path()), &sizes, &inputs, &["normed", "output"]);
        assert!(difference(&after["output"], &before["output"]) <= 1e-5, "{target}");
        let divided: Vec<f32> =
            before["normed"].iter().enumerate().map(|(at, x)| x / recipe.smoothing["normed"][at % WIDTH]).collect();
        assert!(difference(&after["normed"], &divided) <= 1e-6, "{target}");
    }
}

#[test]
fn products_that_are_not_named_stay_as_they_are() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(false).write(folder.path()), Sizes::new());
    let some = recipe(&file, &sizes, true, |product| {
        matches!(product.node.as_str(), "k" | "up" | "last").then_some(WeightType::Int8)
    });
    for target in [Target::Trt8, Target::Trt10] {
        let out = written(&file, &some, target, folder.path());
        assert!(deviation(&file, &out, &some, &sizes) <= 2e-6, "{target}");
        let weights = Network::open(&out).expect("a network").product_weights();
        // The head's matrix is there twice: `inner` reads it as it was.
        let int8 = WIDTH * WIDTH + INNER * WIDTH + WIDTH * WIDTH;
        assert_eq!(weights.int8, int8 as u64, "{target}");
        assert_eq!(weights.single, (3 * WIDTH * WIDTH + 2 * INNER * WIDTH) as u64, "{target}");
    }
}

#[test]
fn weights_of_4_bits_compute_the_program_beside_8_bit_ones() {
    let folder = TempDir::new().expect("scratch");
    let (file, sizes) = (networks::block(false).write(folder.path()), Sizes::new());
    let mixed = recipe(&file, &sizes, true, |product| {
        Some(if matches!(product.node.as_str(), "k" | "down" | "last") { WeightType::Int4 } else { WeightType::Int8 })
    });
    let out = written(&file, &mixed, Target::Trt10, folder.path());
    let apart = deviation(&file, &out, &mixed, &sizes);
    assert!(apart <= 2e-6, "{apart:e}");
    let network = Network::open(&out).expect("a network");
    assert_eq!(network.opsets, [(String::new(), 21)]);
    assert_eq!(network.product_weights().int4, (2 * WIDTH * WIDTH + INNER * WIDTH) as u64);
}

#[test]
fn integers_do_not_depend_on_how_a_reader_divides() {
    // Real values of integers, so that `value * (1 / scale)` gives the same integers as `value / scale`.
    let matrix = Matrix { rows: 64, columns: 8, values: numbers(512, 9) };
    let integers = vla_quantize::integers::int8(&matrix, Float::F32);
    for (at, value) in integers.dequantized().iter().enumerate() {
        let scale = integers.scales[at % 8];
        let (divided, multiplied) = ((value / scale).round_ties_even(), (value * (1.0 / scale)).round_ties_even());
        assert_eq!([divided, multiplied], [f32::from(integers.values[at]); 2], "{at}");
    }
}
