//! `qos_overrides.<topic>.subscription.*`: declared for every topic of an input, by its name in the ROS graph.

use crate::shape::arm;
use vla_policy::observation::InputKind;
use vla_runtime::parameters::{
    DeliveryQos, Durability, Error, NodeName, Overrides, Parameters, Problems, Reliability, SubscriptionQos, Value,
};

/// The parameters of a node `/left/vla_trt` that was started with these remaps and arguments.
fn load(remaps: &[(&str, &str)], arguments: &[&str]) -> Result<Parameters, Problems> {
    let remaps = remaps.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let mut given = Overrides::new(NodeName::new("/left", "vla_trt").expect("a name")).with_remaps(remaps);
    given.set("policy", Value::String("p".into()));
    given.set("state.arm.joints", Value::StringArray(vec!["pan".into(), "lift".into()]));
    for argument in arguments {
        given.add_argument(argument)?;
    }
    Parameters::new(arm(), &given)
}

fn qos(parameters: &Parameters, topic: &str) -> SubscriptionQos {
    let all = &parameters.settings().qos;
    all.get(topic).copied().unwrap_or_else(|| panic!("no {topic} in {all:?}"))
}

#[test]
fn by_default_sensors_take_every_publisher_and_the_instruction_reliable_ones_of_either_durability() {
    let parameters = load(&[], &["inputs.enable.topic:=/enable"]).expect("valid");
    let any = DeliveryQos { reliability: Reliability::BestEffort, durability: Durability::Volatile };
    for topic in ["/left/camera/top/image_raw", "/left/joint_states", "/enable"] {
        assert_eq!(qos(&parameters, topic).delivery, any, "{topic}");
    }
    let instruction = qos(&parameters, "/left/instruction");
    assert_eq!((instruction.delivery.reliability, instruction.depth), (Reliability::Reliable, 1));
    assert_eq!(instruction.delivery.durability, Durability::TransientLocal);
    assert!(instruction.has_volatile_twin(InputKind::Instruction) && !instruction.has_volatile_twin(InputKind::Joints));
    assert_eq!(instruction.required(InputKind::Instruction).durability, Durability::Volatile);
    let [moving, fixed] = ["/tf", "/tf_static"].map(|topic| qos(&parameters, topic));
    assert_eq!((moving.delivery, moving.depth), (any, 100));
    assert_eq!((fixed.delivery, fixed.depth), (instruction.delivery, 100));
    assert!(!fixed.has_volatile_twin(InputKind::Transform));
    assert_eq!(parameters.settings().qos.len(), 6);
}

#[test]
fn an_override_counts_for_its_topic_alone_and_is_fixed_at_the_start() {
    let name = "qos_overrides./left/joint_states.subscription";
    let given = [
        format!("{name}.reliability:=reliable"),
        format!("{name}.durability:=transient_local"),
        format!("{name}.depth:=12"),
        "qos_overrides./left/instruction.subscription.durability:=volatile".to_owned(),
    ];
    let mut parameters = load(&[], &given.each_ref().map(String::as_str)).expect("valid");
    let joints = qos(&parameters, "/left/joint_states");
    assert_eq!((joints.delivery.reliability, joints.depth), (Reliability::Reliable, 12));
    assert_eq!(joints.required(InputKind::Joints).durability, Durability::TransientLocal);
    assert_eq!(qos(&parameters, "/left/camera/top/image_raw").delivery.reliability, Reliability::BestEffort);
    assert!(!qos(&parameters, "/left/instruction").has_volatile_twin(InputKind::Instruction));
    assert!(
        parameters.set(&format!("{name}.depth"), Value::Integer(1)).is_err_and(|reason| reason.contains("read-only"))
    );
}

#[test]
fn the_name_is_that_of_the_topic_in_the_graph() {
    let arguments = [
        "inputs.cameras.top.topic:=~/image",
        "qos_overrides./left/vla_trt/image.subscription.depth:=2",
        "qos_overrides./drives.subscription.depth:=3",
    ];
    let parameters = load(&[("joint_states", "/drives")], &arguments).expect("valid");
    assert_eq!(qos(&parameters, "/left/vla_trt/image").depth, 2);
    assert_eq!(qos(&parameters, "/drives").depth, 3);
    assert!(!parameters.settings().qos.contains_key("/left/joint_states"));
    assert!(parameters.ignored().is_none());
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let name = "qos_overrides./left/joint_states.subscription";
    for value in ["reliability:=best", "durability:=latched", "history:=keep_all", "depth:=-1", "depth:=1001"] {
        let problems = load(&[], &[&format!("{name}.{value}")]).expect_err(value);
        assert!(matches!(problems.iter().next(), Some(Error::Refused { .. })), "{value}: {problems}");
    }
    let problems = load(&[], &[&format!("{name}.depth:=all")]).expect_err("a word");
    assert!(matches!(problems.iter().next(), Some(Error::WrongType { .. })), "{problems}");
    let problems = load(&[], &[&format!("{name}.deadline:=5")]).expect_err("no such policy");
    assert!(matches!(problems.iter().next(), Some(Error::Unknown { .. })), "{problems}");
}

#[test]
fn overrides_of_other_topics_are_ignored() {
    let parameters = load(&[], &["qos_overrides./scan.subscription.depth:=3"]).expect("valid");
    let ignored: Vec<&str> = parameters.ignored().into_iter().flat_map(|ignored| ignored.names()).collect();
    assert_eq!(ignored, ["qos_overrides./scan.subscription.depth"]);
}
