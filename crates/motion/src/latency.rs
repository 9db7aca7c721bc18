//! How long a chunk takes from its observation to its publication, and what follows for its rows.

use super::error::Error;
use vla_base::time::Span;

/// Number of latencies that are kept.
const KEPT: usize = 100;
/// Fewer are not enough for a judgement.
const ENOUGH: usize = 5;
/// Up to so many the 95th percentile is the largest of all, or nearly so.
const FEW: usize = 40;

/// The last latencies, in a ring.
#[derive(Clone, PartialEq, Debug)]
pub struct Latencies {
    ring: [Span; KEPT],
    count: usize,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { ring: [Span::ZERO; KEPT], count: 0 }
    }
}

impl Latencies {
    /// Adds one in the place of the oldest.
    ///
    /// The first inferences of a cold start may take many times as long as all others (memory that is touched first, clocks that
    /// rise). While there are few, those at the beginning that are more than twice the median are dropped.
    pub fn push(&mut self, latency: Span) {
        let at = self.count % KEPT;
        if let Some(entry) = self.ring.get_mut(at) {
            *entry = latency.max(Span::ZERO);
        }
        // A multiple of the ring less, before it could overflow.
        self.count = if self.count >= usize::MAX - 1 { KEPT } else { self.count + 1 };
        while self.count <= FEW && self.begins_with_an_outlier() {
            self.ring.copy_within(1..self.count, 0);
            self.count -= 1;
        }
    }

    fn begins_with_an_outlier(&self) -> bool {
        let mut sorted = self.ring;
        let Some(sorted) = sorted.get_mut(..self.count) else { return false };
        sorted.sort_unstable();
        // The lower of two middle ones.
        let median = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default();
        self.ring.first().is_some_and(|&first| first > median.times(2))
    }

    /// The 95th percentile of those kept, nearest rank; `None` without any.
    pub fn p95(&self) -> Option<Span> {
        let known = self.count.min(KEPT);
        let mut sorted = self.ring;
        let sorted = sorted.get_mut(..known)?;
        sorted.sort_unstable();
        sorted.get((known * 95).div_ceil(100).checked_sub(1)?).copied()
    }

    /// Whether there are enough to judge by.
    pub fn is_significant(&self) -> bool {
        self.count >= ENOUGH
    }

    /// Rows of the next chunk that will be late when it is published, by [`Latencies::p95`]: row i is due `(i + 1) * step` after
    /// the observation.
    pub fn late_rows(&self, step: Span) -> usize {
        let late = self.p95().unwrap_or_default().nanos() / step.nanos().max(1);
        usize::try_from(late).unwrap_or(0)
    }
}

/// Refuses a chunk too short for its latency: `rows * step` must cover twice the sum of latency and period, so that one chunk
/// may be lost or late and the next still joins the motion of the one before.
///
/// # Errors
/// [`Error::TooShort`] with what to change.
pub fn check_horizon(rows: usize, step: Span, latency: Span, period: Span) -> Result<(), Error> {
    let covered = step.times(i64::try_from(rows).unwrap_or(i64::MAX));
    let needed = Span::from_nanos(latency.nanos().saturating_add(period.nanos())).times(2);
    if covered >= needed { Ok(()) } else { Err(Error::TooShort { rows, step, latency, period }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: i64) -> Span {
        Span::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_its_percentile_is_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.p95(), latencies.late_rows(ms(20))), (None, 0));
        latencies.push(ms(7));
        assert_eq!(latencies.p95(), Some(ms(7)));
        (1..=100).for_each(|i| latencies.push(ms(i)));
        assert_eq!(latencies.p95(), Some(ms(95)));
        (0..100).for_each(|_| latencies.push(ms(45)));
        assert_eq!((latencies.p95(), latencies.late_rows(ms(20))), (Some(ms(45)), 2));
    }

    #[test]
    fn the_slow_first_inferences_of_a_cold_start_are_dropped_and_slow_ones_later_are_not() {
        let mut latencies = Latencies::default();
        let mut late = |latency| {
            latencies.push(ms(latency));
            latencies.late_rows(ms(20))
        };
        assert_eq!([3000, 1000, 60, 50, 50].map(&mut late), [150, 50, 3, 3, 3]);
        assert_eq!([400, 50].map(&mut late), [20, 20], "a slow one among others counts");
    }

    #[test]
    fn a_chunk_too_short_for_its_latency_is_refused_with_what_to_change() {
        assert_eq!(check_horizon(40, ms(20), ms(200), ms(200)), Ok(()));
        let error = check_horizon(16, ms(20), ms(150), ms(200)).expect_err("320 ms against 700 ms");
        let text = error.to_string();
        for part in ["16 rows", "320 ms", "700 ms", "150 ms", "rate_hz", "denoise.steps"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}
