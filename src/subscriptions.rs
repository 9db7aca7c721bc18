//! Input topics: serialised bytes from r2r into the latest-value slots.
//!
//! r2r's stream holds ten messages and drops the NEWEST when it is full, so one
//! task a topic only empties it; the slot drops older messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use r2r::qos::{DurabilityPolicy, HistoryPolicy, ReliabilityPolicy};
use r2r::{Node, QosProfile};
use tokio::task::JoinHandle;

use super::clock::RosClock;
use super::error::Error;
use super::graph::{Layouts, Names};
use super::latched;
use vla_policy::observation::{InputKind, InputTopic, Inputs};
use vla_recorder::Recorder;
use vla_runtime::parameters::{DeliveryQos, Durability, History, Reliability, Settings, SubscriptionQos};

/// Refused messages of a topic are logged this often; the counter counts each.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);

/// Serialized messages of one topic.
pub(crate) type Messages = Box<dyn Stream<Item = Vec<u8>> + Send + Unpin>;

/// One subscription a topic, created but not yet drained.
pub(crate) struct Subscriptions(Vec<Messages>);

impl Subscriptions {
    /// Subscribes to the topics of the inputs, in their order, each with its QoS of the settings.
    ///
    /// # Errors
    /// When the middleware refuses a name, or the node was built without the message's package.
    pub(crate) fn create(
        node: &mut Node,
        topics: &[InputTopic],
        names: &Names,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let subscribe = |topic: &InputTopic| subscribe(node, topic, settings.qos_of(&names.resolve(&topic.name)));
        topics.iter().map(subscribe).collect::<Result<_, _>>().map(Self)
    }

    /// The messages of each topic, for another reader.
    pub(crate) fn into_messages(self) -> Vec<Messages> {
        self.0
    }

    /// Starts one task a topic. Every message is recorded, where there is a recorder, also one that is refused.
    pub(crate) fn drain_into(
        self,
        inputs: &Arc<Inputs>,
        clock: &RosClock,
        layouts: &Arc<Layouts>,
        recorder: Option<&Recorder>,
    ) -> Vec<JoinHandle<()>> {
        let drain = |(index, messages): (usize, Messages)| {
            let joints = inputs.topics().get(index).is_some_and(|topic| topic.kind == InputKind::Joints);
            let layouts = joints.then(|| layouts.clone());
            tokio::spawn(drain(index, messages, inputs.clone(), clock.clone(), layouts, recorder.cloned()))
        };
        self.0.into_iter().enumerate().map(drain).collect()
    }
}

/// Packages that the node can be built without (CMakeLists.txt).
fn check_built_in(topic: &InputTopic) -> Result<(), Error> {
    check_package(topic.kind, cfg!(has_tf2_msgs))
}

fn check_package(kind: InputKind, has_tf2_msgs: bool) -> Result<(), Error> {
    if kind != InputKind::Transform || has_tf2_msgs {
        return Ok(());
    }
    Err(Error::Package { needed_by: "inputs.poses.<name>.source: tf", package: "tf2_msgs" })
}

/// The messages of one topic. An instruction is heard from latched and from volatile publishers.
fn subscribe(node: &mut Node, topic: &InputTopic, qos: SubscriptionQos) -> Result<Messages, Error> {
    check_built_in(topic)?;
    let mut subscribe = |delivery: DeliveryQos| {
        let profile = profile(SubscriptionQos { delivery, ..qos });
        let messages = node.subscribe_raw(&topic.name, topic.kind.type_name(), profile);
        messages.map_err(|e| Error::endpoint("topic", &*topic.name, e))
    };
    let messages = subscribe(qos.delivery)?;
    if !qos.has_volatile_twin(topic.kind) {
        return Ok(Box::new(messages));
    }
    Ok(Box::new(latched::merge(messages, subscribe(qos.required(topic.kind))?)))
}

/// As r2r takes it.
pub(crate) fn profile(qos: SubscriptionQos) -> QosProfile {
    let reliability = match qos.delivery.reliability {
        Reliability::BestEffort => ReliabilityPolicy::BestEffort,
        Reliability::Reliable => ReliabilityPolicy::Reliable,
        Reliability::SystemDefault => ReliabilityPolicy::SystemDefault,
    };
    let durability = match qos.delivery.durability {
        Durability::Volatile => DurabilityPolicy::Volatile,
        Durability::TransientLocal => DurabilityPolicy::TransientLocal,
        Durability::SystemDefault => DurabilityPolicy::SystemDefault,
    };
    let history = match qos.history {
        History::KeepLast => HistoryPolicy::KeepLast,
        History::SystemDefault => HistoryPolicy::SystemDefault,
    };
    QosProfile::default().keep_last(qos.depth).history(history).reliability(reliability).durability(durability)
}

async fn drain(
    index: usize,
    mut messages: Messages,
    inputs: Arc<Inputs>,
    clock: RosClock,
    layouts: Option<Arc<Layouts>>,
    recorder: Option<Recorder>,
) {
    let mut complained: Option<Instant> = None;
    while let Some(message) = messages.next().await {
        if let Some(layouts) = &layouts {
            layouts.note(&message, Instant::now());
        }
        let (message, received) = (Bytes::from(message), clock.now());
        if let Some(recorder) = &recorder {
            recorder.message(index, received, &message);
        }
        let Err(error) = inputs.offer(index, message, received) else { continue };
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            complained = Some(Instant::now());
            tracing::warn!("message refused: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_built_without_tf2_msgs_refuses_poses_of_tf_with_the_package_to_install() {
        for kind in [InputKind::Pose, InputKind::Odometry, InputKind::Joints] {
            assert!(check_package(kind, false).is_ok(), "{kind:?}");
        }
        assert!(check_package(InputKind::Transform, true).is_ok());
        let error = check_package(InputKind::Transform, false).expect_err("refused");
        assert!(matches!(error, Error::Package { package: "tf2_msgs", .. }));
        let text = error.to_string();
        assert!(text.contains("inputs.poses.<name>.source: tf") && text.contains("-tf2-msgs"), "{text}");
    }
}
