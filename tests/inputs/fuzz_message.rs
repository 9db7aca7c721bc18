//! Fuzz targets: no bytes make a view or a decoder panic, and what they accept is consistent.

use vla_trt_tests::fuzz;

use vla_base::time::{Span, Stamp};
use vla_messages::cdr::Writer;
use vla_messages::{
    ActionChunkMessage, CompressedImageView, FrameDecoder, HeaderView, ImageView, JointStateView,
    JointTrajectoryMessage, Pixels, PoseStampedView, TrajectoryPoint, header_stamp, text, write,
};

const HEADER: HeaderView<'_> = HeaderView { stamp: Stamp::from_nanos(1_760_000_000_000_000_000), frame_id: "camera" };

fn messages() -> Vec<Vec<u8>> {
    let mut chunk = Vec::new();
    ActionChunkMessage {
        input_names: vec!["top".into(), "joints".into()],
        input_stamps: vec![HEADER.stamp; 2],
        names: vec!["left".into(), "right".into()],
        horizon: 3,
        values: vec![0.25; 6],
        policy_fingerprint: "sha256:00".into(),
        ..ActionChunkMessage::default()
    }
    .write(&mut chunk);
    let mut trajectory = Vec::new();
    let time_from_start = Span::from_nanos(5);
    let point = TrajectoryPoint { positions: vec![1.0; 2], velocities: vec![0.0; 2], time_from_start };
    JointTrajectoryMessage { joint_names: vec!["a".into(), "b".into()], points: vec![point; 3], ..Default::default() }
        .write(&mut trajectory);
    let mut big_endian = Vec::new();
    let mut writer = Writer::big_endian(&mut big_endian);
    writer.header(HEADER);
    writer.strings(&["left", "right"]);
    (0..3).for_each(|_| writer.doubles(&[0.5, 0.25]));
    let image = |encoding, step, length| write::image(HEADER, 4, 2, encoding, step, &vec![99; length]);
    vec![
        chunk,
        trajectory,
        big_endian,
        write::joint_state(HEADER, &["a", "elbow"], &[0.5, -1.25], &[], &[]),
        write::compressed_image(HEADER, "jpeg", &[0xff, 0xd8, 0xff, 0]),
        write::pose_stamped(HEADER, [0.25, -0.5, 1.0], [0.0, 0.6, 0.0, 0.8]),
        write::text("pick up the cube"),
        image("rgb8", 12, 24),
        image("bgra8", 16, 32),
        image("mono8", 5, 10),
        image("yuv422", 8, 16),
        image("nv12", 4, 12),
    ]
}

/// Every row, of images that are small enough to try.
fn read_rows(pixels: &Pixels<'_>) {
    if pixels.width * pixels.height > 1 << 16 {
        return;
    }
    let mut scratch = vec![0; 3 * pixels.width];
    for y in 0..pixels.height {
        assert_eq!(pixels.row_rgb(y, &mut scratch).len(), 3 * pixels.width);
    }
}

fn read_message(bytes: &[u8]) {
    if let Ok(image) = ImageView::parse(bytes) {
        assert!(bytes.as_ptr_range().contains(&image.data.as_ptr()) || image.data.is_empty());
        assert_eq!(header_stamp(ImageView::TYPE, bytes), Ok(image.header.stamp));
        if let Ok(pixels) = image.pixels() {
            read_rows(&pixels);
        }
    }
    if let Ok(joints) = JointStateView::parse(bytes) {
        assert_eq!(joints.names().count(), joints.len());
        assert!(joints.positions().enumerate().all(|(i, p)| joints.position(i).map(f64::to_bits) == Some(p.to_bits())));
        assert_eq!(joints.velocity(joints.velocities().len()), None);
    }
    if let Ok(image) = CompressedImageView::parse(bytes) {
        assert!(image.data.len() < bytes.len());
    }
    if let Ok(pose) = PoseStampedView::parse(bytes) {
        assert_eq!(header_stamp(PoseStampedView::TYPE, bytes), Ok(pose.header.stamp));
        if let Ok(pose) = pose.checked() {
            let length = pose.orientation.iter().map(|value| value * value).sum::<f64>();
            assert!((length - 1.0).abs() < 1e-12 && pose.position.iter().all(|value| value.is_finite()), "{pose:?}");
        }
    }
    if let Ok(text) = text(bytes) {
        assert!(text.len() < bytes.len());
    }
    let (mut once, mut again) = (Vec::new(), Vec::new());
    if let Ok(chunk) = ActionChunkMessage::parse(bytes) {
        chunk.write(&mut once);
        ActionChunkMessage::parse(&once).expect("its own bytes").write(&mut again);
        assert_eq!(once, again);
    }
    if let Ok(trajectory) = JointTrajectoryMessage::parse(bytes) {
        trajectory.write(&mut once);
        JointTrajectoryMessage::parse(&once).expect("its own bytes").write(&mut again);
        assert_eq!(once, again);
    }
}

#[test]
fn no_bytes_break_a_view() {
    fuzz::check!(200_000, messages()).for_each(read_message);
}

fn frames() -> Vec<Vec<u8>> {
    let folder = vla_trt_tests::root().join("tests/data/message");
    let names =
        ["progressive_420.jpg", "baseline_422.jpg", "restart.jpg", "grey.jpg", "rgba.png", "palette_transparent.png"];
    names.map(|name| std::fs::read(folder.join(name)).expect("a checked-in frame")).into()
}

#[test]
fn no_bytes_break_the_frame_decoder() {
    fuzz::check!(40_000, frames()).for_each(|data: &[u8]| {
        let mut decoder = FrameDecoder::new();
        if let Ok(pixels) = decoder.decode(&CompressedImageView { header: HEADER, format: "", data }) {
            read_rows(&pixels);
        }
    });
}
