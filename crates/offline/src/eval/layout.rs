//! The columns that are compared, in a chunk's units and as the model sees them.

use std::ops::Range;

use vla_base::time::Span;
use vla_policy::{ActionKeyColumns, Policy};
use vla_runtime::parameters::Settings;

/// One column of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Joint, or `<key>.x`, ...
    pub name: String,
    /// Whether it is a joint.
    pub is_joint: bool,
    /// Whether the joint turns without end: its errors are taken the short way round.
    pub continuous: bool,
    /// Its column of a normalised row; `None` for a pose that the model has in another format.
    pub normalised: Option<usize>,
}

/// Rows and columns of the compared chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The columns, keys in model order.
    pub columns: Vec<Column>,
    /// The action keys in model order.
    pub keys: Vec<ActionKeyColumns>,
    /// Rows of a chunk.
    pub rows: usize,
    /// Rows of each chunk that are used before the next inference.
    pub used: usize,
    /// Time from row to row.
    pub step: Span,
}

impl Layout {
    /// The layout of a loaded policy's chunks, of which `used` rows are executed.
    pub(super) fn new(policy: &Policy, settings: &Settings, used: usize) -> Self {
        let (keys, chunk) = (policy.action_keys(), policy.new_chunk());
        let column = |(index, name): (usize, &String)| {
            let key = keys.iter().find(|key| key.columns.contains(&index));
            let same = key.filter(|key| key.columns.len() == key.normalised.len());
            Column {
                name: name.clone(),
                is_joint: !chunk.poses.iter().any(|poses| poses.contains(&index)),
                continuous: settings.rules.continuous.contains(name),
                normalised: same.map(|key| key.normalised.start + index - key.columns.start),
            }
        };
        let columns = policy.columns().iter().enumerate().map(column).collect();
        Self { columns, rows: chunk.rows, used, step: settings.step, keys }
    }

    /// Columns of a chunk's row.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Columns of a normalised row.
    pub fn normalised_width(&self) -> usize {
        self.keys.iter().map(|key| key.normalised.end).max().unwrap_or_default()
    }

    /// The key of a column.
    pub fn key_of(&self, column: usize) -> Option<&ActionKeyColumns> {
        self.keys.iter().find(|key| key.columns.contains(&column))
    }

    /// The rows that are used.
    pub(super) fn used_rows(&self) -> Range<usize> {
        0..self.used
    }
}
