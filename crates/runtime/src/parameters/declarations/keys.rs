//! Parameters of the policy's state and action keys: joints with their limits, and poses.

use std::collections::BTreeSet;

use super::{declare, fixed, freshness, one_of, text};
use crate::parameters::shape::{EefAction, PolicyShape};
use ros2_parameters::Overrides;
use ros2_parameters::Value;
use ros2_parameters::{Constraint, Declaration};
use vla_policy::encode::pose::PoseLayout;
use vla_policy::processor::DeltaRows;

/// One group an input that state keys name as their pose.
pub(super) fn pose_inputs(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    named_poses(shape, overrides).into_iter().flat_map(pose_input).collect()
}

/// One group a state key.
pub(super) fn state(shape: &PolicyShape) -> Vec<Declaration> {
    shape.state.iter().flat_map(|(key, width)| state_key(key, *width)).collect()
}

/// One group an action key.
pub(super) fn action(shape: &PolicyShape) -> Vec<Declaration> {
    let keys = shape.action_keys.iter().flat_map(|(key, width)| {
        let otherwise = match shape.eef_action(key) {
            Some(eef) => Otherwise::Pose(eef),
            None if shape.state.iter().any(|(state, _)| state == key) => Otherwise::State,
            None => Otherwise::Nothing,
        };
        action_key(key, *width, otherwise)
    });
    keys.chain(shape.deltas.iter().map(|(key, rows)| delta(key, *rows))).collect()
}

/// One group a joint that actions move.
pub(super) fn limits(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    limited_joints(shape, overrides).iter().flat_map(|joint| limits_of(joint)).collect()
}

/// The poses that state keys name, each once.
fn named_poses<'o>(shape: &PolicyShape, overrides: &'o Overrides) -> Vec<&'o str> {
    let mut all: Vec<&str> = Vec::new();
    for (key, _) in &shape.state {
        match overrides.get(&format!("state.{key}.pose")) {
            Some(Value::String(pose)) if !pose.is_empty() && !all.contains(&pose.as_str()) => all.push(pose),
            _ => {}
        }
    }
    all
}

fn pose_input(pose: &str) -> Vec<Declaration> {
    let mut all = vec![
        fixed(
            format!("inputs.poses.{pose}.topic"),
            text(&format!("{pose}/pose")),
            Constraint::TopicName,
            format!(
                "Topic of the pose {pose} (geometry_msgs/PoseStamped): position in m, orientation as a unit quaternion."
            ),
        ),
        fixed(
            format!("inputs.poses.{pose}.frame_id"),
            text(""),
            Constraint::None,
            format!("Frame that the pose {pose} must be in; a message of another frame is refused. Empty: any."),
        ),
    ];
    all.extend(freshness(&format!("inputs.poses.{pose}"), &format!("a pose {pose}"), 100.0));
    all
}

fn state_key(key: &str, width: usize) -> [Declaration; 4] {
    [
        fixed(
            format!("state.{key}.joints"),
            Value::StringArray(Vec::new()),
            Constraint::Joints { width },
            format!(
                "Joints of the state {key}, by their names in JointState, in the policy's order. These or a pose are required."
            ),
        ),
        fixed(
            format!("state.{key}.pose"),
            text(""),
            Constraint::InputName,
            format!(
                "Name of the pose that the state {key} is, instead of joints; inputs.poses.NAME says where it comes from. The \
                 width of the key tells what is taken: {}.",
                PoseLayout::WIDTHS
            ),
        ),
        fixed(
            format!("state.{key}.scale"),
            Value::DoubleArray(vec![1.0; width]),
            Constraint::PerJoint { width, nonzero: true },
            "Factor of each joint: model = joint * scale + offset, joint in rad or m.",
        ),
        fixed(
            format!("state.{key}.offset"),
            Value::DoubleArray(vec![0.0; width]),
            Constraint::PerJoint { width, nonzero: false },
            "Offset of each joint, in the model's unit.",
        ),
    ]
}

/// What an action key without joints is.
enum Otherwise<'a> {
    /// It moves those of the state of its name.
    State,
    /// The pose of an end effector.
    Pose(&'a EefAction),
    /// A mistake.
    Nothing,
}

fn action_key(key: &str, width: usize, otherwise: Otherwise<'_>) -> [Declaration; 3] {
    let (otherwise, otherwise_number) = match otherwise {
        Otherwise::State => (format!("Empty: as state.{key}."), format!("Empty: as state.{key}.")),
        Otherwise::Pose(eef) => (
            format!("Empty: it is an end effector's, with the columns {}.", eef.columns.join(", ")),
            "Empty: none.".to_owned(),
        ),
        Otherwise::Nothing => ("Required.".to_owned(), String::new()),
    };
    let given = otherwise_number.is_empty();
    let ones = if given { vec![1.0; width] } else { Vec::new() };
    let zeros = if given { vec![0.0; width] } else { Vec::new() };
    [
        fixed(
            format!("action.{key}.joints"),
            Value::StringArray(Vec::new()),
            Constraint::Joints { width },
            format!("Joints that the action {key} moves, in the policy's order. {otherwise}"),
        ),
        fixed(
            format!("action.{key}.scale"),
            Value::DoubleArray(ones),
            Constraint::PerJoint { width, nonzero: true },
            format!("Factor of each joint: joint = (model - offset) / scale, joint in rad or m. {otherwise_number}")
                .trim_end(),
        ),
        fixed(
            format!("action.{key}.offset"),
            Value::DoubleArray(zeros),
            Constraint::PerJoint { width, nonzero: false },
            format!("Offset of each joint, in the model's unit. {otherwise_number}").trim_end(),
        ),
    ]
}

fn delta(key: &str, rows: Option<DeltaRows>) -> Declaration {
    let mut words = vec![DeltaRows::Cumulative.word(), DeltaRows::FromState.word()];
    // Nothing decides it but the parameter: left empty, it is reported as missing.
    if rows.is_none() {
        words.insert(0, "");
    }
    fixed(
        format!("action.{key}.delta"),
        text(rows.map_or("", DeltaRows::word)),
        one_of(&words),
        format!(
            "Only where the action {key} predicts deltas (rep: DELTA in processor_config.json): what a row is. cumulative: the \
             change from the row before (row i = state + rows 0 to i); from_state: the change from the observed state (row i \
             = state + row i). Required where policy.yaml does not say it (`vla-trt export --delta`); wins over policy.yaml."
        ),
    )
}

fn limits_of(joint: &str) -> [Declaration; 7] {
    let bound = |field: &str, default: f64, word: &str, none: &str| {
        declare(
            format!("limits.{joint}.{field}"),
            Value::Double(default),
            Constraint::NotNan,
            format!(
                "{word} position that {joint} is sent to, in rad or m; actions beyond are clamped and counted. {none}: none."
            ),
        )
    };
    let rate = |field: &str, what: &str| {
        declare(
            format!("limits.{joint}.{field}"),
            Value::Double(f64::INFINITY),
            Constraint::DoubleRange { from: 1e-6, to: f64::INFINITY, step: 0.0 },
            format!("{what} .inf: none."),
        )
    };
    [
        bound("min", f64::NEG_INFINITY, "Least", "-.inf"),
        bound("max", f64::INFINITY, "Greatest", ".inf"),
        rate("velocity", &format!("Greatest speed of {joint}, in rad/s or m/s.")),
        rate("acceleration", &format!("Greatest acceleration of {joint}, stops included, in rad/s² or m/s².")),
        rate(
            "jerk",
            &format!(
                "Greatest jerk of {joint} while it follows rows, in rad/s³ or m/s³; the other limits and stops come first."
            ),
        ),
        declare(
            format!("limits.{joint}.tracking_error"),
            Value::Double(0.0),
            Constraint::DoubleRange { from: 0.0, to: f64::INFINITY, step: 0.0 },
            format!(
                "Largest distance between the measured and the commanded position of {joint} while it moves, in rad or m; \
                 beyond it the motion brakes. 0: 0.5 rad, or 0.1 m for a joint that the robot description calls prismatic. \
                 .inf: any, as for a gripper that closes on objects."
            ),
        ),
        fixed(
            format!("limits.{joint}.continuous"),
            Value::Bool(false),
            Constraint::None,
            format!(
                "{joint} turns without end: positions that differ by a whole turn are the same, and motion takes the short \
                 way. So is a joint that the robot description calls continuous."
            ),
        ),
    ]
}

/// The joints that actions move, each once, as the overrides give them.
fn limited_joints(shape: &PolicyShape, overrides: &Overrides) -> Vec<String> {
    let given = |name: String| match overrides.get(&name) {
        Some(Value::StringArray(joints)) if !joints.is_empty() => Some(joints),
        _ => None,
    };
    let of_state = |key: &String| given(format!("state.{key}.joints")).filter(|_| shape.eef_action(key).is_none());
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (key, _) in &shape.action_keys {
        let joints = given(format!("action.{key}.joints")).or_else(|| of_state(key));
        all.extend(joints.into_iter().flatten().filter(|joint| !joint.is_empty() && seen.insert(*joint)).cloned());
    }
    all
}
