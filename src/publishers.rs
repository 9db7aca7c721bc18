//! Output topics: `~/action_chunk` and `~/joint_trajectory`, serialised by [`vla_messages`] as in a replay.

use r2r::{Node, PublisherUntyped, QosProfile};

use super::error::Error;
use super::trajectory::Trajectories;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};

/// The policy's output. Owned by the inference thread; buffers are reused.
pub(crate) struct Publishers {
    chunk: PublisherUntyped,
    trajectory: Trajectories,
    bytes: Vec<u8>,
}

impl Publishers {
    /// Creates the topic of chunks, reliable with depth 10.
    ///
    /// # Errors
    /// When the middleware refuses a name, or the type was not built in.
    pub(crate) fn create(node: &mut Node, trajectory: Trajectories) -> Result<Self, Error> {
        let mut publisher = |name: &str, type_name: &str| {
            let publisher = node.create_publisher_untyped(name, type_name, QosProfile::default());
            publisher.map_err(|e| Error::endpoint("topic", name, e))
        };
        Ok(Self { chunk: publisher("~/action_chunk", ActionChunkMessage::TYPE)?, trajectory, bytes: Vec::new() })
    }

    /// Publishes a chunk.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    pub(crate) fn chunk(&mut self, message: &ActionChunkMessage) -> Result<(), r2r::Error> {
        message.write(&mut self.bytes);
        self.chunk.publish_raw(&self.bytes)
    }

    /// Publishes the trajectory of a plan.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    pub(crate) fn trajectory(&self, plan: u64, message: &JointTrajectoryMessage) -> Result<(), r2r::Error> {
        self.trajectory.publish(plan, message)
    }
}
