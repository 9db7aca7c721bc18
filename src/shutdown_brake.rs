//! The brake at shutdown: the robot is brought to rest at once, not when its plan ends.

use std::sync::Arc;
use std::time::Duration;

use super::clock::RosClock;
use super::latest::Latest;
use super::outputs::{Outputs, stop_not_published};
use vla_base::time::{Span, Stamp};
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, Control};

/// Longest wait for a stop at shutdown, s: launch systems kill a node that takes longer.
const LONGEST_STOP_S: f64 = 4.0;
/// Extra time for a stop beyond its plan: the hand-over, and goals that are cancelled after it.
const MARGIN: Duration = Duration::from_millis(500);

/// Time after the end of a plan of velocities in which zeros are sent.
const LAST_ZEROS: Span = Span::from_nanos(100_000_000);

/// Brakes without waiting for another thread of the node, so it works after the end of any of them.
pub(crate) struct ShutdownBrake {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// ROS time.
    pub clock: RosClock,
    /// Publishes the stop.
    pub outputs: Outputs,
}

impl ShutdownBrake {
    /// Brings the robot to rest; every later chunk is refused.
    pub(crate) fn apply(&self) {
        let Some(control) = self.control.get() else { return };
        let publish = |braked, stop: &TrajectoryBuffer| self.outputs.brake(braked, stop);
        let now = self.clock.now();
        let ended = end_motion(&control, now, &self.settings.get(), publish);
        // A plan that is over is none that brakes: a goal whose end its server has not reported is cancelled.
        let is_over = control.plan().is_none_or(|plan| now >= plan.end());
        let ended = if is_over { ended.and(self.outputs.rest()) } else { ended };
        if let Err(error) = ended {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    /// How long the stop may take: what is left of the plan in force, and at least what the settings allow.
    pub(crate) fn longest(&self) -> Duration {
        longest_stop(self.control.get().as_deref(), self.clock.now(), &self.settings.get())
    }

    /// As [`ShutdownBrake::longest`], at most as long as launch systems wait for the end of a node.
    pub(crate) fn longest_at_shutdown(&self) -> Duration {
        let (longest, most) = (self.longest(), Duration::from_secs_f64(LONGEST_STOP_S) + MARGIN);
        if longest > most {
            tracing::warn!(
                "the stop may take {:.1} s, and the node waits for {:.1} s of it: a controller that follows single commands gets none \
                 after that; lower max_blind_s",
                longest.as_secs_f64(),
                most.as_secs_f64()
            );
        }
        longest.min(most)
    }

    /// Whether a plan still runs, or a stop is under way at a server: a robot that follows single commands or goals has not come to rest.
    pub(crate) fn moves(&self) -> bool {
        let Some(control) = self.control.get() else { return false };
        let now = self.clock.now();
        let joints = control.plan().is_some_and(|plan| now < plan.end());
        let columns = control.column_plan().is_some_and(|plan| now < plan.end() + LAST_ZEROS);
        joints || columns || !self.outputs.is_settled()
    }
}

/// See [`ShutdownBrake::longest`].
fn longest_stop(control: Option<&Control>, now: Stamp, settings: &Settings) -> Duration {
    let allowed = settings.motion.max_blind.seconds() / 2.0;
    // The plan may be of other settings.
    let left = control.map_or(Span::ZERO, |control| control.time_to_rest(now)).seconds();
    Duration::from_secs_f64(allowed.max(left).max(0.0)) + MARGIN
}

/// Ends the motion and hands on the stop, where anything moves.
fn end_motion<E>(
    control: &Control,
    now: Stamp,
    settings: &Settings,
    publish: impl FnOnce(Braked, &TrajectoryBuffer) -> Result<(), E>,
) -> Result<(), E> {
    let mut stop = TrajectoryBuffer::default();
    let braked = control.end(now, settings, &mut stop);
    if braked.entered() { publish(braked, &stop) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
