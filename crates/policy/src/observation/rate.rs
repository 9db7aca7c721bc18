//! How fast an input arrives, against how fast its source seems to produce.

use vla_base::time::{Span, Stamp};

/// Window in samples: two seconds of a 30 Hz camera, a third of a second of 200 Hz joints.
const WINDOW: usize = 64;
/// Samples below which a rate would say nothing.
const FEWEST: usize = 8;
/// An input has ceased after this many of its mean periods without a sample, and this time at least.
const CEASED_PERIODS: i64 = 5;
const CEASED_AFTER: Span = Span::from_nanos(500_000_000);

/// Rates of one input over its last samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct InputRate {
    /// Samples with a new stamp that arrived, a second; 0 when the input has ceased.
    pub arrival_hz: f64,
    /// The source's own rate, 0 when the input has ceased: one over the 10th percentile of the differences between consecutive stamps. Where at
    /// least every tenth pair of neighbours arrives, a short difference is the source's period and the long ones are
    /// gaps. When frames are lost in a strict pattern (every second one, say) the period cannot be known from stamps,
    /// and this is the rate of what is left.
    pub source_hz: f64,
}

impl InputRate {
    /// Share of the source's samples that arrive, at most 1. Jitter of the stamps makes the shortest differences
    /// shorter than the period, so a healthy input can read 0.8.
    pub fn delivered(&self) -> f64 {
        if self.source_hz > 0.0 { (self.arrival_hz / self.source_hz).min(1.0) } else { 0.0 }
    }

    /// Whether so little arrives that the transport must be losing frames (less than 0.6 of the source's rate).
    /// With Fast DDS's default shared memory segment that is what happens to images above 512 KB.
    pub fn is_losing(&self) -> bool {
        self.arrival_hz > 0.0 && self.delivered() < 0.6
    }
}

/// Ring of the stamps and arrival times of the last samples.
#[derive(Clone, Debug)]
pub(super) struct RateWindow {
    ring: [(Stamp, Stamp); WINDOW],
    next: usize,
    len: usize,
}

impl Default for RateWindow {
    fn default() -> Self {
        Self { ring: [(Stamp::default(), Stamp::default()); WINDOW], next: 0, len: 0 }
    }
}

impl RateWindow {
    pub(crate) fn push(&mut self, stamp: Stamp, received: Stamp) {
        if let Some(entry) = self.ring.get_mut(self.next) {
            *entry = (stamp, received);
        }
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.next = 0;
    }

    /// Mean time from one arrival to the next; `None` with fewer than two samples.
    pub(crate) fn period(&self) -> Option<Span> {
        if self.len < 2 {
            return None;
        }
        let (first, last) = (self.entries().next()?.1, self.entries().last()?.1);
        Some(Span::from_nanos((last - first).nanos() / (self.len as i64 - 1)))
    }

    /// Samples from the oldest to the newest.
    fn entries(&self) -> impl Iterator<Item = &(Stamp, Stamp)> {
        let oldest = if self.len < WINDOW { 0 } else { self.next };
        self.ring.iter().cycle().skip(oldest).take(self.len)
    }

    /// The rates as of `now`; `None` with too few samples, or when they all came at one time.
    pub(crate) fn measure(&self, now: Stamp) -> Option<InputRate> {
        let period = self.period().filter(|_| self.len >= FEWEST)?;
        let entries = || self.entries();
        if now - entries().last()?.1 > period.times(CEASED_PERIODS).max(CEASED_AFTER) {
            return Some(InputRate { arrival_hz: 0.0, source_hz: 0.0 });
        }
        let mut periods = [Span::ZERO; WINDOW];
        let mut intervals = 0;
        for ((slot, before), after) in periods.iter_mut().zip(entries()).zip(entries().skip(1)) {
            *slot = after.0 - before.0;
            intervals += 1;
        }
        let periods = periods.get_mut(..intervals)?;
        periods.sort_unstable();
        let period = periods.get(intervals / 10)?.seconds();
        let (first, last) = (entries().next()?.1, entries().last()?.1);
        let elapsed = (last - first).seconds();
        (period > 0.0 && elapsed > 0.0)
            .then(|| InputRate { arrival_hz: intervals as f64 / elapsed, source_hz: 1.0 / period })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERIOD: i64 = 33_333_333;
    /// A time at which no input has ceased.
    const END: Stamp = Stamp::from_nanos(0);

    /// A 30 Hz source of which the frames with `lost` never arrive.
    fn window(frames: i64, lost: impl Fn(i64) -> bool) -> RateWindow {
        let mut window = RateWindow::default();
        for i in (0..frames).filter(|&i| !lost(i)) {
            window.push(Stamp::from_nanos(i * PERIOD), Stamp::from_nanos(i * PERIOD + 4_000_000));
        }
        window
    }

    #[test]
    fn a_healthy_camera_delivers_everything() {
        let rate = window(200, |_| false).measure(END).expect("enough samples");
        assert!((rate.arrival_hz - 30.0).abs() < 1e-6 && (rate.source_hz - 30.0).abs() < 1e-6, "{rate:?}");
        assert!(!rate.is_losing());
    }

    #[test]
    fn irregular_loss_is_seen_against_the_shortest_stamp_differences() {
        // A burst of three, then nine lost.
        let rate = window(600, |i| i % 12 > 2).measure(END).expect("enough samples");
        assert!((rate.source_hz - 30.0).abs() < 1e-6, "{rate:?}");
        assert!((0.2..0.3).contains(&rate.delivered()), "{rate:?}");
        assert!(rate.is_losing());
    }

    #[test]
    fn a_single_short_difference_is_not_taken_for_the_period() {
        let mut window = window(40, |_| false);
        window.push(Stamp::from_nanos(39 * PERIOD + 1_000), Stamp::from_nanos(39 * PERIOD + 5_000_000));
        assert!((window.measure(END).expect("enough samples").source_hz - 30.0).abs() < 1e-6);
    }

    #[test]
    fn a_strict_pattern_of_loss_cannot_be_told_from_a_slower_source() {
        let rate = window(400, |i| i % 2 == 1).measure(END).expect("enough samples");
        assert!((rate.source_hz - 15.0).abs() < 1e-6 && !rate.is_losing());
    }

    #[test]
    fn the_rate_of_an_input_that_ceased_is_zero_and_that_is_no_loss_in_transport() {
        let window = window(200, |i| i % 12 > 2);
        let last = Stamp::from_nanos(194 * PERIOD + 4_000_000);
        let after = |ms| window.measure(last + Span::from_millis(ms)).expect("enough samples");
        assert!(after(400.0).arrival_hz > 5.0 && after(400.0).is_losing());
        assert_eq!((after(900.0).arrival_hz, after(900.0).source_hz, after(900.0).is_losing()), (0.0, 0.0, false));
    }

    #[test]
    fn too_few_samples_give_no_rate() {
        assert_eq!(window(FEWEST as i64 - 1, |_| false).measure(END), None);
        assert_eq!(RateWindow::default().measure(END), None);
    }

    proptest! {
        #[test]
        fn jitter_of_a_tenth_of_the_period_is_not_loss(jitter in prop::collection::vec(-3_333_333i64..3_333_333, 64)) {
            let mut window = RateWindow::default();
            for (i, j) in (0i64..).zip(jitter) {
                window.push(Stamp::from_nanos(i * PERIOD + j), Stamp::from_nanos(i * PERIOD + 4_000_000));
            }
            prop_assert!(!window.measure(END).expect("enough samples").is_losing());
        }

        #[test]
        fn any_stamps_give_rates_that_are_not_negative_or_none(
            stamps in prop::collection::vec((any::<i64>(), any::<i64>()), 0..150), now in any::<i64>(),
        ) {
            let mut window = RateWindow::default();
            for (stamp, received) in stamps {
                window.push(Stamp::from_nanos(stamp), Stamp::from_nanos(received));
            }
            if let Some(rate) = window.measure(Stamp::from_nanos(now)) {
                prop_assert!(rate.arrival_hz >= 0.0 && rate.source_hz >= 0.0 && rate.delivered() <= 1.0);
            }
        }
    }
}
