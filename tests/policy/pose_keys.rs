//! State keys that are parts of a pose: policies with the keys of LIBERO, of SimplerEnv and of DROID, from messages to the chunk.
//!
//! Their vendor's clients compute the values in Python; here they are computed again and given to the same policy as joints, which
//! must make the same chunk of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use vla_base::time::Stamp;
use vla_export::bundle::{self, Request};
use vla_export::demo::{EMBODIMENT, bundle as demo_bundle};
use vla_export::synthetic_checkpoint::{self, RobotShape};
use vla_messages::{HeaderView, TransformView, write};
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, InputTopic, Inputs};
use vla_runtime::parameters::{Problems, Settings};
use vla_runtime::session::{CycleOutcome, Session};
use vla_trt_tests::{demo, eef};

const NOW: Stamp = Stamp::from_nanos(1_760_000_000_000_000_000);
const POSITION: [f64; 3] = [-0.1, 0.05, 1.1];

/// A bundle of this shape with seeded weights. Actions are absolute, as theirs are, and every state value from -4 to 4.
fn policy(cameras: &[&str], state: &[&str], action: &[&str]) -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (checkpoint, out) = (scratch.path().join("checkpoint"), scratch.path().join("policy"));
    let shape = RobotShape {
        cameras: cameras.iter().map(|name| format!("{name}=64x48").parse().expect("a camera")).collect(),
        state: state.iter().map(|key| key.parse().expect("a key")).collect(),
        action: action.iter().map(|key| key.parse().expect("a key")).collect(),
        rate_hz: 20.0,
    };
    synthetic_checkpoint::write_shape(&vla_export::family::N1D6, &shape, 7, &checkpoint, &mut |_| {}).expect("writes");
    edit(&checkpoint.join("processor_config.json"), |config| {
        let action = &mut config["processor_kwargs"]["modality_configs"][EMBODIMENT.0]["action"]["action_configs"];
        for key in action.as_array_mut().expect("a list").iter_mut().filter(|key| key["type"] == "NON_EEF") {
            key["rep"] = "ABSOLUTE".into();
        }
    });
    edit(&checkpoint.join("statistics.json"), |statistics| {
        for values in statistics[EMBODIMENT.0]["state"].as_object_mut().expect("keys").values_mut() {
            let width = values["min"].as_array().expect("a list").len();
            for (bound, value) in [("min", -4.0), ("q01", -4.0), ("max", 4.0), ("q99", 4.0)] {
                values[bound] = json!(vec![value; width]);
            }
        }
    });
    let request = Request {
        cameras: shape.cameras,
        step_s: 0.05,
        ..demo_bundle::request(&vla_export::family::N1D6, &checkpoint)
    };
    bundle::write(&request, &out, &mut |_| {}).expect("exports");
    (scratch, out)
}

fn edit(file: &Path, change: impl FnOnce(&mut Json)) {
    let mut content: Json = serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON");
    change(&mut content);
    fs::write(file, content.to_string()).expect("writes");
}

fn settings(policy: &Path, parameters: &str) -> Result<Arc<Settings>, Problems> {
    let common = "
    instruction: pick up the red cube
    inputs.max_skew_ms: 1000.0
    motion.allow_unlimited: true
    rate_hz: 5.0
";
    eef::settings_of(policy, &format!("/**:\n  ros__parameters:{common}{parameters}"), &[])
}

/// The robot's senses: joints by name, and the pose of its tool in its base.
struct Senses<'a> {
    joints: &'a [(&'a str, f64)],
    orientation: [f64; 4],
}

impl Senses<'_> {
    fn message(&self, topic: &InputTopic) -> Option<Bytes> {
        let header = HeaderView { stamp: NOW, frame_id: "base" };
        let (names, positions): (Vec<&str>, Vec<f64>) = self.joints.iter().copied().unzip();
        Some(Bytes::from(match topic.kind {
            InputKind::Camera { .. } => write::image(header, 64, 48, "rgb8", 192, &[90; 48 * 192]),
            InputKind::Joints => write::joint_state(header, &names, &positions, &[], &[]),
            InputKind::Pose => write::pose_stamped(header, POSITION, self.orientation),
            InputKind::Odometry => write::odometry(header, "tool", POSITION, self.orientation),
            InputKind::Transform if topic.is_static => {
                // The hand is where the tool is.
                write::tf_message(&[TransformView {
                    header: HeaderView { stamp: Stamp::default(), frame_id: "hand" },
                    child_frame_id: "tool",
                    translation: [0.0; 3],
                    rotation: [0.0, 0.0, 0.0, 1.0],
                }])
            }
            InputKind::Transform => {
                let (translation, rotation) = (POSITION, self.orientation);
                write::tf_message(&[TransformView { header, child_frame_id: "hand", translation, rotation }])
            }
            InputKind::Instruction => return None,
        }))
    }

    /// The columns and values of the chunk that the policy makes of them.
    fn chunk(&self, policy: &Path, parameters: &str) -> (Vec<String>, Vec<f32>) {
        demo::point_at_onnx_runtime();
        let settings = settings(policy, parameters).unwrap_or_else(|problems| panic!("{problems}"));
        let spec = PolicySpec::load(policy).expect("the policy");
        let mut session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let inputs = Inputs::new(settings.inputs.clone());
        inputs.set_instruction(&settings.instruction);
        for (index, topic) in inputs.topics().iter().enumerate() {
            if let Some(bytes) = self.message(topic) {
                inputs.offer(index, bytes, NOW).expect("a good message");
            }
        }
        match session.cycle(NOW, &inputs, &settings, false, &mut || NOW) {
            CycleOutcome::Published(published) => (published.chunk.names.clone(), published.chunk.values.clone()),
            other => panic!("expected a chunk, found {other:?}"),
        }
    }
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Actions move joints of these names, which are where they are.
fn actions(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("    action.{key}.joints: [move_{key}]\n")).collect()
}

const MOVED: [(&str, f64); 7] = [
    ("move_x", 0.0),
    ("move_y", 0.0),
    ("move_z", 0.0),
    ("move_roll", 0.0),
    ("move_pitch", 0.0),
    ("move_yaw", 0.0),
    ("move_gripper", 0.0),
];

const ACTION: [&str; 7] = ["x=1", "y=1", "z=1", "roll=1", "pitch=1", "yaw=1", "gripper=1"];
const ACTION_KEYS: [&str; 7] = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"];

/// The chunk that a policy makes of parts of a pose, against the one of the same values as joints, and not that of other values.
fn compare(policy: &Path, orientation: [f64; 4], by_pose: &str, values: &[(&str, f64)], grippers: &[(&str, f64)]) {
    let moved = actions(&ACTION_KEYS);
    let joints = [grippers, &MOVED].concat();
    let pose = Senses { joints: &joints, orientation };
    let (names, found) = pose.chunk(policy, &format!("{by_pose}{moved}"));
    assert_eq!(names, MOVED.map(|(name, _)| name));
    // The noise depends on which inputs there are, so one key stays with the pose.
    let chunk = |kept: usize, values: &[(&str, f64)]| {
        let of_pose = |line: &&str| {
            let kept = format!("state.{}:", values[kept].0);
            line.contains("inputs.poses") || line.contains("gripper") || line.contains(&kept)
        };
        let mut parameters: String = by_pose.lines().filter(of_pose).map(|line| format!("{line}\n")).collect();
        let mut states = Vec::new();
        for (_, (key, value)) in values.iter().enumerate().filter(|(index, _)| *index != kept) {
            parameters += &format!("    state.{key}.joints: [is_{key}]\n");
            states.push((format!("is_{key}"), *value));
        }
        let states = states.iter().map(|(name, value)| (name.as_str(), *value));
        let joints: Vec<(&str, f64)> = joints.iter().copied().chain(states).collect();
        Senses { joints: &joints, orientation }.chunk(policy, &format!("\n{parameters}{moved}")).1
    };
    for index in 0..values.len() {
        let kept = usize::from(index == 0);
        let apart = distance(&found, &chunk(kept, values));
        assert!(apart < 1e-5, "{apart}");
        let mut other = values.to_vec();
        other[index].1 += 0.5;
        assert!(distance(&found, &chunk(kept, &other)) > 1e-4, "the policy does not see `{}`", other[index].0);
    }
}

/// LIBERO: robosuite's quaternion to a rotation vector, without going the short way (quat2axisangle), under the names of Euler angles;
/// two fingers, of which ROS has both positive.
#[test]
fn the_state_of_libero_is_a_rotation_vector_beyond_pi_of_a_gripper_that_points_down() {
    let state = ["x=1", "y=1", "z=1", "roll=1", "pitch=1", "yaw=1", "gripper=2"];
    let (_kept, policy) = policy(&["image", "wrist_image"], &state, &ACTION);
    let parameters = "
    inputs.poses.tool: {topic: /tool_pose, frame_id: base, quaternion_near: [1.0, 0.0, 0.0, 0.0]}
    state.x: {pose: tool, pose_parts: [px]}
    state.y: {pose: tool, pose_parts: [py]}
    state.z: {pose: tool, pose_parts: [pz]}
    state.roll: {pose: tool, pose_parts: [rx]}
    state.pitch: {pose: tool, pose_parts: [ry]}
    state.yaw: {pose: tool, pose_parts: [rz]}
    state.gripper: {joints: [panda_finger_joint1, panda_finger_joint2], scale: [1.0, -1.0]}
";
    let (axis, angle) = ([0.96, 0.28, 0.0], 3.4_f64);
    let vector = axis.map(|value| value * angle);
    let (sin, cos) = (angle / 2.0).sin_cos();
    // As a driver may send it: the same rotation with the other sign.
    let sent = [-axis[0] * sin, -axis[1] * sin, -axis[2] * sin, -cos];
    let values = [
        ("x", POSITION[0]),
        ("y", POSITION[1]),
        ("z", POSITION[2]),
        ("roll", vector[0]),
        ("pitch", vector[1]),
        ("yaw", vector[2]),
    ];
    compare(&policy, sent, parameters, &values, &[("panda_finger_joint1", 0.03), ("panda_finger_joint2", 0.03)]);
}

/// SimplerEnv's WidowX: x, y, z, the angles of `R * default_rot.T` (transforms3d: sxyz), padding, the gripper's opening. From TF.
#[test]
fn the_state_of_simpler_env_widowx_is_rpy_of_a_turned_tool_with_padding() {
    let state = ["x=1", "y=1", "z=1", "roll=1", "pitch=1", "yaw=1", "pad=1", "gripper=1"];
    let (_kept, policy) = policy(&["image_0"], &state, &ACTION);
    let parameters = "
    inputs.poses.tool: {source: tf, frame_id: base, child_frame_id: tool, rotate_tool: [0.0, -1.5707963267948966, 0.0]}
    state.x: {pose: tool, pose_parts: [px]}
    state.y: {pose: tool, pose_parts: [py]}
    state.z: {pose: tool, pose_parts: [pz]}
    state.roll: {pose: tool, pose_parts: [roll]}
    state.pitch: {pose: tool, pose_parts: [pitch]}
    state.yaw: {pose: tool, pose_parts: [yaw]}
    state.pad: {pose: tool, pose_parts: [zero]}
    state.gripper: {joints: [gripper]}
";
    // Of Rz(0.3) Ry(-0.2) Rx(0.1) and then `default_rot`, a quarter turn about y.
    let sent = [-0.06319268651913447, 0.6298190366867007, 0.15380325540458262, 0.758735279280253];
    let values = [
        ("x", POSITION[0]),
        ("y", POSITION[1]),
        ("z", POSITION[2]),
        ("roll", 0.1),
        ("pitch", -0.2),
        ("yaw", 0.3),
        ("pad", 0.0),
    ];
    compare(&policy, sent, parameters, &values, &[("gripper", 0.6)]);
}

/// SimplerEnv's Google robot: x, y, z and the quaternion x, y, z, w, each a key; how far the gripper is closed. From odometry.
#[test]
fn the_state_of_simpler_env_google_is_a_quaternion_value_by_value() {
    let state = ["x=1", "y=1", "z=1", "rx=1", "ry=1", "rz=1", "rw=1", "gripper=1"];
    let (_kept, policy) = policy(&["image"], &state, &ACTION);
    let parameters = "
    inputs.poses.tool: {source: odometry, topic: /tool_odometry, frame_id: base, child_frame_id: tool}
    state.x: {pose: tool, pose_parts: [px]}
    state.y: {pose: tool, pose_parts: [py]}
    state.z: {pose: tool, pose_parts: [pz]}
    state.rx: {pose: tool, pose_parts: [qx]}
    state.ry: {pose: tool, pose_parts: [qy]}
    state.rz: {pose: tool, pose_parts: [qz]}
    state.rw: {pose: tool, pose_parts: [qw]}
    state.gripper: {joints: [gripper], scale: [-1.0], offset: [1.0]}
";
    let values = [
        ("x", POSITION[0]),
        ("y", POSITION[1]),
        ("z", POSITION[2]),
        ("rx", 0.1),
        ("ry", -0.7),
        ("rz", 0.1),
        ("rw", 0.7),
    ];
    compare(&policy, [-0.1, 0.7, -0.1, -0.7], parameters, &values, &[("gripper", 0.6)]);
}

/// DROID: the tool turned in its place, and the actions relative to it. The chunk leaves in the robot's own convention, so a policy that
/// sees the same pose gives the same motion of the robot, whichever way it was trained.
#[test]
fn the_actions_of_droid_leave_in_the_frame_of_the_robot() {
    let (_kept, policy) = policy(&["exterior_image_1_left"], &["eef_9d=pose"], &["eef_9d=pose"]);
    let turned = "
    inputs.poses.tool: {topic: /tool_pose, frame_id: base, rotate_tool: [0.5, -0.5, -0.5, 0.5]}
    state.eef_9d.pose: tool
";
    let plain = "
    inputs.poses.tool: {topic: /tool_pose, frame_id: base}
    state.eef_9d.pose: tool
";
    let robot = [0.1, 0.7, 0.1, 0.7];
    let (names, found) = Senses { joints: &[], orientation: robot }.chunk(&policy, turned);
    assert_eq!(names.len(), 9);
    // What the policy sees: the product of the quaternions, by hand.
    let product = |[ax, ay, az, aw]: [f64; 4], [bx, by, bz, bw]: [f64; 4]| {
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    };
    let seen = product(robot, [0.5, -0.5, -0.5, 0.5]);
    let (_, expected) = Senses { joints: &[], orientation: seen }.chunk(&policy, plain);
    for (found, expected) in found.chunks_exact(9).zip(expected.chunks_exact(9)) {
        assert!(distance(&found[..3], &expected[..3]) < 1e-6, "positions do not turn");
        // R = seen * [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]^T, row by row: its columns are those of `seen`, in another order.
        for (found, seen) in found[3..].chunks_exact(3).zip(expected[3..].chunks_exact(3)) {
            assert!(distance(found, &[-seen[2], -seen[0], seen[1]]) < 1e-5, "{found:?} {seen:?}");
        }
    }
}

/// Whether one of the problems names all of the words.
fn problem(policy: &Path, parameters: &str, words: &[&str]) {
    let problems = settings(policy, parameters).expect_err("refused").to_string();
    assert!(problems.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {problems}");
}

#[test]
fn parameters_of_poses_that_fit_nothing_are_refused_by_name() {
    let (_kept, policy) = policy(&["image"], &["x=1", "eef=9", "arm=7"], &["arm=7"]);
    let with = |pose: &str, x: &str| {
        format!(
            "
    inputs.poses.tool: {{{pose}}}
    state.x: {{pose: tool, pose_parts: [{x}]}}
    state.eef.pose: tool
    state.arm.joints: [a, b, c, d, e, f, g]
"
        )
    };
    assert!(settings(&policy, &with("topic: /pose", "x")).is_ok());
    problem(&policy, &with("topic: /pose", "position"), &["state.x.pose_parts", "names 3"]);
    problem(&policy, &with("topic: /pose", ""), &["state.x.pose", "has 1 values", "state.x.pose_parts"]);
    problem(&policy, &with("topic: /pose", "heading"), &["state.x.pose_parts", "heading", "rot6d"]);
    problem(
        &policy,
        &with("source: tf, frame_id: base", "x"),
        &["inputs.poses.tool.child_frame_id", "must name two frames"],
    );
    let tf = "source: tf, frame_id: base, child_frame_id: tool";
    problem(
        &policy,
        &with(&format!("{tf}, stamp: arrival"), "x"),
        &["inputs.poses.tool.stamp", "take inputs.poses.tool.stamp away"],
    );
    problem(
        &policy,
        &with("topic: /pose, child_frame_id: tool", "x"),
        &["inputs.poses.tool.child_frame_id", "inputs.poses.tool.source"],
    );
    problem(&policy, &with("topic: /pose, rotate_tool: [0.0, 0.0, 0.0, 2.0]", "x"), &["inputs.poses.tool.rotate_tool"]);
    problem(&policy, &with("topic: /pose, rotate_base: [1.0]", "x"), &["inputs.poses.tool.rotate_base"]);
    problem(
        &policy,
        &with("topic: /pose, quaternion_near: [0.0, 0.0, 0.0]", "x"),
        &["inputs.poses.tool.quaternion_near"],
    );
    problem(&policy, &with("topic: /pose, euler: xyz", "x"), &["inputs.poses.tool.euler", "intrinsic_zyx"]);
    problem(&policy, &with("source: topic", "x"), &["inputs.poses.tool.source", "odometry"]);
    let same = format!("    inputs.tf.static_topic: /tf\n{}", with(tf, "x"));
    problem(&policy, &format!("\n{}", same.replacen('\n', "", 1)), &["inputs.tf.topic", "inputs.tf.static_topic"]);
}
