//! The last published chunk, from which the action prefix of the next one is taken.

use std::ops::Range;
use std::sync::Arc;

use super::Chunk;
use vla_base::time::{Span, Stamp};

/// Rows of the last published chunk. A refused chunk is never stored. Refilled in place.
#[derive(Clone, Debug, Default)]
pub struct PublishedRows {
    values: Vec<f32>,
    width: usize,
    rows: usize,
    poses: Arc<[Range<usize>]>,
    stamp: Stamp,
    step: Span,
}

impl PublishedRows {
    /// Stores a chunk that is published.
    pub fn set(&mut self, chunk: &Chunk) {
        self.values.clear();
        self.values.extend_from_slice(&chunk.values);
        self.poses.clone_from(&chunk.poses);
        (self.width, self.rows) = (chunk.width(), chunk.rows);
        (self.stamp, self.step) = (chunk.observation_stamp, chunk.step);
    }

    /// Drops the stored chunk.
    pub fn clear(&mut self) {
        (self.rows, self.width) = (0, 0);
        self.values.clear();
    }

    /// Columns of a row; 0 without a chunk.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its rows from the one on that is due when row 0 of a chunk observed at `observed_at` is due, each with its due time. None for
    /// a chunk of another `step`.
    pub fn rows_from(&self, observed_at: Stamp, step: Span) -> impl Iterator<Item = (Stamp, &[f32])> {
        let whole = if step == self.step { self.rows } else { 0 };
        let step = self.step.nanos().max(1);
        let shift = usize::try_from(((observed_at - self.stamp).nanos() + step / 2) / step).unwrap_or(0);
        let rows = self.values.chunks_exact(self.width.max(1)).take(whole).skip(shift);
        (1..).zip(rows).map(move |(row, values)| (observed_at + self.step.times(row), values))
    }

    /// Whether a column is no joint.
    pub fn is_pose(&self, column: usize) -> bool {
        self.poses.iter().any(|range| range.contains(&column))
    }
}
