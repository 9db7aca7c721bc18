//! The motion as node and replay share it: violations, the watchdog, resuming, and the limits of a robot description.

use vla_trt_tests::demo;

use std::sync::Arc;

use vla_base::time::{Span, Stamp};
use vla_messages::{HeaderView, write};
use vla_motion::{Chunk, Error, NewChunk, WatchdogState};
use vla_policy::observation::{InputKind, Inputs, OnViolation};
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::{Parameters, Settings, Value};
use vla_runtime::session::{Braked, Control};

mod description;

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

/// A robot of two joints whose chunks move both by 1 rad/s.
struct Robot {
    control: Control,
    settings: Settings,
    inputs: Inputs,
    out: TrajectoryBuffer,
}

const JOINTS: [&str; 2] = ["left_waist", "left_shoulder"];

impl Robot {
    fn new(assignments: &[&str]) -> Self {
        let policy = demo::policy();
        // The joint states of most tests stand still.
        let still = ["inputs.joints.stuck_after_ms:=0.0"];
        let assignments = [&still, assignments].concat();
        let settings = Settings::clone(&demo::settings(policy.path(), &assignments));
        let settings = Settings { policy: "gone".into(), ..settings };
        let inputs = Inputs::new(settings.inputs.clone());
        inputs.set_instruction("move");
        let names: Arc<[String]> = JOINTS.map(str::to_owned).into();
        Self { control: Control::new(names), settings, inputs, out: TrajectoryBuffer::default() }
    }

    fn ready(assignments: &[&str]) -> Self {
        let robot = Self::new(assignments);
        robot.control.apply(&robot.settings);
        robot
    }

    fn sense(&self, now: i64, joints: bool) {
        let header = HeaderView { stamp: at(now), frame_id: "" };
        let names = self.settings.joint_names();
        // Cameras that are not stuck: no frame is like the one before.
        let [low, high, ..] = now.to_le_bytes();
        let frame = [0xFF, 0xD8, 0xFF, 0xD9, low, high];
        for (index, input) in self.settings.inputs.iter().enumerate() {
            let bytes = match input.kind {
                InputKind::Camera { .. } => write::compressed_image(header, "jpeg", &frame),
                InputKind::Joints if joints => write::joint_state(header, &names, &vec![0.0; names.len()], &[], &[]),
                _ => continue,
            };
            self.inputs.offer(index, bytes.into(), at(now)).expect("a good message");
        }
    }

    /// Takes the limits of the parameters' settings.
    fn apply(&mut self, parameters: &Parameters) {
        self.settings.limits = parameters.settings().limits.clone();
        self.control.apply(&self.settings);
    }

    /// Whether the chunk moves the joints.
    fn chunk(&mut self, seen: i64, now: i64) -> Result<bool, Error> {
        let values = (1..=50).flat_map(|row| [row as f32 / 50.0; 2]).collect();
        let chunk = Chunk {
            names: JOINTS.map(str::to_owned).into(),
            rows: 50,
            values,
            observation_stamp: at(seen),
            step: Span::from_millis(20.0),
            ..Chunk::default()
        };
        let new = NewChunk { chunk: &chunk, now: at(now), clamped: 0, measured: Some(&[0.0, 0.0]), frozen: (0, 0) };
        self.control.accept_chunk(&new, 0, &self.settings, &mut self.out)
    }

    fn watch(&mut self, now: i64) -> (WatchdogState, bool) {
        let watched = self.control.watch(at(now), &self.inputs, &self.settings, &mut self.out);
        (self.control.state(), watched.braked.must_publish())
    }
}

#[test]
fn inputs_that_go_stale_are_seen_without_an_inference_and_motion_is_held() {
    let mut robot = Robot::ready(&["inputs.on_violation:=hold"]);
    robot.sense(10_000, true);
    robot.chunk(10_000, 10_020).expect("in force");
    robot.sense(10_200, false);
    assert_eq!(robot.watch(10_200), (WatchdogState::Running, false));
    // config/aloha.yaml lets a joint state be 200 ms old.
    assert_eq!(robot.watch(10_210), (WatchdogState::Holding, true));
    let stop = robot.out.message().clone();
    assert_eq!(stop.stamp, at(10_210));
    assert!(stop.points.first().is_some_and(|point| point.velocities[0] > 0.5), "from the commanded motion");
    assert!(stop.points.last().is_some_and(|point| point.velocities == [0.0, 0.0]));
    assert_eq!(robot.watch(10_220), (WatchdogState::Holding, false), "told once");
    assert!(matches!(robot.chunk(10_205, 10_260), Err(Error::BeforeHold { .. })), "what was under way is not followed");
    robot.chunk(10_240, 10_280).expect("fresh inputs go on");
    assert_eq!(robot.control.state(), WatchdogState::Running);
}

/// The left side's joint states as a driver sends them: with the plan, or the last one for ever.
fn drive(robot: &Robot, now: i64, left: f64, right: f64) {
    let header = HeaderView { stamp: at(now), frame_id: "" };
    let input = robot.settings.inputs.iter().position(|input| input.kind == InputKind::Joints).expect("joint states");
    let (names, left_only): (Vec<String>, _) = (robot.settings.joint_names(), |name: &String| name.starts_with("left"));
    for (side, position, stamp) in [(true, left, now), (false, right, now - 1)] {
        let names: Vec<&String> = names.iter().filter(|name| left_only(name) == side).collect();
        let header = HeaderView { stamp: at(stamp), ..header };
        let bytes = write::joint_state(header, &names, &vec![position; names.len()], &[], &[]);
        robot.inputs.offer(input, bytes.into(), at(now)).expect("a good message");
    }
}

#[test]
fn joint_states_that_repeat_bit_by_bit_while_the_plan_moves_the_joints_are_a_violation() {
    // When the watchdog saw it, if it did. `left`: what the driver of the moved joints sends.
    let seen = |left: fn(i64) -> f64, assignment: &str| {
        let mut robot =
            Robot::ready(&["inputs.on_violation:=hold", "inputs.joints.stuck_after_ms:=1000.0", assignment]);
        for now in (10_000..13_000).step_by(10) {
            robot.sense(now, false);
            drive(&robot, now, left(now), 0.001 * now as f64);
            if (now - 10_000) % 200 == 0 {
                robot.chunk(now, now).expect("in force");
            }
            if robot.watch(now).0 == WatchdogState::Holding {
                let reason = robot.control.status(&robot.settings).reason.expect("a reason");
                return Some((now - 10_000, reason.to_string()));
            }
        }
        None
    };
    let (after, reason) = seen(|_| 0.25, "seed:=1").expect("the driver is stuck");
    assert!((1000..1200).contains(&after), "{after} ms after the plan began to move");
    assert!(
        reason.starts_with("joints stuck: the position of `left_waist` has been the same, bit by bit, for 10"),
        "{reason}"
    );
    assert_eq!(seen(|now| 0.25 + 1e-9 * (now / 900) as f64, "seed:=1"), None, "one bit in 900 ms is life");
    assert_eq!(seen(|_| 0.25, "inputs.joints.stuck_after_ms:=0.0"), None, "switched off");
}

/// A robot whose driver was found stuck at 0.25, and when.
fn found_stuck() -> (Robot, i64) {
    let mut robot = Robot::ready(&["inputs.on_violation:=hold", "inputs.joints.stuck_after_ms:=1000.0"]);
    for now in (10_000..13_000).step_by(10) {
        robot.sense(now, false);
        drive(&robot, now, 0.25, 0.001 * now as f64);
        if (now - 10_000) % 200 == 0 {
            robot.chunk(now, now).expect("in force");
        }
        if robot.watch(now).0 == WatchdogState::Holding {
            return (robot, now);
        }
    }
    panic!("the driver is stuck");
}

#[test]
fn a_driver_that_was_found_stuck_stays_so_at_rest_until_its_joint_states_change_or_it_was_silent() {
    // Positions that come next, and how long after: the same ones, others, and the same ones of a driver that was started again.
    for (position, pause, is_stuck) in [(0.25, 500, true), (0.26, 500, false), (0.25, 1600, false)] {
        let (mut robot, found) = found_stuck();
        if pause == 500 {
            for now in (found + 10..found + pause).step_by(10) {
                drive(&robot, now, 0.25, 0.0);
                robot.watch(now);
                assert!(robot.control.check_joints(at(now)).is_err(), "{now}: nothing moves, and nothing was mended");
            }
        }
        let now = found + pause;
        drive(&robot, now, position, 0.0);
        robot.watch(now);
        assert_eq!(robot.control.check_joints(at(now)).is_err(), is_stuck, "{position} after {pause} ms");
    }
}

#[test]
fn one_joint_that_is_blocked_while_the_others_rest_is_no_driver_that_is_stuck() {
    let mut robot = Robot::ready(&["inputs.on_violation:=hold", "inputs.joints.stuck_after_ms:=1000.0"]);
    for now in (10_000..13_000).step_by(10) {
        robot.sense(now, false);
        drive(&robot, now, 0.25, 0.001 * now as f64);
        if (now - 10_000) % 200 == 0 {
            let chunk = Chunk {
                names: JOINTS.map(str::to_owned).to_vec().into(),
                rows: 50,
                values: (0..50).flat_map(|row| [0.02 * row as f32, 0.0]).collect(),
                observation_stamp: at(now),
                step: Span::from_millis(20.0),
                ..Chunk::default()
            };
            let new = NewChunk { chunk: &chunk, now: at(now), clamped: 0, measured: Some(&[0.0, 0.0]), frozen: (0, 0) };
            robot.control.accept_chunk(&new, 0, &robot.settings, &mut robot.out).expect("in force");
        }
        assert_ne!(robot.watch(now).0, WatchdogState::Holding, "{now}");
    }
}

#[test]
fn with_skip_the_plan_runs_out_by_itself_and_a_long_hold_needs_resume() {
    let mut robot = Robot::ready(&["watchdog.stop_after_ms:=300.0", "rate_hz:=10.0"]);
    robot.sense(10_000, true);
    robot.chunk(10_000, 10_020).expect("in force");
    let states: Vec<WatchdogState> = (10_030..11_000).step_by(10).map(|now| robot.watch(now).0).collect();
    let mut passed = states.clone();
    passed.dedup();
    let expected = [WatchdogState::Running, WatchdogState::Late, WatchdogState::Holding, WatchdogState::Stopped];
    assert_eq!(passed, expected);
    assert_eq!(robot.chunk(10_990, 11_000), Err(Error::Stopped));
    assert!(robot.control.resume(at(11_010)) && robot.control.plan().is_none());
    assert!(matches!(robot.chunk(10_500, 11_020), Err(Error::BeforeHold { .. })));
    robot.chunk(11_015, 11_040).expect("fresh inputs move it again");
    let start = robot.out.message().points.first().expect("points");
    assert_eq!(start.positions, [0.0, 0.0], "from where the joints are");
}

#[test]
fn a_robot_that_is_resumed_while_it_brakes_comes_to_rest_first() {
    let mut robot = Robot::ready(&["limits.left_waist.acceleration:=5.0"]);
    robot.chunk(10_000, 10_020).expect("in force");
    let Robot { control, settings, out, .. } = &mut robot;
    assert!(control.brake(at(10_200), OnViolation::Stop, &"why", settings, out).must_publish());
    let rest = control.plan().expect("the stop").end();
    assert!(rest > at(10_300) && control.resume(at(10_250)));
    assert_eq!(control.plan().map(|plan| plan.end()), Some(rest), "streamed to its end");
    let rest = rest.nanos() / 1_000_000;
    assert!(matches!(robot.chunk(10_260, 10_280), Err(Error::BeforeHold { .. })), "seen while it braked");
    robot.chunk(rest + 10, rest + 30).expect("seen at rest");
}

#[test]
fn a_clock_set_back_after_long_running_lets_motion_start_only_when_the_old_plan_is_over() {
    for (rule, after) in [("skip", WatchdogState::Idle), ("stop", WatchdogState::Stopped)] {
        let mut robot = Robot::ready(&[&format!("inputs.on_violation:={rule}")]);
        for now in (10_000..60_000).step_by(100) {
            robot.sense(now, true);
            robot.chunk(now, now + 20).expect("in force");
            assert_eq!(robot.watch(now + 20), (WatchdogState::Running, false));
        }
        let left = (robot.control.plan().expect("moves").end() - at(59_920)).nanos() / 1_000_000;
        assert!(left > 300);
        assert!(matches!(robot.chunk(54_900, 54_910), Err(Error::SetBack { .. })), "not seen yet");
        assert_eq!(robot.watch(54_920), (after, false));
        assert!(robot.control.plan().is_none());
        let reason = robot.control.status(&robot.settings).reason;
        assert_eq!(reason.as_deref(), Some("the clock was set back by 5000 ms"));
        if after == WatchdogState::Idle {
            assert!(matches!(robot.chunk(54_920 + left, 54_930 + left), Err(Error::BeforeHold { .. })));
            robot.chunk(54_921 + left, 54_941 + left).expect("at rest");
        }
    }
}

#[test]
fn nothing_moves_after_the_end_of_the_node() {
    let mut robot = Robot::ready(&[]);
    robot.chunk(10_000, 10_020).expect("in force");
    assert!(robot.control.end(at(10_100), &robot.settings, &mut robot.out).must_publish());
    assert!(robot.out.message().points.last().is_some_and(|point| point.velocities == [0.0, 0.0]));
    assert_eq!(robot.chunk(10_110, 10_120), Err(Error::Ending));
}

#[test]
fn a_chunk_of_an_observation_ahead_of_the_clock_is_refused() {
    let mut robot = Robot::ready(&[]);
    let tolerance = robot.settings.rules.future_tolerance.nanos() / 1_000_000;
    let refused = robot.chunk(10_001 + tolerance, 10_000);
    assert!(matches!(refused, Err(Error::FromFuture { .. })), "{refused:?}");
    robot.chunk(10_000 + tolerance, 10_000).expect("within the tolerance");
}

#[test]
fn a_stop_is_entered_once_and_nothing_is_stopped_that_did_not_move() {
    let mut robot = Robot::ready(&["inputs.on_violation:=stop"]);
    let Robot { control, settings, out, .. } = &mut robot;
    let mut stop = |now| control.brake(at(now), OnViolation::Stop, &"why", settings, out);
    assert!(!stop(10_000).entered());
    robot.chunk(10_000, 10_020).expect("in force");
    let Robot { control, settings, out, .. } = &mut robot;
    let mut stop = |now| control.brake(at(now), OnViolation::Stop, &"why", settings, out);
    let entered = stop(10_100);
    assert!(entered.entered() && entered.must_publish() && !stop(10_110).entered());
    assert_eq!(robot.control.status(&robot.settings).reason.as_deref(), Some("why"));
}

#[test]
fn an_operators_stop_brakes_at_once_and_latches_and_the_second_call_changes_nothing() {
    let mut robot = Robot::ready(&["inputs.on_violation:=skip", "limits.left_waist.acceleration:=8.0"]);
    robot.chunk(10_000, 10_020).expect("in force");
    let Robot { control, settings, out, .. } = &mut robot;
    let mut stop = |now| control.stop(at(now), &"~/stop was called", settings, out);
    assert_eq!((stop(10_200), stop(10_210)), (Braked::Braking, Braked::Already));
    let stop = robot.out.message().clone();
    assert_eq!(stop.stamp, at(10_200));
    assert!(stop.points.first().is_some_and(|point| point.velocities[0] > 0.5), "from the commanded motion");
    assert!(stop.points.last().is_some_and(|point| point.velocities == [0.0, 0.0]));
    let speeds = || stop.points.iter().map(|point| point.velocities[0]);
    assert!(speeds().zip(speeds().skip(1)).all(|(before, after)| before - after <= 8.0 * 0.01 + 1e-9), "within limits");
    assert_eq!(robot.chunk(10_215, 10_230), Err(Error::Stopped));
    let status = robot.control.status(&robot.settings);
    assert_eq!((status.reason.as_deref(), status.expected, status.stops), (Some("~/stop was called"), true, 1));
}

#[test]
fn an_operators_stop_latches_also_before_anything_moved_and_while_the_motion_is_held() {
    let mut robot = Robot::ready(&["inputs.on_violation:=hold"]);
    let Robot { control, settings, out, .. } = &mut robot;
    assert_eq!(control.stop(at(10_000), &"why", settings, out), Braked::AtRest);
    assert_eq!(robot.chunk(10_010, 10_020), Err(Error::Stopped));
    assert!(robot.control.resume(at(10_030)));
    robot.chunk(10_040, 10_060).expect("in force");
    let Robot { control, settings, out, .. } = &mut robot;
    assert_eq!(control.brake(at(10_200), OnViolation::Hold, &"an input", settings, out), Braked::Braking);
    assert!(control.stop(at(10_210), &"why", settings, out).entered());
    assert_eq!(robot.control.state(), WatchdogState::Stopped);
}

#[test]
fn what_is_at_rest_is_stopped_without_being_sent_anywhere() {
    let mut robot = Robot::ready(&["inputs.on_violation:=stop", "watchdog.stop_after_ms:=0.0"]);
    robot.chunk(10_000, 10_020).expect("in force");
    let end = robot.control.plan().expect("moves").end().nanos() / 1_000_000;
    robot.control.poll(at(end + 500), &robot.settings);
    let plan = robot.out.plan_sequence();
    let Robot { control, settings, out, .. } = &mut robot;
    // A hand may have moved the arm since the plan was over.
    assert_eq!(control.brake(at(end + 510), OnViolation::Stop, &"why", settings, out), Braked::AtRest);
    assert_eq!(robot.out.plan_sequence(), plan, "no trajectory was written");
    assert_eq!(robot.control.state(), WatchdogState::Stopped);
}

#[test]
fn motion_on_demand_that_is_over_is_expected_and_a_violation_in_it_is_not() {
    let mut robot = Robot::ready(&["rate_hz:=-1.0", "inputs.on_violation:=hold"]);
    robot.sense(10_000, true);
    robot.chunk(10_000, 10_020).expect("in force");
    let end = robot.control.plan().expect("moves").end().nanos() / 1_000_000;
    robot.sense(end, true);
    assert_eq!(robot.watch(end + 10).0, WatchdogState::Holding);
    let status = robot.control.status(&robot.settings);
    assert_eq!((status.reason.as_deref(), status.expected), (Some("the motion that was asked for is over"), true));
    robot.chunk(end, end + 20).expect("in force");
    robot.sense(end + 30, true);
    assert_eq!(robot.watch(end + 240).0, WatchdogState::Holding);
    let status = robot.control.status(&robot.settings);
    assert!(!status.expected && status.reason.is_some_and(|reason| reason.contains("joints stale")));
}

#[test]
fn a_joint_without_a_limit_of_velocity_keeps_every_joint_from_moving() {
    let unlimited = "limits.left_shoulder.velocity:=.inf";
    let mut robot = Robot::ready(&[unlimited]);
    assert_eq!(robot.chunk(10_000, 10_020), Ok(false), "the chunk is good, and moves nothing");
    assert!(robot.control.plan().is_none() && robot.out.message().points.is_empty());
    let forbidden = robot.control.status(&robot.settings).forbidden.expect("said so");
    assert!(forbidden.contains("`left_shoulder`") && forbidden.contains("limits.<joint>.velocity"), "{forbidden}");
    assert!(!forbidden.contains("left_waist"), "{forbidden}");
    let mut openly = Robot::ready(&[unlimited, "motion.allow_unlimited:=true"]);
    assert_eq!(openly.chunk(10_000, 10_020), Ok(true));
    assert_eq!(openly.control.status(&openly.settings).forbidden, None);
}

#[test]
fn a_limit_that_is_taken_away_while_the_robot_moves_lets_the_plan_in_force_come_to_rest() {
    let policy = demo::policy();
    let mut parameters = demo::parameters(policy.path(), &[]);
    let mut robot = Robot::ready(&[]);
    robot.chunk(10_000, 10_020).expect("in force");
    let end = robot.control.plan().expect("moves").end();
    parameters.set("limits.left_waist.velocity", Value::Double(f64::INFINITY)).expect("live");
    robot.apply(&parameters);
    assert_eq!(robot.chunk(10_100, 10_120), Ok(false));
    assert_eq!(robot.control.plan().expect("runs out").end(), end);
    parameters.set("limits.left_waist.velocity", Value::Double(1.0)).expect("live");
    robot.apply(&parameters);
    assert_eq!(robot.chunk(10_140, 10_160), Ok(true));
}

#[test]
fn nothing_moves_before_settings_are_in_force() {
    let mut robot = Robot::new(&[]);
    assert_eq!(robot.chunk(10_000, 10_020), Ok(false));
}

#[test]
fn chunks_too_short_for_their_latency_are_told_once_there_are_enough_of_them() {
    let mut robot = Robot::ready(&["rate_hz:=2.0"]);
    for chunk in 0..5 {
        let seen = 10_000 + chunk * 100;
        robot.chunk(seen, seen + 40).expect("in force");
        assert_eq!(robot.control.status(&robot.settings).too_short.is_some(), chunk == 4);
    }
    let status = robot.control.status(&robot.settings);
    assert_eq!((status.latency, status.predicted_late_rows), (Some(Span::from_millis(40.0)), 2));
}
