//! Notices when ROS time goes back: simulated time reset, a bag that loops, a host clock that was set.

use vla_base::time::{Span, Stamp};

/// [`super::Rules::future_tolerance`] until the first observation brings the rules.
const DEFAULT_TOLERANCE: Span = Span::from_nanos(100_000_000);

/// Runs of ROS time: each step back begins a new one.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: u64,
    /// Latest reading of this run by any watch that belongs to it.
    latest: Option<Stamp>,
    /// Distance of the last step back, until it has been reported.
    unreported: Option<Span>,
    tolerance: Span,
}

/// One reader of the clock. Time is compared with what the same thread read before and never across threads: a task
/// that was held up between reading the clock and offering its message has not seen time go back.
#[derive(Debug, Default)]
pub(super) struct Watch {
    epoch: u64,
    last: Option<Stamp>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { epoch: 0, latest: None, unreported: None, tolerance: DEFAULT_TOLERANCE }
    }
}

impl Clock {
    /// Takes note of what a watch reads and returns the run that it belongs to.
    pub fn advance(&mut self, watch: &mut Watch, now: Stamp) -> u64 {
        match watch.last {
            // Another watch has noticed this step already. A reading from before it, by a thread that was held up since, is no
            // reading of the new run.
            _ if watch.epoch < self.epoch => watch.last = self.latest.map_or(Some(now), |latest| Some(latest.min(now))),
            Some(last) if now < last - self.tolerance => {
                self.epoch += 1;
                self.unreported = Some(last - now);
                (watch.last, self.latest) = (Some(now), Some(now));
            }
            last => {
                watch.last = last.max(Some(now));
                self.latest = self.latest.max(watch.last);
            }
        }
        watch.epoch = self.epoch;
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

    fn at(nanos: i64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    fn clock() -> Clock {
        let mut clock = Clock::default();
        clock.set_tolerance(Span::from_nanos(10));
        clock
    }

    #[test]
    fn a_step_back_is_a_new_run_reported_once_and_jitter_is_not() {
        let (mut clock, mut watch) = (clock(), Watch::default());
        assert_eq!([100, 95, 90].map(|now| clock.advance(&mut watch, at(now))), [0, 0, 0]);
        assert_eq!(clock.take_jump(), None);
        assert_eq!([40, 50].map(|now| clock.advance(&mut watch, at(now))), [1, 1]);
        assert_eq!((clock.take_jump(), clock.take_jump()), (Some(Span::from_nanos(60)), None));
    }

    #[test]
    fn one_step_back_seen_by_every_watch_is_one_new_run() {
        let (mut clock, mut watches) = (clock(), [Watch::default(), Watch::default()]);
        for now in [100, 40, 60] {
            for watch in &mut watches {
                clock.advance(watch, at(now));
            }
        }
        assert_eq!(clock.jumps(), 1);
    }

    #[test]
    fn a_reading_from_before_a_step_back_that_is_noted_after_it_is_not_another_step() {
        let (mut clock, mut watches) = (clock(), [Watch::default(), Watch::default()]);
        for (watch, now) in [(0, 1000), (1, 1001), (0, 20), (1, 1002), (1, 25), (0, 40), (1, 45)] {
            clock.advance(&mut watches[watch], at(now));
        }
        assert_eq!(clock.jumps(), 1);
        clock.advance(&mut watches[1], at(5));
        assert_eq!(clock.jumps(), 2, "a second step is seen");
    }

    #[test]
    fn a_task_that_was_held_up_has_not_seen_time_go_back() {
        let (mut clock, mut watches) = (clock(), [Watch::default(), Watch::default()]);
        clock.advance(&mut watches[0], at(100));
        clock.advance(&mut watches[1], at(20));
        assert_eq!(clock.jumps(), 0);
    }
}
