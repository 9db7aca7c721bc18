//! What of a policy half precision cannot hold, measured on the sample bag: the right tensors are named, with their size.

use vla_trt_tests::demo;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prost::Message as _;
use safetensors::SafeTensors;
use tempfile::TempDir;
use vla_base::tensor::DType;
use vla_engines::onnx::proto::ModelProto;
use vla_export::bundle;
use vla_export::bundle::Request;
use vla_export::onnx::activation_range::{MeasuredTensor, read as activation_range_of};
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER};
use vla_offline::activation_range;
use vla_offline::activation_range::{Fp16, Options, Report, StageReport};
use vla_policy::PolicySpec;

/// FP16's largest number.
const LARGEST: f32 = 65_504.0;
const FC1: &str = "backbone.model.vision_model.vision_model.encoder.layers.1.mlp.fc1";
const FC2: &str = "backbone.model.vision_model.vision_model.encoder.layers.1.mlp.fc2";
const Q_NORM: &str = "backbone.model.language_model.model.layers.1.self_attn.q_norm";

/// A checkpoint with the demo's weights, some of them scaled.
fn checkpoint(scaled: &[(&str, f32)]) -> TempDir {
    let dir = tempfile::tempdir().expect("scratch");
    synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, Size::Demo, 7, dir.path(), u64::MAX, &mut |_| {})
        .expect("a checkpoint");
    let file = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&file).expect("weights");
    let (header, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors");
    for (name, factor) in scaled {
        let (from, to) = metadata.info(name).unwrap_or_else(|| panic!("no weight {name}")).data_offsets;
        for value in bytes[8 + header + from..8 + header + to].as_chunks_mut::<4>().0 {
            *value = (f32::from_le_bytes(*value) * factor).to_le_bytes();
        }
    }
    fs::write(file, bytes).expect("weights");
    dir
}

fn request(checkpoint: &Path) -> Request {
    vla_export::demo::bundle::request(&vla_export::family::N1D6, checkpoint)
}

fn measure(request: &Request, observations: usize) -> Report {
    demo::point_at_onnx_runtime();
    let scratch = tempfile::tempdir().expect("scratch");
    bundle::fill_measured(request, scratch.path(), &mut |_| {}).expect("exports");
    let settings = demo::settings(scratch.path(), &[]);
    let spec = PolicySpec::load(scratch.path()).expect("a policy");
    let options = Options { source: demo::bag().into(), observations };
    let mut seen = Vec::new();
    let report =
        activation_range::measure(spec, &settings, &options, &mut |progress| seen.push(progress)).expect("measured");
    assert!(!seen.is_empty());
    report
}

fn stage<'r>(report: &'r Report, name: &str) -> &'r StageReport {
    report.stages.iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("no stage {name}"))
}

/// The largest magnitude of the product with a weight.
fn product(report: &Report, weight: &str) -> f32 {
    let tensors = report.stages.iter().flat_map(|stage| &stage.tensors);
    let mut found = tensors.filter(|(tensor, _)| tensor.weight.as_deref() == Some(weight));
    found.next().unwrap_or_else(|| panic!("no product with {weight}")).1
}

fn beyond(stage: &StageReport) -> Vec<&MeasuredTensor> {
    stage.tensors.iter().filter(|(_, absmax)| *absmax > LARGEST).map(|(tensor, _)| tensor).collect()
}

#[test]
fn the_demos_weights_fit_and_every_stage_is_measured_over_all_observations_and_steps() {
    let checkpoint = checkpoint(&[]);
    let report = measure(&request(checkpoint.path()), 4);
    assert_eq!(report.observations, 4);
    let names: Vec<&str> = report.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["vision", "language", "context", "step"]);
    for stage in &report.stages {
        // The causal mask is no activation.
        assert!(!stage.leaves() && stage.verdict().starts_with("fp16: fits, margin"), "{}", stage.verdict());
        assert!(stage.tensors.iter().all(|(_, absmax)| *absmax > 0.0), "{stage:?}");
    }
    // The rows of every step's constants are an input of the step stage, and the largest is in the last.
    let scratch = tempfile::tempdir().expect("scratch");
    bundle::fill_measured(&request(checkpoint.path()), scratch.path(), &mut |_| {}).expect("exports");
    let bytes = fs::read(scratch.path().join("modulation.safetensors")).expect("constants");
    let tables = SafeTensors::deserialize(&bytes).expect("safetensors");
    let rows = tables.tensor("modulation.4").expect("four steps").data().as_chunks::<4>().0.to_vec();
    let largest = rows.iter().map(|bytes| f32::from_le_bytes(*bytes).abs()).fold(0.0, f32::max);
    let held = stage(&report, "step").tensors.iter().filter(|(tensor, _)| tensor.tensor.contains("/Cast_"));
    assert!(held.clone().any(|(_, absmax)| *absmax == largest), "{largest} in {:?}", held.collect::<Vec<_>>());
}

#[test]
fn the_layer_whose_weights_are_too_large_is_named_with_its_size_and_no_other() {
    let plain = checkpoint(&[]);
    let before = measure(&request(plain.path()), 3);
    let [weight, bias] = ["weight", "bias"].map(|part| format!("{FC1}.{part}"));
    let usual = product(&before, &weight);
    // Powers of two scale a product exactly; the next layer takes it back.
    let factor = (4.0 * LARGEST / usual).log2().ceil().exp2();
    let scaled = checkpoint(&[(&weight, factor), (&bias, factor), (&format!("{FC2}.weight"), 1.0 / factor)]);
    let report = measure(&request(scaled.path()), 3);
    assert_eq!(product(&report, &weight), usual * factor);
    let vision = stage(&report, "vision");
    for tensor in beyond(vision) {
        assert!(tensor.tensor.starts_with("vision/pixels/layers.1/"), "{tensor:?}");
    }
    let leaving: Vec<&MeasuredTensor> = beyond(vision).into_iter().filter(|tensor| !tensor.saturates).collect();
    assert_eq!(leaving[0].weight.as_ref(), Some(&weight), "the first of {leaving:?}");
    assert!(leaving.len() <= 3, "the product, and half of it and the whole inside the GELU: {leaving:?}");
    let words = format!("leaves FP16's range: {} ", leaving[0].tensor);
    assert!(vision.verdict().starts_with(&words), "{}", vision.verdict());
    assert!(vision.count(Fp16::Saturates) > 0, "the cube that a tanh limits");
    for other in ["language", "context", "step"] {
        assert!(!stage(&report, other).leaves(), "{}", stage(&report, other).verdict());
    }
}

#[test]
fn attention_scores_that_no_stage_shows_are_named() {
    let checkpoint = checkpoint(&[(&format!("{Q_NORM}.weight"), 2_f32.powi(20))]);
    let report = measure(&request(checkpoint.path()), 2);
    let language = stage(&report, "language");
    let beyond = beyond(language);
    assert!(beyond.iter().all(|t| t.tensor.starts_with("language/layers.1/attention/")), "{beyond:?}");
    assert!(beyond.iter().any(|t| t.tensor.contains("MatMul")), "{beyond:?}");
    assert!(!stage(&report, "vision").leaves() && !stage(&report, "step").leaves());
}

#[test]
fn stages_cut_into_pieces_are_measured_as_the_whole_is() {
    let checkpoint = checkpoint(&[]);
    let mut request = request(checkpoint.path());
    let whole = measure(&request, 2);
    request.blocks_per_engine = Some(1);
    let cut = measure(&request, 2);
    assert!(cut.stages.len() > whole.stages.len() + 3, "{}", cut.stages.len());
    let products = |report: &Report| -> BTreeMap<String, f32> {
        let tensors = report.stages.iter().flat_map(|stage| &stage.tensors);
        tensors.filter_map(|(tensor, absmax)| Some((tensor.weight.clone()?, *absmax))).collect()
    };
    let (whole, cut) = (products(&whole), products(&cut));
    assert_eq!(whole.keys().collect::<Vec<_>>(), cut.keys().collect::<Vec<_>>());
    for (weight, absmax) in &whole {
        assert!((cut[weight] - absmax).abs() <= 1e-4 * absmax, "{weight}: {} and {absmax}", cut[weight]);
    }
}

#[test]
fn measured_tensors_have_the_names_of_the_export_in_half_precision_whatever_its_neighbours_are() {
    let checkpoint = checkpoint(&[]);
    for single in [&[][..], &["vision"], &["context"]] {
        let mut request = request(checkpoint.path());
        request.dtype = DType::F16;
        request.dtype_of = single.iter().map(|stage| ((*stage).to_owned(), DType::F32)).collect();
        let [measured, exported] = [(); 2].map(|()| tempfile::tempdir().expect("scratch"));
        bundle::fill_measured(&request, measured.path(), &mut |_| {}).expect("exports");
        bundle::write(&request, exported.path(), &mut |_| {}).expect("exports");
        for stage in ["vision", "language", "context", "step"].iter().filter(|stage| !single.contains(stage)) {
            let file = format!("{stage}.onnx");
            let model =
                ModelProto::decode(&fs::read(exported.path().join(&file)).expect("a network")[..]).expect("ONNX");
            let nodes = model.graph.expect("a graph").node;
            let names: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.output).collect();
            let found = activation_range_of(&measured.path().join(&file)).expect("a measured network");
            assert!(found.len() > 3, "{found:?}");
            let others: Vec<_> = found.iter().filter(|measured| !names.contains(&measured.tensor)).collect();
            assert!(others.is_empty(), "{stage} beside {single:?}: {others:?}");
        }
    }
}

struct Cli {
    scratch: TempDir,
    checkpoint: TempDir,
}

impl Cli {
    fn out(&self) -> PathBuf {
        self.scratch.path().join("policy")
    }

    fn run(&self, more: &[&str]) -> Output {
        demo::point_at_onnx_runtime();
        let checkpoint = self.checkpoint.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        command.arg("export").arg("--checkpoint").arg(checkpoint).arg("--tokenizer").arg(checkpoint.join(TOKENIZER));
        command.args(["--embodiment", "new_embodiment", "--step-s", "0.02"]).arg("-o").arg(self.out());
        for camera in ["top", "left_wrist", "right_wrist"] {
            command.args(["--camera", &format!("{camera}=640x480")]);
        }
        command.args(more).output().expect("starts")
    }

    /// Nothing is left beside the checkpoint.
    fn nothing_is_left(&self) {
        assert_eq!(fs::read_dir(self.scratch.path()).expect("folder").count(), 0);
    }
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_command_writes_the_table_into_the_bundle_and_warns_of_stages_in_half_precision() {
    let (weight, bias) = (format!("{FC1}.weight"), format!("{FC1}.bias"));
    let scaled = [(weight.as_str(), 3e5), (bias.as_str(), 3e5)];
    let cli = Cli { scratch: tempfile::tempdir().expect("scratch"), checkpoint: checkpoint(&scaled) };
    let (bag, params) = (demo::bag(), demo::params());
    let [bag, params] = [&bag, &params].map(|path| path.to_str().expect("text"));
    let output =
        cli.run(&["--dtype", "fp16", "--absmax-from", bag, "--absmax-params", params, "--absmax-observations", "2"]);
    let text = words(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["vision: leaves FP16's range", "absmax over 2 observations", "--dtype-of vision=fp32"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    assert!(!text.contains("--dtype-of context"), "{text}");
    let table = fs::read_to_string(cli.out().join("absmax.csv")).expect("the table");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("stage,tensor,weight,absmax,fp16"));
    let leaving = format!(",{weight},");
    assert!(lines.any(|line| line.starts_with("vision,") && line.contains(&leaving) && line.ends_with(",leaves")));
    let with = PolicySpec::load(&cli.out()).expect("a policy");
    assert!(cli.run(&["--dtype", "fp16"]).status.success());
    let without = PolicySpec::load(&cli.out()).expect("a policy");
    assert_eq!(with, without, "the policy is the same, measured or not");
}

#[test]
fn what_cannot_be_measured_is_refused_in_words_and_nothing_is_written() {
    let cli = Cli { scratch: tempfile::tempdir().expect("scratch"), checkpoint: checkpoint(&[]) };
    let (bag, params) = (demo::bag(), demo::params());
    let [bag, params] = [&bag, &params].map(|path| path.to_str().expect("text"));
    let cases: [(&[&str], i32, &[&str]); 5] = [
        (&["--absmax-from", bag], 2, &["--absmax-params"]),
        (&["--absmax-params", params], 2, &["--absmax-from"]),
        (&["--absmax-from", "nowhere.mcap", "--absmax-params", params], 1, &["nowhere.mcap"]),
        (
            &["--absmax-from", bag, "--absmax-params", params, "--absmax-param", "inputs.joints.topic:=/elsewhere"],
            1,
            &["/elsewhere", "/joint_states"],
        ),
        (
            &[
                &["--absmax-from", bag, "--absmax-params", params][..],
                &["--absmax-param", "state.left_gripper.joints:=[nobody]"],
                &["--absmax-param", "action.left_gripper.joints:=[left_gripper]"],
            ]
            .concat(),
            6,
            &["expected observations", "nobody", "inputs.*.max_age_ms"],
        ),
    ];
    for (more, code, expected) in cases {
        let output = cli.run(more);
        let text = words(&output);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {text}");
        for part in expected {
            assert!(text.contains(part), "{more:?}: `{part}` in {text}");
        }
        cli.nothing_is_left();
    }
}
