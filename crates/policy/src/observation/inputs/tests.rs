//! Tests of the shared inputs: messages in, observations or violations out.

use std::thread;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::observation::{
    Error, InputRule, JointNames, JointReading, Observation, OnViolation, Pose, PoseSample, StampSource, Transport,
};
use vla_base::time::Span;
use vla_messages::{HeaderView, write};

mod faults;
mod joints;
mod pairing;
mod pose_samples;
mod topics;
mod transforms;

const TOP: usize = 0;
const WRIST: usize = 1;
const JOINTS: usize = 2;
const INSTRUCTION: usize = 3;

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Inputs>();
};

/// Whether an error is the expected one.
type IsError = fn(&Error) -> bool;

fn ms(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn span(ms: i64) -> Span {
    Span::from_nanos(ms * 1_000_000)
}

fn inputs() -> Inputs {
    let camera = InputKind::Camera { transport: Transport::Raw };
    let read = vec!["waist".to_owned(), "elbow".to_owned()];
    let names = JointNames { read, moved: vec!["finger".to_owned()], ..JointNames::default() };
    Inputs::new(vec![
        InputSpec::new("top", camera, ["/top/image"]),
        InputSpec::new("wrist", camera, ["/wrist/image"]),
        InputSpec { joints: names, ..InputSpec::new("joints", InputKind::Joints, ["/joint_states"]) },
        InputSpec::new("instruction", InputKind::Instruction, ["/instruction"]),
    ])
}

fn rules() -> Rules {
    Rules {
        per_input: vec![InputRule::age(span(100), true); 4],
        max_skew: span(50),
        on_violation: OnViolation::Skip,
        future_tolerance: span(20),
        enable_max_age: span(200),
        ..Rules::default()
    }
}

fn header(stamp: Stamp) -> HeaderView<'static> {
    HeaderView { stamp, frame_id: "" }
}

fn image(stamp: Stamp) -> Bytes {
    write::image(header(stamp), 2, 1, "rgb8", 6, &[1, 2, 3, 4, 5, 6]).into()
}

fn joints(stamp: Stamp, positions: &[f64]) -> Bytes {
    joints_named(stamp, &["waist", "elbow"][..positions.len()], positions)
}

fn joints_named(stamp: Stamp, names: &[&str], positions: &[f64]) -> Bytes {
    write::joint_state(header(stamp), names, positions, &[], &[]).into()
}

/// Positions of waist, elbow and finger.
fn positions(observation: &Observation) -> Vec<Option<f64>> {
    let joints = observation.joints.as_ref().expect("an input of joint states");
    joints.readings.iter().map(|reading| reading.map(|reading| reading.position)).collect()
}

/// All inputs, stamped `stamp`, arriving 3 ms later.
fn offer_all(inputs: &Inputs, stamp: i64) {
    let received = ms(stamp + 3);
    inputs.offer(TOP, image(ms(stamp)), received).expect("a good image");
    inputs.offer(WRIST, image(ms(stamp)), received).expect("a good image");
    inputs.offer(JOINTS, joints(ms(stamp), &[0.1, 0.2]), received).expect("a good joint state");
}

fn offer_cameras(inputs: &Inputs, stamp: i64) {
    for camera in [TOP, WRIST] {
        inputs.offer(camera, image(ms(stamp)), ms(stamp + 3)).expect("a good image");
    }
}

fn ready() -> Inputs {
    let inputs = inputs();
    inputs.set_instruction("pick up the cube");
    offer_all(&inputs, 1000);
    inputs
}

fn words(result: Result<Observation, Violation>) -> Vec<String> {
    match result {
        Ok(observation) => observation.tolerated.iter().map(|b| format!("({} {})", b.input, b.word())).collect(),
        Err(violation) => violation.breaches.iter().map(|b| format!("{} {}", b.input, b.word())).collect(),
    }
}

/// A camera, two poses of which one must be in the frame `base`, an instruction; no joints.
fn poses() -> Inputs {
    let spec = |name: &str, kind, frame_id: &str| InputSpec {
        frame_id: frame_id.into(),
        ..InputSpec::new(name, kind, [format!("/{name}")])
    };
    let inputs = Inputs::new(vec![
        spec("top", InputKind::Camera { transport: Transport::Raw }, ""),
        spec("left", InputKind::Pose, "base"),
        spec("right", InputKind::Pose, ""),
    ]);
    inputs.set_instruction("pick up the cube");
    inputs
}

const UPRIGHT: [f64; 4] = [0.0, 0.0, 0.0, 1.0];

#[test]
fn an_observation_has_every_input_its_stamps_and_the_oldest_as_its_own() {
    let inputs = ready();
    inputs.offer(TOP, image(ms(1030)), ms(1033)).expect("a good image");
    let observation = inputs.assemble(ms(1040), &rules()).expect("all rules kept");
    assert_eq!((observation.stamp, observation.assembled_at), (ms(1000), ms(1040)));
    let identity: Vec<_> = observation.identity().map(|(name, stamp)| (name.to_string(), stamp)).collect();
    assert_eq!(identity, [("top".into(), ms(1030)), ("wrist".into(), ms(1000)), ("joints".into(), ms(1000))]);
    assert_eq!(observation.cameras[0].bytes, image(ms(1030)));
    assert_eq!(positions(&observation), [Some(0.1), Some(0.2), None]);
    assert_eq!(&*observation.instruction, "pick up the cube");
}

#[test]
fn frames_are_shared_with_the_slot_and_not_copied() {
    let inputs = ready();
    let frame = image(ms(1010));
    inputs.offer(TOP, frame.clone(), ms(1011)).expect("a good image");
    let observation = inputs.assemble(ms(1020), &rules()).expect("all rules kept");
    assert_eq!(observation.cameras[0].bytes.as_ptr(), frame.as_ptr());
}

#[test]
fn a_missing_stream_is_named_and_never_made_up() {
    let inputs = inputs();
    assert_eq!(
        words(inputs.assemble(ms(1000), &rules())),
        ["top missing", "wrist missing", "joints missing", "instruction missing"]
    );
    let mut optional = rules();
    optional.per_input.iter_mut().for_each(|rule| rule.required = false);
    assert_eq!(words(inputs.assemble(ms(1000), &optional)).len(), 4);
}

#[test]
fn a_list_of_rules_that_is_too_short_forbids_inference() {
    let mut short = rules();
    short.per_input.truncate(JOINTS);
    assert_eq!(words(ready().assemble(ms(1010), &short)), ["joints stopped"]);
}

#[test]
fn a_camera_that_repeats_its_last_frame_is_frozen_and_one_that_is_silent_has_stopped() {
    let inputs = ready();
    for now in [1050, 1100, 1150] {
        inputs.offer(TOP, image(ms(1000)), ms(now)).expect("a good image");
        inputs.offer(JOINTS, joints(ms(now), &[0.1, 0.2]), ms(now)).expect("a good joint state");
    }
    let mut wide = rules();
    wide.max_skew = span(1000);
    let violation = inputs.assemble(ms(1160), &wide).expect_err("two old frames");
    assert_eq!(
        violation.to_string(),
        "top frozen (3 repeats of a stamp 160.0 ms old, at most 100.0 ms); wrist stopped: no frame for 160 ms (at most 100 ms)"
    );
}

#[test]
fn a_stream_stamped_ahead_of_now_is_not_trusted() {
    let inputs = ready();
    inputs.offer(TOP, image(ms(5000)), ms(1010)).expect("a good image");
    assert_eq!(words(inputs.assemble(ms(1012), &rules())), ["top future"]);
    inputs.offer(TOP, image(ms(1020)), ms(1021)).expect("a good image");
    assert_eq!(words(inputs.assemble(ms(1022), &rules())), [""; 0]);
    assert_eq!(inputs.statistics(ms(1000))[TOP].future, 1);
}

#[test]
fn inputs_too_far_apart_are_skewed_by_the_one_behind() {
    let inputs = ready();
    inputs.offer(JOINTS, joints(ms(1060), &[0.1, 0.2]), ms(1061)).expect("a good joint state");
    for input in [TOP, WRIST] {
        // Frames arrive, but old.
        inputs.offer(input, image(ms(1001)), ms(1061)).expect("a good image");
    }
    assert_eq!(words(inputs.assemble(ms(1062), &rules())), ["top skewed", "wrist skewed"]);
}

#[test]
fn an_optional_camera_that_stopped_is_reported_and_inference_goes_on() {
    let inputs = ready();
    for input in [WRIST, JOINTS] {
        let bytes = if input == WRIST { image(ms(2000)) } else { joints(ms(2000), &[0.1, 0.2]) };
        inputs.offer(input, bytes, ms(2001)).expect("a good message");
    }
    let mut rules = rules();
    assert_eq!(words(inputs.assemble(ms(2010), &rules)), ["top stopped"]);
    rules.per_input[TOP].required = false;
    let observation = inputs.assemble(ms(2010), &rules).expect("only an optional input is old");
    assert_eq!((observation.stamp, observation.cameras[0].stamp), (ms(2000), ms(1000)));
    assert_eq!(words(Ok(observation)), ["(top stopped)"]);
    inputs.offer(TOP, image(ms(2005)), ms(2006)).expect("a good message");
    assert_eq!(words(inputs.assemble(ms(2011), &rules)), [""; 0]);
}

#[test]
fn when_the_clock_goes_back_it_is_reported_once_and_the_new_run_is_not_blocked_by_old_stamps() {
    let inputs = ready();
    inputs.assemble(ms(1010), &rules()).expect("all rules kept");
    assert_eq!(
        words(inputs.assemble(ms(10), &rules())),
        ["clock went back", "top missing", "wrist missing", "joints missing"]
    );
    offer_all(&inputs, 20);
    let observation = inputs.assemble(ms(25), &rules()).expect("the new run's samples");
    assert_eq!((observation.stamp, inputs.clock_jumps()), (ms(20), 1));
    assert_eq!(&*observation.instruction, "pick up the cube");
}

#[test]
fn a_clock_that_goes_back_between_two_observations_is_noticed_from_the_arrivals() {
    let inputs = ready();
    inputs.assemble(ms(1010), &rules()).expect("all rules kept");
    offer_all(&inputs, 20);
    assert_eq!(words(inputs.assemble(ms(25), &rules())), ["clock went back"]);
    assert_eq!(inputs.assemble(ms(26), &rules()).expect("reported once").stamp, ms(20));
}

#[test]
fn the_latest_instruction_wins_and_an_empty_one_forbids_inference() {
    let inputs = ready();
    inputs.offer(INSTRUCTION, write::text("put it down").into(), ms(1004)).expect("a good string");
    assert_eq!(&*inputs.assemble(ms(1010), &rules()).expect("ready").instruction, "put it down");
    inputs.set_instruction("pick it up");
    assert_eq!(&*inputs.assemble(ms(1010), &rules()).expect("ready").instruction, "pick it up");
    inputs.offer(INSTRUCTION, write::text(" ").into(), ms(1011)).expect("a good string");
    assert_eq!(words(inputs.assemble(ms(1012), &rules())), ["instruction missing"]);
}

#[test]
fn a_reused_observation_keeps_nothing_and_a_violation_leaves_it_as_it_was() {
    let inputs = ready();
    let mut observation = Observation::default();
    inputs.assemble_into(ms(1010), &rules(), &mut observation).expect("all rules kept");
    let before = observation.clone();
    observation.cameras.extend(before.cameras.clone());
    inputs.assemble_into(ms(1010), &rules(), &mut observation).expect("all rules kept");
    assert_eq!(observation, before, "nothing of what it held before stays");
    inputs.assemble_into(ms(1500), &rules(), &mut observation).expect_err("all old");
    assert_eq!(observation, before);
}

#[test]
fn without_joints_and_poses_the_state_is_missing() {
    let camera = poses().specs()[0].clone();
    let inputs = Inputs::new(vec![camera]);
    inputs.set_instruction("go");
    inputs.offer(0, image(ms(1000)), ms(1001)).expect("a good image");
    assert_eq!(words(inputs.assemble(ms(1010), &rules())), ["joints missing"]);
}

#[test]
fn an_index_that_no_input_has_is_refused() {
    let error = inputs().offer(9, Bytes::new(), ms(1)).expect_err("four inputs");
    assert!(matches!(error, Error::UnknownTopic { index: 9, count: 4 }), "{error}");
}

#[test]
fn statistics_tell_age_and_rate() {
    let inputs = inputs();
    for i in 1..=40 {
        inputs.offer(TOP, image(ms(i * 40)), ms(i * 40 + 2)).expect("a good image");
    }
    inputs.assemble(ms(1610), &rules()).expect_err("top only");
    let top = &inputs.statistics(ms(1610))[TOP];
    assert_eq!((top.received, top.overwritten, top.used), (40, 39, 0));
    assert_eq!((top.last_stamp, top.last_age), (Some(ms(1600)), Some(span(10))));
    let rate = top.rate.expect("40 samples");
    assert!((rate.arrival_hz - 25.0).abs() < 1e-9 && !rate.is_losing(), "{rate:?}");
}

#[test]
fn topic_tasks_and_inference_share_the_inputs_and_every_message_is_accounted_for() {
    let inputs = Arc::new(ready());
    let writers: Vec<_> = (0..3)
        .map(|input| {
            let inputs = inputs.clone();
            thread::spawn(move || {
                for i in 0..500 {
                    let stamp = ms(1001 + i);
                    let bytes = if input == JOINTS { joints(stamp, &[0.1, 0.2]) } else { image(stamp) };
                    inputs.offer(input, bytes, stamp).expect("a good message");
                }
            })
        })
        .collect();
    let mut loose = rules();
    loose.per_input.iter_mut().for_each(|rule| rule.max_age = span(10_000));
    (loose.max_skew, loose.future_tolerance) = (span(10_000), span(10_000));
    let mut last = Stamp::default();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        let observation = inputs.assemble(ms(1500), &loose).expect("loose rules");
        assert!(observation.stamp >= last, "an observation never goes back");
        last = observation.stamp;
    }
    writers.into_iter().for_each(|writer| writer.join().expect("writer"));
    let observation = inputs.assemble(ms(1500), &loose).expect("loose rules");
    assert_eq!(observation.stamp, ms(1500));
    for input in inputs.statistics(ms(1000)).iter().take(3) {
        assert_eq!((input.received, input.used + input.overwritten), (501, 501), "{input:?}");
    }
}

proptest! {
    /// Whatever arrives, in any order and at any time: an observation keeps every rule and uses samples that were
    /// offered, or a violation says why not.
    #[test]
    fn what_is_assembled_keeps_the_rules(
        offers in prop::collection::vec((0usize..3, 900i64..1300, 0i64..60), 1..60),
        now in 1000i64..1400,
    ) {
        let inputs = inputs();
        inputs.set_instruction("go");
        for (input, received, delay) in offers {
            let stamp = ms(received - delay);
            let bytes = if input == JOINTS { joints(stamp, &[0.1, 0.2]) } else { image(stamp) };
            inputs.offer(input, bytes, ms(received)).expect("good messages");
        }
        match inputs.assemble(ms(now), &rules()) {
            Ok(observation) => {
                let stamps: Vec<Stamp> = observation.identity().map(|(_, stamp)| stamp).collect();
                prop_assert_eq!(stamps.len(), 3);
                let (oldest, newest) = (stamps.iter().min().copied(), stamps.iter().max().copied());
                prop_assert_eq!(Some(observation.stamp), oldest);
                prop_assert!(observation.stamp.age_at(ms(now)) <= span(100));
                prop_assert!(newest.is_some_and(|n| n - observation.stamp <= span(50) && n - ms(now) <= span(20)));
            }
            Err(violation) => prop_assert!(!violation.breaches.is_empty()),
        }
    }
}
