//! Notices when ROS time goes back: simulated time reset, a bag that loops, a host clock that was set.

use crate::time::{Span, Stamp};

/// Default of [`super::Rules::future_tolerance`] until the first observation brings the rules.
const DEFAULT_TOLERANCE: Span = Span::from_nanos(100_000_000);

/// The latest ROS time seen, and the number of times that it went back.
#[derive(Debug)]
pub(super) struct Clock {
    latest: Option<Stamp>,
    epoch: u64,
    /// Distance of the last step back, until it has been reported.
    unreported: Option<Span>,
    tolerance: Span,
}

impl Default for Clock {
    fn default() -> Self {
        Self { latest: None, epoch: 0, unreported: None, tolerance: DEFAULT_TOLERANCE }
    }
}

impl Clock {
    /// Takes note of the time and returns the run that it belongs to. Small steps back are the order in which
    /// threads get here.
    pub fn advance(&mut self, now: Stamp) -> u64 {
        match self.latest {
            Some(latest) if now < latest - self.tolerance => {
                self.epoch += 1;
                self.unreported = Some(latest - now);
                self.latest = Some(now);
            }
            latest => self.latest = latest.max(Some(now)),
        }
        self.epoch
    }

    /// How far the clock went back since the last call, when it did.
    pub fn take_jump(&mut self) -> Option<Span> {
        self.unreported.take()
    }

    pub fn set_tolerance(&mut self, tolerance: Span) {
        self.tolerance = tolerance;
    }

    pub fn tolerance(&self) -> Span {
        self.tolerance
    }

    /// Times that the clock went back.
    pub fn jumps(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_a_new_run_reported_once_and_jitter_is_not() {
        let mut clock = Clock::default();
        clock.set_tolerance(Span::from_nanos(10));
        let at = Stamp::from_nanos;
        assert_eq!((clock.advance(at(100)), clock.advance(at(95)), clock.advance(at(90))), (0, 0, 0));
        assert_eq!(clock.take_jump(), None);
        assert_eq!((clock.advance(at(40)), clock.advance(at(50))), (1, 1));
        assert_eq!((clock.take_jump(), clock.take_jump()), (Some(Span::from_nanos(60)), None));
    }
}
