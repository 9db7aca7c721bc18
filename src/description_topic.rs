//! The robot description's topic (`limits_from: topic`).

use std::sync::Arc;

use futures::{Stream, StreamExt};
use r2r::std_msgs::msg::String as Text;
use r2r::{Node, QosProfile};

use super::error::Error;
use super::parameters::ParameterServer;
use vla_runtime::parameters::{LimitsFrom, Settings};

/// The subscription.
pub(crate) struct DescriptionTopic(Box<dyn Stream<Item = Text> + Send + Unpin>);

impl DescriptionTopic {
    /// Subscribes where the settings ask for it, as robot_state_publisher publishes: reliable, transient local.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(node: &mut Node, settings: &Settings) -> Result<Option<Self>, Error> {
        let LimitsFrom::Topic(topic) = &settings.limits_from else { return Ok(None) };
        let qos = QosProfile::default().keep_last(1).reliable().transient_local();
        let messages = node.subscribe::<Text>(topic, qos).map_err(|e| Error::endpoint("topic", topic, e))?;
        Ok(Some(Self(Box::new(messages))))
    }

    /// Hands every description that comes on to the parameters, which merge its limits with theirs.
    pub(crate) async fn run(mut self, parameters: Arc<ParameterServer>) {
        while let Some(message) = self.0.next().await {
            parameters.describe(&message.data);
        }
    }
}
