//! Action chunks to trajectories that a controller can follow.
//!
//! In: [`Chunk`]s, the policy's joint positions in rows of equal time step, and measured joint positions. Out: [`MotionPlan`]s,
//! positions and velocities every 10 ms that keep the joints' position, velocity, acceleration and jerk limits and end at rest.
//!
//! - [`MotionLimits`] are merged from parameters and a robot description ([`urdf`]); they clamp the rows of a chunk.
//! - [`schedule`] computes due times and counts the rows that are late at publication.
//! - [`Motion`] makes one plan after the other. A [`TransitionMode`] says how a new chunk takes over from the committed trajectory.
//! - [`ColumnMotion`] does the same for values that are no joints: the velocity of a base, the pose of an end effector.
//! - [`Watchdog`] decides when missing chunks hold or stop the robot. [`Measured`] and [`Motion::deviation`] compare the measured
//!   positions with the plan.
//!
//! No clock, no I/O, no ROS: the caller passes in times and values, and publishes.
//!
//! ```
//! use vla_base::time::{Span, Stamp};
//! use vla_motion::{Chunk, JointLimits, Motion, MotionLimits, MotionSettings, NewChunk};
//!
//! # fn main() -> Result<(), vla_motion::Error> {
//! let joints = ["elbow".to_owned()];
//! let limits = JointLimits { velocity: 1.0, acceleration: 5.0, ..JointLimits::default() };
//! let mut motion = Motion::new(joints.as_slice().into());
//! motion.set_limits(MotionLimits::new(&joints, [("elbow", limits)])?);
//!
//! // Sixteen rows, 50 ms apart, that ask for 0.3 rad.
//! let observed = Stamp::from_nanos(1_000_000_000);
//! let chunk = Chunk {
//!     names: joints.as_slice().into(),
//!     rows: 16,
//!     values: vec![0.3; 16],
//!     observation_stamp: observed,
//!     step: Span::from_millis(50.0),
//!     ..Chunk::default()
//! };
//! chunk.check_finite()?;
//! let now = observed + Span::from_millis(40.0);
//! let new = NewChunk { chunk: &chunk, now, clamped: 0, measured: Some(&[0.0]), frozen: (0, 0) };
//! let settings = MotionSettings { max_blind: Span::from_seconds(2.0), ..MotionSettings::default() };
//! let plan = motion.plan_chunk(&new, &settings)?;
//!
//! let (mut position, mut velocity) = ([0.0], [0.0]);
//! assert!(plan.sample(plan.end(), &mut position, &mut velocity));
//! assert!((position[0] - 0.3).abs() < 1e-3 && velocity[0] == 0.0);
//! # Ok(())
//! # }
//! ```

mod columns;
mod error;
mod grid;
mod latency;
mod limiter;
mod limits;
mod measured;
mod motion;
mod published;
mod reference;
mod schedule;
mod tracking;
mod trajectory;
mod transition;
mod turns;
pub mod urdf;
mod watchdog;

use std::ops::Range;
use std::sync::Arc;

pub use columns::{ColumnGroup, ColumnKind, ColumnMotion, ColumnPlan, PoseColumns};
pub use error::Error;
pub use grid::{CLOCK_TOLERANCE, SAMPLE_PERIOD};
pub use latency::{Latencies, check_horizon};
pub use limiter::STOP_WITHIN;
pub use limits::{
    ClampCounts, JointKind, JointLimits, LimitCounts, LimitKind, MergedLimits, MotionLimits, merge_limits,
};
pub use measured::{Measured, TurnJump};
pub use motion::{Motion, MotionSettings, NewChunk};
pub use published::PublishedRows;
pub use schedule::{Scheduled, schedule};
pub use tracking::{Deviation, TRACKING_LATENCY};
pub use trajectory::{MotionPlan, PlanPoint};
pub use transition::TransitionMode;
pub use watchdog::{Watchdog, WatchdogState};

use vla_base::time::{Span, Stamp};

/// The policy's answer to one observation: joint positions and poses of end effectors in rows, one row a time step.
/// Owned by the caller and reused from inference to inference.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chunk {
    /// One a column: joint names, and `<key>.x`, ... for the poses.
    pub names: Arc<[String]>,
    /// Columns that are not joints, ascending. They have no limits and are in no trajectory. Empty: all are joints.
    pub poses: Arc<[Range<usize>]>,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, names]`, row-major, rad or m; entries of rotation matrices have no unit.
    pub values: Vec<f32>,
    /// Stamp of the observation that it answers.
    pub observation_stamp: Stamp,
    /// Name and header stamp of each input: the observation's identity.
    pub inputs: Vec<(Arc<str>, Stamp)>,
    /// Seed of the initial noise.
    pub seed: u64,
    /// Time from one row to the next.
    pub step: Span,
}

impl Chunk {
    /// Number of columns.
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Those of `columns`, one an entry of [`Chunk::names`], that are joints.
    pub fn joints<'c, T>(&'c self, columns: &'c [T]) -> impl Iterator<Item = &'c T> + Clone {
        let is_joint = |index: &usize| !self.poses.iter().any(|range| range.contains(index));
        columns.iter().enumerate().filter(move |(index, _)| is_joint(index)).map(|(_, value)| value)
    }

    /// Due time of row `row`: `observation_stamp + (row + 1) * step`.
    pub fn due(&self, row: usize) -> Stamp {
        self.observation_stamp + self.step.times(i64::try_from(row).unwrap_or(i64::MAX).saturating_add(1))
    }

    /// Values of row `i`, one a column; `None` beyond the last.
    pub fn row(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.width())?;
        self.values.get(start..start.checked_add(self.width())?).filter(|_| i < self.rows)
    }

    /// Checks that the values fill rows and columns, and that there is at least one.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check(&self) -> Result<(), Error> {
        let (rows, joints, values) = (self.rows, self.width(), self.values.len());
        let whole = values > 0 && rows.checked_mul(joints) == Some(values);
        if whole { Ok(()) } else { Err(Error::Shape { rows, joints, values }) }
    }

    /// Checks that every value is finite.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with row and column of the first NaN or infinity, [`Error::Shape`].
    pub fn check_finite(&self) -> Result<(), Error> {
        self.check()?;
        for (row, values) in self.values.chunks_exact(self.width()).enumerate() {
            for (joint, &value) in self.names.iter().zip(values) {
                if !value.is_finite() {
                    return Err(Error::NotFinite { row, joint: joint.clone(), value });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
