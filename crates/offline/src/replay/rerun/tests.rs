//! Files that are written and read back by Rerun's own decoder.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use re_chunk::Chunk;
use re_log_encoding::DecoderApp;
use re_log_types::{LogMsg, TimelineName};
use re_sdk_types::archetypes::{EncodedImage, Image, Scalars, SeriesPoints};
use re_sdk_types::components::{Blob, ImageBuffer, ImageFormat};

use super::{Pictures, Scene};
use crate::replay::Sink as _;
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, HeaderView, JointTrajectoryMessage, TrajectoryPoint, write};
use vla_policy::observation::{
    FrameHistory, FrameOptions, InputKind, InputSpec, InputTopic, JointNames, StampSource, Transport,
};

/// A time of today, so that a rounded one is noticed.
const START: Stamp = Stamp::from_nanos(1_764_400_000_123_456_789);
const STEP: Span = Span::from_nanos(33_333_333);

fn after(steps: i64) -> Stamp {
    START + STEP.times(steps)
}

fn input(name: &str, kind: InputKind) -> InputSpec {
    InputSpec::new(name, kind, [format!("/{name}")])
}

struct Bench {
    folder: tempfile::TempDir,
    inputs: Vec<InputSpec>,
    topics: Vec<InputTopic>,
}

impl Bench {
    fn new(inputs: Vec<InputSpec>) -> Self {
        let topics = InputTopic::of(&inputs);
        Self { folder: tempfile::tempdir().expect("a folder"), inputs, topics }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("replay.rrd")
    }

    fn scene(&self) -> Scene {
        Scene::create(&self.path(), "bag", &self.inputs, "pick up the cube").expect("a file")
    }
}

/// Every chunk of a complete file.
fn read(path: &Path) -> Vec<Chunk> {
    let file = BufReader::new(File::open(path).expect("the file"));
    let messages = DecoderApp::decode_eager(file).expect("a file of Rerun").map(|message| message.expect("readable"));
    let chunks = messages.filter_map(|message| match message {
        LogMsg::ArrowMsg(_, message) => Some(Chunk::from_arrow_msg(&message).expect("a chunk")),
        _ => None,
    });
    chunks.collect()
}

fn of<'c>(chunks: &'c [Chunk], entity: &'c str) -> impl Iterator<Item = &'c Chunk> {
    chunks.iter().filter(move |chunk| chunk.entity_path().to_string() == format!("/{entity}"))
}

fn times(chunk: &Chunk) -> Vec<Stamp> {
    let column = chunk.timelines().get(&TimelineName::new("time")).expect("the timeline");
    column.times_raw().iter().map(|nanos| Stamp::from_nanos(*nanos)).collect()
}

/// Times and values of an entity, in the order of the file.
fn values(chunks: &[Chunk], entity: &str) -> Vec<(Stamp, f64)> {
    let scalars = Scalars::descriptor_scalars().component;
    of(chunks, entity)
        .filter(|chunk| !chunk.is_static())
        .flat_map(|chunk| {
            let values: Vec<f64> = chunk.iter_slices::<f64>(scalars).map(|row| row[0]).collect();
            assert_eq!(values.len(), chunk.num_rows());
            times(chunk).into_iter().zip(values).collect::<Vec<_>>()
        })
        .collect()
}

fn chunk(start: Stamp, values: &[f32]) -> ActionChunkMessage {
    let names = vec!["elbow".to_owned(), "grip/left".to_owned()];
    ActionChunkMessage { start, step: STEP, names, values: values.to_vec(), ..Default::default() }
}

#[test]
fn every_row_of_a_chunk_is_at_its_due_time_as_a_point() {
    let bench = Bench::new(Vec::new());
    let mut scene = bench.scene();
    scene.chunk(after(2), &chunk(after(0), &[0.25, 1.0, 0.5, 2.0, f32::NAN, 3.0])).expect("written");
    scene.chunk(after(3), &chunk(after(1), &[0.75, 4.0])).expect("written");
    assert_eq!(scene.finish().expect("a file"), Pictures::default());

    let chunks = read(&bench.path());
    let elbow = [(after(0), 0.25), (after(1), 0.5), (after(1), 0.75)];
    assert_eq!(values(&chunks, "joints/chunks/elbow"), elbow, "a value that is not finite is left out");
    let grip = [(after(0), 1.0), (after(1), 2.0), (after(1), 4.0), (after(2), 3.0)];
    assert_eq!(values(&chunks, "joints/chunks/grip\\/left"), grip);
    let sizes = SeriesPoints::descriptor_marker_sizes().component;
    assert!(
        of(&chunks, "joints/chunks/elbow")
            .any(|chunk| chunk.is_static() && chunk.components().contains_component(sizes))
    );
}

#[test]
fn motion_is_what_is_carried_out_of_each_trajectory() {
    let bench = Bench::new(Vec::new());
    let mut scene = bench.scene();
    let mut trajectory = |stamp, from: f64, points: i64| {
        let points = (0..points).map(|point| TrajectoryPoint {
            positions: vec![from + point as f64],
            velocities: vec![0.0],
            time_from_start: STEP.times(point),
        });
        let message = JointTrajectoryMessage {
            stamp,
            joint_names: vec!["elbow".to_owned()],
            points: points.collect(),
            ..Default::default()
        };
        scene.trajectory(stamp, &message).expect("written");
    };
    trajectory(after(0), 0.0, 9);
    trajectory(after(2), 100.0, 9);
    trajectory(after(4), 200.0, 2);
    scene.finish().expect("a file");
    let expected = [(0, 0.0), (1, 1.0), (2, 100.0), (3, 101.0), (4, 200.0), (5, 201.0)];
    assert_eq!(values(&read(&bench.path()), "joints/motion/elbow"), expected.map(|(step, value)| (after(step), value)));
}

#[test]
fn measured_joints_have_the_names_of_the_policy_in_any_number() {
    let mut joints = input("joints", InputKind::Joints);
    joints.topics = vec!["/left".to_owned(), "/right".to_owned()];
    joints.joints = JointNames {
        read: vec!["l_elbow".to_owned(), "r_elbow".to_owned()],
        prefixes: vec!["l_".to_owned(), "r_".to_owned()],
        ..JointNames::default()
    };
    let bench = Bench::new(vec![joints]);
    let mut scene = bench.scene();
    let count = 10_000;
    for row in 0..count {
        let message = write::joint_state(HeaderView::default(), &["elbow", "wheel"], &[row as f64, 7.0], &[], &[]);
        scene.input(after(row), &bench.topics[1], &message).expect("written");
    }
    scene.input(after(count), &bench.topics[0], b"damaged").expect("left out");
    scene.finish().expect("a file");

    let chunks = read(&bench.path());
    let expected: Vec<_> = (0..count).map(|row| (after(row), row as f64)).collect();
    assert!(values(&chunks, "joints/measured/r_elbow") == expected, "all values, in order");
    assert!(of(&chunks, "joints/measured/r_elbow").count() > 1, "written while the replay runs");
    let entities: Vec<_> = chunks.iter().map(|chunk| chunk.entity_path().to_string()).collect();
    assert!(!entities.iter().any(|entity| entity.contains("wheel") || entity.contains("l_elbow")), "{entities:?}");
}

#[test]
fn raw_pictures_are_rgb_and_jpeg_ones_are_passed_on() {
    let camera = |name, transport| input(name, InputKind::Camera { transport });
    let bench = Bench::new(vec![camera("front", Transport::Raw), camera("wrist", Transport::Compressed)]);
    let mut scene = bench.scene();
    let header = HeaderView::default();
    let raw = write::image(header, 2, 1, "bgr8", 6, &[1, 2, 3, 4, 5, 6]);
    let grey = write::image(header, 2, 1, "mono8", 2, &[9, 8]);
    let depth = write::image(header, 2, 1, "16UC1", 4, &[0; 4]);
    let pixels = turbojpeg::Image {
        pixels: [90_u8; 3 * 64].as_slice(),
        width: 8,
        pitch: 24,
        height: 8,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(pixels, 90, turbojpeg::Subsamp::None).expect("a JPEG");
    for (step, topic, message) in [
        (0, 0, raw),
        (1, 0, grey),
        (2, 0, depth),
        (3, 1, write::compressed_image(header, "jpeg", &jpeg)),
        (4, 1, write::compressed_image(header, "jpeg", b"no picture")),
        (5, 1, b"damaged".to_vec()),
    ] {
        scene.input(after(step), &bench.topics[topic], &message).expect("written or left out");
    }
    assert_eq!(scene.finish().expect("a file"), Pictures { written: 3, refused: 3 });

    let chunks = read(&bench.path());
    let front = of(&chunks, "cameras/front").next().expect("pictures");
    assert_eq!(times(front), [after(0), after(1)]);
    let buffers = front.iter_component::<ImageBuffer>(Image::descriptor_buffer().component);
    let buffers: Vec<Vec<u8>> = buffers.map(|row| row.as_slice()[0].0.0.to_vec()).collect();
    assert_eq!(buffers, [[3, 2, 1, 6, 5, 4], [9, 9, 9, 8, 8, 8]]);
    let format = front.iter_component::<ImageFormat>(Image::descriptor_format().component).next().expect("a format");
    assert_eq!((format.as_slice()[0].width, format.as_slice()[0].height), (2, 1));
    let wrist = of(&chunks, "cameras/wrist").next().expect("pictures");
    assert_eq!(times(wrist), [after(3)]);
    let blob = wrist.iter_component::<Blob>(EncodedImage::descriptor_blob().component).next().expect("a picture");
    assert_eq!(blob.as_slice()[0].0.0.to_vec(), jpeg.to_vec());
}

#[test]
fn the_instruction_is_written_where_it_changes() {
    let bench = Bench::new(vec![input("instruction", InputKind::Instruction)]);
    let mut scene = bench.scene();
    for (step, text) in [(1, "pick up the cube"), (2, "place it"), (3, "place it"), (4, "pick up the cube")] {
        scene.input(after(step), &bench.topics[0], &write::text(text)).expect("written");
    }
    scene.finish().expect("a file");
    let chunks = read(&bench.path());
    let (fixed, changes): (Vec<_>, Vec<_>) = of(&chunks, "instruction").partition(|chunk| chunk.is_static());
    assert_eq!(fixed.len(), 1);
    assert_eq!(changes.into_iter().flat_map(times).collect::<Vec<_>>(), [after(2), after(4)]);
}

#[test]
fn an_unfinished_file_leaves_the_earlier_one() {
    let bench = Bench::new(Vec::new());
    fs::write(bench.path(), "earlier").expect("written");
    let mut scene = bench.scene();
    scene.chunk(after(0), &chunk(after(0), &[0.0, 1.0])).expect("written");
    drop(scene);
    assert_eq!(fs::read(bench.path()).expect("readable"), b"earlier");
    assert_eq!(fs::read_dir(bench.folder.path()).expect("a folder").count(), 1, "no temporary file stays");

    bench.scene().finish().expect("a file");
    assert!(!read(&bench.path()).is_empty());
    assert!(Scene::create(&bench.folder.path().join("missing").join("a.rrd"), "bag", &[], "").is_err());
}
