//! `vla-trt eval` as a process: bags and data sets in, figures, chunks, pages and exit codes out.

use vla_trt_tests::demo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use vla_bags::{BagReader, BagWriter};
use vla_base::time::Span;
use vla_messages::schema;

/// The policy has three cameras, the data sets two; their rows are 0.1 s apart.
const DATASET: [&str; 4] = ["--column", "video.right_wrist=observation.images.left_wrist", "-p", "action.step_s:=0.1"];

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

    /// `vla-trt eval` of the demo policy; `{}` in an argument is the folder of the outputs.
    fn eval(&self, arguments: &[&str]) -> Output {
        demo::point_at_onnx_runtime();
        let folder = self.out.path().to_str().expect("a path");
        let arguments = arguments.iter().map(|argument| argument.replace("{}", folder));
        let mut tool = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        tool.arg("eval").arg(self.policy.path()).arg("--params").arg(demo::params()).args(arguments);
        tool.output().expect("starts")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.out(name)).expect("written")).expect("JSON")
    }
}

fn bag() -> String {
    demo::bag().to_string_lossy().into_owned()
}

/// The begin of the sample bag.
pub(crate) fn first_moments(file: &Path, length: Span) {
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let mut writer = BagWriter::create(file).expect("a bag");
    let topics: Vec<_> = bag
        .topics()
        .iter()
        .map(|topic| {
            let schema = schema::text(&topic.type_name).expect("a type of the sample bag");
            writer.add_topic(&topic.name, &topic.type_name, schema).expect("a topic")
        })
        .collect();
    let messages = bag.messages(&(0..topics.len()).collect::<Vec<_>>()).expect("messages");
    for message in messages.map(|message| message.expect("readable")) {
        if message.log_time <= bag.start() + length {
            writer.write(topics[message.topic], message.log_time, &message.data).expect("written");
        }
    }
    writer.finish().expect("finished");
}

fn dataset(name: &str) -> String {
    demo::root().join("tests/data/lerobot").join(name).to_string_lossy().into_owned()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", words(output));
}

/// Recorded actions of an episode, as LeRobot's own loader reads them.
fn golden(name: &str, episode: u64) -> Vec<Vec<f32>> {
    let text = fs::read_to_string(Path::new(&dataset(name)).join("golden.json")).expect("golden.json");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let rows = golden["rows"].as_array().expect("rows").iter().filter(|row| row["episode"] == episode);
    let action = |row: &Value| {
        row["action"]
            .as_array()
            .expect("an action")
            .iter()
            .map(|value| value.as_f64().expect("a number") as f32)
            .collect()
    };
    rows.map(action).collect()
}

#[test]
fn a_row_of_a_chunk_is_compared_with_the_row_of_the_data_set_by_index_and_an_episodes_end_cuts_the_last() {
    let bench = Bench::new();
    for name in ["v30_images", "v21_images"] {
        let set = dataset(name);
        let arguments = ["--dataset", &set, "--stride", "4", "--json", "{}/e.json", "--chunks", "{}/e.npz"];
        assert_code(&bench.eval(&[&arguments[..], &DATASET].concat()), 0);
        let document = bench.json("e.json");
        assert_eq!(document["actions"]["from"], "dataset");
        let result = &document["policies"][0];
        let counts = |episode: &Value| ["index", "inferences", "rows"].map(|key| episode[key].as_u64());
        let episodes: Vec<_> = result["episodes"].as_array().expect("episodes").iter().map(counts).collect();
        assert_eq!(
            episodes,
            [[0, 4, 14], [1, 3, 10]].map(|counts| counts.map(Some)),
            "14 and 10 rows, every fourth an inference"
        );
        assert_eq!(result["overall"]["robot"]["values"], 24 * 14);
        // Of the 14 rows of episode 0, row 0 of the chunks is known four times, and row 13 once.
        assert_eq!(result["rows"][0]["robot"]["values"], 7 * 14);
        assert_eq!(result["rows"][13]["robot"]["values"], 14);
        assert!(
            result["rows"][14]["robot"].is_null()
                && result["rows"][3]["used"] == true
                && result["rows"][4]["used"] == false
        );

        let arrays = vla_npz::read(&bench.out("e.npz")).expect("chunks");
        let mut chunk = 0;
        for (episode, length) in [(0, 14), (1, 10)] {
            let golden = golden(name, episode);
            assert_eq!(golden.len(), length);
            for frame in (0..length).step_by(4) {
                let recorded = arrays[&format!("{chunk:06}/recorded")].as_f32().expect("floats").chunks(14);
                for (row, values) in recorded.enumerate() {
                    match golden.get(frame + row) {
                        Some(expected) => assert_eq!(values, expected, "episode {episode}, frame {frame}, row {row}"),
                        None => assert!(values.iter().all(|value| value.is_nan())),
                    }
                }
                chunk += 1;
            }
        }
        let mean = |key: &str| {
            let of = |index: usize| result["episodes"][index]["robot"][key].as_f64().expect("a number");
            (of(0) + of(1)) / 2.0
        };
        for key in ["mse", "mae"] {
            assert_eq!(result["episode_mean"][key].as_f64(), Some(mean(key)), "the vendor's mean over trajectories");
        }
    }
}

#[test]
fn steps_bound_each_episode_and_episodes_are_chosen() {
    let bench = Bench::new();
    let set = dataset("v30_images");
    let arguments = ["--dataset", &set, "--episodes", "1", "--stride", "4", "--steps", "6", "--json", "{}/e.json"];
    assert_code(&bench.eval(&[&arguments[..], &DATASET].concat()), 0);
    let result = &bench.json("e.json")["policies"][0];
    assert_eq!(result["episodes"].as_array().map(Vec::len), Some(1));
    assert_eq!((&result["episodes"][0]["index"], &result["inferences"]), (&Value::from(1), &Value::from(2)));
    assert_eq!(result["episodes"][0]["rows"], 6, "of the second chunk two rows");
    assert_eq!(result["rows"][5]["robot"]["values"], 14, "no row beyond the steps");
}

#[test]
fn the_same_arguments_give_the_same_bytes_and_a_page_with_both_policies() {
    let bench = Bench::new();
    let (bag, other) = (bag(), bench.out("other"));
    vla_export::demo::bundle::write(&vla_export::family::N1D6, &other, 8).expect("another demo policy");
    let run = |name: &str| {
        let json = format!("{{}}/{name}.json");
        let page = format!("{{}}/{name}.html");
        let output = bench.eval(&[&bag, "--against", "{}/other", "--steps", "96", "--json", &json, "--report", &page]);
        assert_code(&output, 0);
        [".json", ".html"].map(|kind| fs::read_to_string(bench.out(&format!("{name}{kind}"))).expect("written"))
    };
    let [json, page] = run("one");
    assert_eq!([&json, &page], run("two").each_ref());
    let document = bench.json("one.json");
    assert_eq!(document["policies"].as_array().map(Vec::len), Some(2));
    assert!(document["comparison"]["difference"]["mae"].as_f64().is_some_and(|mae| mae > 1e-3));
    assert!(
        page.contains("data:image/jpeg;base64,") && page.contains("left_gripper") && page.contains("Worst moments")
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "self-contained");
}

#[test]
fn inference_times_without_a_chunk_are_counted_with_exit_code_5() {
    let bench = Bench::new();
    // Frames come every 100 ms, inferences every 320 ms: most find a frame that is older than a millisecond.
    let output = bench.eval(&[&bag(), "-p", "inputs.cameras.top.max_age_ms:=1.0", "--json", "{}/e.json"]);
    assert_code(&output, 5);
    let result = &bench.json("e.json")["policies"][0];
    let skipped = result["skipped"].as_u64().expect("a count");
    assert!(skipped > 5 && result["inferences"].as_u64() > Some(1), "{skipped}");
    assert_eq!(result["reasons"].as_array().map(Vec::len), Some(skipped as usize));
    assert!(result["reasons"][0]["reason"].as_str().is_some_and(|reason| reason.contains("top")));
}

#[test]
fn wrong_arguments_write_nothing_and_nothing_to_compare_is_exit_code_6() {
    let bench = Bench::new();
    let (bag, set) = (bag(), dataset("v30_images"));
    let json = ["--json", "{}/e.json"];
    let eval = |arguments: &[&str]| bench.eval(&[arguments, &json].concat());
    assert_code(&eval(&[&bag, "--stride", "17"]), 1);
    assert_code(&eval(&[&bag, "--steps", "0"]), 1);
    assert_code(&eval(&[&bag, "--actions-from", "/commands"]), 1);
    assert_code(&eval(&[&bag, "--against-param", "seed:=1"]), 2);
    assert_code(&eval(&[]), 2);
    let both = [&["--dataset", &set, "--actions-from", "/commands"][..], &DATASET].concat();
    assert_code(&eval(&both), 2);
    // Nothing follows the first observation.
    let short = bench.out("short.mcap");
    first_moments(&short, Span::from_millis(5.0));
    assert_code(&eval(&[short.to_str().expect("a path")]), 6);
    let policy = bench.policy.path().join("policy.yaml");
    let before = fs::read(&policy).expect("policy.yaml");
    assert_code(&bench.eval(&[&bag, "--json", policy.to_str().expect("a path")]), 1);
    assert_eq!(fs::read(&policy).expect("policy.yaml"), before);
    assert!(!bench.out("e.json").exists());
}

#[test]
fn policies_with_other_joints_are_not_compared() {
    let bench = Bench::new();
    let same = bench.policy.path().to_str().expect("a path").to_owned();
    let output =
        bench.eval(&[&bag(), "--against", &same, "--against-param", "action.step_s:=0.05", "--json", "{}/e.json"]);
    assert_code(&output, 1);
    assert!(words(&output).contains("0.02 s and 0.05 s"), "{}", words(&output));
    assert!(!bench.out("e.json").exists());
}
