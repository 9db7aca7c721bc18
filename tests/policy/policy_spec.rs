//! `policy.yaml`: what is accepted, and how everything wrong is reported.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vla_policy::PolicySpec;

const VALID: &str = "\
format: 1
name: test
fingerprint: sha256:00
cameras: [top, wrist]
state: {arm: 6, gripper: 1}
action: {step_s: 0.02, horizon: 50, rows: 16, dims: 128, keys: {arm: 6, gripper: 1}}
instruction: {tokenizer: tokenizer.json, template: prompt.json, max_tokens: 64, embedding: {file: e.safetensors, tensor: embed_tokens}}
processor: {config: processor_config.json, statistics: statistics.json, embodiment: new_embodiment}
denoise: {steps: [1, 4], default: 4}
stages:
  - name: vision
    onnx: vision.onnx
    precision: fp16
    inputs: {pixels: {dtype: f32, dims: [2, 3, 28, 28]}}
    outputs: {image_rows: {dtype: f32, dims: [I, 8]}}
    profile: {I: [1, 2, 2]}
  - name: step
    onnx: step.onnx
    repeat: denoise
    inputs: {actions: {dtype: f32, dims: [50, 128]}, rows: {}, modulation: {constants: modulation.safetensors}}
    outputs: {next_actions: {feeds: actions}}
    rename: {image_rows_in: rows}
";

fn bundle() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in [
        "tokenizer.json",
        "prompt.json",
        "e.safetensors",
        "processor_config.json",
        "statistics.json",
        "vision.onnx",
        "step.onnx",
        "modulation.safetensors",
    ] {
        fs::write(dir.path().join(name), b"x").expect("a file of the bundle");
    }
    dir
}

fn refusal(dir: &Path, text: &str) -> String {
    PolicySpec::parse(dir, text).expect_err("must be refused").to_string()
}

#[test]
fn a_complete_description_is_read_with_stages_in_order_and_tensors_renamed() {
    let dir = bundle();
    let spec = PolicySpec::parse(dir.path(), VALID).expect("valid");
    assert_eq!(spec.stage_names(), ["vision", "step"]);
    assert_eq!(spec.state, [("arm".to_owned(), 6), ("gripper".to_owned(), 1)]);
    assert_eq!(spec.action.step.millis(), 20.0);
    let step = &spec.stages[1];
    assert!(step.repeat);
    assert_eq!((step.inputs[1].tensor.as_str(), step.inputs[1].name.as_str()), ("image_rows_in", "rows"));
    assert_eq!(step.outputs[0].feeds.as_deref(), Some("actions"));
    assert_eq!(spec.largest("I"), Some(2));
}

#[test]
fn the_letterbox_is_the_processors_unless_the_description_has_it() {
    let dir = bundle();
    let spec = |more: &str| {
        let text = VALID.replace("embodiment: new_embodiment}", &format!("embodiment: robot{more}}}"));
        PolicySpec::parse(dir.path(), &text).expect("valid")
    };
    for file in [None, Some(false), Some(true)] {
        let mut config = vla_trt_tests::processor::config();
        if let Some(value) = file {
            config["processor_kwargs"]["letter_box_transform"] = value.into();
        }
        let statistics = vla_trt_tests::processor::statistics();
        fs::write(dir.path().join("processor_config.json"), config.to_string()).expect("write");
        fs::write(dir.path().join("statistics.json"), statistics.to_string()).expect("write");
        let padded = |more: &str| spec(more).processor.load().expect("a processor").image.letterbox;
        assert_eq!(padded(""), file == Some(true));
        assert!(padded(", letterbox: true") && !padded(", letterbox: false"), "{file:?}");
    }
    let wrong = VALID.replace("new_embodiment}", "new_embodiment, letterbox: always}");
    assert!(refusal(dir.path(), &wrong).contains("letterbox"));
}

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let dir = bundle();
    fs::remove_file(dir.path().join("step.onnx")).expect("remove");
    let text = VALID
        .replace("rows: 16", "rows: 60")
        .replace("default: 4", "default: 3")
        .replace("[1, 2, 2]", "[3, 2, 2]")
        .replace("tokenizer: tokenizer.json", "tokenizer: ../tokenizer.json");
    let error = refusal(dir.path(), &text);
    for expected in [
        "action.rows: expected 1 to horizon (50), found 60",
        "denoise.default: 3 is not among the exported step counts [1, 4]",
        "stages.vision.profile.I: expected 1 <= min <= opt <= max, found [3, 2, 2]",
        "stages.step.onnx: the policy folder has no file 'step.onnx'",
        "instruction.tokenizer: expected a file inside the policy folder, found '../tokenizer.json'",
    ] {
        assert!(error.contains(expected), "missing {expected:?} in:\n{error}");
    }
}

#[test]
fn sizes_that_no_robot_has_are_refused_before_memory_is_asked_for_them() {
    let dir = bundle();
    for (from, to, expected) in [
        (
            "gripper: 1}}",
            "gripper: 18446744073709551615}}",
            "action.keys: expected at most 4096 values together, found 1844",
        ),
        ("gripper: 1}}", "gripper: 0}}", "action.keys.gripper: expected a width of at least 1, found 0"),
        ("dims: 128", "dims: 99999999999", "action.dims: expected 1 to 4096, found 99999999999"),
        ("horizon: 50", "horizon: 99999999999", "action.horizon: expected at most 4096 rows, found 99999999999"),
    ] {
        let text = VALID.replace(from, to);
        assert_ne!(text, VALID, "{from}");
        let error = refusal(dir.path(), &text);
        assert!(error.contains(expected), "missing {expected:?} in:\n{error}");
    }
}

#[test]
fn limits_of_the_accuracy_gate_are_read_and_what_is_not_given_has_its_default() {
    let dir = bundle();
    let usual = PolicySpec::parse(dir.path(), VALID).expect("valid");
    let least =
        |spec: &PolicySpec| -> Vec<f64> { spec.stages.iter().map(|stage| spec.accuracy.least_cosine(stage)).collect() };
    assert_eq!((least(&usual), usual.accuracy.action_rad), (vec![0.999, 0.99], 0.01));
    let text = format!("{VALID}accuracy: {{output_cosine: 0.9, stage_cosine: {{step: 0.5}}, action_rad: 0.1}}\n");
    let spec = PolicySpec::parse(dir.path(), &text).expect("valid");
    assert_eq!((least(&spec), spec.accuracy.action_cosine, spec.accuracy.action_rad), (vec![0.9, 0.5], 0.99, 0.1));
}

#[test]
fn limits_outside_their_ranges_and_for_stages_that_are_none_are_all_reported() {
    let dir = bundle();
    let limits = "{output_cosine: 1.5, stage_cosine: {dit: -1, vision: .nan}, action_cosine: -0.1, action_rad: 0}";
    let error = refusal(dir.path(), &format!("{VALID}accuracy: {limits}\n"));
    for expected in [
        "accuracy.output_cosine: expected a cosine from 0 to 1, found 1.5",
        "accuracy.stage_cosine.dit: expected a cosine from 0 to 1, found -1",
        "accuracy.stage_cosine.vision: expected a cosine from 0 to 1, found NaN",
        "accuracy.stage_cosine.dit: expected a stage, one of vision, step",
        "accuracy.action_cosine: expected a cosine from 0 to 1, found -0.1",
        "accuracy.action_rad: expected more than 0 and at most 6.28 rad, found 0",
    ] {
        assert!(error.contains(expected), "missing {expected:?} in:\n{error}");
    }
    let error = refusal(dir.path(), &format!("{VALID}accuracy: {{cosine: 1}}\n"));
    assert!(error.contains("unknown field `cosine`"), "{error}");
}

#[test]
fn a_wrong_type_an_unknown_key_and_a_key_given_twice_are_refused_with_their_place() {
    let dir = bundle();
    let wrong_type = refusal(dir.path(), &VALID.replace("horizon: 50", "horizon: many"));
    assert!(wrong_type.contains("horizon") && wrong_type.contains("line"), "{wrong_type}");
    let unknown = refusal(dir.path(), &VALID.replace("name: test", "name: test\ncolour: red"));
    assert!(unknown.contains("unknown field `colour`"), "{unknown}");
    let twice = refusal(dir.path(), &VALID.replace("{arm: 6, gripper: 1}", "{arm: 6, arm: 1}"));
    assert!(twice.contains("'arm' is given twice"), "{twice}");
    let twice = refusal(dir.path(), &VALID.replace("name: test", "name: test\nname: again"));
    assert!(twice.contains("duplicate"), "{twice}");
}

#[test]
fn a_folder_without_policy_yaml_says_what_was_expected() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = PolicySpec::load(dir.path()).expect_err("empty folder").to_string();
    assert!(error.contains("policy.yaml") && error.contains("make-demo-policy"), "{error}");
}

#[test]
fn a_supplied_network_may_be_missing_but_not_lie_elsewhere_and_is_no_part_of_the_bundle() {
    let dir = bundle();
    let text = VALID.replace("onnx: step.onnx", "onnx: mine.onnx\n    supplied: an export of your own");
    let spec = PolicySpec::parse(dir.path(), &text).expect("the network comes later");
    let name = &spec.stages[1].name;
    assert_eq!(spec.supplied.get(name).map(String::as_str), Some("an export of your own"));
    assert!(!spec.files().contains(&"mine.onnx".to_owned()) && spec.supplied_files().is_empty());
    fs::write(dir.path().join("mine.onnx"), b"x").expect("a file");
    assert_eq!(spec.supplied_files(), ["mine.onnx"]);
    let error = refusal(dir.path(), &text.replace("onnx: mine.onnx", "onnx: ../mine.onnx"));
    assert!(
        error.contains("stages.step.onnx: expected a file inside the policy folder, found '../mine.onnx'"),
        "{error}"
    );
}

#[test]
fn another_format_version_is_refused() {
    let dir = bundle();
    let error = refusal(dir.path(), &VALID.replace("format: 1", "format: 9"));
    assert!(error.contains("format: expected 1, found 9"), "{error}");
}

proptest::proptest! {
    /// No text makes the parser panic, and a mutilated description is never accepted as something else's files.
    #[test]
    fn no_mutation_of_a_description_makes_the_parser_panic(at in 0..VALID.len(), cut in 0usize..40, insert in ".{0,12}") {
        let dir = std::env::temp_dir();
        let mut text = VALID.to_owned();
        let start = (at..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + cut..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
        text.replace_range(start..end, &insert);
        let _outcome = PolicySpec::parse(&dir, &text);
    }
}
