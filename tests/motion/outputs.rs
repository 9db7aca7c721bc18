//! Outputs: which routes parameters make of a policy, what is refused, and that one stop reaches every route's motion.

use crate::shape;
use std::sync::Arc;

use vla_base::time::{Span, Stamp};
use vla_motion::{Chunk, NewChunk};
use vla_policy::observation::{Inputs, OnViolation};
use vla_runtime::messages::{TrajectoryBuffer, select_joints};
use vla_runtime::parameters::{
    CommandKind, EefAction, NodeName, OutputKind, Overrides, Parameters, PolicyShape, Problems, Route, Settings,
};
use vla_runtime::session::Control;

/// An arm of two joints, a gripper, a base and a tool.
fn shape() -> PolicyShape {
    let keys = |keys: &[(&str, usize)]| keys.iter().map(|(key, width)| ((*key).to_owned(), *width)).collect();
    let columns = ["x", "y", "z", "rx", "ry", "rz"].map(|column| format!("tool.{column}")).into();
    PolicyShape {
        state: keys(&[("arm", 2), ("gripper", 1)]),
        action_keys: keys(&[("arm", 2), ("gripper", 1), ("base", 2), ("tool", 6)]),
        eef_actions: vec![EefAction { key: "tool".into(), columns, relative: false }],
        step: Span::from_millis(50.0),
        ..shape::arm()
    }
}

const ROBOT: [&str; 9] = [
    "policy:=none",
    "state.arm.joints:=[pan, lift]",
    "state.gripper.joints:=[finger]",
    "limits.pan.velocity:=3.0",
    "limits.lift.velocity:=3.0",
    "limits.finger.velocity:=3.0",
    "command_rate_hz:=50.0",
    "limits.pan.acceleration:=20.0",
    "limits.lift.acceleration:=20.0",
];

const OUTPUTS: [&str; 15] = [
    "outputs.arm.kind:=follow_joint_trajectory",
    "outputs.arm.keys:=[arm]",
    "outputs.arm.action:=/arm_controller/follow_joint_trajectory",
    "outputs.hand.kind:=gripper_command",
    "outputs.hand.joints:=[finger]",
    "outputs.hand.action:=/hand_controller/gripper_cmd",
    "outputs.base.kind:=twist",
    "outputs.base.keys:=[base]",
    "outputs.base.topic:=/cmd_vel",
    "outputs.base.components:=[linear.x, angular.z]",
    "outputs.base.max:=[0.5, 1.0]",
    "outputs.base.max_acceleration:=[2.0, 4.0]",
    "outputs.tool.kind:=pose",
    "outputs.tool.keys:=[tool]",
    "outputs.tool.frame_id:=base_link",
];

/// With the outputs above, without those whose arguments begin with one of `without`, and with `more`.
fn parameters(without: &[&str], more: &[&str]) -> Result<Parameters, Problems> {
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt").expect("a name"));
    let kept = |argument: &&&str| !without.iter().any(|start| argument.starts_with(start));
    for argument in ROBOT.iter().chain(&OUTPUTS).filter(kept).chain(more) {
        overrides.add_argument(argument).expect("an argument");
    }
    Parameters::new(shape(), &overrides)
}

fn settings(without: &[&str], more: &[&str]) -> Arc<Settings> {
    parameters(without, more).unwrap_or_else(|problems| panic!("{problems}")).settings().clone()
}

/// Names of the parameters that the refusal is about.
fn refused(without: &[&str], more: &[&str]) -> Vec<String> {
    let problems = parameters(without, more).expect_err("refused");
    problems.iter().flat_map(|error| error.names().to_vec()).collect()
}

#[test]
fn routes_have_the_joints_and_columns_of_their_keys() {
    let settings = settings(&[], &[]);
    let found: Vec<(&str, OutputKind, &[String], &[String])> = settings
        .outputs
        .iter()
        .map(|output| (&*output.name, output.route.kind(), &*output.joints, &*output.columns))
        .collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (arm, hand) = (words(&["pan", "lift"]), words(&["finger"]));
    let base = words(&["base.0", "base.1"]);
    let tool = ["x", "y", "z", "rx", "ry", "rz"].map(|column| format!("tool.{column}"));
    let by_name = |name: &str| *found.iter().find(|output| output.0 == name).expect("an output");
    assert_eq!(found.len(), 4);
    assert_eq!(by_name("arm"), ("arm", OutputKind::FollowJointTrajectory, &*arm, &[][..]));
    assert_eq!(by_name("hand"), ("hand", OutputKind::GripperCommand, &*hand, &[][..]));
    assert_eq!(by_name("base"), ("base", OutputKind::Twist, &[][..], &*base));
    assert_eq!(by_name("tool"), ("tool", OutputKind::Pose, &[][..], &tool[..]));
    let twist = settings.outputs.iter().find_map(|output| match &output.route {
        Route::Twist(twist) => Some(twist.components.clone()),
        _ => None,
    });
    assert_eq!(twist, Some(vec![0, 5]));
    assert_eq!(settings.column_keys, ["base"], "a base needs no joints");
}

#[test]
fn without_outputs_nothing_changes_and_a_base_still_needs_joints() {
    let names = refused(&["outputs."], &[]);
    assert_eq!(names, ["action.base.joints"]);
    let settings = settings(&["outputs."], &["action.base.joints:=[left_wheel, right_wheel]"]);
    assert!(settings.outputs.is_empty() && settings.column_keys.is_empty());
}

#[test]
fn a_stream_of_some_joints_has_its_own_topic_and_message() {
    let more = ["outputs.hand.kind:=joint_command", "outputs.hand.joints:=[finger]", "outputs.hand.type:=multi_array"];
    let settings = settings(&["outputs.hand"], &more);
    let hand = settings.outputs.iter().find(|output| output.name == "hand").expect("an output");
    assert_eq!(hand.route, Route::JointCommand { topic: "~/hand".into(), kind: CommandKind::MultiArray });
}

#[test]
fn what_a_key_or_a_joint_cannot_be_routed_to_is_refused_by_name() {
    let keys = |names: &[String], name: &str| assert!(names.iter().any(|found| found == name), "{names:?}: {name}");
    // A pose to a controller of joints.
    keys(
        &refused(&["outputs.tool"], &["outputs.tool.kind:=joint_trajectory", "outputs.tool.keys:=[tool]"]),
        "outputs.tool.keys",
    );
    // Joints as a velocity.
    keys(
        &refused(
            &["outputs.arm"],
            &[
                "outputs.arm.kind:=twist",
                "outputs.arm.keys:=[arm]",
                "action.arm.joints:=[pan, lift]",
                "outputs.arm.components:=[linear.x, linear.y]",
            ],
        ),
        "outputs.arm.keys",
    );
    // A velocity as a pose.
    keys(&refused(&["outputs.base"], &["outputs.base.kind:=pose", "outputs.base.keys:=[base]"]), "outputs.base.keys");
    // No such key, no such joint, no such kind.
    keys(&refused(&["outputs.arm.keys"], &["outputs.arm.keys:=[leg]"]), "outputs.arm.keys");
    keys(&refused(&["outputs.hand.joints"], &["outputs.hand.joints:=[thumb]"]), "outputs.hand.joints");
    keys(&refused(&["outputs.arm.kind"], &["outputs.arm.kind:=topic"]), "outputs.arm.kind");
    keys(&refused(&["outputs.arm.kind"], &[]), "outputs.arm.kind");
    // A gripper of two joints.
    keys(
        &refused(&["outputs.hand.joints", "outputs.arm"], &["outputs.hand.joints:=[finger, pan]"]),
        "outputs.hand.joints",
    );
}

#[test]
fn two_routes_share_neither_a_joint_nor_a_topic_and_every_value_has_one() {
    let twice = ["outputs.copy.kind:=joint_trajectory", "outputs.copy.joints:=[lift]"];
    let names = refused(&[], &twice);
    assert!(
        names.contains(&"outputs.copy.kind".to_owned()) && names.contains(&"outputs.arm.kind".to_owned()),
        "{names:?}"
    );
    let names = refused(&["outputs.tool.topic"], &["outputs.tool.topic:=/cmd_vel"]);
    assert!(
        names.contains(&"outputs.base.kind".to_owned()) && names.contains(&"outputs.tool.kind".to_owned()),
        "{names:?}"
    );
    let names = refused(&["outputs.base.topic"], &["outputs.base.topic:=~/action_chunk"]);
    assert_eq!(names, ["outputs.base.topic"]);
    // The gripper and the tool without a route.
    assert_eq!(refused(&["outputs.hand"], &[]), ["outputs.<name>.keys"]);
    assert_eq!(refused(&["outputs.tool"], &[]), ["outputs.<name>.keys"]);
    let rest = ["outputs.rest.kind:=column", "outputs.rest.keys:=[gripper, tool]"];
    assert_eq!(settings(&["outputs.hand", "outputs.tool"], &rest).outputs.len(), 3);
}

#[test]
fn what_a_kind_needs_is_asked_for_by_name() {
    for name in [
        "outputs.arm.action",
        "outputs.arm.keys",
        "outputs.tool.frame_id",
        "outputs.base.max",
        "outputs.base.max_acceleration",
    ] {
        let names = refused(&[&format!("{name}:=")], &[]);
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(
        refused(&["outputs.base.components"], &["outputs.base.components:=[linear.x, x]"])
            .contains(&"outputs.base.components".to_owned())
    );
    assert!(
        refused(&["outputs.base.components"], &["outputs.base.components:=[linear.x]"])
            .contains(&"outputs.base.components".to_owned())
    );
    assert!(
        refused(&["outputs.base.max:="], &["outputs.base.max:=[0.5, 0.0]"]).contains(&"outputs.base.max".to_owned())
    );
    assert_eq!(refused(&["command_rate_hz"], &[]), ["command_rate_hz"]);
    assert_eq!(refused(&[], &["outputs.arm.knid:=twist"]), ["outputs.arm.knid"]);
    let mut parameters = parameters(&[], &[]).expect("parameters");
    let off = vla_runtime::parameters::Value::Double(0.0);
    assert!(parameters.set("command_rate_hz", off).is_err(), "also while the node runs");
}

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(1_000_000_000 + ms * 1_000_000)
}

/// Twenty rows, 50 ms apart: everything moves.
fn chunk() -> Chunk {
    let names =
        ["pan", "lift", "finger", "base.0", "base.1", "tool.x", "tool.y", "tool.z", "tool.rx", "tool.ry", "tool.rz"];
    let row = |row: i32| {
        let way = row as f32 * 0.05;
        [way, -way, way / 10.0, 0.4, -0.8, way, 0.0, 0.3, 0.0, 0.0, way]
    };
    Chunk {
        names: names.map(str::to_owned).into(),
        poses: [3..5, 5..11].into(),
        rows: 20,
        values: (1..=20).flat_map(row).collect(),
        observation_stamp: at(0),
        step: Span::from_millis(50.0),
        ..Chunk::default()
    }
}

fn moving(settings: &Settings, trajectory: &mut TrajectoryBuffer) -> Control {
    let control = Control::new(["pan", "lift", "finger"].map(str::to_owned).into());
    control.apply(settings);
    let chunk = chunk();
    let new = NewChunk { chunk: &chunk, now: at(20), clamped: 0, measured: Some(&[0.0; 3]), frozen: (0, 0) };
    assert_eq!(control.accept_chunk(&new, 0, settings, trajectory), Ok(true));
    control
}

fn base(control: &Control, ms: i64) -> [f64; 2] {
    let mut value = [f64::NAN; 2];
    let plan = control.column_plan().expect("a plan of the columns");
    let group = plan.groups().iter().position(|group| group.name == "base").expect("the base");
    assert!(plan.sample(group, at(ms), &mut value));
    value
}

#[test]
fn one_chunk_moves_every_route_from_the_same_hand_over() {
    let (settings, mut trajectory) = (settings(&[], &[]), TrajectoryBuffer::default());
    let control = moving(&settings, &mut trajectory);
    let (joints, columns) = (control.plan().expect("a plan"), control.column_plan().expect("a plan"));
    assert_eq!(joints.takes_over_at(), at(40));
    let [linear, angular] = base(&control, 300);
    assert!(base(&control, 40) == [0.0, 0.0] && (linear - 0.4).abs() < 1e-6 && (angular + 0.8).abs() < 1e-6);
    assert!(columns.end() <= at(520) && joints.end() <= at(520), "max_blind_s");
    let mut selected = vla_messages::JointTrajectoryMessage::default();
    let full = trajectory.message();
    select_joints(full, &["finger".to_owned(), "pan".to_owned()], &mut selected);
    assert_eq!((selected.joint_names, selected.stamp), (vec!["finger".to_owned(), "pan".to_owned()], full.stamp));
    for (point, of) in selected.points.iter().zip(&full.points) {
        assert_eq!(point.time_from_start, of.time_from_start);
        assert_eq!((point.positions[0], point.positions[1]), (of.positions[2], of.positions[0]));
        assert_eq!((point.velocities[0], point.velocities[1]), (of.velocities[2], of.velocities[0]));
    }
}

#[test]
fn one_stop_brings_every_route_to_rest() {
    let (settings, mut trajectory) = (settings(&[], &[]), TrajectoryBuffer::default());
    let control = moving(&settings, &mut trajectory);
    assert!(base(&control, 300)[0] > 0.3);
    let braked = control.brake(at(300), OnViolation::Stop, &"a fault of this test", &settings, &mut trajectory);
    assert!(braked.must_publish());
    let last = trajectory.message().points.last().expect("points");
    assert!(last.velocities.iter().all(|velocity| *velocity == 0.0));
    assert_eq!(base(&control, 520), [0.0, 0.0]);
    assert!(control.column_plan().expect("a plan").end() <= at(520));
    let again = chunk();
    let new = NewChunk { chunk: &again, now: at(320), clamped: 0, measured: Some(&[0.0; 3]), frozen: (0, 0) };
    assert!(control.accept_chunk(&new, 0, &settings, &mut trajectory).is_err());
}

#[test]
fn a_base_brakes_on_a_clock_that_was_set_back_also_when_an_input_finds_it_first() {
    let settings = settings(&[], &[]);
    let inputs = Inputs::new(settings.inputs.clone());
    for found_by_an_input in [false, true] {
        let mut trajectory = TrajectoryBuffer::default();
        let control = moving(&settings, &mut trajectory);
        control.watch(at(300), &inputs, &settings, &mut trajectory);
        let [before, _] = base(&control, 300);
        if found_by_an_input {
            control.brake(at(-900), OnViolation::Stop, &"clock went back", &settings, &mut trajectory);
        }
        control.watch(at(-890), &inputs, &settings, &mut trajectory);
        let start = if found_by_an_input { -900 } else { -890 };
        let values: Vec<f64> = (start..0).step_by(10).map(|ms| base(&control, ms)[0]).collect();
        assert!((values[0] - before).abs() < 1e-6 && before > 0.3, "{values:?}");
        assert!(
            values.windows(2).all(|pair| pair[1] <= pair[0] && pair[0] - pair[1] <= 2.0 * 0.01 + 1e-9),
            "{values:?}"
        );
        assert_eq!(values.last(), Some(&0.0));
    }
}

#[test]
fn nothing_moves_while_one_output_takes_no_commands() {
    let (settings, mut trajectory) = (settings(&[], &[]), TrajectoryBuffer::default());
    let control = Control::new(["pan", "lift", "finger"].map(str::to_owned).into());
    control.apply(&settings);
    control.set_unready(Some("output arm: no action server".into()));
    let chunk = chunk();
    let new = NewChunk { chunk: &chunk, now: at(20), clamped: 0, measured: Some(&[0.0; 3]), frozen: (0, 0) };
    assert_eq!(control.accept_chunk(&new, 0, &settings, &mut trajectory), Ok(false));
    assert!(control.plan().is_none() && control.column_plan().is_none());
    assert!(control.status(&settings).forbidden.is_some_and(|reason| reason.contains("no action server")));
    control.set_unready(None);
    assert_eq!(control.accept_chunk(&new, 0, &settings, &mut trajectory), Ok(true));
}

#[test]
fn a_chunk_whose_tool_has_no_rotation_moves_nothing() {
    let (settings, mut trajectory) = (settings(&[], &[]), TrajectoryBuffer::default());
    let control = Control::new(["pan", "lift", "finger"].map(str::to_owned).into());
    control.apply(&settings);
    let mut chunk = chunk();
    chunk.values[8] = f32::NAN;
    let new = NewChunk { chunk: &chunk, now: at(20), clamped: 0, measured: Some(&[0.0; 3]), frozen: (0, 0) };
    let error = control.accept_chunk(&new, 0, &settings, &mut trajectory).expect_err("no pose");
    assert!(matches!(error, vla_motion::Error::NotAPose { row: 0, .. }), "{error}");
    assert!(control.plan().is_none(), "the joints neither");
}
