//! Checks of several parameters together.

use std::collections::BTreeMap;

use super::Settings;
use crate::parameters::shape::PolicyShape;
use ros2_parameters::Error;
use vla_motion::TransitionMode;
use vla_policy::encode::pose::PoseMap;
use vla_policy::observation::{Exif, FrameOptions, InputKind, InputSpec, JointMap, Transport};

mod outputs;

/// All contradictions.
pub(super) fn check(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    let mut errors = repeated_joints("state", &settings.state);
    errors.extend(repeated_joints("action", &settings.action));
    errors.extend(repeated_topics(&settings.inputs));
    errors.extend(blank_views(settings, shape));
    errors.extend(settings.inputs.iter().filter_map(frame_option_without_use));
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

/// Two inputs cannot share a topic, except views of one transport: a camera may give several of them.
fn repeated_topics(inputs: &[InputSpec]) -> Vec<Error> {
    let mut first: BTreeMap<&str, &InputSpec> = BTreeMap::new();
    let mut errors = Vec::new();
    for input in inputs {
        for topic in &input.topics {
            let Some(other) = first.insert(topic, input) else { continue };
            // A topic that is in a list twice is refused there. Every pose from TF has the same two topics, and a camera may give
            // several views.
            let of_several = matches!(input.kind, InputKind::Transform | InputKind::Camera { .. });
            if input.kind == other.kind && (of_several || input.name == other.name) {
                continue;
            }
            let names = [input.topic_parameter(), other.topic_parameter()];
            let what = format!(
                "{} and {} are both '{topic}'; each input needs its own topic, except views of one transport",
                names[1], names[0]
            );
            errors.push(Error::Conflict { names: names.into(), what });
        }
    }
    errors
}

/// A view may be blank where the policy was trained so, and not all of them.
fn blank_views(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    let name = |view: &String| format!("inputs.cameras.{view}.blank");
    let refused = settings.blank_views.iter().filter(|view| !shape.blank_views.contains(view));
    let untrained = refused.map(|view| {
        let what = format!(
            "{} is true, but the policy was not trained with a black view '{view}' (it is not in blank_views of policy.yaml); connect a \
             camera, or export the policy with --blank-view {view} if its training data had black frames there",
            name(view)
        );
        Error::Conflict { names: vec![name(view)], what }
    });
    let mut errors: Vec<Error> = untrained.collect();
    if shape.cameras.iter().all(|view| settings.blank_views.contains(view)) {
        let what = "inputs.cameras.<name>.blank is true for every view; expected at least one camera".to_owned();
        errors.push(Error::Conflict { names: settings.blank_views.iter().map(name).collect(), what });
    }
    errors
}

/// An encoding is of raw frames, an EXIF orientation of compressed ones.
fn frame_option_without_use(input: &InputSpec) -> Option<Error> {
    let InputKind::Camera { transport } = input.kind else { return None };
    let (option, value, reason) = match (transport, input.frames) {
        (Transport::Compressed, FrameOptions { encoding: Some(encoding), .. }) => {
            ("encoding", encoding.as_str(), "compressed frames have no raw bytes")
        }
        (Transport::Raw, FrameOptions { exif: Exif::Apply, .. }) => {
            ("exif", Exif::Apply.as_str(), "raw frames have no EXIF orientation")
        }
        _ => return None,
    };
    let names = [option, "transport"].map(|parameter| format!("inputs.cameras.{}.{parameter}", input.name));
    let what = format!("{} is {value}, but {} is {transport}: {reason}; change one of them", names[0], names[1]);
    Some(Error::Conflict { names: names.into(), what })
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
