//! What the stages of the split layout promise, whatever the weights: run on the demo's.

use std::collections::BTreeMap;
use std::path::Path;

use vla_base::tensor::{DType, HostTensor};
use vla_export::demo;
use vla_export::demo::weights::DemoWeights;
use vla_export::split::InputSource;
use vla_export::weights::Weights as _;
use vla_export::{Model, Options, RopeFrequencies, View, VisionAttention, split};

use onnx_runtime::Runner;
use vla_trt_tests::onnx_runtime;

type Tensors = BTreeMap<String, HostTensor>;

fn model() -> Model {
    demo::model(500)
}

fn options() -> Options {
    Options {
        dtype: DType::F32,
        dtype_of: BTreeMap::new(),
        rope: RopeFrequencies::Bf16,
        attention: VisionAttention::PerImage,
        steps: vec![2],
        embodiment: demo::EMBODIMENT.1,
        text: [1, 16, 32],
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: false,
    }
}

fn view(camera: &str, width: usize) -> View {
    View { camera: camera.to_owned(), width, height: 56, images: 1 }
}

fn export(views: &[View], options: &Options, dir: &Path) {
    let model = model();
    split::write(&DemoWeights::new(7, model.clone()), &model, options, views, dir).expect("export");
}

fn wave(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
}

fn f32s(dims: &[usize], phase: f32) -> HostTensor {
    HostTensor::from_f32(dims, wave(dims.iter().product(), phase)).expect("whole")
}

fn i32s(values: impl Iterator<Item = i32>) -> HostTensor {
    let values: Vec<i32> = values.collect();
    HostTensor::from_i32(&[values.len()], values).expect("whole")
}

fn named<const N: usize>(tensors: [(&str, HostTensor); N]) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

fn values<'t>(tensors: &'t Tensors, name: &str) -> &'t [f32] {
    tensors[name].as_f32().expect("f32")
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn views_of_different_sizes_equal_each_view_alone() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    let run = |views: &[View], inputs: Tensors| {
        export(views, &options(), scratch.path());
        values(&Runner::load(&environment, &scratch.path().join("vision.onnx")).run(&inputs), "image_rows").to_vec()
    };
    let (a, b) = (f32s(&[1, 3, 56, 84], 0.0), f32s(&[1, 3, 56, 112], 1.0));
    let both = named([("pixels.a", a.clone()), ("pixels.b", b.clone())]);
    let both = run(&[view("a", 84), view("b", 112)], both);
    let first = run(&[view("a", 84)], named([("pixels", a)]));
    let second = run(&[view("b", 112)], named([("pixels", b)]));
    assert!(close(&both, &[first, second].concat()));
}

#[test]
fn cross_view_attention_sees_the_other_view() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    let pixels = wave(2 * 3 * 56 * 84, 0.0);
    let mut changed = pixels.clone();
    changed[3 * 56 * 84..].fill(0.5);
    let rows_of_first_view = |attention, pixels: Vec<f32>| {
        export(&[view("a", 84), view("b", 84)], &Options { attention, ..options() }, scratch.path());
        let inputs = named([("pixels", HostTensor::from_f32(&[2, 3, 56, 84], pixels).expect("whole"))]);
        let outputs = Runner::load(&environment, &scratch.path().join("vision.onnx")).run(&inputs);
        let rows = values(&outputs, "image_rows");
        rows[..rows.len() / 2].to_vec()
    };
    for (attention, sees) in [(VisionAttention::PerImage, false), (VisionAttention::CrossView, true)] {
        let (before, after) =
            (rows_of_first_view(attention, pixels.clone()), rows_of_first_view(attention, changed.clone()));
        assert_eq!(!close(&before, &after), sees, "{attention:?}");
    }
}

/// Exports for one view of 6 image rows.
fn one_view(dir: &Path) -> usize {
    export(&[view("a", 84)], &options(), dir);
    6
}

#[test]
fn later_tokens_do_not_change_earlier_rows() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    let images = one_view(scratch.path());
    let width = model().language.width;
    let mut runner = Runner::load(&environment, &scratch.path().join("language.onnx"));
    let mut run = |text: usize| {
        let rows = HostTensor::from_f32(&[text, width], wave(text * width, 0.0)).expect("whole");
        // Two text tokens, the images, then the rest of the text.
        let order = (0..2).chain((0..images as i32).map(|i| text as i32 + i)).chain(2..text as i32);
        let inputs = [("text_rows", rows), ("image_rows", f32s(&[images, width], 2.0)), ("positions", i32s(order))];
        values(&runner.run(&named(inputs)), "vl_embs").to_vec()
    };
    let (short, long) = (run(5), run(20));
    assert_eq!((short.len(), long.len()), ((5 + images) * width, (20 + images) * width));
    assert!(close(&short, &long[..short.len()]), "the causal mask hides what comes later");
}

#[test]
fn rows_of_strength_zero_keep_their_actions() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    let images = one_view(scratch.path());
    let model = model();
    let head = &model.head;
    let mut strength = vec![1.0; head.horizon];
    strength[..3].fill(0.0);
    strength[3] = 0.5;
    let cross = |rows| f32s(&[1, head.heads, rows, head.head_dim], 3.0);
    let mut inputs = named([
        ("actions", f32s(&[head.horizon, head.action_dims], 0.0)),
        ("k0", cross(9)),
        ("v0", cross(9)),
        ("k2", cross(images)),
        ("v2", cross(images)),
        ("state_features", f32s(&[1, head.width], 4.0)),
        ("modulation", f32s(&[2 * head.blocks + 3, head.width], 5.0)),
        ("dt", HostTensor::from_f32(&[1], vec![0.5]).expect("whole")),
        ("strength", HostTensor::from_f32(&[head.horizon], strength).expect("whole")),
    ]);
    let mut runner = Runner::load(&environment, &scratch.path().join("step.onnx"));
    let changes = |outputs: &Tensors, inputs: &Tensors| -> Vec<f32> {
        values(outputs, "next_actions").iter().zip(values(inputs, "actions")).map(|(next, now)| next - now).collect()
    };
    let some = changes(&runner.run(&inputs), &inputs);
    inputs
        .extend(named([("strength", HostTensor::from_f32(&[head.horizon], vec![1.0; head.horizon]).expect("whole"))]));
    let full = changes(&runner.run(&inputs), &inputs);
    let row = |index: usize| index * head.action_dims..(index + 1) * head.action_dims;
    assert!(some[..row(3).start].iter().all(|change| *change == 0.0), "strength 0");
    let half: Vec<f32> = full[row(3)].iter().map(|change| change / 2.0).collect();
    assert!(close(&some[row(3)], &half), "strength 1/2");
    assert!(close(&some[row(4)], &full[row(4)]) && full[row(4)].iter().any(|change| change.abs() > 0.01), "strength 1");
}

#[test]
fn sizes_that_do_not_fit_are_refused_by_camera() {
    let refused = |views: &[View]| split::view_groups(&model(), views).expect_err("refused").to_string();
    assert_eq!(
        refused(&[view("top", 84), view("wrist", 90)]),
        "views: `wrist`: expected width and height in positive multiples of 28, found 90x56"
    );
    assert!(refused(&[]).contains("at least one camera"));
}

#[test]
fn an_embodiment_that_the_weights_lack_is_refused_by_name() {
    let scratch = tempfile::tempdir().expect("scratch");
    let model = model();
    let options = Options { embodiment: 40, ..options() };
    let weights = DemoWeights::new(7, model.clone());
    let error = split::write(&weights, &model, &options, &[view("a", 84)], scratch.path()).expect_err("refused");
    let error = error.to_string();
    assert!(error.contains("state_encoder.layer1.W") && error.contains("more than 40 entries"), "{error}");
}

/// `sa_embs` of the step stage with or without positions, on the same inputs.
fn tokens_of_the_first_block(model: &Model, dir: &Path) -> Option<Vec<f32>> {
    let options = Options { debug_outputs: true, steps: vec![1], ..options() };
    let weights = DemoWeights::new(7, self::model());
    split::write(&weights, model, &options, &[view("a", 56)], dir).expect("export");
    let environment = onnx_runtime::environment()?;
    let head = &model.head;
    let mut inputs = named([
        ("actions", f32s(&[head.horizon, head.action_dims], 0.0)),
        ("state_features", f32s(&[1, head.width], 1.0)),
        ("modulation", f32s(&[2 * head.blocks + 3, head.width], 2.0)),
        ("dt", f32s(&[1], 0.5)),
        ("strength", f32s(&[head.horizon], 0.5)),
    ]);
    for block in (0..head.blocks).step_by(2) {
        let rows = 4;
        for name in [format!("k{block}"), format!("v{block}")] {
            inputs.insert(name, f32s(&[1, head.heads, rows, head.head_dim], 3.0));
        }
    }
    let found = Runner::load(&environment, &dir.join("step.onnx")).run(&inputs);
    Some(values(&found, "sa_embs").to_vec())
}

#[test]
fn positions_are_added_to_the_action_rows_alone_and_only_where_the_model_has_them() {
    let [with, without] = [(); 2].map(|()| tempfile::tempdir().expect("scratch"));
    let model = model();
    let rows = model.head.positions.expect("the demo has positions");
    let mut bare = model.clone();
    bare.head.positions = None;
    let Some(tokens) = tokens_of_the_first_block(&model, with.path()) else { return };
    let plain = tokens_of_the_first_block(&bare, without.path()).expect("runs");
    let weights = DemoWeights::new(7, model.clone());
    let table = weights.get("action_head.position_embedding.weight").expect("a table");
    assert_eq!(table.dims, [rows, model.head.width]);
    let mut expected = vec![0.0; model.head.width];
    expected.extend(&table.to_f32()[..model.head.horizon * model.head.width]);
    assert!(expected.iter().any(|x| x.abs() > 0.1), "positions that show");
    let added: Vec<f32> = tokens.iter().zip(&plain).map(|(with, without)| with - without).collect();
    assert!(close(&added, &expected));
}

#[test]
fn without_vlln_the_head_takes_the_language_models_features_as_they_are() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let run = |vlln: bool| {
        let dir = tempfile::tempdir().expect("scratch");
        let mut model = model();
        model.head.vlln = vlln;
        let options = Options { debug_outputs: true, ..options() };
        let weights = DemoWeights::new(7, self::model());
        split::write(&weights, &model, &options, &[view("a", 56)], dir.path()).expect("export");
        let inputs = named([
            ("text_rows", f32s(&[2, model.language.width], 0.0)),
            ("image_rows", f32s(&[4, model.language.width], 1.0)),
            ("positions", i32s(0..6)),
        ]);
        let found = Runner::load(&environment, &dir.path().join("language.onnx")).run(&inputs);
        ["vl_embs", "backbone_features"].map(|name| values(&found, name).to_vec())
    };
    let [embeddings, features] = run(false);
    assert_eq!(embeddings, features);
    let [normed, same] = run(true);
    assert!(close(&same, &features) && !close(&normed, &features));
}

/// Element types of the tensors between stages, each as its maker has it; its readers have the same.
fn between(options: &Options, dir: &Path) -> BTreeMap<String, DType> {
    let model = model();
    let stages =
        split::write(&DemoWeights::new(7, model.clone()), &model, options, &[view("a", 84)], dir).expect("export");
    let made = |name: &str| {
        let mut outputs = stages.iter().flat_map(|stage| &stage.outputs).map(|(spec, _)| spec);
        outputs.find(|spec| spec.name == name).unwrap_or_else(|| panic!("no stage makes {name}")).dtype
    };
    let mut found = BTreeMap::new();
    for (input, source) in stages.iter().flat_map(|stage| &stage.inputs) {
        match source {
            InputSource::Stage => {
                assert_eq!(input.dtype, made(&input.name), "{input}");
                found.insert(input.name.clone(), input.dtype);
            }
            InputSource::Host | InputSource::Constants(_) => {
                assert!(matches!(input.dtype, DType::F32 | DType::I32), "{input}");
            }
        }
    }
    assert_eq!(made("next_actions"), DType::F32);
    found
}

fn all_in(dtype: DType) -> Options {
    Options { dtype, ..options() }
}

#[test]
fn tensors_between_stages_of_one_half_precision_type_are_in_it_and_all_others_in_single() {
    use DType::{BF16, F16, F32};
    let scratch = tempfile::tempdir().expect("scratch");
    let types = |options: &Options| {
        let found = between(options, scratch.path());
        let cross: Vec<DType> = ["k0", "v0", "k2", "v2"].iter().map(|name| found[*name]).collect();
        assert!(cross.iter().all(|dtype| *dtype == found["state_features"]), "{found:?}");
        ["image_rows", "vl_embs", "k0"].map(|name| found[name])
    };
    for dtype in [F32, F16, BF16] {
        assert_eq!(types(&all_in(dtype)), [dtype; 3], "{dtype}");
    }
    for (stage, other, expected) in [
        ("vision", F32, [F32, F16, F16]),
        ("language", F32, [F32, F32, F16]),
        ("context", F32, [F16, F32, F32]),
        ("step", F32, [F16, F16, F32]),
        ("step", BF16, [F16, F16, F32]),
    ] {
        let mixed = Options { dtype_of: BTreeMap::from([(stage.to_owned(), other)]), ..all_in(F16) };
        assert_eq!(types(&mixed), expected, "{stage} in {other}");
    }
}

#[test]
fn pieces_of_one_stage_hand_over_its_own_type() {
    let scratch = tempfile::tempdir().expect("scratch");
    for (vision, between_vision) in [(DType::F16, DType::F16), (DType::F32, DType::F32)] {
        let dtype_of = BTreeMap::from([("vision".to_owned(), vision)]);
        let found = between(&Options { blocks_per_engine: Some(1), dtype_of, ..all_in(DType::F16) }, scratch.path());
        let of = |part: &str| -> Vec<DType> {
            found.iter().filter(|(name, _)| name.starts_with(part)).map(|(_, dtype)| *dtype).collect()
        };
        let [in_vision, in_language, in_step] = ["vision.", "language.", "step."].map(of);
        assert!(!in_vision.is_empty() && in_vision.iter().all(|dtype| *dtype == between_vision), "{found:?}");
        assert!(!in_language.is_empty() && in_language.iter().all(|dtype| *dtype == DType::F16), "{found:?}");
        assert!(!in_step.is_empty() && in_step.iter().all(|dtype| *dtype == DType::F16), "{found:?}");
    }
}

/// A reader in half precision rounds what it is given, so that the type in between decides no value.
#[test]
fn half_precision_between_stages_is_single_precision_rounded_once() {
    let Some(environment) = onnx_runtime::environment() else { return };
    let model = model();
    let (width, images) = (model.language.width, 6);
    let run = |step: DType| {
        let dir = tempfile::tempdir().expect("scratch");
        let dtype_of = BTreeMap::from([("step".to_owned(), step)]);
        export(&[view("a", 84)], &Options { dtype_of, ..all_in(DType::F16) }, dir.path());
        let rows = f32s(&[9 + images, width], 0.0);
        let mut half = HostTensor::zeros(DType::F16, rows.dims()).expect("small");
        assert!(rows.convert_into(&mut half));
        let inputs = named([
            ("vl_embs", half),
            ("text_index", i32s(0..9)),
            ("image_index", i32s(9..15)),
            ("state", f32s(&[1, model.head.state_dims], 1.0)),
        ]);
        Runner::load(&environment, &dir.path().join("context.onnx")).run(&inputs)
    };
    let (narrow, wide) = (run(DType::F16), run(DType::F32));
    assert_eq!(narrow.keys().collect::<Vec<_>>(), wide.keys().collect::<Vec<_>>());
    for (name, wide) in &wide {
        assert_eq!((narrow[name].dtype(), wide.dtype()), (DType::F16, DType::F32), "{name}");
        let mut rounded = HostTensor::zeros(DType::F16, wide.dims()).expect("small");
        assert!(wide.convert_into(&mut rounded));
        assert_eq!(narrow[name], rounded, "{name}");
        assert!(values(&named([("x", wide.clone())]), "x").iter().any(|value| *value != 0.0), "{name}");
    }
}
