//! Declares the QoS of every subscription to an input, as rclcpp does it for a topic with QoS overriding options.

use crate::parameters::settings::SubscriptionQos;
use crate::parameters::table::{inputs, qos};
use ros2_parameters::{Declaration, Overrides, Value, check_topic};

/// One group a topic that the declared inputs name, in the order of the inputs.
pub(super) fn subscriptions(declared: &[Declaration], overrides: &Overrides) -> Vec<Declaration> {
    let mut seen: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for declaration in declared.iter().filter(|declaration| names_topics(&declaration.name)) {
        for topic in topics(declaration, overrides) {
            let name = overrides.resolve(topic);
            if !seen.contains(&name) {
                all.extend(subscription(&name, default_of(&declaration.name)));
                seen.push(name);
            }
        }
    }
    all
}

/// The group of one topic, by its full name.
pub(in crate::parameters) fn subscription(topic: &str, default: SubscriptionQos) -> [Declaration; 4] {
    let word = |word: &str| Value::String(word.to_owned());
    let SubscriptionQos { delivery, history, depth } = default;
    [
        Declaration { default: word(delivery.reliability.as_str()), ..qos::RELIABILITY.declare_of(topic) },
        Declaration { default: word(delivery.durability.as_str()), ..qos::DURABILITY.declare_of(topic) },
        Declaration { default: word(history.as_str()), ..qos::HISTORY.declare_of(topic) },
        Declaration {
            default: Value::Integer(i64::try_from(depth).unwrap_or(i64::MAX)),
            ..qos::DEPTH.declare_of(topic)
        },
    ]
}

/// The profile of the topic that this parameter names, unless it is overridden.
fn default_of(parameter: &str) -> SubscriptionQos {
    match parameter {
        _ if parameter == inputs::INSTRUCTION_TOPIC.name => SubscriptionQos::INSTRUCTION,
        _ if parameter == inputs::TF_TOPIC.name => SubscriptionQos::TRANSFORMS,
        _ if parameter == inputs::TF_STATIC_TOPIC.name => SubscriptionQos::STATIC_TRANSFORMS,
        _ if parameter == inputs::ENABLE_TOPIC.name => SubscriptionQos::ENABLE,
        _ => SubscriptionQos::SENSOR,
    }
}

/// Whether a parameter holds the topic, or the topics, of an input.
fn names_topics(parameter: &str) -> bool {
    let last = parameter.rsplit('.').next();
    parameter.starts_with("inputs.") && matches!(last, Some("topic" | "topics" | "static_topic"))
}

/// The topics that a parameter will hold. What it cannot hold is refused when it is declared.
fn topics<'a>(declaration: &'a Declaration, overrides: &'a Overrides) -> Vec<&'a str> {
    let topics = match overrides.get(&declaration.name).unwrap_or(&declaration.default) {
        Value::String(topic) => vec![topic.as_str()],
        Value::StringArray(topics) => topics.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    topics.into_iter().filter(|topic| check_topic(topic).is_ok()).collect()
}
