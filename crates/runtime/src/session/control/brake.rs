//! How the robot is brought to rest: for an input, for the operator, at the end of the node; and how it is let go again.

use std::fmt::Display;

use super::{Control, Reason, State, lock};
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion as chunk;
use vla_motion::{TrajectoryBuffer, WatchdogState};
use vla_policy::observation::{Inputs, OnViolation, Violation};

/// What a request to brake came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Braked {
    /// Nothing was to be done: no brake was asked for, or no motion has begun that could be braked.
    #[default]
    NotNeeded,
    /// The motion is held or stopped already, for an earlier reason.
    Already,
    /// Held or stopped now. The way to rest was written into the buffer: publish it.
    Braking,
    /// Held or stopped now. The joints are at rest, or on a way to rest that was published before.
    AtRest,
    /// Held or stopped now. The policy moves no joint: the end of the chunks is all that its followers see.
    NoJoints,
    /// Held or stopped now, but no way to rest could be computed. The plan in force ends at rest by itself.
    Unplanned,
}

impl Braked {
    /// Whether the motion was held or stopped by this request.
    pub const fn entered(self) -> bool {
        !matches!(self, Self::NotNeeded | Self::Already)
    }

    /// Whether a trajectory stands in the buffer that must be published.
    pub const fn must_publish(self) -> bool {
        matches!(self, Self::Braking)
    }
}

/// What came of a look at the motion.
#[derive(Debug, Default)]
pub struct Watched {
    /// What was done about it.
    pub braked: Braked,
    /// The violation of the inputs that asked for it.
    pub violation: Option<Violation>,
}

impl Control {
    /// Brakes because of `reason` as `action` says: this is the way to rest for every fault. `hold` brakes what moves and goes on with
    /// the next good chunk; `stop` also latches until `~/resume`, unless no motion has begun since the start.
    ///
    /// `now` is the time at which the brake is published: the plan that is braked may have gone on since the fault was found.
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

    /// As [`Control::brake`], for a robot that is not where its plan has it: the next motion begins after the rest.
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
            state.watchdog.wait_for(rest);
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
        let entered = match action {
            OnViolation::Skip => return Braked::NotNeeded,
            OnViolation::Hold => state.watchdog.hold(now),
            OnViolation::Stop => state.watchdog.stop(now),
        };
        if entered {
            self.come_to_rest(state, now, Reason::fault(reason), settings, out)
        } else if state.watchdog.is_armed() || state.watchdog.state() == WatchdogState::Stopped {
            Braked::Already
        } else {
            Braked::NotNeeded
        }
    }

    /// The operator's stop: brakes at once and latches until `~/resume`, also where nothing has moved yet.
    pub fn stop(&self, now: Stamp, reason: &dyn Display, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        let mut state = self.lock();
        state.stop_calls += 1;
        if !state.watchdog.latch(now) {
            return Braked::Already;
        }
        self.come_to_rest(&mut state, now, Reason::expected(reason), settings, out)
    }

    /// The watchdog's look at the time and, where motion goes on by itself, at the inputs. Needs no inference. Call it from one thread.
    pub fn watch(&self, now: Stamp, inputs: &Inputs, settings: &Settings, out: &mut TrajectoryBuffer) -> Watched {
        if let Some(watched) = self.look_back(now, settings) {
            return watched;
        }
        if let Some(watched) = self.watch_joints(now, inputs, settings, out) {
            return watched;
        }
        self.watch_stuck_joints(now, inputs, settings);
        let rules = &settings.rules;
        let checked = match self.poll_armed(now, settings) {
            false => Ok(()),
            // The rules of the other inputs are kept by the next inference.
            true if rules.on_violation == OnViolation::Skip => inputs.check_enable(now, rules),
            true => inputs.check(now, rules).and_then(|()| self.check_joints(now)),
        };
        let Err(violation) = checked else { return Watched::default() };
        let braked = self.brake(now, violation.action(rules), &violation, settings, out);
        Watched { braked, violation: Some(violation) }
    }

    /// Brings what moves to rest, and lets nothing move after: the node ends.
    pub fn end(&self, now: Stamp, settings: &Settings, out: &mut TrajectoryBuffer) -> Braked {
        self.lock().ending = true;
        self.brake(now, OnViolation::Hold, &"the node ends", settings, out)
    }

    /// Whether the next good chunk moves the robot, or did: see [`Watchdog::is_armed`](vla_motion::Watchdog::is_armed).
    pub fn is_armed(&self) -> bool {
        self.lock().watchdog.is_armed()
    }

    /// Calls of [`Control::stop`] so far, for [`Control::resume_unless_stopped`].
    pub fn stop_calls(&self) -> u64 {
        self.lock().stop_calls
    }

    /// Ends a stop; true when there was one. Motion then starts from where the joints are, on inputs from after the rest: a robot
    /// that still brakes comes to rest first, and the stream of commands takes it there.
    pub fn resume(&self, now: Stamp) -> bool {
        let calls = self.stop_calls();
        self.resume_unless_stopped(now, calls)
    }

    /// As [`Control::resume`], unless [`Control::stop`] was called since there were `calls` of it: the later of the operator's two
    /// wishes holds, and looking whether all is well takes a while.
    pub fn resume_unless_stopped(&self, now: Stamp, calls: u64) -> bool {
        let mut state = self.lock();
        if state.stop_calls != calls {
            return false;
        }
        // The end of a plan from before the clock was set back is no time to wait for.
        let stop = state.motion.plan().filter(|plan| plan.made() <= now + chunk::SET_BACK);
        let rest = stop.map_or(now, |plan| plan.end());
        let resumed = state.watchdog.resume(now, rest);
        if resumed {
            state.forget();
            state.reason = None;
            lock(&self.plan).take_if(|_| rest <= now);
        }
        resumed
    }

    /// Stays stopped for the reason for which the control of other joints was stopped: another policy was loaded meanwhile.
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

    /// Lets the watchdog look at the time; whether the robot moves, or would with the next chunk.
    fn poll_armed(&self, now: Stamp, settings: &Settings) -> bool {
        let mut state = self.lock();
        self.look(&mut state, now, settings);
        state.watchdog.is_armed() && state.watchdog.state() != WatchdogState::Stopped
    }

    /// What follows when the clock was set back: nothing of before it holds, but the robot runs its plan out.
    fn look_back(&self, now: Stamp, settings: &Settings) -> Option<Watched> {
        let mut state = self.lock();
        let before = state.watchdog.set_back(now)?;
        let left = lock(&self.plan).take().map_or(Span::ZERO, |plan| plan.end() - before).max(Span::ZERO);
        state.forget();
        let stop = settings.rules.on_violation == OnViolation::Stop;
        if state.watchdog.start_over(now, now + left, stop).is_none() {
            return Some(Watched::default());
        }
        let back = (before - now).millis();
        state.reason = Some(Reason::fault(&format_args!("the clock was set back by {back:.0} ms")));
        state.count();
        Some(Watched { braked: Braked::AtRest, violation: None })
    }

    fn come_to_rest(
        &self,
        state: &mut State,
        now: Stamp,
        reason: Reason,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Braked {
        state.reason = Some(reason);
        state.count();
        if state.motion.names().is_empty() {
            return Braked::NoJoints;
        }
        // A plan that is over is no place to be sent to: the joints may have been moved since.
        if state.motion.plan().is_none_or(|plan| plan.end() <= now) {
            return Braked::AtRest;
        }
        let Some(plan) = state.motion.hold(now, &settings.motion) else { return Braked::Unplanned };
        plan.write(now, out);
        *lock(&self.plan) = Some(std::sync::Arc::clone(plan));
        Braked::Braking
    }
}
