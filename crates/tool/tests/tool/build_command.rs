//! `vla-trt build` and `adopt` at the process boundary, where no GPU is needed: what is asked is checked before any
//! library is opened.

use std::path::Path;
use std::process::{Command, Output};

use vla_builder::{Error, Request};
use vla_engines::Precision;
use vla_engines::profile::Profile;

use vla_trt_tests::demo;

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(arguments).output().expect("the tool starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn request(onnx: &Path, profile: &[(&str, [usize; 3])]) -> Request {
    Request {
        onnx: onnx.to_owned(),
        engine: onnx.with_extension("engine"),
        profile: profile.iter().map(|(name, range)| ((*name).to_owned(), *range)).collect(),
        ..Request::default()
    }
}

fn problems(request: &Request) -> Vec<String> {
    match request.profiles() {
        Err(Error::Request { problems, .. }) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

#[test]
fn ranges_of_symbols_become_the_profiles_of_the_inputs_that_have_them() {
    let policy = demo::policy();
    let onnx = policy.path().join("language.onnx");
    let profiles =
        request(&onnx, &[("T", [16, 64, 192]), ("S", [76, 124, 252])]).profiles().expect("every symbol has a range");
    let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
    assert_eq!(names, ["positions", "text_rows"], "image_rows are fixed");
    assert_eq!(profiles["text_rows"], Profile { min: vec![16, 96], opt: vec![64, 96], max: vec![192, 96] });
    assert_eq!(profiles["positions"], Profile { min: vec![76], opt: vec![124], max: vec![252] });
}

#[test]
fn a_network_without_symbols_needs_no_profile() {
    let policy = demo::policy();
    assert!(request(&policy.path().join("vision.onnx"), &[]).profiles().expect("fixed sizes").is_empty());
}

#[test]
fn every_symbol_and_range_that_does_not_fit_is_named_at_once() {
    let policy = demo::policy();
    let onnx = policy.path().join("language.onnx");
    let found = problems(&request(&onnx, &[("S", [10, 5, 20]), ("rows", [1, 2, 3])]));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("dimension 'T' has no range: give --profile T=MIN:OPT:MAX"), "{found:?}");
    assert!(
        found.iter().any(|p| p.contains("--profile S: expected 1 <= MIN <= OPT <= MAX, found 10:5:20")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|p| p.contains("--profile rows: the network's symbolic dimensions are S, T")),
        "{found:?}"
    );
    let zero = problems(&request(&onnx, &[("S", [0, 5, 20]), ("T", [1, 1, 1])]));
    assert!(zero[0].contains("found 0:5:20"), "{zero:?}");
}

#[test]
fn what_cannot_be_meant_ends_before_anything_is_built() {
    for (arguments, words) in [
        (&["build"][..], "required"),
        (&["build", "--onnx", "x.onnx"], "--engine"),
        (&["build", "--onnx", "x.onnx", "--engine", "y", "--precision", "int9"], "found 'int9'"),
        (&["build", "policy", "--profile", "T=1:2:3"], "cannot be used with"),
        (&["build", "--onnx", "x", "--engine", "y", "--precision", "fp32", "--profile", "T=1:2"], "NAME=MIN:OPT:MAX"),
        (&["build", "--onnx", "x", "--engine", "y", "--precision", "fp32", "--profile", "T=1:b:3"], "whole numbers"),
        (&["build", "--onnx", "x", "--engine", "y", "--precision", "fp8"], "compute capability 8.9"),
        (&["build", "policy", "--max-seq-len", "512"], "cannot be used with"),
        (&["build", "policy", "--propose"], "--bag"),
        (&["build", "--onnx", "x", "--engine", "y", "--precision", "fp32", "--bag", "b"], "cannot be used with"),
        (&["adopt", "y.engine"], "--onnx"),
    ] {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_longest_sequence_bounds_ranges_and_stands_for_those_that_are_not_given() {
    let policy = demo::policy();
    let onnx = policy.path().join("language.onnx");
    let longest = Request { longest: Some(128), ..request(&onnx, &[("T", [16, 64, 192])]) };
    let profiles = longest.profiles().expect("every symbol has a range");
    assert_eq!(profiles["text_rows"], Profile { min: vec![16, 96], opt: vec![64, 96], max: vec![128, 96] });
    assert_eq!(profiles["positions"], Profile { min: vec![1], opt: vec![128], max: vec![128] });
    let none = Request { longest: Some(0), ..request(&onnx, &[]) };
    assert!(problems(&none)[0].contains("expected 1 <= MIN <= OPT <= MAX, found 0:0:0"), "{:?}", problems(&none));
}

#[test]
fn a_dry_run_says_what_would_be_built_and_how_and_builds_nothing() {
    #[cfg(feature = "tensorrt")]
    if vla_builder::device().is_ok() {
        return eprintln!("SKIPPED: a dry run without a GPU: there is one");
    }
    let policy = demo::policy();
    let dir = policy.path().to_string_lossy().into_owned();
    let output = tool(&["build", &dir, "--dry-run", "--low-memory-mode", "--timing-cache", "caches"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    for words in [
        "there is no engine",
        "language.onnx in fp16",
        "input text_rows: [16, 96] to [192, 96], usually [64, 96]",
        "timing cache: caches/step-fp16.cache, which is not there yet",
        "low memory: optimisation level 1",
        "TensorRT's own kernels only",
    ] {
        assert!(told.contains(words), "expected {words:?} in {told}");
    }
    assert!(!policy.path().join("engines").exists());

    let some = tool(&["build", &dir, "--dry-run", "--stages", "step,vision"]);
    let told = String::from_utf8_lossy(&some.stdout).into_owned();
    assert!(told.contains("step.onnx in fp16") && told.contains("vision.onnx in fp16"), "{told}");
    assert!(!told.contains("language.onnx"), "{told}");
    let unknown = tool(&["build", &dir, "--dry-run", "--stages", "steps"]);
    assert_eq!(unknown.status.code(), Some(1));
    let words = "the policy has no stage 'steps'; its stages are vision, language, context, step";
    assert!(stderr(&unknown).contains(words), "{}", stderr(&unknown));

    let onnx = policy.path().join("step.onnx").to_string_lossy().into_owned();
    let int8 = ["build", "--onnx", &onnx, "--engine", "y", "--precision", "int8+fp16", "--dry-run"];
    let output = tool(&int8);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("int8 needs scales: give --calib-data FILE.npz"), "{}", stderr(&output));
}

/// Recorded inputs of a stage whose network's file is not named as the stage is.
#[test]
fn recorded_inputs_go_by_the_stage_and_by_the_files_stem_where_no_stage_is_named() {
    let policy = demo::policy();
    let onnx = policy.path().join("vision.onnx");
    let network = vla_engines::onnx::Network::open(&onnx).expect("a network");
    let data = policy.path().join("calib.npz");
    let mut arrays = vla_npz::Writer::create(&data).expect("a file");
    for input in &network.inputs {
        let dims: Vec<usize> = input.dims.iter().map(|dim| dim.to_string().parse().expect("fixed")).collect();
        let tensor = vla_base::tensor::HostTensor::zeros(input.dtype, &dims).expect("small");
        arrays.add(&format!("vit/{}/0000", input.name), &tensor).expect("written");
    }
    arrays.finish().expect("written");
    let scales = vla_builder::Scales { data: Some(data), cache: policy.path().join("cache") };
    let int8 = Request { precision: Precision::INT8_FP16, scales: Some(scales), ..request(&onnx, &[]) };
    assert!(problems(&int8)[0].contains("is missing; the file has vit/"), "{:?}", problems(&int8));
    let named = Request { group: Some("vit".to_owned()), ..int8 };
    assert!(named.profiles().expect("its inputs are there").is_empty());
}

#[cfg(not(feature = "tensorrt"))]
#[test]
fn a_program_without_tensorrt_says_how_to_get_it() {
    for arguments in [&["build", "my_policy"][..], &["adopt", "y.engine", "--onnx", "my_policy"]] {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(1));
        let words = stderr(&output);
        assert!(words.contains("my_policy") && words.contains("--features tensorrt"), "{words}");
    }
}

#[cfg(feature = "tensorrt")]
#[test]
fn a_machine_without_a_gpu_or_tensorrt_is_told_what_is_missing() {
    let policy = demo::policy();
    let output = tool(&["build", &policy.path().to_string_lossy()]);
    if output.status.success() {
        eprintln!("SKIPPED: this machine has what it takes");
        return;
    }
    assert!(stderr(&output).contains("cannot use "), "{}", stderr(&output));
}
