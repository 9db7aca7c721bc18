//! What the report of a replay shows.

use super::*;
use vla_base::time::Stamp;
use vla_offline::replay::record::{MomentKind, Record};

/// A replay of the sample bag in which the top camera's frames stop from 1 s to 2.5 s.
fn outage(assignments: &[&str], out: &Path) -> Summary {
    let policy = demo::policy();
    let bag = copy_of_the_bag(out, |topic, since, data| {
        let gone = (Span::from_millis(1000.0)..Span::from_millis(2500.0)).contains(&since);
        let over = since > Span::from_millis(4000.0);
        if over || gone && topic.starts_with("/camera/top") { Vec::new() } else { vec![("", data.to_vec())] }
    });
    replay_bag(&bag, 20.0, policy.path(), assignments, &out.join("c.mcap"), None)
}

#[test]
fn the_joined_trajectory_is_that_of_the_published_messages() {
    let out = tempfile::tempdir().expect("a folder");
    let summary = outage(&["inputs.on_violation:=hold"], out.path());
    let record = &summary.record;
    let published = trajectories_of(&out.path().join("c.mcap"));
    let origin = record.origin.expect("messages");
    let ends = published.iter().skip(1).map(|next| next.stamp).chain([Stamp::from_nanos(i64::MAX)]);
    let mut expected: Vec<[f64; 3]> = Vec::new();
    for (trajectory, end) in published.iter().zip(ends) {
        let joint = trajectory.joint_names.iter().position(|name| name == "left_elbow").expect("the joint");
        let points = trajectory.points.iter().map(|point| (trajectory.stamp + point.time_from_start, point));
        let until = points.take_while(|(at, _)| *at <= end);
        expected.extend(
            until.map(|(at, point)| [(at - origin).seconds(), point.positions[joint], point.velocities[joint]]),
        );
    }
    let joint = record.motion.joints.iter().find(|joint| joint.name == "left_elbow").expect("the joint");
    assert!(!joint.position.is_thinned() && expected.len() > 150, "{}", expected.len());
    let finite = |points: Vec<[f64; 2]>| points.into_iter().filter(|[_, y]| y.is_finite()).collect::<Vec<_>>();
    assert_eq!(finite(joint.position.points()), expected.iter().map(|[x, y, _]| [*x, *y]).collect::<Vec<_>>());
    assert_eq!(finite(joint.velocity.points()), expected.iter().map(|[x, _, v]| [*x, *v]).collect::<Vec<_>>());
}

#[test]
fn a_hold_is_a_stop_with_pictures_and_the_trajectory_keeps_its_limits() {
    let out = tempfile::tempdir().expect("a folder");
    let limits = ["inputs.on_violation:=hold", "limits.left_waist.velocity:=0.05", "limits.left_waist.acceleration:=2"];
    let summary = outage(&limits, out.path());
    let Record { motion, moments, events, .. } = &summary.record;
    assert!(!events.is_empty() && motion.stops.len() == 1, "{:?}", motion.stops);
    let stop = &motion.stops[0];
    assert!((1.0..2.5).contains(&stop.at) && stop.rest > stop.at && stop.reason.contains("top"), "{stop:?}");

    let waist = motion.joints.iter().find(|joint| joint.name == "left_waist").expect("the joint");
    let greatest = |range: Option<(f64, f64)>| range.map_or(0.0, |(low, high)| high.max(-low));
    assert!((0.045..=0.05 * (1.0 + 1e-9)).contains(&greatest(waist.velocity.range())), "{:?}", waist.velocity.range());
    assert!(greatest(waist.acceleration.range()) <= 2.0 * (1.0 + 1e-6), "{:?}", waist.acceleration.range());
    assert!(!waist.met.is_empty() && waist.held_back[1] > 0);

    let kinds: Vec<MomentKind> = moments.iter().flat_map(|moment| &moment.claims).map(|claim| claim.kind).collect();
    for kind in [MomentKind::First, MomentKind::Violation, MomentKind::Stop, MomentKind::Limit, MomentKind::Jump] {
        assert!(kinds.contains(&kind), "{kind:?} of {kinds:?}");
    }
    assert!(moments.iter().all(|moment| moment.pictures.len() == 3 && moment.pictures.iter().all(|p| p.size() > 500)));
    assert!(moments.len() <= 15, "a bounded number");

    let page = page(&summary);
    assert!(page.contains("violation, braking</h3>") && page.matches("data:image/jpeg;base64,").count() >= 12);
    assert!(page.contains("(100 %)</td>"), "the speed at its limit");
    assert!(page.matches("class=\"area bad\"").count() >= 2, "bands beyond the limit");
    assert!(page.contains("class=\"mark bad\"") && page.contains("class=\"mark warn\""));
}

#[test]
fn a_trajectory_that_runs_out_is_a_stop_too() {
    let out = tempfile::tempdir().expect("a folder");
    let summary = outage(&["inputs.on_violation:=skip"], out.path());
    let [stop] = &summary.record.motion.stops[..] else { panic!("{:?}", summary.record.motion.stops) };
    assert!(stop.reason.starts_with("no new chunk"), "{stop:?}");
    assert!(page(&summary).contains("<td>braking</td>"));
}

#[test]
fn the_page_names_what_was_run_escaped_and_needs_no_other_file() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let quiet = ["inputs.instruction.topic:=/none", "instruction:=lift <b>it</b>", "rate_hz:=2.0"];
    let summary = replay_late(75.0, policy.path(), &quiet, &out.path().join("c.mcap"), None);
    let page = page(&summary);
    let fact = |name: &str, value: &str| {
        let text = format!("<dt>{name}</dt><dd>{value}</dd>");
        assert!(page.contains(&text), "{text}");
    };
    fact("recording", "bag &lt;1&gt;");
    fact("parameters", "robot.yaml -p rate_hz:=5.0");
    fact("instruction", "lift &lt;b&gt;it&lt;/b&gt;");
    fact("assumed latency", "75 ms from observation to publication (--latency-ms)");
    fact("engines", "ONNX Runtime on this machine&#39;s CPU");
    assert!(page.contains("<p class=\"warning\">This policy has random weights"));
    for joint in &summary.record.joints {
        assert!(page.contains(&format!("<h3>{joint}</h3>")), "{joint}");
    }
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<link"));
    assert_eq!(page.matches("<script>").count(), 1);

    let description = policy.path().join("policy.yaml");
    let text = fs::read_to_string(&description).expect("policy.yaml").replace("random_weights: true\n", "");
    fs::write(&description, text).expect("written");
    let trained = replay_late(75.0, policy.path(), &quiet, &out.path().join("c.mcap"), None);
    assert!(!super::page(&trained).contains("random weights"));
}

#[test]
fn rows_are_compared_with_the_joint_states_that_followed() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let summary = replay(policy.path(), &["rate_hz:=2.0"], &out.path().join("c.mcap"), None);
    let Record { followed, joints, chunks, .. } = &summary.record;
    assert_eq!(followed.len(), joints.len());
    for (joint, followed) in joints.iter().zip(followed) {
        let rows = chunks.len() as u64 * 16;
        assert!((rows - 32..=rows).contains(&followed.count), "{joint}: {} of {rows}", followed.count);
        assert!(followed.mean() <= followed.rms() && followed.rms() > 0.0);
        assert_eq!(followed.by_row.len(), 16);
    }
    assert!(page(&summary).contains("Rows against the joint states that followed"));
}

#[test]
fn two_replays_differ_in_measured_times_alone() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let [first, second] = [1, 2].map(|_| {
        let mut summary = replay(policy.path(), &["rate_hz:=2.0"], &out.path().join("c.mcap"), None);
        for chunk in &mut summary.record.chunks {
            chunk.parts.fill(1.0);
            chunk.total = std::time::Duration::from_millis(7);
        }
        page(&summary)
    });
    assert!(first.len() < 3_000_000, "{}", first.len());
    assert_eq!(first, second);
}
