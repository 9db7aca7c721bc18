//! Whether chunks keep coming, and what follows when they do not.
//!
//! ```text
//! idle -> running -> late -> holding -> stopped
//!            ^        |         |          |
//!            +--------+---------+      ~/resume -> idle
//! ```
//!
//! It decides; [`super::Motion`] makes the stops. Every plan ends at rest by itself, so holding needs no message when a plan
//! runs out, and a node that is killed is in this state for its controller.

use std::fmt;

use super::error::Error;
use super::grid::SET_BACK;
use vla_base::time::{Span, Stamp};

/// What the robot is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WatchdogState {
    /// Nothing since the start, or since a stop was ended.
    #[default]
    Idle,
    /// It follows a chunk, and the next is not due yet.
    Running,
    /// It follows a chunk, and the next should have come.
    Late,
    /// It comes to rest, or is at rest, and goes on with the next chunk.
    Holding,
    /// It is at rest until `~/resume`.
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

    /// Whether it follows a chunk.
    pub const fn is_moving(self) -> bool {
        matches!(self, Self::Running | Self::Late)
    }
}

impl fmt::Display for WatchdogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From one look to the next; a longer way is the clock's doing.
const LEAP: Span = Span::from_nanos(1_000_000_000);

/// The state machine. Time is given to it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Watchdog {
    state: WatchdogState,
    since: Stamp,
    next_due: Stamp,
    runs_out: Stamp,
    /// Last look at the time.
    looked: Stamp,
    /// Last look of the thread that watches the clock.
    watched: Stamp,
    /// Chunks of observations up to here are from before a hold that a violation asked for, or from before a rest.
    stale_until: Option<Stamp>,
    /// The next good chunk moves the robot, and no start of the inputs is waited for any more: it moved before, or was resumed.
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

    /// Whether something has moved since the start, or a stop was ended: from then on a fault is one, also at rest.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether a chunk of this observation may move the robot.
    ///
    /// # Errors
    /// [`Error::Stopped`] until [`Watchdog::resume`]; [`Error::BeforeHold`] for what was seen before a violation was;
    /// [`Error::SetBack`] at a time `now` from before the last look at the clock.
    pub fn admit(&self, observation: Stamp, now: Stamp) -> Result<(), Error> {
        if now < self.watched - SET_BACK {
            return Err(Error::SetBack { now, before: self.watched });
        }
        match (self.state, self.stale_until) {
            (WatchdogState::Stopped, _) => Err(Error::Stopped),
            (_, Some(held)) if observation <= held => Err(Error::BeforeHold { observation, held }),
            _ => Ok(()),
        }
    }

    /// A plan came into force at `now` that stops by itself from `runs_out` on; the next is expected by `next_due`.
    pub fn planned(&mut self, now: Stamp, next_due: Stamp, runs_out: Stamp) {
        (self.next_due, self.runs_out, self.looked, self.stale_until) = (next_due, runs_out, now, None);
        self.armed = true;
        self.enter(WatchdogState::Running, now);
    }

    /// The time goes on. The new state when it changed.
    ///
    /// `stop_after`: how long it may hold before it stops; `None`: for ever.
    pub fn poll(&mut self, now: Stamp, stop_after: Option<Span>) -> Option<WatchdogState> {
        let before = self.state;
        // Nobody looked for so long: the clock was set, or everything stood still. That was no silence.
        let leapt = now - self.looked > LEAP;
        if self.state.is_moving() && now >= self.runs_out {
            self.enter(WatchdogState::Holding, if leapt { now } else { self.runs_out });
        } else if leapt && self.state == WatchdogState::Holding {
            self.since = self.since + (now - self.looked);
        }
        self.looked = now;
        if self.state == WatchdogState::Running && now > self.next_due {
            self.enter(WatchdogState::Late, self.next_due);
        }
        if self.state == WatchdogState::Holding && stop_after.is_some_and(|limit| now - self.since >= limit) {
            self.enter(WatchdogState::Stopped, now);
        }
        (self.state != before).then_some(self.state)
    }

    /// Looks whether the clock was set back, and returns what it showed before. Always from the same thread: two threads that read
    /// the clock and then wait for each other see it go back, too.
    pub fn set_back(&mut self, now: Stamp) -> Option<Stamp> {
        let before = std::mem::replace(&mut self.watched, now);
        (now < before - SET_BACK).then_some(before)
    }

    /// After the clock was set back nothing is known of what was promised. The robot is at rest by `rest`, and what is seen up to
    /// then does not move it; `stop`: nothing does. The new state when it changed.
    pub fn start_over(&mut self, now: Stamp, rest: Stamp, stop: bool) -> Option<WatchdogState> {
        let before = self.state;
        let state = match before {
            WatchdogState::Stopped | WatchdogState::Idle => before,
            _ if stop => WatchdogState::Stopped,
            _ => WatchdogState::Idle,
        };
        let (armed, stale_until) = (self.armed, Some(rest));
        *self = Self { state, since: now, looked: now, watched: now, stale_until, armed, ..Self::default() };
        (state != before).then_some(state)
    }

    /// A violation asks for a hold; true when there is motion to be stopped.
    pub fn hold(&mut self, now: Stamp) -> bool {
        let moves = self.state.is_moving();
        if moves {
            self.stale_until = Some(now);
            self.enter(WatchdogState::Holding, now);
        }
        moves
    }

    /// What is seen up to `rest`, when the robot that brakes has come to rest, does not move it.
    pub fn wait_for(&mut self, rest: Stamp) {
        self.stale_until = self.stale_until.max(Some(rest));
    }

    /// A violation asks for a stop; true when it is entered. Before anything moved there is nothing to stop; after a stop was ended
    /// there is, though nothing may have moved since: who ended it is told again.
    pub fn stop(&mut self, now: Stamp) -> bool {
        self.armed && self.latch(now)
    }

    /// The operator asks for a stop; true when it is entered, whatever moved before.
    pub fn latch(&mut self, now: Stamp) -> bool {
        let enters = self.state != WatchdogState::Stopped;
        self.enter(WatchdogState::Stopped, now);
        enters
    }

    /// Ends a stop that comes to `rest` then; true when there was one. What was seen before it, or in motion, is not moved on.
    pub fn resume(&mut self, now: Stamp, rest: Stamp) -> bool {
        let stopped = self.state == WatchdogState::Stopped;
        if stopped {
            let stale = self.stale_until.unwrap_or(rest).max(rest).max(self.since);
            let (watched, stale_until) = (self.watched, Some(stale));
            *self = Self { since: now, watched, stale_until, armed: true, ..Self::default() };
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
