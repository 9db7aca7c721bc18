//! The joints of the parameters among those of the joint states.

use std::collections::BTreeSet;

use super::Finding;
use crate::parameters::{Settings, nearest};

const CHECK: &str = "joints";

/// One finding a state or action key that has joints; `names` are those that the messages had.
pub(super) fn judge(settings: &Settings, names: &BTreeSet<String>) -> Vec<Finding> {
    let state = settings.state.iter().map(|map| (format!("state.{}", map.key), &map.joints));
    // An action key that moves the joints of a state key has its finding there.
    let moved = settings.action.iter().filter(|action| !settings.state.iter().any(|map| map.joints == action.joints));
    let action = moved.map(|map| (format!("action.{}", map.key), &map.joints));
    state.chain(action).map(|(key, joints)| judge_key(&key, joints, names)).collect()
}

fn judge_key(key: &str, joints: &[String], names: &BTreeSet<String>) -> Finding {
    let missing: Vec<&String> = joints.iter().filter(|joint| !names.contains(*joint)).collect();
    let found = format!("{} of {} found in the joint states", joints.len() - missing.len(), joints.len());
    if missing.is_empty() {
        return Finding::ok(CHECK, found).of(key);
    }
    let list = |joints: &[&String]| joints.iter().map(|joint| joint.as_str()).collect::<Vec<_>>().join(", ");
    let finding = Finding::error(CHECK, format!("{found}, missing: {}", list(&missing))).of(key);
    if names.is_empty() {
        return finding.todo("see the input 'joints': no joint state was read");
    }
    let meant = missing.iter().find_map(|joint| Some((joint, nearest(joint, names.iter().map(String::as_str))?)));
    let meant = meant.map_or_else(String::new, |(joint, name)| format!("; did you mean '{name}' for '{joint}'?"));
    let published = list(&names.iter().collect::<Vec<_>>());
    finding.todo(format!("set {key}.joints to names that are published: {published}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_missing_joint_is_named_with_the_one_that_is_meant() {
        let joints = ["waist".to_owned(), "elbo".to_owned()];
        let finding = judge_key("state.arm", &joints, &names(&["elbow", "waist", "gripper"]));
        assert_eq!((finding.severity, finding.subject.as_deref()), (Severity::Error, Some("state.arm")));
        assert!(finding.finding.contains("1 of 2") && finding.finding.ends_with("elbo"), "{finding:?}");
        let remedy = finding.remedy.expect("a remedy");
        assert!(remedy.contains("state.arm.joints") && remedy.contains("'elbow' for 'elbo'"), "{remedy}");
        assert_eq!(judge_key("state.arm", &joints[..1], &names(&["waist"])).severity, Severity::Ok);
        assert_eq!(judge_key("state.arm", &joints, &names(&[])).severity, Severity::Error);
    }
}
