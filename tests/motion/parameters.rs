//! The node's parameters from outside: files and arguments in, settings out, live changes, the reference page.

mod cameras;
mod live;
mod poses;

use crate::shape;
use vla_trt_tests::demo;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use vla_base::time::Span;
use vla_messages::PixelFormat;
use vla_motion::{JointLimits, TransitionMode};
use vla_policy::PolicySpec;
use vla_policy::observation::{Exif, FrameOptions, InputKind, OnViolation, Transport};
use vla_policy::processor::DeltaRows;
use vla_runtime::parameters::{
    CommandKind, EefAction, LimitsFrom, NodeName, Overrides, Parameters, PolicyShape, Problems, Settings, Value,
    declarations, reference,
};

const ALOHA: &str = include_str!("../../config/aloha.yaml");

fn shape() -> PolicyShape {
    let keys = [("left_arm", 6), ("left_gripper", 1), ("right_arm", 6), ("right_gripper", 1)];
    let keys: Vec<(String, usize)> = keys.map(|(key, width)| (key.to_owned(), width)).into();
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    PolicyShape {
        cameras: strings(&["top", "left_wrist", "right_wrist"]),
        state: keys.clone(),
        action_keys: keys,
        stages: strings(&["vision", "language", "context", "step"]),
        denoise_steps: vec![1, 2, 4, 8],
        ..shape::arm()
    }
}

/// The sample robot's file, then these arguments.
fn overrides(arguments: &[&str]) -> Overrides {
    let mut overrides = Overrides::new(NodeName::new("/robot", "vla_trt").expect("valid name"));
    overrides.add_text("aloha.yaml", ALOHA).unwrap_or_else(|problems| panic!("{problems}"));
    for argument in ["policy:=/opt/policy"].iter().chain(arguments) {
        overrides.add_argument(argument).unwrap_or_else(|error| panic!("{error}"));
    }
    overrides
}

fn parameters(arguments: &[&str]) -> Parameters {
    Parameters::new(shape(), &overrides(arguments)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(arguments: &[&str]) -> Problems {
    Parameters::new(shape(), &overrides(arguments)).expect_err("refused")
}

fn one_problem(arguments: &[&str]) -> String {
    let problems = problems(arguments);
    assert_eq!(problems.len(), 1, "{problems}");
    problems.to_string()
}

fn limits(settings: &Settings) -> &[JointLimits] {
    settings.limits.as_ref().expect("limits of the parameters").per_joint()
}

fn change(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

#[test]
fn the_sample_robots_file_gives_settings() {
    let parameters = parameters(&[]);
    let settings = parameters.settings();
    assert_eq!(settings.policy, PathBuf::from("/opt/policy"));
    assert_eq!((settings.rate_hz, settings.seed, settings.denoise_steps), (5.0, 0, 4));
    assert_eq!(settings.step, Span::from_millis(20.0));
    let inputs: Vec<(&str, &str)> = settings.inputs.iter().map(|i| (i.name.as_str(), i.kind.type_name())).collect();
    let frames = "sensor_msgs/msg/CompressedImage";
    let joints = ("joints", "sensor_msgs/msg/JointState");
    let instruction = ("instruction", "std_msgs/msg/String");
    assert_eq!(inputs, [("top", frames), ("left_wrist", frames), ("right_wrist", frames), joints, instruction]);
    assert_eq!(settings.inputs[0].kind, InputKind::Camera { transport: Transport::Compressed });
    assert_eq!(settings.rules.per_input.len(), 5);
    assert_eq!(settings.rules.of(0).max_age, Span::from_millis(500.0));
    assert_eq!(settings.rules.on_violation, OnViolation::Skip);
    assert_eq!(settings.action, settings.state, "actions move the joints of the state of the same name");
    assert_eq!(settings.joint_names().len(), 14);
    let limits = settings.limits.as_ref().expect("limits of the parameters");
    assert_eq!((limits.per_joint().len(), limits.per_joint()[6].max), (14, 1.0));
    assert_eq!(limits.without_velocity().count(), 0, "the template's robot may move");
    assert!(limits.per_joint().iter().all(|joint| joint.acceleration.is_finite()));
    assert_eq!((settings.engine.load_order.clone(), settings.memory.budget_mib), (None, None));
}

#[test]
fn the_sample_robots_file_fits_the_sample_bag() {
    let bag = vla_trt_tests::shared().join("data/aloha_cube/aloha_cube.mcap");
    let Ok(bytes) = std::fs::read(&bag) else {
        eprintln!("SKIPPED: no {}", bag.display());
        return;
    };
    let mut topics = BTreeSet::new();
    let mut joints = BTreeSet::new();
    for message in mcap::MessageStream::new(&bytes).expect("a bag") {
        let message = message.expect("a message");
        let type_name = message.channel.schema.as_ref().map(|schema| schema.name.clone()).unwrap_or_default();
        if joints.is_empty() && type_name == "sensor_msgs/msg/JointState" {
            let state = vla_messages::JointStateView::parse(&message.data).expect("a joint state");
            joints = state.names().map(str::to_owned).collect();
        }
        topics.insert((message.channel.topic.clone(), type_name));
    }
    let parameters = parameters(&[]);
    for input in &parameters.settings().inputs {
        let wanted = (input.topic_list(), input.kind.type_name().to_owned());
        assert!(topics.contains(&wanted), "{wanted:?} is not in {topics:?}");
    }
    assert_eq!(parameters.settings().joint_names().into_iter().collect::<BTreeSet<_>>(), joints);
}

#[test]
fn everything_wrong_is_reported_at_once_and_names_the_line() {
    let mut given =
        overrides(&["denoise.steps:=3", "engines.load_order:=[vision, vision]", "limits.left_waist.min:=5"]);
    let text = "/**:\n  ros__parameters:\n    rate_hz: fast\n    inputs:\n      cameras:\n        front: {topic: /x}\n      on_violation: run\n";
    given.add_text("more.yaml", text).expect("readable");
    let problems = Parameters::new(shape(), &given).expect_err("wrong");
    let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "-p denoise.steps:=3: parameter 'denoise.steps' cannot be 3: expected one of 1, 2, 4, 8",
        "-p engines.load_order:=[vision, vision]: parameter 'engines.load_order' cannot be ['vision', 'vision']: \
         'vision' is in it twice, language, context, step missing from it; \
         expected empty, or each of vision, language, context, step exactly once",
        "more.yaml:3: parameter 'rate_hz' is of type double; 'fast' is of type string",
        "more.yaml:6: there is no parameter 'inputs.cameras.front.topic': \
         under 'inputs.cameras' there are: left_wrist, right_wrist, top",
        "more.yaml:7: parameter 'inputs.on_violation' cannot be 'run': expected one of skip, hold, stop",
        "limits.left_waist.min = 5.0 is not below limits.left_waist.max = 3.1416; to move both, set them in one atomic change",
    ];
    assert_eq!(messages, expected);
    assert!(problems.to_string().starts_with("6 problems with the parameters:\n  - "));
}

#[test]
fn a_fault_is_reported_once_and_not_again_by_what_follows_from_it() {
    let message = one_problem(&["state.left_arm.joints:=[a, b]"]);
    assert!(message.ends_with("cannot be ['a', 'b']: it has 2; expected 6 joint names, each once"), "{message}");
    let message = one_problem(&["state.left_arm.joints:=left_waist"]);
    assert!(message.ends_with("is of type string_array; 'left_waist' is of type string"), "{message}");
    let message = one_problem(&["limits.left_wast.min:=0.1"]);
    assert!(
        message.ends_with("there is no parameter 'limits.left_wast.min': did you mean 'limits.left_waist.min'?"),
        "{message}"
    );
    let message = one_problem(&["action.left_arm.scale:=[1.0, 0.0, 1.0, 1.0, 1.0, 1.0]"]);
    assert!(message.contains("6 finite numbers, none of them zero"), "{message}");
}

#[test]
fn what_must_be_given_is_asked_for_by_name() {
    let mut given = Overrides::new(NodeName::new("/", "vla_trt").expect("valid name"));
    given.add_text("other.yaml", "/other_node: {ros__parameters: {rate_hz: 1.0}}").expect("readable");
    assert_eq!(given.warnings(), ["other.yaml has no section for the node /vla_trt: its sections are /other_node"]);
    let problems = Parameters::new(shape(), &given).expect_err("nothing given");
    let missing: Vec<&str> = problems.iter().flat_map(|error| error.names()).map(String::as_str).collect();
    let keys = ["left_arm", "left_gripper", "right_arm", "right_gripper"].map(|key| format!("state.{key}.joints"));
    assert_eq!(missing.iter().filter(|name| keys.iter().any(|key| key == *name)).count(), 4, "{problems}");
    assert!(missing.contains(&"policy") && missing.len() == 5, "{problems}");
    assert!(problems.to_string().contains("list the 6 joints of the state 'left_arm'"), "{problems}");
}

#[test]
fn values_that_do_not_go_together_are_refused_with_both_names() {
    let message =
        one_problem(&["state.right_gripper.joints:=[left_gripper]", "action.right_gripper.joints:=[right_gripper]"]);
    assert!(
        message.contains("'left_gripper' is in state.left_gripper.joints and in state.right_gripper.joints"),
        "{message}"
    );
    let message = one_problem(&["inputs.cameras.top.topic:=/joint_states"]);
    assert!(message.contains("inputs.cameras.top.topic and inputs.joints.topic are both '/joint_states'"), "{message}");
}

#[test]
fn an_action_without_a_state_of_its_name_needs_joints_of_its_own() {
    let mut other = shape();
    other.action_keys = vec![("left_arm".into(), 6), ("lift".into(), 1), ("left_gripper".into(), 2)];
    let given = overrides(&[]);
    let problems = Parameters::new(other.clone(), &given).expect_err("no joints");
    let names: BTreeSet<&str> = problems.iter().flat_map(|error| error.names()).map(String::as_str).collect();
    assert!(names.contains("action.lift.joints"), "{problems}");
    assert!(names.contains("action.left_gripper.joints"), "the state is 1 wide, the action 2: {problems}");

    other.action_keys = vec![("lift".into(), 1)];
    let mut given = Overrides::new(NodeName::new("/robot", "vla_trt").expect("valid name"));
    let without_limits = ALOHA.split("    # Actions beyond").next().expect("the sample file has limits last");
    given.add_text("aloha.yaml", without_limits).expect("readable");
    for argument in ["policy:=p", "action.lift.joints:=[lift_joint]", "limits.lift_joint.max:=0.3"] {
        given.add_argument(argument).expect("valid");
    }
    let parameters = Parameters::new(other, &given).unwrap_or_else(|problems| panic!("{problems}"));
    let settings = parameters.settings();
    assert_eq!(
        (settings.action[0].scale.as_slice(), settings.action[0].offset.as_slice()),
        ([1.0].as_slice(), [0.0].as_slice())
    );
    let lift = limits(settings)[0];
    assert_eq!((lift.min, lift.max), (f64::NEG_INFINITY, 0.3));
}

#[test]
fn scale_and_offset_of_the_state_hold_for_the_action_unless_it_has_its_own() {
    let parameters = parameters(&[
        "state.left_gripper.scale:=[2]",
        "state.right_gripper.offset:=[1]",
        "action.left_gripper.scale:=[4]",
    ]);
    let settings = parameters.settings();
    let factors = |maps: &[vla_policy::observation::JointMap]| -> Vec<(f64, f64)> {
        [1, 3].map(|i| (maps[i].scale[0], maps[i].offset[0])).into()
    };
    assert_eq!(factors(&settings.state), [(2.0, 0.0), (1.0, 1.0)]);
    assert_eq!(factors(&settings.action), [(4.0, 0.0), (1.0, 1.0)]);
}

#[test]
fn relative_engine_files_lie_in_the_policy_folder() {
    let parameters = parameters(&["engines.vision.path:=engines/vision.plan", "engines.step.path:=/data/step.plan"]);
    let stages = &parameters.settings().engine.stages;
    let path = |stage: &str| stages.get(stage).and_then(|stage| stage.path.clone());
    assert_eq!(path("vision"), Some("/opt/policy/engines/vision.plan".into()));
    assert_eq!(path("step"), Some("/data/step.plan".into()));
    assert_eq!(path("language"), None);
}

#[test]
fn the_file_for_a_forward_controller_has_the_nodes_part_and_the_joints_of_the_sample_robot_in_order() {
    let text = include_str!("../../config/ros2_control_stream.yaml");
    let mut given = overrides(&[]);
    given.add_text("ros2_control_stream.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    let parameters = Parameters::new(shape(), &given).unwrap_or_else(|problems| panic!("{problems}"));
    let settings = parameters.settings();
    assert_eq!((settings.command.kind, settings.command.rate_hz), (CommandKind::MultiArray, 250.0));
    let joints: Vec<&String> = settings.action.iter().flat_map(|map| &map.joints).collect();
    for text in [text, include_str!("../../config/ros2_control_trajectory.yaml")] {
        let listed: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
        assert_eq!(listed, joints);
    }
}

#[test]
fn what_a_row_of_deltas_is_comes_from_the_policy_unless_the_parameter_says_it_and_one_of_them_must() {
    let of = |told: Option<DeltaRows>, assignments: &[&str]| {
        let shape = PolicyShape { deltas: vec![("left_arm".into(), told)], ..shape() };
        Parameters::new(shape, &overrides(assignments))
            .map(|parameters| parameters.settings().deltas.get("left_arm").copied())
    };
    let (sum, single) = (DeltaRows::Cumulative, DeltaRows::FromState);
    assert_eq!(of(Some(sum), &[]).expect("the policy says it"), Some(sum));
    assert_eq!(of(Some(sum), &["action.left_arm.delta:=from_state"]).expect("the parameter wins"), Some(single));
    assert_eq!(of(None, &["action.left_arm.delta:=cumulative"]).expect("the parameter says it"), Some(sum));
    let problems = of(None, &[]).expect_err("nothing says it").to_string();
    assert!(problems.contains("action.left_arm.delta") && problems.contains("cumulative (row i"), "{problems}");
    let problems = of(Some(sum), &["action.left_arm.delta:=sum"]).expect_err("another word").to_string();
    assert!(problems.contains("one of cumulative, from_state"), "{problems}");
    let problems = one_problem(&["action.left_arm.delta:=cumulative"]);
    assert!(
        problems.contains("there is no parameter 'action.left_arm.delta'"),
        "only keys of deltas have it: {problems}"
    );
}

#[test]
fn the_file_for_a_trajectory_controller_starts_from_the_desired_state_on_every_release() {
    let text = include_str!("../../config/ros2_control_trajectory.yaml");
    let file: serde_yaml::Value = serde_yaml::from_str(text).expect("YAML");
    let controller = &file["arms_controller"]["ros__parameters"];
    // Humble knows the first name alone, Kilted the second alone.
    for name in ["open_loop_control", "interpolate_from_desired_state"] {
        assert_eq!(controller[name], serde_yaml::Value::Bool(true), "{name}");
    }
}

#[test]
fn a_rate_of_zero_is_as_fast_as_useful_and_below_it_on_demand() {
    let of = |rate: &str| parameters(&[rate]).settings().clone();
    let rates = ["rate_hz:=4", "rate_hz:=0", "rate_hz:=-1"].map(|rate| (of(rate).on_demand(), of(rate).period()));
    assert_eq!(rates, [(false, Span::from_millis(250.0)), (false, Span::ZERO), (true, Span::ZERO)]);
}

#[test]
fn an_enable_switch_is_off_by_default_and_has_a_topic_of_its_own() {
    assert_eq!(parameters(&[]).settings().enable_topic, None);
    let given = parameters(&["inputs.enable.topic:=/operator/enable", "inputs.enable.max_age_ms:=250.0"]);
    assert_eq!(given.settings().enable_topic.as_deref(), Some("/operator/enable"));
    assert_eq!(given.settings().rules.enable_max_age, Span::from_millis(250.0));
    let joints = given.settings().inputs[3].topics[0].clone();
    let problem = one_problem(&[&format!("inputs.enable.topic:={joints}")]);
    assert!(problem.contains("which is the topic of the input 'joints'"), "{problem}");
    assert!(one_problem(&["inputs.enable.topic:=a b"]).contains("inputs.enable.topic"));
}

#[test]
fn every_parameter_is_described() {
    for declaration in declarations(&shape(), &overrides(&[])) {
        assert!(declaration.description.ends_with('.'), "{}: {}", declaration.name, declaration.description);
        for (suffix, unit) in [("_ms", " ms"), ("_mib", " MiB"), ("_s", " s ")] {
            let named = declaration.name.ends_with(suffix);
            assert!(!named || declaration.description.contains(unit), "{} does not name its unit", declaration.name);
        }
    }
}

#[test]
fn the_reference_page_is_that_of_the_declarations() {
    let path = &vla_trt_tests::root().join("docs/parameters.md");
    if std::env::var_os("VLA_TRT_BLESS").is_some() {
        std::fs::write(path, reference()).expect("docs/parameters.md is writable");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == reference(), "docs/parameters.md is out of date; its first lines have the command that makes it");
}
