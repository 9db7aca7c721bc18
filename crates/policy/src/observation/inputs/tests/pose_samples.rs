//! Poses of frames.

use super::*;

fn pose(stamp: Stamp, frame_id: &'static str, orientation: [f64; 4]) -> Bytes {
    write::pose_stamped(HeaderView { stamp, frame_id }, [0.1, 0.2, 0.3], orientation).into()
}

#[test]
fn poses_have_the_rules_of_joints_and_stand_in_the_identity_behind_them() {
    let inputs = poses();
    inputs.offer(0, image(ms(1000)), ms(1001)).expect("a good image");
    assert_eq!(words(inputs.assemble(ms(1002), &rules())), ["left missing", "right missing"]);
    inputs.offer(1, pose(ms(990), "base", UPRIGHT), ms(1001)).expect("a good pose");
    inputs.offer(2, pose(ms(1010), "any", UPRIGHT), ms(1011)).expect("a good pose");
    let observation = inputs.assemble(ms(1012), &rules()).expect("all rules kept");
    assert_eq!((observation.stamp, observation.joints.as_ref()), (ms(990), None));
    let identity: Vec<_> = observation.identity().map(|(name, stamp)| (name.to_string(), stamp)).collect();
    assert_eq!(identity, [("top".into(), ms(1000)), ("left".into(), ms(990)), ("right".into(), ms(1010))]);
    assert_eq!(observation.poses[0].pose, Pose { position: [0.1, 0.2, 0.3], orientation: UPRIGHT });
    assert_eq!(words(inputs.assemble(ms(1095), &rules())), ["left stopped"]);
    inputs.offer(1, pose(ms(990), "base", UPRIGHT), ms(1094)).expect("a good pose");
    assert_eq!(words(inputs.assemble(ms(1095), &rules())), ["left frozen"]);
    inputs.offer(0, image(ms(1090)), ms(1091)).expect("a good image");
    inputs.offer(1, pose(ms(1090), "base", UPRIGHT), ms(1094)).expect("a good pose");
    assert_eq!(words(inputs.assemble(ms(1095), &rules())), ["right stopped"]);
    inputs.offer(2, pose(ms(9000), "any", UPRIGHT), ms(1095)).expect("a good pose");
    let mut wide = rules();
    wide.max_skew = span(1000);
    assert_eq!(words(inputs.assemble(ms(1096), &wide)), ["right future"]);
    wide.per_input[2].required = false;
    assert_eq!(words(inputs.assemble(ms(1096), &wide)), ["(right future)"]);
    let left = &inputs.statistics(ms(1000))[1];
    assert_eq!((&*left.name, left.received, left.used, left.repeated), ("left", 3, 2, 1));
}

#[test]
fn poses_that_are_no_rotation_not_finite_or_of_another_frame_are_refused_with_the_reason_and_counted() {
    let inputs = poses();
    use vla_messages::Error as Message;
    let bad: [(Bytes, IsError); 5] = [
        (pose(ms(1), "base", [0.0; 4]), |error| {
            matches!(error, Error::Message { source: Message::Quaternion { .. }, .. })
        }),
        (pose(ms(1), "base", [f64::NAN, 0.0, 0.0, 1.0]), |error| {
            matches!(error, Error::Message { source: Message::NotFinite { .. }, .. })
        }),
        (
            pose(ms(1), "world", UPRIGHT),
            |error| matches!(error, Error::Frame { expected, found, .. } if expected == "base" && found == "world"),
        ),
        (pose(ms(0), "base", UPRIGHT), |error| matches!(error, Error::Unstamped { .. })),
        (
            joints(ms(1), &[0.0, 0.0]),
            |error| matches!(error, Error::Message { input, topic, .. } if input == "left" && topic == "/left"),
        ),
    ];
    for (i, (bytes, is_expected)) in bad.into_iter().enumerate() {
        let error = inputs.offer(1, bytes, ms(1)).expect_err("refused");
        assert!(is_expected(&error), "{error}");
        let error = error.to_string();
        let statistics = &inputs.statistics(ms(1000))[1];
        assert_eq!((statistics.refused, statistics.last_refusal.as_deref()), (i as u64 + 1, Some(error.as_str())));
    }
    inputs.offer(2, pose(ms(1), "world", UPRIGHT), ms(1)).expect("any frame will do");
}

#[test]
fn an_observation_that_is_reused_keeps_no_joints_and_no_pose_of_other_inputs() {
    let mut observation = ready().assemble(ms(1010), &rules()).expect("all rules kept");
    let extra = PoseSample { name: "old".into(), stamp: ms(1), pose: Pose::default() };
    observation.poses.extend([extra.clone(), extra.clone(), extra]);
    let inputs = poses();
    inputs.offer(0, image(ms(1000)), ms(1001)).expect("a good image");
    for input in [1, 2] {
        inputs.offer(input, pose(ms(1000), "base", UPRIGHT), ms(1001)).expect("a good pose");
    }
    inputs.assemble_into(ms(1010), &rules(), &mut observation).expect("all rules kept");
    assert_eq!(observation, inputs.assemble(ms(1010), &rules()).expect("all rules kept"));
}
