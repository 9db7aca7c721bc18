//! Replay as another node than `/vla_trt`, at no fixed rate, and of bags that their recorder did not finish.

use vla_trt_tests::demo;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vla_bags::BagReader;
use vla_messages::ActionChunkMessage;

struct Bench {
    policy: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { policy: demo::policy(), scratch: tempfile::tempdir().expect("a folder") }
    }

    fn output(&self) -> PathBuf {
        self.scratch.path().join("chunks.mcap")
    }

    fn replay(&self, bag: &Path, params: &Path, more: &[&str]) -> Output {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        tool.arg("replay").arg(bag).arg("--policy").arg(self.policy.path()).arg("--params").arg(params);
        tool.arg("-o").arg(self.output()).args(more).output().expect("the tool starts")
    }

    /// Replays the sample bag with the sample's parameters.
    fn sample(&self, more: &[&str]) -> Output {
        self.replay(&demo::bag(), &demo::params(), more)
    }

    /// The output's topics, and its chunks.
    fn chunks(&self) -> (Vec<String>, Vec<ActionChunkMessage>) {
        let bag = BagReader::open(&self.output()).expect("the output is a bag");
        let topics: Vec<String> = bag.topics().iter().map(|topic| topic.name.clone()).collect();
        let messages = bag.messages(&[0]).expect("messages");
        let parsed = messages.map(|message| ActionChunkMessage::parse(&message.expect("readable").data));
        (topics, parsed.map(|chunk| chunk.expect("a chunk")).collect())
    }
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn private_and_relative_topics_are_those_of_the_node_that_is_named() {
    let bench = Bench::new();
    let private = ["-p", "inputs.joints.topic:=~/joints"];
    let output = bench.sample(&private);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no topic /vla_trt/joints "), "{}", said(&output));
    succeeds(&bench.sample(&[&private[..], &["-r", "~/joints:=/joint_states"]].concat()));
    let (topics, chunks) = bench.chunks();
    assert_eq!(topics, ["/vla_trt/action_chunk", "/vla_trt/joint_trajectory"]);
    assert_eq!(chunks.len(), 40);

    let relative = ["-p", "inputs.joints.topic:=joints", "--namespace", "/left", "--node-name", "policy"];
    let output = bench.sample(&relative);
    assert!(said(&output).contains("no topic /left/joints "), "{}", said(&output));
    succeeds(
        &bench.sample(&[&relative[..], &["-r", "joints:=/joint_states", "-r", "~/action_chunk:=/chunks"]].concat()),
    );
    assert_eq!(bench.chunks().0, ["/chunks", "/left/policy/joint_trajectory"]);
    assert_eq!(bench.chunks().1, chunks, "a name changes no value");
}

#[test]
fn sections_of_the_parameter_file_are_matched_with_the_name() {
    let bench = Bench::new();
    let params = bench.scratch.path().join("robot.yaml");
    let text = std::fs::read_to_string(demo::params()).expect("the sample's parameters");
    std::fs::write(&params, text + "\n/left/policy:\n  ros__parameters:\n    rate_hz: 1.0\n").expect("written");
    let chunks = |more: &[&str]| {
        succeeds(&bench.replay(&demo::bag(), &params, more));
        bench.chunks().1.len()
    };
    assert_eq!(chunks(&[]), 40);
    assert_eq!(chunks(&["--namespace", "/left", "--node-name", "policy"]), 8);
    assert_eq!(chunks(&["-r", "__ns:=/left", "-r", "__node:=policy"]), 8, "as on the node's command line");
}

#[test]
fn wrong_names_are_usage_errors_or_name_the_rule() {
    let bench = Bench::new();
    assert_eq!(bench.sample(&["-r", "joints"]).status.code(), Some(2));
    assert_eq!(bench.sample(&["--namespace", "/1st"]).status.code(), Some(1));
    assert_eq!(bench.sample(&["--node-name", "a/b"]).status.code(), Some(1));
}

#[test]
fn without_a_fixed_rate_inferences_follow_each_other_after_the_latency() {
    let bench = Bench::new();
    let mut numbers = Vec::new();
    for rate in ["rate_hz:=0.0", "rate_hz:=-1.0"] {
        succeeds(&bench.sample(&["-p", rate, "--latency-ms", "300"]));
        let (_, chunks) = bench.chunks();
        let at: Vec<f64> = chunks.iter().map(|chunk| (chunk.stamp - chunks[0].stamp).seconds()).collect();
        // Joint states come every 20 ms: an inference waits for none that is newer.
        assert!(at.windows(2).all(|pair| pair[1] > pair[0]), "{at:?}");
        assert!(chunks.iter().all(|chunk| chunk.inference_latency.millis() == 300.0));
        numbers.push(chunks.len());
    }
    assert_eq!(numbers, [27, 27], "8 s of 0.3 s each");
    let first = std::fs::read(bench.output()).expect("the output");
    succeeds(&bench.sample(&["-p", "rate_hz:=0.0", "--latency-ms", "300"]));
    assert_eq!(std::fs::read(bench.output()).expect("the output"), first, "the same bytes");
}

#[test]
fn without_a_fixed_rate_the_latency_is_measured_and_said() {
    let bench = Bench::new();
    let output = bench.sample(&["-p", "rate_hz:=0.0"]);
    succeeds(&output);
    let (_, chunks) = bench.chunks();
    let latency = chunks[0].inference_latency.millis();
    assert!(latency >= 1.0 && chunks.iter().all(|chunk| chunk.inference_latency.millis() == latency));
    assert!(said(&output).contains(&format!("every {latency} ms")), "{}", said(&output));
    assert!(chunks.len() > 27 || latency > 300.0, "{} chunks of {latency} ms", chunks.len());
}

#[test]
fn a_cut_bag_is_refused_with_the_option_that_reads_it() {
    let bench = Bench::new();
    let files = std::fs::read_dir(demo::bag()).expect("the sample bag").flatten();
    let file = files.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "mcap"));
    let bytes = std::fs::read(file.expect("its file")).expect("read");
    let cut = bench.scratch.path().join("cut.mcap");
    std::fs::write(&cut, &bytes[..bytes.len() * 9 / 10]).expect("written");
    let refused = bench.replay(&cut, &demo::params(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("--recover"), "{}", said(&refused));
    let output = bench.replay(&cut, &demo::params(), &["--recover"]);
    succeeds(&output);
    assert!(said(&output).contains("cut in the record"), "{}", said(&output));
    let found = bench.chunks().1;
    assert!(found.len() > 20 && found.len() < 40, "{} chunks", found.len());
    succeeds(&bench.sample(&[]));
    // The last one may lack what comes behind the cut.
    let whole = found.len() - 1;
    assert!(bench.chunks().1[..whole] == found[..whole], "those of the whole bag");
}

#[test]
#[cfg(not(feature = "rerun"))]
fn without_the_feature_a_rerun_file_is_refused_with_the_line_that_builds_it() {
    let bench = Bench::new();
    let file = bench.scratch.path().join("replay.rrd");
    let output = bench.sample(&["--rerun", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cargo build --release -p vla-trt --features rerun"), "{}", said(&output));
    assert!(!file.exists() && !bench.output().exists());
}

/// What is in the file: `vla_offline::replay::rerun`.
#[test]
#[cfg(feature = "rerun")]
fn a_rerun_file_is_written_beside_the_same_chunks_and_without_any() {
    let bench = Bench::new();
    succeeds(&bench.sample(&[]));
    let (_, chunks) = bench.chunks();
    let file = bench.scratch.path().join("replay.rrd");
    let rerun = ["--rerun", &file.to_string_lossy()];
    let output = bench.sample(&rerun);
    succeeds(&output);
    // Three cameras with 80 pictures each.
    assert!(said(&output).contains("(240 pictures)"), "{}", said(&output));
    assert_eq!(bench.chunks().1, chunks);
    let written = std::fs::read(&file).expect("the file");
    assert!(written.starts_with(b"RRF2"), "the mark of Rerun's files");

    std::fs::remove_file(&file).expect("removed");
    let late = bench.sample(&[&rerun[..], &["--latency-ms", "60000"]].concat());
    assert_eq!(late.status.code(), Some(6), "{}", said(&late));
    assert!(file.exists(), "{}", said(&late));
    let same = bench.sample(&["--rerun", &bench.output().to_string_lossy()]);
    assert_eq!(same.status.code(), Some(1));
    assert!(said(&same).contains("--rerun") && bench.chunks().1 == chunks, "{}", said(&same));
}

#[test]
fn a_quantised_policy_runs_as_its_networks_say_and_in_integers_only_where_a_parameter_asks() {
    use vla_trt_tests::quantized::{Form, quantize};

    let values = |form: Form, more: &[&str]| {
        let bench = Bench::new();
        for stage in ["vision", "language", "context", "step"] {
            let network = bench.policy.path().join(format!("{stage}.onnx"));
            assert!(quantize(&network, form, |_| true) > 0, "{stage}");
        }
        succeeds(&bench.sample(more));
        bench.chunks().1.into_iter().map(|chunk| chunk.values).collect::<Vec<_>>()
    };
    let meant = values(Form::Integers, &[]);
    let largest = |other: Vec<Vec<f32>>| {
        assert_eq!(other.len(), meant.len());
        let pairs = other.iter().flatten().zip(meant.iter().flatten());
        pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()))
    };
    // The same numbers, dequantised from floating weights: nothing in it is an integer product.
    assert!(largest(values(Form::Floating, &[])) == 0.0, "another form is another program");
    // ONNX Runtime's integer kernels are.
    let integers = largest(values(Form::Integers, &["-p", "engine.integer_kernels:=true"]));
    assert!(integers > 1e-4, "{integers}");
}
