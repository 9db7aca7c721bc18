//! A topic of trajectories: all joints of the motion, or those of one controller.

use r2r::{Node, PublisherUntyped, QosProfile};

use crate::error::Error;
use vla_messages::JointTrajectoryMessage;
use vla_runtime::messages::select_joints;

/// The publisher, with its reused buffers.
pub(super) struct TrajectoryTopic {
    publisher: PublisherUntyped,
    /// `None`: every joint.
    joints: Option<Vec<String>>,
    selected: JointTrajectoryMessage,
    bytes: Vec<u8>,
}

impl TrajectoryTopic {
    /// Creates the topic, reliable with depth 10.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(super) fn create(node: &mut Node, name: &str, joints: Option<Vec<String>>) -> Result<Self, Error> {
        let publisher = node.create_publisher_untyped(name, JointTrajectoryMessage::TYPE, QosProfile::default());
        let publisher = publisher.map_err(|e| Error::endpoint("topic", name, e))?;
        Ok(Self { publisher, joints, selected: JointTrajectoryMessage::default(), bytes: Vec::new() })
    }

    /// Publishes a trajectory.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    pub(super) fn publish(&mut self, message: &JointTrajectoryMessage) -> Result<(), r2r::Error> {
        let message = match &self.joints {
            None => message,
            Some(joints) => {
                select_joints(message, joints, &mut self.selected);
                &self.selected
            }
        };
        message.write(&mut self.bytes);
        self.publisher.publish_raw(&self.bytes)
    }
}
