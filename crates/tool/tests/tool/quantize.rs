//! The demo policy quantised on the sample bag: what is 8-bit, how far its actions are, and what is refused.

use vla_trt_tests::demo;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn tool(args: &[&str]) -> Output {
    demo::point_at_onnx_runtime();
    Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(args).output().expect("starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Quantises `policy` on the sample bag.
fn quantize(policy: &Path, out: &Path, more: &[&str]) -> Output {
    let (bag, params) = (demo::bag(), demo::params());
    let args = ["quantize", text(policy), "-o", text(out), "--bag", text(&bag), "--params", text(&params)];
    let few: &[&str] = if more.contains(&"--observations") { &[] } else { &["--observations", "4"] };
    tool(&[&args[..], few, more].concat())
}

fn plan(policy: &Path) -> Value {
    serde_json::from_slice(&fs::read(policy.join("quantization.json")).expect("a plan")).expect("JSON")
}

fn products(plan: &Value) -> impl Iterator<Item = &Value> {
    let stages = plan["stages"].as_array().expect("stages").iter();
    stages.flat_map(|stage| stage["products"].as_array().expect("products"))
}

/// Share of the weights of products that are quantised.
fn share(plan: &Value) -> f64 {
    let sum = |quantized: bool| -> f64 {
        let of = products(plan).filter(|each| !quantized || each["quantized"] == true);
        of.map(|each| each["elements"].as_f64().expect("a number")).sum()
    };
    sum(true) / sum(false)
}

/// The report of `verify` on other observations than those of the calibration: its JSON.
fn verified(policy: &Path, other: &Path) -> Value {
    let file = tempfile::NamedTempFile::new().expect("scratch");
    let (bag, params) = (demo::bag(), demo::params());
    let args = ["verify", text(policy), "--bag", text(&bag), "--params", text(&params), "--engine-kind", "onnx"];
    let more = ["--candidate", text(other), "--observations", "5", "--report", text(file.path())];
    let output = tool(&[&args[..], &more].concat());
    serde_json::from_slice(&fs::read(file.path()).expect("a report"))
        .unwrap_or_else(|error| panic!("{error}: {}", words(&output)))
}

fn largest(report: &Value) -> f64 {
    let keys = report["actions"]["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["largest"].as_f64().expect("a number")).fold(0.0, f64::max)
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a bundle").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().expect("text"), fs::read(entry.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

fn out() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("scratch");
    let out = dir.path().join("policy8");
    (dir, out)
}

#[test]
fn a_policy_stays_within_its_limits_every_floating_product_has_a_reason_and_two_runs_are_the_same_bytes() {
    let policy = demo::policy();
    let (scratch, first) = out();
    let stages = ["--stages", "context", "--observations", "8"];
    let output = quantize(policy.path(), &first, &stages);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let plan = plan(&first);
    assert_eq!(plan["observations"], 8);
    assert!(products(&plan).all(|each| each["quantized"] != each["reason"].is_string()), "{plan}");
    assert!(share(&plan) > 0.1, "{}", words(&output));
    assert_eq!(plan["outcome"]["within"], true);
    assert!(plan["integer_kernels"].is_array(), "the integer kernels are compared as well");
    let report = verified(policy.path(), &first);
    // Also on observations that the calibration did not see.
    assert!(largest(&report) > 1e-6 && report["passed"] == true, "{report}");
    let second = scratch.path().join("again");
    assert_eq!(quantize(policy.path(), &second, &stages).status.code(), Some(0));
    assert_eq!(files(&first), files(&second));
    assert!(!scratch.path().join("policy8.quantize").exists(), "what a run keeps for the next is gone at its end");
    // A folder of that name with something else in it is the user's.
    let (mine, from) = (scratch.path().join("again.quantize"), first.join("quantization.json"));
    fs::create_dir(&mine).expect("a folder");
    fs::write(mine.join("notes.txt"), "mine").expect("written");
    assert_eq!(quantize(policy.path(), &second, &stages).status.code(), Some(0));
    assert_eq!(
        tool(&["quantize", text(policy.path()), "-o", text(&second), "--plan", text(&from)]).status.code(),
        Some(0)
    );
    assert_eq!(files(&mine), [("notes.txt".to_owned(), b"mine".to_vec())]);
}

#[test]
fn a_plan_is_written_for_another_target_and_computes_the_same() {
    let policy = demo::policy();
    let (scratch, ten) = out();
    // All of it, so that the plan has stages without a floating product.
    let all = ["--max-action-rad", "1", "--stages", "context,step", "--observations", "2"];
    assert_eq!(quantize(policy.path(), &ten, &all).status.code(), Some(0));
    let eight = scratch.path().join("trt8");
    let from = ten.join("quantization.json");
    let args = ["quantize", text(policy.path()), "-o", text(&eight), "--plan", text(&from), "--target", "trt8"];
    let output = tool(&args);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(fs::read(&from).expect("a plan"), fs::read(eight.join("quantization.json")).expect("a plan"));
    let report = verified(&ten, &eight);
    assert_eq!(largest(&report), 0.0, "{report}");
    let bytes = |dir: &Path| fs::metadata(dir.join("step.onnx.data")).expect("weights").len();
    assert!(bytes(&ten) * 2 < bytes(&eight), "8-bit weights are a quarter of floating ones");
}

#[test]
fn a_tight_budget_leaves_products_floating_and_says_why() {
    let policy = demo::policy();
    let (_scratch, out) = out();
    let output = quantize(policy.path(), &out, &["--max-action-rad", "0.003", "--stages", "context"]);
    assert!([Some(0), Some(5)].contains(&output.status.code()), "{}", words(&output));
    let plan = plan(&out);
    let floating: Vec<&Value> = products(&plan).filter(|each| each["quantized"] == false).collect();
    assert!(!floating.is_empty() && floating.iter().all(|each| each["reason"].is_string()), "{plan}");
    if plan["outcome"].is_object() {
        assert!(plan["outcome"]["action"].as_f64().is_some_and(|action| action <= 0.003), "{plan}");
    }
    assert!(words(&output).contains("floating: "), "{}", words(&output));
}

#[test]
fn a_budget_of_bytes_takes_what_does_least_and_one_that_nothing_meets_is_refused() {
    let policy = demo::policy();
    let (_scratch, out) = out();
    let output = quantize(policy.path(), &out, &["--stages", "context", "--bytes", "0.07", "--max-action-rad", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    // With the policy's own limits it is written as well, and said to be beyond them.
    let beyond = out.with_extension("beyond");
    let output = quantize(policy.path(), &beyond, &["--stages", "context", "--bytes", "0.06"]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let plan = plan(&out);
    let bytes: u64 = products(&plan)
        .map(|each| each["elements"].as_u64().expect("a number") * if each["quantized"] == true { 1 } else { 2 })
        .sum();
    assert!(bytes <= (0.07 * f64::from(1 << 20)) as u64, "{bytes}");
    assert!(share(&plan) < 1.0, "no more than was asked for");
    let before = files(&out);
    let output = quantize(policy.path(), &out, &["--stages", "context", "--bytes", "0.01"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("--bytes"), "{}", words(&output));
    assert_eq!(files(&out), before, "what was there is still there");
}

#[test]
fn a_run_that_was_ended_goes_on_with_what_it_found() {
    let policy = demo::policy();
    let (scratch, out) = out();
    let work = scratch.path().join("work");
    let more = ["--stages", "context", "--work", text(&work), "--observations", "4"];
    assert!(quantize(policy.path(), &out, &more).status.success());
    let scales = work.join("scales.context.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&scales).expect("scales")).expect("JSON");
    // A mark that only a run that reads the file carries on.
    kept["found"]["products"][0]["unfit"] = "left out by this test".into();
    fs::write(&scales, kept.to_string()).expect("written");
    assert!(quantize(policy.path(), &out, &more).status.success());
    assert_eq!(products(&plan(&out)).next().expect("a product")["reason"], "left out by this test");
    // Where the stages are given other tensors nothing is used.
    assert!(quantize(policy.path(), &out, &[&more[..], &["-p", "denoise.steps:=2"]].concat()).status.success());
    assert_ne!(products(&plan(&out)).next().expect("a product")["reason"], "left out by this test");
}

#[test]
fn recorded_inputs_of_stages_calibrate_as_well_with_the_stages_own_limits() {
    let policy = demo::policy();
    let (scratch, out) = out();
    let file = scratch.path().join("calib.npz");
    let (bag, params) = (demo::bag(), demo::params());
    let record = ["calibrate", text(&bag), "--policy", text(policy.path()), "--params", text(&params)];
    assert!(tool(&[&record[..], &["-o", text(&file), "--observations", "2"]].concat()).status.success());
    let args = ["quantize", text(policy.path()), "-o", text(&out), "--calib-data", text(&file)];
    let output = tool(&[&args[..], &["--stages", "language,context"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let plan = plan(&out);
    assert!(share(&plan) > 0.5, "{}", words(&output));
    assert_eq!(plan["outcome"]["action"], Value::Null);
    assert_eq!(plan["outcome"]["stages"].as_array().map(Vec::len), Some(2));
    // Samples of another network.
    let other = scratch.path().join("other.npz");
    fs::write(&other, "no archive").expect("written");
    let args = ["quantize", text(policy.path()), "-o", text(&out), "--calib-data", text(&other)];
    let refused = tool(&args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("other.npz"), "{}", words(&refused));
    let args =
        ["quantize", text(policy.path()), "-o", text(&out), "--calib-data", text(&file), "--max-action-rad", "1"];
    assert_eq!(tool(&args).status.code(), Some(2), "recorded inputs give no actions");
    // Samples of another network: without the language stage's.
    let part = scratch.path().join("part.npz");
    let few = ["-o", text(&part), "--observations", "2", "--stages", "vision"];
    assert!(tool(&[&record[..], &few].concat()).status.success());
    let refused = tool(&["quantize", text(policy.path()), "-o", text(&out), "--calib-data", text(&part)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("text_rows"), "{}", words(&refused));
}

#[test]
fn one_observation_another_policys_plan_and_a_stage_that_is_none_are_refused() {
    let policy = demo::policy();
    let (scratch, out) = out();
    let few = quantize(policy.path(), &out, &["--observations", "1"]);
    assert!(few.status.code() == Some(1) && words(&few).contains("expected at least 2"), "{}", words(&few));
    let four = quantize(policy.path(), &out, &["--weights", "int4", "--target", "trt8"]);
    assert!(four.status.code() == Some(1) && words(&four).contains("--weights int4"), "{}", words(&four));
    let unknown = quantize(policy.path(), &out, &["--stages", "visio"]);
    assert!(unknown.status.code() == Some(1) && words(&unknown).contains("visio"), "{}", words(&unknown));
    assert!(quantize(policy.path(), &out, &["--stages", "context"]).status.success());
    let from = out.join("quantization.json");
    // A stage that is quantised in part is none for TensorRT 8.6, and what the choice did is not what is written.
    let eight = scratch.path().join("eight");
    let left = tool(&["quantize", text(policy.path()), "-o", text(&eight), "--plan", text(&from), "--target", "trt8"]);
    assert_eq!(left.status.code(), Some(5), "{}", words(&left));
    assert!(products(&plan(&eight)).all(|each| each["quantized"] == false && each["reason"].is_string()));
    assert_eq!((&plan(&eight)["outcome"], share(&plan(&out)) > 0.0), (&Value::Null, true));
    // The quantised policy is another one, and quantised.
    let twice = quantize(&out, &scratch.path().join("twice"), &["--stages", "context"]);
    assert!(twice.status.code() == Some(1) && words(&twice).contains("found QuantizeLinear"), "{}", words(&twice));
    let again = scratch.path().join("again");
    let other = tool(&["quantize", text(&out), "-o", text(&again), "--plan", text(&from)]);
    assert!(other.status.code() == Some(1) && words(&other).contains("--plan"), "{}", words(&other));
    let own = tool(&["quantize", text(policy.path()), "-o", text(policy.path()), "--plan", text(&from)]);
    assert_eq!(own.status.code(), Some(1), "a policy is not written over itself: {}", words(&own));
}
