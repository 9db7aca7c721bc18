//! `vla-trt init-params`: the file that it writes is refused by its placeholders, and fits the policy once they are filled in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vla_policy::PolicySpec;
use vla_runtime::parameters::{Error, NodeName, Overrides, PLACEHOLDER, Parameters, PolicyShape, Problems, Value};
use vla_trt_tests::demo;

fn init(policy: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("init-params").arg(policy).arg("-o").arg(output).args(more).output().expect("the tool starts")
}

fn parameters(policy: &Path, text: &str) -> Result<Parameters, Problems> {
    let spec = PolicySpec::load(policy).expect("a policy");
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a name"));
    overrides.add_text("robot.yaml", text)?;
    overrides.set("policy", Value::String(policy.to_string_lossy().into_owned()));
    Parameters::new(PolicyShape::load(&spec).expect("a processor"), &overrides)
}

#[test]
fn every_placeholder_is_refused_by_name_until_it_is_filled_in() {
    let (policy, scratch) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = scratch.path().join("robot.yaml");
    assert_eq!(init(policy.path(), &file, &[]).status.code(), Some(0));
    let text = fs::read_to_string(&file).expect("the file");

    let problems = parameters(policy.path(), &text).expect_err("placeholders");
    let named: BTreeSet<&str> = problems.iter().flat_map(Error::names).map(String::as_str).collect();
    assert_eq!(named.len(), problems.len(), "each once: {problems}");
    let expected = ["instruction", "inputs.cameras.top.topic", "inputs.cameras.top.transport", "state.left_arm.joints"];
    expected.iter().for_each(|name| assert!(named.contains(name), "{name} in {named:?}"));
    assert!(
        named.contains("limits.FILL_IN_left_arm_6") && named.contains("limits.FILL_IN_right_gripper_1"),
        "{named:?}"
    );

    let endless = |line: &&str| line.contains("velocity:") && line.contains("tracking_error: .inf");
    let grippers: Vec<&str> = text.lines().filter(endless).collect();
    assert!(grippers.len() == 2 && grippers.iter().all(|line| line.contains("gripper")), "{grippers:?}");
    let mut filled = String::new();
    for line in text.lines() {
        let (entry, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let is_comment = line.trim_start().starts_with('#');
        let value = |line: &str| {
            let camera =
                |line: &str| line.replace("topic: FILL_IN", &format!("topic: /camera_{}", filled.lines().count()));
            camera(line)
                .replace("transport: FILL_IN", "transport: raw")
                .replace("instruction: FILL_IN", "instruction: pick up the cube")
                .replace("min: FILL_IN", "min: -1.0")
                .replace("max: FILL_IN", "max: 1.0")
                .replace("velocity: FILL_IN", "velocity: 0.5")
                .replace("acceleration: FILL_IN", "acceleration: 2.0")
                .replace("FILL_IN_", "joint_")
        };
        let entry = if is_comment { line.to_owned() } else { value(entry) };
        assert!(is_comment || !entry.contains(PLACEHOLDER), "{entry}");
        filled += &format!("{entry}{}{comment}\n", if comment.is_empty() || is_comment { "" } else { " # " });
    }
    let parameters = parameters(policy.path(), &filled).unwrap_or_else(|problems| panic!("{problems}\n{filled}"));
    let settings = parameters.settings();
    assert_eq!(settings.joint_names().len(), 14);
    assert_eq!(settings.limits.as_ref().expect("limits").without_velocity().count(), 0);
}

#[test]
fn every_line_with_a_value_has_a_comment_of_what_it_is() {
    let (policy, scratch) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = scratch.path().join("robot.yaml");
    init(policy.path(), &file, &[]);
    let text = fs::read_to_string(&file).expect("the file");
    let mut before = "";
    for line in text.lines().skip_while(|line| !line.starts_with("/**")) {
        // A list of joints has its comment above; a group has none; those of limits are above the group.
        let has_value = line.trim_end().rsplit_once(": ").is_some() && !line.contains('{');
        let commented =
            line.contains(" # ") || before.trim_start().starts_with('#') || line.trim_start().starts_with('#');
        assert!(!has_value || commented, "{line}");
        assert!(line.len() <= 130, "{line}");
        before = line;
    }
}

#[test]
fn a_file_that_exists_is_kept_unless_it_may_be_replaced() {
    let (policy, scratch) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = scratch.path().join("robot.yaml");
    fs::write(&file, "filled in\n").expect("written");
    assert_eq!(init(policy.path(), &file, &[]).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "filled in\n");
    assert_eq!(init(policy.path(), &file, &["--overwrite"]).status.code(), Some(0));
    assert!(fs::read_to_string(&file).expect("the file").contains(PLACEHOLDER));
    // A policy's own file is never replaced.
    let own = policy.path().join("policy.yaml");
    let before = fs::read(&own).expect("the file");
    assert_eq!(init(policy.path(), &own, &["--overwrite"]).status.code(), Some(1));
    assert_eq!(fs::read(&own).expect("the file"), before);
    assert_eq!(init(scratch.path(), &scratch.path().join("other.yaml"), &[]).status.code(), Some(1));
}
