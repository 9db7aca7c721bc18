//! Bytes against ROS 2's own: what `rclpy.serialization.serialize_message` gave (Jazzy, rmw_fastrtps_cpp).
//!
//! `__` is a byte that Fast DDS leaves uninitialised: padding, and what follows the last field.

use proptest::prelude::*;
use vla_base::time::{Span, Stamp};
use vla_messages::{
    ActionChunkMessage, CompressedImageView, Error, HeaderView, ImageView, JointStateView, JointTrajectoryMessage,
    PoseStampedView, TrajectoryPoint, text, write,
};

fn parts(sec: i32, nanosec: u32) -> Stamp {
    Stamp::from_parts(sec, nanosec).expect("less than a second of nanoseconds")
}

fn golden(hex: &str) -> Vec<Option<u8>> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).ok()).collect()
}

/// The golden bytes with rubbish where ROS 2 has rubbish.
fn received(hex: &str) -> Vec<u8> {
    golden(hex).into_iter().map(|byte| byte.unwrap_or(0xa5)).collect()
}

/// Equal wherever ROS 2 defines a byte, and zero where it does not; only undefined bytes may be missing at the end.
fn assert_same_bytes(ours: &[u8], hex: &str) {
    let theirs = golden(hex);
    assert!(ours.len() <= theirs.len(), "{} bytes, ROS 2 writes {}", ours.len(), theirs.len());
    for (at, &byte) in theirs.iter().enumerate() {
        match ours.get(at) {
            Some(&our_byte) => assert_eq!(our_byte, byte.unwrap_or(0), "byte {at}"),
            None => assert_eq!(byte, None, "byte {at} is missing"),
        }
    }
}

const IMAGE: &str = "00010000 0078e768 15cd5b07 04000000 746f7000 02000000 02000000 05000000 7267623800 00 __ __
    06000000 0c000000 000102030405060708090a0b";

#[test]
fn an_image_has_the_bytes_of_ros_2() {
    let header = HeaderView { stamp: parts(1_760_000_000, 123_456_789), frame_id: "top" };
    let data: Vec<u8> = (0..12).collect();
    assert_same_bytes(&write::image(header, 2, 2, "rgb8", 6, &data), IMAGE);
    let bytes = received(IMAGE);
    let expected = ImageView { header, height: 2, width: 2, encoding: "rgb8", step: 6, data: &data };
    assert_eq!(ImageView::parse(&bytes), Ok(expected));
}

const COMPRESSED: &str = "00010000 01000000 02000000 04000000 63616d00
    1b000000 726762383b206a70656720636f6d70726573736564206267723800 __ 03000000 ffd8ff";

#[test]
fn a_compressed_image_has_the_bytes_of_ros_2() {
    let header = HeaderView { stamp: parts(1, 2), frame_id: "cam" };
    let (format, data) = ("rgb8; jpeg compressed bgr8", &[0xff, 0xd8, 0xff][..]);
    assert_same_bytes(&write::compressed_image(header, format, data), COMPRESSED);
    assert_eq!(CompressedImageView::parse(&received(COMPRESSED)), Ok(CompressedImageView { header, format, data }));
}

const JOINTS: &str = "00010000 ffffffff ffc99a3b 05000000 6261736500 ______ 02000000 02000000 6100 ____ 06000000
    656c626f7700 ____ 02000000 000000000000e03f 000000000000f4bf 00000000 02000000 0000000000000840
    0000000000001040 ________ ________";

#[test]
fn a_joint_state_has_the_bytes_of_ros_2() {
    let header = HeaderView { stamp: parts(-1, 999_999_999), frame_id: "base" };
    assert_same_bytes(&write::joint_state(header, &["a", "elbow"], &[0.5, -1.25], &[], &[3.0, 4.0]), JOINTS);
    let bytes = received(JOINTS);
    let view = JointStateView::parse(&bytes).expect("well-formed");
    assert_eq!((view.header, view.velocity(0)), (header, None));
    assert!(view.names().eq(["a", "elbow"]) && view.positions().eq([0.5, -1.25]));
}

#[test]
fn an_empty_joint_state_has_the_bytes_of_ros_2() {
    let hex = "00010000 00000000 00000000 01000000 00 ______ 00000000 00000000 00000000 00000000 ________ ________";
    assert_same_bytes(&write::joint_state::<&str>(HeaderView::default(), &[], &[], &[], &[]), hex);
    assert!(JointStateView::parse(&received(hex)).expect("well-formed").is_empty());
}

const POSE: &str = "00010000 03000000 04000000 05000000 6261736500 ______________ 000000000000f03f 00000000000004c0
    000000000000d03f 0000000000000000 333333333333e33f 0000000000000000 9a9999999999e93f";

const POSE_OF_ANOTHER_FRAME: &str = "00010000 ffffffff ffc99a3b 0b000000 746f6f6c305f6c65667400 __ 000000000000e03f
    0000000000000000 0000000000000000 000000000000e03f 000000000000e0bf 000000000000e03f 000000000000e0bf";

#[test]
fn a_stamped_pose_has_the_bytes_of_ros_2_whatever_the_length_of_its_frame() {
    let header = HeaderView { stamp: parts(3, 4), frame_id: "base" };
    let (position, orientation) = ([1.0, -2.5, 0.25], [0.0, 0.6, 0.0, 0.8]);
    assert_same_bytes(&write::pose_stamped(header, position, orientation), POSE);
    let pose = PoseStampedView { header, position, orientation };
    assert_eq!(PoseStampedView::parse(&received(POSE)), Ok(pose));

    let header = HeaderView { stamp: parts(-1, 999_999_999), frame_id: "tool0_left" };
    let (position, orientation) = ([0.5, 0.0, 0.0], [0.5, -0.5, 0.5, -0.5]);
    assert_same_bytes(&write::pose_stamped(header, position, orientation), POSE_OF_ANOTHER_FRAME);
    let pose = PoseStampedView { header, position, orientation };
    assert_eq!(PoseStampedView::parse(&received(POSE_OF_ANOTHER_FRAME)), Ok(pose));
}

#[test]
fn a_string_has_the_bytes_of_ros_2() {
    for (data, hex) in [
        ("pick up the cube \u{e9}", "00010000 14000000 7069636b20757020746865206375626520c3a900"),
        ("", "00010000 01000000 00"),
    ] {
        assert_same_bytes(&write::text(data), hex);
        assert_eq!(text(&received(hex)), Ok(data));
    }
}

const TRAJECTORY: &str = "00010000 05000000 06000000 05000000 6261736500 ______ 02000000 05000000 6c65667400 ______
    02000000 7200 ____ 02000000
    02000000 ________ 000000000000f03f 0000000000000040 02000000 ________ 000000000000e03f 000000000000d03f
    00000000 00000000 00000000 002d3101
    02000000 ________ 000000000000f83f 0000000000000440 00000000 00000000 00000000 ffffffff ffc99a3b
    ________________________________________";

#[test]
fn a_joint_trajectory_has_the_bytes_of_ros_2() {
    let point = |positions: &[f64], velocities: &[f64], nanos| TrajectoryPoint {
        positions: positions.to_vec(),
        velocities: velocities.to_vec(),
        time_from_start: Span::from_nanos(nanos),
    };
    let message = JointTrajectoryMessage {
        stamp: parts(5, 6),
        frame_id: "base".to_owned(),
        joint_names: vec!["left".to_owned(), "r".to_owned()],
        points: vec![point(&[1.0, 2.0], &[0.5, 0.25], 20_000_000), point(&[1.5, 2.5], &[], -1)],
    };
    let mut out = vec![9; 7];
    message.write(&mut out);
    assert_same_bytes(&out, TRAJECTORY);
    assert_eq!(JointTrajectoryMessage::parse(&received(TRAJECTORY)), Ok(message));

    JointTrajectoryMessage::default().write(&mut out);
    assert_same_bytes(&out, "00010000 00000000 00000000 01000000 00 ______ 00000000 00000000");
}

fn stamps() -> impl Strategy<Value = Stamp> {
    let most = i64::from(i32::MAX) * 1_000_000_000 + 999_999_999;
    (i64::from(i32::MIN) * 1_000_000_000..=most).prop_map(Stamp::from_nanos)
}

fn spans() -> impl Strategy<Value = Span> {
    stamps().prop_map(|stamp| Span::from_nanos(stamp.nanos()))
}

prop_compose! {
    fn action_chunks()(
        (stamp, frame_id, sequence, start, step) in (stamps(), ".{0,8}", any::<u64>(), stamps(), spans()),
        inputs in prop::collection::vec((".{0,9}", stamps()), 0..5),
        names in prop::collection::vec("[a-z_]{0,9}", 0..4),
        horizon in 0u32..5,
        all_values in prop::collection::vec(any::<f32>().prop_filter("comparable", |x| !x.is_nan()), 12),
        (late_rows, inference_latency, seed) in (any::<u32>(), spans(), any::<u64>()),
        policy_fingerprint in "(sha256:[0-9a-f]{8})?",
    ) -> ActionChunkMessage {
        let (input_names, input_stamps) = inputs.into_iter().unzip();
        let horizon = if names.len() < 4 { horizon.min(4) } else { horizon.min(3) };
        let values = all_values[..names.len().min(3) * horizon as usize].to_vec();
        let names = names.into_iter().take(3).collect();
        ActionChunkMessage {
            stamp, frame_id, sequence, input_names, input_stamps, start, step, names, horizon, values,
            late_rows, inference_latency, seed, policy_fingerprint,
        }
    }
}

prop_compose! {
    fn trajectories()(
        (stamp, frame_id) in (stamps(), ".{0,8}"),
        joint_names in prop::collection::vec(".{0,9}", 0..5),
        points in prop::collection::vec((
            prop::collection::vec(-9.0..9.0, 0..5), prop::collection::vec(-9.0..9.0, 0..5), spans()
        ), 0..5),
    ) -> JointTrajectoryMessage {
        let points = points.into_iter()
            .map(|(positions, velocities, time_from_start)| TrajectoryPoint { positions, velocities, time_from_start })
            .collect();
        JointTrajectoryMessage { stamp, frame_id, joint_names, points }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_no_part_of_it_suffices(chunk in action_chunks(), trajectory in trajectories()) {
        let mut out = Vec::new();
        chunk.write(&mut out);
        for length in 0..out.len() {
            prop_assert!(ActionChunkMessage::parse(&out[..length]).is_err(), "cut to {length} of {}", out.len());
        }
        prop_assert_eq!(ActionChunkMessage::parse(&out), Ok(chunk));
        trajectory.write(&mut out);
        for length in 0..out.len() {
            prop_assert!(JointTrajectoryMessage::parse(&out[..length]).is_err(), "cut to {length}");
        }
        prop_assert_eq!(JointTrajectoryMessage::parse(&out), Ok(trajectory));
    }

    #[test]
    fn images_are_read_as_written(
        stamp in stamps(), frame_id in ".{0,12}", encoding in ".{0,12}",
        (width, height, step) in any::<(u32, u32, u32)>(), data in prop::collection::vec(any::<u8>(), 0..99),
    ) {
        let header = HeaderView { stamp, frame_id: &frame_id };
        let bytes = write::image(header, width, height, &encoding, step, &data);
        let view = ImageView::parse(&bytes).expect("well-formed");
        prop_assert_eq!((view.header, view.encoding, view.data), (header, encoding.as_str(), data.as_slice()));
        let (width, height, step) = (width as usize, height as usize, step as usize);
        prop_assert_eq!((view.width, view.height, view.step), (width, height, step));
        let frame = write::compressed_image(header, &encoding, &data);
        let expected = CompressedImageView { header, format: &encoding, data: &data };
        prop_assert_eq!(CompressedImageView::parse(&frame), Ok(expected));
        for length in 0..frame.len() {
            prop_assert!(CompressedImageView::parse(&frame[..length]).is_err(), "cut to {length}");
        }
    }
}

#[test]
fn a_chunk_whose_values_do_not_fill_horizon_and_names_is_refused() {
    let mut out = Vec::new();
    let mut chunk = ActionChunkMessage { names: vec!["a".into(), "b".into()], horizon: 3, ..Default::default() };
    chunk.values = vec![0.0; 5];
    chunk.write(&mut out);
    assert_eq!(
        ActionChunkMessage::parse(&out).expect_err("refused").to_string(),
        "vla_trt/msg/ActionChunk: `values` has 5 elements, expected 6 (`horizon` times the number of `names`)"
    );
    chunk.values.push(0.0);
    chunk.input_names.push("joints".into());
    chunk.write(&mut out);
    assert!(matches!(ActionChunkMessage::parse(&out), Err(Error::Length { field: "input_stamps", .. })));
}
