//! Inputs of other people's robots: variants of the sample bag through the demo policy.

use vla_trt_tests::demo;

use std::ops::Deref;
use std::path::Path;

use bytes::Bytes;
use vla_bags::{BagReader, BagWriter};
use vla_base::time::{Span, Stamp};
use vla_messages::{CompressedImageView, HeaderView, JointStateView, schema, write};
use vla_offline::replay;
use vla_offline::replay::Options;
use vla_offline::replay::record::Record;
use vla_policy::PolicySpec;
use vla_runtime::session::Session;

/// One message of the bag in, any number with their log times out.
type Edit<'e> = dyn FnMut(&str, Stamp, Bytes) -> Vec<(Stamp, Bytes)> + 'e;

const JOINT_STATES: &str = "/joint_states";
const TOP: &str = "/camera/top/image_raw/compressed";

fn rewrite(out: &Path, edit: &mut Edit<'_>) {
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let topics: Vec<usize> = (0..bag.topics().len()).collect();
    let mut writer = BagWriter::create(out).expect("a bag");
    let ids: Vec<_> = bag
        .topics()
        .iter()
        .map(|topic| {
            let text = schema::text(&topic.type_name).expect("a type of the sample bag");
            writer.add_topic(&topic.name, &topic.type_name, text).expect("a topic")
        })
        .collect();
    let mut messages: Vec<(Stamp, usize, Bytes)> = Vec::new();
    for message in bag.messages(&topics).expect("messages") {
        let message = message.expect("readable");
        let edited = edit(&bag.topics()[message.topic].name, message.log_time, message.data);
        messages.extend(edited.into_iter().map(|(at, data)| (at, message.topic, data)));
    }
    messages.sort_by_key(|message| message.0);
    for (at, topic, data) in messages {
        writer.write(ids[topic], at, &data).expect("written");
    }
    writer.finish().expect("finished");
}

/// A replay, and the values of its chunks.
struct Run {
    record: Record,
    values: Vec<Vec<f32>>,
}

impl Deref for Run {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

fn run(edit: &mut Edit<'_>, assignments: &[&str]) -> Run {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    let bag = out.path().join("variant.mcap");
    rewrite(&bag, edit);
    let settings = demo::settings(policy.path(), assignments);
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).expect("the demo policy loads");
    let output = out.path().join("chunks.mcap");
    let latency = Span::from_millis(5.0);
    let options = Options { source: bag.into(), output: output.clone(), latency, ..Options::default() };
    let record = replay::run(&mut session, &settings, &options, &mut |_| {}).expect("the bag replays").record;
    let chunks = if record.chunks.is_empty() { Vec::new() } else { demo::chunks(&output) };
    Run { record, values: chunks.into_iter().map(|chunk| chunk.values).collect() }
}

fn same(_: &str, at: Stamp, data: Bytes) -> Vec<(Stamp, Bytes)> {
    vec![(at, data)]
}

fn joints(data: &[u8], keep: impl Fn(&str) -> bool, shift: impl Fn(Stamp) -> Stamp) -> Bytes {
    let view = JointStateView::parse(data).expect("a joint state");
    let kept = || view.names().zip(view.positions()).filter(|(name, _)| keep(name));
    let (names, positions): (Vec<&str>, Vec<f64>) = kept().unzip();
    let header = HeaderView { stamp: shift(view.header.stamp), ..view.header };
    write::joint_state(header, &names, &positions, &[], &[]).into()
}

fn frame(data: &[u8], stamp: impl Fn(Stamp) -> Stamp, format: &str, edit: impl Fn(Vec<u8>) -> Vec<u8>) -> Bytes {
    let view = CompressedImageView::parse(data).expect("a frame");
    let header = HeaderView { stamp: stamp(view.header.stamp), ..view.header };
    write::compressed_image(header, format, &edit(view.data.to_vec())).into()
}

fn frames(format: &'static str, edit: fn(Vec<u8>) -> Vec<u8>) -> impl FnMut(&str, Stamp, Bytes) -> Vec<(Stamp, Bytes)> {
    move |topic, at, data| {
        let data = if topic.ends_with("/compressed") { frame(&data, |stamp| stamp, format, edit) } else { data };
        vec![(at, data)]
    }
}

#[test]
fn joint_states_of_two_publishers_give_a_chunk_at_every_cycle() {
    let whole = run(&mut same, &[]);
    let later = Span::from_millis(5.0);
    let mut halves = |topic: &str, at: Stamp, data: Bytes| match topic {
        JOINT_STATES => vec![
            (at, joints(&data, |name| name.starts_with("left"), |stamp| stamp)),
            (at + later, joints(&data, |name| name.starts_with("right"), |stamp| stamp + later)),
        ],
        _ => vec![(at, data)],
    };
    let merged = run(&mut halves, &[]);
    // The first cycle comes before the right side's first message.
    assert!(merged.chunks.len() >= 20 && merged.chunks.len() + 1 >= whole.chunks.len(), "{:?}", merged.events);
    assert_eq!(merged.inputs[3].shared_joints, [""; 0]);
}

#[test]
fn a_partial_joint_state_between_two_whole_ones_changes_no_chunk() {
    let whole = run(&mut same, &[]);
    let mut more = |topic: &str, at: Stamp, data: Bytes| match topic {
        JOINT_STATES => vec![
            (at, data.clone()),
            // A gripper of another robot's driver, and nothing else.
            (at + Span::from_nanos(1), joints(&data, |name| name == "left_gripper", |stamp| stamp)),
        ],
        _ => vec![(at, data)],
    };
    assert_eq!(run(&mut more, &[]).values, whole.values);
}

#[test]
fn pictures_that_are_none_are_refused_as_they_arrive_and_the_input_is_missing() {
    let webp = |_: Vec<u8>| b"RIFF\0\0\0\0WEBPVP8 and so on".to_vec();
    // A header of 640x360 on a picture of other sides.
    let wide = |mut data: Vec<u8>| {
        let sof = data.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame header");
        data[sof + 5..sof + 9].copy_from_slice(&[360_u16.to_be_bytes(), 640_u16.to_be_bytes()].concat());
        data
    };
    for (format, edit, reason) in [
        (
            "bayer_rggb8; jpeg compressed ",
            (|data| data) as fn(Vec<u8>) -> Vec<u8>,
            "`bayer_rggb8; jpeg compressed ` is a Bayer mosaic",
        ),
        ("16UC1; compressedDepth png", |data| data, "a depth image (compressedDepth)"),
        ("webp", webp, "(WebP), expected JPEG"),
        ("jpeg", wide, "set the camera to 640x480 (or 320x240, 1280x960)"),
    ] {
        let record = run(&mut frames(format, edit), &[]);
        assert!(record.chunks.is_empty(), "{format}");
        for input in &record.inputs[..3] {
            assert_eq!((input.refused, input.used), (input.received, 0), "{format}");
            assert!(
                input.last_refusal.as_deref().is_some_and(|text| text.contains(reason)),
                "{:?}",
                input.last_refusal
            );
        }
        let missing = |text: &str| {
            text.contains("top missing (no usable message yet) [last message refused: ") && text.contains(reason)
        };
        assert!(record.events.iter().all(|event| missing(&event.text)), "{:?}", record.events);
    }
}

#[test]
fn frames_with_stray_bytes_or_without_their_end_marker_give_the_chunks_of_whole_ones() {
    let whole = run(&mut same, &[]);
    let stray = |mut data: Vec<u8>| {
        let table = data.windows(2).position(|marker| marker == [0xff, 0xc4]).expect("a Huffman table");
        data.splice(table..table, [0x12, 0x34]);
        data.splice(data.len() - 2..data.len() - 2, [0, 0]);
        data
    };
    let endless = |mut data: Vec<u8>| {
        data.truncate(data.len() - 2);
        data
    };
    for edit in [stray as fn(Vec<u8>) -> Vec<u8>, endless] {
        assert_eq!(run(&mut frames("jpeg", edit), &[]).values, whole.values);
    }
}

#[test]
fn a_camera_that_sends_one_picture_under_fresh_stamps_is_stuck_after_the_time_of_its_parameter() {
    let stuck = |after: &str| {
        let mut first: Option<Bytes> = None;
        let mut edit = |topic: &str, at: Stamp, data: Bytes| {
            if topic != TOP {
                return vec![(at, data)];
            }
            let stamp = CompressedImageView::parse(&data).expect("a frame").header.stamp;
            let picture = first.get_or_insert(data);
            vec![(at, frame(picture, |_| stamp, "jpeg", |data| data))]
        };
        run(&mut edit, &[&format!("inputs.cameras.top.stuck_after_ms:={after}")])
    };
    let record = stuck("1000.0");
    let (start, all) = (record.chunks[0].at, run(&mut same, &[]).chunks.len());
    let last = record.chunks.last().expect("chunks before it was noticed");
    assert!((0.8..1.2).contains(&(last.at - start).seconds()), "{:?}", last.at - start);
    assert!(record.events.iter().any(|event| event.text.contains("top stuck: ")), "{:?}", record.events);
    assert_eq!(stuck("0.0").chunks.len(), all, "switched off");
}

#[test]
fn stamps_ahead_of_the_clock_are_one_fault_and_name_the_tolerance() {
    let mut ahead = |topic: &str, at: Stamp, data: Bytes| {
        let shift = |stamp| stamp + Span::from_millis(30.0);
        let data = if topic.ends_with("/compressed") { frame(&data, shift, "jpeg", |data| data) } else { data };
        vec![(at, data)]
    };
    let record = run(&mut ahead, &[]);
    assert!(record.chunks.is_empty());
    for event in &record.events {
        let named = event.text.matches("inputs.future_tolerance_ms").count();
        let faults = event.text.split("; ").count();
        assert!(named > 0 && faults == named, "{}", event.text);
    }
    assert!(run(&mut ahead, &["inputs.future_tolerance_ms:=30.0"]).chunks.len() >= 20);
}

#[test]
fn joint_states_without_stamps_are_taken_by_time_of_arrival_where_that_is_chosen() {
    let mut unstamped = |topic: &str, at: Stamp, data: Bytes| match topic {
        JOINT_STATES => vec![(at, joints(&data, |_| true, |_| Stamp::default()))],
        _ => vec![(at, data)],
    };
    let refused = run(&mut unstamped, &[]);
    assert!(refused.chunks.is_empty());
    let reason = refused.inputs[3].last_refusal.as_deref().expect("refused");
    assert!(reason.contains("inputs.joints.stamp: arrival"), "{reason}");
    assert!(run(&mut unstamped, &["inputs.joints.stamp:=arrival"]).chunks.len() >= 20);
}
