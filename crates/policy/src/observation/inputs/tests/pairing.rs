//! The state at the time of the pictures, and states of earlier times.

use super::*;
use crate::observation::Pairing;

const POSE: usize = 1;
const ARM: usize = 2;

/// A camera, a pose and the joint `elbow`, which turns without end when `continuous` has it.
fn arm() -> Inputs {
    let all = poses();
    let joints = InputSpec {
        joints: JointNames { read: vec!["elbow".into()], ..JointNames::default() },
        ..inputs().specs()[JOINTS].clone()
    };
    let inputs = Inputs::new(vec![all.specs()[0].clone(), all.specs()[1].clone(), joints]);
    inputs.set_instruction("go");
    inputs
}

fn paired() -> Rules {
    let mut rules = Rules { pairing: Pairing::Frame, max_skew: span(50), ..rules() };
    rules.per_input[TOP] = InputRule::age(span(400), true);
    rules
}

/// The elbow moves at 1 rad/s and the pose at 1 m/s along x, both turned by the time in s.
fn offer_state(inputs: &Inputs, at: i64) {
    let seconds = at as f64 / 1000.0;
    let orientation = [0.0, 0.0, (seconds / 2.0).sin(), (seconds / 2.0).cos()];
    let pose = write::pose_stamped(HeaderView { stamp: ms(at), frame_id: "base" }, [seconds, 0.0, 0.0], orientation);
    inputs.offer(POSE, pose.into(), ms(at)).expect("a good pose");
    inputs.offer(ARM, joints_named(ms(at), &["elbow"], &[seconds]), ms(at)).expect("a good message");
}

/// A moving robot from 0 to 2 s, every 20 ms, whose camera shows what it saw 240 ms ago.
fn moving() -> Inputs {
    let inputs = arm();
    for at in (20..=2000).step_by(20) {
        offer_state(&inputs, at);
    }
    inputs.offer(TOP, image(ms(1765)), ms(2005)).expect("a good image");
    inputs
}

fn elbow(observation: &Observation) -> f64 {
    observation.joints.as_ref().and_then(|joints| joints.get(0)).expect("the elbow").position
}

/// Angle of the pose about z.
fn angle(pose: &Pose) -> f64 {
    2.0 * pose.orientation[2].atan2(pose.orientation[3])
}

#[test]
fn a_moving_robot_is_taken_where_it_was_when_the_late_picture_was_made() {
    let inputs = moving();
    let newest = Rules { pairing: Pairing::Newest, max_skew: span(300), ..paired() };
    let newest = inputs.assemble(ms(2006), &newest).expect("all rules kept");
    assert!((elbow(&newest) - 2.0).abs() < 1e-9, "the newest is 235 ms and so 0.235 rad away from the picture");
    let observation = inputs.assemble(ms(2006), &paired()).expect("all rules kept");
    assert!((elbow(&observation) - 1.765).abs() < 1e-9, "{}", elbow(&observation));
    let pose = observation.poses[0].pose;
    assert!((pose.position[0] - 1.765).abs() < 1e-9 && (angle(&pose) - 1.765).abs() < 1e-9, "{pose:?}");
    let stamps: Vec<Stamp> = observation.identity().map(|(_, stamp)| stamp).collect();
    assert_eq!(
        (observation.stamp, stamps),
        (ms(1765), vec![ms(1765); 3]),
        "all at one time, so nothing is out of step"
    );
    let mut newest = JointSample::default();
    inputs.read_joints(&mut newest);
    assert_eq!(newest.get(0).map(|reading| reading.stamp), Some(ms(2000)), "motion starts at the newest");
}

#[test]
fn the_oldest_required_camera_decides_and_skew_is_between_cameras() {
    let wrist = InputSpec { name: "wrist".into(), topics: vec!["/wrist".into()], ..arm().specs()[0].clone() };
    let mut specs = arm().specs().to_vec();
    specs.push(wrist);
    let inputs = Inputs::new(specs);
    inputs.set_instruction("go");
    (20..=2000).step_by(20).for_each(|at| offer_state(&inputs, at));
    inputs.offer(TOP, image(ms(1760)), ms(2005)).expect("a good image");
    inputs.offer(3, image(ms(1800)), ms(2005)).expect("a good image");
    let mut rules = paired();
    rules.per_input[3] = InputRule::age(span(400), true);
    assert!((elbow(&inputs.assemble(ms(2006), &rules).expect("40 ms apart")) - 1.76).abs() < 1e-9);
    rules.max_skew = span(30);
    assert_eq!(words(inputs.assemble(ms(2006), &rules)), ["top skewed"]);
    // An optional camera that is behind does not take the state with it.
    rules.per_input[TOP].required = false;
    assert!((elbow(&inputs.assemble(ms(2006), &rules).expect("tolerated")) - 1.8).abs() < 1e-9);
}

#[test]
fn a_picture_newer_than_the_newest_state_takes_that_within_its_age() {
    let inputs = arm();
    (20..=1000).step_by(20).for_each(|at| offer_state(&inputs, at));
    inputs.offer(TOP, image(ms(1090)), ms(1091)).expect("a good image");
    let observation = inputs.assemble(ms(1092), &paired()).expect("90 ms, at most 100");
    assert!((elbow(&observation) - 1.0).abs() < 1e-9);
    inputs.offer(TOP, image(ms(1101)), ms(1101)).expect("a good image");
    let mut rules = paired();
    rules.per_input[POSE].max_age = span(200);
    assert_eq!(words(inputs.assemble(ms(1101), &rules)), ["joints stopped"]);
}

#[test]
fn a_picture_from_before_the_history_and_one_in_a_gap_are_refused_with_figures() {
    let inputs = arm();
    (1800..=2000).step_by(20).for_each(|at| offer_state(&inputs, at));
    inputs.offer(TOP, image(ms(1765)), ms(2005)).expect("a good image");
    let violation = inputs.assemble(ms(2006), &paired()).expect_err("before the first state");
    assert_eq!(words(Err(violation.clone())), ["left short", "joints short"]);
    assert!(violation.is_of_start(), "it may come yet");
    let joints = &violation.breaches[1];
    assert_eq!((joints.expected(), joints.found()), (Some(span(241)), Some(span(206))), "{violation}");
    assert!(joints.to_string().contains("`elbow`"), "{joints}");

    let inputs = arm();
    for at in (20..=1700).step_by(20).chain((1840..=2000).step_by(20)) {
        offer_state(&inputs, at);
    }
    inputs.offer(TOP, image(ms(1765)), ms(2005)).expect("a good image");
    let violation = inputs.assemble(ms(2006), &paired()).expect_err("140 ms without a state");
    assert_eq!(words(Err(violation.clone())), ["left gap", "joints gap"]);
    assert_eq!((violation.breaches[1].expected(), violation.breaches[1].found()), (Some(span(100)), Some(span(140))));
    assert!(!violation.is_of_start());
    assert_eq!(words(inputs.check(ms(2006), &paired()).map(|()| Observation::default())), ["left gap", "joints gap"]);
}

#[test]
fn an_optional_state_bridges_any_gap_and_yet_nothing_stands_in_for_its_absence() {
    let optional = || {
        let mut rules = paired();
        rules.per_input[POSE].required = false;
        rules.per_input[ARM].required = false;
        rules
    };
    let inputs = arm();
    [1000, 1900].into_iter().for_each(|at| offer_state(&inputs, at));
    inputs.offer(TOP, image(ms(1765)), ms(2005)).expect("a good image");
    let observation = inputs.assemble(ms(2006), &optional()).expect("interpolated over 900 ms");
    assert!((elbow(&observation) - 1.765).abs() < 1e-9);
    let inputs = arm();
    offer_state(&inputs, 1800);
    inputs.offer(TOP, image(ms(1765)), ms(2005)).expect("a good image");
    let violation = inputs.assemble(ms(2006), &optional()).expect_err("no state of that time");
    let forbidding = words(Err(violation));
    assert_eq!(forbidding, ["left short", "joints short"]);
}

#[test]
fn a_joint_that_turns_without_end_is_interpolated_the_short_way() {
    let inputs = arm();
    for (at, position) in [(1740, 3.1), (1760, 3.14), (1780, -3.10), (2000, -2.7)] {
        inputs.offer(ARM, joints_named(ms(at), &["elbow"], &[position]), ms(at)).expect("a good message");
    }
    let rules = Rules { per_input: vec![InputRule::age(span(400), true); 4], ..paired() };
    inputs.offer(TOP, image(ms(1775)), ms(2000)).expect("a good image");
    let pose = |at| write::pose_stamped(HeaderView { stamp: ms(at), frame_id: "base" }, [0.0; 3], UPRIGHT);
    [1700, 2000].into_iter().for_each(|at| inputs.offer(POSE, pose(at).into(), ms(at)).expect("a good pose"));
    let rules = Rules { continuous: ["elbow".to_owned()].as_slice().into(), ..rules };
    let short = elbow(&inputs.assemble(ms(2001), &rules).expect("all rules kept"));
    let expected = -3.10 - 0.25 * (std::f64::consts::TAU - 6.24);
    assert!((short - expected).abs() < 1e-9, "{short}");
    let rules = Rules { continuous: Vec::new().into(), ..rules };
    let long = elbow(&inputs.assemble(ms(2001), &rules).expect("all rules kept"));
    assert!((long - (3.14 - 0.75 * 6.24)).abs() < 1e-9, "{long}");
}

#[test]
fn earlier_states_are_taken_from_the_time_of_the_state_by_control_steps() {
    let inputs = moving();
    let history = vec![span(300), span(20)];
    for (pairing, now) in [(Pairing::Newest, 2.0), (Pairing::Frame, 1.765)] {
        let rules = Rules { pairing, state_history: history.clone(), max_skew: span(300), ..paired() };
        let observation = inputs.assemble(ms(2006), &rules).expect("all rules kept");
        assert!((elbow(&observation) - now).abs() < 1e-9);
        let earlier: Vec<f64> = observation
            .history
            .iter()
            .map(|state| {
                let joints = state.joints.as_ref().expect("joints");
                let position = joints.get(0).expect("the elbow").position;
                assert!((state.poses[0].pose.position[0] - position).abs() < 1e-9);
                position
            })
            .collect();
        assert!((earlier[0] - (now - 0.3)).abs() < 1e-9 && (earlier[1] - (now - 0.02)).abs() < 1e-9, "{earlier:?}");
    }
    let rules = Rules { state_history: vec![span(2100)], max_skew: span(300), ..paired() };
    assert_eq!(words(inputs.assemble(ms(2006), &rules)), ["left short", "joints short"]);
}

#[test]
fn a_clock_that_went_back_leaves_no_state_of_before() {
    let inputs = moving();
    inputs.offer(TOP, image(ms(100)), ms(110)).expect("a good image");
    for at in [95, 105] {
        offer_state(&inputs, at);
    }
    assert_eq!(words(inputs.assemble(ms(111), &paired())), ["clock went back"]);
    assert!((elbow(&inputs.assemble(ms(112), &paired()).expect("of the new run")) - 0.1).abs() < 1e-9);
    inputs.offer(TOP, image(ms(90)), ms(113)).expect("a late image");
    let rules = Rules { state_history: vec![span(20)], ..paired() };
    assert_eq!(words(inputs.assemble(ms(114), &rules)), ["left short", "joints short"]);
}
