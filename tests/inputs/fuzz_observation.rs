//! Fuzz target: whatever arrives on a topic, no input panics, every message is counted once, and what is assembled
//! has only samples that were taken.
//!
//! Runs a bounded count on stable Rust under `cargo test`, and under libFuzzer with `cargo bolero test`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use vla_base::time::{Span, Stamp};
use vla_messages::{HeaderView, TransformView, write};
use vla_policy::observation::{
    InputKind, InputRule, InputSpec, Inputs, JointMap, JointNames, OnViolation, Rules, StateReader, Transport,
};

const KINDS: [InputKind; 7] = [
    InputKind::Camera { transport: Transport::Raw },
    InputKind::Camera { transport: Transport::Compressed },
    InputKind::Joints,
    InputKind::Pose,
    InputKind::Odometry,
    InputKind::Transform,
    InputKind::Instruction,
];

/// A good message of the kind, of which the fuzzer overwrites one place and cuts the end: random bytes alone rarely
/// get past the header.
fn message(kind: usize, stamp: i64, place: usize, byte: u8, cut: usize) -> Vec<u8> {
    let header = HeaderView { stamp: Stamp::from_nanos(stamp), frame_id: "base" };
    let mut bytes = match kind {
        0 => write::image(header, 2, 2, "rgb8", 6, &[9; 12]),
        1 => write::compressed_image(header, "jpeg", &[0xff, 0xd8, 0xff]),
        2 => write::joint_state(header, &["waist", "elbow"], &[0.5, -0.5], &[], &[]),
        3 => write::pose_stamped(header, [0.5, -0.5, 1.0], [0.0, 0.6, 0.0, 0.8]),
        4 => write::odometry(header, "tool", [0.5, -0.5, 1.0], [0.0, 0.6, 0.0, 0.8]),
        5 => {
            let (translation, rotation) = ([0.5, -0.5, 1.0], [0.0, 0.6, 0.0, 0.8]);
            write::tf_message(&[TransformView { header, child_frame_id: "tool", translation, rotation }])
        }
        _ => write::text("pick up the cube"),
    };
    let length = bytes.len();
    if let Some(at) = bytes.get_mut(place % length) {
        *at = byte;
    }
    bytes.truncate(length - cut.min(length));
    bytes
}

fn rules() -> Rules {
    let wide = Span::from_nanos(i64::MAX);
    Rules {
        per_input: vec![InputRule::age(wide, true); KINDS.len()],
        max_skew: wide,
        on_violation: OnViolation::Skip,
        future_tolerance: Span::from_nanos(1_000),
        enable_max_age: Span::ZERO,
        ..Rules::default()
    }
}

#[test]
fn any_message_is_taken_or_refused_and_counted() {
    type Offer = (u8, u16, u16, usize, u8, u8, Vec<u8>);
    static ASSEMBLED: AtomicU64 = AtomicU64::new(0);
    bolero::check!().with_iterations(5_000).with_type::<Vec<Offer>>().for_each(|offers| {
        let frame_id = || String::from("base");
        let joints = JointNames { read: vec!["elbow".into()], moved: vec!["waist".into()], ..JointNames::default() };
        let spec = |kind| InputSpec {
            frame_id: frame_id(),
            child_frame_id: "tool".into(),
            joints: joints.clone(),
            ..InputSpec::new("input", kind, ["/topic"])
        };
        let inputs = Inputs::new(KINDS.map(spec).to_vec());
        let mut reader = StateReader::new(&[JointMap::identity("arm", vec!["elbow".into()])]).expect("a valid map");
        let mut state = [0.0];
        for kind in 0..KINDS.len() {
            let good = message(kind, 1, 0, 0, 0);
            inputs.offer(kind, good.into(), Stamp::from_nanos(1)).expect("a good message");
        }
        for (which, stamp, received, place, byte, cut, garbage) in offers {
            let kind = usize::from(*which) % KINDS.len();
            // Half of the messages arrive when they should, so that some are taken.
            let (stamp, received) = (i64::from(*stamp), i64::from(*received));
            let received = Stamp::from_nanos(if which & 0x80 == 0 { stamp } else { received });
            let cut = usize::from(cut.saturating_sub(200));
            let bytes = if which & 0x40 == 0 { message(kind, stamp, *place, *byte, cut) } else { garbage.clone() };
            let taken = inputs.offer(kind, Bytes::from(bytes), received);
            if let Err(error) = &taken {
                assert!(error.to_string().contains("/topic"), "{error}");
            }
            if let Ok(observation) = inputs.assemble(received, &rules()) {
                ASSEMBLED.fetch_add(1, Ordering::Relaxed);
                assert_eq!(observation.identity().count(), 6);
                assert!(observation.identity().all(|(_, stamp)| stamp >= observation.stamp));
                let joints = observation.joints.expect("a joint state");
                if reader.read(&joints, &mut state).is_ok() {
                    assert!(state[0].is_finite());
                }
                for pose in observation.poses.iter().map(|sample| sample.pose) {
                    assert!(pose.position.iter().all(|value| value.is_finite()));
                    let length = pose.orientation.iter().map(|value| value * value).sum::<f64>();
                    assert!((length - 1.0).abs() < 1e-9, "{pose:?}");
                }
            }
        }
        for s in inputs.statistics(Stamp::from_nanos(0)) {
            let accounted = s.used + s.overwritten + s.refused + s.out_of_order + s.repeated + s.future + s.unneeded;
            // Held and not used yet: one message, or one for each of the two joints.
            assert!((accounted..=accounted + 2).contains(&s.received), "{s:?}");
        }
    });
    assert!(ASSEMBLED.load(Ordering::Relaxed) > 100, "the target gets as far as observations");
}
