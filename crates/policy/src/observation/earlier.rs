//! Earlier samples than the held one, for policies that read frames of several times.

use std::collections::VecDeque;

use super::slot::Sample;
use vla_base::time::{Span, Stamp};

/// Most samples that are kept: a camera of 240 Hz for four seconds. A faster or longer history loses its oldest ones, which the
/// check of the observation then reports.
const MOST: usize = 1024;

/// Samples with ascending stamps, all before the held one of the slot. Frames are shared, not copied, and released as soon as no
/// later observation can ask for them.
#[derive(Debug)]
pub(super) struct Earlier<T> {
    samples: VecDeque<Sample<T>>,
    /// How far back from the newest sample the oldest is needed; zero: nothing is kept.
    length: Span,
}

impl<T> Default for Earlier<T> {
    /// Keeps nothing.
    fn default() -> Self {
        Self { samples: VecDeque::new(), length: Span::ZERO }
    }
}

impl<T> Earlier<T> {
    /// Keeps samples for `length` behind the newest.
    pub(crate) fn new(length: Span) -> Self {
        Self { samples: VecDeque::new(), length }
    }

    /// Keeps `sample`, which `newest` has displaced. Returns one that is no longer needed, to be freed outside the lock: a sample
    /// comes in each time, so the number of those kept does not grow.
    pub(crate) fn push(&mut self, sample: Sample<T>, newest: Stamp) -> Option<Sample<T>> {
        if self.length == Span::ZERO || self.samples.back().is_some_and(|last| last.stamp >= sample.stamp) {
            return Some(sample);
        }
        self.samples.push_back(sample);
        // The one before the length may still be the nearest.
        let beyond = self.samples.get(1).is_some_and(|second| newest - second.stamp >= self.length);
        if beyond || self.samples.len() > MOST { self.samples.pop_front() } else { None }
    }

    /// The sample whose stamp is nearest to `stamp`, the earlier one of two.
    pub(crate) fn nearest(&self, stamp: Stamp) -> Option<&Sample<T>> {
        let after = self.samples.partition_point(|sample| sample.stamp < stamp);
        let before = after.checked_sub(1).and_then(|before| self.samples.get(before));
        match (before, self.samples.get(after)) {
            (Some(before), Some(after)) if stamp - before.stamp > after.stamp - stamp => Some(after),
            (Some(before), _) => Some(before),
            (None, after) => after,
        }
    }

    /// Forgets all samples.
    pub(crate) fn clear(&mut self) {
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(ms: i64) -> Sample<i64> {
        let stamp = Stamp::from_nanos(ms * 1_000_000);
        Sample { stamp, received: stamp, value: ms, same: false }
    }

    /// What is kept of samples at these times, each displaced by the next; the last is the newest and not among them.
    fn filled(length_ms: i64, times: &[i64]) -> Earlier<i64> {
        let mut earlier = Earlier::new(Span::from_nanos(length_ms * 1_000_000));
        for pair in times.windows(2) {
            let _freed = earlier.push(sample(pair[0]), sample(pair[1]).stamp);
        }
        earlier
    }

    #[test]
    fn no_more_is_kept_than_the_length_needs() {
        let times: Vec<i64> = (0..1000).map(|i| i * 33).collect();
        let earlier = filled(1000, &times);
        assert!((30..=32).contains(&earlier.samples.len()), "{}", earlier.samples.len());
        assert!(filled(0, &times).samples.is_empty());
    }

    #[test]
    fn a_sample_that_is_not_newer_is_given_back() {
        let mut earlier = filled(1000, &[0, 10, 20]);
        assert_eq!(earlier.push(sample(5), sample(30).stamp).map(|sample| sample.value), Some(5));
        assert_eq!(earlier.samples.len(), 2);
    }

    proptest! {
        #[test]
        fn the_nearest_within_the_length_is_found_at_any_rate(
            steps in proptest::collection::vec(1i64..200, 2..300),
            length in 100i64..3000,
            back in 0.0..1.0,
        ) {
            let times: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let (newest, before) = times.split_last().expect("two at least");
            let wanted = newest - (back * length as f64) as i64;
            let nearest = before.iter().min_by_key(|at| ((*at - wanted).abs(), **at)).expect("one at least");
            let found = filled(length, &times).nearest(sample(wanted).stamp).map(|sample| sample.value);
            prop_assert_eq!(found, Some(*nearest));
        }
    }
}
