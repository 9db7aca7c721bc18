//! The topics of the inputs in the ROS graph, and other nodes that command the robot.

use std::collections::BTreeSet;

use r2r::Node;

use crate::graph::{Names, publishers};
use vla_policy::observation;
use vla_runtime::check::{Finding, InputPublisher, TopicPublishers};

/// One entry for each topic of the inputs: the topic with its publishers, and the other topics of its type.
pub(super) fn topics(node: &Node, names: &Names, inputs: &[observation::InputTopic]) -> Vec<TopicPublishers> {
    // Only a node that has ended, or a lack of memory, makes this fail; no topic is then found.
    let all = node.get_topic_names_and_types().unwrap_or_default();
    let topic = |input: &observation::InputTopic| {
        let name = names.resolve(&input.name);
        let found = publishers(node, &name).into_iter().map(|publisher| InputPublisher {
            node: Some(publisher.node),
            type_name: publisher.type_name,
            offered: Some(publisher.offered),
        });
        let type_name = input.kind.type_name();
        let has_type = |types: &Vec<String>| types.iter().any(|one| one == type_name);
        // A topic that nothing publishes, such as the input's own subscription, is no candidate.
        let is_candidate = |other: &String| *other != name && !publishers(node, other).is_empty();
        let of_type = all.iter().filter(|(_, types)| has_type(types)).map(|(other, _)| other.clone());
        let others: BTreeSet<String> = of_type.filter(is_candidate).collect();
        TopicPublishers { publishers: found.collect(), others: others.into_iter().collect(), name }
    };
    inputs.iter().map(topic).collect()
}

/// Other nodes that publish on the topics on which this node commands the robot.
pub(super) fn commanders(node: &Node, names: &Names, commands: &[String]) -> Vec<Finding> {
    let own = names.node();
    let judge = |topic: &str| {
        let topic = names.resolve(topic);
        let found = publishers(node, &topic).into_iter().map(|publisher| publisher.node);
        let others: BTreeSet<String> = found.filter(|other| *other != own).collect();
        let others: Vec<String> = others.into_iter().collect();
        (!others.is_empty()).then(|| {
            Finding::warning("commands", format!("{topic} is also published by {}", others.join(", ")))
                .todo("stop the other publisher, or remap one of the two topics: the robot follows the latest command")
        })
    };
    commands.iter().filter_map(|topic| judge(topic)).collect()
}
