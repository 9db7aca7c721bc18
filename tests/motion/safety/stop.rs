//! Stops and their end.

use super::*;

#[test]
fn a_stop_that_an_inference_finds_reason_for_ends_only_when_a_trial_inference_is_good() {
    let policies = Policies::new();
    for (spoil, word) in REFUSALS {
        let mut robot = Robot::of(&policies, &["inputs.on_violation:=stop"]);
        robot.sense(1000);
        robot.chunk(1000);
        spoil(&mut robot);
        robot.sense(1100);
        assert!(matches!(robot.cycle(1100), CycleOutcome::Refused { .. }), "{word}");
        robot.sense(2000);
        // The inputs keep every rule: only an inference finds what is wrong.
        let refused = robot.resume(2000).expect_err("not well");
        assert!(matches!(refused, ResumeError::Refused(_)) && refused.to_string().contains(word), "{word}: {refused}");
        assert_eq!(robot.state(), WatchdogState::Stopped);
        mend(&mut robot);
        robot.sense(3000);
        assert!(matches!(robot.cycle(3000), CycleOutcome::Stopped), "{word}: nothing moves by itself");
        assert!(robot.resume(3010).expect("well"), "{word}");
        robot.sense(3100);
        robot.chunk(3100);
    }
}

#[test]
fn a_stop_does_not_end_while_an_input_breaks_a_rule_and_says_which() {
    let policies = Policies::new();
    for rule in ["skip", "hold", "stop"] {
        let mut robot =
            Robot::of(&policies, &[&format!("inputs.on_violation:={rule}"), "watchdog.stop_after_ms:=200.0"]);
        robot.sense(1000);
        robot.chunk(1000);
        let mut out = TrajectoryBuffer::default();
        for now in (1100..3000).step_by(10) {
            robot.session.control().watch(at(now), &robot.inputs, &robot.settings, &mut out);
        }
        assert_eq!(robot.state(), WatchdogState::Stopped, "{rule}");
        robot.sense_joints(3000);
        let refused = robot.resume(3000).expect_err("no camera").to_string();
        assert!(refused.contains("top stopped: no frame for 2000 ms (at most 500 ms)"), "{rule}: {refused}");
        assert_eq!(robot.state(), WatchdogState::Stopped, "{rule}");
        robot.sense(3100);
        assert!(matches!(robot.cycle(3100), CycleOutcome::Stopped), "{rule}: nothing moves by itself later");
        assert!(robot.resume(3110).expect("well"), "{rule}");
        assert!(!robot.resume(3120).expect("was not stopped"), "{rule}");
    }
}

#[test]
fn an_input_that_fails_between_the_resume_and_the_first_motion_stops_again() {
    let mut robot = Robot::new(&["inputs.on_violation:=stop"]);
    robot.sense(1000);
    robot.chunk(1000);
    let mut out = TrajectoryBuffer::default();
    let watched = robot.session.control().watch(at(1600), &robot.inputs, &robot.settings, &mut out);
    assert!(watched.braked.entered());
    robot.sense(2000);
    assert!(robot.resume(2000).expect("well"));
    assert_eq!(robot.state(), WatchdogState::Idle);
    let watched = robot.session.control().watch(at(2600), &robot.inputs, &robot.settings, &mut out);
    assert_eq!((watched.braked, robot.state()), (Braked::AtRest, WatchdogState::Stopped));
    robot.sense(2700);
    assert!(matches!(robot.cycle(2700), CycleOutcome::Stopped), "it was resumed to inputs that were well");
}

#[test]
fn a_stop_while_it_is_tried_whether_all_is_well_is_the_later_wish() {
    let mut robot = Robot::new(&[]);
    robot.sense(1000);
    robot.chunk(1000);
    let mut out = TrajectoryBuffer::default();
    let control = Arc::clone(robot.session.control());
    let stop = |now: i64, out: &mut TrajectoryBuffer| control.stop(at(now), &"~/stop was called", &robot.settings, out);
    assert_eq!(stop(1100, &mut out), Braked::Braking);
    robot.sense(2000);
    let mut readings = 0;
    // The clock is read last after the trial inference.
    let mut clock = || {
        readings += 1;
        if readings == 3 {
            assert_eq!(stop(2030, &mut out), Braked::Already);
        }
        at(2000)
    };
    let refused = robot.session.resume(&robot.inputs, &robot.settings, &mut clock).expect_err("stopped again");
    assert!(matches!(refused, ResumeError::StoppedAgain), "{refused}");
    assert_eq!((readings, robot.state()), (3, WatchdogState::Stopped));
}

#[test]
fn a_stop_while_an_inference_runs_keeps_its_chunk_from_moving_the_robot_and_is_no_alarm() {
    let mut robot = Robot::new(&[]);
    robot.sense(1000);
    robot.chunk(1000);
    robot.sense(1100);
    let control = Arc::clone(robot.session.control());
    let (settings, inputs) = (&robot.settings, &robot.inputs);
    let mut out = TrajectoryBuffer::default();
    let mut published_at = || {
        control.stop(at(1120), &"~/stop was called", settings, &mut out);
        at(1130)
    };
    let outcome = robot.session.cycle(at(1100), inputs, settings, false, &mut published_at);
    let CycleOutcome::Refused { refusal, brake } = outcome else { panic!("expected a refusal, found {outcome:?}") };
    assert_eq!((refusal.kind(), brake.braked), (RefusalKind::Superseded, Braked::NotNeeded));
}

/// Another order of the left arm's joints, which makes other joints of a motion.
const ORDER: &str = "action.left_arm.joints:=[left_shoulder, left_waist, left_elbow, left_forearm_roll, left_wrist_angle, left_wrist_rotate]";

#[test]
fn a_stop_stays_over_a_load_of_a_policy_of_other_joints() {
    let robot = Robot::new(&[]);
    let mut out = TrajectoryBuffer::default();
    robot.session.control().stop(at(1000), &"~/stop was called", &robot.settings, &mut out);
    let mut other = Robot::new(&[ORDER]);
    other.session.continue_motion(robot.session.control());
    other.sense(1100);
    assert!(matches!(other.cycle(1100), CycleOutcome::Stopped));
    let reason = other.session.control().status(&other.settings).reason;
    assert_eq!(reason.as_deref(), Some("~/stop was called"));
}
