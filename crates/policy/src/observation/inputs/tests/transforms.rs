//! Poses of odometry and of the tree of frames.

use super::*;
use crate::observation::{Fault, Pairing, TransformError, Violation};
use vla_messages::TransformView;

const TF: usize = 1;
const TF_STATIC: usize = 2;

fn spec(name: &str, kind: InputKind, topics: &[&str], frame_id: &str, child_frame_id: &str) -> InputSpec {
    let (frame_id, child_frame_id) = (frame_id.into(), child_frame_id.into());
    InputSpec { frame_id, child_frame_id, ..InputSpec::new(name, kind, topics.iter().copied()) }
}

/// A camera, and the poses of two tools looked up in `base`.
fn tools() -> Inputs {
    let tf = |name, child| spec(name, InputKind::Transform, &["/tf", "/tf_static"], "base", child);
    let inputs = Inputs::new(vec![
        spec("top", InputKind::Camera { transport: Transport::Raw }, &["/top"], "", ""),
        tf("left", "left_tool"),
        tf("right", "right_tool"),
    ]);
    inputs.set_instruction("pick up the cube");
    inputs
}

/// Frames are 100 ms old at most, poses 50 ms, and their skew does not matter.
fn lenient() -> Rules {
    Rules {
        per_input: vec![
            InputRule::age(span(1000), true),
            InputRule::age(span(50), true),
            InputRule::age(span(50), true),
        ],
        max_skew: span(10_000),
        ..rules()
    }
}

fn link<'a>(parent: &'a str, child: &'a str, at: i64, x: f64) -> TransformView<'a> {
    let header = HeaderView { stamp: ms(at), frame_id: parent };
    TransformView { header, child_frame_id: child, translation: [x, 0.0, 0.0], rotation: UPRIGHT }
}

fn send(inputs: &Inputs, topic: usize, at: i64, links: &[TransformView<'_>]) -> Result<(), Error> {
    inputs.offer(topic, write::tf_message(links).into(), ms(at))
}

/// Both arms at `at`, with their tools; a frame of the camera.
fn arms(inputs: &Inputs, at: i64) {
    inputs.offer(0, image(ms(at)), ms(at)).expect("a good image");
    send(inputs, TF, at, &[link("base", "left_hand", at, 0.001 * at as f64), link("base", "right_hand", at, 2.0)])
        .expect("good transforms");
}

fn mounts(inputs: &Inputs) {
    let tools = [link("left_hand", "left_tool", 0, 0.1), link("right_hand", "right_tool", 0, 0.1)];
    send(inputs, TF_STATIC, 900, &tools).expect("good transforms");
}

fn faults(inputs: &Inputs, now: i64) -> Vec<(String, Fault)> {
    let Err(Violation { breaches, .. }) = inputs.check(ms(now), &lenient()) else { return Vec::new() };
    breaches.into_iter().map(|breach| (breach.input.to_string(), breach.fault)).collect()
}

fn words(inputs: &Inputs, now: i64) -> String {
    inputs.check(ms(now), &lenient()).map_or_else(|violation| violation.to_string(), |()| String::new())
}

#[test]
fn one_topic_of_transforms_serves_every_pose_and_the_newest_common_time_is_the_stamp() {
    let inputs = tools();
    let topics: Vec<_> = inputs.topics().iter().map(|t| (t.name.to_string(), t.is_static, t.inputs.clone())).collect();
    let expected = [("/top", false, vec![0]), ("/tf", false, vec![1, 2]), ("/tf_static", true, vec![1, 2])];
    assert_eq!(topics, expected.map(|(name, is_static, inputs)| (name.to_owned(), is_static, inputs)));
    mounts(&inputs);
    arms(&inputs, 1000);
    send(&inputs, TF, 1020, &[link("base", "left_hand", 1020, 1.02)]).expect("a good transform");
    let observation = inputs.assemble(ms(1030), &lenient()).expect("fresh");
    let found: Vec<_> = observation.poses.iter().map(|pose| (&*pose.name, pose.stamp, pose.pose.position[0])).collect();
    assert_eq!(found, [("left", ms(1020), 1.02 + 0.1), ("right", ms(1000), 2.0 + 0.1)]);
    let statistics = inputs.statistics(ms(1030));
    assert_eq!((statistics[1].received, statistics[1].used, statistics[2].received), (2, 1, 1));
}

#[test]
fn a_frame_that_no_message_names_is_missing_by_name() {
    let inputs = tools();
    arms(&inputs, 1000);
    assert_eq!(faults(&inputs, 1010), [("left".to_owned(), Fault::Missing), ("right".to_owned(), Fault::Missing)]);
    let words = words(&inputs, 1010);
    assert!(words.contains("no transform names the frame `left_tool` (3 frames are known)"), "{words}");
    assert!(inputs.check(ms(1010), &lenient()).expect_err("missing").is_of_start());
    mounts(&inputs);
    assert_eq!(faults(&inputs, 1010), []);
}

#[test]
fn frames_of_two_trees_are_disconnected_with_both_roots_and_so_is_a_loop() {
    let inputs = tools();
    mounts(&inputs);
    inputs.offer(0, image(ms(1000)), ms(1000)).expect("a good image");
    let map =
        [link("map", "left_hand", 1000, 0.0), link("world", "base", 1000, 0.0), link("base", "right_hand", 1000, 0.0)];
    send(&inputs, TF, 1000, &map).expect("good transforms");
    assert_eq!(faults(&inputs, 1010), [("left".to_owned(), Fault::Disconnected)]);
    let shown = words(&inputs, 1010);
    assert!(shown.contains("`left_tool` is in the tree of `map`, `base` in that of `world`"), "{shown}");
    let round = [link("left_tool", "map", 1020, 0.0), link("base", "right_hand", 1020, 0.0)];
    send(&inputs, TF, 1020, &round).expect("good transforms");
    assert_eq!(faults(&inputs, 1030), [("left".to_owned(), Fault::Disconnected)]);
    assert!(words(&inputs, 1030).contains("form a loop"));
}

#[test]
fn a_link_that_is_cut_while_the_robot_works_is_disconnected_once_the_last_pose_is_old() {
    let inputs = tools();
    mounts(&inputs);
    arms(&inputs, 1000);
    send(&inputs, TF, 1010, &[link("island", "left_hand", 1010, 0.0)]).expect("a good transform");
    assert_eq!(faults(&inputs, 1050), [], "the pose of 1000 is still good");
    arms(&inputs, 1060);
    send(&inputs, TF, 1070, &[link("island", "left_hand", 1070, 0.0)]).expect("a good transform");
    send(&inputs, TF, 1120, &[link("base", "right_hand", 1120, 0.0)]).expect("a good transform");
    assert_eq!(faults(&inputs, 1120), [("left".to_owned(), Fault::Disconnected)]);
}

#[test]
fn a_chain_with_an_old_link_has_stopped_and_the_link_is_named() {
    let inputs = tools();
    mounts(&inputs);
    arms(&inputs, 1000);
    for at in [1040, 1080, 1120, 1200] {
        send(&inputs, TF, at, &[link("base", "right_hand", at, 2.0)]).expect("a good transform");
    }
    let found = faults(&inputs, 1210);
    assert_eq!(found, [("left".to_owned(), Fault::Stopped { age: span(210), limit: span(50) })]);
    let words = words(&inputs, 1210);
    assert!(words.contains("left stopped: no transform for 210 ms (at most 50 ms) of `left_hand`"), "{words}");
}

#[test]
fn a_chain_of_static_transforms_has_no_time() {
    let inputs = tools();
    mounts(&inputs);
    let still = [link("base", "left_hand", 0, 0.0), link("base", "right_hand", 0, 0.0)];
    send(&inputs, TF_STATIC, 1000, &still).expect("good transforms");
    inputs.offer(0, image(ms(1000)), ms(1000)).expect("a good image");
    assert_eq!(faults(&inputs, 1010).len(), 2);
    assert!(words(&inputs, 1010).contains("every transform between the two frames is static"));
}

#[test]
fn a_transform_that_is_none_is_refused_for_the_poses_that_it_concerns() {
    let inputs = tools();
    mounts(&inputs);
    arms(&inputs, 1000);
    let no_rotation = TransformView { rotation: [0.0; 4], ..link("base", "left_hand", 1010, 0.0) };
    let good = link("base", "right_hand", 1010, 3.0);
    let error = send(&inputs, TF, 1010, &[no_rotation, good]).expect_err("refused");
    assert!(matches!(error, Error::Transform { source: TransformError::Message(_), .. }), "{error}");
    let statistics = inputs.statistics(ms(1010));
    assert_eq!((statistics[1].refused, statistics[2].refused), (1, 0));
    assert_eq!(statistics[2].last_stamp, Some(ms(1010)), "the others of the message are used");
    let error = send(&inputs, TF, 1010, &[link("base", "left_hand", 0, 0.0)]).expect_err("refused");
    assert!(matches!(error, Error::Transform { source: TransformError::Unstamped { .. }, .. }), "{error}");
    let error = send(&inputs, TF, 1010, &[link("base", "left_hand", 5000, 0.0)]).expect_err("refused");
    assert!(matches!(error, Error::Transform { source: TransformError::Link(_), .. }), "{error}");
    assert_eq!(inputs.statistics(ms(1010))[1].last_stamp, Some(ms(1000)));
    let cut = inputs.offer(TF, Bytes::from_static(&[0, 1, 0, 0, 9]), ms(1010)).expect_err("refused");
    assert!(matches!(cut, Error::Transform { .. }), "{cut}");
    assert_eq!(inputs.statistics(ms(1010)).iter().map(|s| s.refused).collect::<Vec<_>>(), [0, 4, 1]);
}

#[test]
fn when_the_clock_went_back_the_tree_begins_again_with_its_static_transforms() {
    let inputs = tools();
    mounts(&inputs);
    arms(&inputs, 5000);
    inputs.assemble(ms(5010), &lenient()).expect("fresh");
    arms(&inputs, 1000);
    let violation = inputs.assemble(ms(1010), &lenient()).expect_err("the clock went back, once");
    assert!(matches!(violation.breaches[0].fault, Fault::ClockWentBack { .. }), "{violation}");
    let observation = inputs.assemble(ms(1020), &lenient()).expect("fresh");
    assert_eq!(observation.poses.iter().map(|pose| pose.stamp).collect::<Vec<_>>(), [ms(1000), ms(1000)]);
}

#[test]
fn odometry_is_the_pose_of_its_child_frame() {
    let inputs = Inputs::new(vec![
        spec("top", InputKind::Camera { transport: Transport::Raw }, &["/top"], "", ""),
        spec("base", InputKind::Odometry, &["/odom"], "odom", "base_link"),
    ]);
    inputs.set_instruction("drive");
    inputs.offer(0, image(ms(1000)), ms(1000)).expect("a good image");
    let message = |frame_id, child| {
        let header = HeaderView { stamp: ms(1000), frame_id };
        Bytes::from(write::odometry(header, child, [1.0, 2.0, 0.0], UPRIGHT))
    };
    let error = inputs.offer(1, message("map", "base_link"), ms(1000)).expect_err("another frame");
    assert!(matches!(&error, Error::Frame { found, .. } if found == "map"), "{error}");
    let error = inputs.offer(1, message("odom", "imu"), ms(1000)).expect_err("another child");
    assert!(matches!(&error, Error::ChildFrame { found, .. } if found == "imu"), "{error}");
    inputs.offer(1, message("odom", "base_link"), ms(1000)).expect("good odometry");
    let observation = inputs.assemble(ms(1010), &lenient()).expect("fresh");
    assert_eq!(observation.poses[0].pose, Pose { position: [1.0, 2.0, 0.0], orientation: UPRIGHT });
}

/// Base and arm turn and drive at once: between two poses of the tool, the transforms themselves are interpolated.
#[test]
fn at_the_time_of_the_frame_transforms_are_looked_up_as_tf2_does() {
    let inputs = tools();
    mounts(&inputs);
    let turned = |at: i64, angle: f64| TransformView {
        rotation: [0.0, 0.0, (angle / 2.0).sin(), (angle / 2.0).cos()],
        ..link("base", "left_hand", at, 1.0)
    };
    for (at, angle) in [(1000, 0.0), (1040, 1.2)] {
        send(&inputs, TF, at, &[turned(at, angle), link("base", "right_hand", at, 2.0)]).expect("good transforms");
    }
    inputs.offer(0, image(ms(1010)), ms(1040)).expect("a good image");
    let paired = Rules { pairing: Pairing::Frame, ..lenient() };
    let observation = inputs.assemble(ms(1045), &paired).expect("fresh");
    // A quarter of the way: the tool is 0.1 m ahead of the hand, on a circle and not on its chord.
    let (pose, angle) = (&observation.poses[0], 0.3_f64);
    assert_eq!(pose.stamp, ms(1010));
    let expected = [1.0 + 0.1 * angle.cos(), 0.1 * angle.sin(), 0.0];
    assert!(
        pose.pose.position.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
        "{pose:?}"
    );
}
