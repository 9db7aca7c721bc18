//! `~/joint_trajectory`, written by the inference thread and the watchdog.

use std::sync::{Arc, Mutex, PoisonError};

use r2r::{Node, PublisherUntyped, QosProfile};

use super::error::Error;
use vla_messages::JointTrajectoryMessage;

/// Message for a stop that could not be published.
pub(crate) fn stop_not_published(error: &r2r::Error) -> String {
    format!(
        "the stop was NOT published: the middleware refused the trajectory ({error}). The trajectory that the robot follows ends at rest by \
         itself within max_blind_s; use the hardware stop if that is too late"
    )
}

/// The topic. The lock keeps messages in the order of their plans: a controller follows the last one that it receives.
#[derive(Clone)]
pub(crate) struct Trajectories(Arc<Mutex<Output>>);

struct Output {
    publisher: PublisherUntyped,
    bytes: Vec<u8>,
    /// Of the plan published last.
    last: u64,
}

impl Trajectories {
    /// Creates the topic, reliable with depth 10.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(node: &mut Node) -> Result<Self, Error> {
        let name = "~/joint_trajectory";
        let publisher = node.create_publisher_untyped(name, JointTrajectoryMessage::TYPE, QosProfile::default());
        let publisher = publisher.map_err(|e| Error::endpoint("topic", name, e))?;
        Ok(Self(Arc::new(Mutex::new(Output { publisher, bytes: Vec::new(), last: 0 }))))
    }

    /// Publishes the trajectory of a plan ([`MotionPlan::sequence`](vla_motion::MotionPlan::sequence)), unless that of a newer one was
    /// published already, such as a stop. Stamps do not order them: in simulation both may be equal.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    pub(crate) fn publish(&self, plan: u64, message: &JointTrajectoryMessage) -> Result<(), r2r::Error> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Output { publisher, bytes, last } = &mut *output;
        if plan < *last {
            return Ok(());
        }
        *last = plan;
        message.write(bytes);
        publisher.publish_raw(bytes)
    }
}
