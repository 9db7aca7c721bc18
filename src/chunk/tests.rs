//! The chunk as a whole, and its messages.

use proptest::prelude::*;

use super::*;
use crate::message::{ActionChunkMessage, JointTrajectoryMessage};

/// Rows of these joints observed at 1 s, 20 ms apart.
pub(super) fn chunk(names: &[&str], values: &[f32]) -> Chunk {
    Chunk {
        names: names.iter().map(ToString::to_string).collect(),
        poses: Arc::default(),
        rows: values.len() / names.len(),
        values: values.to_vec(),
        observation_stamp: Stamp::from_nanos(1_000_000_000),
        inputs: vec![
            ("top".into(), Stamp::from_nanos(1_000_000_000)),
            ("joints".into(), Stamp::from_nanos(1_010_000_000)),
        ],
        seed: 7,
        step: Span::from_nanos(20_000_000),
    }
}

fn ms(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn trajectory(chunk: &Chunk, now: Stamp) -> JointTrajectoryMessage {
    let scheduled = schedule(chunk, now).expect("some rows in time");
    TrajectoryBuffer::default().fill(chunk, &scheduled).expect("a whole chunk").clone()
}

#[test]
fn nan_and_infinity_are_refused_by_row_and_joint() {
    let mut chunk = chunk(&["a", "b"], &[0.0, 1.0, 2.0, f32::NAN]);
    let error = finite(&chunk).expect_err("a NaN");
    assert_eq!(
        error.to_string(),
        "chunk: row 1, joint `b`: expected a finite position, found NaN; the chunk is not published"
    );
    chunk.values[3] = f32::INFINITY;
    assert!(matches!(finite(&chunk), Err(Error::NotFinite { row: 1, .. })));
    chunk.values[3] = 3.0;
    assert_eq!(finite(&chunk), Ok(()));
}

#[test]
fn a_chunk_whose_values_do_not_fill_it_is_refused_everywhere() {
    let mut chunk = chunk(&["a", "b"], &[0.0; 4]);
    chunk.values.pop();
    let shape = Error::Shape { rows: 2, joints: 2, values: 3 };
    assert_eq!(finite(&chunk), Err(shape.clone()));
    assert_eq!(schedule(&chunk, ms(0)), Err(shape));
}

#[test]
fn rows_are_due_one_step_after_the_observation_and_a_step_apart() {
    let chunk = chunk(&["a"], &[0.0, 1.0]);
    assert_eq!((chunk.due(0), chunk.due(1)), (ms(1020), ms(1040)));
    assert_eq!((chunk.row(1), chunk.row(2)), (Some(&[1.0][..]), None));
}

#[test]
fn an_action_chunk_has_every_row_and_counts_the_late_ones() {
    let chunk = chunk(&["a", "b"], &[0.0, 1.0, 2.0, 3.0]);
    let scheduled = schedule(&chunk, ms(1025)).expect("one row in time");
    let publication = Publication {
        sequence: 3,
        frame_id: "",
        inference_latency: Span::from_nanos(5),
        policy_fingerprint: "sha256:00",
    };
    let mut message = ActionChunkMessage::default();
    action_chunk_message(&chunk, &scheduled, &publication, &mut message).expect("a whole chunk");
    let expected = ActionChunkMessage {
        stamp: ms(1000),
        frame_id: String::new(),
        sequence: 3,
        input_names: vec!["top".into(), "joints".into()],
        input_stamps: vec![ms(1000), ms(1010)],
        start: ms(1020),
        step: Span::from_nanos(20_000_000),
        names: vec!["a".into(), "b".into()],
        horizon: 2,
        values: vec![0.0, 1.0, 2.0, 3.0],
        late_rows: 1,
        inference_latency: Span::from_nanos(5),
        seed: 7,
        policy_fingerprint: "sha256:00".into(),
    };
    assert_eq!(message, expected);
    action_chunk_message(&chunk, &scheduled, &publication, &mut message).expect("again");
    assert_eq!(message, expected, "a reused message keeps nothing of the one before");
}

#[test]
fn a_trajectory_drops_late_rows_and_counts_time_from_its_header() {
    let trajectory = trajectory(&chunk(&["a"], &[0.0, 1.0, 2.0, 4.0]), ms(1025));
    assert_eq!((trajectory.stamp, trajectory.joint_names), (ms(1025), vec!["a".to_owned()]));
    let points: Vec<_> = trajectory.points.iter().map(|p| (p.positions[0], p.time_from_start.millis())).collect();
    assert_eq!(points, [(1.0, 15.0), (2.0, 35.0), (4.0, 55.0)]);
}

#[test]
fn velocities_are_central_differences_over_dropped_rows_too_and_the_last_is_zero() {
    let chunk = chunk(&["a"], &[0.0, 1.0, 2.0, 4.0]);
    let velocity = |now| -> Vec<f64> { trajectory(&chunk, now).points.iter().map(|p| p.velocities[0]).collect() };
    assert_eq!(velocity(ms(1000)), [50.0, 50.0, 75.0, 0.0]);
    assert_eq!(velocity(ms(1025)), [50.0, 75.0, 0.0]);
    assert_eq!(velocity(ms(1065)), [0.0]);
}

#[test]
fn pose_columns_are_in_the_action_chunk_and_in_no_trajectory() {
    let mut chunk = chunk(&["a", "eef.x", "eef.y", "b"], &[0.0, 7.0, 8.0, 1.0, 0.5, 7.5, 8.5, 3.0]);
    chunk.poses = std::iter::once(1..3).collect();
    let trajectory = trajectory(&chunk, ms(1000));
    assert_eq!(trajectory.joint_names, ["a", "b"]);
    let points: Vec<_> = trajectory.points.iter().map(|p| (p.positions.clone(), p.velocities.clone())).collect();
    assert_eq!(points, [(vec![0.0, 1.0], vec![25.0, 100.0]), (vec![0.5, 3.0], vec![0.0, 0.0])]);
    let scheduled = schedule(&chunk, ms(1000)).expect("in time");
    let publication =
        Publication { sequence: 1, frame_id: "base", inference_latency: Span::ZERO, policy_fingerprint: "" };
    let mut message = ActionChunkMessage::default();
    action_chunk_message(&chunk, &scheduled, &publication, &mut message).expect("a whole chunk");
    assert_eq!((message.names.as_slice(), &message.values), (&*chunk.names, &chunk.values));
}

#[test]
fn a_longer_trajectory_after_a_shorter_one_keeps_nothing_of_it() {
    let chunk = chunk(&["a"], &[0.0, 1.0, 2.0, 4.0]);
    let mut buffer = TrajectoryBuffer::default();
    for now in [1000, 1065, 1025, 1000] {
        let scheduled = schedule(&chunk, ms(now)).expect("in time");
        assert_eq!(buffer.fill(&chunk, &scheduled).expect("whole"), &trajectory(&chunk, ms(now)));
    }
}

#[test]
fn a_stop_is_the_current_position_at_rest() {
    let names = ["a".to_owned(), "b".to_owned()];
    let stop = stop_trajectory(&names, &[0.5, -0.5], ms(1000)).expect("known positions");
    assert_eq!((stop.stamp, &stop.joint_names[..], stop.points.len()), (ms(1000), &names[..], 1));
    let point = &stop.points[0];
    assert_eq!((&point.positions[..], &point.velocities[..]), (&[0.5, -0.5][..], &[0.0, 0.0][..]));
    assert!(point.time_from_start > Span::ZERO);
}

#[test]
fn a_stop_without_every_position_is_refused_by_joint() {
    let names = ["a".to_owned(), "b".to_owned()];
    let error = stop_trajectory(&names, &[0.5], ms(1000)).expect_err("b has no position");
    assert_eq!(error.to_string(), "stop: joint `b`: expected its current position, found none");
    assert!(stop_trajectory(&names, &[0.5, f64::NAN], ms(1000)).is_err());
}

proptest! {
    /// What joint_trajectory_controller demands of any chunk and any time of publication.
    #[test]
    fn trajectories_are_valid_for_the_controller(
        values in prop::collection::vec(-3.0f32..3.0, 1..50),
        step in 1i64..50_000_000,
        late in 0i64..2_000_000_000,
    ) {
        let rows = values.len() / 2;
        prop_assume!(rows > 0);
        let mut chunk = chunk(&["a", "b"], &values[..rows * 2]);
        chunk.step = Span::from_nanos(step);
        let now = chunk.observation_stamp + Span::from_nanos(late);
        let Ok(scheduled) = schedule(&chunk, now) else { return Ok(()) };
        let trajectory = trajectory(&chunk, now);
        let mut last = Span::ZERO;
        for point in &trajectory.points {
            prop_assert!(point.time_from_start > last);
            last = point.time_from_start;
            prop_assert_eq!((point.positions.len(), point.velocities.len()), (2, 2));
            prop_assert!(point.velocities.iter().all(|v| v.is_finite()));
        }
        let end = trajectory.points.last().expect("at least one point");
        prop_assert!(end.velocities.iter().all(|v| *v == 0.0));
        prop_assert_eq!(trajectory.points.len() + scheduled.late_rows as usize, chunk.rows);
        prop_assert_eq!(trajectory.stamp + last, chunk.due(chunk.rows - 1));
    }

    /// On a straight line every inner velocity is its slope.
    #[test]
    fn a_straight_line_has_its_slope_as_velocity(slope in -8i16..8, rows in 3usize..30) {
        let values: Vec<f32> = (0..rows).map(|row| f32::from(slope) * row as f32).collect();
        let trajectory = trajectory(&chunk(&["a"], &values), ms(1000));
        for point in &trajectory.points[..rows - 1] {
            prop_assert!((point.velocities[0] - f64::from(slope) * 50.0).abs() < 1e-9);
        }
    }
}
