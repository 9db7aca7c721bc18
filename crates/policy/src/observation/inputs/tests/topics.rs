//! Joint states on several topics: merged by joint, and joints that are renamed, chosen or computed.

use super::*;
use crate::observation::MimicJoint;

/// Topics of two arms, in the order of [`Inputs::topics`].
const LEFT: usize = 0;
const RIGHT: usize = 1;

fn arms(joints: JointNames) -> Inputs {
    let spec = inputs().specs()[JOINTS].clone();
    let topics = vec!["/left/joint_states".to_owned(), "/right/joint_states".to_owned()];
    let inputs = Inputs::new(vec![InputSpec { topics, joints, ..spec }]);
    inputs.set_instruction("go");
    inputs
}

fn read(joints: &[&str]) -> JointNames {
    JointNames { read: joints.iter().map(ToString::to_string).collect(), ..JointNames::default() }
}

fn offer(inputs: &Inputs, topic: usize, at: i64, names: &[&str], positions: &[f64]) {
    inputs.offer(topic, joints_named(ms(at), names, positions), ms(at)).expect("a good message");
}

fn positions(observation: &Observation) -> Vec<Option<f64>> {
    let joints = observation.joints.as_ref().expect("joints");
    joints.readings.iter().map(|reading| reading.map(|reading| reading.position)).collect()
}

#[test]
fn joints_of_two_topics_are_merged_each_with_its_own_age() {
    let inputs = arms(read(&["waist", "elbow"]));
    offer(&inputs, LEFT, 1000, &["waist", "wheel"], &[0.1, 9.0]);
    let violation = inputs.assemble(ms(1002), &rules()).expect_err("no elbow").to_string();
    assert!(violation.contains("`elbow` yet on /left/joint_states, /right/joint_states"), "{violation}");
    offer(&inputs, RIGHT, 1030, &["elbow"], &[0.2]);
    let observation = inputs.assemble(ms(1035), &rules()).expect("both arms");
    assert_eq!((positions(&observation), observation.stamp), (vec![Some(0.1), Some(0.2)], ms(1000)));
    offer(&inputs, RIGHT, 1080, &["elbow"], &[0.3]);
    offer(&inputs, RIGHT, 1100, &["elbow"], &[0.3]);
    let violation = inputs.assemble(ms(1101), &rules()).expect_err("the left arm is old").to_string();
    assert!(violation.contains("joints stopped") && violation.contains("`waist`"), "{violation}");
}

#[test]
fn a_joint_on_two_topics_is_refused_with_both_until_one_of_them_is_silent() {
    let inputs = arms(read(&["waist"]));
    for at in (1000..1100).step_by(10) {
        offer(&inputs, LEFT, at, &["waist"], &[0.1]);
        offer(&inputs, RIGHT, at + 5, &["waist"], &[0.7]);
    }
    let violation = inputs.assemble(ms(1100), &rules()).expect_err("which one?");
    assert_eq!(words(Err(violation.clone())), ["joints ambiguous"]);
    let text = violation.to_string();
    assert!(
        ["`waist`", "/left/joint_states", "/right/joint_states", "topic_of.waist"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );
    assert!(!violation.is_of_start(), "waiting does not help");
    assert_eq!(words(inputs.check(ms(1100), &rules()).map(|()| Observation::default())), ["joints ambiguous"]);
    for at in (1100..2200).step_by(10) {
        offer(&inputs, RIGHT, at, &["waist"], &[0.7]);
    }
    let observation = inputs.assemble(ms(2195), &rules()).expect("its driver moved to the other topic");
    assert_eq!(positions(&observation), [Some(0.7)]);
}

#[test]
fn an_optional_input_with_a_joint_on_two_topics_is_refused_too() {
    let inputs = arms(read(&["waist"]));
    offer(&inputs, LEFT, 1000, &["waist"], &[0.1]);
    offer(&inputs, RIGHT, 1005, &["waist"], &[0.7]);
    let rules = Rules { per_input: vec![InputRule::age(span(1), false)], ..rules() };
    let violation = inputs.assemble(ms(1100), &rules).map(drop).expect_err("which one?").to_string();
    assert!(violation.contains("ambiguous"), "{violation}");
}

#[test]
fn the_topic_that_was_chosen_for_a_joint_counts_alone() {
    let topic_of = vec![("waist".to_owned(), "/right/joint_states".to_owned())];
    let inputs = arms(JointNames { topic_of, ..read(&["waist", "elbow"]) });
    for at in (1000..1100).step_by(10) {
        offer(&inputs, LEFT, at, &["waist", "elbow"], &[0.1, 0.2]);
        offer(&inputs, RIGHT, at - 5, &["waist"], &[0.7]);
    }
    let observation = inputs.assemble(ms(1092), &rules()).expect("no doubt");
    assert_eq!(positions(&observation), [Some(0.7), Some(0.2)]);
}

#[test]
fn two_drivers_with_the_same_names_are_told_apart_by_the_prefixes_of_their_topics() {
    let prefixes = vec!["left_".to_owned(), "right_".to_owned()];
    let inputs = arms(JointNames { prefixes, ..read(&["left_joint1", "right_joint1"]) });
    offer(&inputs, LEFT, 1000, &["joint1", "joint2"], &[0.1, 0.0]);
    offer(&inputs, RIGHT, 1001, &["joint2", "joint1"], &[0.0, 0.7]);
    assert_eq!(positions(&inputs.assemble(ms(1010), &rules()).expect("both arms")), [Some(0.1), Some(0.7)]);
    // The full name is not one of this driver's.
    offer(&inputs, LEFT, 1020, &["left_joint1"], &[5.0]);
    assert_eq!(positions(&inputs.assemble(ms(1030), &rules()).expect("both arms")), [Some(0.1), Some(0.7)]);
}

#[test]
fn a_mimic_joint_is_computed_from_the_joint_that_it_follows_also_where_it_is_published() {
    let mimic = MimicJoint { joint: "finger_b".into(), source: "finger_a".into(), multiplier: -2.0, offset: 0.5 };
    let inputs = arms(JointNames { mimic: vec![mimic], ..read(&["finger_b"]) });
    offer(&inputs, LEFT, 1000, &["finger_b"], &[9.0]);
    let violation = inputs.assemble(ms(1001), &rules()).expect_err("finger_a is needed").to_string();
    assert!(violation.contains("`finger_a`"), "{violation}");
    offer(&inputs, LEFT, 1002, &["finger_a", "finger_b"], &[0.25, 9.0]);
    let observation = inputs.assemble(ms(1010), &rules()).expect("computed");
    let joints = observation.joints.as_ref().expect("joints");
    assert_eq!((&*joints.joints[0], joints.get(0).map(|reading| reading.position)), ("finger_b", Some(0.0)));
    assert_eq!(observation.stamp, ms(1002));
}
