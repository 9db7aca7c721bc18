//! Bringing the robot to rest (for an input, for the operator, at shutdown), and resuming.

use std::fmt::Display;

use super::{Control, State, StopReason, lock};
use crate::messages::TrajectoryBuffer;
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion::WatchdogState;
use vla_policy::observation::{Inputs, OnViolation, Violation};

/// Result of a request to brake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Braked {
    /// Nothing to do: no brake was asked for, or the robot has not moved yet.
    #[default]
    NotNeeded,
    /// The motion is held or stopped already, for an earlier reason.
    Already,
    /// Held or stopped now. The trajectory to rest is in the buffer: publish it.
    Braking,
    /// Held or stopped now. The joints are at rest, or follow a stop that was published before.
    AtRest,
    /// Held or stopped now. The policy moves no joint; no more chunks are published.
    NoJoints,
    /// Held or stopped now, but no stop could be computed. The plan in force ends at rest by itself.
    Unplanned,
}

impl Braked {
    /// Whether the motion was held or stopped by this request.
    pub const fn entered(self) -> bool {
        !matches!(self, Self::NotNeeded | Self::Already)
    }

    /// Whether the buffer has a trajectory that must be published.
    pub const fn must_publish(self) -> bool {
        matches!(self, Self::Braking)
    }
}

/// Result of one poll of the watchdog.
#[derive(Debug, Default)]
pub struct WatchReport {
    /// Result of the brake, if one was needed.
    pub braked: Braked,
    /// The violation that asked for the brake.
    pub violation: Option<Violation>,
}

impl Control {
    /// Brakes because of a fault, `reason`. `hold` brakes and resumes with the next good chunk; `stop` also latches until `~/resume`,
    /// unless the robot has not moved since the start.
    ///
    /// `now` is the time at which the brake is published; the plan may have advanced since the fault was found.
    pub fn brake(
        &self,
        now: Stamp,
        action: OnViolation,
        reason: &dyn Display,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Braked {
        self.brake_in(&mut self.lock(), now, action, reason, settings, out)
    }

    /// As [`Control::brake`], for a robot that is away from its plan: the next motion starts only after it is at rest.
    pub(super) fn brake_to_rest(
        &self,
        now: Stamp,
        action: OnViolation,
        reason: &dyn Display,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Braked {
        let mut state = self.lock();
        let braked = self.brake_in(&mut state, now, action, reason, settings, out);
        let rest = state.motion.plan().map(|plan| plan.end()).filter(|_| braked.entered());
        if let Some(rest) = rest {
            state.watchdog.ignore_until(rest);
        }
        braked
    }

    fn brake_in(
        &self,
        state: &mut State,
        now: Stamp,
        action: OnViolation,
        reason: &dyn Display,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Braked {
        if state.suspended.is_some() && !state.watchdog.state().is_moving() {
            // Braking or at rest, and no chunk moves the robot: an input that is lost meanwhile is no reason to latch.
            return Braked::Already;
        }
        let entered = match action {
            OnViolation::Skip => return Braked::NotNeeded,
            OnViolation::Hold => state.watchdog.hold(now),
            OnViolation::Stop => state.watchdog.stop(now),
        };
        if entered {
            self.come_to_rest(state, now, StopReason::fault(reason), settings, out)
        } else if state.watchdog.is_armed() || state.watchdog.state() == WatchdogState::Stopped {
            Braked::Already
        } else {
            Braked::NotNeeded
        }
    }

    /// The operator's stop: brakes at once and latches until `~/resume`, also before the first motion.
    pub fn stop(&self, now: Stamp, reason: &dyn Display, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        let mut state = self.lock();
        state.stop_calls += 1;
        if !state.watchdog.latch(now) {
            return Braked::Already;
        }
        self.come_to_rest(&mut state, now, StopReason::expected(reason), settings, out)
    }

    /// Checks time, joint states and, while chunks are followed, the inputs; brakes when a check fails. Call it from one thread.
    pub fn watch(&self, now: Stamp, inputs: &Inputs, settings: &Settings, out: &mut TrajectoryBuffer) -> WatchReport {
        if let Some(watched) = self.check_clock(now, settings) {
            return watched;
        }
        if let Some(watched) = self.watch_joints(now, inputs, settings, out) {
            return watched;
        }
        self.watch_stuck_joints(now, inputs, settings);
        let rules = &settings.rules;
        let checked = match self.poll_armed(now, settings) {
            false => Ok(()),
            // The next inference checks the other inputs.
            true if rules.on_violation == OnViolation::Skip => inputs.check_enable(now, rules),
            true => inputs.check(now, rules).and_then(|()| self.check_joints(now)),
        };
        let Err(violation) = checked else { return WatchReport::default() };
        let braked = self.brake(now, violation.action(rules), &violation, settings, out);
        WatchReport { braked, violation: Some(violation) }
    }

    /// Brings the robot to rest and refuses every later chunk: the node shuts down.
    pub fn end(&self, now: Stamp, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        self.lock().ending = true;
        self.brake(now, OnViolation::Hold, &"the node is shutting down", settings, out)
    }

    /// Whether the robot moved since the start, or a stop was ended: see [`Watchdog::is_armed`](vla_motion::Watchdog::is_armed).
    pub fn is_armed(&self) -> bool {
        self.lock().watchdog.is_armed()
    }

    /// Calls of [`Control::stop`] so far, for [`Control::resume_unless_stopped`].
    pub fn stop_calls(&self) -> u64 {
        self.lock().stop_calls
    }

    /// Ends a stop; true when there was one. Motion then starts at the measured positions, with inputs from after the robot came to
    /// rest: a robot that still brakes comes to rest first, and the command stream continues to its end.
    pub fn resume(&self, now: Stamp) -> bool {
        let calls = self.stop_calls();
        self.resume_unless_stopped(now, calls)
    }

    /// As [`Control::resume`], unless [`Control::stop`] was called again since `calls` was read: of the operator's two requests the
    /// later holds, and the checks before a resume take a while.
    pub fn resume_unless_stopped(&self, now: Stamp, calls: u64) -> bool {
        let mut state = self.lock();
        if state.stop_calls != calls {
            return false;
        }
        let rest = state.rest(now);
        let resumed = state.watchdog.resume(now, rest);
        if resumed {
            state.reset();
            state.reason = None;
            lock(&self.plan).take_if(|_| rest <= now);
        }
        resumed
    }

    /// Stays stopped, for the same reason, when a policy of other joints is loaded over a stopped one.
    pub(crate) fn inherit_stop(&self, before: &Self) {
        let (stopped, since, reason) = {
            let state = before.lock();
            (state.watchdog.state() == WatchdogState::Stopped, state.watchdog.since(), state.reason.clone())
        };
        let mut state = self.lock();
        if stopped && state.watchdog.latch(since) {
            state.reason = reason;
            state.count();
        }
    }

    /// Advances the watchdog; whether the robot moves, or would with the next chunk.
    fn poll_armed(&self, now: Stamp, settings: &Settings) -> bool {
        let mut state = self.lock();
        self.poll_watchdog(&mut state, now, settings);
        let watched = state.suspended.is_none() || state.watchdog.state().is_moving();
        watched && state.watchdog.is_armed() && state.watchdog.state() != WatchdogState::Stopped
    }

    /// Handles a backward clock jump: discards the plan. The controller still finishes the trajectory it has.
    fn check_clock(&self, now: Stamp, settings: &Settings) -> Option<WatchReport> {
        let mut state = self.lock();
        let before = state.watchdog.set_back(now)?;
        let left = lock(&self.plan).take().map_or(Span::ZERO, |plan| plan.end() - before).max(Span::ZERO);
        if !std::mem::take(&mut state.columns_set_back) {
            self.set_columns_back(&mut state, before, now);
        }
        let left = state.columns.plan().map_or(left, |plan| left.max(plan.end() - now));
        state.reset();
        let stop = settings.rules.on_violation == OnViolation::Stop && state.suspended.is_none();
        if state.watchdog.start_over(now, now + left, stop).is_none() {
            return Some(WatchReport::default());
        }
        let back = (before - now).millis();
        state.reason = Some(StopReason::fault(&format_args!("the clock was set back by {back:.0} ms")));
        state.count();
        Some(WatchReport { braked: Braked::AtRest, violation: None })
    }

    pub(super) fn come_to_rest(
        &self,
        state: &mut State,
        now: Stamp,
        reason: StopReason,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Braked {
        state.reason = Some(reason);
        state.count();
        match state.watchdog.went_back(now) {
            // An input found it first.
            Some(before) => {
                self.set_columns_back(state, before, now);
                state.columns_set_back = true;
            }
            None if state.columns.hold(now) => *lock(&self.column_plan) = state.columns.plan().cloned(),
            None => {}
        }
        if state.motion.names().is_empty() {
            return Braked::NoJoints;
        }
        // The end of a plan that is over is no target: the joints may have been moved since.
        if state.motion.plan().is_none_or(|plan| plan.end() <= now) {
            return Braked::AtRest;
        }
        let plan = match state.motion.hold(now, &settings.motion) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Braked::Unplanned,
            Err(error) => {
                tracing::error!("no stop could be computed: {error}");
                return Braked::Unplanned;
            }
        };
        out.fill(plan, now);
        *lock(&self.plan) = Some(std::sync::Arc::clone(plan));
        Braked::Braking
    }
}
