//! Recipes and networks that do not fit.

use std::path::Path;

use tempfile::TempDir;
use vla_quantize::recipe::{Recipe, Target, WeightType};
use vla_quantize::{Error, rewrite};

use crate::networks::{self, Build, WIDTH};
use crate::program::{Sizes, recipe, written};

fn refused(file: &Path, recipe: &Recipe, target: Target) -> Error {
    let out = file.with_file_name("refused.onnx");
    let error = rewrite(file, recipe, target, &out).expect_err("refused");
    assert!(!out.exists(), "{error}");
    error
}

/// The block with a change, and a recipe of the block.
fn with(folder: &Path, change: impl FnOnce(&mut Build)) -> (std::path::PathBuf, Recipe) {
    let file = networks::block(false).write(folder);
    let recipe = recipe(&file, &Sizes::new(), true, |_| Some(WeightType::Int8));
    let mut net = networks::block(false);
    change(&mut net);
    (net.write(folder), recipe)
}

#[test]
fn a_recipe_of_another_network_is_refused_by_the_name_that_is_missing() {
    let folder = TempDir::new().expect("scratch");
    let (file, whole) = with(folder.path(), |_| {});
    let mut recipe = whole.clone();
    recipe.products.insert("elsewhere".to_owned(), WeightType::Int8);
    assert!(
        matches!(refused(&file, &recipe, Target::Trt10), Error::UnknownProduct { node, .. } if node == "elsewhere")
    );
    let mut recipe = whole.clone();
    recipe.products.insert("relu".to_owned(), WeightType::Int8);
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::UnknownProduct { node, .. } if node == "relu"));
    let mut recipe = whole.clone();
    recipe.activations.insert("elsewhere".to_owned(), 1.0);
    assert!(
        matches!(refused(&file, &recipe, Target::Trt10), Error::UnknownTensor { tensor, .. } if tensor == "elsewhere")
    );
    let mut recipe = whole;
    recipe.smoothing.insert("elsewhere".to_owned(), vec![1.0]);
    assert!(
        matches!(refused(&file, &recipe, Target::Trt10), Error::UnknownTensor { tensor, .. } if tensor == "elsewhere")
    );
}

#[test]
fn scales_have_to_be_there_and_positive() {
    let folder = TempDir::new().expect("scratch");
    let (file, whole) = with(folder.path(), |_| {});
    let mut recipe = whole.clone();
    recipe.activations.remove("scaled");
    let error = refused(&file, &recipe, Target::Trt8);
    assert!(matches!(error, Error::MissingScale { tensor, .. } if tensor == "scaled"));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 3e38] {
        let mut recipe = whole.clone();
        recipe.activations.insert("gated".to_owned(), bad);
        let error = refused(&file, &recipe, Target::Trt10);
        assert!(matches!(error, Error::Scale { tensor, .. } if tensor == "gated"), "{bad}");
    }
}

#[test]
fn factors_have_to_fit_and_need_a_carrier() {
    let folder = TempDir::new().expect("scratch");
    let (file, whole) = with(folder.path(), |_| {});
    let mut recipe = whole.clone();
    recipe.smoothing.insert("normed".to_owned(), vec![1.0; WIDTH - 1]);
    let error = refused(&file, &recipe, Target::Trt10);
    assert!(matches!(error, Error::Factors { expected: WIDTH, found, .. } if found == WIDTH - 1));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut recipe = whole.clone();
        recipe.smoothing.get_mut("normed").expect("smoothed")[5] = bad;
        assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::Factor { channel: 5, .. }), "{bad}");
    }
    for tensor in ["relu", "mixed", "q"] {
        let mut recipe = whole.clone();
        recipe.smoothing.insert(tensor.to_owned(), vec![1.0; WIDTH]);
        assert!(
            matches!(refused(&file, &recipe, Target::Trt10), Error::NoCarrier { tensor: found } if found == tensor)
        );
    }
    // As soon as something but a product reads it, a tensor cannot be divided.
    let (file, recipe) = with(folder.path(), |net| net.node("Tanh", &["normed"], "other", Vec::new()));
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::NoCarrier { tensor } if tensor == "normed"));
}

#[test]
fn weights_that_are_not_finite_are_named_with_their_place() {
    let folder = TempDir::new().expect("scratch");
    for (bad, weight, at, place) in [
        (f32::NAN, "self_attn.k_proj.weight", 3 * WIDTH + 7, (7, 3)),
        (f32::INFINITY, "self_attn.v_proj.weight", 3 * WIDTH + 7, (3, 7)),
    ] {
        let (file, recipe) = with(folder.path(), |net| {
            let tensor = net.graph.initializer.iter_mut().find(|tensor| tensor.name() == weight).expect("a weight");
            let mut bytes = tensor.raw_data.take().expect("raw").to_vec();
            bytes[4 * at..4 * at + 4].copy_from_slice(&bad.to_le_bytes());
            tensor.raw_data = Some(bytes.into());
        });
        let error = refused(&file, &recipe, Target::Trt8);
        assert!(
            matches!(&error, Error::NotFinite { weight: found, row, column, .. } if found == weight && (*row, *column) == place),
            "{error}"
        );
    }
}

#[test]
fn what_half_precision_does_not_hold_is_refused() {
    let folder = TempDir::new().expect("scratch");
    let file = networks::block(true).write(folder.path());
    let mut recipe = recipe(&file, &Sizes::new(), false, |_| None);
    recipe.smoothing.insert("normed".to_owned(), vec![1e6; WIDTH]);
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::NotFinite { dtype: "f16", .. }));
    recipe.smoothing.clear();
    recipe.products.insert("q".to_owned(), WeightType::Int8);
    recipe.activations.insert("normed".to_owned(), 600.0);
    assert!(matches!(refused(&file, &recipe, Target::Trt8), Error::Scale { dtype: "f16", .. }));
}

#[test]
fn weights_of_4_bits_are_refused_where_they_cannot_be() {
    let folder = TempDir::new().expect("scratch");
    let (file, mut recipe) = with(folder.path(), |_| {});
    recipe.products.insert("down".to_owned(), WeightType::Int4);
    let error = refused(&file, &recipe, Target::Trt8);
    assert!(
        matches!(error, Error::Refused { node, wanted: WeightType::Int4, target: Target::Trt8, .. } if node == "down")
    );
    let mut odd = Build::new(false);
    odd.input("input", &[4, 96]);
    odd.output("output", &[4, 32]);
    odd.weight("weight", &[96, 32], 1.0, 0.0);
    odd.node("MatMul", &["input", "weight"], "output", Vec::new());
    let file = odd.write(folder.path());
    let recipe = Recipe { products: [("output".to_owned(), WeightType::Int4)].into(), ..Recipe::default() };
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::Refused { target: Target::Trt10, .. }));
}

#[test]
fn networks_without_a_form_are_refused() {
    let folder = TempDir::new().expect("scratch");
    let (file, recipe) = with(folder.path(), |net| net.opset = 12);
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::Unsupported { .. }));
    let (file, recipe) = with(folder.path(), |_| {});
    let twice = written(&file, &recipe, Target::Trt10, folder.path());
    assert!(matches!(refused(&twice, &Recipe::default(), Target::Trt10), Error::Unsupported { .. }));
    let same = rewrite(&file, &recipe, Target::Trt10, &file).expect_err("refused");
    assert!(matches!(same, Error::Output(_)), "{same}");
    std::fs::write(&file, b"no model").expect("written");
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::Network(_)));
    std::fs::remove_file(&file).expect("removed");
    assert!(matches!(refused(&file, &recipe, Target::Trt10), Error::Io { .. }));
}
