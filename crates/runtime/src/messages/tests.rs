//! Messages of chunks and plans, as controllers and replays read them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use vla_motion::{Motion, MotionSettings, NewChunk, STOP_WITHIN, TransitionMode, schedule};

/// Rows of these joints observed at 1 s, 20 ms apart.
fn chunk(names: &[&str], values: &[f32]) -> Chunk {
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

/// The trajectory of a first chunk that is published at `now`, with its joints standing at the first row.
fn trajectory(chunk: &Chunk, now: Stamp) -> JointTrajectoryMessage {
    let joints: Vec<String> = chunk.joints(&chunk.names).cloned().collect();
    let standing: Vec<f64> = chunk.joints(chunk.row(0).expect("a row")).copied().map(f64::from).collect();
    let blend = Span::ZERO;
    let settings = MotionSettings {
        mode: TransitionMode::Replace,
        blend,
        max_blind: Span::from_seconds(60.0),
        ..Default::default()
    };
    let new = NewChunk { chunk, now, clamped: 0, measured: Some(&standing), frozen: (0, 0) };
    let mut motion = Motion::new(joints.into());
    let mut buffer = TrajectoryBuffer::default();
    buffer.fill(motion.plan_chunk(&new, &settings).expect("a plan"), now);
    buffer.message().clone()
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
    write_action_chunk(&chunk, &scheduled, &publication, &mut message).expect("a whole chunk");
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
    write_action_chunk(&chunk, &scheduled, &publication, &mut message).expect("again");
    assert_eq!(message, expected, "a reused message keeps nothing of the one before");
}

#[test]
fn a_trajectory_has_the_rows_that_are_not_late_at_their_due_times_counted_from_its_header() {
    let trajectory = trajectory(&chunk(&["a"], &[0.0, 1.0, 2.0, 4.0]), ms(1015));
    assert_eq!((trajectory.stamp, trajectory.joint_names), (ms(1015), vec!["a".to_owned()]));
    let at = |ms: f64| trajectory.points.iter().find(|p| p.time_from_start.millis() == ms).map(|p| p.positions[0]);
    assert_eq!([at(25.0), at(45.0), at(65.0)], [Some(1.0), Some(2.0), Some(4.0)]);
    assert_eq!(trajectory.points[0].time_from_start.millis(), 5.0, "the first sample after the time of publication");
}

#[test]
fn a_trajectory_ends_in_a_stop_of_its_last_velocity() {
    let trajectory = trajectory(&chunk(&["a"], &[0.0, 0.1, 0.2, 0.3]), ms(1000));
    let (points, steps) = (&trajectory.points, (STOP_WITHIN.nanos() / SAMPLE_PERIOD.nanos()) as usize);
    let row = points.len() - 1 - steps;
    assert!((points[row].positions[0] - 0.3).abs() < 1e-6 && (points[row].velocities[0] - 5.0).abs() < 1e-3);
    let end = points.last().expect("points");
    assert_eq!(end.velocities, [0.0]);
    assert!((end.positions[0] - 0.8).abs() < 1e-3, "0.2 s from 5 rad/s to rest are 0.5 rad");
}

#[test]
fn pose_columns_are_in_the_action_chunk_and_in_no_trajectory() {
    let mut chunk = chunk(&["a", "eef.x", "eef.y", "b"], &[0.0, 7.0, 8.0, 1.0, 0.5, 7.5, 8.5, 3.0]);
    chunk.poses = std::iter::once(1..3).collect();
    let trajectory = trajectory(&chunk, ms(1000));
    assert_eq!(trajectory.joint_names, ["a", "b"]);
    let row = trajectory.points.iter().find(|p| p.time_from_start.millis() == 40.0).expect("the second row");
    assert_eq!(row.positions, [0.5, 3.0]);
    let scheduled = schedule(&chunk, ms(1000)).expect("in time");
    let publication =
        Publication { sequence: 1, frame_id: "base", inference_latency: Span::ZERO, policy_fingerprint: "" };
    let mut message = ActionChunkMessage::default();
    write_action_chunk(&chunk, &scheduled, &publication, &mut message).expect("a whole chunk");
    assert_eq!((message.names.as_slice(), &message.values), (&*chunk.names, &chunk.values));
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
        if schedule(&chunk, now).is_err() {
            return Ok(());
        }
        let trajectory = trajectory(&chunk, now);
        let mut last = Span::ZERO;
        for point in &trajectory.points {
            prop_assert!(point.time_from_start > last);
            last = point.time_from_start;
            prop_assert_eq!((point.positions.len(), point.velocities.len()), (2, 2));
            prop_assert!(point.positions.iter().chain(&point.velocities).all(|v| v.is_finite()));
        }
        let end = trajectory.points.last().expect("at least one point");
        prop_assert!(end.velocities.iter().all(|v| *v == 0.0));
    }
}
