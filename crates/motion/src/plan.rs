//! What was promised: positions and velocities of the joints at the knots of the grid, ending at rest.

use std::sync::Arc;

use super::grid::{DT, GRID, stamp_of, tick_at};
use vla_base::time::{Span, Stamp};
use vla_messages::{JointTrajectoryMessage, TrajectoryPoint};

/// Joints over time, one row a knot of the grid. Refilled in place.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Track {
    /// Knot of the first row.
    pub first: i64,
    /// Columns.
    pub joints: usize,
    /// `[rows, joints]`, rad or m.
    pub positions: Vec<f64>,
    /// `[rows, joints]`, rad/s or m/s.
    pub velocities: Vec<f64>,
}

impl Track {
    /// Empties it; the next row is that of knot `first`.
    pub fn restart(&mut self, first: i64, joints: usize) {
        (self.first, self.joints) = (first, joints);
        self.positions.clear();
        self.velocities.clear();
    }

    pub fn rows(&self) -> usize {
        self.positions.len().checked_div(self.joints).unwrap_or(0)
    }

    /// Knot of the last row; one before the first when there is none.
    pub fn last(&self) -> i64 {
        self.first + self.rows() as i64 - 1
    }

    /// Position and velocity at a knot. Outside the rows the nearest one's position, at rest.
    pub fn at(&self, tick: i64, joint: usize) -> (f64, f64) {
        let row = tick.clamp(self.first, self.last().max(self.first));
        let index = (row - self.first) as usize * self.joints + joint;
        let position = self.positions.get(index).copied().unwrap_or_default();
        let velocity = self.velocities.get(index).copied().filter(|_| row == tick).unwrap_or_default();
        (position, velocity)
    }

    pub fn push(&mut self, position: f64, velocity: f64) {
        self.positions.push(position);
        self.velocities.push(velocity);
    }

    /// Drops all but the first `rows`.
    pub fn keep_first(&mut self, rows: usize) {
        self.positions.truncate(rows * self.joints);
        self.velocities.truncate(rows * self.joints);
    }

    /// Drops all but the last `rows`.
    pub fn keep_last(&mut self, rows: usize) {
        let over = self.rows().saturating_sub(rows);
        self.first += over as i64;
        self.positions.drain(..over * self.joints);
        self.velocities.drain(..over * self.joints);
    }

    /// Appends another's row.
    pub fn push_row(&mut self, other: &Self, tick: i64) {
        for joint in 0..self.joints {
            let (position, velocity) = other.at(tick, joint);
            self.push(position, velocity);
        }
    }

    /// A row of positions and one of velocities.
    pub fn row(&self, row: usize) -> (&[f64], &[f64]) {
        let range = row * self.joints..(row + 1) * self.joints;
        let of = |values: &[f64], range| values.get::<std::ops::Range<usize>>(range).map_or(0, <[f64]>::len);
        if of(&self.positions, range.clone()) == self.joints && of(&self.velocities, range.clone()) == self.joints {
            (&self.positions[range.clone()], &self.velocities[range])
        } else {
            (&[], &[])
        }
    }
}

/// A motion of the joints that has a start and an end at rest, and between them keeps their bounds at all times.
///
/// Between knots it is the cubic of their positions and velocities, which is what `joint_trajectory_controller` makes of
/// points that have both.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    pub(super) names: Arc<[String]>,
    pub(super) track: Track,
    /// Knot from which it does nothing but stop.
    pub(super) cut: i64,
    /// Knot at which it took over from the plan before.
    pub(super) from: i64,
    /// When it was made.
    pub(super) made: Stamp,
    /// Counts the plans of the process.
    pub(super) sequence: u64,
}

impl Plan {
    /// Joints, in the order of what [`Plan::sample`] fills.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// From here on it follows the newest chunk; before it is the plan that it replaced.
    pub fn from(&self) -> Stamp {
        stamp_of(self.from)
    }

    /// From here on it does nothing but stop.
    pub fn cut(&self) -> Stamp {
        stamp_of(self.cut)
    }

    /// When it comes to rest.
    pub fn end(&self) -> Stamp {
        stamp_of(self.track.last())
    }

    /// When it was made.
    pub fn made(&self) -> Stamp {
        self.made
    }

    /// Number of the plan: a greater one is newer.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Positions and velocities at `at`, one a joint; false and nothing written before its first knot (the clock went back) and
    /// for slices of another width. After the end: the last position, at rest.
    pub fn sample(&self, at: Stamp, positions: &mut [f64], velocities: &mut [f64]) -> bool {
        let tick = tick_at(at);
        let whole = positions.len() == self.track.joints && velocities.len() == self.track.joints;
        if !whole || self.track.rows() == 0 || tick < self.track.first {
            return false;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / GRID.nanos() as f64;
        for (joint, (position, velocity)) in positions.iter_mut().zip(velocities).enumerate() {
            (*position, *velocity) = hermite(self.track.at(tick, joint), self.track.at(tick + 1, joint), share, DT);
        }
        true
    }

    /// Whether every number is finite.
    pub(super) fn is_finite(&self) -> bool {
        self.track.positions.iter().chain(&self.track.velocities).all(|value| value.is_finite())
    }

    /// Writes the knots after `now`, or after it was made, into a reused message: times from its stamp above zero and strictly
    /// increasing, the last point at rest.
    pub fn write(&self, now: Stamp, out: &mut TrajectoryBuffer) {
        let now = now.max(self.made);
        out.plan = self.sequence;
        let message = &mut out.message;
        message.stamp = now;
        message.frame_id.clear();
        message.joint_names.resize_with(self.names.len(), String::new);
        for (out, name) in message.joint_names.iter_mut().zip(self.names.iter()) {
            out.clone_from(name);
        }
        let first = (tick_at(now) + 1).clamp(self.track.first, self.track.last().max(self.track.first));
        let skipped = (first - self.track.first) as usize;
        out.resize(self.track.rows() - skipped.min(self.track.rows()));
        // A plan that has ended already (a stop of a robot at rest) is told at once, not in the past.
        let soonest = Span::from_nanos(GRID.nanos());
        for (row, point) in (skipped..).zip(&mut out.message.points) {
            let (positions, velocities) = self.track.row(row);
            let from_start = stamp_of(self.track.first + row as i64) - now;
            point.time_from_start = if from_start > Span::ZERO { from_start } else { soonest };
            point.positions.clear();
            point.positions.extend_from_slice(positions);
            point.velocities.clear();
            point.velocities.extend_from_slice(velocities);
        }
    }
}

/// The cubic between two knots that are `duration` s apart, at `share` (0 to 1) of the way: position and velocity.
pub(super) fn hermite(from: (f64, f64), to: (f64, f64), share: f64, duration: f64) -> (f64, f64) {
    let (rise, s) = (to.0 - from.0, share);
    let (start, end) = (from.1 * duration, to.1 * duration);
    // Horner's form of the Hermite basis, from the first knot.
    let (square, cube) = (3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise);
    let position = from.0 + s * (start + s * (square + s * cube));
    (position, (start + s * (2.0 * square + 3.0 * s * cube)) / duration)
}

/// A `trajectory_msgs/JointTrajectory` that is filled again for every plan.
#[derive(Debug, Default)]
pub struct TrajectoryBuffer {
    message: JointTrajectoryMessage,
    /// [`Plan::sequence`] of the plan in it.
    plan: u64,
    /// Points of longer trajectories before, kept for their buffers.
    spare: Vec<TrajectoryPoint>,
}

impl TrajectoryBuffer {
    /// The trajectory filled last.
    pub fn message(&self) -> &JointTrajectoryMessage {
        &self.message
    }

    /// [`Plan::sequence`] of the plan filled in last; 0 before the first.
    pub fn plan(&self) -> u64 {
        self.plan
    }

    fn resize(&mut self, points: usize) {
        while self.message.points.len() > points {
            self.spare.extend(self.message.points.pop());
        }
        while self.message.points.len() < points {
            self.message.points.push(self.spare.pop().unwrap_or_default());
        }
    }
}
