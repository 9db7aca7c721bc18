//! Chunk: what the policy wants, turned into what a controller may do.
//!
//! A [`Chunk`] is refused when it holds a value that is not finite, clamped to the position limits of its [`JointBounds`], given due times
//! by its observation stamp, and written into a message with the rows that are already late counted. Its joints become
//! [`Motion`]: one [`Plan`] after the other on a common grid in time, each joined to the one before, inside the same
//! bounds and with a stop at its end. Everything is a value here: no clock, no I/O.

mod bounds;
mod error;
mod grid;
mod handover;
mod latency;
mod measured;
mod motion;
mod outgoing;
mod pace;
mod plan;
mod published;
mod reference;
mod schedule;
mod tracking;
mod turns;
pub mod urdf;
mod watchdog;

use std::ops::Range;
use std::sync::Arc;

pub use bounds::{Bounds, Clamped, JointBounds, JointKind, LimitCounts, Limited, Merged, merge};
pub use error::Error;
pub use grid::{GRID, SET_BACK};
pub use handover::{Frozen, Mode};
pub use latency::{Latencies, covers};
pub use measured::{Measured, TurnJump};
pub use motion::{Motion, MotionSettings, NewChunk};
pub use outgoing::{Publication, STOP_WITHIN, action_chunk_message};
pub use plan::{Plan, TrajectoryBuffer};
pub use published::PublishedRows;
pub use schedule::{Scheduled, schedule};
pub use tracking::{Deviation, TRACKING_LATENCY};
pub use watchdog::{Watchdog, WatchdogState};

use vla_base::time::{Span, Stamp};

/// The policy's answer to one observation: joint positions and poses of end effectors in rows, one row a time step.
/// Owned by the caller and reused from inference to inference.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chunk {
    /// One a column: joint names, and `<key>.x`, ... for the poses.
    pub names: Arc<[String]>,
    /// Columns that are no joints, ascending. They take no limits and are in no trajectory. Empty: all are joints.
    pub poses: Arc<[Range<usize>]>,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, names]`, row-major, rad or m; entries of rotation matrices have no unit.
    pub values: Vec<f32>,
    /// Stamp of the observation that it answers.
    pub observation_stamp: Stamp,
    /// Name and header stamp of each input: the observation's identity.
    pub inputs: Vec<(Arc<str>, Stamp)>,
    /// Seed that the noise was drawn from.
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

    /// When row `i` is due: `observation_stamp + (i + 1) * step`.
    pub fn due(&self, row: usize) -> Stamp {
        self.observation_stamp + self.step.times(i64::try_from(row).unwrap_or(i64::MAX).saturating_add(1))
    }

    /// Values of row `i`, one a column; `None` beyond the last.
    pub fn row(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.width())?;
        self.values.get(start..start.checked_add(self.width())?).filter(|_| i < self.rows)
    }

    /// Refuses a chunk whose values do not fill its rows and joints, and one without any.
    pub fn check(&self) -> Result<(), Error> {
        let (rows, joints, values) = (self.rows, self.width(), self.values.len());
        let whole = values > 0 && rows.checked_mul(joints) == Some(values);
        if whole { Ok(()) } else { Err(Error::Shape { rows, joints, values }) }
    }
}

/// Refuses a chunk that holds NaN or an infinity, by row and joint (or pose column) of the first.
pub fn finite(chunk: &Chunk) -> Result<(), Error> {
    chunk.check()?;
    for (row, values) in chunk.values.chunks_exact(chunk.width()).enumerate() {
        for (joint, &value) in chunk.names.iter().zip(values) {
            if !value.is_finite() {
                return Err(Error::NotFinite { row, joint: joint.clone(), value });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
