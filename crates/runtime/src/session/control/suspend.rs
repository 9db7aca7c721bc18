//! Suspension of the motion: the robot comes to rest and no chunk moves it until the motion is released.
//!
//! Used while the node is inactive and while no task runs. It is no fault and no latch: a stop that was latched before or meanwhile
//! stays, and nothing else has to be ended by `~/resume`.

use std::sync::Arc;

use super::{Braked, Control, StopReason, lock};
use crate::messages::TrajectoryBuffer;
use crate::parameters::Settings;
use vla_base::time::Stamp;
use vla_motion::WatchdogState;

/// Why every chunk is refused.
#[derive(Debug)]
pub(super) struct Suspension {
    pub(super) reason: Arc<str>,
    /// End of the stop that it caused; `None` when nothing moved.
    rest: Option<Stamp>,
}

impl Control {
    /// Brakes, and refuses every chunk until [`Control::release`]. Inputs are not watched meanwhile and the watchdog stops nothing,
    /// since nothing moves. A second call changes the reason.
    pub fn suspend(&self, now: Stamp, reason: &Arc<str>, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        let mut state = self.lock();
        let rest = state.suspended.take().and_then(|before| before.rest);
        let expected = StopReason::expected(reason);
        let (rest, braked) = if state.watchdog.hold(now) {
            let braked = self.come_to_rest(&mut state, now, expected, settings, out);
            (Some(state.rest(now)), braked)
        } else {
            let braked = match state.watchdog.state() {
                WatchdogState::Holding | WatchdogState::Stopped => Braked::Already,
                _ => Braked::NotNeeded,
            };
            if state.watchdog.state() == WatchdogState::Holding {
                state.reason = Some(expected);
            }
            (rest, braked)
        };
        state.suspended = Some(Suspension { reason: Arc::clone(reason), rest });
        braked
    }

    /// Refuses every chunk until [`Control::release`] without a brake: the plan in force, if any, ends at rest by itself, and is watched
    /// until then. Changes the reason where the motion is suspended already.
    pub fn refuse_chunks(&self, reason: &Arc<str>) {
        let mut state = self.lock();
        let rest = state.suspended.take().and_then(|before| before.rest);
        state.suspended = Some(Suspension { reason: Arc::clone(reason), rest });
    }

    /// Ends a suspension; false when there was none. Chunks may move the robot again, from the measured positions; where the suspension
    /// made it brake, or it still brakes, with observations from after the rest. A latched stop stays.
    pub fn release(&self, now: Stamp) -> bool {
        let mut state = self.lock();
        let Some(Suspension { rest, .. }) = state.suspended.take() else { return false };
        // A plan that still runs goes on.
        if !state.watchdog.state().is_moving() && state.watchdog.state() != WatchdogState::Stopped {
            let end = state.rest(now);
            // A plan that braked before the suspension came may still brake.
            state.watchdog.release(now, rest.max((end > now).then_some(end)));
            state.reset();
            state.reason = None;
            lock(&self.plan).take_if(|_| end <= now);
        }
        true
    }

    /// Why the motion is suspended; `None` while chunks may move the robot.
    pub fn suspended(&self) -> Option<Arc<str>> {
        self.lock().suspended.as_ref().map(|suspension| Arc::clone(&suspension.reason))
    }
}
