//! A parameter file for a policy with a placeholder in place of everything that only the robot's owner knows.

use vla_runtime::parameters::{PLACEHOLDER, PolicyShape};

/// Column of the comments.
const COMMENT: usize = 44;

/// Comment about the limits.
const LIMITS: [&str; 6] = [
    "min, max: least and greatest position, in rad or m; actions beyond them are clamped and counted.",
    "velocity: greatest speed, in rad/s or m/s. No joint moves without it. Begin at a fifth of what the robot can do.",
    "acceleration: greatest acceleration, stops included, in rad/s^2 or m/s^2. A joint never moves faster than",
    "  acceleration * max_blind_s / 2, so that it can stop in time.",
    "tracking_error: distance between measured and commanded position beyond which the motion brakes (0.5 rad unless given);",
    "  .inf for a gripper, which stays open around an object.",
];

/// The text of `robot.yaml` for the policy in the folder `policy`.
pub(crate) fn render(shape: &PolicyShape, policy: &str) -> String {
    let mut page = Page::default();
    page.header(policy);
    page.entry(4, "engine.kind: onnx", "onnx: on the CPU; tensorrt: engines built by `vla-trt build`");
    page.entry(
        4,
        &format!("instruction: {PLACEHOLDER}"),
        "what the robot shall do; '' waits for the topic instruction",
    );
    page.entry(4, "rate_hz: 5.0", "inferences per second");
    page.blank();
    inputs(&mut page, shape);
    page.blank();
    let state = state(&mut page, shape);
    let moved = action(&mut page, shape, &state);
    limits(&mut page, &moved);
    page.text
}

/// Lines with their comments in one column.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn header(&mut self, policy: &str) {
        self.text += &format!(
            "# Parameters of vla_trt_node for the policy in {policy}, written by `vla-trt init-params`.\n\
             # Replace every {PLACEHOLDER}...: until then the node refuses the file and names what is missing. A joint's placeholder is in\n\
             # its key and in limits: replace both by the joint's name in sensor_msgs/JointState. Then check the file with\n\
             #   vla-trt doctor {policy} --params robot.yaml\n\
             # and, while the robot's drivers run, with\n\
             #   vla_trt_node --check --ros-args --params-file robot.yaml -p policy:={policy}\n\
             # All other parameters have defaults: docs/parameters.md.\n\
             /**:\n  ros__parameters:\n"
        );
    }

    fn entry(&mut self, indent: usize, entry: &str, comment: &str) {
        let line = format!("{:indent$}{entry}", "");
        self.text += &format!("{line:COMMENT$} # {comment}\n");
    }

    fn group(&mut self, indent: usize, name: &str) {
        self.text += &format!("{:indent$}{name}:\n", "");
    }

    fn remark(&mut self, indent: usize, remark: &str) {
        self.text += &format!("{:indent$}# {remark}\n", "");
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }
}

fn inputs(page: &mut Page, shape: &PolicyShape) {
    page.group(4, "inputs");
    page.group(6, "cameras");
    for camera in &shape.cameras {
        page.group(8, camera);
        page.entry(10, &format!("topic: {PLACEHOLDER}"), &format!("such as /camera/{camera}/image_raw"));
        page.entry(
            10,
            &format!("transport: {PLACEHOLDER}"),
            "raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage",
        );
        page.entry(10, "max_age_ms: 200.0", "oldest frame that is used: near twice the camera's period");
        if shape.blank_views.contains(camera) {
            page.entry(10, "blank: false", "true: the robot lacks this camera, and the policy sees black in its place");
        }
    }
    page.group(6, "joints");
    page.entry(8, "topic: /joint_states", "sensor_msgs/JointState");
    page.entry(8, "max_age_ms: 100.0", "oldest position that is used");
    let poses: Vec<&str> = shape.state.iter().map(|(key, _)| key.as_str()).filter(|key| is_pose(shape, key)).collect();
    if !poses.is_empty() {
        page.group(6, "poses");
    }
    for pose in poses {
        page.group(8, pose);
        page.entry(
            10,
            &format!("topic: {PLACEHOLDER}"),
            "geometry_msgs/PoseStamped of the end effector; or source: odometry, or tf",
        );
        page.entry(10, "frame_id: ''", "frame that the pose must be in; '' accepts every frame");
        page.entry(10, "max_age_ms: 100.0", "oldest pose that is used");
    }
    page.entry(6, "max_skew_ms: 100.0", "largest difference between the stamps of one observation");
    page.entry(6, "on_violation: hold", "skip; hold: brake, resume by itself; stop: brake until ~/resume");
}

/// Whether a state key is an end effector's pose: its action is.
fn is_pose(shape: &PolicyShape, key: &str) -> bool {
    shape.eef_action(key).is_some()
}

/// Placeholders of the joints of a key.
fn joints(key: &str, width: usize) -> Vec<String> {
    (1..=width).map(|joint| format!("{PLACEHOLDER}_{key}_{joint}")).collect()
}

fn joint_list(page: &mut Page, names: &[String]) {
    page.remark(
        8,
        &format!("{} joint name{}, in the policy's order", names.len(), if names.len() == 1 { "" } else { "s" }),
    );
    let mut line = format!("{:8}joints: [", "");
    for (index, name) in names.iter().enumerate() {
        if line.len() + name.len() > 110 {
            page.text += &format!("{}\n", line.trim_end());
            line = format!("{:10}", "");
        }
        line += name;
        line += if index + 1 == names.len() { "]" } else { ", " };
    }
    page.text += &format!("{line}\n");
}

/// Writes the state keys; returns the placeholders of those that are joints.
fn state(page: &mut Page, shape: &PolicyShape) -> Vec<(String, Vec<String>)> {
    let mut written = Vec::new();
    page.remark(4, "Joints in rad or m. Where the policy has another unit: scale and offset, one value a joint.");
    page.group(4, "state");
    for (key, width) in &shape.state {
        page.group(6, key);
        if is_pose(shape, key) {
            page.entry(8, &format!("pose: {key}"), "the pose of inputs.poses");
        } else {
            let names = joints(key, *width);
            joint_list(page, &names);
            written.push((key.clone(), names));
        }
    }
    page.blank();
    written
}

/// Writes the action keys that have something to fill in; returns the placeholders of every joint that is moved.
fn action(page: &mut Page, shape: &PolicyShape, state: &[(String, Vec<String>)]) -> Vec<String> {
    let mut moved = Vec::new();
    let mut begun = false;
    for (key, width) in &shape.action_keys {
        let of_state = state.iter().find(|(name, joints)| name == key && joints.len() == *width);
        let is_joints = shape.eef_action(key).is_none();
        let delta = shape.deltas.iter().any(|(name, rows)| name == key && rows.is_none());
        let own = (is_joints && of_state.is_none()).then(|| joints(&format!("action_{key}"), *width));
        if is_joints {
            moved.extend(of_state.map(|(_, joints)| joints).or(own.as_ref()).cloned().unwrap_or_default());
        }
        if own.is_none() && !delta {
            continue;
        }
        if !begun {
            page.group(4, "action");
            begun = true;
        }
        page.group(6, key);
        if let Some(names) = own {
            joint_list(page, &names);
        }
        if delta {
            page.entry(8, &format!("delta: {PLACEHOLDER}"), "what a row is: cumulative or from_state");
        }
    }
    if begun {
        page.blank();
    } else {
        page.remark(4, "The actions move the joints of the state keys of the same name.");
    }
    moved
}

fn limits(page: &mut Page, joints: &[String]) {
    if joints.is_empty() {
        return;
    }
    page.entry(4, "max_blind_s: 0.5", "longest motion without a new chunk, in s");
    for remark in LIMITS {
        page.remark(4, remark);
    }
    page.group(4, "limits");
    for joint in joints {
        // A placeholder has its key's name.
        let tracking = if joint.contains("gripper") { ", tracking_error: .inf" } else { "" };
        let line = format!(
            "{joint}: {{min: {PLACEHOLDER}, max: {PLACEHOLDER}, velocity: {PLACEHOLDER}, acceleration: {PLACEHOLDER}{tracking}}}"
        );
        page.text += &format!("{:6}{line}\n", "");
    }
}
