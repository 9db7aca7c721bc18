//! Checks of several parameters together.

use std::collections::BTreeMap;

use super::Settings;
use crate::parameters::shape::PolicyShape;
use ros2_parameters::Error;
use vla_motion::TransitionMode;
use vla_policy::encode::pose::PoseMap;
use vla_policy::observation::{InputKind, InputSpec, JointMap};

mod outputs;

/// All contradictions.
pub(super) fn check(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    let mut errors = repeated_joints("state", &settings.state);
    errors.extend(repeated_joints("action", &settings.action));
    errors.extend(repeated_topics(&settings.inputs));
    errors.extend(enable_switch_on_an_input(settings));
    errors.extend(repeated_inputs(settings));
    errors.extend(joints_like_columns(settings, shape));
    errors.extend(instruction_that_does_not_fit(settings, shape));
    errors.extend(rtc_without_guide(settings, shape));
    errors.extend(outputs::check(settings, shape));
    errors
}

/// A joint belongs to one key of the state, and is moved by one key of the action.
fn repeated_joints(group: &str, maps: &[JointMap]) -> Vec<Error> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut errors = Vec::new();
    for map in maps {
        for joint in &map.joints {
            let other = *first.entry(joint).or_insert(&map.key);
            if other != map.key {
                let names = [&map.key, other].map(|key| format!("{group}.{key}.joints"));
                let what = format!(
                    "the joint '{joint}' is in {} and in {}; each joint belongs to one key",
                    names[1], names[0]
                );
                errors.push(Error::Conflict { names: names.into(), what });
            }
        }
    }
    errors
}

/// Two inputs cannot share a topic.
fn repeated_topics(inputs: &[InputSpec]) -> Vec<Error> {
    let mut first: BTreeMap<&str, &InputSpec> = BTreeMap::new();
    let mut errors = Vec::new();
    for input in inputs {
        for topic in &input.topics {
            let Some(other) = first.insert(topic, input) else { continue };
            // One that is in a list twice is refused there; every pose from TF has the same two topics.
            let is_tf = input.kind == InputKind::Transform && other.kind == InputKind::Transform;
            if input.name == other.name || is_tf {
                continue;
            }
            let names = [input.topic_parameter(), other.topic_parameter()];
            let what = format!("{} and {} are both '{topic}'; each input needs its own topic", names[1], names[0]);
            errors.push(Error::Conflict { names: names.into(), what });
        }
    }
    errors
}

/// The enable switch has another message type than every input.
fn enable_switch_on_an_input(settings: &Settings) -> Option<Error> {
    let topic = settings.enable_topic.as_ref()?;
    let input = settings.inputs.iter().find(|input| input.topics.contains(topic))?;
    let what = format!(
        "inputs.enable.topic is '{topic}', which is the topic of the input '{}' ({}); the switch needs its own topic \
         (std_msgs/msg/Bool)",
        input.name,
        input.kind.type_name()
    );
    Some(Error::Conflict { names: vec!["inputs.enable.topic".to_owned()], what })
}

/// Chunks and diagnostics tell inputs apart by name.
fn repeated_inputs(settings: &Settings) -> Vec<Error> {
    let clash = |pose: &PoseMap| {
        let same = |input: &&InputSpec| input.name == pose.input && !input.kind.is_pose();
        let other = settings.inputs.iter().find(same)?;
        let name = format!("state.{}.pose", pose.key);
        let what = format!(
            "{name} names the pose '{}', which is the name of another input ({}); give the pose another name",
            pose.input,
            other.kind.type_name()
        );
        Some(Error::Conflict { names: vec![name], what })
    };
    settings.poses.iter().filter_map(clash).collect()
}

/// A column of a chunk has one meaning.
fn joints_like_columns(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    let is_pose = |key: &str| !settings.action.iter().any(|map| map.key == key);
    let columns = || shape.eef_actions.iter().filter(|eef| is_pose(&eef.key)).flat_map(|eef| &eef.columns);
    let mut errors = Vec::new();
    for map in &settings.action {
        for joint in map.joints.iter().filter(|joint| columns().any(|column| column == *joint)) {
            let name = format!("action.{}.joints", map.key);
            let what = format!("{name}: '{joint}' is also the name of a pose's column; rename the joint");
            errors.push(Error::Conflict { names: vec![name], what });
        }
    }
    errors
}

/// rtc needs a policy that takes an action prefix.
fn rtc_without_guide(settings: &Settings, shape: &PolicyShape) -> Option<Error> {
    (settings.motion.mode == TransitionMode::Rtc && !shape.accepts_prefix).then(|| Error::Conflict {
        names: vec!["handover.mode".to_owned()],
        what: "handover.mode is rtc, but no stage of the policy reads 'strength', the guidance weight of the action prefix; export the \
               policy again, or use blend"
            .to_owned(),
    })
}

/// Refused here and not at every inference.
fn instruction_that_does_not_fit(settings: &Settings, shape: &PolicyShape) -> Option<Error> {
    let error = shape.check_instruction(&settings.instruction).err()?;
    Some(Error::Conflict { names: vec!["instruction".to_owned()], what: format!("parameter 'instruction': {error}") })
}
