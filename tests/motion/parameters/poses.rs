//! Poses as inputs, and keys that are poses or joints.

use super::*;

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
