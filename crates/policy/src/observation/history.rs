//! Samples of the last while, by stamp, for a state that belongs to an earlier time than now.

use std::collections::VecDeque;

use vla_base::time::{Span, Stamp};

/// Least distance of two samples that are kept, the newest two apart: a source of 1 kHz and more is thinned out, so that a
/// fixed number of samples covers the length at any rate.
const SPACING: Span = Span::from_nanos(2_000_000);

/// A ring of samples with ascending stamps. Allocates once, when it is made.
#[derive(Clone, Debug)]
pub(super) struct History<T> {
    samples: VecDeque<(Stamp, T)>,
    /// How far back from the newest sample it reaches; zero: nothing is kept.
    length: Span,
    capacity: usize,
}

/// Why there is no sample of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absent {
    /// It is before the oldest sample.
    TooEarly {
        /// Stamp of the oldest; `None` where there is no sample at all.
        oldest: Option<Stamp>,
    },
    /// It is in a gap, or too far after the newest sample.
    Gap {
        /// Distance of the samples around it, or from the newest to it.
        gap: Span,
    },
}

impl<T> Default for History<T> {
    /// Keeps nothing.
    fn default() -> Self {
        Self { samples: VecDeque::new(), length: Span::ZERO, capacity: 0 }
    }
}

impl<T> History<T> {
    /// Keeps samples for `length`.
    pub(crate) fn new(length: Span) -> Self {
        let spaced = usize::try_from(length.nanos() / SPACING.nanos()).unwrap_or(0);
        // One before the length, and the newest.
        let capacity = if spaced > 0 { spaced + 2 } else { 0 };
        Self { samples: VecDeque::with_capacity(capacity), length, capacity }
    }

    /// Whether samples are kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.capacity > 0
    }

    /// Adds a sample that is newer than all before; ignores another.
    pub(crate) fn push(&mut self, stamp: Stamp, value: T) {
        if self.capacity == 0 || self.samples.back().is_some_and(|newest| newest.0 >= stamp) {
            return;
        }
        let mut newest = self.samples.iter().rev().map(|sample| sample.0);
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last - before < SPACING
        {
            self.samples.pop_back();
        }
        let beyond = |samples: &VecDeque<(Stamp, T)>| samples.get(1).is_some_and(|next| stamp - next.0 >= self.length);
        while self.samples.len() >= self.capacity || beyond(&self.samples) {
            self.samples.pop_front();
        }
        self.samples.push_back((stamp, value));
    }

    /// Forgets all samples.
    pub(crate) fn clear(&mut self) {
        self.samples.clear();
    }

    /// The value at `stamp`: that of a sample of this very stamp, or `mix(before, after, part)` of the samples around it, with the part
    /// of the way from one to the other. A time after the newest sample has the newest value. `max_gap` bounds the distance between the
    /// samples around it, and from the newest sample to it.
    ///
    /// # Errors
    /// [`Absent`], with the figures.
    pub(crate) fn at(&self, stamp: Stamp, max_gap: Option<Span>, mix: impl Fn(&T, &T, f64) -> T) -> Result<T, Absent>
    where
        T: Clone,
    {
        let too_wide = |gap: Span| max_gap.is_some_and(|most| gap > most);
        let after = self.samples.partition_point(|sample| sample.0 < stamp);
        let before = after.checked_sub(1).and_then(|before| self.samples.get(before));
        match (before, self.samples.get(after)) {
            (_, Some((at, value))) if *at == stamp => Ok(value.clone()),
            (Some((start, from)), Some((end, to))) => match *end - *start {
                gap if too_wide(gap) => Err(Absent::Gap { gap }),
                gap => Ok(mix(from, to, (stamp - *start).seconds() / gap.seconds())),
            },
            (Some((newest, value)), None) => match stamp - *newest {
                gap if too_wide(gap) => Err(Absent::Gap { gap }),
                _ => Ok(value.clone()),
            },
            (None, oldest) => Err(Absent::TooEarly { oldest: oldest.map(|sample| sample.0) }),
        }
    }
}

/// A position between two, `part` of the way. Of a joint that turns without end the short way, in the turn of the nearer one.
pub(super) fn between(from: f64, to: f64, part: f64, continuous: bool) -> f64 {
    use std::f64::consts::TAU;
    if !continuous {
        return from + (to - from) * part;
    }
    let way = (to - from) - TAU * ((to - from) / TAU).round();
    if part <= 0.5 { from + way * part } else { to - way * (1.0 - part) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    fn ms(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn linear(from: &f64, to: &f64, part: f64) -> f64 {
        between(*from, *to, part, false)
    }

    /// One sample a `period` up to `last`, each with the number of its millisecond.
    fn filled(length_ms: f64, period: usize, last: i64) -> History<f64> {
        let mut history = History::new(Span::from_millis(length_ms));
        (0..=last).step_by(period).for_each(|at| history.push(ms(at), at as f64));
        history
    }

    #[test]
    fn a_time_between_two_samples_is_interpolated_and_a_stamp_has_its_own_value() {
        let history = filled(1000.0, 20, 2000);
        let at = |stamp| history.at(stamp, Some(Span::from_millis(20.0)), linear);
        assert_eq!((at(ms(1500)), at(ms(1505)), at(ms(2000))), (Ok(1500.0), Ok(1505.0), Ok(2000.0)));
        assert_eq!(at(ms(2020)), Ok(2000.0), "after the newest: the newest, as far as the gap allows");
        assert_eq!(at(ms(2021)), Err(Absent::Gap { gap: Span::from_millis(21.0) }));
        assert_eq!(at(ms(1000)), Ok(1000.0), "it reaches back as far as it is long");
        assert_eq!(at(ms(900)), Err(Absent::TooEarly { oldest: Some(ms(1000)) }));
        assert_eq!(
            History::<f64>::new(Span::from_millis(1000.0)).at(ms(1), None, linear),
            Err(Absent::TooEarly { oldest: None })
        );
    }

    #[test]
    fn a_gap_is_refused_where_it_is_bounded_and_bridged_where_it_is_not() {
        let mut history = filled(1000.0, 10, 100);
        history.push(ms(300), 300.0);
        let gap = Span::from_millis(200.0);
        assert_eq!(history.at(ms(200), Some(Span::from_millis(199.0)), linear), Err(Absent::Gap { gap }));
        assert_eq!(history.at(ms(200), Some(gap), linear), Ok(200.0));
        assert_eq!(history.at(ms(5000), None, linear), Ok(300.0));
    }

    #[test]
    fn a_fast_source_is_thinned_out_and_the_ring_never_grows() {
        let mut history = History::new(Span::from_millis(1000.0));
        let room = history.samples.capacity();
        for micros in (0..5_000_000i64).step_by(100) {
            history.push(Stamp::from_nanos(micros * 1000), micros as f64 / 1000.0);
        }
        assert_eq!(history.samples.capacity(), room);
        let oldest = history.at(ms(4001), Some(Span::from_millis(3.0)), linear).expect("a second back");
        assert!((oldest - 4001.0).abs() < 1e-6, "{oldest}");
        assert!(history.at(ms(2000), None, linear).is_err());
    }

    #[test]
    fn a_joint_that_turns_without_end_takes_the_short_way() {
        for (part, expected) in [(0.0, 3.0), (0.25, 3.0 + 0.25 * (TURN - 6.0)), (1.0, -3.0)] {
            assert!((between(3.0, -3.0, part, true) - expected).abs() < 1e-12);
        }
        assert_eq!(between(3.0, -3.0, 0.5, false), 0.0);
        assert_eq!(between(1.0, 2.0, 0.25, true), 1.25);
    }

    const TURN: f64 = 2.0 * PI;

    proptest! {
        /// On a motion of constant velocity every time within reach has its exact position, at any rate.
        #[test]
        fn interpolation_is_exact_on_a_line(period_us in 50i64..40_000, back in 0i64..1_000_000) {
            let mut history = History::new(Span::from_millis(1000.0));
            let stamps: Vec<i64> = (0..3_000_000).step_by(period_us as usize).collect();
            for &at in &stamps {
                history.push(Stamp::from_nanos(at * 1000), at as f64);
            }
            let at = stamps[stamps.len() - 1] - back;
            let found = history.at(Stamp::from_nanos(at * 1000), Some(Span::from_millis(40.0)), linear);
            prop_assert!((found.expect("within reach") - at as f64).abs() < 1e-3);
        }
    }
}
