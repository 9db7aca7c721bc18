//! A policy with an end effector: the demo checkpoint with the processor files of `tests/data/eef`, in which the left arm
//! is a pose and its actions are relative to it.
#![allow(dead_code)] // each test uses its part

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;
use tempfile::TempDir;
use vla_base::time::Stamp;
use vla_export::demo::{EMBODIMENT, bundle};
use vla_export::synthetic_checkpoint;
use vla_messages::{HeaderView, write};
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, InputSpec};
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape, Problems, Settings, Value};

/// A position in m and a quaternion x, y, z, w.
pub type Pose = ([f64; 3], [f64; 4]);

/// Parameters that fit the policy. The pose has a name of its own: not that of the key.
pub const PARAMS: &str = "
/**:
  ros__parameters:
    instruction: pick up the red cube
    inputs:
      cameras:
        top: {topic: /top, max_age_ms: 1000.0}
        left_wrist: {topic: /left_wrist, max_age_ms: 1000.0}
        right_wrist: {topic: /right_wrist, max_age_ms: 1000.0}
      joints: {topic: /joint_states, max_age_ms: 1000.0}
      poses:
        left_tool: {topic: /left/tool_pose, frame_id: base_link, max_age_ms: 200.0}
      max_skew_ms: 1000.0
    state:
      left_eef: {pose: left_tool}
      left_gripper: {joints: [left_gripper]}
      right_arm: {joints: [waist, shoulder, elbow, forearm_roll, wrist_angle, wrist_rotate]}
      right_gripper: {joints: [right_gripper]}
    # Rows are compared with what moves, so that nothing may hold it back.
    motion: {allow_unlimited: true}
    rate_hz: 5.0
";

/// The joints of [`PARAMS`], in the order of the keys.
pub const JOINTS: [&str; 8] =
    ["left_gripper", "waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "right_gripper"];

/// A bundle made of the fixture after `change` of its processor_config.json and statistics.json.
pub fn policy(change: impl FnOnce(&mut Json, &mut Json)) -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = scratch.path().join("checkpoint");
    fs::create_dir(&checkpoint).expect("folder");
    synthetic_checkpoint::fill_folder(
        &vla_export::family::N1D6,
        synthetic_checkpoint::Size::Demo,
        7,
        &checkpoint,
        u64::MAX,
        &mut |_| {},
    )
    .expect("writes");
    let fixture = crate::root().join("tests/data/eef");
    let read = |name: &str| -> Json {
        serde_json::from_slice(&fs::read(fixture.join(name)).expect("a checked-in file")).expect("JSON")
    };
    let (mut config, mut statistics) = (read("processor_config.json"), read("statistics.json"));
    change(&mut config, &mut statistics);
    for (name, content) in [("processor_config.json", config), ("statistics.json", statistics)] {
        fs::write(checkpoint.join(name), content.to_string()).expect("writes");
    }
    let out = scratch.path().join("policy");
    vla_export::bundle::write(&bundle::request(&vla_export::family::N1D6, &checkpoint), &out, &mut |_| {})
        .expect("exports");
    (scratch, out)
}

/// Sets the format in which the end effector's actions leave.
pub fn with_format(config: &mut Json, format: &str) {
    config["processor_kwargs"]["modality_configs"][EMBODIMENT.0]["action"]["action_configs"][0]["format"] =
        format.into();
}

/// Settings of [`PARAMS`], changed by `-p` style assignments.
pub fn settings(policy: &Path, assignments: &[&str]) -> Result<Arc<Settings>, Problems> {
    settings_of(policy, PARAMS, assignments)
}

/// Settings of the text of a parameter file, changed by `-p` style assignments.
pub fn settings_of(policy: &Path, text: &str, assignments: &[&str]) -> Result<Arc<Settings>, Problems> {
    let spec = PolicySpec::load(policy).expect("the policy's description");
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a node name"));
    overrides.add_text("eef.yaml", text).expect("parameters");
    for assignment in assignments {
        overrides.add_argument(assignment).expect("an assignment");
    }
    overrides.set("policy", Value::String(policy.to_string_lossy().into_owned()));
    let shape = PolicyShape::load(&spec).expect("the policy's processor");
    Parameters::new(shape, &overrides).map(|parameters| Arc::clone(parameters.settings()))
}

/// A good message for an input, in the frame `base_link`.
pub fn message(input: &InputSpec, stamp: Stamp, (position, orientation): Pose, joints: &[f64; 8]) -> Option<Bytes> {
    let header = HeaderView { stamp, frame_id: "base_link" };
    Some(Bytes::from(match input.kind {
        InputKind::Camera { .. } => {
            let shade = |i: usize| (i % 192 + input.name.len()) as u8;
            let data: Vec<u8> = (0..48 * 192).map(shade).collect();
            write::image(header, 64, 48, "rgb8", 192, &data)
        }
        InputKind::Joints => write::joint_state(header, &JOINTS, joints, &[], &[]),
        InputKind::Pose => write::pose_stamped(header, position, orientation),
        InputKind::Odometry | InputKind::Transform | InputKind::Instruction => return None,
    }))
}
