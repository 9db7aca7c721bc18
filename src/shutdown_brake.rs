//! The brake at the end of the node: what moves is brought to rest now, and not when its plan runs out.

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

/// Longest stop that the end of the node waits for, s: launch systems kill what takes longer.
const LONGEST_STOP_S: f64 = 4.0;
/// What a stop may take beyond its plan.
const MARGIN: Duration = Duration::from_millis(250);

/// Everything that braking needs. It waits for no other thread of the node, so it works when any of them is gone.
pub struct ShutdownBrake {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// What is in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// ROS time.
    pub clock: RosClock,
    /// The stop goes here.
    pub trajectories: Trajectories,
}

impl ShutdownBrake {
    /// Brings what moves to rest; no chunk moves anything afterwards.
    pub fn apply(&self) {
        let Some(control) = self.control.get() else { return };
        let publish = |plan, message: &JointTrajectoryMessage| self.trajectories.publish(plan, message);
        if let Err(error) = end_motion(&control, self.clock.now(), &self.settings.get(), publish) {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    /// How long the stop may take.
    pub fn longest(&self) -> Duration {
        let seconds = self.settings.get().motion.max_blind.seconds() / 2.0;
        Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_STOP_S)) + MARGIN
    }

    /// Whether a plan still runs: a robot that follows single commands is on its way to rest.
    pub fn moves(&self) -> bool {
        let plan = self.control.get().and_then(|control| control.plan());
        plan.is_some_and(|plan| self.clock.now() < plan.end())
    }
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
