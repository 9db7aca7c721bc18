//! The exported network against tensors computed with NVIDIA's own code (see the README in `oracle/` of the shared folder), on ONNX Runtime in
//! single precision: every tensor within 1e-4 relative (norm of the difference over norm of the reference).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use safetensors::SafeTensors;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_export::checkpoint::Checkpoint;
use vla_export::inventory::inventory;
use vla_export::weights::Weights;
use vla_export::{Model, Options, RopeFrequencies, View, VisionAttention, split};

use onnx_runtime::Runner;
use vla_trt_tests::onnx_runtime;
use vla_trt_tests::reference_bench::{Observation, reference_data, unpack};

const IMAGE_TOKEN: i64 = 151_669;
const TOLERANCE: f64 = 1e-4;
const STEPS: u32 = 4;

/// The frames as the vendor's processor made them, and their pixels as the network takes them.
fn views(observation: &Observation) -> (Vec<View>, Vec<Vec<f32>>) {
    let view = |camera: &String| {
        let image = observation.image("proc", camera);
        let (&[height, width, _], Data::U8(rgb)) = (image.dims(), image.data()) else { panic!("{:?}", image.dims()) };
        let plane = |channel: usize| rgb.iter().skip(channel).step_by(3).map(|u| (f32::from(*u) - 127.5) / 127.5);
        (View { camera: camera.clone(), width, height, images: 1 }, (0..3).flat_map(plane).collect())
    };
    observation.cameras.iter().map(view).unzip()
}

fn ids(observation: &Observation) -> &[i64] {
    let Data::I64(ids) = observation.tensors["input_ids"].data() else { panic!("ids") };
    ids
}

/// What encode offers to the stages.
fn host_tensors(observation: &Observation, weights: &dyn Weights, model: &Model) -> BTreeMap<String, HostTensor> {
    let ids = ids(observation);
    let width = model.language.width;
    let table = weights.get("backbone.model.language_model.model.embed_tokens.weight").expect("table");
    let (mut text, mut image, mut positions, mut rows) = (vec![], vec![], vec![], vec![]);
    let texts = ids.iter().filter(|id| **id != IMAGE_TOKEN).count() as i32;
    for (place, id) in ids.iter().enumerate() {
        if *id == IMAGE_TOKEN {
            positions.push(texts + image.len() as i32);
            image.push(place as i32);
        } else {
            positions.push(text.len() as i32);
            text.push(place as i32);
            rows.extend(table.rows(*id as usize, 1).expect("row").to_f32());
        }
    }
    let i32s = |v: Vec<i32>| HostTensor::from_i32(&[v.len()], v).expect("whole");
    let mut tensors = BTreeMap::from([
        ("text_rows".to_owned(), HostTensor::from_f32(&[text.len(), width], rows).expect("whole")),
        ("text_index".to_owned(), i32s(text)),
        ("image_index".to_owned(), i32s(image)),
        ("positions".to_owned(), i32s(positions)),
        ("state".to_owned(), observation.tensors["state_normalized"].clone()),
        ("actions".to_owned(), observation.tensors["noise"].clone()),
        (
            "strength".to_owned(),
            HostTensor::from_f32(&[model.head.horizon], vec![1.0; model.head.horizon]).expect("whole"),
        ),
    ]);
    let (views, pixels) = views(observation);
    let groups = split::view_groups(model, &views).expect("views");
    if let [group] = groups.as_slice() {
        let all = pixels.concat();
        let dims = [group.views, 3, group.height, group.width];
        tensors.insert(group.input.clone(), HostTensor::from_f32(&dims, all).expect("whole"));
    } else {
        for (group, pixels) in groups.iter().zip(&pixels) {
            let dims = [1, 3, group.height, group.width];
            tensors.insert(group.input.clone(), HostTensor::from_f32(&dims, pixels.clone()).expect("whole"));
        }
    }
    tensors
}

/// Runs the stages and returns every tensor made on the way, those of step `i` as `step<i>.<name>`.
fn run(
    environment: &Environment,
    dir: &Path,
    observation: &Observation,
    weights: &dyn Weights,
    model: &Model,
    options: &Options,
) -> BTreeMap<String, HostTensor> {
    let stages = split::write(weights, model, options, &views(observation).0, dir).expect("export");
    let mut tensors = host_tensors(observation, weights, model);
    let constants = fs::read(dir.join(split::CONSTANTS)).expect("constants");
    let constants = SafeTensors::deserialize(&constants).expect("constants");
    for stage in &stages {
        let mut runner = Runner::load(environment, &stage.files.model);
        let repetitions = if stage.repeat { STEPS } else { 1 };
        for repetition in 0..repetitions as usize {
            for (input, _) in stage.inputs.iter().filter(|(_, s)| matches!(s, split::InputSource::Constants(_))) {
                let table = constants.tensor(&format!("{}.{STEPS}", input.name)).expect("table");
                let row: usize = table.shape()[1..].iter().product();
                let values = table.data()[repetition * row * 4..][..row * 4].chunks_exact(4);
                let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let dims = &table.shape()[1..];
                tensors.insert(input.name.clone(), HostTensor::from_f32(dims, values).expect("whole"));
            }
            for (name, value) in runner.run(&tensors) {
                if stage.repeat {
                    tensors.insert(format!("step{repetition}.{name}"), value.clone());
                }
                tensors.insert(name, value);
            }
            if stage.repeat {
                tensors.insert("actions".to_owned(), tensors["next_actions"].clone());
            }
        }
    }
    tensors
}

fn relative(found: &HostTensor, expected: &HostTensor) -> f64 {
    let found = found.to_single();
    let (found, expected) = (found.as_f32().expect("float"), expected.as_f32().expect("f32"));
    assert_eq!(found.len(), expected.len(), "elements");
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / square(&mut expected.iter().map(|v| f64::from(*v)))
}

fn options(rope: RopeFrequencies, attention: VisionAttention) -> Options {
    Options {
        dtype: DType::F32,
        dtype_of: BTreeMap::new(),
        rope,
        attention,
        steps: vec![1, STEPS],
        embodiment: 10,
        text: [1, 64, 256],
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: true,
    }
}

struct Bench {
    environment: Environment,
    tiny: PathBuf,
    scratch: tempfile::TempDir,
    checkpoint: Checkpoint,
    model: Model,
}

impl Bench {
    fn new() -> Option<Self> {
        let tiny = reference_data()?.join("tiny");
        let environment = onnx_runtime::environment()?;
        let scratch = tempfile::tempdir().expect("scratch");
        unpack(&tiny, scratch.path());
        let checkpoint = Checkpoint::open(scratch.path()).expect("checkpoint");
        let model = checkpoint.model(&scratch.path().join("eagle_dims.json")).expect("sizes");
        Some(Self { environment, tiny, scratch, checkpoint, model })
    }

    fn observation(&self, index: usize) -> Observation {
        Observation::load(self.tiny.join(format!("obs{index}")))
    }

    fn run(&self, observation: &Observation, options: &Options) -> BTreeMap<String, HostTensor> {
        run(&self.environment, self.scratch.path(), observation, &self.checkpoint, &self.model, options)
    }
}

fn check(label: &str, found: &BTreeMap<String, HostTensor>, pairs: &[(&str, &HostTensor)]) {
    let mut worst = Vec::new();
    for (name, expected) in pairs {
        let error = relative(&found[*name], expected);
        eprintln!("{label} {name}: {error:.2e}");
        if error.is_nan() || error > TOLERANCE {
            worst.push(format!("{label} {name}: {error:.2e}"));
        }
    }
    assert!(worst.is_empty(), "beyond {TOLERANCE:e} relative: {worst:?}");
}

/// One test, so that the checkpoint is unpacked once.
#[test]
fn every_stage_gives_the_vendors_tensors() {
    let Some(bench) = Bench::new() else { return };
    let exact = options(RopeFrequencies::Exact, VisionAttention::PerImage);
    for index in 0..4 {
        let observation = bench.observation(index);
        let found = bench.run(&observation, &exact);
        let label = format!("obs{index}");
        for (name, reference) in [
            ("vit_out", "vit_out"),
            ("image_rows", "mlp1_out"),
            ("backbone_features", "backbone_features"),
            ("vl_embs", "vl_embs"),
            ("state_features", "state_features"),
            ("next_actions", "action_pred"),
        ] {
            check(&label, &found, &[(name, &observation.tensors[reference])]);
        }
        for step in 0..STEPS {
            for (name, reference) in [("sa_embs", "sa_embs"), ("velocity", "velocity"), ("next_actions", "actions_out")]
            {
                let reference = &observation.tensors[&format!("step{step}.{reference}")];
                check(&label, &found, &[(&format!("step{step}.{name}"), reference)]);
            }
            for block in 0..bench.model.head.blocks {
                if index == 0 || step == 0 || step == 3 {
                    let name = format!("step{step}.block{block}");
                    check(&label, &found, &[(&name, &observation.tensors[&name])]);
                }
            }
        }
        rounded_frequencies_give_the_vendors_runtime(&bench, &observation, &label);
    }
    cross_view_attention_differs_as_the_vendors_does(&bench);
    half_precision_stays_near(&bench);
}

/// The CPU computes most half-precision operators in single precision between casts: this shows that the graph is
/// well formed in f16, not what a GPU's f16 gives.
fn half_precision_stays_near(bench: &Bench) {
    let observation = bench.observation(0);
    let exact = options(RopeFrequencies::Exact, VisionAttention::PerImage);
    let found = bench.run(&observation, &Options { dtype: DType::F16, ..exact });
    for (name, reference) in [("image_rows", "mlp1_out"), ("vl_embs", "vl_embs"), ("next_actions", "action_pred")] {
        let error = relative(&found[name], &observation.tensors[reference]);
        eprintln!("f16 {name}: {error:.2e}");
        assert!(error < 5e-3, "f16 {name}: {error:.2e}");
    }
}

/// The checkpoint's own list of names is what the inventory says, but for what inference never reads.
#[test]
fn the_inventory_is_what_a_checkpoint_holds() {
    let Some(tiny) = reference_data().map(|folder| folder.join("tiny")) else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    unpack(&tiny, scratch.path());
    let checkpoint = Checkpoint::open(scratch.path()).expect("checkpoint");
    let model = checkpoint.model(&scratch.path().join("eagle_dims.json")).expect("sizes");
    let mut expected: Vec<String> = Vec::new();
    for (name, dims) in inventory(&model) {
        checkpoint.get(&name).expect("there").shaped(&dims).expect("of this shape");
        expected.push(name);
    }
    expected.sort();
    let unread = |name: &&str| name.contains("vision_model.head.") || name.ends_with("lm_head.weight");
    let held: Vec<&str> = checkpoint.names().filter(|name| !unread(name)).collect();
    assert_eq!(held, expected);
}

fn rounded_frequencies_give_the_vendors_runtime(bench: &Bench, observation: &Observation, label: &str) {
    let found = bench.run(observation, &options(RopeFrequencies::Bf16, VisionAttention::PerImage));
    let label = format!("{label} bf16 inv_freq");
    let features = &observation.tensors["backbone_features_bf16invfreq"];
    let actions = &observation.tensors["action_pred_bf16invfreq"];
    check(&label, &found, &[("backbone_features", features), ("next_actions", actions)]);
    assert!(relative(&found["backbone_features"], &observation.tensors["backbone_features"]) > 10.0 * TOLERANCE);
}

/// The reference has no cross-view tensors, but how far they are from the per-image ones.
fn cross_view_attention_differs_as_the_vendors_does(bench: &Bench) {
    let observation = bench.observation(0);
    let found = bench.run(&observation, &options(RopeFrequencies::Exact, VisionAttention::CrossView));
    let reference = &observation.tensors["action_pred"];
    let pairs = found["next_actions"].as_f32().expect("f32").iter().zip(reference.as_f32().expect("f32"));
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let expected = observation.meta["crossview_vs_perimage_action_pred"]["max_abs"].as_f64().expect("number");
    assert!((f64::from(largest) - expected).abs() < 1e-4 * expected, "{largest} against {expected}");
}
