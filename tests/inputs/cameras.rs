//! Cameras as inputs: how their frames are read, frames of several times, and topics that several views share.

use bytes::Bytes;
use vla_base::time::{Span, Stamp};
use vla_messages::{BayerPattern, HeaderView, PixelFormat, write};
use vla_policy::observation::{
    Exif, Fault, FrameHistory, FrameOptions, InputKind, InputRule, InputSpec, Inputs, JointNames, Observation,
    OnViolation, Rules, Transport, Violation,
};

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn span(ms: i64) -> Span {
    Span::from_nanos(ms * 1_000_000)
}

fn camera(name: &str, topic: &str, transport: Transport) -> InputSpec {
    InputSpec::new(name, InputKind::Camera { transport }, [topic])
}

/// The cameras, and a joint, since an observation has a state.
fn inputs(cameras: Vec<InputSpec>) -> Inputs {
    let joints = JointNames { read: vec!["elbow".into()], ..JointNames::default() };
    let joints = InputSpec { joints, ..InputSpec::new("joints", InputKind::Joints, ["/joint_states"]) };
    let inputs = Inputs::new(cameras.into_iter().chain([joints]).collect());
    inputs.set_instruction("push");
    inputs
}

fn rules(cameras: usize) -> Rules {
    Rules {
        per_input: vec![InputRule::age(span(200), true); cameras + 1],
        max_skew: span(200),
        on_violation: OnViolation::Skip,
        future_tolerance: span(20),
        enable_max_age: Span::ZERO,
        pairing: Default::default(),
        state_history: Vec::new(),
        continuous: Default::default(),
    }
}

/// A frame that shows the time of its capture.
fn frame(ms: i64) -> Bytes {
    let data: Vec<u8> = ms.to_le_bytes().iter().copied().cycle().take(4 * 4 * 3).collect();
    write::image(HeaderView { stamp: at(ms), frame_id: "" }, 4, 4, "rgb8", 12, &data).into()
}

fn topic(inputs: &Inputs, name: &str) -> usize {
    inputs.topics().iter().position(|topic| &*topic.name == name).expect("a topic")
}

fn offer(inputs: &Inputs, name: &str, bytes: Bytes, ms: i64) {
    inputs.offer(topic(inputs, name), bytes, at(ms)).expect("a good message");
}

fn assemble(inputs: &Inputs, cameras: usize, ms: i64) -> Result<Observation, Violation> {
    let header = HeaderView { stamp: at(ms), frame_id: "" };
    offer(inputs, "/joint_states", write::joint_state(header, &["elbow"], &[0.1], &[], &[]).into(), ms);
    inputs.assemble(at(ms), &rules(cameras))
}

/// Stamps of the earlier frames in ms; each frame shows its own.
fn earlier(observation: &Observation) -> Vec<i64> {
    let shown = |sample: &vla_policy::observation::CameraSample| {
        let ms = sample.stamp.nanos() / 1_000_000;
        assert_eq!(sample.bytes, frame(ms), "the frame of that stamp");
        ms
    };
    observation.earlier_frames.iter().map(shown).collect()
}

/// A camera that keeps the frames of -15, -5 and 0 steps of `step` ms.
fn remembering(name: &str, step: i64) -> InputSpec {
    let history = FrameHistory::new(&[-15, -5, 0], span(step));
    InputSpec { history, ..camera(name, &format!("/{name}"), Transport::Raw) }
}

#[test]
fn the_frames_nearest_to_the_policys_times_are_given_at_any_rate() {
    for (period, expected) in [(10, [1270, 1770]), (33, [1231, 1726]), (50, [1250, 1750]), (7, [1266, 1763])] {
        let inputs = inputs(vec![remembering("top", 50)]);
        let times: Vec<i64> = (1000..=2020).step_by(period).collect();
        times.iter().for_each(|&ms| offer(&inputs, "/top", frame(ms), ms));
        let newest = times[times.len() - 1];
        let observation = assemble(&inputs, 1, newest).expect("a history");
        let nearest = |wanted: i64| *times.iter().min_by_key(|at| ((*at - wanted).abs(), **at)).expect("a frame");
        assert_eq!(earlier(&observation), [nearest(newest - 750), nearest(newest - 250)], "{period} ms");
        assert_eq!(earlier(&observation), expected, "{period} ms");
        assert_eq!(observation.cameras[0].bytes, frame(newest));
    }
}

#[test]
fn a_history_that_is_too_short_or_has_a_gap_is_a_violation_with_figures() {
    let inputs = inputs(vec![remembering("top", 50)]);
    let fault = |ms: i64| {
        let violation = assemble(&inputs, 1, ms).expect_err("no history");
        assert!(violation.is_of_start(), "{violation}");
        violation.breaches[0].fault
    };
    let none = |before: i64, distance: Option<i64>| Fault::NoHistory {
        before: span(before),
        distance: distance.map(span),
        tolerance: span(25),
    };
    offer(&inputs, "/top", frame(1000), 1000);
    assert_eq!(fault(1000), none(750, None));
    (1..=24).for_each(|i| offer(&inputs, "/top", frame(1000 + 30 * i), 1000 + 30 * i));
    assert_eq!(fault(1720), none(750, Some(30)));
    offer(&inputs, "/top", frame(1730), 1730);
    assert_eq!(earlier(&assemble(&inputs, 1, 1730).expect("reaches back far enough")), [1000, 1480]);
    // A camera that paused for 200 ms: the frame of 250 ms ago is missing a while later.
    (0..3).for_each(|i| offer(&inputs, "/top", frame(1930 + 30 * i), 1930 + 30 * i));
    assert!(assemble(&inputs, 1, 1990).is_ok());
    (3..5).for_each(|i| offer(&inputs, "/top", frame(1930 + 30 * i), 1930 + 30 * i));
    assert_eq!(fault(2050), none(250, Some(70)));
}

#[test]
fn frames_are_shared_and_no_more_are_kept_than_the_history_needs() {
    let inputs = inputs(vec![remembering("top", 50)]);
    let frames: Vec<Bytes> = (1..=200).map(|i| frame(20 * i)).collect();
    for (i, bytes) in (1..).zip(&frames) {
        offer(&inputs, "/top", bytes.clone(), 20 * i);
    }
    let kept = frames.iter().filter(|bytes| !bytes.is_unique()).count();
    assert!((38..=41).contains(&kept), "{kept} frames of 20 ms for 775 ms");
    assert!(frames[..150].iter().all(Bytes::is_unique) && !frames[199].is_unique());
}

#[test]
fn frames_of_an_earlier_run_of_the_clock_are_no_history() {
    let inputs = inputs(vec![remembering("top", 50)]);
    (0..=100).for_each(|i| offer(&inputs, "/top", frame(10_000 + 10 * i), 10_000 + 10 * i));
    assert!(assemble(&inputs, 1, 11_000).is_ok());
    (0..3).for_each(|i| offer(&inputs, "/top", frame(5000 + 10 * i), 5000 + 10 * i));
    let violation = assemble(&inputs, 1, 5020).expect_err("the clock went back");
    assert!(violation.breaches.iter().any(|breach| matches!(breach.fault, Fault::ClockWentBack { .. })));
    let violation = assemble(&inputs, 1, 5021).expect_err("a short history");
    assert!(violation.breaches.iter().any(|breach| matches!(breach.fault, Fault::NoHistory { .. })), "{violation}");
}

#[test]
fn one_topic_gives_several_views() {
    let views = ["left", "right"].map(|name| camera(name, "/stereo", Transport::Raw));
    let inputs = inputs(views.to_vec());
    assert_eq!(inputs.topics().len(), 2, "one for both views, one for the joints");
    offer(&inputs, "/stereo", frame(1000), 1000);
    let observation = assemble(&inputs, 2, 1000).expect("both views");
    let names: Vec<&str> = observation.cameras.iter().map(|sample| &*sample.name).collect();
    assert_eq!(names, ["left", "right"]);
    assert!(observation.cameras.iter().all(|sample| sample.bytes == frame(1000)));
    let counted: Vec<u64> = inputs.statistics(at(1001)).iter().map(|input| input.received).collect();
    assert_eq!(counted, [1, 1, 1]);
}

#[test]
fn an_encoding_that_leaves_the_meaning_open_is_refused_without_the_parameter() {
    let image = |encoding: &str, bytes: u32| -> Bytes {
        let header = HeaderView { stamp: at(1000), frame_id: "" };
        write::image(header, 4, 4, encoding, 4 * bytes, &vec![9; 16 * bytes as usize]).into()
    };
    let refused = |encoding: Option<PixelFormat>, message: &str, bytes: u32| {
        let frames = FrameOptions { encoding, ..FrameOptions::default() };
        let inputs = inputs(vec![InputSpec { frames, ..camera("top", "/top", Transport::Raw) }]);
        inputs.offer(topic(&inputs, "/top"), image(message, bytes), at(1000)).err().map(|error| error.to_string())
    };
    let open = refused(None, "8UC3", 3).expect("refused");
    assert!(open.contains("input `top`") && open.contains("inputs.cameras.<name>.encoding"), "{open}");
    assert_eq!(refused(Some(PixelFormat::Bgr8), "8UC3", 3), None);
    let mosaic = Some(PixelFormat::Bayer8(BayerPattern::Grbg));
    assert_eq!(refused(mosaic, "8UC1", 1), None);
    assert_eq!(refused(mosaic, "mono8", 1), None);
    assert_eq!(refused(None, "bayer_grbg8", 1), None);
    assert!(refused(Some(PixelFormat::Bgr8), "rgb8", 3).is_some(), "a message that says something else");
    assert!(refused(None, "bayer_grbg16", 2).is_some());
}

#[test]
fn the_size_of_a_frame_is_checked_as_it_will_be_used() {
    let stored = std::fs::read(vla_trt_tests::root().join("tests/data/message/baseline_422.jpg")).expect("checked in");
    // 37x23, stored on its side.
    let exif = [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0".as_slice(), &[0; 4]].concat();
    let length = u16::try_from(exif.len() + 2).expect("short");
    let jpeg = [&stored[..2], &[0xff, 0xe1], &length.to_be_bytes(), &exif, &stored[2..]].concat();
    let header = HeaderView { stamp: at(1000), frame_id: "" };
    for (exif, expected) in [(Exif::Ignore, (37, 23)), (Exif::Apply, (23, 37))] {
        let frames = FrameOptions { exif, ..FrameOptions::default() };
        let inputs = inputs(vec![InputSpec { frames, ..camera("top", "/top", Transport::Compressed) }]);
        inputs.set_frame_check(std::sync::Arc::new(move |_: &str, width, height| {
            if (width, height) == expected { Ok(()) } else { Err(format!("{width}x{height}")) }
        }));
        offer(&inputs, "/top", write::compressed_image(header, "jpeg", &jpeg).into(), 1000);
        let observation = assemble(&inputs, 1, 1000).expect("a frame");
        assert_eq!(observation.cameras[0].options.exif, exif);
    }
}
