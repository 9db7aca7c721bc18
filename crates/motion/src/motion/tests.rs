//! Motion over many chunks, checked between the samples.

use proptest::prelude::*;

use super::super::limits::JointLimits;
use super::super::tests::chunk;
use super::*;

const MS: i64 = 1_000_000;

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * MS)
}

/// Rows of one joint, 20 ms apart, of an observation at `seen` ms.
fn rows(seen: i64, values: &[f32]) -> Chunk {
    Chunk { observation_stamp: at(seen), ..chunk(&["a"], values) }
}

fn motion(limits: JointLimits) -> Motion {
    let names: Arc<[String]> = ["a".to_owned()].into();
    let mut motion = Motion::new(names.clone());
    motion.set_limits(MotionLimits::new(&names, [("a", limits)]).expect("valid"));
    motion
}

fn new<'a>(chunk: &'a Chunk, now: i64, measured: &'a [f64]) -> NewChunk<'a> {
    NewChunk { chunk, now: at(now), clamped: 0, measured: Some(measured), frozen: (0, 0) }
}

fn settings(mode: TransitionMode) -> MotionSettings {
    MotionSettings { mode, ..MotionSettings::default() }
}

fn position(plan: &MotionPlan, now: Stamp) -> (f64, f64) {
    let (mut position, mut velocity) = ([0.0], [0.0]);
    assert!(plan.sample(now, &mut position, &mut velocity), "{now} is before the plan");
    (position[0], velocity[0])
}

#[test]
fn rows_in_time_are_followed_to_the_bit_and_the_end_is_a_stop() {
    let chunk = rows(1000, &[0.1, 0.2, 0.3, 0.4, 0.5]);
    let at_once = MotionSettings { blend: Span::ZERO, ..settings(TransitionMode::Replace) };
    let mut motion = motion(JointLimits::default());
    let plan = motion.plan_chunk(&new(&chunk, 990, &[0.05]), &at_once).expect("a plan").clone();
    for (row, value) in [0.1f32, 0.2, 0.3, 0.4, 0.5].into_iter().enumerate() {
        assert_eq!(position(&plan, chunk.due(row)).0, f64::from(value));
    }
    assert_eq!(position(&plan, at(1010)).0, 0.05, "motion starts where the joint is");
    assert_eq!(plan.stops_at(), chunk.due(4));
    assert_eq!(plan.end(), chunk.due(4) + super::super::STOP_WITHIN);
    assert_eq!(position(&plan, plan.end()).1, 0.0);
    assert_eq!(position(&plan, at(99_000)), position(&plan, plan.end()));
}

#[test]
fn no_mode_jumps_from_rest() {
    for mode in [TransitionMode::Replace, TransitionMode::Blend, TransitionMode::Ensemble, TransitionMode::Rtc] {
        let mut motion = motion(JointLimits::default());
        let plan = motion.plan_chunk(&new(&rows(1000, &[1.0; 20]), 1005, &[0.0]), &settings(mode)).expect("a plan");
        assert!(position(plan, at(1030)).0 < 0.03 && position(plan, at(1120)).0 == 1.0, "{mode:?}");
        // The plan ran out long ago, the joint was moved by hand, and the next chunk is elsewhere.
        let again = rows(3000, &[0.0; 20]);
        let new = NewChunk { frozen: (1, 8), ..new(&again, 3005, &[0.7]) };
        let plan = motion.plan_chunk(&new, &settings(mode)).expect("a plan");
        assert!(position(plan, at(3005)) == (0.7, 0.0) && position(plan, at(3020)) == (0.7, 0.0), "{mode:?}");
        assert!((0.6..0.7).contains(&position(plan, at(3030)).0), "{mode:?}");
    }
}

#[test]
fn a_plan_is_over_by_max_blind_and_says_from_when_it_stops() {
    let chunk = rows(1000, &(0..100).map(|i| i as f32 / 50.0).collect::<Vec<_>>());
    let mut motion = motion(JointLimits { acceleration: 20.0, ..JointLimits::default() });
    let plan = motion.plan_chunk(&new(&chunk, 1003, &[0.0]), &settings(TransitionMode::Blend)).expect("a plan");
    assert!(plan.end() <= at(1503) && plan.end() > at(1480), "{}", plan.end());
    assert!(plan.stops_at() < plan.end());
}

#[test]
fn a_hold_comes_to_rest_within_the_bounds_from_the_commanded_state() {
    let chunk = rows(1000, &(0..100).map(|i| i as f32 / 50.0).collect::<Vec<_>>());
    let mut motion = motion(JointLimits { acceleration: 10.0, ..JointLimits::default() });
    let before =
        motion.plan_chunk(&new(&chunk, 1003, &[0.0]), &settings(TransitionMode::Replace)).expect("a plan").clone();
    let plan =
        motion.hold(at(1200), &settings(TransitionMode::Replace)).expect("a finite stop").expect("a plan").clone();
    let (was, velocity) = position(&before, at(1220));
    assert_eq!(position(&plan, at(1220)), (was, velocity));
    let stopping = plan.end() - at(1220);
    assert_eq!(stopping.nanos() / SAMPLE_PERIOD.nanos(), (velocity / 10.0 / DT).ceil() as i64);
    assert_eq!(position(&plan, plan.end()).1, 0.0);
    assert!(motion.hold(at(1300), &settings(TransitionMode::Replace)).expect("a finite stop").is_some());
}

#[test]
fn a_second_hold_does_not_begin_the_stop_anew() {
    let chunk = rows(1000, &(0..100).map(|i| i as f32 / 50.0).collect::<Vec<_>>());
    // Without a limit of acceleration a stop takes a set time, from whatever speed.
    let mut motion = motion(JointLimits::default());
    motion.plan_chunk(&new(&chunk, 1003, &[0.0]), &settings(TransitionMode::Replace)).expect("a plan");
    let end = motion.hold(at(1200), &settings(TransitionMode::Replace)).expect("a finite stop").expect("a stop").end();
    assert!(end > at(1300), "it takes a while");
    assert_eq!(
        motion.hold(at(1280), &settings(TransitionMode::Replace)).expect("a finite stop").map(|plan| plan.end()),
        Some(end)
    );
}

#[test]
fn a_limit_of_acceleration_lowered_in_motion_makes_no_stop_longer_than_plans_promise() {
    let fast = |seen| rows(seen, &(0..100).map(|i| 100.0 + i as f32 / 5.0).collect::<Vec<_>>());
    let lower = |motion: &mut Motion| {
        let limits = JointLimits { acceleration: 1.0, ..JointLimits::default() };
        let names: Arc<[String]> = ["a".to_owned()].into();
        motion.set_limits(MotionLimits::new(&names, [("a", limits)]).expect("valid"));
    };
    let blend = settings(TransitionMode::Blend);
    let at_speed = || {
        let mut motion = motion(JointLimits { acceleration: 40.0, ..JointLimits::default() });
        motion.plan_chunk(&new(&fast(1000), 1003, &[0.0]), &blend).expect("a plan");
        let velocity = motion.plan().map(|plan| position(plan, at(1230)).1);
        assert!(velocity.is_some_and(|velocity| velocity > 5.0), "{velocity:?}");
        motion
    };
    let mut held = at_speed();
    lower(&mut held);
    let end = held.hold(at(1210), &blend).expect("a finite stop").expect("a plan").end();
    assert!(end - at(1210) <= blend.max_blind, "the stop of a joint at 5 rad/s ends at {end}");
    // With the next chunk it slows down to where the new limit is enough, and then keeps that.
    let mut followed = at_speed();
    lower(&mut followed);
    let end = followed.plan_chunk(&new(&fast(1100), 1210, &[0.0]), &blend).expect("a plan").end();
    assert!(end - at(1210) <= blend.max_blind, "{end}");
    let plan = followed.plan_chunk(&new(&fast(1400), 1510, &[0.0]), &blend).expect("a plan").clone();
    let (slow, later) = (position(&plan, at(1530)).1, position(&plan, at(1540)).1);
    assert!(slow <= 0.25 + 1e-9 && (later - slow).abs() <= 1.0 * DT + 1e-9, "{slow} rad/s, then {later}");
}

#[test]
fn without_a_plan_there_is_nothing_to_hold_and_after_forgetting_motion_starts_from_the_joints() {
    let mut motion = motion(JointLimits::default());
    assert!(motion.hold(at(1000), &settings(TransitionMode::Blend)).expect("a finite stop").is_none());
    let chunk = rows(1000, &[1.0; 20]);
    motion.plan_chunk(&new(&chunk, 1005, &[0.5]), &settings(TransitionMode::Blend)).expect("a plan");
    motion.reset();
    let plan = motion.plan_chunk(&new(&chunk, 1105, &[0.25]), &settings(TransitionMode::Blend)).expect("a plan");
    assert_eq!(position(plan, at(1106)).0, 0.25);
}

#[test]
fn chunks_that_meet_limits_in_a_row_are_refused_and_the_plan_in_force_stays() {
    let mut motion = motion(JointLimits { velocity: 0.5, acceleration: 5.0, ..JointLimits::default() });
    let refusing = MotionSettings { refuse_after: Some(2), ..settings(TransitionMode::Blend) };
    let fast: Vec<f32> = (0..30).map(|i| i as f32 / 10.0).collect();
    // The first starts from rest, and does not count.
    for seen in [1000, 1100, 1200] {
        motion.plan_chunk(&new(&rows(seen, &fast), seen + 5, &[0.0]), &refusing).expect("counted only");
    }
    let in_force = motion.plan().expect("a plan").clone();
    let error = motion.plan_chunk(&new(&rows(1300, &fast), 1305, &[0.0]), &refusing).expect_err("the third");
    assert!(error.to_string().contains("3 chunks in a row") && error.to_string().contains("`a`"), "{error}");
    assert_eq!(motion.plan(), Some(&in_force));
    assert!(motion.counts().of(0)[1] > 0 && motion.counts().chunks == 4, "{:?}", motion.counts());
    // At rest where it is asked to be: no limit is met, and the row is over.
    let standing = position(&in_force, at(2000)).0;
    let still = rows(1500, &[standing as f32; 40]);
    motion.plan_chunk(&new(&still, 1900, &[standing]), &refusing).expect("goes on");
    assert_eq!(motion.counts().chunks_in_a_row, 0);
}

#[test]
fn refused_motion_may_start_again_from_rest_and_after_forgetting() {
    let refusing = MotionSettings { refuse_after: Some(0), ..settings(TransitionMode::Blend) };
    let fast: Vec<f32> = (0..30).map(|i| i as f32 / 10.0).collect();
    let mut motion = motion(JointLimits { velocity: 0.5, acceleration: 5.0, ..JointLimits::default() });
    motion.plan_chunk(&new(&rows(1000, &fast), 1005, &[0.0]), &refusing).expect("from rest");
    motion.plan_chunk(&new(&rows(1100, &fast), 1105, &[0.0]), &refusing).expect_err("in motion");
    motion.plan_chunk(&new(&rows(2000, &fast), 2005, &[0.0]), &refusing).expect("from rest again");
    motion.plan_chunk(&new(&rows(2100, &fast), 2105, &[0.0]), &refusing).expect_err("in motion");
    motion.reset();
    assert_eq!(motion.counts().chunks_in_a_row, 0);
}

#[test]
fn a_refused_chunk_has_no_part_in_the_ensemble() {
    let refusing = MotionSettings { refuse_after: Some(0), ..settings(TransitionMode::Ensemble) };
    let limited = JointLimits { max: 1.0, velocity: 2.0, acceleration: 20.0, ..JointLimits::default() };
    let (mut with, mut without) = (motion(limited), motion(limited));
    for motion in [&mut with, &mut without] {
        motion.plan_chunk(&new(&rows(1000, &[0.0; 40]), 1005, &[0.0]), &refusing).expect("a plan");
    }
    with.plan_chunk(&new(&rows(1050, &[5.0; 40]), 1055, &[0.0]), &refusing).expect_err("beyond the limit");
    let chunk = rows(1100, &[0.01; 40]);
    let trajectories = [&mut with, &mut without]
        .map(|motion| motion.plan_chunk(&new(&chunk, 1105, &[0.0]), &refusing).expect("a plan").trajectory.clone());
    assert_eq!(trajectories[0], trajectories[1]);
}

#[test]
fn without_a_plan_and_without_positions_nothing_starts() {
    let mut motion = motion(JointLimits::default());
    let chunk = rows(1000, &[1.0; 20]);
    for measured in [None, Some(&[][..])] {
        let error =
            motion.plan_chunk(&NewChunk { measured, ..new(&chunk, 1005, &[]) }, &settings(TransitionMode::Blend));
        assert!(matches!(&error, Err(Error::NoStart { joints, .. }) if joints == "a"), "{error:?}");
    }
    motion.plan_chunk(&new(&chunk, 1005, &[0.0]), &settings(TransitionMode::Blend)).expect("a plan");
    motion
        .plan_chunk(&NewChunk { measured: None, ..new(&chunk, 1055, &[]) }, &settings(TransitionMode::Blend))
        .expect("from the plan");
    let end = motion.plan().expect("a plan").end();
    let later = Chunk { observation_stamp: end, ..rows(0, &[1.0; 20]) };
    let over = NewChunk { measured: None, now: end, ..new(&later, 0, &[]) };
    assert!(
        matches!(motion.plan_chunk(&over, &settings(TransitionMode::Blend)), Err(Error::NoStart { .. })),
        "it is over"
    );
}

#[test]
fn rtc_with_no_row_left_to_ramp_ramps_over_the_blend() {
    let mut motion = motion(JointLimits::default());
    let rtc = settings(TransitionMode::Rtc);
    motion.plan_chunk(&new(&rows(1000, &[0.0; 40]), 1005, &[0.0]), &rtc).expect("a plan");
    let chunk = rows(1100, &[1.0; 40]);
    let plan = motion.plan_chunk(&NewChunk { frozen: (2, 0), ..new(&chunk, 1105, &[]) }, &rtc).expect("a plan");
    let share = 2.6 * 10.0 / 100.0;
    assert!(
        position(plan, at(1140)).0 == 0.0 && position(plan, at(1150)).0 <= share && position(plan, at(1240)).0 == 1.0
    );
}

#[test]
fn a_stop_is_newer_than_the_chunk_before_it_also_when_its_time_was_read_before() {
    let mut motion = motion(JointLimits::default());
    let chunk = rows(1000, &[1.0; 20]);
    let plan = motion.plan_chunk(&new(&chunk, 1005, &[0.0]), &settings(TransitionMode::Blend)).expect("a plan");
    let (sequence, created_at) = (plan.sequence(), plan.created_at());
    let stop = motion.hold(at(1003), &settings(TransitionMode::Blend)).expect("a finite stop").expect("a stop");
    assert!(stop.sequence() > sequence && stop.created_at() == created_at, "{}", stop.created_at());
    let stop = stop.sequence();
    // Of another motion, as after a policy was loaded again.
    let mut other = self::motion(JointLimits::default());
    let plan = other.plan_chunk(&new(&chunk, 1005, &[0.0]), &settings(TransitionMode::Blend)).expect("a plan");
    assert!(plan.sequence() > stop);
}

#[test]
fn nan_never_gets_into_a_plan() {
    let mut motion = motion(JointLimits::default());
    let chunk = rows(1000, &[1.0; 20]);
    assert_eq!(
        motion.plan_chunk(&new(&chunk, 1005, &[f64::NAN]), &settings(TransitionMode::Blend)),
        Err(Error::PlanNotFinite)
    );
    assert!(motion.plan().is_none());
    motion.plan_chunk(&new(&chunk, 1005, &[0.0]), &settings(TransitionMode::Blend)).expect("a plan");
    let wild = rows(1100, &[f32::MAX; 20]);
    assert!(
        motion.plan_chunk(&new(&wild, 1105, &[0.0]), &settings(TransitionMode::Blend)).expect("finite").is_finite()
    );
}

#[test]
fn rows_beyond_a_position_limit_are_counted_by_joint() {
    let mut motion = motion(JointLimits { max: 0.5, ..JointLimits::default() });
    let plan = motion
        .plan_chunk(&new(&rows(1000, &[0.6; 20]), 1005, &[0.5]), &settings(TransitionMode::Blend))
        .expect("a plan")
        .clone();
    assert!(motion.counts().of(0)[0] > 20 && motion.counts().chunks == 1);
    assert!((position(&plan, plan.end()).0 - 0.5).abs() < 1e-9);
}

#[test]
fn the_committed_trajectory_excludes_the_final_stop() {
    let chunk = rows(1000, &(0..100).map(|i| i as f32 / 50.0).collect::<Vec<_>>());
    let mut motion = motion(JointLimits::default());
    motion.plan_chunk(&new(&chunk, 1005, &[0.0]), &settings(TransitionMode::Replace)).expect("a plan");
    let after_the_stop = chunk.due(60);
    assert!(motion.plan().is_some_and(|plan| plan.end() < after_the_stop));
    let in_time = at(1100);
    assert_eq!(motion.committed(after_the_stop, 0, in_time), Some(f64::from(60.0f32 / 50.0)));
    assert_eq!(motion.committed(at(900), 0, in_time), Some(0.0), "where it stood before");
    assert_eq!(motion.committed(at(9000), 0, in_time), None);
    // To a chunk that comes when the stop has begun the stop is committed.
    let plan = motion.plan().expect("a plan").clone();
    let rest = position(&plan, plan.end()).0;
    let too_late = plan.stops_at() + SAMPLE_PERIOD;
    assert_eq!(motion.committed(after_the_stop, 0, too_late), Some(rest));
}

#[test]
fn committed_rows_of_the_past_are_the_commands_of_the_plan_then_in_force() {
    let mut motion = motion(JointLimits::default());
    let line = |seen: i64| {
        rows(seen, &(1..100).map(|i| (seen as f32 - 1000.0) / 1000.0 + i as f32 / 50.0).collect::<Vec<_>>())
    };
    let mut plans = Vec::new();
    // Published 300 ms after the observation, every 200 ms: the next observation is older than the plan in force.
    for seen in [1000, 1200, 1400, 1600] {
        plans.push(
            motion
                .plan_chunk(&new(&line(seen), seen + 300, &[0.0]), &settings(TransitionMode::Rtc))
                .expect("a plan")
                .clone(),
        );
    }
    for (ms, plan) in [(1450, 0), (1550, 1), (1650, 1), (1750, 2)] {
        let commanded = position(&plans[plan], at(ms)).0;
        let committed = motion.committed(at(ms), 0, at(2050)).expect("the past");
        assert!((committed - commanded).abs() < 1e-12, "{ms}: {committed} and {commanded}");
    }
}

/// A sequence of chunks of any rows, each some time after the one before, and how late it is published.
fn chunks() -> impl Strategy<Value = Vec<(Vec<f32>, i64, i64)>> {
    prop::collection::vec((prop::collection::vec(-1.5f32..1.5, 12..40), 20i64..400, 0i64..200), 2..8)
}

/// Runs the sequence and samples the command every millisecond: (position, velocity).
fn command(motion: &mut Motion, chunks: &[(Vec<f32>, i64, i64)], settings: &MotionSettings) -> Vec<(f64, f64)> {
    let mut seen = 1000;
    let mut command = Vec::new();
    let mut handed: Vec<(i64, Arc<MotionPlan>)> = Vec::new();
    for (values, gap, late) in chunks {
        seen += gap;
        let chunk = rows(seen, values);
        let now = handed.last().map_or(seen + late, |(before, _)| (seen + late).max(before + 1));
        // The robot is where it was commanded to be.
        let measured = [handed.last().map_or(0.0, |(_, plan)| position(plan, at(now)).0)];
        let new = NewChunk { frozen: ((late / 20 + 1) as usize, 6), ..new(&chunk, now, &measured) };
        handed.push((now, motion.plan_chunk(&new, settings).expect("a plan").clone()));
    }
    for (index, (now, plan)) in handed.iter().enumerate() {
        let until = handed.get(index + 1).map_or(now + 800, |(next, _)| *next);
        command.extend((*now..until).map(|ms| position(plan, at(ms))));
    }
    command
}

fn modes() -> impl Strategy<Value = TransitionMode> {
    prop_oneof![
        Just(TransitionMode::Replace),
        Just(TransitionMode::Blend),
        Just(TransitionMode::Ensemble),
        Just(TransitionMode::Rtc)
    ]
}

proptest! {
    /// Whatever chunks come, at whatever times.
    #[test]
    fn bounds_are_kept_at_every_millisecond_of_any_sequence_of_chunks(
        chunks in chunks(), mode in modes(), velocity in 0.2f64..4.0, acceleration in 2.0f64..40.0,
    ) {
        let mut motion = motion(JointLimits { min: -1.0, max: 1.0, velocity, acceleration, ..JointLimits::default() });
        let command = command(&mut motion, &chunks, &settings(mode));
        for pair in command.windows(2) {
            let ((before, was), (position, speed)) = (pair[0], pair[1]);
            prop_assert!((-1.0 - 1e-9..=1.0 + 1e-9).contains(&position), "position {position}");
            prop_assert!(speed.abs() <= velocity * (1.0 + 1e-6), "velocity {speed}");
            prop_assert!((speed - was).abs() <= acceleration * 0.001 * (1.0 + 1e-6) + 1e-9, "from {was} to {speed}");
            prop_assert!((position - before).abs() <= velocity * 0.001 * (1.0 + 1e-6) + 1e-9);
        }
        prop_assert_eq!(command.last().map(|end| end.1), Some(0.0), "at rest in the end");
    }

    /// The bound: over one step of the grid the command moves as committed, give or take the mode's share of the gap.
    #[test]
    fn position_is_continuous_at_a_hand_over_in_every_mode_but_replace(
        first in -1.0f32..1.0, second in -1.0f32..1.0, now in 1105i64..1250,
        mode in prop_oneof![Just(TransitionMode::Blend), Just(TransitionMode::Ensemble), Just(TransitionMode::Rtc)],
    ) {
        let mut motion = motion(JointLimits::default());
        let settings = settings(mode);
        let before = motion.plan_chunk(&new(&rows(1000, &[first; 40]), 1005, &[f64::from(first)]), &settings).expect("a plan").clone();
        let chunk = rows(1100, &[second; 40]);
        let new = NewChunk { frozen: (8, 6), ..new(&chunk, now, &[]) };
        let after = motion.plan_chunk(&new, &settings).expect("a plan");
        let over = stamp_of(after.from);
        let gap = f64::from((second - first).abs());
        prop_assert!((position(after, over).0 - position(&before, over).0).abs() < 1e-12);
        let next = over + SAMPLE_PERIOD;
        let jump = (position(after, next).0 - position(&before, next).0).abs();
        // Blend: half a cosine over 100 ms, (1 - cos(pi / 10)) / 2. Rtc: the steepest part of the ramp over 6 rows of 20 ms.
        let share = if mode == TransitionMode::Rtc { 2.6 * 10.0 / 120.0 } else { 0.0245 };
        prop_assert!(jump <= share * gap + 1e-6, "{jump} of {gap}");
    }

    /// A killed node leaves the last plan, and that is at rest by `max_blind` after it was made.
    #[test]
    fn every_plan_is_at_rest_by_max_blind(
        chunks in chunks(), mode in modes(), blind in 100i64..900, acceleration in prop::option::of(2.0f64..40.0),
    ) {
        let acceleration = acceleration.unwrap_or(f64::INFINITY);
        let mut motion = motion(JointLimits { acceleration, ..JointLimits::default() });
        let settings = MotionSettings { max_blind: Span::from_nanos(blind * MS), ..settings(mode) };
        let mut now = 1000;
        for (values, gap, _) in &chunks {
            now += gap;
            let chunk = rows(now - 10, values);
            let plan = motion.plan_chunk(&new(&chunk, now, &[0.0]), &settings).expect("a plan");
            prop_assert!(plan.end() <= at(now + blind), "ends {} ms after {now}", (plan.end() - at(now)).millis());
            prop_assert_eq!(position(plan, plan.end()).1, 0.0);
            prop_assert!(plan.is_finite());
        }
    }
}
