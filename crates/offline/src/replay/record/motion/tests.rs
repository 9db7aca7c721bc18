//! Motion that is made as in a session.

use super::*;
use vla_base::time::Span;
use vla_motion::{Chunk, Motion, MotionSettings, NewChunk};

const LIMITS: JointLimits = JointLimits {
    min: -1.0,
    max: 1.0,
    velocity: 0.5,
    acceleration: 4.0,
    jerk: f64::INFINITY,
    tracking_error: None,
    kind: vla_motion::JointKind::Revolute,
};

fn at(seconds: f64) -> Stamp {
    Stamp::default() + Span::from_seconds(100.0 + seconds)
}

fn seconds(stamp: Stamp) -> f64 {
    (stamp - at(0.0)).seconds()
}

struct Robot {
    motion: Motion,
    settings: MotionSettings,
    record: MotionRecord,
}

impl Robot {
    fn new() -> Self {
        let names = ["a".to_owned()];
        let limits = MotionLimits::new(&names, [("a", LIMITS)]).expect("limits");
        let record = MotionRecord::new(&names, &limits);
        let mut motion = Motion::new(names.as_slice().into());
        motion.set_limits(limits);
        let settings = MotionSettings { max_blind: Span::from_seconds(1.0), ..MotionSettings::default() };
        Self { motion, settings, record }
    }

    /// Ten rows 50 ms apart that ask for `target`, observed at `now`.
    fn chunk(&mut self, now: f64, target: f32) -> (Option<Jump>, HeldBack) {
        let names: Arc<[String]> = ["a".to_owned()].as_slice().into();
        let (rows, step) = (10, Span::from_millis(50.0));
        let chunk =
            Chunk { names, rows, values: vec![target; rows], observation_stamp: at(now), step, ..Chunk::default() };
        let new = NewChunk { chunk: &chunk, now: at(now), clamped: 0, measured: Some(&[0.0]), frozen: (0, 0) };
        let plan = Arc::clone(self.motion.plan_chunk(&new, &self.settings).expect("a plan"));
        let message = ActionChunkMessage {
            names: vec!["a".to_owned()],
            horizon: rows as u32,
            values: chunk.values,
            start: at(now) + step,
            step,
            ..ActionChunkMessage::default()
        };
        let counts = self.motion.counts().clone();
        self.record.hand_over(&plan, &message, &counts, &seconds)
    }
}

fn greatest(trace: &Trace) -> f64 {
    let (low, high) = trace.range().expect("samples");
    high.max(-low)
}

#[test]
fn the_joined_trajectory_is_gapless_keeps_the_limits_and_shows_where_they_held_back() {
    let mut robot = Robot::new();
    assert_eq!(robot.chunk(0.0, 0.3).0, None, "the first takes over from rest");
    let (jump, held) = robot.chunk(0.2, -0.3);
    let jump = jump.expect("a motion before");
    assert!(jump.distance < -0.3 && (jump.seconds - jump.distance.abs() / 0.5).abs() < 1e-9, "{jump:?}");
    assert!(held.total > 0 && held.to_string().contains("a by its velocity limit"), "{held}");
    robot.record.finish(None, &seconds);

    let joint = &robot.record.joints[0];
    let points = joint.position.points();
    assert!(points.iter().all(|[_, y]| y.is_finite()), "gapless");
    assert!(points.windows(2).all(|pair| (pair[1][0] - pair[0][0] - 0.01).abs() < 1e-6), "every sample once");
    let (speed, acceleration) = (greatest(&joint.velocity), greatest(&joint.acceleration));
    assert!((0.4..=0.5 + 1e-9).contains(&speed), "{speed}");
    assert!((3.0..=4.0 * (1.0 + 1e-6)).contains(&acceleration), "{acceleration}");
    assert_eq!((joint.met.len(), robot.record.hand_overs.len()), (2, 2));
    assert!(joint.held_back[1] > 0, "{:?}", joint.held_back);
    assert_eq!(robot.record.stops, []);
}

#[test]
fn a_plan_without_a_successor_is_a_stop_and_motion_begins_anew_with_a_gap() {
    let mut robot = Robot::new();
    robot.chunk(0.0, 0.1);
    robot.chunk(5.0, 0.1);
    let [stop] = &robot.record.stops[..] else { panic!("one stop: {:?}", robot.record.stops) };
    assert!(stop.at <= stop.rest && stop.rest < 1.0, "{stop:?}");
    assert!(robot.record.joints[0].position.points().iter().all(|[_, y]| y.is_finite()), "the gap is not closed yet");
    robot.record.finish(Some(at(5.1)), &seconds);
    assert_eq!(robot.record.joints[0].position.points().iter().filter(|[_, y]| y.is_nan()).count(), 1);
    assert_eq!(robot.record.stops.len(), 1, "the last plan still had rows");
}

#[test]
fn a_session_that_starts_again_leaves_a_gap_and_no_stop() {
    let mut robot = Robot::new();
    robot.chunk(0.0, 0.3);
    let held = robot.record.joints[0].held_back;
    robot.record.restart(Some(at(0.2)), &seconds);
    let first = std::mem::take(&mut robot.record);
    let mut again = Robot { record: first, ..Robot::new() };
    again.chunk(10.0, 0.3);
    again.record.finish(Some(at(10.2)), &seconds);
    let joint = &again.record.joints[0];
    assert_eq!(again.record.stops, [], "the rows had not run out at the last cycle");
    assert_eq!(joint.position.points().iter().filter(|[_, y]| y.is_nan()).count(), 1);
    assert_eq!(joint.held_back, held.map(|count| 2 * count), "counts of both");
}

#[test]
fn a_brake_is_a_stop_with_its_reason_and_joins_the_motion() {
    let mut robot = Robot::new();
    robot.chunk(0.0, 0.4);
    let plan = robot.motion.hold(at(0.3), &robot.settings).expect("a stop").cloned().expect("a plan");
    robot.record.stop(&plan, at(0.3), "camera lost", &seconds);
    robot.record.finish(Some(at(2.0)), &seconds);
    let [stop] = &robot.record.stops[..] else { panic!("one stop: {:?}", robot.record.stops) };
    assert!(stop.reason == "camera lost" && (stop.at - 0.3).abs() < 0.02 && stop.rest > stop.at, "{stop:?}");
    let joint = &robot.record.joints[0];
    assert!(joint.position.points().iter().all(|[_, y]| y.is_finite()));
    assert_eq!(joint.velocity.points().last().map(|[_, y]| *y), Some(0.0), "at rest");
    assert!(greatest(&joint.acceleration) <= LIMITS.acceleration * (1.0 + 1e-6));
}

#[test]
fn accelerations_are_those_of_the_cubic() {
    // x = t^3: from (0, 0) to (8, 12) in 2 s, accelerations 6t.
    assert_eq!(accelerations((0.0, 0.0), (8.0, 12.0), 2.0), [0.0, 12.0]);
}
