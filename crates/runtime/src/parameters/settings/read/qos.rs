//! QoS of the subscriptions.

use std::collections::BTreeMap;

use super::Reader;
use crate::parameters::settings::{DeliveryQos, SubscriptionQos};
use crate::parameters::table::qos;

impl Reader<'_> {
    /// One entry a subscribed topic, by its name in the ROS graph.
    pub(super) fn subscription_qos(&mut self) -> BTreeMap<String, SubscriptionQos> {
        let (before, after) = qos::DEPTH.name.split_once("{}").unwrap_or_default();
        let topic = |name: &str| Some(name.strip_prefix(before)?.strip_suffix(after)?.to_owned());
        let topics: Vec<String> = self.store.names().filter_map(topic).collect();
        let profile = |topic: String| {
            let delivery = DeliveryQos {
                reliability: self.get_of(&qos::RELIABILITY, &topic),
                durability: self.get_of(&qos::DURABILITY, &topic),
            };
            let (history, depth) = (self.get_of(&qos::HISTORY, &topic), self.get_of(&qos::DEPTH, &topic));
            (topic, SubscriptionQos { delivery, history, depth })
        };
        topics.into_iter().map(profile).collect()
    }
}
