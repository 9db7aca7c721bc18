//! Limits of one and of two sources, and of a chunk's rows.

use proptest::prelude::*;

use super::*;
use crate::tests::chunk;
use crate::urdf::Description;

#[test]
fn limits_from_two_sources_give_the_tighter_of_each() {
    let names = ["a".to_owned(), "b".to_owned()];
    let one = JointLimits { min: -1.0, velocity: 2.0, ..JointLimits::default() };
    let other = JointLimits { min: -2.0, max: 0.5, velocity: 1.0, ..JointLimits::default() };
    let limits = MotionLimits::new(&names, [("a", one), ("a", other)]).expect("valid");
    assert_eq!(limits.of(0), JointLimits { min: -1.0, max: 0.5, velocity: 1.0, ..JointLimits::default() });
    assert_eq!(limits.of(1), JointLimits::default());
}

#[test]
fn every_invalid_limit_is_reported_at_once() {
    let names = ["a".to_owned(), "b".to_owned()];
    let crossed = JointLimits { min: 1.0, max: -1.0, ..JointLimits::default() };
    let still = JointLimits { acceleration: 0.0, ..JointLimits::default() };
    let error = MotionLimits::new(&names, [("a", crossed), ("b", still), ("c", JointLimits::default())])
        .expect_err("three problems");
    let text = error.to_string();
    for part in ["joint `a`: expected min <= max", "joint `b`: expected acceleration above zero", "`c`"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

fn description(joints: &[(&str, &str)]) -> Description {
    let joint =
        |(name, limit): &(&str, &str)| format!("<joint name='{name}' type='revolute'><limit {limit}/></joint>\n");
    let text = format!("<robot>\n{}</robot>", joints.iter().map(joint).collect::<String>());
    Description::parse(&text).expect("a description")
}

fn given(joints: &[(&str, JointLimits)]) -> Vec<(String, JointLimits)> {
    joints.iter().map(|(name, limits)| ((*name).to_owned(), *limits)).collect()
}

fn between(min: f64, max: f64) -> JointLimits {
    JointLimits { min, max, ..JointLimits::default() }
}

fn problems(given: &[(String, JointLimits)], description: &Description) -> Vec<String> {
    match merge_limits(given, Some(description)) {
        Err(Error::Limits { problems }) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

#[test]
fn parameters_and_description_merge_to_the_tighter_limit_of_each_joint() {
    let described = description(&[("a", "lower='-3.1' upper='3.1' velocity='2'"), ("other", "lower='0' upper='0'")]);
    let own = JointLimits { min: -1.0, max: 5.0, velocity: 3.0, acceleration: 10.0, ..JointLimits::default() };
    let merged = merge_limits(&given(&[("a", own)]), Some(&described)).expect("no contradiction");
    assert_eq!(merged.limits.get("a"), Some(JointLimits { max: 3.1, velocity: 2.0, ..own }));
    assert!(merged.warnings.is_empty(), "{:?}", merged.warnings);
    let alone = merge_limits(&given(&[("a", own)]), None).expect("valid");
    assert_eq!(alone.limits.get("a"), Some(own));
}

#[test]
fn one_message_names_every_joint_that_has_the_same_placeholder() {
    let zeros = "lower='0' upper='0' velocity='0'";
    let described = description(&[("a", zeros), ("b", zeros), ("c", "lower='-1' upper='1' velocity='1'")]);
    let joints = given(&[("a", JointLimits::default()), ("b", JointLimits::default()), ("c", JointLimits::default())]);
    let found = problems(&joints, &described);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|problem| problem.starts_with("joints `a`, `b`: ")), "{found:?}");
    let own = JointLimits { velocity: 1.0, ..between(-1.0, 1.0) };
    let merged = merge_limits(&given(&[("a", own), ("b", own)]), Some(&described)).expect("replaced");
    assert_eq!(merged.limits.per_joint(), [own, own], "the placeholder is no limit and no goal");
    assert_eq!(merged.warnings.len(), 2, "{:?}", merged.warnings);
}

#[test]
fn limits_that_leave_no_room_between_the_sources_are_refused_by_name() {
    let described = description(&[("a", "lower='-1' upper='1' velocity='2'")]);
    for own in [between(2.0, 3.0), between(f64::NEG_INFINITY, -9.0), between(1.0, f64::INFINITY)] {
        let found = problems(&given(&[("a", own)]), &described);
        assert!(
            found.len() == 1 && found[0].starts_with("joint `a`: ") && found[0].contains("do not overlap"),
            "{found:?}"
        );
    }
}

#[test]
fn a_moved_joint_that_the_description_lacks_or_has_twice_is_refused_by_name() {
    let limit = "lower='-1' upper='1' velocity='2'";
    let described = description(&[("a", limit), ("a", limit)]);
    let found = problems(&given(&[("a", JointLimits::default()), ("b", JointLimits::default())]), &described);
    assert!(
        found.len() == 2 && found[0].contains("`a`: lines 2 and 3: the robot description has the joint twice"),
        "{found:?}"
    );
    assert!(found[1].starts_with("joint `b`: not in the robot description"), "{found:?}");
    let described = description(&[("a", limit)]);
    let joints = given(&[("a", JointLimits::default()), ("b", between(-1.0, 1.0))]);
    let merged = merge_limits(&joints, Some(&described))
        .expect("the parameters' limits are enough for a joint that is in no URDF");
    assert_eq!(merged.warnings, ["joint `b`: not in the robot description: only limits.<joint> hold"]);
    let found = problems(&given(&[("b", between(-1.0, 1.0)), ("c", between(-1.0, 1.0))]), &described);
    assert_eq!(found, ["the robot description has none of the joints b, c; check that it is this robot's description"]);
}

#[test]
fn joints_without_a_limit_of_velocity_are_known() {
    let names: Arc<[String]> = ["b", "a", "c"].map(str::to_owned).into();
    let limited = JointLimits { velocity: 1.0, ..JointLimits::default() };
    let limits = MotionLimits::new(&["a".to_owned(), "b".to_owned()], [("a", limited)]).expect("valid").select(&names);
    assert_eq!(limits.without_velocity().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(limits.per_joint()[1], limited);
}

#[test]
fn values_outside_are_clamped_and_counted_by_joint_and_poses_and_the_rest_are_untouched() {
    let mut chunk = chunk(&["pose.x", "a", "b"], &[9.0, 0.5, 9.0, 9.0, 2.0, -9.0, -9.0, -2.0, 0.0]);
    chunk.poses = std::iter::once(0..1).collect();
    let names = ["a".to_owned(), "b".to_owned()];
    let limits = MotionLimits::new(&names, [("a", between(-1.0, 1.0))]).expect("valid");
    let mut clamped = ClampCounts::default();
    limits.clamp(&mut chunk, &mut clamped).expect("its joints");
    assert_eq!(chunk.values, [9.0, 0.5, 9.0, 9.0, 1.0, -9.0, -9.0, -1.0, 0.0]);
    assert_eq!(clamped, ClampCounts { total: 2, per_joint: vec![2, 0] });
    let mut all = clamped.clone();
    all.add(&clamped);
    assert_eq!(all.by_name(&names).collect::<Vec<_>>(), [("a", 4)]);
    limits.clamp(&mut chunk, &mut clamped).expect("its joints");
    assert_eq!(clamped, ClampCounts { total: 0, per_joint: vec![0, 0] }, "what this chunk changed");
}

#[test]
fn one_side_may_stay_open() {
    let mut chunk = chunk(&["a"], &[-5.0, 5.0]);
    let limits = MotionLimits::new(&["a".to_owned()], [("a", between(0.0, f64::INFINITY))]).expect("valid");
    limits.clamp(&mut chunk, &mut ClampCounts::default()).expect("its joint");
    assert_eq!(chunk.values, [0.0, 5.0]);
}

#[test]
fn limits_of_another_robot_are_refused() {
    let limits = MotionLimits::new(&["a".to_owned()], []).expect("valid");
    let error = limits.clamp(&mut chunk(&["a", "b"], &[0.0, 0.0]), &mut ClampCounts::default());
    assert_eq!(error, Err(Error::LimitWidth { limits: 1, joints: 2 }));
}

proptest! {
    /// Nothing ends outside the limits as configured in double precision, and the counts are the changes made.
    #[test]
    fn clamped_values_lie_inside_and_counts_are_the_changes(
        values in prop::collection::vec(-4.0f32..4.0, 12),
        ranges in prop::collection::vec((-3.0f64..0.0, 1e-6f64..3.0), 3),
    ) {
        let mut chunk = chunk(&["a", "b", "c"], &values);
        let names = chunk.names.clone();
        let given = names.iter().zip(&ranges).map(|(joint, (min, width))| (joint.as_str(), between(*min, min + width)));
        let limits = MotionLimits::new(&names, given).expect("valid limits");
        let mut clamped = ClampCounts::default();
        limits.clamp(&mut chunk, &mut clamped).expect("same joints");
        let mut changed = [0u64; 3];
        for (i, (before, after)) in values.iter().zip(&chunk.values).enumerate() {
            let (min, width) = ranges[i % 3];
            prop_assert!((min..=min + width).contains(&f64::from(*after)));
            changed[i % 3] += u64::from(before != after);
        }
        prop_assert_eq!(clamped.total, clamped.per_joint.iter().sum::<u64>());
        prop_assert_eq!(clamped.per_joint, changed.to_vec());
    }
}

#[test]
fn position_limits_of_a_whole_turn_do_not_hold_for_a_continuous_joint_and_narrower_ones_do() {
    let names = ["a".to_owned()];
    let limits = |kind, reach: f64| {
        let described = JointLimits { kind, ..JointLimits::default() };
        let given = JointLimits { min: -reach, max: reach, ..JointLimits::default() };
        MotionLimits::new(&names, [("a", given), ("a", described)]).expect("valid").of(0)
    };
    assert_eq!(limits(JointKind::Continuous, 3.2).max, f64::INFINITY);
    assert_eq!(limits(JointKind::Continuous, 3.1375).min, f64::NEG_INFINITY);
    assert_eq!(limits(JointKind::Continuous, 1.0).max, 1.0);
    assert_eq!(limits(JointKind::Revolute, 3.2).max, 3.2);
}

#[test]
fn the_tracking_error_allowed_is_that_of_the_joints_kind_unless_it_is_given() {
    let of = |kind, tracking_error| JointLimits { kind, tracking_error, ..JointLimits::default() };
    let merged = |one: JointLimits, other: JointLimits| one.tighter(&other).tracking_error();
    assert_eq!(merged(of(JointKind::Revolute, None), of(JointKind::Continuous, None)), 0.5);
    assert_eq!(merged(of(JointKind::Revolute, None), of(JointKind::Prismatic, None)), 0.1);
    assert_eq!(merged(of(JointKind::Revolute, Some(0.3)), of(JointKind::Prismatic, None)), 0.3);
}

#[test]
fn a_whole_turn_of_a_continuous_joint_is_no_limit_whichever_source_says_so() {
    let text = "<robot><joint name='a' type='continuous'/></robot>";
    let described = Description::parse(text).expect("a description");
    let merged = merge_limits(&given(&[("a", between(-3.2, 3.2))]), Some(&described)).expect("valid");
    assert_eq!(merged.limits.of(0), JointLimits { kind: JointKind::Continuous, ..JointLimits::default() });
    let zeros = description(&[("a", "lower='0' upper='0' velocity='1'")]);
    let own = JointLimits { kind: JointKind::Continuous, ..JointLimits::default() };
    let merged =
        merge_limits(&given(&[("a", own)]), Some(&zeros)).expect("a continuous joint needs no limits of position");
    assert_eq!((merged.limits.of(0).max, merged.warnings.len()), (f64::INFINITY, 1));
}
