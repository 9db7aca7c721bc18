//! The policy's rows compared with what the recording has for them: the actions of a data set, or the joint states of a bag that
//! followed.
//!
//! The recording shows what its own controller did, so this is no error of the robot under this policy: it says how well the policy
//! predicts the recorded motion, beside the prediction that the joints stay where they were observed. `vla-trt eval` measures the same on
//! every row that a robot would use, normalised and by key.

use std::collections::VecDeque;

use crate::replay::source::RecordedActions;
use vla_base::time::{Span, Stamp};
use vla_messages::ActionChunkMessage;

/// Joint states farther apart than this are not interpolated.
const GAP: Span = Span::from_nanos(500_000_000);
/// Chunks whose rows wait for joint states; the oldest are dropped.
const MOST_WAITING: usize = 4096;

/// Sums of the differences of one joint.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Rows compared.
    pub count: u64,
    /// Sum of the distances of the rows from the joint states, rad or m.
    pub absolute: f64,
    /// Sum of their squares.
    pub squared: f64,
    /// Sum of the distances of the observed position from the joint states.
    pub still: f64,
    /// (count, sum of distances) of each row of a chunk.
    pub by_row: Vec<(u64, f64)>,
}

impl Followed {
    /// Mean distance of the rows from the joint states; NaN without any.
    pub fn mean(&self) -> f64 {
        self.absolute / self.count as f64
    }

    /// Root of the mean square of these distances.
    pub fn rms(&self) -> f64 {
        (self.squared / self.count as f64).sqrt()
    }

    /// Mean distance of the observed position from the joint states.
    pub fn mean_still(&self) -> f64 {
        self.still / self.count as f64
    }

    fn add(&mut self, row: usize, distance: f64, still: f64) {
        self.count += 1;
        self.absolute += distance;
        self.squared += distance * distance;
        self.still += still;
        if self.by_row.len() <= row {
            self.by_row.resize(row + 1, (0, 0.0));
        }
        if let Some((count, sum)) = self.by_row.get_mut(row) {
            *count += 1;
            *sum += distance;
        }
    }
}

/// A chunk with rows that are not due yet.
#[derive(Debug)]
struct Waiting {
    start: Stamp,
    step: Span,
    values: Box<[f32]>,
    /// Of each column: the next row to compare, and the newest position when the chunk was made.
    columns: Box<[(usize, f64)]>,
}

/// Compares chunks with joint states as they come. The joints may come in messages of several publishers.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    joints: Vec<Followed>,
    waiting: VecDeque<Waiting>,
    /// Newest position of each column.
    last: Vec<Option<(Stamp, f64)>>,
    /// Those of the data set's episode.
    actions: Option<RecordedActions>,
}

impl Comparison {
    /// The differences so far, one a column.
    pub(super) fn joints(&self) -> &[Followed] {
        &self.joints
    }

    /// Another recording begins: nothing of it follows the chunks so far.
    pub(super) fn restart(&mut self) {
        self.waiting.clear();
        self.last.clear();
        self.actions = None;
    }

    /// The recording has actions: from now on rows are compared with these, and not with joint states.
    pub(super) fn actions(&mut self, actions: RecordedActions) {
        self.actions = Some(actions);
    }

    /// A chunk was made.
    pub(super) fn chunk(&mut self, chunk: &ActionChunkMessage) {
        let observed =
            |column: usize| self.last.get(column).copied().flatten().map_or(f64::NAN, |(_, position)| position);
        let observed: Vec<f64> = (0..chunk.names.len()).map(observed).collect();
        if let Some(actions) = &self.actions {
            compare_with_actions(&mut self.joints, chunk, actions, &observed);
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting {
            start: chunk.start,
            step: chunk.step,
            values: chunk.values.as_slice().into(),
            columns: observed.into_iter().map(|position| (0, position)).collect(),
        });
    }

    /// Positions of the columns were measured at `at`; NaN where the message has none.
    pub(super) fn state(&mut self, at: Stamp, positions: &[f64]) {
        self.joints.resize_with(positions.len(), Followed::default);
        self.last.resize(positions.len(), None);
        let columns = self.joints.iter_mut().zip(&mut self.last).zip(positions).enumerate();
        for (column, ((joint, last), position)) in columns.filter(|(_, (_, position))| position.is_finite()) {
            let now = (at, *position);
            let before = last.replace(now);
            if let Some(before) = before.filter(|(before, _)| at > *before && at - *before <= GAP) {
                self.waiting.iter_mut().for_each(|chunk| chunk.compare(column, joint, before, now));
            }
        }
        while self.waiting.front().is_some_and(|chunk| chunk.end() + GAP < at) {
            self.waiting.pop_front();
        }
    }
}

impl Waiting {
    fn due(&self, row: usize) -> Stamp {
        self.start + self.step.times(i64::try_from(row).unwrap_or(i64::MAX))
    }

    fn end(&self) -> Stamp {
        self.due(self.values.len() / self.columns.len().max(1))
    }

    /// Compares the rows of a column that are due between two positions of it.
    fn compare(&mut self, column: usize, joint: &mut Followed, from: (Stamp, f64), to: (Stamp, f64)) {
        let width = self.columns.len();
        let Some((mut row, observed)) = self.columns.get(column).copied() else { return };
        while let Some(value) = self.values.get(row * width + column) {
            let due = self.due(row);
            if due > to.0 {
                break;
            }
            if due >= from.0 {
                let share = (due - from.0).seconds() / (to.0 - from.0).seconds();
                let state = from.1 + (to.1 - from.1) * share;
                let (distance, still) = ((f64::from(*value) - state).abs(), (observed - state).abs());
                if distance.is_finite() && still.is_finite() {
                    joint.add(row, distance, still);
                }
            }
            row += 1;
        }
        if let Some(next) = self.columns.get_mut(column) {
            next.0 = row;
        }
    }
}

/// Compares row `i` of a chunk with the action of the `i`-th row of the episode from the observation's on, as it was trained.
fn compare_with_actions(
    joints: &mut Vec<Followed>,
    chunk: &ActionChunkMessage,
    actions: &RecordedActions,
    observed: &[f64],
) {
    let width = chunk.names.len().max(1);
    if actions.columns != width {
        return;
    }
    joints.resize_with(width, Followed::default);
    let half = Span::from_nanos(chunk.step.nanos() / 2);
    let frame = actions.times.partition_point(|time| *time + half < chunk.stamp);
    let recorded = actions.values.chunks_exact(width).skip(frame);
    for (index, (row, recorded)) in chunk.values.chunks_exact(width).zip(recorded).enumerate() {
        for (column, (joint, (value, action))) in joints.iter_mut().zip(row.iter().zip(recorded)).enumerate() {
            let still = observed.get(column).map_or(f64::NAN, |position| (position - f64::from(*action)).abs());
            let distance = f64::from((value - action).abs());
            if distance.is_finite() {
                joint.add(index, distance, still);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    /// Joint `a` moves by 1 rad/s, column `b` is never measured.
    fn state(comparison: &mut Comparison, ms: i64) {
        comparison.state(at(ms), &[ms as f64 / 1e3, f64::NAN]);
    }

    fn chunk(start: i64, values: &[f32]) -> ActionChunkMessage {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let (start, step) = (at(start), Span::from_millis(10.0));
        ActionChunkMessage { start, step, names, values: values.to_vec(), ..ActionChunkMessage::default() }
    }

    #[test]
    fn rows_are_compared_with_the_position_at_their_due_time() {
        let mut comparison = Comparison::default();
        state(&mut comparison, 0);
        // Rows due at 10, 20 and 30 ms: exact, 0.1 too far, not reached.
        comparison.chunk(&chunk(10, &[0.010, 9.0, 0.120, 9.0, 0.5, 9.0]));
        state(&mut comparison, 4);
        state(&mut comparison, 25);
        let [a, b] = comparison.joints() else { panic!("two columns") };
        assert_eq!((a.count, b.count), (2, 0), "unmeasured columns are not compared");
        assert!((a.mean() - 0.05).abs() < 1e-7 && (a.rms() - 0.1 / 2f64.sqrt()).abs() < 1e-7, "{a:?}");
        assert!((a.mean_still() - 0.015).abs() < 1e-9, "it was at 0: {a:?}");
        assert_eq!(a.by_row.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 1]);
        state(&mut comparison, 50);
        assert_eq!(comparison.joints()[0].count, 3);
        (1..7).for_each(|index| state(&mut comparison, 50 + index * 100));
        assert!(comparison.waiting.is_empty());
    }

    #[test]
    fn joints_of_several_publishers_are_compared_each_with_its_own_messages() {
        let mut comparison = Comparison::default();
        comparison.state(at(0), &[0.0, f64::NAN]);
        comparison.state(at(5), &[f64::NAN, 1.0]);
        comparison.chunk(&chunk(10, &[0.01, 1.0]));
        comparison.state(at(20), &[0.02, f64::NAN]);
        comparison.state(at(25), &[f64::NAN, 3.0]);
        let [a, b] = comparison.joints() else { panic!("two columns") };
        assert_eq!((a.count, b.count), (1, 1));
        assert!(a.mean() < 1e-7 && (b.mean() - 0.5).abs() < 1e-9, "{b:?}");
    }

    #[test]
    fn rows_are_compared_with_the_actions_of_a_data_set_from_the_observation_on() {
        let mut comparison = Comparison::default();
        let times = (0..4).map(|frame| at(frame * 10)).collect();
        let values = vec![0.0, 0.0, 1.0, 10.0, 2.0, 20.0, 3.0, f32::NAN];
        comparison.actions(RecordedActions { columns: 2, times, values });
        comparison.state(at(10), &[0.5, f64::NAN]);
        // Observed at the second frame: rows for the second and third, and two beyond the end of the episode or without an action.
        let mut observed = chunk(20, &[1.0, 10.0, 2.5, 20.0, 3.0, 30.0, 9.0, 9.0]);
        observed.stamp = at(10);
        comparison.chunk(&observed);
        comparison.state(at(40), &[0.0, 0.0]);
        let [a, b] = comparison.joints() else { panic!("two columns") };
        assert_eq!((a.count, a.absolute, a.still), (3, 0.5, 0.5 + 1.5 + 2.5));
        assert_eq!((b.count, b.absolute), (2, 0.0), "joint states are not compared");
        assert!(b.mean_still().is_nan(), "not measured");
    }

    #[test]
    fn nothing_is_compared_across_a_gap_or_when_time_goes_back() {
        let mut comparison = Comparison::default();
        state(&mut comparison, 0);
        comparison.chunk(&chunk(100, &[0.0, 0.0]));
        state(&mut comparison, 2000);
        assert_eq!(comparison.joints()[0].count, 0);
        state(&mut comparison, 1000);
        comparison.chunk(&chunk(1010, &[1.01, 0.0]));
        state(&mut comparison, 1020);
        assert_eq!(comparison.joints()[0].count, 1);
    }

    #[test]
    fn chunks_that_are_never_compared_do_not_pile_up() {
        let mut comparison = Comparison::default();
        state(&mut comparison, 0);
        (0..10_000).for_each(|_| comparison.chunk(&chunk(100, &[0.0, 0.0])));
        assert_eq!(comparison.waiting.len(), MOST_WAITING);
    }
}
