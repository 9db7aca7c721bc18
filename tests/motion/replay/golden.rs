//! Comparison of a replay with an earlier one.

use super::*;

#[test]
fn a_golden_replay_agrees_with_itself_and_differs_from_another_seed_at_a_named_value() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (golden, again) = (out.path().join("golden.mcap"), out.path().join("again.mcap"));
    replay(policy.path(), &[], &golden, None);
    let same = replay(policy.path(), &[], &again, Some((&golden, 0.0)));
    assert_eq!(same.difference, None);
    let other = replay(policy.path(), &["seed:=8"], &again, Some((&golden, 1e-6)));
    let Difference::Value { row, name, expected, found, .. } = other.difference.expect("another seed") else {
        panic!("expected a differing value");
    };
    assert!(row < 16 && !name.is_empty() && (expected - found).abs() > 1e-6, "{row} {name} {expected} {found}");
    let fewer = replay(policy.path(), &["rate_hz:=1.0"], &again, Some((&golden, 0.0)));
    assert!(fewer.difference.is_some(), "another rate gives other observations");
}

#[test]
fn a_golden_replay_at_another_speed_latency_hand_over_or_limit_differs() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (golden, again) = (out.path().join("golden.mcap"), out.path().join("again.mcap"));
    replay(policy.path(), &BRIEF, &golden, None);
    let difference = |latency_ms: f64, assignments: &[&str], tolerance: f32| {
        let assignments: Vec<&str> = BRIEF.iter().chain(assignments).copied().collect();
        let summary = replay_late(latency_ms, policy.path(), &assignments, &again, Some((&golden, tolerance)));
        assert!(summary.compared.is_some());
        summary.difference
    };
    let slower = difference(5.0, &["action.step_s:=0.1"], 10.0);
    assert!(matches!(&slower, Some(Difference::Chunk { what: "step", .. })), "values alone are the same: {slower:?}");
    let later = difference(55.0, &[], 10.0);
    assert!(matches!(&later, Some(Difference::Trajectory { what: "stamp", .. })), "{later:?}");
    let replaced = difference(5.0, &["handover.mode:=replace"], 1e-6);
    assert!(matches!(&replaced, Some(Difference::Point { .. })), "{replaced:?}");
    let limited = difference(5.0, &["limits.left_elbow.velocity:=0.02"], 1e-6);
    assert!(matches!(&limited, Some(Difference::Point { .. })), "{limited:?}");
}

#[test]
fn what_was_compared_is_counted_and_said() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (golden, again) = (out.path().join("golden.mcap"), out.path().join("again.mcap"));
    let count = replay(policy.path(), &BRIEF, &golden, None).record.chunks.len();
    let summary = replay(policy.path(), &BRIEF, &again, Some((&golden, 0.0)));
    assert_eq!(summary.difference, None);
    let compared = summary.compared.expect("compared");
    assert!(count > 5);
    assert_eq!(compared, Compared { chunks: count, trajectories: Ok(count) });
    let said = compared.to_string();
    for words in [
        "chunks (observation",
        "start, step",
        "trajectories (every point",
        "inference_latency and late_rows are left out",
    ] {
        assert!(said.contains(words), "expected {words:?} in {said}");
    }
}

#[test]
fn the_trajectory_of_a_stop_is_compared_too() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (golden, again) = (out.path().join("golden.mcap"), out.path().join("again.mcap"));
    let rules = ["rate_hz:=7.0", "inputs.cameras.top.max_age_ms:=1.0", "inputs.on_violation:=stop"];
    replay(policy.path(), &rules, &golden, None);
    let same = replay(policy.path(), &rules, &again, Some((&golden, 0.0)));
    assert_eq!(same.compared, Some(Compared { chunks: 1, trajectories: Ok(2) }));
    assert_eq!(same.difference, None);
}

/// A bag as a recorder beside the node writes it: of a replay's messages, with latencies of their own, trajectories that
/// start elsewhere, and everything logged a little later; without trajectories when there are to be none.
fn recorded_live(replay: &Path, out: &Path, trajectories: bool) {
    let reader = BagReader::open(replay).expect("a replay");
    let mut writer = BagWriter::create(out).expect("begun");
    let mut topic = |name: &str, kind: &str| {
        writer.add_topic(&format!("/robot{name}"), kind, schema::text(kind).expect("known")).expect("added")
    };
    let ours = [
        topic(replay::ACTION_CHUNK_TOPIC, ActionChunkMessage::TYPE),
        topic(replay::JOINT_TRAJECTORY_TOPIC, JointTrajectoryMessage::TYPE),
    ];
    let topics: Vec<usize> = (0..reader.topics().len()).collect();
    let mut bytes = Vec::new();
    for (number, message) in reader.messages(&topics).expect("messages").enumerate() {
        let message = message.expect("readable");
        let varying = Span::from_nanos(number as i64 * 12_345);
        let is_chunk = reader.topics()[message.topic].name == replay::ACTION_CHUNK_TOPIC;
        if is_chunk {
            let mut chunk = ActionChunkMessage::parse(&message.data).expect("a chunk");
            chunk.inference_latency = Span::from_nanos(chunk.inference_latency.nanos() + varying.nanos());
            chunk.late_rows += 1;
            chunk.write(&mut bytes);
        } else {
            let mut trajectory = JointTrajectoryMessage::parse(&message.data).expect("a trajectory");
            trajectory.stamp = trajectory.stamp + varying;
            trajectory.write(&mut bytes);
        }
        if is_chunk || trajectories {
            let log_time = message.log_time + varying + Span::from_millis(1.0);
            writer.write(ours[usize::from(!is_chunk)], log_time, &bytes).expect("written");
        }
    }
    writer.finish().expect("whole");
}

#[test]
fn of_a_live_recording_chunks_are_compared_and_trajectories_left_out() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let [first, again, golden] = ["1.mcap", "2.mcap", "golden.mcap"].map(|name| out.path().join(name));
    let count = replay(policy.path(), &BRIEF, &first, None).record.chunks.len();
    for (trajectories, reason) in [(true, LeftOut::Live), (false, LeftOut::None)] {
        recorded_live(&first, &golden, trajectories);
        let same = replay_late(70.0, policy.path(), &BRIEF, &again, Some((&golden, 0.0)));
        assert_eq!(same.difference, None);
        assert_eq!(same.compared, Some(Compared { chunks: count, trajectories: Err(reason) }));
        let slower = [&BRIEF[..], &["action.step_s:=0.1"]].concat();
        let other = replay(policy.path(), &slower, &again, Some((&golden, 0.0)));
        assert!(matches!(other.difference, Some(Difference::Chunk { what: "step", .. })), "{:?}", other.difference);
    }
}
