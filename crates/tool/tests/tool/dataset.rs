//! Data sets that LeRobot wrote as input of the commands: tests/data/lerobot, and the demo policy.

use vla_trt_tests::demo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use vla_bags::{BagReader, BagWriter, TopicId};
use vla_base::time::Span;
use vla_datasets::{ColorSpace, Dataset, Piece};
use vla_messages::{CompressedImageView, FrameDecoder, JointStateView, JointTrajectoryMessage, schema, write};
use vla_offline::replay;

/// The policy has three cameras, the data sets two.
const WRIST: [&str; 2] = ["--column", "video.right_wrist=observation.images.left_wrist"];

/// Topic with commands of a teleoperator.
const LEADER: &str = "/leader/joint_states";

struct Bench {
    policy: TempDir,
    out: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { policy: demo::policy(), out: tempfile::tempdir().expect("a folder") }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    /// A command with the demo policy and its parameters on a data set.
    fn run(&self, command: &str, dataset: &Path, more: &[&str]) -> Output {
        let mut tool = tool();
        tool.arg(command).arg("--dataset").arg(dataset).arg("--policy").arg(self.policy.path());
        if command != "infer" {
            tool.arg("--params").arg(demo::params());
        }
        tool.args(more).output().expect("starts")
    }

    fn replay(&self, dataset: &Path, name: &str, more: &[&str]) -> Output {
        let out = self.out(name);
        let arguments = [&["-o", out.to_str().expect("a path")], more].concat();
        self.run("replay", dataset, &arguments)
    }
}

fn tool() -> Command {
    demo::point_at_onnx_runtime();
    Command::new(env!("CARGO_BIN_EXE_vla-trt"))
}

/// `to-lerobot` of the sample bag.
fn to_lerobot(bench: &Bench) -> Command {
    let mut command = tool();
    let policy = bench.policy.path();
    command.arg("to-lerobot").arg(demo::bag()).arg("--policy").arg(policy).arg("--params").arg(demo::params());
    command
}

fn fixture(name: &str) -> PathBuf {
    demo::root().join("tests/data/lerobot").join(name)
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Rows of golden.json.
fn golden(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixture(name).join("golden.json")).expect("golden.json");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    golden["rows"].as_array().expect("rows").clone()
}

fn trajectories(file: &Path) -> Vec<JointTrajectoryMessage> {
    let bag = BagReader::open(file).expect("the output");
    let topic = bag.find(replay::JOINT_TRAJECTORY_TOPIC).expect("its topic");
    let messages = bag.messages(&[topic]).expect("messages");
    messages.map(|message| JointTrajectoryMessage::parse(&message.expect("readable").data).expect("parses")).collect()
}

#[test]
fn a_replay_of_a_data_set_infers_each_episode_from_its_own_start_and_repeats_byte_by_byte() {
    let bench = Bench::new();
    let dataset = fixture("v30_images");
    let first = bench.replay(&dataset, "1.mcap", &WRIST);
    assert_eq!(code(&first), Some(0), "{}", words(&first));
    // At 5 Hz: 7 in the 1.3 s of the first episode, 5 in the 0.9 s of the second.
    assert!(words(&first).contains("12 chunks"), "{}", words(&first));
    assert!(words(&first).contains("0 violations, 0 refused"), "{}", words(&first));
    bench.replay(&dataset, "2.mcap", &WRIST);
    let bytes = |name: &str| fs::read(bench.out(name)).expect("the output");
    assert_eq!(bytes("1.mcap"), bytes("2.mcap"));

    let trajectories = trajectories(&bench.out("1.mcap"));
    // The motion of the second episode begins at its own first state, not at the plan of the first.
    let rows = golden("v30_images");
    let own = rows.iter().find(|row| row["episode"] == 1).expect("a row");
    let begins = trajectories.iter().find(|trajectory| trajectory.stamp.nanos() >= 4_000_000_000).expect("one");
    for (position, state) in begins.points[0].positions.iter().zip(own["state"].as_array().expect("numbers")) {
        let state = state.as_f64().expect("a number");
        assert!((position - state).abs() < 0.02, "{position} is not near {state}");
    }
    assert_eq!(trajectories[7].stamp, begins.stamp, "the eighth is the first of the second episode");
}

#[test]
fn chosen_episodes_alone_are_run_and_no_parameters_are_needed() {
    let bench = Bench::new();
    let only = bench.replay(&fixture("v30_images"), "1.mcap", &[&["--episodes", "1"], &WRIST[..]].concat());
    assert!(words(&only).contains("5 chunks"), "{}", words(&only));
    let mut bare = tool();
    bare.args(["replay", "-p", "rate_hz:=5.0", "--policy"]).arg(bench.policy.path());
    bare.arg("--dataset").arg(fixture("v21_images")).arg("-o").arg(bench.out("2.mcap")).args(WRIST);
    let columns = [
        "state.left_arm=observation.state[0:6]",
        "state.left_gripper=observation.state[6]",
        "state.right_arm=observation.state[7:13]",
        "state.right_gripper=observation.state[13]",
    ];
    for column in columns {
        bare.args(["--column", column]);
    }
    let bare = bare.output().expect("starts");
    assert!(words(&bare).contains("12 chunks"), "{}", words(&bare));
}

#[test]
fn what_a_data_set_lacks_is_named_and_nothing_is_written() {
    let bench = Bench::new();
    let refused = |output: &Output, words_of_it: &[&str]| {
        assert_eq!(code(output), Some(1), "{}", words(output));
        words_of_it.iter().for_each(|word| assert!(words(output).contains(word), "{word}: {}", words(output)));
        assert!(!bench.out("1.mcap").exists());
    };
    let dataset = fixture("v30_images");
    refused(&bench.replay(&dataset, "1.mcap", &[]), &["video.right_wrist", "observation.images.top"]);
    refused(&bench.replay(&dataset, "1.mcap", &[&["--episodes", "0-2"], &WRIST[..]].concat()), &["from 0 to 1"]);
    let narrow = ["--column", "state.left_arm=observation.state[0:5]"];
    refused(&bench.replay(&dataset, "1.mcap", &[&narrow, &WRIST[..]].concat()), &["state.left_arm: expected 6", "5"]);
    refused(&bench.replay(Path::new("/nowhere"), "1.mcap", &[]), &["meta/info.json"]);
    // The row that is damaged comes after some that are not.
    let cut = tempfile::tempdir().expect("a folder");
    let status = Command::new("cp").arg("-r").arg(&dataset).arg(cut.path()).status().expect("starts");
    assert!(status.success());
    let cut = cut.path().join("v30_images");
    fs::remove_file(cut.join("data/chunk-000/file-000.parquet")).expect("removed");
    refused(&bench.replay(&cut, "1.mcap", &WRIST), &["episode 0", "file-000.parquet"]);
}

#[test]
fn a_bag_and_a_data_set_exclude_each_other_and_one_given_as_the_other_is_named() {
    let bench = Bench::new();
    let mut both = tool();
    both.args(["replay", "bag", "--dataset", "d", "-o", "o.mcap", "--policy", "p"]);
    assert_eq!(code(&both.output().expect("starts")), Some(2));
    let neither = tool().args(["replay", "-o", "o.mcap", "--policy", "p"]).output().expect("starts");
    assert_eq!(code(&neither), Some(2));
    let mut wrong = tool();
    wrong.arg("replay").arg(fixture("v21")).arg("--policy").arg(bench.policy.path()).arg("-o").arg(bench.out("1.mcap"));
    let wrong = wrong.output().expect("starts");
    assert!(code(&wrong) == Some(1) && words(&wrong).contains("--dataset"), "{}", words(&wrong));
}

#[test]
fn calibration_takes_observations_evenly_from_all_episodes() {
    let bench = Bench::new();
    let out = bench.out("calibration.npz");
    let more =
        [&["-o", out.to_str().expect("a path"), "--observations", "4", "--stages", "vision"], &WRIST[..]].concat();
    // It has no modality.json, but elements that are named like the joints of the parameters.
    let done = bench.run("calibrate", &fixture("v21_images"), &more);
    assert_eq!(code(&done), Some(0), "{}", words(&done));
    assert!(words(&done).contains("4 observations of"), "{}", words(&done));
}

#[test]
fn an_inference_on_a_row_has_the_state_and_the_instruction_of_that_row() {
    let bench = Bench::new();
    let dump = bench.out("dump.npz");
    let columns = [
        "--column",
        "state.left_arm=observation.state[0:6]",
        "--column",
        "state.left_gripper=observation.state[6]",
        "--column",
        "state.right_arm=observation.state[7:13]",
        "--column",
        "state.right_gripper=observation.state[13]",
    ];
    let row = |frame: &str, file: &Path| {
        let moment = ["--episode", "1", "--frame", frame, "--dump", file.to_str().expect("a path")];
        bench.run("infer", &fixture("v30_images"), &[&moment[..], &columns, &WRIST].concat())
    };
    let done = row("3", &dump);
    assert_eq!(code(&done), Some(0), "{}", words(&done));
    let arrays = vla_npz::read(&dump).expect("the dump");
    let rows = golden("v30_images");
    let own = rows.iter().find(|row| row["episode"] == 1 && row["frame"] == 3).expect("a row");
    let expected: Vec<f32> = own["state"].as_array().expect("numbers")[7..13]
        .iter()
        .map(|value| value.as_f64().expect("a number") as f32)
        .collect();
    assert_eq!(arrays["state_raw.right_arm"].as_f32(), Some(expected.as_slice()), "bit by bit");
    let again = bench.out("again.npz");
    row("3", &again);
    assert_eq!(fs::read(&dump).expect("one"), fs::read(&again).expect("the same"));
    let beyond = row("10", &bench.out("none.npz"));
    assert!(code(&beyond) == Some(1) && words(&beyond).contains("from 0 to 9, found 10"), "{}", words(&beyond));
    assert!(!bench.out("none.npz").exists());
}

#[test]
fn a_rate_that_no_data_set_has_is_refused_before_the_bag_is_read() {
    let bench = Bench::new();
    for fps in ["0", "1e12", "nan"] {
        let refused = to_lerobot(&bench).arg("-o").arg(bench.out("set")).args(["--fps", fps]).output().expect("starts");
        assert!(code(&refused) == Some(1) && words(&refused).contains("0.1 to 10000"), "{}", words(&refused));
        assert!(!bench.out("set").exists());
    }
}

#[test]
fn a_bag_becomes_a_data_set_with_its_states_frames_and_the_positions_that_followed_and_is_read_again() {
    let bench = Bench::new();
    let out = bench.out("set");
    let convert = |more: &[&str]| {
        to_lerobot(&bench).arg("-o").arg(&out).args(["--fps", "10"]).args(more).output().expect("starts")
    };
    let done = convert(&[]);
    assert_eq!(code(&done), Some(0), "{}", words(&done));
    let dataset = Dataset::open(&out).expect("a data set");
    let length = dataset.episodes()[0].length;
    assert!(dataset.episodes().len() == 1 && (78..=80).contains(&length), "{}", words(&done));
    let pieces = [Piece::whole("observation.state"), Piece::whole("action")];
    let rows: Vec<_> = dataset.rows(0, &pieces).expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(dataset.task(rows[0].task), Some("transfer the red cube to the left arm"));
    for pair in rows.windows(2) {
        assert_eq!(pair[0].values[14..], pair[1].values[..14], "the action is the next state");
    }
    // The first frame is the first of the bag, bit by bit.
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let topic = bag.find("/camera/top/image_raw/compressed").expect("its camera");
    let first = bag.messages(&[topic]).expect("messages").next().expect("one").expect("readable");
    let mut decoder = FrameDecoder::new();
    let view = CompressedImageView::parse(&first.data).expect("a frame");
    let pixels = decoder.decode(&view).expect("decodes");
    let mut frames = dataset.frames(0, "observation.images.top", ColorSpace::Tagged).expect("frames");
    let frame = frames.at(&rows[0]).expect("a frame");
    let mut scratch = vec![0; pixels.width * 3];
    for (row, found) in frame.rgb.chunks_exact(pixels.width * 3).enumerate() {
        assert_eq!(pixels.row_rgb(row, &mut scratch), found, "row {row}");
    }
    let replayed = bench.replay(&out, "1.mcap", &[]);
    assert!(words(&replayed).contains("40 chunks"), "as the bag: {}", words(&replayed));

    let again = convert(&[]);
    assert!(code(&again) == Some(1) && words(&again).contains("is kept"), "{}", words(&again));
}

/// The sample bag, and from its third second on a leader arm whose joints are half a radian (or half the gripper) ahead.
fn bag_with_a_leader(file: &Path) {
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let mut writer = BagWriter::create(file).expect("a bag");
    let mut add =
        |name: &str, kind: &str| writer.add_topic(name, kind, schema::text(kind).expect("a type")).expect("added");
    let topics: Vec<TopicId> = bag.topics().iter().map(|topic| add(&topic.name, &topic.type_name)).collect();
    let leader = add(LEADER, JointStateView::TYPE);
    let joints = bag.find("/joint_states").expect("joint states");
    for message in bag.messages(&(0..topics.len()).collect::<Vec<_>>()).expect("messages") {
        let message = message.expect("readable");
        writer.write(topics[message.topic], message.log_time, &message.data).expect("written");
        if message.topic == joints && message.log_time >= bag.start() + Span::from_millis(2000.0) {
            let state = JointStateView::parse(&message.data).expect("a joint state");
            let (names, positions): (Vec<&str>, Vec<f64>) =
                state.names().zip(state.positions().map(|position| position + 0.5)).unzip();
            let command = write::joint_state(state.header, &names, &positions, &[], &[]);
            writer.write(leader, message.log_time, &command).expect("written");
        }
    }
    writer.finish().expect("finished");
}

#[test]
fn recorded_commands_are_the_actions_of_a_data_set_and_rows_before_the_first_are_left_out() {
    let bench = Bench::new();
    let (bag, out) = (bench.out("led.mcap"), bench.out("set"));
    bag_with_a_leader(&bag);
    let convert = |topic: &str| {
        let mut command = tool();
        command
            .arg("to-lerobot")
            .arg(&bag)
            .arg("--policy")
            .arg(bench.policy.path())
            .arg("--params")
            .arg(demo::params());
        command.arg("-o").arg(&out).args(["--fps", "10", "--actions-from", topic]).output().expect("starts")
    };
    let refused = convert("/nobody");
    assert!(code(&refused) == Some(1) && words(&refused).contains("no topic /nobody"), "{}", words(&refused));
    assert!(!out.join("meta").exists());
    let done = convert(LEADER);
    assert_eq!(code(&done), Some(0), "{}", words(&done));
    let dataset = Dataset::open(&out).expect("a data set");
    let length = dataset.episodes()[0].length;
    assert!(dataset.episodes().len() == 1 && (57..=60).contains(&length), "{}", words(&done));
    let pieces = [Piece::whole("observation.state"), Piece::whole("action")];
    for row in dataset.rows(0, &pieces).expect("rows") {
        let values = row.expect("a row").values;
        let (state, action) = values.split_at(14);
        assert!(state.iter().zip(action).all(|(s, a)| (a - s - 0.5).abs() < 1e-5), "{state:?} {action:?}");
    }
}

#[test]
fn a_bag_without_the_topics_becomes_no_data_set() {
    let bench = Bench::new();
    let out = bench.out("set");
    let refused =
        to_lerobot(&bench).args(["-p", "inputs.joints.topic:=/elsewhere", "-o"]).arg(&out).output().expect("starts");
    assert!(code(&refused) == Some(1) && words(&refused).contains("/elsewhere"), "{}", words(&refused));
    assert!(!out.join("meta").exists());
}

#[cfg(feature = "dataset")]
#[test]
fn videos_of_every_writer_are_replayed_with_the_columns_of_modality_json_or_of_the_names() {
    let bench = Bench::new();
    for name in ["v21", "v30_044", "v30_061", "v30_h264"] {
        let more: &[&str] = if name == "v21" { &[] } else { &WRIST };
        let done = bench.replay(&fixture(name), &format!("{name}.mcap"), more);
        assert_eq!(code(&done), Some(0), "{name}: {}", words(&done));
        assert!(words(&done).contains("12 chunks"), "{name}: {}", words(&done));
    }
}

#[cfg(not(feature = "dataset"))]
#[test]
fn without_ffmpeg_a_data_set_with_videos_is_refused_with_what_brings_it() {
    let bench = Bench::new();
    let refused = bench.replay(&fixture("v21"), "1.mcap", &[]);
    assert_eq!(code(&refused), Some(1), "{}", words(&refused));
    for word in ["observation.images", "--features dataset", "libavcodec-dev", "libavfilter-dev"] {
        assert!(words(&refused).contains(word), "{word}: {}", words(&refused));
    }
    assert!(!bench.out("1.mcap").exists());
}
