//! Replay of the sample bag through the demo policy: the whole chain from bytes to messages, on real ONNX Runtime.

mod bad_policies;
mod golden;
mod report;

use vla_trt_tests::demo;
use vla_trt_tests::demo::chunks;

use std::fs;
use std::path::{Path, PathBuf};

use vla_bags::{BagReader, BagWriter, TopicId};
use vla_base::time::Span;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage, schema, write};
use vla_offline::replay;
use vla_offline::replay::golden::{Compared, Difference, LeftOut};
use vla_offline::replay::report::{Given, render};
use vla_offline::replay::{Options, Summary};
use vla_policy::PolicySpec;
use vla_runtime::session::Session;

/// Replays the sample bag with these assignments; the output goes to `out`.
fn replay(policy: &Path, assignments: &[&str], out: &Path, golden: Option<(&Path, f32)>) -> Summary {
    replay_late(5.0, policy, assignments, out, golden)
}

/// The same with a latency of so many milliseconds.
fn replay_late(
    latency_ms: f64,
    policy: &Path,
    assignments: &[&str],
    out: &Path,
    golden: Option<(&Path, f32)>,
) -> Summary {
    replay_bag(&demo::bag(), latency_ms, policy, assignments, out, golden)
}

/// The same of another bag.
fn replay_bag(
    bag: &Path,
    latency_ms: f64,
    policy: &Path,
    assignments: &[&str],
    out: &Path,
    golden: Option<(&Path, f32)>,
) -> Summary {
    let settings = demo::settings(policy, assignments);
    let spec = PolicySpec::load(policy).expect("the demo policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).expect("the demo policy loads");
    let options = Options {
        source: bag.into(),
        output: out.to_owned(),
        latency: Span::from_millis(latency_ms),
        golden: golden.map(|(file, tolerance)| (file.to_owned(), tolerance)),
        ..Options::default()
    };
    replay::run(&mut session, &settings, &options, &mut |_| {}).expect("the sample bag replays")
}

/// The report.
fn page(summary: &Summary) -> String {
    render(&summary.record, &Given { recording: "bag <1>", parameters: "robot.yaml -p rate_hz:=5.0" })
}

#[test]
fn the_sample_bag_gives_chunks_with_identity_due_times_and_finite_values() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("chunks.mcap");
    let summary = replay(policy.path(), &[], &file, None);
    let chunks = chunks(&file);
    assert!(chunks.len() >= 20, "only {} chunks: {:?}", chunks.len(), summary.record.events);
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.sequence, index as u64 + 1);
        assert_eq!(chunk.input_names, ["top", "left_wrist", "right_wrist", "joints"]);
        assert_eq!(Some(&chunk.stamp), chunk.input_stamps.iter().min());
        assert_eq!(chunk.start, chunk.stamp + chunk.step);
        assert_eq!((chunk.horizon as usize) * chunk.names.len(), chunk.values.len());
        assert_eq!((chunk.horizon, chunk.names.len()), (16, 14));
        assert!(chunk.values.iter().all(|value| value.is_finite()));
        assert_eq!(chunk.inference_latency.millis(), 5.0);
        assert!(chunk.policy_fingerprint.starts_with("sha256:"));
    }
}

#[test]
fn the_same_bag_policy_and_parameters_give_the_same_bytes() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let (first, second) = (out.path().join("1.mcap"), out.path().join("2.mcap"));
    replay(policy.path(), &[], &first, None);
    replay(policy.path(), &[], &second, None);
    assert_eq!(fs::read(first).expect("first"), fs::read(second).expect("second"));
}

/// Few chunks, each while the motion before goes on, under limits that show.
const BRIEF: [&str; 4] =
    ["rate_hz:=5.0", "action.step_s:=0.05", "limits.left_waist.velocity:=0.8", "limits.left_waist.acceleration:=6"];

#[test]
fn instruction_seed_and_step_count_each_change_the_chunks() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("chunks.mcap");
    let first = |assignments: &[&str]| {
        replay(policy.path(), assignments, &file, None);
        chunks(&file).swap_remove(0)
    };
    // The bag's own instruction would win over the parameter: read another topic, which it does not have.
    let quiet = "inputs.instruction.topic:=/no_instruction";
    let base = first(&[quiet, "instruction:=pick up the red cube"]);
    let text = first(&[quiet, "instruction:=push the blue box away"]);
    let seed = first(&[quiet, "instruction:=pick up the red cube", "seed:=9"]);
    let steps = first(&[quiet, "instruction:=pick up the red cube", "denoise.steps:=2"]);
    for (what, other) in [("instruction", text), ("seed", seed), ("denoise.steps", steps)] {
        assert_eq!(base.input_stamps, other.input_stamps);
        let difference = base.values.iter().zip(&other.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference > 1e-4, "{what} changes the chunk by {difference} only");
    }
}

#[test]
fn a_stale_input_is_a_violation_and_no_chunk() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    // Frames come every 100 ms, inferences every 143 ms: most find a frame that is older than a millisecond.
    let rules = ["rate_hz:=7.0", "inputs.cameras.top.max_age_ms:=1.0"];
    let summary = replay(policy.path(), &rules, &out.path().join("c.mcap"), None);
    let stale = summary.record.events.iter().filter(|event| event.text.contains("top stale")).count();
    assert!(stale > 5, "{:?}", summary.record.events);
}

#[test]
fn a_bag_that_starts_with_one_input_waits_for_the_others_and_that_is_no_violation() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let bag = copy_of_the_bag(out.path(), |topic, since, data| {
        let late = topic == "/joint_states" && since < Span::from_millis(700.0);
        if late { Vec::new() } else { vec![("", data.to_vec())] }
    });
    let summary = replay_bag(&bag, 5.0, policy.path(), &[], &out.path().join("c.mcap"), None);
    assert!(
        summary.record.waiting > 0 && summary.record.waited_for.contains("missing"),
        "{}",
        summary.record.waited_for
    );
    assert!(summary.record.events.is_empty(), "{:?}", summary.record.events);
    assert!(page(&summary).contains("<span class=\"name\">waiting for inputs</span>"));
}

#[test]
fn with_stop_a_refused_inference_ends_the_motion_of_a_replay_at_rest() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    let mut given = false;
    let bag = copy_of_the_bag(out.path(), |_, since, data| {
        let too_long = || ("/instruction", write::text(&"pick up the cube ".repeat(2000)));
        let now = since > Span::from_millis(2000.0) && !std::mem::replace(&mut given, true);
        now.then(too_long).into_iter().chain([("", data.to_vec())]).collect()
    });
    let summary = replay_bag(&bag, 5.0, policy.path(), &["inputs.on_violation:=stop", "max_blind_s:=2.0"], &file, None);
    let refused: Vec<_> = summary.record.events.iter().filter(|event| event.kind == "refused").collect();
    assert!(matches!(refused[..], [event] if event.text.contains("tokens")), "{:?}", summary.record.events);
    assert!(summary.record.stopped > 3, "it stays stopped: {}", summary.record.stopped);
    let trajectories = trajectories_of(&file);
    let (before, stop) = (&trajectories[trajectories.len() - 2], &trajectories[trajectories.len() - 1]);
    let end = |trajectory: &JointTrajectoryMessage| {
        trajectory.stamp + trajectory.points.last().expect("points").time_from_start
    };
    assert!(stop.stamp > refused[0].at && end(stop) < end(before), "sooner than the plan would have run out");
    assert!(stop.points.last().expect("points").velocities.iter().all(|velocity| *velocity == 0.0));
}

#[test]
fn limits_clamp_every_value_and_are_counted() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    let limits = ["limits.left_waist.min:=0.001", "limits.left_waist.max:=0.002"];
    let summary = replay(policy.path(), &limits, &file, None);
    let clamped = summary.record.clamped();
    assert!(clamped.total > 0);
    assert!(clamped.by_name(&summary.record.moved).any(|(joint, count)| joint == "left_waist" && count > 0));
    for chunk in chunks(&file) {
        let joint = chunk.names.iter().position(|name| name == "left_waist").expect("the joint");
        let column = chunk.values.iter().skip(joint).step_by(chunk.names.len());
        assert!(column.copied().all(|value| (0.001..=0.002).contains(&value)));
    }
}

#[test]
fn position_limits_of_a_urdf_clamp_the_chunk_and_count_like_those_of_the_parameters() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let names = demo::settings(policy.path(), &[]).joint_names();
    let joint = |name: &String| {
        let limit = if name == "left_waist" { "lower='0.001' upper='0.002'" } else { "lower='-9' upper='9'" };
        format!("<joint name='{name}' type='revolute'><limit {limit} velocity='9'/></joint>")
    };
    let urdf = out.path().join("robot.urdf");
    let body: String = names.iter().map(joint).collect();
    fs::write(&urdf, format!("<robot>{body}</robot>")).expect("written");
    let by_urdf = out.path().join("urdf.mcap");
    let file = format!("limits_file:={}", urdf.display());
    let described = replay(policy.path(), &["limits_from:=file", &file], &by_urdf, None);
    let by_parameters = out.path().join("parameters.mcap");
    let limits = ["limits.left_waist.min:=0.001", "limits.left_waist.max:=0.002"];
    let given = replay(policy.path(), &limits, &by_parameters, None);
    assert!(described.record.clamped().total > 0);
    assert_eq!(described.record.clamped(), given.record.clamped());
    assert_eq!(chunks(&by_urdf), chunks(&by_parameters));
    let count = described.record.clamped().by_name(&described.record.moved).next().expect("the joint").1;
    assert!(page(&described).contains(&format!("data-name=\"rows clamped\">{count}</td>")), "in the report");
}

#[test]
fn without_a_limit_of_velocity_there_are_chunks_and_no_trajectories() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    let summary = replay(policy.path(), &["limits.left_elbow.velocity:=.inf"], &file, None);
    assert!(summary.record.chunks.len() > 20 && chunks(&file).len() == summary.record.chunks.len());
    assert_eq!(trajectories_of(&file), []);
    let reason = summary.record.no_trajectories.as_deref().expect("said so");
    assert!(reason.contains("`left_elbow`") && reason.contains("limits.<joint>.velocity"), "{reason}");
    assert!(
        page(&summary).contains("<p class=\"warning\">No trajectories: joint `left_elbow` without a limit of velocity")
    );
    let openly = ["limits.left_elbow.velocity:=.inf", "motion.allow_unlimited:=true"];
    let summary = replay(policy.path(), &openly, &file, None);
    assert_eq!(trajectories_of(&file).len(), summary.record.chunks.len());
    assert_eq!(summary.record.no_trajectories, None);
}

#[test]
fn a_bag_without_the_policys_topics_is_refused_with_what_it_has() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let settings = demo::settings(policy.path(), &["inputs.cameras.top.topic:=/elsewhere"]);
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).expect("loads");
    let output = out.path().join("c.mcap");
    let options =
        Options { source: demo::bag().into(), output: output.clone(), latency: Span::ZERO, ..Options::default() };
    let error = replay::run(&mut session, &settings, &options, &mut |_| {}).expect_err("no such topic").to_string();
    assert!(error.contains("no topic /elsewhere"), "{error}");
    assert!(error.contains("/camera/top/image_raw/compressed (sensor_msgs/msg/CompressedImage)"), "{error}");
    assert!(!output.exists(), "nothing is left at the output's name");
}

#[test]
fn a_bag_without_an_instruction_is_refused_with_the_parameter_that_gives_one() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let settings = demo::settings(policy.path(), &["inputs.instruction.topic:=/no_instruction"]);
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).expect("loads");
    let options = Options {
        source: demo::bag().into(),
        output: out.path().join("c.mcap"),
        latency: Span::ZERO,
        ..Options::default()
    };
    let error = replay::run(&mut session, &settings, &options, &mut |_| {}).expect_err("none given").to_string();
    assert!(error.contains("no instruction: set the parameter `instruction`"), "{error}");
}

#[test]
fn a_violation_with_stop_comes_to_rest_once_and_nothing_moves_after() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let file = out.path().join("c.mcap");
    // The first inference finds a frame of its own time, the second one of 86 ms before.
    let rules = ["rate_hz:=7.0", "inputs.cameras.top.max_age_ms:=1.0", "inputs.on_violation:=stop"];
    let summary = replay(policy.path(), &rules, &file, None);
    assert_eq!(summary.record.chunks.len(), 1);
    assert!(summary.record.stopped > 40, "{} cycles while stopped", summary.record.stopped);
    let trajectories = trajectories_of(&file);
    assert_eq!(trajectories.len(), 2, "one of the chunk and one of the stop");
    let (motion, stop) = (&trajectories[0], &trajectories[1]);
    // The stop starts where the motion would have been, and is over before the motion would have been.
    let at =
        |trajectory: &JointTrajectoryMessage, index: usize| trajectory.stamp + trajectory.points[index].time_from_start;
    let shared = (0..motion.points.len()).find(|&index| at(motion, index) == at(stop, 0)).expect("a common knot");
    assert_eq!(motion.points[shared].positions, stop.points[0].positions);
    let last = |trajectory: &JointTrajectoryMessage| at(trajectory, trajectory.points.len() - 1);
    assert!(
        last(stop) <= last(motion)
            && last(stop) <= stop.stamp + vla_motion::STOP_WITHIN + vla_motion::SAMPLE_PERIOD.times(2)
    );
    assert!(stop.points.last().is_some_and(|point| point.velocities.iter().all(|velocity| *velocity == 0.0)));
}

/// Every trajectory of a replay in one hand-over mode.
fn trajectories(policy: &Path, mode: &str, latency_ms: f64, out: &Path) -> Vec<JointTrajectoryMessage> {
    let mode = format!("handover.mode:={mode}");
    replay_late(
        latency_ms,
        policy,
        &[
            &mode,
            "action.step_s:=0.05",
            "limits.left_waist.velocity:=0.8",
            "limits.left_waist.acceleration:=6",
            "limits.right_wrist_rotate.velocity:=.inf",
            "limits.right_wrist_rotate.acceleration:=.inf",
            "motion.allow_unlimited:=true",
        ],
        out,
        None,
    );
    trajectories_of(out)
}

/// Every trajectory of a replay's output.
fn trajectories_of(out: &Path) -> Vec<JointTrajectoryMessage> {
    let reader = BagReader::open(out).expect("the output");
    let topic = reader.topics().iter().position(|topic| topic.name == replay::JOINT_TRAJECTORY_TOPIC).expect("topic");
    let messages = reader.messages(&[topic]).expect("messages");
    messages.map(|m| JointTrajectoryMessage::parse(&m.expect("readable").data).expect("a trajectory")).collect()
}

/// A copy of the sample bag in `folder`: `each` is given topic, time since the start and bytes of every message, and returns the
/// messages that are written in its place.
fn copy_of_the_bag(folder: &Path, mut each: impl FnMut(&str, Span, &[u8]) -> Vec<(&'static str, Vec<u8>)>) -> PathBuf {
    let (file, recorded) = (folder.join("changed.mcap"), BagReader::open(&demo::bag()).expect("the sample bag"));
    let mut writer = BagWriter::create(&file).expect("a new bag");
    let mut topic = |name: &str, type_name: &str| {
        writer.add_topic(name, type_name, schema::text(type_name).expect("a known type")).expect("a topic")
    };
    let topics: Vec<TopicId> = recorded.topics().iter().map(|of| topic(&of.name, &of.type_name)).collect();
    for message in recorded.messages(&(0..topics.len()).collect::<Vec<_>>()).expect("messages") {
        let message = message.expect("readable");
        let name = &recorded.topics()[message.topic].name;
        for (to, bytes) in each(name, message.log_time - recorded.start(), &message.data) {
            let to = if to.is_empty() { message.topic } else { recorded.find(to).expect("a topic of the bag") };
            writer.write(topics[to], message.log_time, &bytes).expect("written");
        }
    }
    writer.finish().expect("whole");
    file
}

#[test]
fn in_every_mode_one_trajectory_takes_over_where_the_other_is_and_ends_at_rest() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    // Also when a chunk is older than the time between two of them.
    for latency_ms in [5.0, 250.0] {
        let gaps = gaps(policy.path(), latency_ms, out.path());
        assert!(gaps[1..].iter().all(|gap| *gap < gaps[0] / 10.0), "at {latency_ms} ms: {gaps:?}");
    }
}

/// How far the first step after a hand-over is from the promise at most, in replace, blend, ensemble and rtc.
fn gaps(policy: &Path, latency_ms: f64, out: &Path) -> Vec<f64> {
    let mut gaps = Vec::new();
    for mode in ["replace", "blend", "ensemble", "rtc"] {
        let all = trajectories(policy, mode, latency_ms, &out.join(format!("{mode}.mcap")));
        assert!(all.len() > 20, "{mode}: {} trajectories", all.len());
        let mut jump = 0.0f64;
        for pair in all.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let at = |index: usize| after.stamp + after.points[index].time_from_start;
            let point = |when| before.points.iter().find(|point| before.stamp + point.time_from_start == when);
            // The second point is the hand-over.
            let Some(promised) = point(at(1)) else { continue };
            assert_eq!(promised.positions, after.points[1].positions, "{mode}: at the hand-over");
            if let Some(next) = point(at(2)) {
                // The right wrist has no limits of speed, so that the mode alone shows.
                jump = jump.max((next.positions[12] - after.points[2].positions[12]).abs());
            }
        }
        for trajectory in &all {
            let end = trajectory.points.last().expect("points");
            assert!(end.velocities.iter().all(|v| *v == 0.0) && end.time_from_start <= Span::from_millis(500.0));
            assert!(trajectory.points.iter().all(|point| point.velocities[0].abs() <= 0.8 + 1e-9), "{mode}");
        }
        gaps.push(jump);
    }
    gaps
}
