//! The definitions that go into bags against the bytes that go into bags: a reader that knows only the definition
//! must get through every message and end at its last byte.

use std::collections::HashMap;

use vla_base::time::{Span, Stamp};
use vla_messages::cdr::Reader;
use vla_messages::{
    ActionChunkMessage, CompressedImageView, HeaderView, ImageView, JointStateView, JointTrajectoryMessage,
    PoseStampedView, TrajectoryPoint, schema, write,
};

/// Fields (type, name) of each type of a definition; the type itself is under "".
type Definition = HashMap<String, Vec<(String, String)>>;

fn parse(text: &str) -> Definition {
    let mut types = Definition::new();
    for part in text.split("================================================================================\n") {
        let mut lines = part.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).peekable();
        let name = lines.next_if(|line| line.starts_with("MSG: ")).map_or("", |line| &line["MSG: ".len()..]);
        let fields =
            lines.filter_map(|line| line.split_once(' ').map(|(kind, name)| (kind.into(), name.trim().into())));
        types.insert(name.to_owned(), fields.collect());
    }
    types
}

/// Reads a value of type `kind` and shows it.
fn walk(types: &Definition, kind: &str, reader: &mut Reader<'_>) -> String {
    let read = "field";
    if let Some(element) = kind.strip_suffix("[]") {
        let count = reader.length(read, 1).expect("length");
        let values: Vec<String> = (0..count).map(|_| walk(types, element, reader)).collect();
        return format!("[{}]", values.join(" "));
    }
    match kind {
        "uint8" => reader.u8(read).expect(kind).to_string(),
        "int32" => reader.i32(read).expect(kind).to_string(),
        "uint32" => reader.u32(read).expect(kind).to_string(),
        "uint64" => reader.u64(read).expect(kind).to_string(),
        "float32" => reader.f32(read).expect(kind).to_string(),
        "float64" => reader.f64(read).expect(kind).to_string(),
        "string" => reader.string(read).expect(kind).to_owned(),
        _ => {
            let full = types.keys().find(|name| *name == kind || name.ends_with(&format!("/{kind}")));
            let fields = &types[full.unwrap_or_else(|| panic!("{kind} is not defined"))];
            let shown: Vec<String> =
                fields.iter().map(|(kind, name)| format!("{name}:{}", walk(types, kind, reader))).collect();
            format!("{{{}}}", shown.join(" "))
        }
    }
}

fn read(type_name: &str, bytes: &[u8]) -> String {
    let types = parse(schema::text(type_name).expect("a type that is written"));
    let mut reader = Reader::new(type_name, bytes).expect("plain CDR");
    let shown: Vec<String> =
        types[""].iter().map(|(kind, name)| format!("{name}:{}", walk(&types, kind, &mut reader))).collect();
    assert_eq!(reader.left(), 0, "bytes behind {}", shown.join(" "));
    shown.join(" ")
}

const HEADER: HeaderView<'_> = HeaderView { stamp: Stamp::from_nanos(2_000_000_003), frame_id: "f" };
const SHOWN_HEADER: &str = "header:{stamp:{sec:2 nanosec:3} frame_id:f}";

#[test]
fn action_chunks_match_their_definition() {
    let mut out = Vec::new();
    ActionChunkMessage {
        stamp: HEADER.stamp,
        frame_id: "f".into(),
        sequence: 4,
        input_names: vec!["top".into(), "joints".into()],
        input_stamps: vec![Stamp::from_nanos(5), Stamp::from_nanos(6)],
        start: Stamp::from_nanos(7),
        step: Span::from_nanos(8),
        names: vec!["a".into()],
        horizon: 2,
        values: vec![0.5, 1.5],
        late_rows: 9,
        inference_latency: Span::from_nanos(10),
        seed: 11,
        policy_fingerprint: "sha256:12".into(),
    }
    .write(&mut out);
    assert_eq!(
        read(ActionChunkMessage::TYPE, &out),
        format!(
            "{SHOWN_HEADER} sequence:4 input_names:[top joints] input_stamps:[{{sec:0 nanosec:5}} {{sec:0 nanosec:6}}] \
             start:{{sec:0 nanosec:7}} step:{{sec:0 nanosec:8}} names:[a] horizon:2 values:[0.5 1.5] late_rows:9 \
             inference_latency:{{sec:0 nanosec:10}} seed:11 policy_fingerprint:sha256:12"
        )
    );
}

#[test]
fn joint_trajectories_match_their_definition() {
    let mut out = Vec::new();
    let time_from_start = Span::from_nanos(4);
    let point = TrajectoryPoint { positions: vec![1.0, 2.0], velocities: vec![3.0, 0.5], time_from_start };
    let (joint_names, points) = (vec!["a".into(), "b".into()], vec![point.clone(), point]);
    JointTrajectoryMessage { stamp: HEADER.stamp, frame_id: "f".into(), joint_names, points }.write(&mut out);
    let point = "{positions:[1 2] velocities:[3 0.5] accelerations:[] effort:[] time_from_start:{sec:0 nanosec:4}}";
    let expected = format!("{SHOWN_HEADER} joint_names:[a b] points:[{point} {point}]");
    assert_eq!(read(JointTrajectoryMessage::TYPE, &out), expected);
}

#[test]
fn sensor_messages_match_their_definitions() {
    assert_eq!(
        read(ImageView::TYPE, &write::image(HEADER, 1, 2, "mono8", 3, &[4, 5])),
        format!("{SHOWN_HEADER} height:2 width:1 encoding:mono8 is_bigendian:0 step:3 data:[4 5]")
    );
    assert_eq!(
        read(CompressedImageView::TYPE, &write::compressed_image(HEADER, "png", &[1, 2])),
        format!("{SHOWN_HEADER} format:png data:[1 2]")
    );
    assert_eq!(
        read(JointStateView::TYPE, &write::joint_state(HEADER, &["a"], &[1.0], &[2.0], &[3.0])),
        format!("{SHOWN_HEADER} name:[a] position:[1] velocity:[2] effort:[3]")
    );
    assert_eq!(
        read(PoseStampedView::TYPE, &write::pose_stamped(HEADER, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])),
        format!("{SHOWN_HEADER} pose:{{position:{{x:1 y:2 z:3}} orientation:{{x:4 y:5 z:6 w:7}}}}")
    );
    assert_eq!(read("std_msgs/msg/String", &write::text("hi")), "data:hi");
}

#[test]
fn a_type_that_is_not_written_has_no_definition() {
    assert_eq!(schema::text("sensor_msgs/msg/Imu"), None);
}
