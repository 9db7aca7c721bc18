use super::*;
use vla_base::time::{Span, Stamp};
use vla_policy::observation::{Breach, Fault, JointNames, StampSource, Transport};

const IMAGE: &str = "sensor_msgs/msg/Image";
const JOINTS: &str = "sensor_msgs/msg/JointState";

fn input(name: &str, kind: InputKind) -> InputSpec {
    InputSpec {
        name: name.to_owned(),
        topics: vec![name.to_owned()],
        kind,
        frame_id: String::new(),
        child_frame_id: String::new(),
        joints: JointNames::default(),
        stamp_from: StampSource::default(),
        history: Span::ZERO,
    }
}

/// A node `/vla_trt` with a camera `top`, joint states of `pan` and `lift`, and an instruction.
fn graph() -> Graph {
    let inputs = [
        input("top", InputKind::Camera { transport: Transport::Raw }),
        input("joints", InputKind::Joints),
        input("instruction", InputKind::Instruction),
    ];
    let joints = ["pan", "lift"].map(str::to_owned).to_vec();
    let commands = ["~/joint_trajectory", "~/joint_command"].map(str::to_owned);
    Graph::new(Names::new("/", "vla_trt", &[]), &commands, &inputs, joints, Arc::default(), Arc::default())
}

fn of(node: &str, type_name: &str) -> PublisherInfo {
    PublisherInfo { node: node.to_owned(), type_name: type_name.to_owned(), transient_local: false, reliable: true }
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
    let latched = PublisherInfo { transient_local: true, ..of("/ui", "std_msgs/msg/String") };
    let topics = topics([
        ("/top", of("/camera", IMAGE)),
        ("/joints", of("/driver", JOINTS)),
        ("/instruction", latched),
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
    let latched = |node| PublisherInfo { transient_local: true, ..of(node, "std_msgs/msg/String") };
    let topics = topics([
        ("/top", of("/camera", IMAGE)),
        ("/top", of("/bag", IMAGE)),
        ("/instruction", latched("/ui")),
        ("/instruction", latched("/planner")),
    ]);
    let texts = texts(&graph().judge(&topics, &[]));
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("top: /top has 2 publishers: /camera, /bag"), "{texts:?}");
    assert!(texts[1].starts_with("instruction: /instruction has 2 publishers: /ui, /planner"), "{texts:?}");
}

#[test]
fn an_instruction_that_the_middleware_does_not_deliver_is_named() {
    let texts = texts(&graph().judge(&topics([("/instruction", of("/ui", "std_msgs/msg/String"))]), &[]));
    assert!(texts[0].contains("/ui") && texts[0].contains("transient local"), "{texts:?}");
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

    let rule = crate::args::Remap { node: None, from: "~/joint_trajectory".into(), to: "/jtc/trajectory".into() };
    let mut remapped = Graph { names: Names::new("/", "vla_trt", &[rule]), ..graph() };
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
