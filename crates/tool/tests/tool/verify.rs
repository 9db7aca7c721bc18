//! The accuracy gate on the demo policy and the sample bag: another bundle of the same policy held against its networks.

use vla_trt_tests::demo;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use vla_bags::{BagReader, BagWriter, TopicId};
use vla_engines::onnx::proto::{ModelProto, TensorProto};
use vla_messages::schema;
use vla_offline::verify;
use vla_offline::verify::{Candidate as _, Networks, Options};
use vla_policy::PolicySpec;

/// Every file of a bundle, and the folder goes with the value.
fn copy(policy: &Path) -> TempDir {
    let dir = tempfile::tempdir().expect("scratch");
    for entry in fs::read_dir(policy).expect("a bundle") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
    }
    dir
}

/// Turns the sign of one of a network's weights: the largest matrix that is a product with something.
fn damage(policy: &Path, network: &str) -> String {
    change(policy, network, |value| -value)
}

/// Changes every element of that weight.
fn change(policy: &Path, network: &str, with: impl Fn(f32) -> f32) -> String {
    use prost::Message as _;
    let model = ModelProto::decode(&fs::read(policy.join(network)).expect("a network")[..]).expect("ONNX");
    let graph = model.graph.expect("a graph");
    let matrices = graph.initializer.into_iter().filter(|weight| weight.data_type() == 1 && weight.dims.len() == 2);
    let weight = matrices.max_by_key(|weight| weight.dims.iter().product::<i64>()).expect("a matrix");
    let entry = |key: &str| {
        let mut entries = weight.external_data.iter().filter(|entry| entry.key() == key);
        entries.next().expect("external").value().to_owned()
    };
    let [offset, length] = ["offset", "length"].map(|key| entry(key).parse::<usize>().expect("a number"));
    let file = policy.join(entry("location"));
    let mut bytes = fs::read(&file).expect("weights");
    for value in bytes[offset..offset + length].as_chunks_mut::<4>().0 {
        *value = with(f32::from_le_bytes(*value)).to_le_bytes();
    }
    fs::write(file, bytes).expect("weights");
    TensorProto::name(&weight).to_owned()
}

fn command(policy: &Path, bag: &Path, more: &[&str]) -> Output {
    demo::point_at_onnx_runtime();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("verify").arg(policy).arg("--bag").arg(bag).arg("--params").arg(demo::params());
    command.args(more).output().expect("starts")
}

/// The verdict on networks of another bundle, with the report as JSON.
fn against(policy: &Path, other: &Path, more: &[&str]) -> (Output, Value) {
    let file = tempfile::NamedTempFile::new().expect("scratch");
    let other = other.to_str().expect("text");
    let report = file.path().to_str().expect("text");
    let args = ["--engine-kind", "onnx", "--candidate", other, "--report", report, "--observations", "2"];
    let output = command(policy, &demo::bag(), &[&args[..], more].concat());
    let json = serde_json::from_str(&fs::read_to_string(file.path()).expect("a file")).unwrap_or(Value::Null);
    (output, json)
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn stage<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut stages = report["stages"].as_array().expect("stages").iter();
    stages.find(|stage| stage["stage"] == name).unwrap_or_else(|| panic!("no stage {name} in {report}"))
}

fn cosines(tensors: &Value) -> Vec<f64> {
    tensors.as_array().expect("tensors").iter().map(|tensor| tensor["cosine"].as_f64().expect("a number")).collect()
}

#[test]
fn an_equal_bundle_passes_with_cosine_one_everywhere_also_inside_the_networks() {
    let policy = demo::policy();
    let other = copy(policy.path());
    let (output, report) = against(policy.path(), other.path(), &["--internal", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    for name in ["vision", "language", "context", "step"] {
        let stage = stage(&report, name);
        assert!(!cosines(&stage["outputs"]).is_empty(), "{stage}");
        assert_eq!(cosines(&stage["inner"]).len(), 3, "{stage}");
        for tensors in [&stage["outputs"], &stage["inner"]] {
            assert!(cosines(tensors).iter().all(|cosine| *cosine == 1.0), "{stage}");
            assert!(tensors.as_array().expect("tensors").iter().all(|tensor| tensor["max_abs"] == 0.0), "{stage}");
        }
    }
    // Two observations, four steps.
    assert_eq!((&stage(&report, "context")["runs"], &stage(&report, "step")["runs"]), (&2.into(), &8.into()));
    assert_eq!(report["actions"]["cosine"], 1.0);
    let keys = report["actions"]["keys"].as_array().expect("keys");
    assert_eq!(
        keys.iter().map(|key| key["key"].as_str().expect("a name")).collect::<Vec<_>>(),
        ["left_arm", "left_gripper", "right_arm", "right_gripper"]
    );
    assert!(keys.iter().all(|key| key["largest"] == 0.0), "{report}");
    assert!(words(&output).contains("\npassed\n"), "{}", words(&output));
}

#[test]
fn a_damaged_weight_fails_its_stage_alone_by_name_with_exit_code_3() {
    let policy = demo::policy();
    let other = copy(policy.path());
    let weight = damage(other.path(), "language.onnx");
    let (output, report) = against(policy.path(), other.path(), &[]);
    let text = words(&output);
    assert_eq!(output.status.code(), Some(3), "{weight}: {text}");
    assert!(text.contains("FAILED: language\n"), "{weight}: {text}");
    assert!(cosines(&stage(&report, "language")["outputs"])[0] < 0.999, "{report}");
    // What the others are given is the reference's: the damage does not reach them.
    for name in ["vision", "context", "step"] {
        assert!(cosines(&stage(&report, name)["outputs"]).iter().all(|cosine| *cosine == 1.0), "{report}");
    }
    let largest = |key: &Value| key["largest"].as_f64().expect("a number");
    let keys = report["actions"]["keys"].as_array().expect("keys");
    assert!(keys.iter().any(|key| largest(key) > 0.0), "the whole chain is another one: {report}");
}

#[test]
fn what_is_no_number_is_within_no_limit_and_has_no_chunk() {
    let policy = demo::policy();
    let other = copy(policy.path());
    change(other.path(), "context.onnx", |_| f32::NAN);
    let (output, report) = against(policy.path(), other.path(), &[]);
    let text = words(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("FAILED: context\n") && text.contains("no chunk at "), "{text}");
    let outputs = stage(&report, "context")["outputs"].as_array().expect("outputs");
    assert!(outputs.iter().any(|tensor| tensor["cosine"].is_null() && tensor["max_abs"].is_null()), "{report}");
    assert!(report["actions"]["cosine"].is_null() && report["actions"]["keys"][0]["largest"].is_null(), "{report}");
    assert_eq!(report["actions"]["refused"].as_array().expect("reasons").len(), 2, "{report}");
}

#[test]
fn an_export_in_half_precision_passes_and_is_told_from_the_reference() {
    let policy = demo::policy();
    let other = demo::policy_in_half_precision(&[]);
    let (output, report) = against(policy.path(), other.path(), &["--internal", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    for name in ["vision", "language", "context", "step"] {
        let outputs = cosines(&stage(&report, name)["outputs"]);
        assert!(
            outputs.iter().all(|cosine| *cosine > 0.9999) && outputs.iter().any(|cosine| *cosine < 1.0),
            "{report}"
        );
    }
    let cosine = report["actions"]["predicted"]["cosine"].as_f64().expect("a number");
    assert!((0.999..1.0).contains(&cosine), "{report}");
    // What overflows on a GPU would not show on this CPU.
    assert_eq!(report["without_half_rounding"], serde_json::json!(["vision", "language", "context", "step"]));
    assert!(words(&output).contains("--absmax-from"), "{}", words(&output));
}

#[test]
fn stages_of_different_types_are_compared_whichever_side_hands_over_half_precision() {
    let single = demo::policy();
    let mixed = demo::policy_in_half_precision(&["context"]);
    for (reference, candidate) in [(&single, &mixed), (&mixed, &single), (&demo::policy_in_half_precision(&[]), &mixed)]
    {
        let (output, report) = against(reference.path(), candidate.path(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        for name in ["vision", "language", "context", "step"] {
            let outputs = cosines(&stage(&report, name)["outputs"]);
            assert!(!outputs.is_empty() && outputs.iter().all(|cosine| *cosine > 0.9999), "{report}");
        }
    }
}

#[test]
fn limits_of_policy_yaml_decide() {
    let policy = demo::policy();
    let other = demo::policy_in_half_precision(&[]);
    let file = policy.path().join("policy.yaml");
    let text = fs::read_to_string(&file).expect("policy.yaml");
    fs::write(&file, format!("{text}accuracy: {{stage_cosine: {{step: 1.0}}, action_rad: 1.0e-9}}\n"))
        .expect("written");
    let (output, report) = against(policy.path(), other.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(words(&output).contains("FAILED: step\n"), "{}", words(&output));
    assert_eq!(stage(&report, "step")["outputs"][0]["least_cosine"], 1.0);
    assert!(words(&output).contains("rad (most 0.000000001)  FAILED"), "{}", words(&output));
}

#[test]
fn stages_that_are_asked_for_are_compared_alone_without_the_whole_chain() {
    let policy = demo::policy();
    let other = copy(policy.path());
    damage(other.path(), "vision.onnx");
    // Parameters of a robot with engines: their files are not the networks'.
    let robot = ["-p", "engine.kind:=tensorrt", "-p", "engines.language.path:=engines/of_the_robot.engine"];
    let args = [&["--stages", "language,context"][..], &robot].concat();
    let (output, report) = against(policy.path(), other.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(report["stages"].as_array().expect("stages").len(), 2);
    assert_eq!(report["actions"], Value::Null);
    let (output, _) = against(policy.path(), other.path(), &["--stages", "dit"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("no stage 'dit'") && words(&output).contains("vision, language"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_candidate_that_is_not_there_or_is_not_given_is_named() {
    let policy = demo::policy();
    let (output, report) = against(policy.path(), Path::new("/nowhere/policy"), &[]);
    assert_eq!((output.status.code(), report), (Some(1), Value::Null));
    assert!(words(&output).contains("--candidate") && words(&output).contains("/nowhere/policy"), "{}", words(&output));
    let output = command(policy.path(), &demo::bag(), &["--engine-kind", "onnx"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("--candidate"), "{}", words(&output));
    let output = command(policy.path(), &demo::bag(), &["--observations", "1"]);
    assert_eq!(output.status.code(), Some(1), "no engines are built: {}", words(&output));
    let expected = if cfg!(feature = "tensorrt") { "vision.engine" } else { "--engine-kind onnx --candidate" };
    assert!(words(&output).contains(expected), "{}", words(&output));
}

#[test]
fn another_policy_is_no_candidate() {
    let policy = demo::policy();
    let other = copy(policy.path());
    let file = other.path().join("policy.yaml");
    let text = fs::read_to_string(&file).expect("policy.yaml");
    fs::write(&file, text.replace("name: vision", "name: sight")).expect("written");
    let (output, _) = against(policy.path(), other.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("no stage 'vision'") && words(&output).contains("sight"), "{}", words(&output));
}

#[test]
fn a_bag_without_a_complete_observation_says_what_was_wrong_with_them() {
    let (policy, scratch) = (demo::policy(), tempfile::tempdir().expect("scratch"));
    let bag = scratch.path().join("no_joints.mcap");
    let recorded = BagReader::open(&demo::bag()).expect("the sample bag");
    let mut writer = BagWriter::create(&bag).expect("a bag");
    let topics: Vec<TopicId> = recorded
        .topics()
        .iter()
        .map(|topic| {
            let text = schema::text(&topic.type_name).expect("a known type");
            writer.add_topic(&topic.name, &topic.type_name, text).expect("a topic")
        })
        .collect();
    let all: Vec<usize> = (0..topics.len()).collect();
    for message in recorded.messages(&all).expect("messages").map(|message| message.expect("whole")) {
        if recorded.topics()[message.topic].name != "/joint_states" {
            writer.write(topics[message.topic], message.log_time, &message.data).expect("written");
        }
    }
    writer.finish().expect("whole");
    let args = ["--engine-kind", "onnx", "--candidate", policy.path().to_str().expect("text")];
    let output = command(policy.path(), &bag, &args);
    let text = words(&output);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("no_joints.mcap: expected observations") && text.contains("found none"), "{text}");
    assert!(text.contains("waited for inputs: joints missing"), "{text}");
}

#[test]
fn a_build_captures_once_and_asks_for_one_stage_after_the_other() {
    let policy = demo::policy();
    let (other, scratch) = (copy(policy.path()), tempfile::tempdir().expect("scratch"));
    damage(other.path(), "context.onnx");
    let settings = demo::settings(policy.path(), &[]);
    let [spec, damaged] = [&policy, &other].map(|dir| PolicySpec::load(dir.path()).expect("a policy"));
    let options = Options {
        source: demo::bag().into(),
        observations: 1,
        stages: None,
        inner: 0,
        scratch: scratch.path().to_owned(),
    };
    let (mut reference, mut bad) = (Networks::of(&spec, 1), Networks::of(&damaged, 1));
    let mut seen = Vec::new();
    let mut progress = |progress| seen.push(progress);
    let captured = verify::capture(&spec, &settings, &options, &mut reference, &Default::default(), &mut progress);
    let captured = captured.expect("the reference runs");
    let mut trials = Vec::new();
    for (precision, candidate) in [("int8", &mut bad), ("fp16", &mut reference)] {
        let report = verify::stage(&captured, "context", candidate, &mut progress).expect("runs");
        trials.push(report.trial(precision));
    }
    assert_eq!(verify::propose(trials).of("context"), Some("fp16"));
    let found = verify::actions(&captured, &mut reference, &mut progress).expect("runs");
    assert!(found.passed(), "{found:?}");
    let stages = vec![verify::stage(&captured, "context", &mut reference, &mut progress).expect("runs")];
    let report = verify::report(&captured, stages, Some(found), bad.name());
    assert!(report.passed && report.verification("context").expect("compared").passed);
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn a_quantised_policy_is_its_own_reference_and_an_engine_without_the_relu_fails() {
    use prost::Message as _;
    use vla_trt_tests::quantized::{Form, quantize};

    let policy = demo::policy();
    for stage in ["context", "step"] {
        assert!(quantize(&policy.path().join(format!("{stage}.onnx")), Form::Floating, |_| true) > 0);
    }
    // The same numbers in the other form: nothing differs.
    let same = copy(policy.path());
    let (output, report) = against(policy.path(), same.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(report["reference"], "quantized_networks");
    assert!(words(&output).contains("dequantised products in floating point"), "{}", words(&output));
    // What TensorRT 8.6.0 computes of an INT8 product of few rows: the Relu behind it is left out.
    let file = same.path().join("step.onnx");
    let mut model = ModelProto::decode(&fs::read(&file).expect("a network")[..]).expect("ONNX");
    let graph = model.graph.as_mut().expect("a graph");
    let relus = graph.node.iter_mut().filter(|node| node.op_type() == "Relu");
    assert_eq!(relus.map(|node| node.op_type = Some("Identity".into())).count(), 1);
    fs::write(&file, model.encode_to_vec()).expect("written");
    let (output, report) = against(policy.path(), same.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let figures = stage(&report, "step")["outputs"].as_array().expect("outputs");
    assert!(figures.iter().any(|tensor| tensor["relative_l2"].as_f64().is_some_and(|l2| l2 > 0.05)), "{report}");
    let rad = report["actions"]["keys"].as_array().expect("keys").iter().filter_map(|key| key["largest"].as_f64());
    assert!(rad.fold(0.0, f64::max) > 0.01, "{report}");
}
