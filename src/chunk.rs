//! Chunk: what the policy wants, turned into what a controller may do.
//!
//! A [`Chunk`] is refused when it holds a value that is not finite, clamped to the joints' [`Limits`], given due times
//! by its observation stamp, and written into messages with the rows that are already late counted or dropped.

mod limits;

use std::sync::Arc;

pub use limits::{ClampReport, Limits};

use crate::time::{Span, Stamp};

/// The policy's answer to one observation: joint positions in rows, one row a time step.
/// Owned by the caller and reused from inference to inference.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chunk {
    /// Joint names, one a column.
    pub names: Arc<[String]>,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, names]`, row-major, rad or m.
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

    /// When row `i` is due: `observation_stamp + (i + 1) * step`.
    pub fn due(&self, row: usize) -> Stamp {
        self.observation_stamp + self.step.times(i64::try_from(row).unwrap_or(i64::MAX).saturating_add(1))
    }

    /// Values of row `i`, one a joint; `None` beyond the last.
    pub fn row(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.width())?;
        self.values.get(start..start.checked_add(self.width())?).filter(|_| i < self.rows)
    }
}
