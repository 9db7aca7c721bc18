//! Checks of the outputs together: every joint and every action key has one route, and every route its own topic.

use std::collections::BTreeMap;

use crate::parameters::settings::{OutputSettings, Settings};
use crate::parameters::shape::PolicyShape;
use crate::parameters::table::{motion, outputs};
use ros2_parameters::Error;

/// Topics of the node that are no route's.
const OWN: [&str; 2] = ["~/action_chunk", "/diagnostics"];

/// Least rate of outputs that sample the motion, Hz.
const LEAST_RATE_HZ: f64 = 10.0;

/// All contradictions; none without outputs.
pub(super) fn check(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    if settings.outputs.is_empty() {
        return Vec::new();
    }
    let mut errors = shared(settings, |output| output.joints.clone(), "command the joint");
    errors.extend(shared(settings, |output| output.columns.clone(), "command the column"));
    errors.extend(shared(settings, |output| endpoint(output).into_iter().collect(), "have the topic or action"));
    errors.extend(settings.outputs.iter().filter_map(|output| taken_topic(settings, output)));
    errors.extend(unrouted(settings, shape));
    errors.extend(streamed_without_rate(settings));
    errors
}

fn endpoint(output: &OutputSettings) -> Option<String> {
    output.route.topic().or(output.route.action()).map(str::to_owned)
}

/// What two routes have, or one has twice.
fn shared(settings: &Settings, of: impl Fn(&OutputSettings) -> Vec<String>, what: &str) -> Vec<Error> {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut errors = Vec::new();
    for output in &settings.outputs {
        for one in of(output) {
            let Some(other) = first.insert(one.clone(), &output.name) else { continue };
            let names = vec![outputs::KIND.name_of(other), outputs::KIND.name_of(&output.name)];
            let what = format!("the outputs '{other}' and '{}' both {what} '{one}'; each needs its own", output.name);
            errors.push(Error::Conflict { names, what });
        }
    }
    errors
}

/// A topic of an input, or of the node's other messages.
fn taken_topic(settings: &Settings, output: &OutputSettings) -> Option<Error> {
    let topic = output.route.topic()?;
    let is_input = settings.inputs.iter().any(|input| input.topics.iter().any(|of| of == topic));
    (is_input || OWN.contains(&topic)).then(|| {
        let name = outputs::TOPIC.name_of(&output.name);
        let what = format!("{name} is '{topic}', which the node uses for other messages; choose another topic");
        Error::Conflict { names: vec![name], what }
    })
}

/// Values of the policy that reach no controller are most likely a mistake.
fn unrouted(settings: &Settings, shape: &PolicyShape) -> Vec<Error> {
    let has_joint = |joint: &String| settings.outputs.iter().any(|output| output.joints.contains(joint));
    let takes_column = |column: &String| settings.outputs.iter().any(|output| output.columns.contains(column));
    let mut errors = Vec::new();
    for (key, _) in &shape.action_keys {
        let map = settings.action.iter().find(|map| map.key == *key);
        let missing: Vec<String> = match map {
            Some(map) => map.joints.iter().filter(|joint| !has_joint(joint)).cloned().collect(),
            None => shape.columns_of(key).into_iter().filter(|column| !takes_column(column)).collect(),
        };
        if !missing.is_empty() {
            let what = format!(
                "the action '{key}' has values without an output: {}; name it in outputs.<name>.keys, with kind: column if \
                 another node reads it from ~/action_chunk",
                missing.join(", ")
            );
            errors.push(Error::Conflict { names: vec![format!("{}<name>.keys", outputs::GROUP)], what });
        }
    }
    errors
}

/// Outputs that sample the motion need a rate at which they follow a stop, which may take a tenth of a second.
fn streamed_without_rate(settings: &Settings) -> Option<Error> {
    let output = settings.outputs.iter().find(|output| output.route.is_streamed())?;
    let rate = settings.command.rate_hz;
    (rate < LEAST_RATE_HZ).then(|| {
        let name = motion::COMMAND_RATE_HZ.name;
        let what = format!(
            "{name} is {rate}, but the output '{}' ({}) samples the motion; set it to {LEAST_RATE_HZ} or more, such as 50.0",
            output.name,
            output.route.kind().as_str()
        );
        Error::Conflict { names: vec![name.to_owned()], what }
    })
}
