//! The last seconds of one frame.

use std::collections::VecDeque;

use super::transform::Transform;
use vla_base::time::{Span, Stamp};

/// How long a sample is kept, by stamp.
const KEPT: Span = Span::from_nanos(10_000_000_000);
/// Samples kept at most: ten seconds at 200 Hz.
const MAX_SAMPLES: usize = 2048;

/// Where a frame was.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    pub stamp: Stamp,
    /// Parent frame.
    pub parent: usize,
    pub transform: Transform,
}

/// Samples by stamp, oldest first.
#[derive(Debug)]
pub(super) struct History(VecDeque<Sample>);

/// What a history has at a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum At {
    /// No sample.
    Nothing,
    /// Parent and transform.
    Found(usize, Transform),
    /// The time is before the oldest sample.
    Before(Stamp),
    /// The time is after the newest.
    After(Stamp),
}

impl History {
    pub(super) fn new(sample: Sample) -> Self {
        Self(VecDeque::from([sample]))
    }

    /// False when the sample is too old, or of a stamp that is there.
    pub(super) fn insert(&mut self, sample: Sample) -> bool {
        let newest = self.newest().map_or(sample.stamp, |newest| newest.stamp.max(sample.stamp));
        if sample.stamp < newest - KEPT {
            return false;
        }
        // Normally all of them.
        let before = self.0.partition_point(|held| held.stamp < sample.stamp);
        if self.0.get(before).is_some_and(|held| held.stamp == sample.stamp) {
            return false;
        }
        if self.0.len() >= MAX_SAMPLES {
            if before == 0 {
                return false;
            }
            self.0.pop_front();
            self.0.insert(before - 1, sample);
        } else {
            self.0.insert(before, sample);
        }
        while self.0.front().is_some_and(|oldest| oldest.stamp < newest - KEPT) {
            self.0.pop_front();
        }
        true
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn newest(&self) -> Option<&Sample> {
        self.0.back()
    }

    pub(super) fn at(&self, at: Stamp) -> At {
        let (Some(oldest), Some(newest)) = (self.0.front(), self.0.back()) else { return At::Nothing };
        let after = self.0.partition_point(|sample| sample.stamp <= at);
        let Some(one) = after.checked_sub(1).and_then(|before| self.0.get(before)) else {
            return At::Before(oldest.stamp);
        };
        match self.0.get(after) {
            _ if one.stamp == at => At::Found(one.parent, one.transform),
            None => At::After(newest.stamp),
            Some(other) if other.parent != one.parent => At::Found(one.parent, one.transform),
            Some(other) => {
                let ratio = (at - one.stamp).seconds() / (other.stamp - one.stamp).seconds();
                At::Found(one.parent, one.transform.interpolate(&other.transform, ratio))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(nanos: i64, parent: usize) -> Sample {
        let transform = Transform { translation: [nanos as f64, 0.0, 0.0], ..Transform::IDENTITY };
        Sample { stamp: Stamp::from_nanos(nanos), parent, transform }
    }

    fn x(history: &History, nanos: i64) -> Option<f64> {
        match history.at(Stamp::from_nanos(nanos)) {
            At::Found(_, transform) => Some(transform.translation[0]),
            _ => None,
        }
    }

    #[test]
    fn samples_are_sorted_by_stamp_and_a_repeated_stamp_is_ignored() {
        let mut history = History::new(sample(100, 0));
        assert_eq!([300, 200, 200, 100].map(|nanos| history.insert(sample(nanos, 0))), [true, true, false, false]);
        assert_eq!([100, 150, 299, 300].map(|nanos| x(&history, nanos)), [100.0, 150.0, 299.0, 300.0].map(Some));
        assert_eq!(history.at(Stamp::from_nanos(99)), At::Before(Stamp::from_nanos(100)));
        assert_eq!(history.at(Stamp::from_nanos(301)), At::After(Stamp::from_nanos(300)));
    }

    #[test]
    fn samples_are_kept_for_ten_seconds_and_no_more_than_the_ring_holds() {
        let mut history = History::new(sample(0, 0));
        let newest = KEPT.nanos() + 1;
        assert!(history.insert(sample(newest, 0)));
        assert_eq!(x(&history, 0), None, "older than ten seconds");
        assert!(!history.insert(sample(0, 0)) && history.insert(sample(1, 0)));
        let mut history = History::new(sample(0, 0));
        let many = MAX_SAMPLES as i64 + 10;
        (1..many).for_each(|nanos| assert!(history.insert(sample(nanos, 0))));
        assert_eq!(history.0.len(), MAX_SAMPLES);
        assert_eq!((x(&history, 9), x(&history, 10)), (None, Some(10.0)), "the oldest go");
        assert!(!history.insert(sample(5, 0)), "older than all of a full ring");
    }

    #[test]
    fn a_change_of_parent_is_not_interpolated() {
        let mut history = History::new(sample(100, 0));
        history.insert(sample(200, 7));
        assert!(matches!(history.at(Stamp::from_nanos(150)), At::Found(0, found) if found == sample(100, 0).transform));
        assert!(matches!(history.at(Stamp::from_nanos(200)), At::Found(7, found) if found == sample(200, 7).transform));
    }
}
