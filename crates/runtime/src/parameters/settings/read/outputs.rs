//! Settings of the outputs: which joints and columns each route commands.

use super::{OutputSettings, Reader};
use crate::parameters::settings::{CommandKind, GripperRoute, OutputKind, OutputMessage, PoseRoute, Route, TwistRoute};
use crate::parameters::shape::PolicyShape;
use crate::parameters::table::{keys, node, outputs};
use ros2_parameters::Error;
use vla_motion::PoseColumns;
use vla_policy::observation::JointMap;

/// Components of a twist, in the order of [`TwistRoute::components`].
const COMPONENTS: [&str; 6] = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"];

/// Name, kind and keys of a route, before it is known which keys move joints.
pub(super) struct RawOutput {
    name: String,
    kind: OutputKind,
    keys: Vec<String>,
}

impl RawOutput {
    /// Whether `key` leaves as plain columns: a route of columns takes it.
    pub(super) fn takes_columns_of(&self, key: &str) -> bool {
        !self.kind.takes_joints() && self.keys.iter().any(|of| of == key)
    }

    /// Whether `key` is a velocity, which no joint is.
    pub(super) fn takes_velocity_of(&self, key: &str) -> bool {
        self.kind == OutputKind::Twist && self.takes_columns_of(key)
    }
}

impl Reader<'_> {
    /// Every route with a kind.
    pub(super) fn raw_outputs(&mut self) -> Vec<RawOutput> {
        let of_kind = |name: &str| {
            let output = name.strip_prefix(outputs::GROUP)?.split('.').next()?;
            (name == outputs::KIND.name_of(output)).then(|| output.to_owned())
        };
        let names: Vec<String> = self.store.names().filter_map(of_kind).collect();
        let mut all = Vec::new();
        for name in names {
            if !is_name(&name) {
                let what =
                    "has a name with other characters than letters, digits and '_'; rename the output".to_owned();
                self.refuse_output(&name, &outputs::KIND.name_of(&name), what);
                continue;
            }
            match self.get_of(&outputs::KIND, &name) {
                Some(kind) => {
                    let keys = self.get_of(&outputs::KEYS, &name);
                    all.push(RawOutput { name, kind, keys });
                }
                None => {
                    let needs = format!("the kind of the output '{name}'; {}", outputs::KIND.expected());
                    self.problems.push(Error::Missing { name: outputs::KIND.name_of(&name), needs });
                }
            }
        }
        all
    }

    /// Whether an action key needs no joints: its values are velocities, or another node reads them from the chunk.
    pub(super) fn is_column(&mut self, key: &str, outputs: &[RawOutput], state: &[JointMap]) -> bool {
        let given = !self.get_of(&keys::ACTION_JOINTS, key).is_empty();
        let has_state = state.iter().any(|map| map.key == key && !map.joints.is_empty());
        let is_column =
            |output: &RawOutput| output.takes_velocity_of(key) || (output.takes_columns_of(key) && !has_state);
        !given && outputs.iter().any(is_column)
    }

    /// The routes. `action`: the joints of the keys that move joints.
    pub(super) fn outputs(
        &mut self,
        raw: Vec<RawOutput>,
        shape: &PolicyShape,
        action: &[JointMap],
    ) -> Vec<OutputSettings> {
        raw.into_iter().filter_map(|output| self.output(output, shape, action)).collect()
    }

    fn output(&mut self, raw: RawOutput, shape: &PolicyShape, action: &[JointMap]) -> Option<OutputSettings> {
        let RawOutput { name, kind, keys } = raw;
        if let Some(key) = keys.iter().find(|key| !shape.action_keys.iter().any(|(of, _)| of == *key)) {
            let known: Vec<&str> = shape.action_keys.iter().map(|(key, _)| key.as_str()).collect();
            let what = format!("names '{key}', which is no action key of the policy ({})", known.join(", "));
            self.refuse_output(&name, &outputs::KEYS.name_of(&name), what);
            return None;
        }
        let (joints, columns) = if kind.takes_joints() {
            (self.output_joints(&name, kind, &keys, shape, action)?, Vec::new())
        } else {
            (self.column_joints(&name, kind, &keys, action)?, columns(&keys, shape, action))
        };
        let route = match kind {
            OutputKind::JointTrajectory => Route::JointTrajectory { topic: self.output_topic(&name) },
            OutputKind::JointCommand => {
                let kind = match self.message(&name, &[OutputMessage::JointState, OutputMessage::MultiArray])? {
                    OutputMessage::MultiArray => CommandKind::MultiArray,
                    _ => CommandKind::JointState,
                };
                Route::JointCommand { topic: self.output_topic(&name), kind }
            }
            OutputKind::FollowJointTrajectory => Route::FollowJointTrajectory { action: self.output_action(&name)? },
            OutputKind::GripperCommand => Route::GripperCommand(self.gripper(&name, &joints)?),
            OutputKind::Twist => Route::Twist(self.twist(&name, &columns)?),
            OutputKind::Pose => Route::Pose(self.pose_output(&name, &keys, shape)?),
            OutputKind::Column => Route::Column,
        };
        Some(OutputSettings { name, route, joints, columns })
    }

    /// Joints of a route of joints.
    fn output_joints(
        &mut self,
        name: &str,
        kind: OutputKind,
        keys: &[String],
        shape: &PolicyShape,
        action: &[JointMap],
    ) -> Option<Vec<String>> {
        let (of_keys, of_joints) = (outputs::KEYS.name_of(name), outputs::JOINTS.name_of(name));
        let given = self.get_of(&outputs::JOINTS, name);
        match (keys.is_empty(), given.is_empty()) {
            (true, true) => {
                let needs = format!("name the action keys of the output '{name}', or its joints in {of_joints}");
                self.problems.push(Error::Missing { name: of_keys, needs });
                return None;
            }
            (false, false) => {
                self.refuse_output(name, &of_joints, format!("is given together with {of_keys}; take one away"));
                return None;
            }
            _ => {}
        }
        let mut joints = given;
        for key in keys {
            let Some(map) = action.iter().find(|map| map.key == *key) else {
                let is_pose = shape.eef_action(key).is_some();
                let what =
                    if is_pose { "the pose of an end effector" } else { "a velocity or a column of another output" };
                let what = format!(
                    "names '{key}', which is {what} and moves no joint; a {} commands joints. Give '{key}' an output of \
                     kind pose, twist or column",
                    kind.as_str()
                );
                self.refuse_output(name, &of_keys, what);
                return None;
            };
            joints.extend(map.joints.iter().cloned());
        }
        let moved = |joint: &&String| !action.iter().any(|map| map.joints.contains(joint));
        if let Some(joint) = joints.iter().find(moved) {
            let known: Vec<&str> = action.iter().flat_map(|map| &map.joints).map(String::as_str).collect();
            let what = format!("names '{joint}', which the policy does not move; it moves {}", known.join(", "));
            self.refuse_output(name, &of_joints, what);
            return None;
        }
        Some(joints)
    }

    /// Joints whose values another node reads from the chunk: those of the keys of a route `column`.
    fn column_joints(
        &mut self,
        name: &str,
        kind: OutputKind,
        keys: &[String],
        action: &[JointMap],
    ) -> Option<Vec<String>> {
        let of_keys = outputs::KEYS.name_of(name);
        if keys.is_empty() {
            let needs = format!("name the action keys of the output '{name}' ({})", kind.as_str());
            self.problems.push(Error::Missing { name: of_keys, needs });
            return None;
        }
        if !self.get_of(&outputs::JOINTS, name).is_empty() {
            let of_joints = outputs::JOINTS.name_of(name);
            let what = format!("is given, but a {} takes action keys; name them in {of_keys}", kind.as_str());
            self.refuse_output(name, &of_joints, what);
            return None;
        }
        let maps = action.iter().filter(|map| keys.contains(&map.key));
        if let (OutputKind::Twist | OutputKind::Pose, Some(map)) = (kind, maps.clone().next()) {
            let what = format!(
                "names '{}', which moves joints; a {} takes values that are no joints. Take action.{}.joints away, or choose \
                 a kind of joints",
                map.key,
                kind.as_str(),
                map.key
            );
            self.refuse_output(name, &of_keys, what);
            return None;
        }
        Some(maps.flat_map(|map| map.joints.iter().cloned()).collect())
    }

    fn gripper(&mut self, name: &str, joints: &[String]) -> Option<GripperRoute> {
        if joints.len() != 1 {
            let what = format!("has {} joints; a gripper_command moves one", joints.len());
            self.refuse_output(name, &outputs::JOINTS.name_of(name), what);
            return None;
        }
        let words = [OutputMessage::GripperCommand, OutputMessage::ParallelGripperCommand];
        let parallel = self.message(name, &words)? == OutputMessage::ParallelGripperCommand;
        Some(GripperRoute {
            action: self.output_action(name)?,
            parallel,
            tolerance: self.get_of(&outputs::TOLERANCE, name),
            max_rate_hz: self.get_of(&outputs::MAX_RATE_HZ, name),
            max_effort: self.get_of(&outputs::MAX_EFFORT, name),
        })
    }

    fn twist(&mut self, name: &str, columns: &[String]) -> Option<TwistRoute> {
        let of_components = outputs::COMPONENTS.name_of(name);
        let words = self.get_of(&outputs::COMPONENTS, name);
        let mut components = Vec::with_capacity(words.len());
        for word in &words {
            match COMPONENTS.iter().position(|component| component == word) {
                Some(index) if !components.contains(&index) => components.push(index),
                _ => {
                    let what = format!("has '{word}'; expected each once of {}", COMPONENTS.join(", "));
                    self.refuse_output(name, &of_components, what);
                    return None;
                }
            }
        }
        if components.len() != columns.len() {
            let what = format!("has {} components, but the keys have {} values", components.len(), columns.len());
            self.refuse_output(name, &of_components, what);
            return None;
        }
        let mut limits = Vec::new();
        for parameter in [&outputs::MAX, &outputs::MAX_ACCELERATION] {
            let (of_limit, given) = (parameter.name_of(name), self.get_of(parameter, name));
            if given.is_empty() {
                let needs = format!("one limit for each of {}: no base moves without", words.join(", "));
                self.problems.push(Error::Missing { name: of_limit, needs });
                return None;
            }
            if given.len() != words.len() || !given.iter().all(|limit| limit.is_finite() && *limit > 0.0) {
                let what = format!("has {given:?}; expected {} finite numbers above zero", words.len());
                self.refuse_output(name, &of_limit, what);
                return None;
            }
            limits.push(given);
        }
        let max_acceleration = limits.pop().unwrap_or_default();
        let max = limits.pop().unwrap_or_default();
        let (topic, frame_id) = (self.output_topic(name), self.output_frame(name));
        Some(TwistRoute { topic, frame_id, components, max, max_acceleration })
    }

    fn pose_output(&mut self, name: &str, keys: &[String], shape: &PolicyShape) -> Option<PoseRoute> {
        let of_keys = outputs::KEYS.name_of(name);
        let [key] = keys else {
            self.refuse_output(name, &of_keys, format!("has {} keys; a pose takes one", keys.len()));
            return None;
        };
        let eef = shape.eef_action(key);
        let layout = eef.and_then(|eef| PoseColumns::of_names(&eef.columns));
        let Some(layout) = layout else {
            let found = if eef.is_some() { "whose values the policy does not describe" } else { "which is no pose" };
            let what = format!(
                "names '{key}', {found}; a pose takes an action that processor_config.json types EEF with the format \
                 XYZ_ROT6D, XYZ_ROTVEC or DEFAULT"
            );
            self.refuse_output(name, &of_keys, what);
            return None;
        };
        let frame_id = self.output_frame(name);
        if frame_id.is_empty() {
            let needs = "the frame of the pose, such as base_link (or set frame_id)".to_owned();
            self.problems.push(Error::Missing { name: outputs::FRAME_ID.name_of(name), needs });
            return None;
        }
        Some(PoseRoute { topic: self.output_topic(name), frame_id, layout })
    }

    fn output_topic(&mut self, name: &str) -> String {
        self.get_of(&outputs::TOPIC, name)
    }

    fn output_action(&mut self, name: &str) -> Option<String> {
        let action = self.get_of(&outputs::ACTION, name);
        if action.is_none() {
            let needs = format!("the action of the output '{name}', such as /arm_controller/follow_joint_trajectory");
            self.problems.push(Error::Missing { name: outputs::ACTION.name_of(name), needs });
        }
        action
    }

    fn output_frame(&mut self, name: &str) -> String {
        let frame = self.get_of(&outputs::FRAME_ID, name);
        if frame.is_empty() { self.get(&node::FRAME_ID) } else { frame }
    }

    /// The message of a kind that has these.
    fn message(&mut self, name: &str, kinds: &[OutputMessage]) -> Option<OutputMessage> {
        let message = self.get_of(&outputs::MESSAGE, name);
        if message != OutputMessage::Default && !kinds.contains(&message) {
            self.refuse_output(name, &outputs::MESSAGE.name_of(name), "is a message of another kind".to_owned());
            return None;
        }
        Some(message)
    }

    /// A value of a route that contradicts its others.
    fn refuse_output(&mut self, name: &str, parameter: &str, what: String) {
        let names = vec![parameter.to_owned(), outputs::KIND.name_of(name)];
        self.problems.push(Error::Conflict { names, what: format!("{parameter} {what}") });
    }
}

/// Whether it can be part of a topic's name.
fn is_name(name: &str) -> bool {
    let starts = name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Columns of these keys in a chunk, in their order; none for keys that move joints.
fn columns(keys: &[String], shape: &PolicyShape, action: &[JointMap]) -> Vec<String> {
    let of_key = |key: &String| {
        let free = !action.iter().any(|map| map.key == *key);
        free.then(|| shape.columns_of(key)).into_iter().flatten()
    };
    keys.iter().flat_map(of_key).collect()
}
