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

impl Control {
    /// Brakes, and refuses every chunk until [`Control::release`]. Inputs are not watched meanwhile and the watchdog stops nothing,
    /// since nothing moves. A second call changes the reason.
    pub fn suspend(&self, now: Stamp, reason: &Arc<str>, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        let mut state = self.lock();
        state.suspended = Some(Arc::clone(reason));
        let reason = StopReason::expected(reason);
        if state.watchdog.hold(now) {
            return self.come_to_rest(&mut state, now, reason, settings, out);
        }
        match state.watchdog.state() {
            WatchdogState::Stopped => Braked::Already,
            WatchdogState::Holding => {
                state.reason = Some(reason);
                Braked::Already
            }
            _ => Braked::NotNeeded,
        }
    }

    /// Ends a suspension; false when there was none. Chunks of observations taken after the robot came to rest may move it again, from
    /// the measured positions. A latched stop stays.
    pub fn release(&self, now: Stamp) -> bool {
        let mut state = self.lock();
        if state.suspended.take().is_none() {
            return false;
        }
        if state.watchdog.state() != WatchdogState::Stopped {
            let rest = state.rest(now);
            state.watchdog.start_over(now, rest, false);
            state.reset();
            state.reason = None;
            lock(&self.plan).take_if(|_| rest <= now);
        }
        true
    }

    /// Why the motion is suspended; `None` while chunks may move the robot.
    pub fn suspended(&self) -> Option<Arc<str>> {
        self.lock().suspended.clone()
    }
}
