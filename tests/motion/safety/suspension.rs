//! While the node is inactive, and while no task runs, the motion is suspended: at rest, without a fault and without a latch.

use super::*;

const STOP: &str = "inputs.on_violation:=stop";

fn inactive() -> Arc<str> {
    Arc::from("the node is inactive")
}

/// A robot that follows a chunk published at 1030.
fn moving(assignments: &[&str]) -> Robot {
    let mut robot = Robot::new(assignments);
    robot.sense(1000);
    robot.chunk(1000);
    robot
}

/// Suspends at `now`; returns the end of the stop.
fn suspend(robot: &Robot, now: i64) -> Stamp {
    let mut out = TrajectoryBuffer::default();
    let control = robot.session.control();
    assert_eq!(control.suspend(at(now), &inactive(), &robot.settings, &mut out), Braked::Braking);
    let last = out.message().points.last().expect("a stop").clone();
    assert!(last.velocities.iter().all(|velocity| *velocity == 0.0), "{last:?}");
    out.message().stamp + last.time_from_start
}

#[test]
fn a_suspension_brakes_refuses_chunks_and_is_no_fault() {
    let mut robot = moving(&[]);
    let rest = suspend(&robot, 1100);
    assert!(rest - at(1100) <= robot.settings.motion.max_blind);
    let status = robot.session.control().status(&robot.settings);
    assert_eq!((status.state, status.expected, status.stops), (WatchdogState::Holding, true, 0));
    assert_eq!(status.suspended.as_deref(), Some("the node is inactive"));
    robot.sense(1200);
    let outcome = robot.cycle(1200);
    let CycleOutcome::Refused { refusal, brake } = outcome else { panic!("expected a refusal, found {outcome:?}") };
    assert_eq!((refusal.kind(), brake.stop.is_none()), (RefusalKind::Superseded, true));
    let mut out = TrajectoryBuffer::default();
    assert_eq!(robot.session.control().suspend(at(1300), &inactive(), &robot.settings, &mut out), Braked::Already);
}

#[test]
fn after_the_release_motion_starts_at_the_measured_positions() {
    let mut robot = moving(&[]);
    suspend(&robot, 1100);
    let control = Arc::clone(robot.session.control());
    assert!(control.release(at(9000)) && !control.release(at(9000)));
    assert_eq!((robot.state(), control.suspended()), (WatchdogState::Idle, None));
    robot.sense(9100);
    let trajectory = robot.chunk(9100);
    // The drivers of these tests report 0.1 all the time.
    assert!((trajectory.points[0].positions[0] - 0.1).abs() < 0.01, "{:?}", trajectory.points[0]);
}

#[test]
fn a_release_while_the_robot_still_brakes_waits_for_its_rest() {
    let mut robot = moving(&[]);
    let rest = suspend(&robot, 1100);
    robot.session.control().release(at(1110));
    let before = (rest - at(0)).millis() as i64 - 1;
    robot.sense(before);
    assert!(matches!(robot.cycle(before), CycleOutcome::Refused { .. }));
    robot.sense(before + 20);
    robot.chunk(before + 20);
}

#[test]
fn a_release_waits_for_the_rest_of_a_brake_that_came_before_the_suspension() {
    let mut robot = moving(&[]);
    let control = Arc::clone(robot.session.control());
    let mut out = TrajectoryBuffer::default();
    let braked = control.brake(at(1100), OnViolation::Hold, &"a camera is late", &robot.settings, &mut out);
    assert_eq!(braked, Braked::Braking);
    assert_eq!(control.suspend(at(1110), &inactive(), &robot.settings, &mut out), Braked::Already);
    let rest = at(1120) + control.time_to_rest(at(1120));
    assert!(rest > at(1150), "it brakes until {rest}");
    control.release(at(1120));
    robot.sense(1140);
    assert!(matches!(robot.cycle(1140), CycleOutcome::Refused { .. }), "a plan from rest while the robot brakes");
    let after = (rest - at(0)).millis() as i64 + 20;
    robot.sense(after);
    robot.chunk(after);
    assert_eq!(control.time_to_rest(at(99_000)), Span::ZERO);
}

#[test]
fn a_suspension_of_a_robot_at_rest_makes_no_observation_stale() {
    let mut robot = moving(&[]);
    let control = Arc::clone(robot.session.control());
    assert_eq!(control.poll(at(5000), &robot.settings), WatchdogState::Holding, "the plan ran out");
    robot.sense(5000);
    let mut out = TrajectoryBuffer::default();
    assert_eq!(control.suspend(at(5005), &inactive(), &robot.settings, &mut out), Braked::Already);
    control.release(at(5010));
    robot.chunk(5020);
}

#[test]
fn without_a_brake_the_plan_runs_on_is_watched_and_takes_the_next_chunk_after_the_release() {
    let mut robot = moving(&[STOP]);
    let control = Arc::clone(robot.session.control());
    control.refuse_chunks(&inactive());
    robot.sense(1100);
    assert!(matches!(robot.cycle(1100), CycleOutcome::Refused { .. }));
    assert!(robot.state().is_moving());
    control.release(at(1150));
    robot.sense(1200);
    robot.chunk(1200);

    control.refuse_chunks(&inactive());
    let mut out = TrajectoryBuffer::default();
    let watched = control.watch(at(1450), &robot.inputs, &robot.settings, &mut out);
    assert!(watched.violation.is_some(), "inputs of 250 ms ago while the robot moves");
    assert_eq!(robot.state(), WatchdogState::Stopped);
}

#[test]
fn inputs_that_fail_and_a_long_wait_stop_nothing_while_suspended_and_do_so_afterwards() {
    let robot = moving(&[STOP, "watchdog.stop_after_ms:=500.0"]);
    suspend(&robot, 1100);
    let control = robot.session.control();
    let mut out = TrajectoryBuffer::default();
    for now in [1500, 3000, 60_000] {
        let watched = control.watch(at(now), &robot.inputs, &robot.settings, &mut out);
        assert!(watched.violation.is_none() && !watched.braked.entered(), "{watched:?}");
    }
    assert_eq!(robot.state(), WatchdogState::Holding);
    control.release(at(60_010));
    let watched = control.watch(at(60_020), &robot.inputs, &robot.settings, &mut out);
    assert!(watched.violation.is_some(), "every input is a minute old");
    assert_eq!(robot.state(), WatchdogState::Stopped);
}

#[test]
fn a_stop_outlasts_the_release_and_ends_without_inputs_while_suspended() {
    let mut robot = moving(&[]);
    suspend(&robot, 1100);
    let mut out = TrajectoryBuffer::default();
    robot.session.control().stop(at(1200), &"~/stop was called", &robot.settings, &mut out);
    robot.session.control().release(at(2000));
    robot.sense(2100);
    assert!(matches!(robot.cycle(2100), CycleOutcome::Stopped));

    // No instruction, and every input is old: between two tasks that is ordinary.
    robot.session.control().suspend(at(9000), &inactive(), &robot.settings, &mut out);
    robot.inputs.set_instruction("");
    assert!(robot.resume(9010).is_ok_and(|resumed| resumed));
    robot.inputs.set_instruction("pick up the red cube");
    robot.sense(9100);
    assert!(matches!(robot.cycle(9100), CycleOutcome::Refused { .. }), "resumed, and still suspended");
    robot.session.control().release(at(9200));
    robot.sense(9300);
    robot.chunk(9300);
}

#[test]
fn the_instruction_of_a_task_is_before_every_other_until_the_task_ends() {
    let robot = Robot::new(&[]);
    robot.inputs.set_task_instruction(Some("open the drawer".into()));
    robot.inputs.set_instruction("put the cup down");
    assert_eq!(robot.inputs.instruction().as_deref(), Some("open the drawer"));
    robot.inputs.set_task_instruction(None);
    assert_eq!(robot.inputs.instruction().as_deref(), Some("put the cup down"));
}
