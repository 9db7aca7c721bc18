//! GR00T N1.7's demo policy through the tool's commands, each in a process: what N1.6's has in the tests of each command, with the stages
//! and shapes of this release.

use vla_trt_tests::demo;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_base::time::Span;
use vla_builder::calibration::Calibration;
use vla_engines::onnx::Network;
use vla_export::bundle::{self, Request};
use vla_export::family::N1D7;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER, fill_folder};
use vla_policy::PolicySpec;
use vla_quantize::Kind;

use super::eval::first_moments;

const STAGES: [&str; 5] = ["vision", "language", "fusion", "context", "step"];
/// Tokens of an image of 640x480, which becomes 352x256.
const ROWS: usize = (256 / 32) * (352 / 32);

fn tool(args: &[&str]) -> Output {
    demo::point_at_onnx_runtime();
    Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(args).output().expect("starts")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = tool(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", words(&output));
    words(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The sample bag and parameters that fit the demo's robot.
fn recorded() -> [PathBuf; 2] {
    [demo::bag(), demo::params()]
}

/// A demo checkpoint, and a folder for what is made of it.
struct Checkpoint {
    scratch: TempDir,
}

impl Checkpoint {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("a folder");
        fill_folder(&N1D7, Size::Demo, 7, &dir, u64::MAX, &mut |_| {}).expect("a checkpoint");
        Self { scratch }
    }

    /// Exports it with one step count and changes.
    fn export(&self, name: &str, change: impl FnOnce(&mut Request)) -> PathBuf {
        let mut request = vla_export::demo::bundle::request(&N1D7, &self.scratch.path().join("checkpoint"));
        request.steps = vec![4];
        change(&mut request);
        let out = self.scratch.path().join(name);
        bundle::write(&request, &out, &mut |_| {}).expect("exports");
        out
    }
}

/// `infer` on one observation with frames of 64x48.
fn infer(policy: &Path) -> BTreeMap<String, HostTensor> {
    infer_frames(policy, &[64; 3])
}

/// The same with frames of these widths.
fn infer_frames(policy: &Path, widths: &[usize; 3]) -> BTreeMap<String, HostTensor> {
    let spec = PolicySpec::load(policy).expect("a policy");
    let scratch = tempfile::tempdir().expect("scratch");
    let [inputs, dump] = ["inputs.npz", "dump.npz"].map(|name| scratch.path().join(name));
    let wave = |dims: &[usize]| {
        let count: usize = dims.iter().product();
        HostTensor::from_f32(dims, (0..count).map(|i| (i as f32 * 0.37).sin() * 0.5).collect()).expect("whole")
    };
    let mut writer = vla_npz::Writer::create(&inputs).expect("a file");
    let mut add = |name: &str, tensor: HostTensor| writer.add(name, &tensor).expect("written");
    for (index, (camera, width)) in spec.cameras.iter().zip(widths).enumerate() {
        let pixels = (0..48 * width * 3).map(|i| ((i * (5 + index)) % 249) as u8).collect();
        add(&format!("image.{camera}"), HostTensor::from_u8(&[48, *width, 3], pixels).expect("whole"));
    }
    for (key, width) in &spec.state {
        add(&format!("state_raw.{key}"), wave(&[1, *width]));
    }
    add("noise", wave(&[spec.action.horizon, spec.action.dims]));
    add("instruction", HostTensor::from_u8(&[8], b"Push it!".to_vec()).expect("whole"));
    writer.finish().expect("written");
    succeeds(&["infer", "--policy", text(policy), "--inputs", text(&inputs), "--dump", text(&dump)]);
    vla_npz::read(&dump).expect("a dump")
}

fn values<'t>(arrays: &'t BTreeMap<String, HostTensor>, name: &str) -> &'t [f32] {
    arrays.get(name).and_then(HostTensor::as_f32).unwrap_or_else(|| panic!("no f32 {name}"))
}

#[test]
fn the_dump_has_the_vendors_names_and_this_releases_shapes() {
    let policy = demo::policy_of(&N1D7);
    let found = infer(policy.path());
    let tokens = found["input_ids"].dims()[0];
    for (name, dims) in [
        ("pixels", vec![3, 3, 256, 352]),
        ("proc.top", vec![256, 352, 3]),
        ("image_embeds", vec![3 * ROWS, 96]),
        ("deepstack_0", vec![3 * ROWS, 96]),
        ("deepstack_2", vec![3 * ROWS, 96]),
        ("backbone_features", vec![tokens, 96]),
        ("vl_embs", vec![tokens, 96]),
        ("state_normalized", vec![1, 132]),
        ("action_pred", vec![40, 132]),
        ("action_decoded.left_arm", vec![16, 6]),
    ] {
        assert_eq!(found.get(name).map(HostTensor::dims), Some(&dims[..]), "{name} in {:?}", found.keys());
    }
    assert!(!found.contains_key("mlp1_out"), "N1.6's name");
    // The user's turn begins with the images.
    let Data::U8(mask) = found["image_mask"].data() else { panic!("{:?}", found["image_mask"]) };
    let first: Vec<usize> = (0..mask.len()).filter(|place| mask[*place] == 1).take(1).collect();
    assert_eq!((first, mask.iter().filter(|place| **place == 1).count()), (vec![4], 3 * ROWS));
    assert!(values(&found, "action_pred").iter().all(|value| value.is_finite()));
}

#[test]
fn a_bag_is_replayed_measured_and_verified_with_every_stage() {
    let policy = demo::policy_of(&N1D7);
    let scratch = tempfile::tempdir().expect("scratch");
    let (bag, params) = (scratch.path().join("two_seconds.mcap"), demo::params());
    first_moments(&bag, Span::from_millis(2000.0));
    let of = ["--policy", text(policy.path()), "--params", text(&params)];
    let replay = |name: &str, more: &[&str]| {
        let out = scratch.path().join(name);
        succeeds(&[&["replay", text(&bag)], &of[..], &["-o", text(&out)], more].concat());
        demo::chunks(&out).into_iter().map(|chunk| chunk.values).collect::<Vec<_>>()
    };
    let chunks = replay("chunks.mcap", &[]);
    assert_eq!((chunks.len(), chunks[0].len()), (10, 16 * 14));
    let rtc = ["-p", "handover.mode:=rtc", "-p", "handover.rtc_frozen:=6", "-p", "handover.rtc_overlap:=4"];
    let guided = replay("guided.mcap", &rtc);
    assert_eq!((guided.len(), &guided[0]), (10, &chunks[0]), "the first chunk has none before it");
    assert_ne!(guided[1], chunks[1], "the second begins with rows of the first");

    let bench = succeeds(&[&["bench", text(&bag)], &of[..], &["-n", "2", "--warm-up", "1"]].concat());
    for stage in STAGES {
        assert!(bench.lines().any(|line| line.trim_start().starts_with(stage)), "{stage} in {bench}");
    }
    let report = scratch.path().join("report.json");
    let args = ["verify", text(policy.path()), "--bag", text(&bag), "--params", text(&params), "--engine-kind", "onnx"];
    let more = ["--candidate", text(policy.path()), "--observations", "2", "--report", text(&report)];
    succeeds(&[&args[..], &more].concat());
    let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    let stages = report["stages"].as_array().expect("stages");
    assert_eq!(stages.iter().map(|stage| stage["stage"].as_str().expect("a name")).collect::<Vec<_>>(), STAGES);
    // Vision makes the image rows and three sets of rows for the language model's layers.
    assert_eq!(stages[0]["outputs"].as_array().map(Vec::len), Some(4));
    let outputs = stages.iter().flat_map(|stage| stage["outputs"].as_array().expect("outputs"));
    assert!(outputs.clone().all(|tensor| tensor["cosine"] == 1.0 && tensor["max_abs"] == 0.0), "{report}");
}

#[test]
fn memory_least_times_and_networks_are_printed_for_every_stage() {
    let policy = demo::policy_of(&N1D7);
    let plan = succeeds(&["plan", text(policy.path()), "--roofline"]);
    assert!(plan.contains("no engine is built yet: vision, language, fusion, context, step"), "{plan}");
    let rows = |stage: &str| plan.lines().filter(|line| line.trim_start().starts_with(stage)).count();
    assert!(STAGES.iter().all(|stage| rows(stage) >= 2), "a row of memory and one of times each: {plan}");
    let inspected = succeeds(&["inspect", text(&policy.path().join("vision.onnx"))]);
    assert!(inspected.contains("deepstack_2") && inspected.contains("image_rows"), "{inspected}");
    let mixed = succeeds(&["plan", text(policy.path()), "--mix", "fp16,fusion=fp32"]);
    assert!(mixed.contains("fusion"), "{mixed}");
    let [bag, params] = recorded();
    let doctor = ["doctor", text(policy.path()), "--params", text(&params), "--bag", text(&bag)];
    let examined = tool(&doctor);
    // Warnings are this machine's.
    assert!([Some(0), Some(5)].contains(&examined.status.code()), "{}", words(&examined));
    assert!(words(&examined).contains("engine fusion"), "{}", words(&examined));
}

#[test]
fn calibration_data_of_every_stage_fit_its_network_and_the_layers_behind_the_language_model_read_its_output() {
    let policy = demo::policy_of(&N1D7);
    let scratch = tempfile::tempdir().expect("scratch");
    let file = scratch.path().join("calib.npz");
    let [bag, params] = recorded();
    let args = ["calibrate", text(&bag), "--policy", text(policy.path()), "--params", text(&params), "-o", text(&file)];
    succeeds(&[&args[..], &["--observations", "2"]].concat());
    let spec = PolicySpec::load(policy.path()).expect("a policy");
    for stage in &spec.stages {
        let inputs = Network::open(&stage.onnx).expect("a network").inputs;
        let mut calibration = Calibration::open(&file, &inputs, Some(&stage.name)).expect("it fits the network");
        let expected = if stage.repeat { 2 * spec.denoise.default as usize } else { 2 };
        assert_eq!(calibration.samples(), expected, "{}", stage.name);
        let mut sample = Vec::new();
        while calibration.next_sample(&mut sample).expect("a sample") {
            let finite = |tensor: &HostTensor| tensor.as_f32().is_none_or(|x| x.iter().all(|x| x.is_finite()));
            assert!(sample.len() == inputs.len() && sample.iter().all(finite), "{}", stage.name);
        }
    }
}

#[test]
fn the_layers_behind_the_language_model_have_kinds_and_are_quantised_for_both_targets() {
    let policy = demo::policy_of(&N1D7);
    let scratch = tempfile::tempdir().expect("scratch");
    let [ten, eight] = ["ten", "eight"].map(|name| scratch.path().join(name));
    let [bag, params] = recorded();
    let args = ["quantize", text(policy.path()), "-o", text(&ten), "--bag", text(&bag), "--params", text(&params)];
    succeeds(&[&args[..], &["--stages", "fusion", "--max-action-rad", "1", "--observations", "2"]].concat());
    let plan: Value = serde_json::from_slice(&fs::read(ten.join("quantization.json")).expect("a plan")).expect("JSON");
    let products = plan["stages"][0]["products"].as_array().expect("products");
    assert!(products.iter().all(|product| product["quantized"] == true), "{plan}");
    let kinds = |stage: &str| {
        let network = Network::open(&policy.path().join(format!("{stage}.onnx"))).expect("a network");
        let mut kinds = BTreeMap::new();
        for product in vla_quantize::products(&network) {
            *kinds.entry(product.kind).or_insert(0) += 1;
        }
        kinds
    };
    let fusion = [(Kind::FeedForward, 4), (Kind::SelfAttention, 6), (Kind::AttentionOutput, 2)];
    assert_eq!(kinds("fusion"), BTreeMap::from(fusion));
    // Four blocks; patches, and two products of the merger and of each of three taps.
    let edges = 1 + 2 + 3 * 2;
    let blocks = [(Kind::FeedForward, 8), (Kind::SelfAttention, 4), (Kind::AttentionOutput, 4), (Kind::Edge, edges)];
    assert_eq!(kinds("vision"), BTreeMap::from(blocks));
    let from = ten.join("quantization.json");
    let args = ["quantize", text(policy.path()), "-o", text(&eight), "--plan", text(&from), "--target", "trt8"];
    succeeds(&args);
    let [first, second] = [&ten, &eight].map(|policy| infer(policy));
    assert_eq!(first["action_pred"], second["action_pred"], "two forms of the same numbers");
    assert_ne!(first["vl_embs"], infer(policy.path())["vl_embs"]);
}

#[test]
fn stages_cut_into_blocks_compute_the_same_bits() {
    let checkpoint = Checkpoint::new();
    let whole = infer(&checkpoint.export("whole", |_| {}));
    for (blocks, stages) in [
        (2, &["vision_0", "vision_1", "language_0", "language_1", "fusion", "context", "step_0", "step_1"][..]),
        (
            1,
            &[
                "vision_0",
                "vision_1",
                "vision_2",
                "vision_3",
                "language_0",
                "language_1",
                "language_2",
                "fusion_0",
                "fusion_1",
                "context",
                "step_0",
                "step_1",
                "step_2",
                "step_3",
            ],
        ),
    ] {
        let policy = checkpoint.export("cut", |request| request.blocks_per_engine = Some(blocks));
        assert_eq!(PolicySpec::load(&policy).expect("a policy").stage_names(), stages);
        let cut = infer(&policy);
        for name in ["image_embeds", "deepstack_0", "deepstack_2", "backbone_features", "vl_embs", "action_pred"] {
            assert_eq!(cut[name], whole[name], "{name}, {blocks}");
        }
    }
}

#[test]
fn a_camera_of_another_shape_has_an_input_of_its_own_and_leaves_the_others_as_they_are() {
    let checkpoint = Checkpoint::new();
    let alike = infer(&checkpoint.export("alike", |_| {}));
    let policy = checkpoint.export("mixed", |request| request.cameras[1].width = 480);
    let mixed = infer_frames(&policy, &[64, 48, 64]);
    // Two cameras of 640x480 and one of 480x480.
    for name in ["image_embeds", "deepstack_1"] {
        let [alike, mixed] = [&alike, &mixed].map(|arrays| values(arrays, name));
        let (image, square) = (ROWS * 96, 64 * 96);
        assert_eq!((alike.len(), mixed.len()), (3 * image, 2 * image + square), "{name}");
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart(&alike[..image], &mixed[..image]) < 1e-5, "{name} of the first");
        assert!(apart(&alike[2 * image..], &mixed[image + square..]) < 1e-5, "{name} of the third");
    }
    assert!(values(&mixed, "action_pred").iter().all(|value| value.is_finite()));
}

#[test]
fn half_precision_passes_rows_between_stages_in_half_precision() {
    let checkpoint = Checkpoint::new();
    let single = infer(&checkpoint.export("single", |_| {}));
    let policy = checkpoint.export("half", |request| {
        request.dtype = DType::F16;
        request.dtype_of = BTreeMap::from([("fusion".to_owned(), DType::F32)]);
    });
    let types = |stage: &str| {
        let network = Network::open(&policy.join(format!("{stage}.onnx"))).expect("a network");
        network.inputs.iter().map(|input| (input.name.clone(), input.dtype)).collect::<BTreeMap<_, _>>()
    };
    let language = types("language");
    for name in ["image_rows", "deepstack_0", "deepstack_1", "deepstack_2"] {
        assert_eq!(language[name], DType::F16, "{name}");
    }
    assert_eq!(types("fusion")["backbone_features"], DType::F32, "its neighbour has another type");
    let half = infer(&policy);
    let pairs = values(&half, "action_pred").iter().zip(values(&single, "action_pred"));
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest > 0.0 && largest < 0.05, "{largest}");
}

#[test]
fn every_stage_is_measured_for_half_precision_at_the_export() {
    let checkpoint = Checkpoint::new();
    let [bag, params] = recorded();
    let dir = checkpoint.scratch.path().join("checkpoint");
    let tokenizer = dir.join(TOKENIZER);
    let out = checkpoint.scratch.path().join("measured");
    let args = ["export", "--checkpoint", text(&dir), "--tokenizer", text(&tokenizer), "-o", text(&out)];
    let robot = ["--embodiment", "new_embodiment", "--step-s", "0.02", "--steps", "4"];
    let cameras = ["top", "left_wrist", "right_wrist"].map(|name| format!("--camera={name}=640x480"));
    let measure = ["--dtype", "fp16", "--absmax-from", text(&bag), "--absmax-params", text(&params)];
    let cameras: Vec<&str> = cameras.iter().map(String::as_str).collect();
    let said = succeeds(&[&args[..], &robot, &cameras, &measure, &["--absmax-observations", "2"]].concat());
    for stage in STAGES {
        let row = said.lines().find(|line| line.contains(stage) && line.contains("fp16: "));
        assert!(row.is_some_and(|row| row.contains("fits")), "{stage} in {said}");
    }
}

#[test]
fn chunks_are_compared_with_a_data_sets_actions() {
    let policy = demo::policy_of(&N1D7);
    let scratch = tempfile::tempdir().expect("scratch");
    let json = scratch.path().join("eval.json");
    let params = demo::params();
    let set = demo::root().join("tests/data/lerobot/v30_images");
    let args = ["eval", text(policy.path()), "--params", text(&params), "--dataset", text(&set), "--episodes", "1"];
    // The policy has three cameras, the data set two; its rows are 0.1 s apart.
    let fits = ["--column", "video.right_wrist=observation.images.left_wrist", "-p", "action.step_s:=0.1"];
    succeeds(&[&args[..], &fits, &["--stride", "4", "--json", text(&json)]].concat());
    let document: Value = serde_json::from_slice(&fs::read(&json).expect("figures")).expect("JSON");
    assert_eq!(document["policies"][0]["inferences"], 3, "of 10 rows every fourth");
}
