//! Matrices in single precision, row by row.

use nalgebra::DMatrixView;

/// Side of the tiles in which a matrix is transposed: two of them fit a first-level cache.
const TILE: usize = 32;

/// `rows` times `columns` values, row by row.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Values of a row.
    pub columns: usize,
    /// The values.
    pub values: Vec<f32>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// One row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// Every row in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.columns.max(1))
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut values = vec![0.0; self.values.len()];
        for row in (0..self.rows).step_by(TILE) {
            for column in (0..self.columns).step_by(TILE) {
                for r in row..self.rows.min(row + TILE) {
                    for c in column..self.columns.min(column + TILE) {
                        values[c * self.rows + r] = self.values[r * self.columns + c];
                    }
                }
            }
        }
        Self { rows: self.columns, columns: self.rows, values }
    }

    /// `self * other`; `self.columns` is `other.rows`.
    pub fn times(&self, other: &Self) -> Self {
        debug_assert_eq!(self.columns, other.rows);
        // Rows of ours are columns of nalgebra's: (A B)^T = B^T A^T.
        let left = DMatrixView::from_slice(&other.values, other.columns, other.rows);
        let right = DMatrixView::from_slice(&self.values, self.columns, self.rows);
        let product = left * right;
        Self { rows: self.rows, columns: other.columns, values: product.as_slice().to_vec() }
    }

    /// Largest magnitude of each row.
    pub fn row_maxima(&self) -> Vec<f32> {
        self.iter().map(|row| row.iter().fold(0.0f32, |most, value| most.max(value.abs()))).collect()
    }

    /// Largest magnitude of each column.
    pub fn column_maxima(&self) -> Vec<f32> {
        let mut maxima = vec![0.0f32; self.columns];
        for row in self.iter() {
            maxima.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(value.abs()));
        }
        maxima
    }

    /// Sum of squares of the differences to a matrix of the same size.
    pub fn squared_distance(&self, other: &Self) -> f64 {
        self.values.iter().zip(&other.values).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    }

    /// Sum of squares.
    pub fn squared(&self) -> f64 {
        self.values.iter().map(|value| f64::from(*value).powi(2)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_that_of_rows_with_columns() {
        let a = Matrix { rows: 2, columns: 3, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let b = Matrix { rows: 3, columns: 2, values: vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0] };
        assert_eq!(a.times(&b), Matrix { rows: 2, columns: 2, values: vec![14.0, 140.0, 32.0, 320.0] });
        assert_eq!((a.row_maxima(), b.column_maxima()), (vec![3.0, 6.0], vec![3.0, 30.0]));
        assert_eq!((a.squared(), a.squared_distance(&Matrix::zeros(2, 3))), (91.0, 91.0));
    }
}
