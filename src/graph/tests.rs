use super::*;
use vla_base::time::Stamp;
use vla_policy::observation::{Breach, Fault, Transport};
use vla_runtime::parameters::NodeName;

const IMAGE: &str = "sensor_msgs/msg/Image";
const JOINTS: &str = "sensor_msgs/msg/JointState";
const TEXT: &str = "std_msgs/msg/String";

fn input(name: &str, kind: InputKind) -> InputSpec {
    InputSpec::new(name, kind, [name])
}

/// A node `/vla_trt` with a camera `top`, joint states of `pan` and `lift`, and an instruction.
fn graph() -> Graph {
    remapped(&[])
}

/// The same with these rules for names of topics.
fn remapped(remaps: &[vla_runtime::parameters::Remap]) -> Graph {
    let inputs = [
        input("top", InputKind::Camera { transport: Transport::Raw }),
        input("joints", InputKind::Joints),
        input("instruction", InputKind::Instruction),
    ];
    let joints = ["pan", "lift"].map(str::to_owned).to_vec();
    let qos = [
        ("/top", Reliability::Reliable, Durability::Volatile),
        ("/joints", Reliability::BestEffort, Durability::TransientLocal),
        ("/instruction", Reliability::Reliable, Durability::TransientLocal),
    ];
    let qos = qos.map(|(topic, reliability, durability)| {
        let delivery = DeliveryQos { reliability, durability };
        (topic.to_owned(), SubscriptionQos { delivery, ..SubscriptionQos::SENSOR })
    });
    let commands = ["~/joint_trajectory", "~/joint_command"].map(str::to_owned);
    let names = Names::new(NodeName::new("/", "vla_trt").expect("a name"), remaps);
    Graph::new(names, &commands, &inputs, &qos.into(), joints, Arc::default(), Arc::default())
}

fn of(node: &str, type_name: &str) -> PublisherInfo {
    offering(node, type_name, Reliability::Reliable, Durability::TransientLocal)
}

fn offering(node: &str, type_name: &str, reliability: Reliability, durability: Durability) -> PublisherInfo {
    let offered = DeliveryQos { reliability, durability };
    PublisherInfo { node: node.to_owned(), type_name: type_name.to_owned(), offered }
}

/// What every look finds: the node itself.
fn topics<const N: usize>(others: [(&str, PublisherInfo); N]) -> Topics {
    let mut topics = Topics::new();
    let own = ["/vla_trt/joint_trajectory", "/vla_trt/joint_command", "/parameter_events", "/diagnostics"];
    for topic in own {
        topics.entry(topic.to_owned()).or_default().push(of("/vla_trt", "any"));
    }
    for (topic, publisher) in others {
        topics.entry(topic.to_owned()).or_default().push(publisher);
    }
    topics
}

fn sets(sets: &[&[&str]]) -> Vec<Arc<[String]>> {
    sets.iter().map(|set| set.iter().map(|name| (*name).to_owned()).collect()).collect()
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn one_source_of_everything_and_other_nodes_elsewhere_are_as_they_should_be() {
    let topics = topics([
        ("/top", of("/camera", IMAGE)),
        ("/joints", of("/driver", JOINTS)),
        ("/instruction", of("/ui", TEXT)),
        ("/parameter_events", of("/driver", "any")),
        ("/diagnostics", of("/driver", "any")),
    ]);
    assert_eq!(graph().judge(&topics, &sets(&[&["pan", "lift"]])), []);
}

#[test]
fn a_publisher_of_another_type_is_named_with_both_types_and_the_transport_that_takes_it() {
    let compressed = "sensor_msgs/msg/CompressedImage";
    let findings = graph().judge(&topics([("/top", of("/drivers/camera", compressed))]), &[]);
    assert_eq!(
        texts(&findings),
        [
            "top: expected sensor_msgs/msg/Image on /top, found sensor_msgs/msg/CompressedImage from /drivers/camera; start the node \
          with inputs.cameras.top.transport: compressed, or with inputs.cameras.top.topic: a topic of the expected type"
        ]
    );
    // The line about the missing input has it, too; one about another input does not.
    let breach = |input: &str| Breach::new(input, Fault::Missing);
    let missing = |input| Violation { at: Stamp::from_nanos(1), breaches: vec![breach(input)] };
    let text = explained(&missing("top"), &findings);
    assert!(text.starts_with("top missing") && text.contains(compressed), "{text}");
    assert!(!explained(&missing("joints"), &findings).contains(compressed));
}

#[test]
fn a_second_source_of_a_camera_or_instruction_is_named() {
    let topics = topics([
        ("/top", of("/camera", IMAGE)),
        ("/top", of("/bag", IMAGE)),
        ("/instruction", of("/ui", TEXT)),
        ("/instruction", of("/planner", TEXT)),
    ]);
    let texts = texts(&graph().judge(&topics, &[]));
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("top: /top has 2 publishers: /camera, /bag"), "{texts:?}");
    assert!(texts[1].starts_with("instruction: /instruction has 2 publishers: /ui, /planner"), "{texts:?}");
}

#[test]
fn a_publisher_that_offers_less_than_requested_is_named_with_both_profiles_and_the_parameter_that_hears_it() {
    let camera = offering("/camera", IMAGE, Reliability::BestEffort, Durability::Volatile);
    let driver = offering("/driver", JOINTS, Reliability::Reliable, Durability::Volatile);
    let findings = graph().judge(&topics([("/top", camera), ("/joints", driver)]), &[]);
    assert_eq!(
        texts(&findings),
        [
            "top: /top is not received from /camera (offered: best_effort, volatile): the node requests reliable, volatile; publish \
             with these policies, or start the node with qos_overrides./top.subscription.reliability: best_effort",
            "joints: /joints is not received from /driver (offered: reliable, volatile): the node requests best_effort, \
             transient_local; publish with these policies, or start the node with qos_overrides./joints.subscription.durability: volatile",
        ]
    );
    assert!(findings.iter().all(Finding::explains_silence));
}

#[test]
fn an_instruction_is_heard_from_volatile_and_latched_publishers_and_not_from_lossy_ones() {
    for durability in [Durability::Volatile, Durability::TransientLocal] {
        let heard = offering("/ui", TEXT, Reliability::Reliable, durability);
        assert_eq!(graph().judge(&topics([("/instruction", heard)]), &[]), []);
        let lossy = offering("/ui", TEXT, Reliability::BestEffort, durability);
        let texts = texts(&graph().judge(&topics([("/instruction", lossy)]), &[]));
        assert!(texts[0].contains("/ui") && texts[0].contains("/instruction.subscription.reliability"), "{texts:?}");
        assert!(!texts[0].contains("subscription.durability"), "{texts:?}");
    }
}

#[test]
fn an_enable_switch_that_is_not_heard_is_named() {
    let delivery = DeliveryQos { reliability: Reliability::Reliable, durability: Durability::Volatile };
    let qos = SubscriptionQos { delivery, ..SubscriptionQos::SENSOR };
    let mut graph = graph().with_enable(Some((qos, "/enable".to_owned())));
    let pedal = |reliability| offering("/pedal", ENABLE_TYPE, reliability, Durability::Volatile);
    assert_eq!(graph.judge(&topics([("/enable", pedal(Reliability::Reliable))]), &[]), []);
    let findings = graph.judge(&topics([("/enable", pedal(Reliability::BestEffort))]), &[]);
    assert_eq!(findings.iter().map(Finding::input).collect::<Vec<_>>(), [Some("enable")]);
}

#[test]
fn a_policy_that_the_middleware_does_not_report_counts_as_fitting() {
    let unknown = offering("/camera", IMAGE, Reliability::SystemDefault, Durability::SystemDefault);
    assert_eq!(graph().judge(&topics([("/top", unknown)]), &[]), []);
}

#[test]
fn joint_states_of_different_joints_from_two_nodes_are_normal_and_of_the_same_joint_are_not() {
    let topics = topics([("/joints", of("/arm", JOINTS)), ("/joints", of("/gripper", JOINTS))]);
    let mut graph = graph();
    for _ in 0..2 * LOOKS {
        assert_eq!(graph.judge(&topics, &sets(&[&["pan", "lift"], &["finger"]])), []);
        // Joints that the policy does not know may come from anywhere.
        assert_eq!(graph.judge(&topics, &sets(&[&["pan", "lift", "tail"], &["finger", "tail"]])), []);
    }
    let texts = texts(&graph.judge(&topics, &sets(&[&["pan", "lift"], &["finger", "lift"]])));
    assert!(
        texts[0].starts_with("joints: lift on /joints comes from more than one of the 2 publishers /arm, /gripper")
    );
}

#[test]
fn two_publishers_of_one_set_of_joints_are_named_once_both_had_time_to_send() {
    let topics = topics([("/joints", of("/arm", JOINTS)), ("/joints", of("/copy", JOINTS))]);
    let mut graph = graph();
    let looks: Vec<_> = (0..LOOKS).map(|_| graph.judge(&topics, &sets(&[&["pan", "lift"]])).len()).collect();
    assert_eq!(looks, [0, 0, 1]);
    // A look at which all is well begins the count again.
    graph.judge(&topics, &sets(&[&["pan", "lift"], &["finger"]]));
    assert_eq!(graph.judge(&topics, &sets(&[&["pan", "lift"]])), []);
}

#[test]
fn another_commander_is_named_also_where_the_topic_was_remapped() {
    let topics = topics([("/vla_trt/joint_command", of("/teleop", "any"))]);
    let found = texts(&graph().judge(&topics, &[]));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("/vla_trt/joint_command is commanded by /teleop"), "{found:?}");

    let rule =
        vla_runtime::parameters::Remap { node: None, from: "~/joint_trajectory".into(), to: "/jtc/trajectory".into() };
    let mut remapped = remapped(&[rule]);
    let mut topics = Topics::new();
    topics.insert("/jtc/trajectory".to_owned(), vec![of("/vla_trt", "any"), of("/move_group", "any")]);
    let found = texts(&remapped.judge(&topics, &[]));
    assert!(found[0].starts_with("/jtc/trajectory is commanded by /move_group"), "{found:?}");
}

#[test]
fn another_node_of_this_name_is_seen_whatever_it_publishes() {
    for topic in ["/parameter_events", "/diagnostics", "/vla_trt/joint_trajectory"] {
        let found = texts(&graph().judge(&topics([(topic, of("/vla_trt", "any"))]), &[]));
        assert_eq!(found.len(), 1, "{topic}: {found:?}");
        assert!(found[0].starts_with("another node is named /vla_trt"), "{found:?}");
    }
}

#[test]
fn a_node_that_the_graph_does_not_know_yet_is_told_in_words() {
    assert_eq!(node_of("/left", "camera"), "/left/camera");
    assert_eq!(node_of("/", "camera"), "/camera");
    assert_eq!(node_of("_NODE_NAMESPACE_UNKNOWN_", "_NODE_NAME_UNKNOWN_"), "a node whose name is not known");
}
