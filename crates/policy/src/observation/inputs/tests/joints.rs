//! Tests of joint states that are merged by joint.

use super::*;

#[test]
fn joint_states_that_are_empty_not_finite_or_uneven_are_refused_with_the_reason_and_counted() {
    let inputs = inputs();
    let uneven = write::joint_state(header(ms(1)), &["waist", "b"], &[0.0], &[], &[]);
    let bad: [(Bytes, IsError); 6] = [
        (joints(ms(1), &[]), |error| matches!(error, Error::NoJoints { .. })),
        (
            joints(ms(1), &[0.0, f64::NAN]),
            |error| matches!(error, Error::JointNotFinite { joint, value, .. } if joint == "elbow" && value.is_nan()),
        ),
        (uneven.into(), |error| matches!(error, Error::JointLengths { names: 2, positions: 1, .. })),
        (joints(ms(0), &[0.0, 0.0]), |error| matches!(error, Error::Unstamped { .. })),
        (
            joints_named(ms(1), &["waist", "waist"], &[0.0, 0.0]),
            |error| matches!(error, Error::DuplicateJoint { joint, .. } if joint == "waist"),
        ),
        (
            Bytes::from_static(&[0, 1, 0]),
            |error| matches!(error, Error::Message { input, topic, .. } if input == "joints" && topic == "/joint_states"),
        ),
    ];
    for (i, (bytes, is_expected)) in bad.into_iter().enumerate() {
        let error = inputs.offer(JOINTS, bytes, ms(1)).expect_err("refused");
        assert!(is_expected(&error), "{error}");
        let error = error.to_string();
        let statistics = &inputs.statistics(ms(1000))[JOINTS];
        assert_eq!((statistics.received, statistics.refused), (i as u64 + 1, i as u64 + 1));
        assert_eq!(statistics.last_refusal.as_deref(), Some(error.as_str()));
    }
}

#[test]
fn a_refused_message_leaves_the_good_one_and_is_named_when_that_gets_old() {
    let inputs = ready();
    inputs.offer(JOINTS, joints(ms(1010), &[f64::NAN, 0.0]), ms(1011)).expect_err("NaN");
    inputs.assemble(ms(1012), &rules()).expect("the good joint state is fresh still");
    inputs.offer(TOP, image(ms(1100)), ms(1101)).expect("a good image");
    inputs.offer(WRIST, image(ms(1100)), ms(1101)).expect("a good image");
    let violation = inputs.assemble(ms(1110), &rules()).expect_err("old joints");
    assert!(
        violation
            .to_string()
            .contains("joints stopped: no joint state for 110 ms (at most 100 ms) of `waist` [last message refused:"),
        "{violation}"
    );
    assert!(violation.to_string().contains("joint `waist`, found NaN"), "{violation}");
}

#[test]
fn a_joint_that_is_not_finite_keeps_its_good_position_and_the_others_go_on() {
    let inputs = ready();
    inputs.offer(JOINTS, joints(ms(1050), &[f64::NAN, 0.7]), ms(1051)).expect_err("waist is NaN");
    let observation = inputs.assemble(ms(1052), &rules()).expect("waist is fresh still");
    assert_eq!((positions(&observation), observation.stamp), (vec![Some(0.1), Some(0.7), None], ms(1000)));
    inputs.offer(JOINTS, joints_named(ms(1060), &["wheel"], &[f64::NAN]), ms(1061)).expect("no joint of the policy");
    let joints = &inputs.statistics(ms(1062))[JOINTS];
    assert_eq!((joints.received, joints.used, joints.refused, joints.unneeded), (3, 1, 1, 1));
}

#[test]
fn joint_states_of_several_publishers_are_merged_and_the_oldest_joint_read_counts() {
    let inputs = ready();
    for i in 0..20 {
        let at = 1010 + 20 * i;
        offer_cameras(&inputs, at);
        // The elbow's publisher is 5 ms behind, by stamp and by arrival order.
        inputs.offer(JOINTS, joints_named(ms(at), &["waist", "wheel"], &[at as f64, 0.0]), ms(at + 1)).expect("waist");
        inputs
            .offer(JOINTS, joints_named(ms(at - 5), &["elbow", "finger"], &[-at as f64, 0.5]), ms(at + 2))
            .expect("elbow");
        let observation = inputs.assemble(ms(at + 4), &rules()).expect("both are fresh");
        assert_eq!(observation.stamp, ms(at - 5));
        assert_eq!(positions(&observation), [Some(at as f64), Some(-at as f64), Some(0.5)]);
    }
    let joints = &inputs.statistics(ms(1400))[JOINTS];
    // The first message, of both joints, was replaced by two others before it was used.
    assert_eq!((joints.received, joints.used, joints.overwritten, joints.out_of_order), (41, 40, 1, 0));
    assert_eq!(joints.shared_joints, [""; 0]);
}

#[test]
fn a_joint_whose_publisher_stopped_is_named_while_the_others_go_on() {
    let inputs = ready();
    for at in (1010..1200).step_by(10) {
        offer_cameras(&inputs, at);
        inputs.offer(JOINTS, joints_named(ms(at), &["waist"], &[0.1]), ms(at)).expect("waist");
    }
    let violation = inputs.assemble(ms(1200), &rules()).expect_err("the elbow is old").to_string();
    assert_eq!(violation, "joints stopped: no joint state for 200 ms (at most 100 ms) of `elbow`");
}

#[test]
fn a_joint_that_was_never_published_is_named_with_what_there_is() {
    let inputs = inputs();
    inputs.set_instruction("go");
    offer_cameras(&inputs, 1000);
    inputs.offer(JOINTS, joints_named(ms(1000), &["Elbow", "wheel"], &[0.0, 0.0]), ms(1001)).expect("not ours");
    inputs.offer(JOINTS, joints_named(ms(1000), &["waist"], &[0.0]), ms(1001)).expect("waist");
    let violation = inputs.assemble(ms(1002), &rules()).expect_err("no elbow").to_string();
    assert_eq!(
        violation,
        "joints missing: no position of `elbow` yet on /joint_states (other messages have `Elbow`, `wheel`); publish them there, set \
         inputs.joints.topics to the topics that have them, or set state.<key>.joints to the names that the robot publishes"
    );
}

#[test]
fn a_joint_that_is_only_moved_is_kept_and_its_absence_or_age_forbids_nothing() {
    let inputs = ready();
    inputs.offer(JOINTS, joints_named(ms(500), &["finger"], &[0.5]), ms(1001)).expect("finger");
    let observation = inputs.assemble(ms(1010), &rules()).expect("both joints read are fresh");
    assert_eq!((positions(&observation)[2], observation.stamp), (Some(0.5), ms(1000)));
}

#[test]
fn endless_new_joint_names_do_not_make_anything_grow() {
    let inputs = ready();
    for i in 0..5000 {
        inputs.offer(JOINTS, joints_named(ms(1000 + i), &[&format!("j{i}")], &[0.0]), ms(1000 + i)).expect("not ours");
    }
    let mut sample = JointSample::default();
    assert!(inputs.read_joints(&mut sample));
    assert_eq!((sample.joints.len(), sample.readings.len()), (3, 3));
}

#[test]
fn the_newest_positions_are_read_without_an_observation_and_only_when_something_is_new() {
    let inputs = ready();
    let mut sample = JointSample::default();
    assert!(inputs.read_joints(&mut sample));
    let reading = |position, stamp, since| Some(JointReading { position, stamp: ms(stamp), since: ms(since) });
    assert_eq!(sample.readings, [reading(0.1, 1000, 1000), reading(0.2, 1000, 1000), None]);
    assert_eq!((&*sample.joints[0], sample.stamp), ("waist", ms(1000)));
    let before = sample.sequence;
    inputs.read_joints(&mut sample);
    assert_eq!(sample.sequence, before);
    inputs.offer(JOINTS, joints(ms(1010), &[0.1, 0.3]), ms(1010)).expect("a good message");
    inputs.read_joints(&mut sample);
    assert_eq!(sample.readings, [reading(0.1, 1010, 1000), reading(0.3, 1010, 1010), None]);
    assert!(sample.sequence > before);
    assert!(!poses().read_joints(&mut sample), "no input of joint states");
}

#[test]
fn a_joint_in_messages_of_two_publishers_is_reported() {
    let inputs = ready();
    for i in 1..20 {
        inputs.offer(JOINTS, joints(ms(1000 + 10 * i), &[0.1, 0.2]), ms(1000 + 10 * i)).expect("both joints");
        inputs
            .offer(JOINTS, joints_named(ms(1005 + 10 * i), &["elbow"], &[0.9]), ms(1005 + 10 * i))
            .expect("the elbow");
    }
    assert_eq!(inputs.statistics(ms(1200))[JOINTS].shared_joints, ["elbow"]);
}

#[test]
fn joints_ahead_of_a_lagging_clock_are_taken_up_once_the_clock_is_there() {
    let inputs = ready();
    inputs.offer(JOINTS, joints(ms(1090), &[0.5, 0.6]), ms(1050)).expect("a good message");
    offer_cameras(&inputs, 1060);
    assert_eq!(words(inputs.assemble(ms(1062), &rules())), ["joints future"]);
    let observation = inputs.assemble(ms(1070), &rules()).expect("reached within the tolerance");
    assert_eq!(positions(&observation)[..2], [Some(0.5), Some(0.6)]);
    let joints = &inputs.statistics(ms(1070))[JOINTS];
    assert_eq!((joints.received, joints.used, joints.overwritten, joints.future), (2, 1, 1, 0));
}

#[test]
fn a_joint_driver_whose_clock_was_set_back_is_followed_again() {
    let inputs = ready();
    for i in 0..5 {
        inputs.offer(JOINTS, joints(ms(500 + i), &[0.5, 0.6]), ms(1005 + i)).expect("a good message");
    }
    let mut sample = JointSample::default();
    inputs.read_joints(&mut sample);
    assert_eq!((sample.stamp, inputs.statistics(ms(1010))[JOINTS].restarts), (ms(504), 1));
}
