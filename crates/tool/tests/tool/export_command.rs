//! A checkpoint through `vla-trt export`'s own code: what it writes, and how its options are checked.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::export_bench::{Bench, says};
use vla_base::tensor::DType;
use vla_export::bundle;
use vla_export::bundle::Camera;
use vla_export::demo;
use vla_export::progress::Progress;
use vla_export::synthetic_checkpoint::TOKENIZER;
use vla_policy::PolicySpec;

#[test]
fn the_demo_is_the_export_of_the_demo_checkpoint() {
    let bench = Bench::new(u64::MAX);
    let request = demo::bundle::request(&vla_export::family::N1D6, &bench.checkpoint(""));
    let exported = bundle::write(&request, &bench.out(), &mut |_| {}).expect("exports");
    let made = demo::bundle::write(&vla_export::family::N1D6, &bench.scratch.path().join("demo"), 7).expect("makes");
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
