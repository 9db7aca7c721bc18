//! Sums of errors. Every figure of an evaluation is a mean over cells of one table: horizon row by column.

use serde::Serialize;

/// Errors of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    count: u64,
    squares: f64,
    absolute: f64,
    largest: f64,
}

impl Sum {
    fn add(&mut self, error: f64) {
        self.count += 1;
        self.squares += error * error;
        self.absolute += error.abs();
        self.largest = self.largest.max(error.abs());
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.squares += other.squares;
        self.absolute += other.absolute;
        self.largest = self.largest.max(other.largest);
    }

    fn errors(&self) -> Option<Errors> {
        let count = Some(self.count as f64).filter(|count| *count > 0.0)?;
        Some(Errors {
            values: self.count,
            mse: self.squares / count,
            mae: self.absolute / count,
            largest: self.largest,
        })
    }
}

/// Errors of predicted values against recorded ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Compared values.
    pub values: u64,
    /// Mean of the squared errors.
    pub mse: f64,
    /// Mean of the absolute errors.
    pub mae: f64,
    /// Largest absolute error.
    #[serde(rename = "max")]
    pub largest: f64,
}

/// The table: one cell for each row of a chunk and each column.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    width: usize,
    cells: Vec<Sum>,
}

impl Sums {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self { width, cells: vec![Sum::default(); rows.saturating_mul(width)] }
    }

    /// Adds the error of one value.
    pub(super) fn add(&mut self, row: usize, column: usize, error: f64) {
        if let Some(sum) = self.cells.get_mut(row * self.width + column).filter(|_| column < self.width) {
            sum.add(error);
        }
    }

    /// Adds another table of the same size.
    pub(super) fn merge(&mut self, other: &Self) {
        self.cells.iter_mut().zip(&other.cells).for_each(|(sum, other)| sum.merge(other));
    }

    /// The errors over rows and columns; `None` when nothing was compared there.
    pub(super) fn over(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Option<Errors> {
        let mut all = Sum::default();
        for row in self.cells.chunks_exact(self.width.max(1)).take(rows.end).skip(rows.start) {
            row.get(columns.clone()).unwrap_or_default().iter().for_each(|sum| all.merge(sum));
        }
        all.errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_the_values_and_not_over_the_means_of_cells() {
        let mut sums = Sums::new(2, 2);
        [(0, 0, 1.0), (0, 0, -3.0), (0, 1, 0.5), (1, 0, 2.0)]
            .into_iter()
            .for_each(|(row, column, e)| sums.add(row, column, e));
        let all = sums.over(0..2, 0..2).expect("four values");
        assert_eq!(all, Errors { values: 4, mse: 14.25 / 4.0, mae: 6.5 / 4.0, largest: 3.0 });
        let column = sums.over(0..1, 0..1).expect("two values");
        assert_eq!(column, Errors { values: 2, mse: 5.0, mae: 2.0, largest: 3.0 });
        assert_eq!(sums.over(1..2, 1..2), None);
        let mut twice = sums.clone();
        twice.merge(&sums);
        assert_eq!(twice.over(0..2, 0..2).map(|errors| (errors.values, errors.mse)), Some((8, all.mse)));
    }
}
