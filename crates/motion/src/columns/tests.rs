//! The base and the end effector between chunks.

use super::*;
use vla_base::time::Span;

const MAX: f64 = 0.5;
const ACCELERATION: f64 = 2.0;

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(1_000_000_000 + ms * 1_000_000)
}

fn base() -> ColumnMotion {
    let kind = ColumnKind::Velocity { max: vec![MAX], max_acceleration: vec![ACCELERATION] };
    let group = ColumnGroup { name: "base".to_owned(), columns: vec!["base.0".to_owned()], kind };
    ColumnMotion::new([group].into())
}

/// Twenty rows of one value, 50 ms apart, observed at 1 s.
fn rows(value: f32) -> Chunk {
    Chunk {
        names: ["base.0".to_owned()].into(),
        poses: std::iter::once(0..1).collect(),
        rows: 20,
        values: vec![value; 20],
        observation_stamp: at(0),
        step: Span::from_millis(50.0),
        ..Chunk::default()
    }
}

fn planned(motion: &mut ColumnMotion, chunk: &Chunk, now: Stamp) {
    motion.read(chunk).expect("rows");
    motion.plan_chunk(chunk, now, None, &MotionSettings::default());
}

fn value(motion: &ColumnMotion, ms: i64) -> f64 {
    let mut value = [f64::NAN];
    assert!(motion.plan().expect("a plan").sample(0, at(ms), &mut value), "at {ms} ms");
    value[0]
}

/// Every 5 ms between two times.
fn values(motion: &ColumnMotion, from: i64, to: i64) -> Vec<f64> {
    (from..=to).step_by(5).map(|ms| value(motion, ms)).collect()
}

#[test]
fn a_velocity_keeps_its_limits_and_every_plan_ends_at_zero_within_max_blind() {
    let mut motion = base();
    planned(&mut motion, &rows(9.0), at(40));
    let plan = motion.plan().expect("a plan");
    assert!(plan.end() <= at(540) && plan.end() > at(500), "{}", plan.end());
    let values = values(&motion, 40, 700);
    assert_eq!((values.first(), values.last()), (Some(&0.0), Some(&0.0)));
    assert!(values.iter().all(|value| value.abs() <= MAX + 1e-9));
    assert!(values.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= ACCELERATION * 0.005 + 1e-9), "{values:?}");
    assert!(values.iter().any(|value| *value > 0.45), "as fast as it can still stop in time");
}

#[test]
fn a_velocity_that_cannot_stop_in_time_is_kept_slower() {
    let kind = ColumnKind::Velocity { max: vec![5.0], max_acceleration: vec![1.0] };
    let group = ColumnGroup { name: "base".to_owned(), columns: vec!["base.0".to_owned()], kind };
    let mut motion = ColumnMotion::new([group].into());
    planned(&mut motion, &rows(5.0), at(0));
    assert!(values(&motion, 0, 600).iter().all(|value| *value <= 0.25 + 1e-9));
    assert!(motion.plan().expect("a plan").end() <= at(500));
}

#[test]
fn rows_are_followed_at_their_due_times_and_between_them_on_the_line() {
    let mut motion = base();
    let ramp = Chunk { values: (1..=20).map(|row| row as f32 * 0.01).collect(), ..rows(0.0) };
    motion.read(&ramp).expect("rows");
    let settings =
        MotionSettings { blend: Span::ZERO, max_blind: Span::from_seconds(2.0), ..MotionSettings::default() };
    motion.plan_chunk(&ramp, at(0), None, &settings);
    // Rows 1 and 2 are due at 100 and 150 ms.
    for (ms, expected) in [(100, 0.02), (125, 0.025), (150, 0.03), (160, 0.032)] {
        assert!((value(&motion, ms) - expected).abs() < 1e-6, "{ms}");
    }
}

#[test]
fn a_chunk_takes_over_where_the_one_before_is_and_blends() {
    let mut motion = base();
    planned(&mut motion, &rows(0.4), at(0));
    let before = value(&motion, 320);
    let next = Chunk { observation_stamp: at(300), ..rows(-0.4) };
    planned(&mut motion, &next, at(300));
    assert_eq!(value(&motion, 320), before, "both plans are the same at the hand-over");
    let values = values(&motion, 300, 900);
    assert!(values.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= ACCELERATION * 0.005 + 1e-9));
    assert!(values.iter().any(|value| *value < -0.29), "{values:?}");
}

#[test]
fn a_hold_brakes_within_the_acceleration_and_a_robot_at_rest_has_none() {
    let mut motion = base();
    assert!(!motion.hold(at(0)));
    planned(&mut motion, &rows(0.4), at(0));
    let before = value(&motion, 310);
    assert!(motion.hold(at(300)) && before > 0.35);
    let plan = motion.plan().expect("a plan");
    assert!(plan.end() <= at(320 + 210), "0.4 at 2 a second: {}", plan.end());
    let values = values(&motion, 300, 600);
    assert!(values.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "never faster");
    assert!(values.windows(2).all(|pair| pair[0] - pair[1] <= ACCELERATION * 0.005 + 1e-9));
    assert_eq!(values.last(), Some(&0.0));
    assert!(!motion.hold(at(900)));
}

#[test]
fn a_clock_that_is_set_back_brakes_on_the_new_clock() {
    let mut motion = base();
    planned(&mut motion, &rows(0.4), at(0));
    let before = value(&motion, 300);
    motion.set_back(at(300), at(-700));
    assert!((value(&motion, -700) - before).abs() < 1e-9);
    assert_eq!(value(&motion, -400), 0.0);
}

#[test]
fn a_pose_starts_at_its_own_row_and_stays_where_it_is_at_the_end_and_in_a_hold() {
    let columns: Vec<String> = ["x", "y", "z", "rx", "ry", "rz"].iter().map(|name| format!("tool.{name}")).collect();
    let kind = ColumnKind::Pose(PoseColumns::of_names(&columns).expect("a layout"));
    let group = ColumnGroup { name: "tool".to_owned(), columns: columns.clone(), kind };
    let mut motion = ColumnMotion::new([group].into());
    let values = (1..=20).flat_map(|row| [row as f32 * 0.01, 0.0, 0.3, 0.0, 0.0, row as f32 * 0.1]).collect();
    let chunk = Chunk { names: columns.into(), poses: std::iter::once(0..6).collect(), values, ..rows(0.0) };
    planned(&mut motion, &chunk, at(50));
    let pose = |motion: &ColumnMotion, ms| {
        let mut pose = [f64::NAN; 7];
        assert!(motion.plan().expect("a plan").sample(0, at(ms), &mut pose));
        pose
    };
    let half = pose(&motion, 125);
    assert!((half[0] - 0.025).abs() < 1e-6 && (half[5] - (0.25f64 / 2.0).sin()).abs() < 1e-6, "{half:?}");
    assert!(motion.hold(at(200)));
    let held = pose(&motion, 220);
    assert_eq!((pose(&motion, 400), pose(&motion, 9000)), (held, held));
    let mut wrong = chunk.clone();
    wrong.names = ["other".to_owned()].into();
    assert!(matches!(motion.read(&wrong), Err(Error::NoColumn { .. })));
}
