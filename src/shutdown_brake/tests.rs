//! A thread of the node dies under a robot that moves.

use std::time::{Duration, Instant};

use super::*;
use crate::threads::{StoppableThread, ThreadEnds};
use vla_base::time::Span;
use vla_motion::{Chunk, NewChunk};
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape};

fn settings() -> Arc<Settings> {
    let shape = PolicyShape {
        cameras: vec!["top".into()],
        blank_views: Vec::new(),
        video_history: vec![0],
        state: vec![("arm".into(), 2)],
        state_history: vec![0],
        action_keys: vec![("arm".into(), 2)],
        eef_actions: Vec::new(),
        stages: vec!["step".into()],
        denoise_steps: vec![4],
        default_steps: 4,
        step: Span::from_millis(20.0),
        accepts_prefix: false,
        instruction: None,
        deltas: Vec::new(),
    };
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a name"));
    for assignment in [
        "policy:=none",
        "state.arm.joints:=[pan, lift]",
        "limits.pan.velocity:=3.0",
        "limits.lift.velocity:=3.0",
        "limits.pan.acceleration:=20.0",
        "limits.lift.acceleration:=20.0",
    ] {
        overrides.add_argument(assignment).expect("an assignment");
    }
    Parameters::new(shape, &overrides).expect("settings").settings().clone()
}

/// Both joints move by 1 rad/s for a second.
fn moving(settings: &Settings, now: Stamp) -> Control {
    let names: Arc<[String]> = ["pan", "lift"].map(str::to_owned).into();
    let control = Control::new(names.clone());
    control.apply(settings);
    let chunk = Chunk {
        names: names.to_vec().into(),
        rows: 50,
        values: (1..=50).flat_map(|row| [row as f32 / 50.0; 2]).collect(),
        observation_stamp: now,
        step: Span::from_millis(20.0),
        ..Chunk::default()
    };
    let new = NewChunk { chunk: &chunk, now, clamped: 0, measured: Some(&[0.0, 0.0]), frozen: (0, 0) };
    control.accept_chunk(&new, 0, settings, &mut TrajectoryBuffer::default()).expect("a chunk in force");
    control
}

#[test]
fn a_watchdog_that_panics_is_reported_and_the_robot_is_told_to_rest() {
    let (settings, start) = (settings(), Stamp::from_nanos(1_000_000_000));
    let control = moving(&settings, start);
    let (ends, mut reports) = ThreadEnds::channel();
    let watchdog = StoppableThread::start("watchdog", &ends, |_| panic!("a fault of this test")).expect("a thread");

    let end = reports.blocking_recv().expect("a report");
    assert_eq!((end.thread, end.panicked), ("watchdog", true));
    let now = start + Span::from_millis(200.0);
    let mut sent = Vec::new();
    let publish = |braked: Braked, stop: &TrajectoryBuffer| {
        assert!(braked.must_publish());
        sent.push((stop.plan_sequence(), stop.message().clone()));
        Ok::<(), ()>(())
    };
    end_motion(&control, now, &settings, publish).expect("taken");

    let (plan, stop) = sent.pop().expect("a stop");
    assert!(plan > 1, "newer than the chunk's plan");
    let last = stop.points.last().expect("points");
    assert!(last.velocities.iter().all(|&velocity| velocity == 0.0), "{last:?}");
    assert!(last.time_from_start < Span::from_millis(500.0), "{last:?}");
    // Nothing moves after it: the next chunk is refused.
    let chunk = Chunk { rows: 1, observation_stamp: now, step: Span::from_millis(20.0), ..Chunk::default() };
    let new = NewChunk { chunk: &chunk, now, clamped: 0, measured: None, frozen: (0, 0) };
    assert!(control.accept_chunk(&new, 0, &settings, &mut TrajectoryBuffer::default()).is_err());
    assert!(watchdog.stop(Instant::now() + Duration::from_secs(60)));
}

#[test]
fn nothing_is_sent_to_a_robot_that_does_not_move() {
    let settings = settings();
    let control = Control::new(["pan", "lift"].map(str::to_owned).into());
    let publish = |_, _: &TrajectoryBuffer| -> Result<(), ()> { panic!("nothing moves") };
    end_motion(&control, Stamp::from_nanos(1), &settings, publish).expect("nothing to send");
}

#[test]
fn a_stop_may_take_as_long_as_the_plan_in_force_does_whatever_was_set_meanwhile() {
    let settings = settings();
    let now = Stamp::from_nanos(1_000_000_000);
    let control = moving(&settings, now);
    let mut lower = (*settings).clone();
    lower.motion.max_blind = Span::from_millis(100.0);
    let left = Duration::from_nanos(control.time_to_rest(now).nanos().unsigned_abs());
    assert!(left > Duration::from_millis(400), "the plan is of 500 ms: {left:?}");
    assert_eq!(longest_stop(Some(&control), now, &lower), left + MARGIN);
    assert_eq!(longest_stop(None, now, &lower), Duration::from_millis(50) + MARGIN);
}
