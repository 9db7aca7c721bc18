//! Tests of what is wrong with an input, and of who reads the clock.

use super::*;

#[test]
fn two_threads_that_read_the_clock_in_turn_do_not_set_it_back() {
    let inputs = ready();
    inputs.assemble(ms(1000), &rules()).expect("fresh");
    inputs.offer(TOP, image(ms(1034)), ms(1035)).expect("a good image");
    inputs.check(ms(1035), &rules()).expect("fresh");
    // This thread was held up for 25 ms after it had read the clock; a frame came meanwhile.
    inputs.assemble(ms(1010), &rules()).expect("time has not gone back");
    inputs.assemble(ms(1060), &rules()).expect("fresh");
    inputs.check(ms(1012), &rules()).expect("time has not gone back");
    assert_eq!(inputs.clock_jumps(), 0);
}

#[test]
fn a_check_waits_for_no_assembly() {
    let inputs = ready();
    let assembling = lock(&inputs.assembly);
    inputs.check(ms(1010), &rules()).expect("fresh");
    drop(assembling);
}

#[test]
fn a_dead_camera_has_stopped_before_it_is_out_of_step() {
    let inputs = ready();
    let mut wide = rules();
    wide.per_input[TOP].max_age = span(200);
    for i in 1..40 {
        let at = 1000 + 20 * i;
        if i < 20 {
            inputs.offer(TOP, image(ms(at)), ms(at + 3)).expect("a good image");
        }
        inputs.offer(WRIST, image(ms(at)), ms(at + 3)).expect("a good image");
        inputs.offer(JOINTS, joints(ms(at), &[0.1, 0.2]), ms(at + 3)).expect("a good joint state");
        let Err(violation) = inputs.assemble(ms(at + 4), &wide) else { continue };
        let age = at + 4 - 1380;
        let limit = if age > 200 { 200 } else { 50 };
        assert_eq!(violation.to_string(), format!("top stopped: no frame for {age} ms (at most {limit} ms)"));
    }
    assert_eq!(inputs.statistics(ms(1900))[TOP].rate.map(|rate| rate.arrival_hz), Some(0.0));
}

#[test]
fn a_driver_that_does_not_stamp_its_messages_is_refused_or_taken_by_time_of_arrival() {
    let specs = |stamp_from| {
        let mut specs = inputs().specs().to_vec();
        specs[JOINTS].stamp_from = stamp_from;
        specs
    };
    let (refusing, taking) = (Inputs::new(specs(StampSource::Header)), Inputs::new(specs(StampSource::Arrival)));
    let error = refusing.offer(JOINTS, joints(ms(0), &[0.1, 0.2]), ms(1003)).expect_err("no stamp");
    assert!(matches!(&error, Error::Unstamped { parameter, .. } if parameter == "inputs.joints"), "{error}");
    taking.set_instruction("go");
    offer_cameras(&taking, 1000);
    taking.offer(JOINTS, joints(ms(0), &[0.1, 0.2]), ms(1003)).expect("by its arrival");
    let observation = taking.assemble(ms(1010), &rules()).expect("fresh");
    assert_eq!(observation.joints.map(|joints| joints.stamp), Some(ms(1003)));
}

#[test]
fn a_frame_of_a_size_that_the_policy_does_not_take_is_refused_as_it_arrives() {
    let wide =
        |_: &str, width: usize, _: usize| if width > 1 { Err("set the camera to 1x1".to_owned()) } else { Ok(()) };
    let inputs = inputs();
    inputs.set_frame_check(Arc::new(wide));
    inputs.set_instruction("go");
    let error = inputs.offer(TOP, image(ms(1000)), ms(1001)).expect_err("2x1").to_string();
    assert_eq!(error, "input `top` on topic `/top/image`: set the camera to 1x1");
    let violation = inputs.assemble(ms(1002), &rules()).expect_err("no frame").to_string();
    assert!(
        violation.starts_with("top missing (no usable message yet) [last message refused: input `top`"),
        "{violation}"
    );
}

#[test]
fn stamps_ahead_of_the_clock_are_one_fault_that_names_the_tolerance() {
    let inputs = ready();
    for at in (1050..2000).step_by(50) {
        inputs.offer(TOP, image(ms(at + 30)), ms(at)).expect("a good image");
        inputs.offer(WRIST, image(ms(at)), ms(at)).expect("a good image");
        inputs.offer(JOINTS, joints(ms(at), &[0.1, 0.2]), ms(at)).expect("a good joint state");
        let violation = inputs.assemble(ms(at), &rules()).expect_err("ahead");
        assert_eq!(
            violation.to_string(),
            "top future (stamp 30.0 ms ahead of now, at most 20.0 ms, inputs.future_tolerance_ms): synchronise the clocks of \
             the sender and this machine, or raise the tolerance"
        );
    }
}

#[test]
fn a_camera_that_sends_the_same_frame_under_fresh_stamps_is_stuck() {
    let stuck = |after: i64, still: bool| {
        let inputs = ready();
        let mut rules = rules();
        rules.per_input[TOP].stuck_after = span(after);
        for at in (1040..4000).step_by(40) {
            let other = write::image(header(ms(at)), 2, 1, "rgb8", 6, &[(at / 40 % 256) as u8; 6]).into();
            inputs.offer(TOP, if still { image(ms(at)) } else { other }, ms(at)).expect("a good image");
            inputs.offer(WRIST, image(ms(at)), ms(at)).expect("a good image");
            inputs.offer(JOINTS, joints(ms(at), &[0.1, 0.2]), ms(at)).expect("a good joint state");
            if let Err(violation) = inputs.check(ms(at), &rules) {
                assert_eq!(inputs.assemble(ms(at), &rules), Err(violation.clone()));
                inputs
                    .offer(TOP, write::image(header(ms(at + 1)), 2, 1, "rgb8", 6, &[9; 6]).into(), ms(at + 1))
                    .expect("image");
                inputs.check(ms(at + 2), &rules).expect("the camera moves again");
                return Some((at, violation.to_string()));
            }
        }
        None
    };
    let (at, words) = stuck(2000, true).expect("stuck");
    assert_eq!(at, 3000);
    assert_eq!(
        words,
        "top stuck: 51 frames in a row are the same, bit by bit, for 2000 ms (at most 2000 ms, \
         inputs.cameras.top.stuck_after_ms): restart the camera"
    );
    assert_eq!((stuck(2000, false), stuck(0, true)), (None, None));
}
