//! Action keys with `rep: DELTA` through a whole policy on real ONNX Runtime: what policy.yaml and the parameter say about a row
//! decides what the robot is sent, and without a word of either nothing loads.

use vla_trt_tests::demo;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vla_bags::BagReader;
use vla_base::time::{Span, Stamp};
use vla_export::demo::EMBODIMENT;
use vla_export::{bundle, demo as demo_policy, synthetic_checkpoint};
use vla_messages::JointStateView;
use vla_offline::replay;
use vla_offline::replay::Options;
use vla_policy::PolicySpec;
use vla_policy::processor::DeltaRows;
use vla_policy::spec::POLICY_FILE;
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape};
use vla_runtime::session;
use vla_runtime::session::Session;

const ARMS: [&str; 2] = ["left_arm", "right_arm"];
/// Joints of an arm, and of a row: arm, gripper, arm, gripper.
const ARM: usize = 6;
const ROW: usize = 14;

/// The demo policy with small deltas of its arms: the left one's add up.
fn policy() -> (TempDir, PathBuf) {
    demo::point_at_onnx_runtime();
    let scratch = tempfile::tempdir().expect("a folder");
    let checkpoint = scratch.path().join("checkpoint");
    fs::create_dir(&checkpoint).expect("folder");
    synthetic_checkpoint::fill_folder(
        &vla_export::family::N1D6,
        synthetic_checkpoint::Size::Demo,
        7,
        &checkpoint,
        u64::MAX,
        &mut |_| {},
    )
    .expect("writes");
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let path = checkpoint.join(name);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        change(&mut json);
        fs::write(path, json.to_string()).expect("writes");
    };
    edit("processor_config.json", &|json| {
        let configs = &mut json["processor_kwargs"]["modality_configs"][EMBODIMENT.0]["action"]["action_configs"];
        let configs = configs.as_array_mut().expect("a list");
        configs
            .iter_mut()
            .filter(|config| config["rep"] == "RELATIVE")
            .for_each(|config| config["rep"] = json!("DELTA"));
    });
    edit("statistics.json", &|json| {
        for arm in ARMS {
            let values = &mut json[EMBODIMENT.0]["action"][arm];
            (values["min"], values["max"]) = (json!(vec![-0.01; ARM]), json!(vec![0.01; ARM]));
        }
    });
    let deltas = [DeltaRows::Cumulative, DeltaRows::FromState];
    let deltas = ARMS.map(str::to_owned).into_iter().zip(deltas).collect::<BTreeMap<_, _>>();
    let request = bundle::Request { deltas, ..demo_policy::bundle::request(&vla_export::family::N1D6, &checkpoint) };
    let out = scratch.path().join("policy");
    bundle::write(&request, &out, &mut |_| {}).expect("exports");
    (scratch, out)
}

/// Rows of the first chunk of the sample bag.
fn rows(policy: &Path, assignments: &[&str]) -> Vec<Vec<f64>> {
    let settings = demo::settings(policy, assignments);
    let spec = PolicySpec::load(policy).expect("the policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let output = policy.with_file_name("chunks.mcap");
    let source = demo::bag().into();
    let options = Options { source, output: output.clone(), latency: Span::ZERO, ..Options::default() };
    replay::run(&mut session, &settings, &options, &mut |_| {}).expect("the sample bag replays");
    let values = &demo::chunks(&output)[0].values;
    values.chunks_exact(ROW).map(|row| row.iter().copied().map(f64::from).collect()).collect()
}

/// Positions of these joints in the sample bag, by log time.
fn arm_states(joints: &[String]) -> Vec<(Stamp, Vec<f32>)> {
    let bag = BagReader::open(&demo::bag()).expect("the sample bag");
    let topic = bag.find("/joint_states").expect("joint states");
    let positions = |data: &[u8]| {
        let state = JointStateView::parse(data).expect("a joint state");
        let position = |joint: &String| {
            let index = state.names().position(|name| name == joint).expect("a joint of the bag");
            state.position(index).expect("its position") as f32
        };
        joints.iter().map(position).collect()
    };
    let messages = bag.messages(&[topic]).expect("messages").map(|message| message.expect("readable"));
    messages.map(|message| (message.log_time, positions(&message.data))).collect()
}

/// Checks that the rows of joint `at` of `sums` add up what `singles` adds to the state alone.
fn add_up(sums: &[Vec<f64>], singles: &[Vec<f64>], at: usize) {
    let mut states = (1..sums.len()).map(|row| singles[row][at] - (sums[row][at] - sums[row - 1][at]));
    assert_eq!(sums[0][at], singles[0][at], "the first row is the same in both");
    let state = states.next().expect("a second row");
    assert!(states.all(|other| (other - state).abs() < 2e-6), "one state for all rows of joint {at}");
    assert!(singles.iter().all(|row| (row[at] - state).abs() <= 0.010_001), "joint {at} is near its state {state}");
}

#[test]
fn rows_are_what_policy_yaml_says_and_the_parameter_wins() {
    let (_kept, policy) = policy();
    let told = rows(&policy, &[]);
    let turned = rows(&policy, &["action.left_arm.delta:=from_state", "action.right_arm.delta:=cumulative"]);
    for joint in 0..ARM {
        add_up(&told, &turned, joint);
        add_up(&turned, &told, ARM + 1 + joint);
    }
    for gripper in [ARM, 2 * ARM + 1] {
        assert!(told.iter().zip(&turned).all(|(one, other)| one[gripper] == other[gripper]), "grippers are absolute");
    }
}

#[test]
fn a_policy_that_does_not_say_what_a_row_is_is_refused_at_load_by_key_and_a_parameter_says_it() {
    let (_kept, policy) = policy();
    let file = policy.join(POLICY_FILE);
    let text = fs::read_to_string(&file).expect("text");
    let deltas = ", deltas: {left_arm: cumulative, right_arm: from_state}";
    assert!(text.contains(deltas), "{text}");
    fs::write(&file, text.replace(deltas, ", deltas: {right_arm: from_state}")).expect("writes");
    let spec = PolicySpec::load(&policy).expect("the policy");

    let mut given = Overrides::new(NodeName::new("/", "vla_trt").expect("a name"));
    given.add_file(&demo::params()).expect("config/aloha.yaml");
    given.add_argument(&format!("policy:={}", policy.display())).expect("an assignment");
    let problems = Parameters::new(PolicyShape::load(&spec).expect("a processor"), &given).expect_err("refused");
    let problems = problems.to_string();
    assert!(problems.contains("action.left_arm.delta") && problems.contains("rep: DELTA"), "{problems}");
    assert!(!problems.contains("right_arm"), "{problems}");

    let settings = demo::settings(&policy, &["action.left_arm.delta:=cumulative"]);
    let mut options = session::load_options(&settings);
    vla_runtime::devices::load_policy(spec.clone(), options.clone(), &mut |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
    options.deltas.clear();
    let error = vla_runtime::devices::load_policy(spec.clone(), options, &mut |_| {})
        .err()
        .expect("nothing says it")
        .to_string();
    assert!(
        error.contains("'left_arm' has rep: DELTA") && error.contains("action.left_arm.delta: cumulative"),
        "{error}"
    );
    // `infer` has no parameters.
    let error = vla_offline::infer::load(spec, 1, &mut |_| {}).err().expect("nothing says it").to_string();
    assert!(error.contains("'left_arm' has rep: DELTA"), "{error}");
}

#[test]
fn rows_that_were_promised_are_kept_by_a_policy_whose_deltas_add_up() {
    let (_kept, policy) = policy();
    let settings = demo::settings(&policy, &["handover.mode:=rtc", "handover.rtc_frozen:=3"]);
    let spec = PolicySpec::load(&policy).expect("the policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let output = policy.with_file_name("rtc.mcap");
    let (source, latency) = (demo::bag().into(), Span::from_millis(30.0));
    let options = Options { source, output: output.clone(), latency, ..Options::default() };
    let record = replay::run(&mut session, &settings, &options, &mut |_| {}).expect("replays").record;
    assert!(record.chunks.len() > 20, "{:?}", record.events);
    let states = arm_states(&session.policy().columns()[..ARM]);
    let mut promised = 0;
    for (turn, chunk) in record.chunks.iter().zip(demo::chunks(&output)) {
        let row = |row: usize| &chunk.values[row * ROW..][..ARM];
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The bag's arm does not do what it was told: what was promised is far from its state.
        let (_, state) = states.iter().rfind(|(at, _)| *at <= turn.at).expect("a state");
        promised += usize::from(distance(row(0), state) > 0.05);
        let jump = distance(row(2), row(3));
        assert!(
            jump <= 0.010_001,
            "{jump} rad between the last promised row and the next, of deltas of at most 0.01 rad"
        );
    }
    assert!(promised > 10, "{promised} chunks begin with what was promised");
}
