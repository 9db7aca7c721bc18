//! Parameters of the joint states and of the time of the state: what is refused, and what the settings make of them.

use crate::shape;
use ros2_parameters::{NodeName, Overrides, Problems, Value};
use vla_base::time::Span;
use vla_policy::observation::{InputKind, InputSpec, MimicJoint, Pairing};
use vla_runtime::parameters::{Parameters, PolicyShape};

fn shape() -> PolicyShape {
    let keys = || vec![("left".into(), 2), ("right".into(), 2)];
    PolicyShape { state: keys(), state_history: vec![-15, -1, 0], action_keys: keys(), ..shape::arm() }
}

const ARMS: &str = "/**: {ros__parameters: {policy: /opt/policy, inputs: {joints: {topics: [left/joint_states, right/joint_states]}}, \
                    state: {left: {joints: [left_j1, left_finger]}, right: {joints: [right_j1, right_finger]}}}}";

fn parameters(arguments: &[&str]) -> Result<Parameters, Problems> {
    let mut given = Overrides::new(NodeName::new("/", "vla_trt").expect("valid name"));
    given.add_text("arms.yaml", ARMS).expect("readable");
    for argument in arguments {
        given.add_argument(argument).unwrap_or_else(|error| panic!("{error}"));
    }
    Parameters::new(shape(), &given)
}

fn joints(arguments: &[&str]) -> InputSpec {
    let parameters = parameters(arguments).unwrap_or_else(|problems| panic!("{problems}"));
    let mut inputs = parameters.settings().inputs.iter();
    inputs.find(|input| input.kind == InputKind::Joints).cloned().expect("an input of joint states")
}

/// Names of the parameters that the only problem is about.
fn refused(arguments: &[&str]) -> Vec<String> {
    let problems = parameters(arguments).expect_err("refused");
    let all: Vec<_> = problems.iter().collect();
    assert_eq!(all.len(), 1, "{problems}");
    all[0].names().to_vec()
}

#[test]
fn joint_states_come_on_a_list_of_topics_or_on_one() {
    assert_eq!(joints(&[]).topics, ["left/joint_states", "right/joint_states"]);
    assert_eq!(joints(&["inputs.joints.topics:=[]"]).topics, ["joint_states"]);
    assert_eq!(
        joints(&["inputs.joints.topics:=[]", "inputs.joints.topic:=arm/joint_states"]).topics,
        ["arm/joint_states"]
    );
    assert_eq!(refused(&["inputs.joints.topic:=arm/joint_states"]), ["inputs.joints.topic", "inputs.joints.topics"]);
    assert_eq!(refused(&["inputs.joints.topics:=[a, b, a]"]), ["inputs.joints.topics"]);
    assert_eq!(refused(&["inputs.joints.topics:=[a, 'no topic']"]), ["inputs.joints.topics"]);
    assert_eq!(
        refused(&["inputs.cameras.top.topic:=left/joint_states"]),
        ["inputs.joints.topics", "inputs.cameras.top.topic"]
    );
}

#[test]
fn a_joint_is_given_the_topic_that_counts_for_it() {
    let topic_of = joints(&["inputs.joints.topic_of.left_j1:=right/joint_states"]).joints.topic_of;
    assert_eq!(topic_of, [("left_j1".to_owned(), "right/joint_states".to_owned())]);
    assert_eq!(
        refused(&["inputs.joints.topic_of.left_j1:=joint_states"]),
        ["inputs.joints.topic_of.left_j1", "inputs.joints.topics"]
    );
    assert_eq!(refused(&["inputs.joints.topic_of.wheel:=left/joint_states"]), ["inputs.joints.topic_of.wheel"]);
}

#[test]
fn prefixes_are_one_a_topic_and_every_joint_has_one() {
    assert_eq!(joints(&["inputs.joints.prefixes:=[left_, right_]"]).joints.prefixes, ["left_", "right_"]);
    assert_eq!(refused(&["inputs.joints.prefixes:=[left_]"]), ["inputs.joints.prefixes"]);
    assert_eq!(refused(&["inputs.joints.prefixes:=[left_, r_]"]), ["inputs.joints.prefixes"]);
    let elsewhere = ["inputs.joints.prefixes:=[left_, right_]", "inputs.joints.topic_of.left_j1:=right/joint_states"];
    assert_eq!(refused(&elsewhere), ["inputs.joints.prefixes"], "the chosen topic has no such joint");
}

#[test]
fn a_mimic_joint_is_read_and_not_moved_unless_the_parameters_say_so() {
    let mimic =
        ["inputs.joints.mimic.left_finger.joint:=left_thumb", "inputs.joints.mimic.left_finger.multiplier:=-1.0"];
    let commanded = "inputs.joints.mimic.left_finger.commanded";
    assert_eq!(refused(&mimic), ["inputs.joints.mimic.left_finger.joint", commanded]);
    let said = [mimic[0], mimic[1], "inputs.joints.mimic.left_finger.commanded:=true"];
    let expected =
        MimicJoint { joint: "left_finger".into(), source: "left_thumb".into(), multiplier: -1.0, offset: 0.0 };
    assert_eq!(joints(&said).joints.mimic, [expected]);
    // What it follows may be chosen by topic, too.
    let topic = "inputs.joints.topic_of.left_thumb:=left/joint_states";
    assert_eq!(joints(&[said[0], said[1], said[2], topic]).joints.topic_of.len(), 1);
    let chain =
        ["inputs.joints.mimic.right_finger.joint:=left_finger", "inputs.joints.mimic.right_finger.commanded:=true"];
    assert_eq!(refused(&[said[0], said[1], said[2], chain[0], chain[1]]), ["inputs.joints.mimic.right_finger.joint"]);
    let itself = ["inputs.joints.mimic.left_finger.joint:=left_finger", said[2]];
    assert_eq!(refused(&itself), ["inputs.joints.mimic.left_finger.joint"]);
}

#[test]
fn the_history_of_the_state_counts_control_steps_and_reaches_back_from_the_oldest_frame() {
    let mut parameters =
        parameters(&["inputs.cameras.top.max_age_ms:=400.0"]).unwrap_or_else(|problems| panic!("{problems}"));
    let rules = &parameters.settings().rules;
    assert_eq!(rules.state_history, [Span::from_millis(300.0), Span::from_millis(20.0)]);
    assert_eq!(rules.pairing, Pairing::Newest);
    assert_eq!(parameters.settings().inputs[1].keep, Span::from_millis(700.0));
    parameters.set("inputs.pairing", Value::String("frame".into())).expect("live");
    parameters.set("action.step_s", Value::Double(0.04)).expect("live");
    let rules = &parameters.settings().rules;
    assert_eq!((rules.pairing, rules.state_history[0]), (Pairing::Frame, Span::from_millis(600.0)));
    parameters.set("inputs.pairing", Value::String("oldest".into())).expect_err("no such word");
}

#[test]
fn joints_that_turn_without_end_are_known_to_the_rules() {
    let limits = ["limits.left_j1.continuous:=true"];
    let parameters = parameters(&limits).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(*parameters.settings().rules.continuous, ["left_j1"]);
}

#[test]
fn one_description_of_an_arm_limits_each_of_two_whose_drivers_use_its_names() {
    let urdf = "<robot><joint name='j1' type='continuous'><limit velocity='2'/></joint>\
                <joint name='finger' type='prismatic'><limit lower='0' upper='0.04' velocity='0.1'/></joint>\
                <joint name='right_finger' type='prismatic'><limit lower='0' upper='0.08' velocity='0.1'/></joint></robot>";
    let mut prefixed =
        parameters(&["limits_from:=topic", "inputs.joints.prefixes:=[left_, right_]"]).expect("two arms");
    prefixed.describe(urdf).expect("limits of both arms");
    let settings = prefixed.settings();
    let limits = settings.limits.as_ref().expect("limits");
    let of = |joint| limits.get(joint).expect("a moved joint");
    assert_eq!((of("left_j1").velocity, of("right_j1").velocity), (2.0, 2.0));
    assert_eq!((of("left_finger").max, of("right_finger").max), (0.04, 0.08), "a joint of the full name counts first");
    assert_eq!(*settings.rules.continuous, ["left_j1", "right_j1"]);
    let mut plain = parameters(&["limits_from:=topic"]).expect("two arms");
    plain.describe(urdf).map(drop).ok();
    let limited = plain.settings().limits.as_ref().map(|limits| limits.get("left_j1").map(|limits| limits.velocity));
    assert_ne!(limited, Ok(Some(2.0)), "without prefixes the names differ");
}
