//! Checks the ROS graph once a second for publishers that disturb the node's topics. Runs on the thread that spins the node.

mod finding;
mod layouts;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};
use r2r::{Node, QosProfile};

pub(crate) use finding::{Finding, PublisherInfo};
pub(crate) use layouts::Layouts;
pub(crate) use names::Names;

use super::latest::Latest;
use vla_policy::observation::{InputKind, InputSpec, InputTopic, Violation};
use vla_runtime::parameters::{DeliveryQos, Durability, Reliability, SubscriptionQos};

/// Time between two checks.
const PERIOD: Duration = Duration::from_secs(1);
/// Looks for which fewer sets of joint names than publishers must arrive: one that starts is in the graph before it sends.
const LOOKS: u32 = 3;
/// Message type of the enable switch.
const ENABLE_TYPE: &str = "std_msgs/msg/Bool";
/// Topics on which every node has one publisher, this one included.
const EVERY_NODE: [&str; 2] = ["/parameter_events", "/diagnostics"];

/// Findings of the last check, for diagnostics and log.
pub(crate) type Found = Arc<Latest<Arc<[Finding]>>>;

/// The check of the graph.
pub(crate) struct Graph {
    names: Names,
    /// Topics that move the robot. The node has one publisher on each.
    commands: Vec<String>,
    inputs: Vec<Watched>,
    /// The topic of the enable switch in the graph, and what a publisher has to offer to be heard.
    enable: Option<(String, DeliveryQos)>,
    /// Joints that the policy reads or moves.
    joints: BTreeSet<String>,
    layouts: Arc<Layouts>,
    found: Found,
    due: Instant,
    /// Looks in a row at which fewer sets of names than publishers arrived.
    short: u32,
}

/// An input.
struct Watched {
    input: InputSpec,
    /// Its topic in the graph.
    topic: String,
    /// What a publisher has to offer to be heard.
    required: DeliveryQos,
}

/// Publishers by topic, as one check finds them.
type Topics = BTreeMap<String, Vec<PublisherInfo>>;

impl Graph {
    /// For a node of these names that has these inputs and commands the robot on these topics.
    pub(crate) fn new(
        names: Names,
        commands: &[String],
        inputs: &[InputSpec],
        qos: &BTreeMap<String, SubscriptionQos>,
        joints: Vec<String>,
        layouts: Arc<Layouts>,
        found: Found,
    ) -> Self {
        // Of inputs that share a topic the first is named.
        let first = |topic: InputTopic| {
            let input = topic.inputs.first().and_then(|index| inputs.get(*index))?.clone();
            let topic = names.resolve(&topic.name);
            let required = qos.get(&topic).unwrap_or(&SubscriptionQos::SENSOR).required(input.kind);
            Some(Watched { input, topic, required })
        };
        let inputs = InputTopic::of(inputs).into_iter().filter_map(first).collect();
        let commands = commands.iter().map(|topic| names.resolve(topic)).collect();
        let joints = joints.into_iter().collect();
        Self { names, commands, inputs, enable: None, joints, layouts, found, due: Instant::now(), short: 0 }
    }

    /// The same that also checks the enable switch: the QoS of its subscription, and its topic in the graph.
    pub(crate) fn with_enable(self, enable: Option<(SubscriptionQos, String)>) -> Self {
        Self { enable: enable.map(|(qos, topic)| (topic, qos.delivery)), ..self }
    }

    /// Checks when a check is due, and logs what is new.
    pub(crate) fn look(&mut self, node: &Node) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + PERIOD;
        let own = self.commands.iter().cloned().chain(EVERY_NODE.map(|topic| self.names.resolve(topic)));
        let enable = self.enable.iter().map(|(topic, _)| topic.clone());
        let inputs = self.inputs.iter().map(|watched| watched.topic.clone());
        let topics: BTreeSet<String> = inputs.chain(enable).chain(own).collect();
        let publishers = |topic: String| {
            let found = publishers(node, &topic);
            (topic, found)
        };
        let topics: Topics = topics.into_iter().map(publishers).collect();
        let findings: Arc<[Finding]> = self.judge(&topics, &self.layouts.sets(now)).into();
        let before = self.found.get();
        for new in findings.iter().filter(|finding| !before.contains(finding)) {
            tracing::warn!("{new}");
        }
        for over in before.iter().filter(|finding| !findings.contains(finding)) {
            tracing::info!("no longer: {over}");
        }
        self.found.set(findings);
    }

    /// All findings.
    fn judge(&mut self, topics: &Topics, sets: &[Arc<[String]>]) -> Vec<Finding> {
        let of = |topic: &str| topics.get(topic).map(Vec::as_slice).unwrap_or_default();
        let mut findings = Vec::new();
        let mut short = 0;
        for Watched { input, topic, required } in &self.inputs {
            let (usable, other): (Vec<_>, Vec<_>) =
                of(topic).iter().partition(|publisher| publisher.type_name == input.kind.type_name());
            if !other.is_empty() {
                findings.push(Finding::OtherType {
                    input: input.clone(),
                    topic: topic.clone(),
                    found: other.iter().map(|publisher| publisher.type_name.clone()).collect(),
                    nodes: other.iter().map(|publisher| publisher.node.clone()).collect(),
                });
            }
            findings.extend(unheard(&input.name, topic, *required, &usable));
            let nodes: Vec<String> = usable.iter().map(|publisher| publisher.node.clone()).collect();
            if nodes.len() < 2 {
                continue;
            }
            if input.kind == InputKind::Transform {
                continue;
            }
            if input.kind != InputKind::Joints {
                findings.push(Finding::Sources { input: input.clone(), topic: topic.clone(), nodes });
                continue;
            }
            let joints = shared(sets, &self.joints);
            if joints.is_empty() && !sets.is_empty() && sets.len() < nodes.len() {
                short = self.short + 1;
            }
            if !joints.is_empty() || short >= LOOKS {
                findings.push(Finding::SameJoints { topic: topic.clone(), nodes, joints, sets: sets.len() });
            }
        }
        self.short = short;
        if let Some((topic, required)) = &self.enable {
            let switches: Vec<_> = of(topic).iter().filter(|publisher| publisher.type_name == ENABLE_TYPE).collect();
            findings.extend(unheard("enable", topic, *required, &switches));
        }
        findings.extend(self.commanders(topics));
        findings
    }

    fn commanders(&self, topics: &Topics) -> Vec<Finding> {
        let own = self.names.node();
        let mut findings = Vec::new();
        let mut doubled = false;
        for topic in self.commands.iter().cloned().chain(EVERY_NODE.map(|topic| self.names.resolve(topic))) {
            let publishers = topics.get(&topic).map(Vec::as_slice).unwrap_or_default();
            doubled |= publishers.iter().filter(|publisher| publisher.node == own).count() > 1;
        }
        for topic in self.commands.iter().cloned() {
            let publishers = topics.get(&topic).map(Vec::as_slice).unwrap_or_default();
            let others = publishers.iter().filter(|publisher| publisher.node != own);
            let nodes: BTreeSet<String> = others.map(|publisher| publisher.node.clone()).collect();
            if !nodes.is_empty() {
                findings.push(Finding::Commander { topic, nodes });
            }
        }
        if doubled {
            findings.push(Finding::SameName { node: own });
        }
        findings
    }
}

/// Those of an input's publishers that the middleware does not connect with its subscription.
fn unheard(input: &str, topic: &str, required: DeliveryQos, publishers: &[&PublisherInfo]) -> Option<Finding> {
    let refused = publishers.iter().filter(|publisher| !required.accepts(publisher.offered));
    let offered: BTreeSet<_> = refused.map(|publisher| (publisher.offered, publisher.node.clone())).collect();
    let (input, topic) = (input.to_owned(), topic.to_owned());
    (!offered.is_empty()).then_some(Finding::OtherQos { input, topic, required, offered })
}

/// The publishers of a topic, by its name in the graph.
pub(crate) fn publishers(node: &Node, topic: &str) -> Vec<PublisherInfo> {
    // Fails only without memory or without the node; the next check is in a second.
    let found = node.get_publishers_info_by_topic(topic, false).unwrap_or_default();
    let publishers = found.into_iter().map(|info| PublisherInfo {
        node: node_of(&info.node_namespace, &info.node_name),
        type_name: info.topic_type,
        offered: offered(&info.qos_profile),
    });
    publishers.collect()
}

/// A node's name with its namespace. The graph knows an endpoint before its node, and of what is no ROS node it never knows one.
fn node_of(namespace: &str, name: &str) -> String {
    match name {
        "_NODE_NAME_UNKNOWN_" => "a node whose name is not known".to_owned(),
        name => format!("{}/{name}", namespace.trim_end_matches('/')),
    }
}

/// What a publisher offers. A policy that the middleware does not report is its own to know.
fn offered(profile: &QosProfile) -> DeliveryQos {
    DeliveryQos {
        reliability: match profile.reliability {
            ReliabilityPolicy::BestEffort => Reliability::BestEffort,
            ReliabilityPolicy::Reliable => Reliability::Reliable,
            _ => Reliability::SystemDefault,
        },
        durability: match profile.durability {
            DurabilityPolicy::Volatile => Durability::Volatile,
            DurabilityPolicy::TransientLocal => Durability::TransientLocal,
            _ => Durability::SystemDefault,
        },
    }
}

/// Those of `joints` that are in more than one of the sets.
fn shared(sets: &[Arc<[String]>], joints: &BTreeSet<String>) -> BTreeSet<String> {
    let of = |joint: &&String| sets.iter().filter(|set| set.contains(joint)).count() > 1;
    joints.iter().filter(of).cloned().collect()
}

/// A violation as text, with the findings that explain a silent input.
pub(crate) fn explained(violation: &Violation, findings: &[Finding]) -> String {
    let mut text = violation.to_string();
    for finding in findings.iter().filter(|finding| finding.explains_silence()) {
        if violation.breaches.iter().any(|breach| finding.input() == Some(&*breach.input)) {
            text += &format!("; {finding}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
