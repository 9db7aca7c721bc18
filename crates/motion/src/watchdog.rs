//! Watchdog: brakes and stops when no new chunk arrives in time.
//!
//! ```text
//! idle -> running -> late -> holding -> stopped
//!            ^        |         |          |
//!            +--------+---------+      ~/resume -> idle
//! ```
//!
//! The watchdog decides; [`super::Motion`] computes the stops. Every plan ends at rest by itself, so holding needs no message when
//! a plan runs out, and the robot of a killed node comes to rest, too.

use std::fmt;

use super::error::Error;
use super::grid::CLOCK_TOLERANCE;
use vla_base::time::{Span, Stamp};

/// Whether the robot follows a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WatchdogState {
    /// No chunk since the start, or since the last resume.
    #[default]
    Idle,
    /// The robot follows a chunk, and the next is not due yet.
    Running,
    /// The robot follows a chunk, and the next one is overdue.
    Late,
    /// The robot comes to rest or is at rest, and moves again with the next chunk.
    Holding,
    /// The robot comes to rest or is at rest until `~/resume`.
    Stopped,
}

impl WatchdogState {
    /// The word for diagnostics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Late => "late",
            Self::Holding => "holding",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the robot follows a chunk.
    pub const fn is_moving(self) -> bool {
        matches!(self, Self::Running | Self::Late)
    }
}

impl fmt::Display for WatchdogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Longest time between two polls; after a longer one the clock was set, or the process stood still.
const LONGEST_GAP: Span = Span::from_nanos(1_000_000_000);

/// The state machine. The caller passes in the time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Watchdog {
    state: WatchdogState,
    since: Stamp,
    next_due: Stamp,
    runs_out: Stamp,
    /// Time of the last poll.
    last_poll: Stamp,
    /// Last clock reading of the watchdog thread.
    last_clock_poll: Stamp,
    /// Observations up to here were taken before a hold or before the robot came to rest; their chunks are refused.
    stale_until: Option<Stamp>,
    /// The robot moved since the start, or a stop was ended: from then on a missing input is a fault, not a start.
    armed: bool,
}

impl Watchdog {
    /// The state as of the last call.
    pub fn state(&self) -> WatchdogState {
        self.state
    }

    /// When it was entered.
    pub fn since(&self) -> Stamp {
        self.since
    }

    /// Whether the robot moved since the start, or a stop was ended: from then on a fault counts as one also at rest.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether a chunk of this observation may move the robot.
    ///
    /// # Errors
    /// [`Error::Stopped`] until [`Watchdog::resume`]; [`Error::BeforeHold`] for an observation from before a hold;
    /// [`Error::SetBack`] when `now` is before the last clock reading.
    pub fn admit(&self, observation: Stamp, now: Stamp) -> Result<(), Error> {
        if now < self.last_clock_poll - CLOCK_TOLERANCE {
            return Err(Error::SetBack { now, before: self.last_clock_poll });
        }
        match (self.state, self.stale_until) {
            (WatchdogState::Stopped, _) => Err(Error::Stopped),
            (_, Some(held)) if observation <= held => Err(Error::BeforeHold { observation, held }),
            _ => Ok(()),
        }
    }

    /// A plan came into force at `now` that stops by itself from `runs_out` on; the next is expected by `next_due`.
    pub fn planned(&mut self, now: Stamp, next_due: Stamp, runs_out: Stamp) {
        (self.next_due, self.runs_out, self.last_poll, self.stale_until) = (next_due, runs_out, now, None);
        self.armed = true;
        self.enter(WatchdogState::Running, now);
    }

    /// Advances the time. Returns the new state when it changed.
    ///
    /// `stop_after`: longest time in [`WatchdogState::Holding`] before [`WatchdogState::Stopped`]; `None`: no limit.
    pub fn poll(&mut self, now: Stamp, stop_after: Option<Span>) -> Option<WatchdogState> {
        let before = self.state;
        // After so long a gap the missing chunks are not the policy's fault.
        let long_gap = now - self.last_poll > LONGEST_GAP;
        if self.state.is_moving() && now >= self.runs_out {
            self.enter(WatchdogState::Holding, if long_gap { now } else { self.runs_out });
        } else if long_gap && self.state == WatchdogState::Holding {
            self.since = self.since + (now - self.last_poll);
        }
        self.last_poll = now;
        if self.state == WatchdogState::Running && now > self.next_due {
            self.enter(WatchdogState::Late, self.next_due);
        }
        if self.state == WatchdogState::Holding && stop_after.is_some_and(|limit| now - self.since >= limit) {
            self.enter(WatchdogState::Stopped, now);
        }
        (self.state != before).then_some(self.state)
    }

    /// Returns the previous clock reading when the clock was set back. Call it from one thread only: two threads that read the clock
    /// and then wait for a lock see it go back, too.
    pub fn set_back(&mut self, now: Stamp) -> Option<Stamp> {
        let before = std::mem::replace(&mut self.last_clock_poll, now);
        (now < before - CLOCK_TOLERANCE).then_some(before)
    }

    /// The last clock reading of the thread that calls [`Watchdog::set_back`], when `now` is before it: the clock was set back, and that
    /// thread has not noticed yet.
    pub fn went_back(&self, now: Stamp) -> Option<Stamp> {
        (now < self.last_clock_poll - CLOCK_TOLERANCE).then_some(self.last_clock_poll)
    }

    /// Restarts after the clock was set back. The robot is at rest by `rest`; chunks of observations up to then are refused. `stop`:
    /// all chunks are, until [`Watchdog::resume`]. Returns the new state when it changed.
    pub fn start_over(&mut self, now: Stamp, rest: Stamp, stop: bool) -> Option<WatchdogState> {
        let before = self.state;
        let state = match before {
            WatchdogState::Stopped | WatchdogState::Idle => before,
            _ if stop => WatchdogState::Stopped,
            _ => WatchdogState::Idle,
        };
        let (armed, stale_until) = (self.armed, Some(rest));
        *self = Self { state, since: now, last_poll: now, last_clock_poll: now, stale_until, armed, ..Self::default() };
        (state != before).then_some(state)
    }

    /// Holds because of a violation; true when there is motion to stop.
    pub fn hold(&mut self, now: Stamp) -> bool {
        let moves = self.state.is_moving();
        if moves {
            self.stale_until = Some(now);
            self.enter(WatchdogState::Holding, now);
        }
        moves
    }

    /// Refuses chunks of observations up to `rest`, the time at which the braking robot is at rest.
    pub fn ignore_until(&mut self, rest: Stamp) {
        self.stale_until = self.stale_until.max(Some(rest));
    }

    /// Starts anew after the motion was suspended; a stop stays. `rest`: end of the stop that the suspension caused, `None` when the robot
    /// was at rest; chunks of observations up to then are refused.
    pub fn release(&mut self, now: Stamp, rest: Option<Stamp>) {
        if self.state != WatchdogState::Stopped {
            self.stale_until = self.stale_until.max(rest);
            self.enter(WatchdogState::Idle, now);
        }
    }

    /// Stops because of a violation; true when the state is entered. Does nothing before the first motion. After a resume it stops
    /// also before anything moves, so that the operator who resumed sees the fault.
    pub fn stop(&mut self, now: Stamp) -> bool {
        self.armed && self.latch(now)
    }

    /// Stops because the operator asked; true when the state is entered. Works also before the first motion.
    pub fn latch(&mut self, now: Stamp) -> bool {
        let enters = self.state != WatchdogState::Stopped;
        self.enter(WatchdogState::Stopped, now);
        enters
    }

    /// Ends a stop whose motion is at rest by `rest`; true when there was one. Chunks of observations from before that are refused.
    pub fn resume(&mut self, now: Stamp, rest: Stamp) -> bool {
        let stopped = self.state == WatchdogState::Stopped;
        if stopped {
            let stale = self.stale_until.unwrap_or(rest).max(rest).max(self.since);
            let (last_clock_poll, stale_until) = (self.last_clock_poll, Some(stale));
            *self = Self { since: now, last_clock_poll, stale_until, armed: true, ..Self::default() };
        }
        stopped
    }

    fn enter(&mut self, state: WatchdogState, at: Stamp) {
        if state != self.state {
            (self.state, self.since) = (state, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    const SECOND: Option<Span> = Some(Span::from_nanos(1_000_000_000));

    fn running() -> Watchdog {
        let mut watchdog = Watchdog::default();
        watchdog.planned(at(1000), at(1300), at(1450));
        watchdog
    }

    #[test]
    fn without_chunks_it_is_late_then_holds_then_stops() {
        let mut watchdog = running();
        assert_eq!(watchdog.poll(at(1300), SECOND), None);
        assert_eq!(watchdog.poll(at(1301), SECOND), Some(WatchdogState::Late));
        assert_eq!(watchdog.poll(at(1449), SECOND), None);
        assert_eq!(watchdog.poll(at(1470), SECOND), Some(WatchdogState::Holding));
        assert_eq!(watchdog.since(), at(1450), "the plan held by itself");
        assert_eq!(watchdog.poll(at(2449), SECOND), None);
        assert_eq!(watchdog.poll(at(2450), SECOND), Some(WatchdogState::Stopped));
        assert_eq!(watchdog.admit(at(2500), at(2500)), Err(Error::Stopped));
        assert!(watchdog.resume(at(3000), at(2600)) && !watchdog.resume(at(3001), at(2600)));
        assert_eq!(watchdog.state(), WatchdogState::Idle);
        assert!(watchdog.admit(at(2600), at(2600)).is_err(), "seen before the rest");
        assert_eq!(watchdog.admit(at(2601), at(2601)), Ok(()));
    }

    #[test]
    fn a_chunk_ends_late_and_holding_and_a_long_silence_is_seen_at_once() {
        let mut watchdog = running();
        watchdog.poll(at(1400), SECOND);
        watchdog.planned(at(1410), at(1700), at(1900));
        assert_eq!(watchdog.state(), WatchdogState::Running);
        assert_eq!(watchdog.poll(at(1950), None), Some(WatchdogState::Holding));
        assert_eq!(watchdog.poll(at(999_000), None), None, "without a limit it holds for ever");
        assert_eq!(watchdog.admit(at(1000), at(1000)), Ok(()), "a plan that ran out makes no observation stale");
    }

    #[test]
    fn a_clock_that_leaps_is_no_silence() {
        let mut watchdog = running();
        assert_eq!(watchdog.poll(at(9000), SECOND), Some(WatchdogState::Holding));
        assert_eq!(watchdog.poll(at(9900), SECOND), None);
        assert_eq!(watchdog.poll(at(99_900), SECOND), None);
        assert_eq!(watchdog.poll(at(100_000), SECOND), Some(WatchdogState::Stopped));
    }

    #[test]
    fn a_hold_for_a_violation_refuses_what_was_seen_before_it() {
        let mut watchdog = running();
        assert!(watchdog.hold(at(1100)) && !watchdog.hold(at(1110)));
        assert!(matches!(watchdog.admit(at(1100), at(1100)), Err(Error::BeforeHold { .. })));
        assert_eq!(watchdog.admit(at(1101), at(1101)), Ok(()));
    }

    #[test]
    fn nothing_is_stopped_before_anything_moved() {
        let mut watchdog = Watchdog::default();
        assert!(!watchdog.hold(at(10)) && !watchdog.stop(at(10)));
        assert_eq!(watchdog.poll(at(1_000_000), SECOND), None);
        let mut watchdog = running();
        assert!(watchdog.stop(at(1100)) && !watchdog.stop(at(1101)));
    }

    #[test]
    fn after_a_resume_a_violation_stops_again_before_anything_moves() {
        let mut watchdog = running();
        assert!(watchdog.stop(at(1100)) && watchdog.resume(at(2000), at(1300)));
        assert_eq!((watchdog.state(), watchdog.is_armed()), (WatchdogState::Idle, true));
        assert!(watchdog.stop(at(2010)));
        assert_eq!(watchdog.admit(at(2020), at(2030)), Err(Error::Stopped));
    }

    #[test]
    fn a_release_makes_stale_what_was_seen_before_the_rest_and_leaves_a_stop() {
        let mut watchdog = running();
        assert!(watchdog.hold(at(1100)));
        watchdog.release(at(2000), Some(at(1300)));
        assert_eq!((watchdog.state(), watchdog.since()), (WatchdogState::Idle, at(2000)));
        assert!(watchdog.admit(at(1300), at(2000)).is_err() && watchdog.admit(at(1301), at(2000)).is_ok());
        // One that ran out by itself was at rest.
        let mut watchdog = running();
        watchdog.poll(at(1500), SECOND);
        watchdog.release(at(2000), None);
        assert_eq!(watchdog.admit(at(1000), at(2000)), Ok(()));
        assert_eq!(watchdog.poll(at(99_000), SECOND), None, "no chunk is waited for");
        watchdog.latch(at(99_000));
        watchdog.release(at(99_001), None);
        assert_eq!(watchdog.state(), WatchdogState::Stopped);
    }

    #[test]
    fn an_operators_stop_holds_also_before_anything_moved() {
        let mut watchdog = Watchdog::default();
        assert!(watchdog.latch(at(10)) && !watchdog.latch(at(20)));
        assert_eq!((watchdog.state(), watchdog.since()), (WatchdogState::Stopped, at(10)));
        assert_eq!(watchdog.admit(at(30), at(40)), Err(Error::Stopped));
    }

    #[test]
    fn a_clock_that_goes_back_leaves_nothing_promised_but_a_stop() {
        // Long after the state was entered, and not to before it.
        let mut watchdog = running();
        assert_eq!(watchdog.set_back(at(50_000)), None);
        watchdog.planned(at(50_000), at(50_300), at(50_450));
        assert_eq!(watchdog.set_back(at(49_950)), None, "no more than threads that wait for each other");
        assert!(matches!(watchdog.admit(at(44_950), at(45_000)), Err(Error::SetBack { .. })), "until it is seen");
        assert_eq!(watchdog.set_back(at(45_000)), Some(at(49_950)));
        let mut stopped = watchdog.clone();
        assert_eq!(watchdog.start_over(at(45_000), at(45_400), false), Some(WatchdogState::Idle));
        assert!(watchdog.admit(at(45_400), at(45_410)).is_err() && watchdog.admit(at(45_401), at(45_410)).is_ok());
        assert_eq!(stopped.start_over(at(45_000), at(45_400), true), Some(WatchdogState::Stopped));
        assert_eq!(stopped.start_over(at(40_000), at(40_100), false), None, "a stop stays");
        assert!(stopped.resume(at(40_010), at(40_010)) && stopped.admit(at(40_100), at(40_110)).is_err());
    }
}
