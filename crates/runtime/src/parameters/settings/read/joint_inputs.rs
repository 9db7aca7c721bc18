//! Settings of the joint states: their topics, and which joint comes from where.

use std::sync::Arc;

use super::Reader;
use crate::parameters::description::RobotDescription;
use crate::parameters::table::inputs;
use vla_base::time::Span;
use vla_motion::{JointKind, JointLimits};
use vla_policy::observation::{InputKind, InputSpec, JointMap, JointNames, MimicJoint, StampSource};

impl Reader<'_> {
    /// The input of joint states; `None` where the policy reads and moves no joint.
    pub(super) fn joint_states(&mut self, state: &[JointMap], action: &[JointMap], keep: Span) -> Option<InputSpec> {
        let (read, moved) = (joint_names(state), joint_names(action));
        if read.is_empty() && moved.is_empty() {
            return None;
        }
        let topics = self.joint_topics();
        let prefixes = self.prefixes(&topics);
        let mimic = self.mimic(&read, &moved);
        let topic_of = self.topics_of(&read, &moved, &mimic, &topics);
        let joints = JointNames { read, moved, topic_of, prefixes, mimic };
        self.joints_in_no_topic(&joints, &topics);
        let stamp_from: StampSource = self.get_of(&inputs::STAMP, "inputs.joints");
        Some(InputSpec { joints, stamp_from, keep, ..InputSpec::new("joints", InputKind::Joints, topics) })
    }

    fn joint_topics(&mut self) -> Vec<String> {
        let (topic, topics) = (self.get(&inputs::JOINTS_TOPIC), self.get(&inputs::JOINTS_TOPICS));
        if topics.is_empty() {
            return vec![topic];
        }
        let names = [inputs::JOINTS_TOPIC.name, inputs::JOINTS_TOPICS.name];
        if inputs::JOINTS_TOPIC.declare().default.to_string() != format!("'{topic}'") {
            let what = format!("{} and {} are both given; list every topic in {}", names[0], names[1], names[1]);
            self.conflict(&names, what);
        }
        topics
    }

    /// One prefix a topic, or none at all.
    fn prefixes(&mut self, topics: &[String]) -> Vec<String> {
        let prefixes = self.get(&inputs::JOINTS_PREFIXES);
        if !prefixes.is_empty() && prefixes.len() != topics.len() {
            let name = inputs::JOINTS_PREFIXES.name;
            let what = format!(
                "{name} has {} entries; expected one for each of the {} topics of the joint states ('' for none)",
                prefixes.len(),
                topics.len()
            );
            self.conflict(&[name], what);
        }
        prefixes
    }

    fn mimic(&mut self, read: &[String], moved: &[String]) -> Vec<MimicJoint> {
        let mut all: Vec<MimicJoint> = Vec::new();
        for joint in distinct(read.iter().chain(moved)) {
            let source = self.get_of(&inputs::MIMIC_JOINT, joint);
            if source.is_empty() {
                continue;
            }
            let multiplier = self.get_of(&inputs::MIMIC_MULTIPLIER, joint);
            let offset = self.get_of(&inputs::MIMIC_OFFSET, joint);
            let commanded = inputs::MIMIC_COMMANDED.name_of(joint);
            if moved.contains(joint) && !self.get_of(&inputs::MIMIC_COMMANDED, joint) {
                let what = format!(
                    "the joint '{joint}' follows '{source}' ({}), and an action moves it; take it out of action.<key>.joints, or set \
                     {commanded}: true",
                    inputs::MIMIC_JOINT.name_of(joint)
                );
                self.conflict(&[&inputs::MIMIC_JOINT.name_of(joint), &commanded], what);
            }
            all.push(MimicJoint { joint: joint.clone(), source, multiplier, offset });
        }
        for mimic in &all {
            if all.iter().any(|other| other.joint == mimic.source) {
                let name = inputs::MIMIC_JOINT.name_of(&mimic.joint);
                let what =
                    format!("{name} is '{}', which follows another joint; name the joint that leads", mimic.source);
                self.conflict(&[&name], what);
            }
        }
        all
    }

    fn topics_of(
        &mut self,
        read: &[String],
        moved: &[String],
        mimic: &[MimicJoint],
        topics: &[String],
    ) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for joint in distinct(read.iter().chain(moved).chain(mimic.iter().map(|mimic| &mimic.source))) {
            let Some(topic) = self.get_of(&inputs::JOINT_TOPIC, joint) else { continue };
            if !topics.contains(&topic) {
                let name = inputs::JOINT_TOPIC.name_of(joint);
                let what = format!("{name} is '{topic}'; expected one of {}", topics.join(", "));
                self.conflict(&[&name, inputs::JOINTS_TOPICS.name], what);
            }
            all.push((joint.clone(), topic));
        }
        all
    }

    /// Joints whose name no topic can have, for its prefix.
    fn joints_in_no_topic(&mut self, joints: &JointNames, topics: &[String]) {
        if joints.prefixes.len() != topics.len() {
            return;
        }
        let follows = |joint: &String| joints.mimic.iter().any(|mimic| mimic.joint == *joint);
        let chosen = |joint: &String| joints.topic_of.iter().find(|(of, _)| of == joint).map(|(_, topic)| topic);
        let mut lost = Vec::new();
        let sources = joints.mimic.iter().map(|mimic| &mimic.source);
        for joint in distinct(joints.read.iter().chain(&joints.moved).chain(sources)).filter(|joint| !follows(joint)) {
            let of_topics = topics.iter().zip(&joints.prefixes);
            let mut counting = of_topics.filter(|(topic, _)| chosen(joint).is_none_or(|chosen| chosen == *topic));
            if !counting.any(|(_, prefix)| joint.starts_with(prefix.as_str())) {
                lost.push(format!("'{joint}'"));
            }
        }
        if !lost.is_empty() {
            let name = inputs::JOINTS_PREFIXES.name;
            let what = format!(
                "no topic of the joint states can have {}: with {name} [{}] every joint needs the prefix of its topic",
                lost.join(", "),
                joints.prefixes.join(", ")
            );
            self.conflict(&[name], what);
        }
    }
}

/// The robot description with the names that the node uses.
pub(super) fn prefixed(
    description: &RobotDescription,
    inputs: &[InputSpec],
    given: &[(String, JointLimits)],
    state: &[JointMap],
) -> RobotDescription {
    let prefixes = inputs.iter().find(|input| input.kind == InputKind::Joints).map(|input| &input.joints.prefixes);
    match prefixes.filter(|prefixes| !prefixes.is_empty()) {
        Some(prefixes) => description.with_prefixes(prefixes, joints_of(given, state)),
        None => description.clone(),
    }
}

fn joints_of<'n>(given: &'n [(String, JointLimits)], state: &'n [JointMap]) -> impl Iterator<Item = &'n String> {
    given.iter().map(|(joint, _)| joint).chain(state.iter().flat_map(|map| &map.joints))
}

/// Joints that turn without end: by the parameters, and by the robot description, which also knows joints that are only read.
pub(super) fn continuous(
    given: &[(String, JointLimits)],
    state: &[JointMap],
    description: &RobotDescription,
) -> Arc<[String]> {
    let by_parameter = given.iter().filter(|(_, limits)| limits.kind == JointKind::Continuous).map(|(joint, _)| joint);
    let described = joints_of(given, state).filter(|joint| description.is_continuous(joint));
    distinct(by_parameter.chain(described)).cloned().collect()
}

/// Joints of all keys.
fn joint_names(maps: &[JointMap]) -> Vec<String> {
    maps.iter().flat_map(|map| &map.joints).cloned().collect()
}

fn distinct<'n>(names: impl Iterator<Item = &'n String>) -> impl Iterator<Item = &'n String> {
    let mut seen: Vec<&String> = Vec::new();
    names.filter(move |name| {
        let new = !seen.contains(name);
        seen.push(*name);
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_and_description_say_which_joints_turn_without_end() {
        let description = RobotDescription::parse(
            "<robot><joint name='wrist' type='continuous'/><joint name='waist' type='revolute'/>\
             <joint name='wheel' type='continuous'/></robot>",
        );
        let limits = |kind| JointLimits { kind, ..JointLimits::default() };
        let given = [
            ("turret".to_owned(), limits(JointKind::Continuous)),
            ("wrist".to_owned(), limits(JointKind::default())),
            ("waist".to_owned(), limits(JointKind::default())),
        ];
        let state = [JointMap::identity("base", vec!["wheel".to_owned(), "wrist".to_owned()])];
        assert_eq!(*continuous(&given, &state, &description), ["turret", "wrist", "wheel"]);
        assert_eq!(*continuous(&given, &state, &RobotDescription::NotUsed), ["turret"]);
    }
}
