//! Recorded actions over time, one track a column.
//!
//! Samples stay until no pending chunk needs them, so that memory does not grow with the recording.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use vla_base::time::{Span, Stamp};

/// Longest time between two samples across which positions are interpolated.
const LONGEST_GAP: Span = Span::from_nanos(500_000_000);

/// The recorded value of every column over time.
pub(crate) struct Timeline {
    tracks: Vec<Track>,
    /// A sample this near to a time is taken as it is.
    snap: Span,
    /// Whether a value holds until the next one (commands), or only between near samples (measured positions).
    holds: bool,
}

#[derive(Clone, Default)]
struct Track {
    /// Ascending.
    samples: VecDeque<(Stamp, f64)>,
    /// The joint turns without end: between two samples it takes the short way.
    continuous: bool,
}

impl Timeline {
    /// A timeline of as many columns as `continuous` has, for rows that are `step` apart.
    pub(crate) fn new(continuous: impl IntoIterator<Item = bool>, step: Span, holds: bool) -> Self {
        let track = |continuous| Track { continuous, ..Track::default() };
        let snap = Span::from_nanos(step.nanos() / 100);
        Self { tracks: continuous.into_iter().map(track).collect(), snap, holds }
    }

    /// Adds a sample. It replaces those of the same and of later times, as a controller drops the rest of the trajectory that
    /// it had.
    pub(crate) fn push(&mut self, column: usize, at: Stamp, value: f64) {
        let Some(Track { samples, .. }) = self.tracks.get_mut(column) else { return };
        while samples.back().is_some_and(|(last, _)| *last >= at) {
            samples.pop_back();
        }
        samples.push_back((at, value));
    }

    /// Forgets what is not needed for times from `at` on.
    pub(crate) fn forget_before(&mut self, at: Stamp) {
        for Track { samples, .. } in &mut self.tracks {
            while samples.get(1).is_some_and(|(next, _)| *next + self.snap < at) {
                samples.pop_front();
            }
        }
    }

    /// The time up to which every column has samples; `None` while one has none.
    pub(crate) fn covered(&self) -> Option<Stamp> {
        self.tracks.iter().map(|track| track.samples.back().map(|(at, _)| *at)).min().flatten()
    }

    /// Columns without a sample.
    pub(crate) fn empty(&self) -> impl Iterator<Item = usize> {
        self.tracks.iter().enumerate().filter(|(_, track)| track.samples.is_empty()).map(|(column, _)| column)
    }

    /// Writes the recorded row at a time; false when a column has no value there. `end`: the last time of the recording.
    pub(crate) fn row(&self, at: Stamp, end: Stamp, out: &mut [f32]) -> bool {
        for (track, out) in self.tracks.iter().zip(out) {
            let Some(value) = self.value(track, at, end) else { return false };
            *out = value as f32;
        }
        true
    }

    fn value(&self, track: &Track, at: Stamp, end: Stamp) -> Option<f64> {
        let samples = &track.samples;
        let after = samples.partition_point(|(time, _)| *time < at);
        let earlier = after.checked_sub(1).and_then(|index| samples.get(index)).copied();
        let later = samples.get(after).copied();
        let near = |sample: &(Stamp, f64)| (sample.0 - at).abs() <= self.snap;
        let (one, other) = (earlier.filter(near), later.filter(near));
        match (one, other) {
            (Some(one), Some(other)) => {
                return Some(if at - one.0 < other.0 - at { one.1 } else { other.1 });
            }
            (one, other) if one.is_some() || other.is_some() => return one.or(other).map(|sample| sample.1),
            _ => {}
        }
        let (from, value) = earlier?;
        match later {
            Some((to, next)) if to - from <= LONGEST_GAP => {
                let part = (at - from).seconds() / (to - from).seconds();
                Some(value + track.difference(next, value) * part)
            }
            Some(_) => Some(value).filter(|_| self.holds),
            None => Some(value).filter(|_| self.holds && at <= end),
        }
    }
}

impl Track {
    fn difference(&self, one: f64, other: f64) -> f64 {
        difference(one, other, self.continuous)
    }
}

/// `one - other`; of a joint that turns without end the short way round.
pub(crate) fn difference(one: f64, other: f64, continuous: bool) -> f64 {
    let difference = one - other;
    if continuous { difference - (difference / TAU).round() * TAU } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Span = Span::from_nanos(20_000_000);

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(1_760_000_000_000_000_000 + ms * 1_000_000)
    }

    fn value(timeline: &Timeline, ms: f64, end: i64) -> Option<f32> {
        let mut out = [f32::NAN];
        let time = at(0) + Span::from_millis(ms);
        timeline.row(time, at(end), &mut out).then_some(out[0])
    }

    fn timeline(holds: bool, continuous: bool, samples: &[(i64, f64)]) -> Timeline {
        let mut timeline = Timeline::new([continuous], STEP, holds);
        samples.iter().for_each(|(ms, value)| timeline.push(0, at(*ms), *value));
        timeline
    }

    #[test]
    fn between_two_samples_is_interpolated_and_a_near_sample_is_taken_as_it_is() {
        let measured = timeline(false, false, &[(0, 1.0), (20, 2.0), (40, 4.0)]);
        let found = [-1.0, 0.0, 5.0, 19.9, 20.1, 30.0, 40.0, 41.0].map(|ms| value(&measured, ms, 60));
        assert_eq!(
            found,
            [None, Some(1.0), Some(1.25), Some(2.0), Some(2.0), Some(3.0), Some(4.0), None],
            "0.1 ms is within a hundredth of the step"
        );
    }

    #[test]
    fn a_command_holds_over_a_gap_and_to_the_end_and_a_measured_position_does_not() {
        let samples = [(0, 1.0), (900, 2.0)];
        let (measured, commands) = (timeline(false, false, &samples), timeline(true, false, &samples));
        let times = [300.0, 900.0, 1000.0, 1100.0];
        assert_eq!(times.map(|ms| value(&measured, ms, 1000)), [None, Some(2.0), None, None]);
        assert_eq!(times.map(|ms| value(&commands, ms, 1000)), [Some(1.0), Some(2.0), Some(2.0), None]);
    }

    #[test]
    fn a_later_message_replaces_what_was_planned_from_its_time_on() {
        let mut commands = timeline(true, false, &[(0, 0.0), (100, 1.0), (200, 2.0)]);
        commands.push(0, at(50), 5.0);
        assert_eq!(value(&commands, 50.0, 400), Some(5.0));
        assert_eq!(value(&commands, 200.0, 400), Some(5.0), "the earlier trajectory is dropped");
    }

    #[test]
    fn a_joint_without_end_takes_the_short_way() {
        let turning = timeline(false, true, &[(0, 3.0), (20, -3.0)]);
        let half = f64::from(value(&turning, 10.0, 40).expect("between two samples"));
        assert!((half - std::f64::consts::PI).abs() < 1e-6, "{half}");
        assert!((difference(3.0, -3.0, true) - (6.0 - TAU)).abs() < 1e-12);
        assert_eq!(difference(3.0, -3.0, false), 6.0);
    }

    #[test]
    fn what_no_chunk_needs_any_more_is_forgotten_and_the_rest_is_not() {
        let mut measured = timeline(false, false, &[(0, 0.0), (20, 1.0), (40, 2.0), (60, 3.0)]);
        measured.forget_before(at(45));
        assert_eq!(measured.tracks[0].samples.len(), 2);
        assert_eq!(value(&measured, 50.0, 60), Some(2.5));
        assert_eq!(measured.covered(), Some(at(60)));
    }
}
