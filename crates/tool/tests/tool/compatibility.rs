//! Files of earlier versions: a policy bundle replays to the same motion, the record of an engine is read and written as it was.
//!
//! `tests/data/compatibility` was written by version 0.1.0 (commit 80efa61) and is not written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vla_bags::BagWriter;
use vla_base::time::{Span, Stamp};
use vla_engines::provenance::Provenance;
use vla_messages::{HeaderView, schema, write};

const SIDE: u32 = 96;
const JOINTS: [&str; 7] = [
    "right_waist",
    "right_shoulder",
    "right_elbow",
    "right_forearm_roll",
    "right_wrist_angle",
    "right_wrist_rotate",
    "right_gripper",
];

fn compatibility(name: &str) -> PathBuf {
    vla_trt_tests::root().join("tests/data/compatibility").join(name)
}

/// Four seconds of a square camera at 10 Hz with a moving pattern, and of joints at 50 Hz.
fn bag(file: &Path) {
    let mut writer = BagWriter::create(file).expect("a bag");
    let mut topic = |name: &str, kind: &str| {
        writer.add_topic(name, kind, schema::text(kind).expect("a known type")).expect("a topic")
    };
    let frames = topic("/camera/front/image_raw", "sensor_msgs/msg/Image");
    let states = topic("/joint_states", "sensor_msgs/msg/JointState");
    let texts = topic("/instruction", "std_msgs/msg/String");
    let begin = Stamp::default() + Span::from_millis(1.0e12);
    writer.write(texts, begin, &write::text("reach for the red cube")).expect("written");
    for tick in 0..200_u32 {
        let stamp = begin + Span::from_millis(20.0 * f64::from(tick));
        let header = HeaderView { stamp, frame_id: "" };
        let positions = [0.002, -0.001, 0.003, 0.0, 0.001, 0.0, 0.004].map(|speed| speed * f64::from(tick));
        writer.write(states, stamp, &write::joint_state(header, &JOINTS, &positions, &[], &[])).expect("written");
        if tick % 5 == 0 {
            let pixel = |at: u32| ((at % SIDE) * 2 + (at / SIDE) + tick) as u8;
            let pixels: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| [pixel(at), 255 - pixel(at), 128]).collect();
            let image = write::image(header, SIDE, SIDE, "rgb8", 3 * SIDE, &pixels);
            writer.write(frames, stamp, &image).expect("written");
        }
    }
    writer.finish().expect("finished");
}

#[test]
fn the_reach_policy_replays_to_the_chunks_and_trajectories_of_version_0_1_0() {
    vla_trt_tests::demo::point_at_onnx_runtime();
    let scratch = tempfile::tempdir().expect("a folder");
    let (bag_file, out) = (scratch.path().join("bag.mcap"), scratch.path().join("chunks.mcap"));
    bag(&bag_file);
    let root = vla_trt_tests::root();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    replay.arg("replay").arg(&bag_file).arg("--policy").arg(root.join("data/reach_policy"));
    replay.arg("--params").arg(root.join("config/aloha_reach.yaml")).arg("-o").arg(&out);
    // ONNX Runtime's kernels differ in the last digits from processor to processor.
    replay.args(["--latency-ms", "100", "--tolerance", "1e-3", "--golden"]).arg(compatibility("reach_chunks.mcap"));
    let output = replay.output().expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().any(|line| line.ends_with(&format!(" chunks -> {}", out.display()))), "{said}");
}

#[test]
fn the_record_of_an_engine_is_read_and_written_as_version_0_1_0_did() {
    let file = compatibility("step.engine.provenance.json");
    let bytes = fs::read(&file).expect("the record");
    let record = Provenance::parse(&file, &bytes).expect("reads");
    assert_eq!(record.device.sm_count, 8);
    assert!(record.emulated && !record.adopted);
    let scratch = tempfile::tempdir().expect("a folder");
    let engine = scratch.path().join("step.engine");
    record.write(&engine).expect("written");
    let written = fs::read_to_string(Provenance::path(&engine)).expect("there");
    assert_eq!(written, String::from_utf8(bytes).expect("text"));
}
