//! The brake at shutdown: the robot is brought to rest at once, not when its plan ends.

use std::sync::Arc;
use std::time::Duration;

use super::clock::RosClock;
use super::latest::Latest;
use super::trajectory::{Trajectories, stop_not_published};
use vla_base::time::Stamp;
use vla_messages::JointTrajectoryMessage;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::Control;

/// Longest wait for a stop at shutdown, s: launch systems kill a node that takes longer.
const LONGEST_STOP_S: f64 = 4.0;
/// Extra time for a stop beyond its plan.
const MARGIN: Duration = Duration::from_millis(250);

/// Brakes without waiting for another thread of the node, so it works after the end of any of them.
pub(crate) struct ShutdownBrake {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// ROS time.
    pub clock: RosClock,
    /// Publishes the stop.
    pub trajectories: Trajectories,
}

impl ShutdownBrake {
    /// Brings the robot to rest; every later chunk is refused.
    pub(crate) fn apply(&self) {
        let Some(control) = self.control.get() else { return };
        let publish = |plan, message: &JointTrajectoryMessage| self.trajectories.publish(plan, message);
        if let Err(error) = end_motion(&control, self.clock.now(), &self.settings.get(), publish) {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    /// How long the stop may take.
    pub(crate) fn longest(&self) -> Duration {
        longest_stop(&self.settings.get())
    }

    /// Whether a plan still runs: a robot that follows single commands has not come to rest.
    pub(crate) fn moves(&self) -> bool {
        let plan = self.control.get().and_then(|control| control.plan());
        plan.is_some_and(|plan| self.clock.now() < plan.end())
    }
}

/// Longest time that a stop may take with these settings.
pub(crate) fn longest_stop(settings: &Settings) -> Duration {
    let seconds = settings.motion.max_blind.seconds() / 2.0;
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_STOP_S)) + MARGIN
}

/// ThreadEnds the motion and hands on the stop, where anything moves.
fn end_motion<E>(
    control: &Control,
    now: Stamp,
    settings: &Settings,
    publish: impl FnOnce(u64, &JointTrajectoryMessage) -> Result<(), E>,
) -> Result<(), E> {
    let mut stop = TrajectoryBuffer::default();
    if control.end(now, settings, &mut stop).must_publish() {
        publish(stop.plan_sequence(), stop.message())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
