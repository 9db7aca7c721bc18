//! The joints of the parameters among those of the joint states.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::parameters::{Settings, nearest};
use vla_policy::observation::{InputKind, InputSpec};

const CHECK: &str = "joints";

/// The joints of the messages, by the names that the parameters use, each with its topics.
#[derive(Debug, Default)]
pub(super) struct JointsSeen(BTreeMap<String, BTreeSet<String>>);

impl JointsSeen {
    /// Adds the joints of the messages on one of the input's topics.
    pub(crate) fn add<'n>(&mut self, input: &InputSpec, topic: usize, names: impl Iterator<Item = &'n String>) {
        let prefix = input.joints.prefixes.get(topic).map_or("", String::as_str);
        let Some(topic) = input.topics.get(topic) else { return };
        for name in names {
            let topics = self.0.entry(format!("{prefix}{name}")).or_default();
            topics.insert(topic.clone());
        }
    }

    fn has(&self, joint: &str) -> bool {
        self.0.contains_key(joint)
    }
}

/// One finding a state or action key that has joints, and one a joint that comes on two topics.
pub(super) fn judge(settings: &Settings, seen: &JointsSeen) -> Vec<Finding> {
    let Some(input) = settings.inputs.iter().find(|input| input.kind == InputKind::Joints) else { return Vec::new() };
    let state = settings.state.iter().map(|map| (format!("state.{}", map.key), &map.joints));
    // An action key that moves the joints of a state key has its finding there.
    let moved = settings.action.iter().filter(|action| !settings.state.iter().any(|map| map.joints == action.joints));
    let action = moved.map(|map| (format!("action.{}", map.key), &map.joints));
    let keys = state.chain(action).map(|(key, joints)| judge_key(&key, joints, input, seen));
    keys.chain(ambiguous(input, seen)).collect()
}

/// Joints that come on two topics, of which no parameter chooses one.
fn ambiguous<'a>(input: &'a InputSpec, seen: &'a JointsSeen) -> impl Iterator<Item = Finding> + 'a {
    let chosen = |joint: &str| input.joints.topic_of.iter().any(|(of, _)| of == joint);
    let needed = |joint: &String| input.joints.read.contains(joint) || input.joints.moved.contains(joint);
    let several = seen.0.iter().filter(move |(joint, topics)| topics.len() > 1 && needed(joint) && !chosen(joint));
    several.map(|(joint, topics)| {
        let topics = topics.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        Finding::error(CHECK, format!("'{joint}' comes on {topics}"))
            .of("joints")
            .todo(format!("set inputs.joints.topic_of.{joint} to the topic that counts"))
    })
}

fn judge_key(key: &str, joints: &[String], input: &InputSpec, seen: &JointsSeen) -> Finding {
    // What a mimic joint follows must be there in its place.
    let measured =
        |joint: &String| input.joints.mimic.iter().find(|mimic| mimic.joint == *joint).map(|mimic| &mimic.source);
    let joints: Vec<&String> = joints.iter().map(|joint| measured(joint).unwrap_or(joint)).collect();
    let missing: Vec<&String> = joints.iter().filter(|joint| !seen.has(joint)).copied().collect();
    let found = format!("{} of {} found in the joint states", joints.len() - missing.len(), joints.len());
    if missing.is_empty() {
        return Finding::ok(CHECK, found).of(key);
    }
    let list = |joints: &[&String]| joints.iter().map(|joint| joint.as_str()).collect::<Vec<_>>().join(", ");
    let topics = input.topics.join(", ");
    let finding = Finding::error(CHECK, format!("{found} on {topics}, missing: {}", list(&missing))).of(key);
    if seen.0.is_empty() {
        return finding.todo("see the input 'joints': no joint state was read");
    }
    let names = || seen.0.keys();
    let meant = missing.iter().find_map(|joint| Some((joint, nearest(joint, names().map(String::as_str))?)));
    let meant = meant.map_or_else(String::new, |(joint, name)| format!("; did you mean '{name}' for '{joint}'?"));
    let published = list(&names().collect::<Vec<_>>());
    finding.todo(format!("set {key}.joints to names that are published: {published}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use vla_policy::observation::{JointNames, MimicJoint};

    fn input(joints: JointNames) -> InputSpec {
        InputSpec { joints, ..InputSpec::new("joints", InputKind::Joints, ["/left", "/right"]) }
    }

    fn seen(input: &InputSpec, topics: [&[&str]; 2]) -> JointsSeen {
        let mut seen = JointsSeen::default();
        for (topic, names) in topics.iter().enumerate() {
            seen.add(input, topic, names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().iter());
        }
        seen
    }

    #[test]
    fn a_missing_joint_is_named_with_the_one_that_is_meant() {
        let joints = ["waist".to_owned(), "elbo".to_owned()];
        let input = input(JointNames::default());
        let finding = judge_key("state.arm", &joints, &input, &seen(&input, [&["elbow", "waist"], &["gripper"]]));
        assert_eq!((finding.severity, finding.subject.as_deref()), (Severity::Error, Some("state.arm")));
        assert!(finding.finding.contains("1 of 2") && finding.finding.ends_with("elbo"), "{finding:?}");
        assert!(finding.finding.contains("/left, /right"), "{finding:?}");
        let remedy = finding.remedy.expect("a remedy");
        assert!(remedy.contains("state.arm.joints") && remedy.contains("'elbow' for 'elbo'"), "{remedy}");
        assert_eq!(
            judge_key("state.arm", &joints[..1], &input, &seen(&input, [&["waist"], &[]])).severity,
            Severity::Ok
        );
        assert_eq!(judge_key("state.arm", &joints, &input, &seen(&input, [&[], &[]])).severity, Severity::Error);
    }

    #[test]
    fn prefixes_and_mimic_joints_are_taken_into_account() {
        let joints = ["left_j1".to_owned(), "right_j1".to_owned(), "right_finger_b".to_owned()];
        let mimic = MimicJoint {
            joint: "right_finger_b".into(),
            source: "right_finger_a".into(),
            multiplier: -1.0,
            offset: 0.0,
        };
        let prefixes = vec!["left_".to_owned(), "right_".to_owned()];
        let input = input(JointNames { prefixes, mimic: vec![mimic], ..JointNames::default() });
        let both = seen(&input, [&["j1"], &["j1", "finger_a"]]);
        assert_eq!(judge_key("state.arms", &joints, &input, &both).severity, Severity::Ok);
        let finding = judge_key("state.arms", &joints, &input, &seen(&input, [&["j1"], &["j1", "finger_b"]]));
        assert!(finding.finding.ends_with("missing: right_finger_a"), "{finding:?}");
    }

    #[test]
    fn a_joint_on_two_topics_is_an_error_until_a_topic_is_chosen() {
        let read = vec!["waist".to_owned()];
        let input = input(JointNames { read, ..JointNames::default() });
        let twice = seen(&input, [&["waist", "wheel"], &["waist", "wheel"]]);
        let findings: Vec<Finding> = ambiguous(&input, &twice).collect();
        assert_eq!(findings.len(), 1, "wheels are not the policy's: {findings:?}");
        assert!(findings[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("topic_of.waist")), "{findings:?}");
        let topic_of = vec![("waist".to_owned(), "/left".to_owned())];
        let chosen = InputSpec { joints: JointNames { topic_of, ..input.joints.clone() }, ..input };
        assert_eq!(ambiguous(&chosen, &twice).count(), 0);
    }
}
