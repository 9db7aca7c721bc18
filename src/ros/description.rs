//! The robot description's topic (`limits_from: topic`).

use std::sync::Arc;

use futures::{Stream, StreamExt};
use r2r::std_msgs::msg::String as Text;
use r2r::{Node, QosProfile};

use super::error::Error;
use super::latest::Latest;
use crate::parameters::{LimitsFrom, Settings};
use crate::session::Control;

/// The last description that came.
pub type Described = Arc<Latest<Option<Arc<str>>>>;

/// The subscription.
pub struct Description(Box<dyn Stream<Item = Text> + Send + Unpin>);

impl Description {
    /// Subscribes where the settings ask for it, as robot_state_publisher publishes: reliable, transient local.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub fn create(node: &mut Node, settings: &Settings) -> Result<Option<Self>, Error> {
        let LimitsFrom::Topic(topic) = &settings.limits_from else { return Ok(None) };
        let qos = QosProfile::default().keep_last(1).reliable().transient_local();
        let messages = node.subscribe::<Text>(topic, qos).map_err(|e| Error::endpoint("topic", topic, e))?;
        Ok(Some(Self(Box::new(messages))))
    }

    /// Keeps the newest description, and hands it on to the motion when there is one.
    pub async fn run(
        mut self,
        described: Described,
        control: Arc<Latest<Option<Arc<Control>>>>,
        settings: Arc<Latest<Arc<Settings>>>,
    ) {
        while let Some(message) = self.0.next().await {
            let text: Arc<str> = message.data.into();
            described.set(Some(text.clone()));
            if let Some(control) = control.get() {
                take(&control, &text, &settings.get());
            }
        }
    }
}

/// Takes the limits of a description over, or says why not.
pub fn take(control: &Control, text: &str, settings: &Settings) {
    match control.describe(text, settings) {
        Ok(()) => tracing::info!("limits taken from the robot's description"),
        Err(error) => tracing::error!("limits not taken over: {error}"),
    }
}
