//! The figures of an evaluation, by key, column, horizon row and episode.

use serde::Serialize;

use super::layout::Layout;
pub use super::sums::Errors;
use super::sums::Sums;

/// Errors in the robot's units and in the model's normalised ones. `None` where nothing was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ErrorPair {
    /// In the units of the chunk's columns: rad, m, and those of other columns.
    pub robot: Option<Errors>,
    /// Normalised by the checkpoint's action statistics: 1 is half the range of a value, or one standard deviation.
    pub normalised: Option<Errors>,
}

/// Errors of one action key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyErrors {
    /// The key.
    pub key: String,
    /// Its errors.
    #[serde(flatten)]
    pub errors: ErrorPair,
}

/// Errors of one column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnErrors {
    /// Joint, or `<key>.x`, ...
    pub name: String,
    /// Its action key.
    pub key: String,
    /// Its errors.
    #[serde(flatten)]
    pub errors: ErrorPair,
}

/// Errors of one row of the chunks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowErrors {
    /// The row, from 0.
    pub row: usize,
    /// Time from the observation to its due time, s.
    pub ahead_s: f64,
    /// Whether it is used before the next inference.
    pub used: bool,
    /// Its errors.
    #[serde(flatten)]
    pub errors: ErrorPair,
}

/// All means over one set of chunks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Over all used rows and all columns.
    pub overall: ErrorPair,
    /// The same over the columns of each key.
    pub keys: Vec<KeyErrors>,
    /// The same of each column.
    pub columns: Vec<ColumnErrors>,
    /// Of each row over all columns, also of rows that are not used.
    pub rows: Vec<RowErrors>,
}

/// Sums of both spaces.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) robot: Sums,
    pub(super) normalised: Sums,
}

impl Tally {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            robot: Sums::new(layout.rows, layout.width()),
            normalised: Sums::new(layout.rows, layout.normalised_width()),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.robot.merge(&other.robot);
        self.normalised.merge(&other.normalised);
    }

    /// Over all used rows and columns.
    pub(super) fn overall(&self, layout: &Layout) -> ErrorPair {
        let used = layout.used_rows();
        ErrorPair {
            robot: self.robot.over(used.clone(), 0..layout.width()),
            normalised: self.normalised.over(used, 0..layout.normalised_width()),
        }
    }

    pub(super) fn figures(&self, layout: &Layout) -> Figures {
        let used = layout.used_rows();
        let keys = layout.keys.iter().map(|key| KeyErrors {
            key: key.key.clone(),
            errors: ErrorPair {
                robot: self.robot.over(used.clone(), key.columns.clone()),
                normalised: self.normalised.over(used.clone(), key.normalised.clone()),
            },
        });
        let columns = layout.columns.iter().enumerate().map(|(index, column)| ColumnErrors {
            name: column.name.clone(),
            key: layout.key_of(index).map(|key| key.key.clone()).unwrap_or_default(),
            errors: ErrorPair {
                robot: self.robot.over(used.clone(), index..index + 1),
                normalised: column.normalised.and_then(|at| self.normalised.over(used.clone(), at..at + 1)),
            },
        });
        let rows = (0..layout.rows).map(|row| RowErrors {
            row,
            ahead_s: layout.step.times(row as i64 + 1).seconds(),
            used: row < layout.used,
            errors: ErrorPair {
                robot: self.robot.over(row..row + 1, 0..layout.width()),
                normalised: self.normalised.over(row..row + 1, 0..layout.normalised_width()),
            },
        });
        Figures {
            overall: self.overall(layout),
            keys: keys.collect(),
            columns: columns.collect(),
            rows: rows.collect(),
        }
    }
}
