//! A checkpoint through `vla-trt export`'s own code: what it writes loads and runs, and what it cannot serve it names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use vla_base::tensor::{DType, TensorSpec};
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Pipeline};
use vla_export::RopeFrequencies;
use vla_export::bundle;
use vla_export::bundle::{Camera, Request};
use vla_export::demo;
use vla_export::progress::Progress;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER};
use vla_policy::PolicySpec;
use vla_policy::encode::prompt::PromptEncoder;
use vla_policy::processor::DeltaRows;
use vla_runtime::parameters::PolicyShape;

/// The demo checkpoint, and the request that exports it.
struct Bench {
    scratch: tempfile::TempDir,
    request: Request,
}

impl Bench {
    /// Shards of at most `most` bytes.
    fn new(most: u64) -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("folder");
        synthetic_checkpoint::fill_folder(Size::Demo, 7, &dir, most, &mut |_| {}).expect("checkpoint");
        let request = request(&dir, &dir.join(TOKENIZER), demo::EMBODIMENT.0, &demo::CAMERAS);
        Self { scratch, request }
    }

    fn checkpoint(&self, file: &str) -> PathBuf {
        self.scratch.path().join("checkpoint").join(file)
    }

    fn out(&self) -> PathBuf {
        self.scratch.path().join("policy")
    }

    /// Replaces text in a file of the checkpoint.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.checkpoint(file);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{file} has {from}");
        fs::write(path, text.replace(from, to)).expect("write");
    }

    fn export(&self) -> Result<bundle::Summary, vla_export::Error> {
        bundle::write(&self.request, &self.out(), &mut |_| {})
    }

    /// The message of a refused export; nothing is left of it.
    fn refusal(&self) -> String {
        let error = self.export().expect_err("refused").to_string();
        let left: Vec<_> =
            fs::read_dir(self.scratch.path()).expect("folder").map(|e| e.expect("entry").path()).collect();
        assert_eq!(left, [self.scratch.path().join("checkpoint")], "nothing is left");
        error
    }
}

/// The demo's export request with another tokenizer, embodiment and cameras, and small settings.
fn request(checkpoint: &Path, tokenizer: &Path, embodiment: &str, cameras: &[&str]) -> Request {
    let camera = |name: &&str| Camera { name: (*name).to_owned(), width: 640, height: 480 };
    Request {
        tokenizer: tokenizer.to_path_buf(),
        embodiment: embodiment.to_owned(),
        cameras: cameras.iter().map(camera).collect(),
        blank_views: Vec::new(),
        name: "test".to_owned(),
        about: "Test.".to_owned(),
        steps: vec![1, 4],
        max_text: 256,
        usual_text: None,
        precision: None,
        rope: RopeFrequencies::Exact,
        ..demo::bundle::request(checkpoint)
    }
}

#[test]
fn the_demo_is_the_export_of_the_demo_checkpoint() {
    let bench = Bench::new(u64::MAX);
    let request = demo::bundle::request(&bench.checkpoint(""));
    let exported = bundle::write(&request, &bench.out(), &mut |_| {}).expect("exports");
    let made = demo::bundle::write(&bench.scratch.path().join("demo"), 7).expect("makes");
    assert_eq!(exported.fingerprint, made);
}

#[test]
fn shards_and_one_file_give_the_same_policy_and_the_bar_ends_at_all_bytes() {
    let (whole, sharded) = (Bench::new(u64::MAX), Bench::new(400_000));
    assert!(sharded.checkpoint("model.safetensors.index.json").is_file());
    let mut seen = Vec::new();
    let report = &mut |progress| seen.push(progress);
    let first = bundle::write(&sharded.request, &sharded.out(), report).expect("exports");
    assert_eq!(first.fingerprint, whole.export().expect("exports").fingerprint);
    assert_eq!(seen.last(), Some(&Progress::Fingerprint));
    let mut before = 0;
    for progress in &seen {
        if let Progress::Weights { done, total } = progress {
            assert!(before <= *done && done < total, "{done} of {total} after {before}");
            before = *done;
        }
    }
    assert!(before > 0, "{seen:?}");
}

#[test]
fn the_bundle_describes_what_was_asked_for() {
    let mut bench = Bench::new(u64::MAX);
    bench.request.cameras.reverse();
    bench.request.dtype = DType::F16;
    bench.request.dtype_of = BTreeMap::from([("vision".to_owned(), DType::F32)]);
    // Another size for one camera: an input a camera.
    bench.request.cameras[0] = Camera { name: "right_wrist".to_owned(), width: 640, height: 360 };
    let summary = bench.export().expect("exports");
    let spec = PolicySpec::load(&bench.out()).expect("a policy");
    assert_eq!(spec.cameras, demo::CAMERAS, "the policy's order, not the command line's");
    assert_eq!(spec.fingerprint, summary.fingerprint);
    assert_eq!((spec.denoise.steps.as_slice(), spec.denoise.default), (&[1, 4][..], 4));
    assert_eq!(spec.action.step.seconds(), 0.02);
    let precisions: Vec<&str> = spec.stages.iter().map(|stage| stage.precision.as_str()).collect();
    assert_eq!(precisions, ["fp32", "fp16", "fp16", "fp16"]);
    let pixels: Vec<&str> = spec.stages[0].inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(pixels, ["pixels.top", "pixels.left_wrist", "pixels.right_wrist"]);
    assert_eq!(summary.views[2].camera, "right_wrist");
    assert_ne!((summary.views[0].width, summary.views[0].height), (summary.views[2].width, summary.views[2].height));
}

#[test]
fn an_earlier_bundle_is_replaced_and_other_folders_are_not() {
    let bench = Bench::new(u64::MAX);
    let first = bench.export().expect("exports").fingerprint;
    assert_eq!(bench.export().expect("exports again").fingerprint, first);
    let other = bench.scratch.path().join("other");
    fs::create_dir(&other).expect("folder");
    fs::write(other.join("thesis.tex"), "").expect("write");
    let error = bundle::write(&bench.request, &other, &mut |_| {}).expect_err("occupied").to_string();
    assert!(error.contains("policy.yaml"), "{error}");
    assert_eq!(fs::read_dir(&other).expect("folder").count(), 1);
}

fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn other_models_are_named() {
    for (found, name) in [("gr00t_n1_5", "GR00T N1.5"), ("Gr00tN1d7", "GR00T N1.7"), ("llama", "another model")] {
        let bench = Bench::new(u64::MAX);
        bench.edit("config.json", r#""model_type": "Gr00tN1d6""#, &format!(r#""model_type": "{found}""#));
        says(&bench.refusal(), &["config.json", "model_type", "Gr00tN1d6", found, name]);
    }
}

#[test]
fn pointers_of_git_lfs_and_checkpoints_of_another_trainer_are_told_as_what_they_are() {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7800000\n", "a".repeat(64));
    let bench = Bench::new(u64::MAX);
    for file in ["model.safetensors", "tokenizer/tokenizer.json"] {
        fs::write(bench.checkpoint(file), &pointer).expect("write");
    }
    says(&bench.refusal(), &["model.safetensors, ", "tokenizer.json: a git-lfs pointer", "git lfs pull"]);

    let bench = Bench::new(u64::MAX);
    bench.edit("config.json", r#""model_type": "Gr00tN1d6""#, r#""type": "groot""#);
    fs::remove_file(bench.checkpoint("processor_config.json")).expect("remove");
    says(&bench.refusal(), &["a LeRobot checkpoint", "'groot'", "Isaac-GR00T"]);
}

#[test]
fn every_problem_of_the_configuration_is_listed() {
    let bench = Bench::new(u64::MAX);
    bench.edit("config.json", r#""action_horizon": 50"#, r#""action_horizon": -1"#);
    bench.edit("config.json", r#""ada_norm""#, r#""layer_norm""#);
    bench.edit("config.json", r#""use_vlln": true"#, r#""use_vlln": "yes""#);
    says(
        &bench.refusal(),
        &["action_horizon", "found -1", "diffusion_model_cfg.norm_type", "found layer_norm", "use_vlln", "\"yes\""],
    );
}

#[test]
fn weights_of_another_shape_are_listed_with_both() {
    let bench = Bench::new(u64::MAX);
    bench.edit("tokenizer/config.json", r#""intermediate_size": 128"#, r#""intermediate_size": 64"#);
    let layer = "backbone.model.vision_model.vision_model.encoder.layers.0.mlp.fc1.weight";
    says(&bench.refusal(), &[layer, "[64, 64]", "[128, 64]", "--backbone-config"]);

    // Without the backbone's own configuration the released sizes are assumed.
    let bench = Bench::new(u64::MAX);
    fs::remove_file(bench.checkpoint("tokenizer/config.json")).expect("remove");
    says(&bench.refusal(), &["text_config.hidden_size", "expected 96", "found 2048", "--backbone-config"]);
}

#[test]
fn missing_and_cut_shards_are_named() {
    let bench = Bench::new(400_000);
    let shards: Vec<PathBuf> =
        fs::read_dir(bench.checkpoint("")).expect("folder").map(|e| e.expect("entry").path()).collect();
    let shard = shards.iter().find(|path| path.to_string_lossy().contains("model-00002-of")).expect("a second shard");
    let bytes = fs::read(shard).expect("shard");
    let name = shard.file_name().expect("name").to_string_lossy();
    fs::write(shard, &bytes[..bytes.len() - 1]).expect("write");
    says(&bench.refusal(), &[&name, &bytes.len().to_string(), &(bytes.len() - 1).to_string()]);
    for header in [&[][..], &[0xff; 8], &[9, 0, 0, 0, 0, 0, 0, 0, b'{']] {
        fs::write(shard, header).expect("write");
        says(&bench.refusal(), &[&name, "safetensors"]);
    }
    fs::remove_file(shard).expect("remove");
    says(&bench.refusal(), &["missing", &name]);
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    let bench = Bench::new(u64::MAX);
    fs::rename(bench.checkpoint("model.safetensors"), bench.scratch.path().join("checkpoint/tokenizer/w"))
        .expect("move");
    let index = r#"{"weight_map": {"a": "../checkpoint/tokenizer/w"}}"#;
    fs::write(bench.checkpoint("model.safetensors.index.json"), index).expect("write");
    says(&bench.refusal(), &["missing", "../checkpoint/tokenizer/w"]);
}

#[test]
fn unknown_embodiments_and_cameras_are_named_with_those_there_are() {
    let mut bench = Bench::new(u64::MAX);
    bench.request.embodiment = "gr1".to_owned();
    says(&bench.refusal(), &["gr1", "new_embodiment"]);
    bench.request.embodiment = demo::EMBODIMENT.0.to_owned();
    bench.request.cameras[1].name = "head".to_owned();
    bench.request.step_s = 0.0;
    bench.request.steps = vec![4, 4];
    bench.request.max_text = 1_000_000_000;
    bench.request.dtype_of = BTreeMap::from([("dit".to_owned(), DType::F16)]);
    says(
        &bench.refusal(),
        &[
            "--camera head",
            "--camera left_wrist=WIDTHxHEIGHT is missing",
            "--step-s",
            "--steps",
            "--max-text-tokens",
            "--dtype-of",
            "dit",
        ],
    );
}

#[test]
fn a_control_period_that_is_none_is_refused_in_seconds_and_milliseconds_are_recognised() {
    let mut bench = Bench::new(u64::MAX);
    for (step_s, hint) in [(20.0, Some("0.02")), (33.3, Some("0.0333")), (2.0, Some("0.002")), (1000.0, Some("1"))] {
        bench.request.step_s = step_s;
        let words = [
            format!("found {step_s}"),
            hint.map_or_else(String::new, |s| format!("for {step_s} ms give --step-s {s}")),
        ];
        says(&bench.refusal(), &["--step-s: expected seconds", &words[0], &words[1]]);
    }
    for step_s in [-0.02, 0.0, f64::NAN, f64::INFINITY, 1e-6, 1e9] {
        bench.request.step_s = step_s;
        let refusal = bench.refusal();
        says(&refusal, &["--step-s: expected seconds", &format!("found {step_s}")]);
        assert!(!refusal.contains(" ms "), "{refusal}");
    }
    for step_s in [1e-4, 0.02, 1.0] {
        bench.request.step_s = step_s;
        bench.export().unwrap_or_else(|error| panic!("{step_s}: {error}"));
        PolicySpec::load(&bench.out()).unwrap_or_else(|error| panic!("{step_s}: {error}"));
    }
}

/// The demo checkpoint with deltas of its arms.
fn with_deltas() -> Bench {
    let bench = Bench::new(u64::MAX);
    bench.edit("processor_config.json", r#""RELATIVE""#, r#""DELTA""#);
    bench
}

#[test]
fn deltas_are_refused_by_key_unless_the_command_says_what_a_row_is() {
    let mut bench = with_deltas();
    let refusal = bench.refusal();
    for key in ["left_arm", "right_arm"] {
        let (sum, single) = (format!("--delta {key}=cumulative"), format!("--delta {key}=from_state"));
        says(&refusal, &[&format!("'{key}' has rep: DELTA"), &sum, &single]);
    }
    bench.request.deltas = BTreeMap::from([
        ("left_arm".to_owned(), DeltaRows::Cumulative),
        ("left_gripper".to_owned(), DeltaRows::FromState),
    ]);
    let refusal = bench.refusal();
    says(&refusal, &["'right_arm' has rep: DELTA", "--delta left_gripper=from_state", "(left_arm, right_arm)"]);
    assert!(!refusal.contains("'left_arm' has"), "{refusal}");
}

#[test]
fn what_a_row_of_deltas_is_goes_into_the_policy() {
    let mut bench = with_deltas();
    bench.request.deltas = BTreeMap::from([
        ("left_arm".to_owned(), DeltaRows::Cumulative),
        ("right_arm".to_owned(), DeltaRows::FromState),
    ]);
    bench.export().expect("exports");
    assert_eq!(PolicySpec::load(&bench.out()).expect("a policy").action.deltas, bench.request.deltas);
}

#[test]
fn statistics_that_are_not_used_may_be_nan_and_those_that_are_used_are_refused_by_key() {
    let bench = Bench::new(u64::MAX);
    let path = bench.checkpoint("statistics.json");
    let text = fs::read_to_string(&path).expect("text");
    let key = text.rfind("left_gripper").expect("statistics of the gripper");
    let with = |kind: &str| {
        let at = key + text[key..].find(&format!("\"{kind}\"")).expect("the kind");
        let number = at + text[at..].find(|c: char| c.is_ascii_digit() || c == '-').expect("a number");
        let end = number + text[number..].find(|c: char| !"-.0123456789e".contains(c)).expect("its end");
        fs::write(&path, format!("{}NaN{}", &text[..number], &text[end..])).expect("write");
    };
    with("max");
    says(&bench.refusal(), &["left_gripper.max[0]: expected a finite number, found NaN"]);
    with("std");
    bench.export().expect("no key of the demo is scaled by std");
    let written = bench.out().join("statistics.json");
    assert!(fs::read_to_string(&written).expect("text").contains("NaN"));
    with("max");
    fs::copy(&path, &written).expect("a file that was changed on the robot");
    let error = PolicyShape::load(&PolicySpec::load(&bench.out()).expect("a policy")).expect_err("refused at load");
    says(&error.to_string(), &["left_gripper.max[0]: expected a finite number, found NaN"]);
}

#[test]
fn a_tokenizer_without_image_tokens_is_refused() {
    let bench = Bench::new(u64::MAX);
    bench.edit("tokenizer/tokenizer.json", "<IMG_CONTEXT>", "<OTHER_CONTEXT>");
    says(&bench.refusal(), &["<IMG_CONTEXT>"]);
}

#[test]
fn a_processor_that_does_not_fit_the_network_is_refused() {
    let bench = Bench::new(u64::MAX);
    bench.edit("processor_config.json", r#""max_state_dim": 128"#, r#""max_state_dim": 64"#);
    says(&bench.refusal(), &["max_state_dim", "expected 128", "found 64"]);
    bench.edit("processor_config.json", r#""use_percentiles""#, r#""use_quantiles""#);
    says(&bench.refusal(), &["use_quantiles"]);
}

#[test]
fn the_command_exports_what_make_checkpoint_makes() {
    let scratch = tempfile::tempdir().expect("scratch");
    let (checkpoint, policy) = (scratch.path().join("checkpoint"), scratch.path().join("policy"));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(arguments).output().expect("starts");
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let checkpoint_text = checkpoint.to_string_lossy().into_owned();
    let (code, text) = run(&["make-checkpoint", "--size", "demo", "-o", &checkpoint_text]);
    assert_eq!(code, Some(0), "{text}");
    let tokenizer = checkpoint.join(TOKENIZER).to_string_lossy().into_owned();
    let policy_text = policy.to_string_lossy().into_owned();
    let mut arguments = vec!["export", "--checkpoint", &checkpoint_text, "--tokenizer", &tokenizer, "-o", &policy_text];
    arguments.extend([
        "--embodiment",
        "new_embodiment",
        "--step-s",
        "0.02",
        "--dtype",
        "fp16",
        "--dtype-of",
        "vision=fp32",
    ]);
    let (code, text) = run(&[&arguments[..], &["--camera", "top=640"]].concat());
    assert_eq!(code, Some(2), "a usage error: {text}");
    says(&text, &["name=WIDTHxHEIGHT", "top=640"]);
    let cameras = ["--camera", "top=640x480", "--camera", "left_wrist=640x480", "--camera", "right_wrist=640x480"];
    let (code, text) = run(&[&arguments[..], &cameras[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    says(&text, &["140x112", "stage language", "sha256:"]);
    PolicySpec::load(&policy).expect("a policy");
    let (code, text) = run(&[&arguments[..], &cameras[..], &["--layout", "vendor", "--only", "head"]].concat());
    assert_eq!(code, Some(1), "{text}");
    says(&text, &["--only head", "--layout backbone-dit", "--layout vendor"]);
    let (code, text) = run(&[&arguments[..], &cameras[..], &["--delta", "left_arm=sum"]].concat());
    assert_eq!(code, Some(2), "a usage error: {text}");
    says(&text, &["expected cumulative or from_state, found 'sum'"]);
    let (code, text) = run(&[&arguments[..], &cameras[..], &["--delta", "left_arm=from_state"]].concat());
    assert_eq!(code, Some(1), "{text}");
    says(&text, &["--delta left_arm=from_state: expected a joint key with rep: DELTA (the policy has none)"]);
    let head = scratch.path().join("head").to_string_lossy().into_owned();
    let arguments_of_head = ["--only", "head", "-o", &head, "--dtype-of", "dit=bf16"];
    let with_head = [&arguments[..5], &arguments[7..arguments.len() - 4], &cameras[..], &arguments_of_head].concat();
    let (code, text) = run(&with_head);
    assert_eq!(code, Some(0), "{text}");
    says(&text, &["stage state_encoder:", "stage dit: put dit_model.onnx into the folder", "backbone_model.onnx"]);
    let (code, text) = run(&[&arguments[..], &cameras[..2]].concat());
    assert_eq!(code, Some(1), "{text}");
    says(&text, &["left_wrist", "right_wrist"]);
}

fn oracle() -> Option<PathBuf> {
    let shared = vla_trt_tests::shared();
    let oracle = shared.join("oracle");
    if oracle.join("tiny").is_dir() {
        return Some(oracle);
    }
    eprintln!("SKIPPED: no oracle at {}", oracle.display());
    None
}

/// The oracle's checkpoint with its shards unpacked.
fn unpack(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("checkpoint") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if let Some(plain) = name.strip_suffix(".gz") {
            let mut source = flate2::read::GzDecoder::new(File::open(&path).expect("shard"));
            std::io::copy(&mut source, &mut File::create(to.join(plain)).expect("scratch")).expect("gunzip");
        } else if path.is_file() {
            fs::copy(&path, to.join(name)).expect("copy");
        }
    }
}

#[test]
fn the_vendors_checkpoint_becomes_a_policy_that_a_pipeline_loads() {
    let Some(oracle) = oracle() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    unpack(&oracle.join("tiny/ckpt"), scratch.path());
    // The tokenizer from its parts, as the vendor's folder has it.
    let tokenizer = scratch.path().join("tokenizer");
    fs::create_dir(&tokenizer).expect("folder");
    for file in ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"] {
        fs::copy(oracle.join("tokenizer").join(file), tokenizer.join(file)).expect("copy");
    }
    let mut request = request(scratch.path(), &tokenizer, "new_embodiment", &["top", "left_wrist", "right_wrist"]);
    request.backbone = Some(scratch.path().join("eagle_dims.json"));
    let mut fingerprints = Vec::new();
    for (name, rope) in [("exact", RopeFrequencies::Exact), ("bf16", RopeFrequencies::Bf16)] {
        request.rope = rope;
        let out = scratch.path().join(name);
        fingerprints.push(bundle::write(&request, &out, &mut |_| {}).expect("exports").fingerprint);
        let spec = PolicySpec::load(&out).expect("a policy");
        assert_eq!(spec.stage_names(), ["vision", "language", "context", "step"]);
        assert_eq!(spec.denoise.default, 4);
        ids_are_the_vendors(&oracle, &out);
        stages_fit_together(&spec);
    }
    assert_ne!(fingerprints[0], fingerprints[1]);
}

/// The project's pipeline takes the networks and joins them as the description says.
fn stages_fit_together(spec: &PolicySpec) {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let stages = spec.stages.clone();
    let inputs = stages.iter().flat_map(|stage| &stage.inputs);
    let host: Vec<TensorSpec> = inputs
        .filter_map(|input| {
            Some(TensorSpec { name: input.name.clone(), dtype: input.dtype?, dims: input.dims.clone()? })
        })
        .collect();
    let device = Onnx::new(1).expect("ONNX Runtime opens");
    Pipeline::load(device, &stages, None, &host, Admission::default(), &mut |_| {}).expect("the stages fit together");
}

/// The bundle's tokenizer and template give the ids that the vendor's processor gave.
fn ids_are_the_vendors(oracle: &Path, bundle: &Path) {
    let mut encoder =
        PromptEncoder::load(&bundle.join("tokenizer.json"), &bundle.join("prompt.json"), true).expect("encoder");
    let bytes = fs::read(oracle.join("tiny/obs0/tensors.safetensors")).expect("tensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(oracle.join("tiny/obs0/meta.json")).expect("meta")).expect("json");
    let ids = tensors.tensor("input_ids").expect("ids").data().chunks_exact(8);
    let ids: Vec<i32> = ids.map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as i32).collect();
    let prompt = encoder.encode(meta["instruction"].as_str().expect("text"), &[108; 3]).expect("encodes");
    assert_eq!(prompt.ids, ids);
}
