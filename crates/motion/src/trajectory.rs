//! Trajectories of the joints as samples on the grid: positions and velocities, one row a sample. A [`MotionPlan`] ends at rest.

use std::sync::Arc;

use super::grid::{DT, SAMPLE_PERIOD, stamp_of, tick_at};
use vla_base::time::Stamp;

/// Joints over time, one row a sample of the grid. Refilled in place.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct SampledTrajectory {
    /// Tick of the first row.
    pub first: i64,
    /// Columns.
    pub joints: usize,
    /// `[rows, joints]`, rad or m.
    pub positions: Vec<f64>,
    /// `[rows, joints]`, rad/s or m/s.
    pub velocities: Vec<f64>,
}

impl SampledTrajectory {
    /// Empties it; the next row is that of tick `first`.
    pub(crate) fn restart(&mut self, first: i64, joints: usize) {
        (self.first, self.joints) = (first, joints);
        self.positions.clear();
        self.velocities.clear();
    }

    pub(crate) fn rows(&self) -> usize {
        self.positions.len().checked_div(self.joints).unwrap_or(0)
    }

    /// Tick of the last row; one before the first when there is none.
    pub(crate) fn last(&self) -> i64 {
        self.first + self.rows() as i64 - 1
    }

    /// Position and velocity at a tick. Outside the rows: the position of the nearest row, at rest.
    pub(crate) fn at(&self, tick: i64, joint: usize) -> (f64, f64) {
        let row = tick.clamp(self.first, self.last().max(self.first));
        let index = (row - self.first) as usize * self.joints + joint;
        let position = self.positions.get(index).copied().unwrap_or_default();
        let velocity = self.velocities.get(index).copied().filter(|_| row == tick).unwrap_or_default();
        (position, velocity)
    }

    pub(crate) fn push(&mut self, position: f64, velocity: f64) {
        self.positions.push(position);
        self.velocities.push(velocity);
    }

    /// Drops all but the first `rows`.
    pub(crate) fn keep_first(&mut self, rows: usize) {
        self.positions.truncate(rows * self.joints);
        self.velocities.truncate(rows * self.joints);
    }

    /// Drops all but the last `rows`.
    pub(crate) fn keep_last(&mut self, rows: usize) {
        let over = self.rows().saturating_sub(rows);
        self.first += over as i64;
        self.positions.drain(..over * self.joints);
        self.velocities.drain(..over * self.joints);
    }

    /// Appends the sample of another trajectory.
    pub(crate) fn push_row(&mut self, other: &Self, tick: i64) {
        for joint in 0..self.joints {
            let (position, velocity) = other.at(tick, joint);
            self.push(position, velocity);
        }
    }
}

/// A motion of the joints that starts where they are, keeps their limits at all times, and ends at rest.
///
/// Between samples it is the cubic of their positions and velocities, which is what `joint_trajectory_controller` interpolates
/// for points that have both.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MotionPlan {
    pub(super) names: Arc<[String]>,
    pub(super) trajectory: SampledTrajectory,
    /// Tick at which the final stop starts.
    pub(super) cut: i64,
    /// Tick at which it took over from the plan before.
    pub(super) from: i64,
    /// When it was made.
    pub(super) created_at: Stamp,
    /// Counts the plans of the process.
    pub(super) sequence: u64,
}

/// One sample of a plan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PlanPoint<'p> {
    /// Its time.
    pub at: Stamp,
    /// One a joint, rad or m.
    pub positions: &'p [f64],
    /// One a joint, rad/s or m/s.
    pub velocities: &'p [f64],
}

impl MotionPlan {
    /// Joints, in the order of the values that [`MotionPlan::sample`] writes.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// When the final stop starts.
    pub fn stops_at(&self) -> Stamp {
        stamp_of(self.cut)
    }

    /// When it comes to rest.
    pub fn end(&self) -> Stamp {
        stamp_of(self.trajectory.last())
    }

    /// When it takes over from the plan before.
    pub fn takes_over_at(&self) -> Stamp {
        stamp_of(self.from)
    }

    /// When it was made.
    pub fn created_at(&self) -> Stamp {
        self.created_at
    }

    /// Number of the plan: of two plans the one with the greater number is newer.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes positions and velocities at `at`, one a joint. Writes nothing and returns false before the first sample (the clock
    /// was set back) and for slices of another width. After the end: the last position, at rest.
    pub fn sample(&self, at: Stamp, positions: &mut [f64], velocities: &mut [f64]) -> bool {
        let tick = tick_at(at);
        let joints = self.trajectory.joints;
        let fits = positions.len() == joints && velocities.len() == joints;
        if !fits || self.trajectory.rows() == 0 || tick < self.trajectory.first {
            return false;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / SAMPLE_PERIOD.nanos() as f64;
        for (joint, (position, velocity)) in positions.iter_mut().zip(velocities).enumerate() {
            let (from, to) = (self.trajectory.at(tick, joint), self.trajectory.at(tick + 1, joint));
            (*position, *velocity) = hermite(from, to, share, DT);
        }
        true
    }

    /// Position of one joint at `at`; `None` before the first sample and for a joint that is none of the plan's.
    pub fn sample_joint(&self, at: Stamp, joint: usize) -> Option<f64> {
        let tick = tick_at(at);
        if joint >= self.trajectory.joints || self.trajectory.rows() == 0 || tick < self.trajectory.first {
            return None;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / SAMPLE_PERIOD.nanos() as f64;
        Some(hermite(self.trajectory.at(tick, joint), self.trajectory.at(tick + 1, joint), share, DT).0)
    }

    /// The samples after `now`, strictly increasing in time; the last one is at rest. Of a plan that is over: the last one.
    pub fn points_after(&self, now: Stamp) -> impl ExactSizeIterator<Item = PlanPoint<'_>> {
        let SampledTrajectory { first, joints, .. } = self.trajectory;
        let next = (tick_at(now) + 1).clamp(first, self.trajectory.last().max(first));
        let skipped = ((next - first) as usize).min(self.trajectory.rows());
        let width = joints.max(1);
        let positions = self.trajectory.positions.chunks_exact(width).skip(skipped);
        let velocities = self.trajectory.velocities.chunks_exact(width).skip(skipped);
        positions.zip(velocities).enumerate().map(move |(row, (positions, velocities))| PlanPoint {
            at: stamp_of(next + row as i64),
            positions,
            velocities,
        })
    }

    /// Whether every number is finite.
    pub(super) fn is_finite(&self) -> bool {
        self.trajectory.positions.iter().chain(&self.trajectory.velocities).all(|value| value.is_finite())
    }
}

/// The cubic between two samples that are `duration` s apart, at `share` (0 to 1) of the way: position and velocity.
pub(super) fn hermite(from: (f64, f64), to: (f64, f64), share: f64, duration: f64) -> (f64, f64) {
    let (rise, s) = (to.0 - from.0, share);
    let (start, end) = (from.1 * duration, to.1 * duration);
    // Horner's form of the Hermite basis, from the first sample.
    let (square, cube) = (3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise);
    let position = from.0 + s * (start + s * (square + s * cube));
    (position, (start + s * (2.0 * square + 3.0 * s * cube)) / duration)
}
