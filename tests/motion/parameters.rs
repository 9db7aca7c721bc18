//! The node's parameters from outside: files and arguments in, settings out, live changes, the reference page.

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

/// A policy with an end effector (relative, so nothing but a pose), another of which the values leave as predicted, and
/// state keys of several widths.
fn eef_shape() -> PolicyShape {
    let keys = |keys: &[(&str, usize)]| keys.iter().map(|(key, width)| ((*key).to_owned(), *width)).collect();
    let eef = |key: &str, columns: &[&str], relative| EefAction {
        key: key.into(),
        columns: columns.iter().map(|column| format!("{key}.{column}")).collect(),
        relative,
    };
    PolicyShape {
        cameras: vec!["top".into()],
        blank_views: Vec::new(),
        video_history: vec![0],
        state: keys(&[("tool", 9), ("hand", 3), ("quaternion", 7), ("gripper", 1)]),
        action_keys: keys(&[("tool", 6), ("jaw", 1), ("gripper", 1), ("quaternion", 7)]),
        eef_actions: vec![
            eef("tool", &["x", "y", "z", "rx", "ry", "rz"], true),
            eef("jaw", &["0"], false),
            eef("quaternion", &["0", "1", "2", "3", "4", "5", "6"], false),
        ],
        ..shape()
    }
}

const EEF: &str = "/**: {ros__parameters: {policy: /opt/policy, inputs: {poses: {tcp: {frame_id: base}}}, \
                   state: {tool: {pose: tcp}, hand: {pose: tcp}, quaternion: {joints: [a, b, c, d, e, f, g]}, \
                   gripper: {joints: [grip]}}}}";

fn eef_parameters(text: &str, arguments: &[&str]) -> Result<Parameters, Problems> {
    let mut given = Overrides::new(NodeName::new("/", "vla_trt").expect("valid name"));
    given.add_text("eef.yaml", text).expect("readable");
    for argument in arguments {
        given.add_argument(argument).unwrap_or_else(|error| panic!("{error}"));
    }
    Parameters::new(eef_shape(), &given)
}

fn eef_problems(arguments: &[&str]) -> Vec<String> {
    eef_parameters(EEF, arguments).expect_err("refused").iter().map(ToString::to_string).collect()
}

#[test]
fn a_pose_is_an_input_where_state_keys_name_it_and_its_freshness_is_live() {
    let mut parameters = eef_parameters(EEF, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let settings = parameters.settings();
    let inputs: Vec<(&str, &str)> = settings.inputs.iter().map(|i| (i.name.as_str(), i.topics[0].as_str())).collect();
    // Two keys take one pose: one input.
    let expected = [
        ("top", "camera/top/image_raw"),
        ("joints", "joint_states"),
        ("tcp", "tcp/pose"),
        ("instruction", "instruction"),
    ];
    assert_eq!(inputs, expected);
    let pose = &settings.inputs[2];
    assert_eq!((pose.kind.type_name(), pose.frame_id.as_str()), ("geometry_msgs/msg/PoseStamped", "base"));
    assert_eq!(settings.rules.per_input.len(), 4);
    let keys = |maps: &[vla_policy::observation::JointMap]| maps.iter().map(|m| m.key.clone()).collect::<Vec<_>>();
    assert_eq!(
        (keys(&settings.state), keys(&settings.action)),
        (vec!["quaternion".into(), "gripper".into()], vec!["gripper".into()])
    );
    let poses: Vec<(&str, &str)> = settings.poses.iter().map(|p| (p.key.as_str(), p.input.as_str())).collect();
    assert_eq!(poses, [("tool", "tcp"), ("hand", "tcp")]);
    assert_eq!(settings.joint_names().len(), 8);
    assert_eq!(limits(settings).len(), 1, "limits are for joints");
    parameters.set("inputs.poses.tcp.max_age_ms", Value::Double(30.0)).expect("live");
    parameters.set("inputs.poses.tcp.required", Value::Bool(false)).expect("live");
    let rule = parameters.settings().rules.of(2);
    assert_eq!((rule.max_age, rule.required), (Span::from_millis(30.0), false));
    assert!(
        parameters
            .set("inputs.poses.tcp.frame_id", Value::String("x".into()))
            .expect_err("fixed")
            .contains("read-only")
    );
}

#[test]
fn joint_states_are_an_input_only_where_a_joint_is_read_or_moved() {
    let mut shape = eef_shape();
    shape.state.truncate(2);
    shape.action_keys.truncate(1);
    let mut given = Overrides::new(NodeName::new("/", "vla_trt").expect("valid name"));
    for argument in ["policy:=p", "state.tool.pose:=tcp", "state.hand.pose:=palm"] {
        given.add_argument(argument).expect("valid");
    }
    let parameters = Parameters::new(shape, &given).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = parameters.settings().inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["top", "tcp", "palm", "instruction"]);
}

#[test]
fn a_key_of_both_joints_and_a_pose_or_of_neither_or_of_another_width_is_refused_all_at_once() {
    let problems = eef_problems(&[
        "state.hand.joints:=[palm, thumb, finger]",
        "state.quaternion.pose:=tcp",
        "state.quaternion.joints:=[]",
        "state.gripper.joints:=[]",
        "state.tool.scale:=[2, 1, 1, 1, 1, 1, 1, 1, 1]",
        "action.tool.joints:=[a, b, c, d, e, f]",
        "action.gripper.joints:=[grip]",
    ]);
    let expected = [
        "state.tool.scale is given, but the state 'tool' comes from a pose, in m and rad; take state.tool.scale away",
        "state.hand.joints and state.hand.pose are both given; the state 'hand' comes from joints or from a pose",
        "state.quaternion.pose is 'tcp', but the state 'quaternion' has 7 values and a pose gives 3 (x, y, z), 6 (x, y, z and \
         rotation vector), 9 (x, y, z and two rows of the rotation matrix) or 16 (4x4 matrix); name its values in state.quaternion.pose_parts",
        "parameter 'state.gripper.joints' is not set: list the 1 joints of the state 'gripper' by their names in \
         sensor_msgs/JointState, in the policy's order; or, if a pose has it, name the pose in state.gripper.pose and the \
         values in state.gripper.pose_parts",
        "action.tool.joints is given, but the action 'tool' is relative to a pose of the state (RELATIVE, EEF): its values are \
         tool.x, tool.y, tool.z, tool.rx, tool.ry, tool.rz, which no joint takes; take action.tool.joints away",
    ];
    assert_eq!(problems, expected);
    let neither = eef_problems(&["state.tool.pose:=''"]);
    assert_eq!(neither.len(), 1);
    assert!(neither[0].contains("list the 9 joints of the state 'tool'"), "{neither:?}");
    assert!(neither[0].ends_with("or, if it is an end effector's, name its pose in state.tool.pose"), "{neither:?}");
}

#[test]
fn names_of_poses_are_names_of_their_own() {
    let problem = eef_problems(&["state.hand.pose:=left/hand"]);
    let refused = "-p state.hand.pose:=left/hand: parameter 'state.hand.pose' cannot be 'left/hand': expected empty, or a name \
                   of letters, digits and '_' that starts with no digit";
    assert_eq!(problem, [refused]);
    let text = EEF.replace("hand: {pose: tcp}", "hand: {pose: left/hand}");
    let problems = eef_parameters(&text, &[]).expect_err("refused");
    assert_eq!(problems.len(), 1, "it does not want for joints, too: {problems}");
    let problem = eef_problems(&["state.hand.pose:=joints"]);
    let clash = "state.hand.pose names the pose 'joints', which is the name of another input (sensor_msgs/msg/JointState); \
                 give the pose another name";
    assert_eq!(problem, [clash]);
    let problem = eef_problems(&["inputs.poses.palm.topic:=/palm"]);
    let unused = "-p inputs.poses.palm.topic:=/palm: there is no parameter 'inputs.poses.palm.topic': no state key uses the \
                  pose 'palm'; name it in state.<key>.pose";
    assert_eq!(problem, [unused]);
    let problem = eef_problems(&["inputs.poses.tcp.frame:=base"]);
    assert!(problem[0].ends_with("did you mean 'inputs.poses.tcp.frame_id'?"), "{problem:?}");
    let problem = eef_problems(&["inputs.poses.tcp.origin:=base"]);
    assert!(
        problem[0].ends_with(
            "under 'inputs.poses.tcp' there are: child_frame_id, euler, frame_id, max_age_ms, quaternion_near, required, \
             rotate_base, rotate_tool, source, stamp, topic"
        ),
        "{problem:?}"
    );
    let problem = eef_problems(&["inputs.poses.tcp.topic:=/joint_states", "inputs.joints.topic:=/joint_states"]);
    assert!(
        problem[0].contains("inputs.joints.topic and inputs.poses.tcp.topic are both '/joint_states'"),
        "{problem:?}"
    );
    let problem = eef_problems(&["action.gripper.joints:=[tool.x]"]);
    assert_eq!(problem, ["action.gripper.joints: 'tool.x' is also the name of a pose's column; rename the joint"]);
}

#[test]
fn an_end_effectors_action_that_is_not_relative_may_move_joints() {
    let given = ["action.jaw.joints:=[jaw_joint]", "action.jaw.scale:=[2.0]", "limits.jaw_joint.max:=0.04"];
    let parameters = eef_parameters(EEF, &given).unwrap_or_else(|problems| panic!("{problems}"));
    let settings = parameters.settings();
    assert_eq!((settings.action[0].joints[0].as_str(), settings.action[0].scale[0]), ("jaw_joint", 2.0));
    assert_eq!((limits(settings).len(), limits(settings)[0].max), (2, 0.04));
    // Without joints of its own it does not move those of the state of its name.
    let problem = eef_problems(&["limits.a.min:=0.0"]);
    assert!(problem.len() == 1 && problem[0].contains("there is no parameter 'limits.a.min'"), "{problem:?}");
    let problem = eef_problems(&["action.jaw.offset:=[2.0]"]);
    assert_eq!(
        problem,
        [
            "action.jaw.offset is given, but the action 'jaw' is an end effector's and moves no joints; take action.jaw.offset away"
        ]
    );
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
fn a_live_change_makes_new_settings_and_leaves_those_in_use_alone() {
    let mut parameters = parameters(&[]);
    let in_use = Arc::clone(parameters.settings());
    parameters.set("rate_hz", Value::Integer(20)).expect("live");
    parameters.set("instruction", Value::String("pick up the cube".into())).expect("live");
    parameters.set("inputs.cameras.top.max_age_ms", Value::Double(50.0)).expect("live");
    assert_eq!(in_use.rate_hz, 5.0);
    let settings = parameters.settings();
    assert_eq!((settings.rate_hz, settings.instruction.as_str()), (20.0, "pick up the cube"));
    assert_eq!(settings.rules.of(0).max_age, Span::from_millis(50.0));
}

#[test]
fn limits_move_together_or_not_at_all() {
    let mut parameters = parameters(&[]);
    let before = Arc::clone(parameters.settings());
    let reason = parameters.set("limits.left_gripper.min", Value::Double(2.0)).expect_err("above max");
    assert_eq!(
        reason,
        "limits.left_gripper.min = 2.0 is not below limits.left_gripper.max = 1.0; to move both, set them in one atomic change"
    );
    assert!(parameters.set("limits.left_gripper.max", Value::Double(0.0)).is_err(), "no room between equal limits");
    assert_eq!(*parameters.settings(), before);
    assert_eq!(parameters.store().get("limits.left_gripper.min"), Some(&Value::Double(0.0)));
    let both =
        [change("limits.left_gripper.min", Value::Double(2.0)), change("limits.left_gripper.max", Value::Double(3.0))];
    assert_eq!(parameters.set_atomically(&both).expect("together").len(), 2);
    assert_eq!(limits(parameters.settings())[6].min, 2.0);
    let none = change("limits.left_gripper.min", Value::Double(f64::NEG_INFINITY));
    parameters.set_atomically(&[none]).expect("no limit");
    assert_eq!(limits(parameters.settings())[6].min, f64::NEG_INFINITY);
    assert!(parameters.set("limits.left_gripper.max", Value::Double(f64::NAN)).expect_err("NaN").contains("not .nan"));
}

#[test]
fn refusals_of_live_changes_say_why() {
    let mut parameters = parameters(&[]);
    let mut reason = |name: &str, value: Value| parameters.set(name, value).expect_err(name);
    assert_eq!(
        reason("denoise.steps", Value::Integer(3)),
        "parameter 'denoise.steps' cannot be 3: expected one of 1, 2, 4, 8"
    );
    assert!(reason("policy", Value::String("x".into())).contains("read-only while the node runs"));
    assert!(reason("use_sim_time", Value::Bool(true)).contains("read-only"));
    assert_eq!(
        reason("temperature", Value::Double(1.0)),
        "there is no parameter 'temperature': `ros2 param list` and docs/parameters.md name all there are"
    );
    assert_eq!(reason("rate", Value::Double(1.0)), "there is no parameter 'rate': did you mean 'rate_hz'?");
    assert_eq!(reason("rate_Hz", Value::Double(1.0)), "there is no parameter 'rate_Hz': did you mean 'rate_hz'?");
    assert!(reason("seed", Value::Integer(-1)).contains("expected an integer from 0"));
}

#[test]
fn motion_is_configured_live_and_rtc_needs_a_policy_that_takes_promised_rows() {
    let mut parameters = parameters(&["limits.left_waist.velocity:=1.5", "limits.left_waist.acceleration:=4"]);
    let settings = parameters.settings();
    assert_eq!((settings.motion.mode, settings.motion.blend), (TransitionMode::Blend, Span::from_millis(100.0)));
    let limit = limits(settings)[0];
    assert_eq!((limit.velocity, limit.acceleration, limit.jerk), (1.5, 4.0, f64::INFINITY));
    assert_eq!((settings.rtc_frozen, settings.limits_from.clone()), (None, LimitsFrom::Nowhere));
    parameters.set("handover.mode", Value::String("ensemble".into())).expect("live");
    assert_eq!(parameters.settings().motion.mode, TransitionMode::Ensemble);
    let reason = parameters.set("handover.mode", Value::String("rtc".into())).expect_err("no guide");
    assert!(reason.contains("'strength'") && reason.contains("use blend"), "{reason}");
    let guided = PolicyShape { accepts_prefix: true, ..shape() };
    let parameters = Parameters::new(guided, &overrides(&["handover.mode:=rtc"])).expect("a policy that takes them");
    assert_eq!(parameters.settings().motion.mode, TransitionMode::Rtc);
    assert!(one_problem(&["limits.left_waist.velocity:=0"]).contains("limits.left_waist.velocity"));
    assert!(one_problem(&["limits_from:=file"]).contains("limits_file"));
}

#[test]
fn a_urdf_file_is_read_when_it_is_asked_for_and_refused_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("robot.urdf");
    let read = |text: &[u8]| {
        std::fs::write(&file, text).expect("written");
        let argument = format!("limits_file:={}", file.display());
        let mut parameters = parameters(&["limits_from:=file", &argument]);
        assert!(parameters.settings().limits.is_err(), "no limits before it is read");
        parameters.read_limits_file().map(|()| parameters.settings().limits.clone().expect("limits"))
    };
    let of_all = |limit: &str| -> String {
        let joints = parameters(&[]).settings().joint_names();
        let joint = |name: &String| format!("<joint name='{name}' type='revolute'><limit {limit}/></joint>");
        joints.iter().map(joint).collect()
    };
    let latin = [b"<robot><!-- Roboterarm, \xfcberpr\xfcft -->".as_slice()];
    let good = format!("{}</robot>", of_all("lower='-1' upper='0.9' velocity='2'"));
    let limits = read(&[latin[0], good.as_bytes()].concat()).expect("a description");
    let waist = limits.get("left_waist").expect("moved");
    assert_eq!((waist.min, waist.max, waist.velocity, waist.acceleration), (-1.0, 0.9, 2.0, 10.0));
    let error = read(b"<robot>").expect_err("incomplete").to_string();
    assert!(error.contains("robot.urdf: robot description: the text ends inside <robot>"), "{error}");
    let crossed = format!("<robot>{}</robot>", of_all("lower='3.1' upper='-3.1' velocity='2'"));
    let error = read(crossed.as_bytes()).expect_err("crossed, whatever the parameters say").to_string();
    assert!(
        error.contains("`left_waist`, `left_shoulder`") && error.contains("lower 3.1 is above upper -3.1"),
        "{error}"
    );
    let mut missing = parameters(&["limits_from:=file", "limits_file:=/nowhere/robot.urdf"]);
    let error = missing.read_limits_file().expect_err("no file").to_string();
    assert!(error.contains("limits_file /nowhere/robot.urdf: No such file"), "{error}");
}

#[test]
fn an_instruction_that_does_not_fit_is_refused_when_it_is_set_and_at_the_start() {
    let policy = demo::policy();
    let mut parameters = demo::parameters(policy.path(), &["instruction:=pick up the cube"]);
    let long = "cube ".repeat(400);
    let reason = parameters.set("instruction", Value::String(long.clone())).expect_err("too long");
    assert!(
        reason.starts_with("parameter 'instruction': ") && reason.contains("439 tokens") && reason.contains("192"),
        "{reason}"
    );
    assert_eq!(parameters.settings().instruction, "pick up the cube");
    let reason = parameters.set("instruction", Value::String("x".repeat(70_000))).expect_err("no instruction at all");
    assert!(reason.contains("expected at most 65536 bytes, found 70000"), "{reason}");
    parameters.set("rate_hz", Value::Double(2.0)).expect("other changes are taken");
    parameters.set("instruction", Value::String(String::new())).expect("wait for the topic");
    parameters.set("instruction", Value::String("open the drawer".into())).expect("it fits");

    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut given = overrides(&[]);
    given.set("instruction", Value::String(long));
    let problems = Parameters::new(PolicyShape::load(&spec).expect("its processor"), &given).expect_err("too long");
    assert!(problems.len() == 1 && problems.to_string().contains("parameter 'instruction': "), "{problems}");
}

#[test]
fn without_a_topic_the_limits_of_the_parameters_hold_alone() {
    let mut parameters = parameters(&["limits_from:=topic"]);
    assert!(parameters.settings().limits.as_ref().expect_err("awaited").to_string().contains("limits_topic"));
    assert!(parameters.do_without_description() && parameters.settings().limits.is_ok());
    assert!(!self::parameters(&[]).do_without_description());
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
fn what_may_change_while_the_node_runs_is_this_and_no_more() {
    let live: BTreeSet<String> = declarations(&shape(), &overrides(&[]))
        .into_iter()
        .filter(|declaration| !declaration.read_only && !declaration.name.starts_with("limits."))
        .map(|declaration| declaration.name)
        .collect();
    let mut expected = BTreeSet::from(
        ["instruction", "rate_hz", "seed", "denoise.steps", "action.step_s", "frame_id", "log_level", "log_shapes"]
            .map(str::to_owned),
    );
    expected
        .extend(["pairing", "max_skew_ms", "future_tolerance_ms", "on_violation"].map(|name| format!("inputs.{name}")));
    expected
        .extend(["max_blind_s", "watchdog.stop_after_ms", "clamps.refuse_after", "command_rate_hz"].map(str::to_owned));
    expected.extend(
        ["mode", "blend_ms", "ensemble_decay", "rtc_frozen", "rtc_overlap"].map(|name| format!("handover.{name}")),
    );
    // Taken at the next load, which after a refusal is ~/reload.
    expected.extend(
        [
            "memory.budget_mib",
            "memory.reserve_mib",
            "memory.count_available",
            "memory.release_host_copy",
            "engines.load_order",
            "engine.max_restarts",
            "engine.cuda_graph",
        ]
        .map(str::to_owned),
    );
    for stage in ["vision", "language", "context", "step"] {
        expected.extend(["allow_unverified", "allow_inaccurate"].map(|flag| format!("engines.{stage}.{flag}")));
    }
    for input in ["cameras.top", "cameras.left_wrist", "cameras.right_wrist", "joints"] {
        expected.extend(["max_age_ms", "required", "stuck_after_ms"].map(|field| format!("inputs.{input}.{field}")));
    }
    expected.extend(["inputs.enable.max_age_ms", "task.second_goal"].map(str::to_owned));
    assert_eq!(live, expected);
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
fn what_a_refused_load_asks_for_can_be_set_and_is_in_the_next_settings() {
    let mut parameters = parameters(&[]);
    assert_eq!((parameters.settings().memory.budget_mib, parameters.settings().engine.max_restarts), (None, 3));
    let changes = [
        change("memory.budget_mib", Value::Integer(9000)),
        change("memory.reserve_mib", Value::Integer(100)),
        change("engine.max_restarts", Value::Integer(0)),
        change("engines.step.allow_unverified", Value::Bool(true)),
        change("engines.context.allow_inaccurate", Value::Bool(true)),
    ];
    parameters.set_atomically(&changes).unwrap_or_else(|reason| panic!("{reason}"));
    let settings = parameters.settings();
    assert_eq!((settings.memory.budget_mib, settings.memory.reserve_mib), (Some(9000), 100));
    assert_eq!(settings.engine.max_restarts, 0);
    let allowed = |stage: &str| settings.engine.stages[stage].allow_unverified;
    assert!(allowed("step") && !allowed("vision"));
    let allowed = |stage: &str| settings.engine.stages[stage].allow_inaccurate;
    assert!(allowed("context") && !allowed("step"));
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
    assert!(page == reference(), "docs/parameters.md is out of date: VLA_TRT_BLESS=1 cargo test --test parameters");
}

#[test]
fn views_may_share_a_topic_of_one_transport() {
    let shared = ["inputs.cameras.left_wrist.topic:=/stereo", "inputs.cameras.right_wrist.topic:=/stereo"];
    let settings = parameters(&shared);
    let topics: Vec<&str> = settings.settings().inputs[1..3].iter().map(|input| input.topics[0].as_str()).collect();
    assert_eq!(topics, ["/stereo"; 2]);
    let other = [&shared[..], &["inputs.cameras.left_wrist.transport:=raw"]].concat();
    let problem = one_problem(&other);
    let names = "inputs.cameras.left_wrist.topic and inputs.cameras.right_wrist.topic";
    assert!(problem.contains(names) && problem.contains("transport"), "{problem}");
}

#[test]
fn the_meaning_of_bytes_is_for_raw_frames_and_the_orientation_for_compressed_ones() {
    let of = |arguments: &[&str]| parameters(arguments).settings().inputs[0].frames;
    assert_eq!(of(&[]), FrameOptions::default());
    let raw = ["inputs.cameras.top.transport:=raw", "inputs.cameras.top.encoding:=bayer_rggb8"];
    assert_eq!(of(&raw).encoding, PixelFormat::from_encoding("bayer_rggb8"));
    assert_eq!(of(&["inputs.cameras.top.exif:=apply"]).exif, Exif::Apply);
    for (arguments, parameter) in [
        (&["inputs.cameras.top.encoding:=rgb8"][..], "encoding"),
        (&["inputs.cameras.top.transport:=raw", "inputs.cameras.top.exif:=apply"], "exif"),
    ] {
        let problem = one_problem(arguments);
        let names = [parameter, "transport"].map(|name| format!("inputs.cameras.top.{name}"));
        assert!(names.iter().all(|name| problem.contains(name)), "{problem}");
    }
    let unknown = one_problem(&["inputs.cameras.top.transport:=raw", "inputs.cameras.top.encoding:=bayer_rggb16"]);
    assert!(unknown.contains("expected one of auto, rgb8"), "{unknown}");
}

#[test]
fn a_view_may_be_blank_only_where_the_policy_was_trained_so() {
    let untrained = one_problem(&["inputs.cameras.top.blank:=true"]);
    assert!(untrained.contains("inputs.cameras.top.blank") && untrained.contains("blank_views"), "{untrained}");
    let views = |blank: &[&str], arguments: &[&str]| {
        let blank_views = blank.iter().map(|view| (*view).to_owned()).collect();
        Parameters::new(PolicyShape { blank_views, ..shape() }, &overrides(arguments))
    };
    let parameters = views(&["left_wrist"], &["inputs.cameras.left_wrist.blank:=true"]).expect("trained with it");
    let settings = parameters.settings();
    assert_eq!(settings.blank_views, ["left_wrist"]);
    let names: Vec<&str> = settings.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["top", "right_wrist", "joints", "instruction"]);
    assert_eq!(settings.rules.per_input.len(), names.len());
    let all = ["top", "left_wrist", "right_wrist"].map(|view| format!("inputs.cameras.{view}.blank:=true"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let problems = views(&["top", "left_wrist", "right_wrist"], &all).expect_err("blind");
    assert_eq!(problems.len(), 1, "{problems}");
}

#[test]
fn the_frames_of_earlier_times_follow_the_policys_step() {
    let remembering = PolicyShape { video_history: vec![-15, 0], ..shape() };
    let parameters = Parameters::new(remembering, &overrides(&["action.step_s:=0.1"])).expect("valid");
    let history = &parameters.settings().inputs[0].history;
    assert_eq!(history.before, [Span::from_millis(300.0)], "of the policy's 20 ms, however fast chunks are played");
    assert_eq!(history.tolerance, Span::from_millis(10.0));
    assert!(parameters.settings().inputs[3].history.before.is_empty());
}
