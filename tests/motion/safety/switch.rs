//! The operator's enable switch.

use super::*;

const SWITCH: [&str; 2] = ["inputs.enable.topic:=/enable", "inputs.enable.max_age_ms:=200.0"];

#[test]
fn with_an_enable_switch_nothing_moves_before_it_is_on_and_that_is_no_violation() {
    let mut robot = Robot::new(&SWITCH);
    robot.sense(1000);
    let CycleOutcome::Waiting(off) = robot.cycle(1000) else { panic!("the switch was never heard") };
    assert_eq!(off.to_string(), "enable off (no message yet on inputs.enable.topic)");
    robot.inputs.offer_enable(false, at(1010));
    let CycleOutcome::Waiting(off) = robot.cycle(1020) else { panic!("the switch is off") };
    assert!(off.to_string().contains("is false"), "{off}");
    assert_eq!(robot.state(), WatchdogState::Idle);
    robot.inputs.offer_enable(true, at(1030));
    robot.chunk(1040);
}

#[test]
fn an_enable_switch_that_is_let_go_or_falls_silent_stops_whatever_the_rule_for_inputs_is() {
    let policies = Policies::new();
    for (rule, let_go, reason) in
        [("skip", true, "is false"), ("hold", false, "201.0 ms ago"), ("stop", false, "201.0 ms ago")]
    {
        let mut robot = Robot::of(&policies, &[SWITCH[0], SWITCH[1], &format!("inputs.on_violation:={rule}")]);
        robot.inputs.offer_enable(true, at(1000));
        robot.sense(1000);
        robot.chunk(1000);
        let mut out = TrajectoryBuffer::default();
        let mut watch = |robot: &Robot, now| {
            let watched = robot.session.control().watch(at(now), &robot.inputs, &robot.settings, &mut out);
            watched.braked
        };
        robot.sense(1150);
        assert_eq!(watch(&robot, 1200), Braked::NotNeeded, "{rule}");
        if let_go {
            robot.inputs.offer_enable(false, at(1201));
        }
        assert_eq!(watch(&robot, 1201), Braked::Braking, "{rule}");
        assert_eq!(robot.state(), WatchdogState::Stopped);
        let status = robot.session.control().status(&robot.settings);
        assert!(status.reason.as_deref().is_some_and(|text| text.contains(reason)), "{rule}: {:?}", status.reason);
        // Pressed again it moves nothing by itself, and without it nothing is resumed.
        robot.sense(2000);
        assert!(robot.resume(2000).expect_err("off").to_string().starts_with("enable off"), "{rule}");
        robot.inputs.offer_enable(true, at(2010));
        assert!(matches!(robot.cycle(2020), CycleOutcome::Stopped), "{rule}");
        assert!(robot.resume(2030).expect("well"), "{rule}");
        robot.inputs.offer_enable(true, at(2100));
        robot.sense(2100);
        robot.chunk(2100);
    }
}

#[test]
fn a_switch_let_go_during_an_inference_keeps_its_chunk_back() {
    let mut robot = Robot::new(&SWITCH);
    robot.inputs.offer_enable(true, at(1000));
    robot.sense(1000);
    let inputs = &robot.inputs;
    let mut published_at = || {
        inputs.offer_enable(false, at(1020));
        at(1030)
    };
    let outcome = robot.session.cycle(at(1000), inputs, &robot.settings, false, &mut published_at);
    assert!(matches!(outcome, CycleOutcome::Waiting(_)), "nothing moved yet: {outcome:?}");
    robot.inputs.offer_enable(true, at(1040));
    robot.sense(1050);
    robot.chunk(1050);
    robot.sense(1100);
    let inputs = &robot.inputs;
    let mut published_at = || {
        inputs.offer_enable(false, at(1120));
        at(1130)
    };
    match robot.session.cycle(at(1100), inputs, &robot.settings, false, &mut published_at) {
        CycleOutcome::Violation { brake, .. } => assert_eq!(brake.braked, Braked::Braking),
        other => panic!("expected a violation, found {other:?}"),
    }
    assert_eq!(robot.state(), WatchdogState::Stopped);
}
