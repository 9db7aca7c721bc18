//! A chunk's rows as a reference on the grid.

use super::Chunk;
use super::grid::{stamp_of, tick_at};
use super::limiter::JointLimiter;
use super::trajectory::{SampledTrajectory, hermite};

/// Longest reference, in samples: 30 s. A chunk that goes on after it is cut there, which every plan is long before.
const LONGEST: i64 = 3000;

/// Writes the columns of the chunk that are joints.
pub(super) fn joint_columns(chunk: &Chunk, out: &mut Vec<usize>) {
    out.clear();
    let is_joint = |index: &usize| !chunk.poses.iter().any(|range| range.contains(index));
    out.extend((0..chunk.width()).filter(is_joint));
}

/// Fills `out` with the rows of `chunk` from sample `first` on: the cubic through the rows at their due times with central
/// differences as velocities. Before the first row it follows that row's velocity, at most one step back. Positions
/// are clamped to the limits; `clamped` is called with the joint of each. At least two samples.
pub(super) fn fill(
    chunk: &Chunk,
    columns: &[usize],
    limiters: &[JointLimiter],
    first: i64,
    out: &mut SampledTrajectory,
    mut clamped: impl FnMut(usize),
) {
    out.restart(first, columns.len());
    let last = tick_at(chunk.due(chunk.rows.saturating_sub(1))).clamp(first + 1, first + LONGEST);
    for tick in first..=last {
        let at = stamp_of(tick);
        let since = (at - chunk.due(0)).nanos();
        let step = chunk.step.nanos().max(1);
        let row = usize::try_from(since.div_euclid(step)).unwrap_or(0).min(chunk.rows.saturating_sub(1));
        let share = ((at - chunk.due(row)).nanos() as f64 / step as f64).max(-1.0);
        for (joint, (&column, limiter)) in columns.iter().zip(limiters).enumerate() {
            let (position, velocity) = value(chunk, column, row, share);
            let inside = limiter.inside(position);
            if inside != position {
                clamped(joint);
            }
            out.push(inside, velocity);
        }
    }
}

/// Position and velocity of one column at `share` of the way from `row` to the next.
fn value(chunk: &Chunk, column: usize, row: usize, share: f64) -> (f64, f64) {
    let duration = chunk.step.seconds();
    let here = sample(chunk, column, row);
    if share <= 0.0 {
        return (here.0 + here.1 * share * duration, here.1);
    }
    if row + 1 >= chunk.rows {
        return (here.0, 0.0);
    }
    hermite(here, sample(chunk, column, row + 1), share, duration)
}

/// Position of a row, and the central difference there (at the ends: to the one neighbour).
fn sample(chunk: &Chunk, column: usize, row: usize) -> (f64, f64) {
    let position = |row: usize| chunk.row(row).and_then(|row| row.get(column)).copied().map_or(0.0, f64::from);
    let (before, after) = (row.saturating_sub(1), (row + 1).min(chunk.rows.saturating_sub(1)));
    let steps = after - before;
    if steps == 0 {
        return (position(row), 0.0);
    }
    (position(row), (position(after) - position(before)) / (steps as f64 * chunk.step.seconds()))
}

#[cfg(test)]
mod tests {
    use super::super::limits::JointLimits;
    use super::super::tests::chunk;
    use super::*;
    use vla_base::time::Stamp;

    fn reference(chunk: &Chunk, first_ms: i64) -> SampledTrajectory {
        let (mut columns, mut out) = (Vec::new(), SampledTrajectory::default());
        joint_columns(chunk, &mut columns);
        let limiters = vec![JointLimiter::new(JointLimits { max: 3.5, ..JointLimits::default() }, 0.25); columns.len()];
        fill(chunk, &columns, &limiters, tick_at(Stamp::from_nanos(first_ms * 1_000_000)), &mut out, |_| {});
        out
    }

    #[test]
    fn a_knot_at_a_rows_due_time_is_the_row_and_those_between_lie_on_the_cubic() {
        // Rows at 1020, 1040, 1060 and 1080 ms.
        let trajectory = reference(&chunk(&["a"], &[0.0, 1.0, 2.0, 3.0]), 1020);
        assert_eq!((trajectory.first, trajectory.rows()), (102, 7));
        assert_eq!(trajectory.positions, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert!(trajectory.velocities.iter().all(|velocity| (velocity - 50.0).abs() < 1e-9));
    }

    #[test]
    fn before_the_first_row_the_reference_runs_towards_it_and_after_the_last_it_rests() {
        let trajectory = reference(&chunk(&["a"], &[1.0, 2.0]), 1010);
        assert_eq!(trajectory.positions, [0.5, 1.0, 1.5, 2.0]);
        let trajectory = reference(&chunk(&["a"], &[1.0, 2.0]), 1039);
        assert_eq!((trajectory.first, trajectory.positions), (103, vec![1.5, 2.0]));
        assert_eq!(reference(&chunk(&["a"], &[1.0, 2.0]), 1040).velocities, [50.0, 0.0]);
    }

    #[test]
    fn positions_are_inside_the_bounds_and_poses_are_left_out() {
        let mut chunk = chunk(&["a", "eef.x", "b"], &[3.0, 9.0, 1.0, 5.0, 9.0, 2.0]);
        chunk.poses = std::iter::once(1..2).collect();
        let trajectory = reference(&chunk, 1020);
        assert_eq!(trajectory.joints, 2);
        assert_eq!(trajectory.positions, [3.0, 1.0, 3.5, 1.5, 3.5, 2.0]);
    }
}
