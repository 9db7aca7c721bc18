//! Problems of a topic in the ROS graph, and what to do about them.

use std::collections::BTreeSet;
use std::fmt;

use vla_policy::observation::{InputKind, InputSpec, Transport};
use vla_runtime::parameters::{DeliveryQos, Durability, Reliability};

/// A publisher in the graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PublisherInfo {
    /// Its node, with namespace.
    pub node: String,
    /// Its message type.
    pub type_name: String,
    /// What it offers.
    pub offered: DeliveryQos,
}

/// A problem in the graph. It has no changing figures, so that two equal ones are the same problem.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Finding {
    /// Messages of another type on an input's topic are never received.
    OtherType {
        /// The input.
        input: InputSpec,
        /// Its topic in the graph.
        topic: String,
        /// The types found, each once.
        found: BTreeSet<String>,
        /// Who publishes them.
        nodes: BTreeSet<String>,
    },
    /// A publisher that the middleware does not connect to the input.
    OtherQos {
        /// The name of the input, or `enable`.
        input: String,
        /// Its topic in the graph.
        topic: String,
        /// What the input needs.
        required: DeliveryQos,
        /// What each publisher that is not heard offers, with its node.
        offered: BTreeSet<(DeliveryQos, String)>,
    },
    /// An input that has more than one source.
    Sources {
        /// The input.
        input: InputSpec,
        /// Its topic in the graph.
        topic: String,
        /// Every publisher.
        nodes: Vec<String>,
    },
    /// A joint that comes from more than one source.
    SameJoints {
        /// The topic of the joint states in the graph.
        topic: String,
        /// Every publisher.
        nodes: Vec<String>,
        /// The joints that are in more than one set of names; empty when fewer sets arrive than there are publishers.
        joints: BTreeSet<String>,
        /// Sets of names that arrive.
        sets: usize,
    },
    /// Another node commands the robot.
    Commander {
        /// The topic in the graph.
        topic: String,
        /// Who.
        nodes: BTreeSet<String>,
    },
    /// Another node of this node's name.
    SameName {
        /// The name.
        node: String,
    },
}

impl Finding {
    /// The name of the input that it is about.
    pub(crate) fn input(&self) -> Option<&str> {
        match self {
            Self::OtherType { input, .. } | Self::Sources { input, .. } => Some(&input.name),
            Self::OtherQos { input, .. } => Some(input),
            Self::SameJoints { .. } => Some("joints"),
            Self::Commander { .. } | Self::SameName { .. } => None,
        }
    }

    /// Whether it says why messages of its input do not arrive.
    pub(crate) fn explains_silence(&self) -> bool {
        matches!(self, Self::OtherType { .. } | Self::OtherQos { .. })
    }
}

/// The transport that receives what was found in place of it.
fn other_transport(input: &InputSpec, found: &BTreeSet<String>) -> Option<&'static str> {
    let InputKind::Camera { transport } = input.kind else { return None };
    let (other, word) = match transport {
        Transport::Raw => (Transport::Compressed, "compressed"),
        Transport::Compressed => (Transport::Raw, "raw"),
    };
    found.contains(InputKind::Camera { transport: other }.type_name()).then_some(word)
}

/// The parameters with which the node hears all of these publishers.
fn relaxed(topic: &str, required: DeliveryQos, offered: &BTreeSet<(DeliveryQos, String)>) -> String {
    let parameter = |policy: &str, word: &str| format!("qos_overrides.{topic}.subscription.{policy}: {word}");
    let lacks = |required: DeliveryQos| offered.iter().any(|(offered, _)| !required.accepts(*offered));
    let reliability = DeliveryQos { durability: Durability::Volatile, ..required };
    let durability = DeliveryQos { reliability: Reliability::BestEffort, ..required };
    let parameters = [
        lacks(reliability).then(|| parameter("reliability", Reliability::BestEffort.as_str())),
        lacks(durability).then(|| parameter("durability", Durability::Volatile.as_str())),
    ];
    parameters.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherType { input, topic, found, nodes } => {
                let expected = input.kind.type_name();
                let (name, prefix, parameter) = (&input.name, input.parameter(), input.topic_parameter());
                let (found_types, nodes) = (list(found), list(nodes));
                write!(
                    f,
                    "{name}: expected {expected} on {topic}, found {found_types} from {nodes}; start the node with "
                )?;
                if let Some(transport) = other_transport(input, found) {
                    write!(f, "{prefix}.transport: {transport}, or with ")?;
                }
                write!(f, "{parameter}: a topic of the expected type")
            }
            Self::OtherQos { input, topic, required, offered } => {
                write!(f, "{input}: {topic} is not received from ")?;
                for (index, (offered, node)) in offered.iter().enumerate() {
                    write!(f, "{}{node} (offered: {offered})", if index == 0 { "" } else { ", " })?;
                }
                write!(f, ": the node requests {required}; publish with these policies, or start the node with ")?;
                f.write_str(&relaxed(topic, *required, offered))
            }
            Self::Sources { input, topic, nodes } => write!(
                f,
                "{}: {topic} has {} publishers: {}; their messages are mixed, so stop all but one, or start the node with \
                 another {}",
                input.name,
                nodes.len(),
                list(nodes),
                input.topic_parameter()
            ),
            Self::SameJoints { topic, nodes, joints, .. } if !joints.is_empty() => write!(
                f,
                "joints: {} on {topic} comes from more than one of the {} publishers {}; let each joint have one source",
                list(joints),
                nodes.len(),
                list(nodes)
            ),
            Self::SameJoints { topic, nodes, sets, .. } => write!(
                f,
                "joints: {topic} has {} publishers ({}) and {sets} sets of joint names arrive: some of them send the same joints, or \
                 send nothing; let each joint have one source",
                nodes.len(),
                list(nodes)
            ),
            Self::Commander { topic, nodes } => write!(
                f,
                "{topic} is commanded by {}, too: the robot follows the last message of both; stop the other node, or remap one of the topics",
                list(nodes)
            ),
            Self::SameName { node } => write!(
                f,
                "another node is named {node}: parameters, services and commands of both are mixed; stop it, or start one with \
                 another name (-r __node:=NAME) or namespace (-r __ns:=/NAMESPACE)"
            ),
        }
    }
}

fn list<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
