//! Declares the parameters of the policy's state and action keys: joints with their limits, and poses.

use std::collections::BTreeSet;

use super::freshness;
use crate::parameters::shape::{EefAction, PolicyShape};
use crate::parameters::table::{inputs, keys};
use ros2_parameters::{Constraint, Declaration, Overrides, Value};
use vla_policy::encode::pose::{PoseLayout, PosePart};
use vla_policy::processor::DeltaRows;

/// One group an input that state keys name as their pose.
pub(super) fn pose_inputs(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    let of_pose = |pose: &str| {
        let mut all = vec![
            inputs::POSE_SOURCE.declare_of(pose),
            inputs::POSE_TOPIC.declare_of(pose),
            inputs::POSE_FRAME_ID.declare_of(pose),
            inputs::POSE_CHILD_FRAME_ID.declare_of(pose),
            inputs::POSE_ROTATE_BASE.declare_of(pose),
            inputs::POSE_ROTATE_TOOL.declare_of(pose),
            inputs::POSE_EULER.declare_of(pose),
            inputs::POSE_QUATERNION_NEAR.declare_of(pose),
        ];
        all.extend(freshness(&format!("inputs.poses.{pose}"), &format!("a pose {pose}")));
        all
    };
    named_poses(shape, overrides).into_iter().flat_map(of_pose).collect()
}

/// One group a joint that state or action keys name, or that one of those follows.
pub(super) fn joint_inputs(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    let lists = shape.state.iter().map(|(key, _)| keys::STATE_JOINTS.name_of(key));
    let lists = lists.chain(shape.action_keys.iter().map(|(key, _)| keys::ACTION_JOINTS.name_of(key)));
    let mut named: Vec<String> = Vec::new();
    for list in lists {
        let Some(Value::StringArray(joints)) = overrides.get(&list) else { continue };
        for joint in joints.iter().filter(|joint| !joint.is_empty()) {
            if !named.contains(joint) {
                named.push(joint.clone());
            }
        }
    }
    let mut all: Vec<Declaration> = Vec::new();
    let mut followed: Vec<String> = Vec::new();
    for joint in &named {
        match overrides.get(&inputs::MIMIC_JOINT.name_of(joint)) {
            Some(Value::String(source))
                if !source.is_empty() && !named.contains(source) && !followed.contains(source) =>
            {
                followed.push(source.clone());
            }
            _ => {}
        }
        all.extend([
            inputs::JOINT_TOPIC.declare_of(joint),
            inputs::MIMIC_JOINT.declare_of(joint),
            inputs::MIMIC_MULTIPLIER.declare_of(joint),
            inputs::MIMIC_OFFSET.declare_of(joint),
            inputs::MIMIC_COMMANDED.declare_of(joint),
        ]);
    }
    all.extend(followed.iter().map(|joint| inputs::JOINT_TOPIC.declare_of(joint)));
    all
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
    let of_joint = |joint: &String| {
        [
            keys::MIN.declare_of(joint),
            keys::MAX.declare_of(joint),
            keys::VELOCITY.declare_of(joint),
            keys::ACCELERATION.declare_of(joint),
            keys::JERK.declare_of(joint),
            keys::TRACKING_ERROR.declare_of(joint),
            keys::CONTINUOUS.declare_of(joint),
        ]
    };
    limited_joints(shape, overrides).iter().flat_map(of_joint).collect()
}

/// The poses that state keys name, each once.
fn named_poses<'o>(shape: &PolicyShape, overrides: &'o Overrides) -> Vec<&'o str> {
    let mut all: Vec<&str> = Vec::new();
    for (key, _) in &shape.state {
        match overrides.get(&keys::STATE_POSE.name_of(key)) {
            Some(Value::String(pose)) if !pose.is_empty() && !all.contains(&pose.as_str()) => all.push(pose),
            _ => {}
        }
    }
    all
}

fn state_key(key: &str, width: usize) -> [Declaration; 5] {
    let mut pose = keys::STATE_POSE.declare_of(key);
    pose.description += &format!("{}.", PoseLayout::WIDTHS);
    let (single, groups): (Vec<_>, Vec<_>) = PosePart::all().partition(|part| part.width() == 1);
    let words = |parts: &[PosePart]| parts.iter().map(PosePart::name).collect::<Vec<_>>().join(", ");
    let mut parts = keys::STATE_POSE_PARTS.declare_of(key);
    parts.description += &format!("{}. Groups: {}.", words(&single), words(&groups));
    [
        Declaration { constraint: Constraint::Joints { width }, ..keys::STATE_JOINTS.declare_of(key) },
        pose,
        parts,
        per_joint(keys::STATE_SCALE.declare_of(key), width, true, Some(1.0)),
        per_joint(keys::STATE_OFFSET.declare_of(key), width, false, Some(0.0)),
    ]
}

/// A number for each joint of a key; by default all are `default`, or none is given.
fn per_joint(declaration: Declaration, width: usize, nonzero: bool, default: Option<f64>) -> Declaration {
    let default = Value::DoubleArray(default.map_or_else(Vec::new, |value| vec![value; width]));
    Declaration { default, constraint: Constraint::PerJoint { width, nonzero }, ..declaration }
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
    let (without_joints, without_numbers) = match otherwise {
        Otherwise::State => (format!("Empty: as state.{key}."), format!("Empty: as state.{key}.")),
        Otherwise::Pose(eef) => (
            format!("Empty: the key is a pose of an end effector, with the columns {}.", eef.columns.join(", ")),
            "Empty: none.".to_owned(),
        ),
        Otherwise::Nothing => ("Required.".to_owned(), String::new()),
    };
    let with = |declaration: Declaration, text: &str| {
        let description = format!("{}{text}", declaration.description).trim_end().to_owned();
        Declaration { description, ..declaration }
    };
    let default = |value: f64| without_numbers.is_empty().then_some(value);
    let (scale, offset) = (keys::ACTION_SCALE.declare_of(key), keys::ACTION_OFFSET.declare_of(key));
    let joints = Declaration { constraint: Constraint::Joints { width }, ..keys::ACTION_JOINTS.declare_of(key) };
    [
        with(joints, &without_joints),
        with(per_joint(scale, width, true, default(1.0)), &without_numbers),
        with(per_joint(offset, width, false, default(0.0)), &without_numbers),
    ]
}

fn delta(key: &str, rows: Option<DeltaRows>) -> Declaration {
    let mut words = DeltaRows::ALL.map(|rows| rows.word().to_owned()).to_vec();
    // Only the parameter can decide it; left empty, it is reported as missing.
    if rows.is_none() {
        words.insert(0, String::new());
    }
    Declaration {
        default: Value::String(rows.map_or("", DeltaRows::word).to_owned()),
        constraint: Constraint::OneOf(words),
        ..keys::ACTION_DELTA.declare_of(key)
    }
}

/// The joints that actions move, each once, as the overrides give them.
fn limited_joints(shape: &PolicyShape, overrides: &Overrides) -> Vec<String> {
    let given = |name: String| match overrides.get(&name) {
        Some(Value::StringArray(joints)) if !joints.is_empty() => Some(joints),
        _ => None,
    };
    let of_state = |key: &String| given(keys::STATE_JOINTS.name_of(key)).filter(|_| shape.eef_action(key).is_none());
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (key, _) in &shape.action_keys {
        let joints = given(keys::ACTION_JOINTS.name_of(key)).or_else(|| of_state(key));
        all.extend(joints.into_iter().flatten().filter(|joint| !joint.is_empty() && seen.insert(*joint)).cloned());
    }
    all
}
