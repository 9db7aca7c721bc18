//! Detects ROS time going back: simulated time that is reset, a bag that loops, a host clock that is set.

use vla_base::time::{Span, Stamp};

/// [`super::Rules::future_tolerance`] until the first observation brings the rules.
const DEFAULT_TOLERANCE: Span = Span::from_nanos(100_000_000);

/// Runs of ROS time: each step back begins a new one.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: u64,
    /// Latest reading of this run by any reader.
    latest: Option<Stamp>,
    /// Size of the last step back, until it is reported.
    unreported: Option<Span>,
    tolerance: Span,
}

/// One thread's reader of the clock. A reading is compared only with earlier readings of the same thread: for a thread that
/// was delayed between reading the clock and offering its message, time has not gone back.
#[derive(Debug, Default)]
pub(super) struct ClockReader {
    epoch: u64,
    last: Option<Stamp>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { epoch: 0, latest: None, unreported: None, tolerance: DEFAULT_TOLERANCE }
    }
}

impl Clock {
    /// Records a reading and returns the run that it belongs to.
    pub(crate) fn advance(&mut self, reader: &mut ClockReader, now: Stamp) -> u64 {
        match reader.last {
            // Another reader has detected this step. An earlier reading, by a delayed thread, does not belong to the new run.
            _ if reader.epoch < self.epoch => {
                reader.last = self.latest.map_or(Some(now), |latest| Some(latest.min(now)))
            }
            Some(last) if now < last - self.tolerance => {
                self.epoch += 1;
                self.unreported = Some(last - now);
                (reader.last, self.latest) = (Some(now), Some(now));
            }
            last => {
                reader.last = last.max(Some(now));
                self.latest = self.latest.max(reader.last);
            }
        }
        reader.epoch = self.epoch;
        self.epoch
    }

    /// How far the clock went back since the last call, if it did.
    pub(crate) fn take_jump(&mut self) -> Option<Span> {
        self.unreported.take()
    }

    pub(crate) fn set_tolerance(&mut self, tolerance: Span) {
        self.tolerance = tolerance;
    }

    pub(crate) fn tolerance(&self) -> Span {
        self.tolerance
    }

    /// Number of times the clock went back.
    pub(crate) fn jumps(&self) -> u64 {
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
        let (mut clock, mut reader) = (clock(), ClockReader::default());
        assert_eq!([100, 95, 90].map(|now| clock.advance(&mut reader, at(now))), [0, 0, 0]);
        assert_eq!(clock.take_jump(), None);
        assert_eq!([40, 50].map(|now| clock.advance(&mut reader, at(now))), [1, 1]);
        assert_eq!((clock.take_jump(), clock.take_jump()), (Some(Span::from_nanos(60)), None));
    }

    #[test]
    fn one_step_back_seen_by_every_watch_is_one_new_run() {
        let (mut clock, mut readers) = (clock(), [ClockReader::default(), ClockReader::default()]);
        for now in [100, 40, 60] {
            for reader in &mut readers {
                clock.advance(reader, at(now));
            }
        }
        assert_eq!(clock.jumps(), 1);
    }

    #[test]
    fn a_reading_from_before_a_step_back_that_is_noted_after_it_is_not_another_step() {
        let (mut clock, mut readers) = (clock(), [ClockReader::default(), ClockReader::default()]);
        for (reader, now) in [(0, 1000), (1, 1001), (0, 20), (1, 1002), (1, 25), (0, 40), (1, 45)] {
            clock.advance(&mut readers[reader], at(now));
        }
        assert_eq!(clock.jumps(), 1);
        clock.advance(&mut readers[1], at(5));
        assert_eq!(clock.jumps(), 2, "a second step is seen");
    }

    #[test]
    fn for_a_delayed_thread_time_has_not_gone_back() {
        let (mut clock, mut readers) = (clock(), [ClockReader::default(), ClockReader::default()]);
        clock.advance(&mut readers[0], at(100));
        clock.advance(&mut readers[1], at(20));
        assert_eq!(clock.jumps(), 0);
    }
}
