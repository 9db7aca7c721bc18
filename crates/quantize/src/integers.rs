//! Weights as integers: symmetric, to the nearest, ties to even.

use crate::float::Float;
use crate::matrix::Matrix;

/// Input channels that share a scale of 4-bit weights.
pub const BLOCK: usize = 128;

/// A matrix of integers with scales: a real value is a scale times an integer.
#[derive(Clone, PartialEq, Debug)]
pub struct Integers {
    /// Elements, row by row.
    pub values: Vec<i8>,
    /// Scales, row by row: one row for each block of rows, one column for each column.
    pub scales: Vec<f32>,
    /// Rows that share a row of scales.
    pub block: usize,
    /// Columns.
    pub columns: usize,
}

/// 8-bit integers with one scale a column, a number of type `float`: the largest magnitude over 127, rounded up; 1 for a column of
/// zeros.
pub fn int8(matrix: &Matrix, float: Float) -> Integers {
    quantize(matrix, float, matrix.rows, 127)
}

/// 4-bit integers with one scale a column and block of [`BLOCK`] rows, a number of type `float`: the largest magnitude over 7,
/// rounded up; 1 for zeros.
pub fn int4(matrix: &Matrix, float: Float) -> Integers {
    quantize(matrix, float, BLOCK, 7)
}

fn quantize(matrix: &Matrix, float: Float, block: usize, most: i8) -> Integers {
    let columns = matrix.columns;
    let mut integers = Integers { values: Vec::with_capacity(matrix.values.len()), scales: Vec::new(), block, columns };
    let lowest = -f32::from(most) - 1.0;
    for rows in matrix.values.chunks(block.saturating_mul(columns).max(1)) {
        let mut scales = vec![0.0_f32; columns];
        for row in rows.chunks_exact(columns) {
            scales.iter_mut().zip(row).for_each(|(scale, value)| *scale = scale.max(value.abs()));
        }
        for scale in &mut scales {
            *scale = if *scale == 0.0 { 1.0 } else { float.round_up(*scale / f32::from(most)) };
        }
        for row in rows.chunks_exact(columns) {
            let integer =
                |(value, scale): (&f32, &f32)| (value / scale).round_ties_even().clamp(lowest, f32::from(most)) as i8;
            integers.values.extend(row.iter().zip(&scales).map(integer));
        }
        integers.scales.append(&mut scales);
    }
    integers
}

impl Integers {
    /// The real values, in single precision.
    pub fn dequantized(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.values.len());
        for (row, integers) in self.values.chunks_exact(self.columns).enumerate() {
            let scales = &self.scales[row / self.block * self.columns..][..self.columns];
            values.extend(integers.iter().zip(scales).map(|(integer, scale)| f32::from(*integer) * scale));
        }
        values
    }

    /// Two elements a byte, the first in the low half, as ONNX stores 4-bit integers.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let nibble = |value: &i8| value.cast_unsigned() & 0xf;
        let pair = |pair: &[i8]| nibble(&pair[0]) | pair.get(1).map_or(0, nibble) << 4;
        self.values.chunks(2).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_its_scale_and_ties_go_to_the_even_integer() {
        let matrix = Matrix { rows: 3, columns: 3, values: vec![127.0, 0.0, 1.0, 0.5, 0.0, -2.0, 1.5, 0.0, 2.0] };
        let integers = int8(&matrix, Float::F32);
        assert_eq!(integers.scales, [1.0, 1.0, 2.0 / 127.0]);
        assert_eq!(integers.values, [127, 0, 64, 0, 0, -127, 2, 0, 127]);
    }

    #[test]
    fn a_scale_of_half_precision_is_not_smaller_so_that_nothing_is_cut_off() {
        let matrix = Matrix { rows: 1, columns: 2, values: vec![0.3, 1e-9] };
        let integers = int8(&matrix, Float::F16);
        assert_eq!(integers.values, [127, 0]);
        assert!(integers.scales.iter().all(|scale| *scale > 0.0));
    }

    #[test]
    fn blocks_of_4_bits_have_scales_of_their_own() {
        let values = (0..2 * BLOCK).map(|row| if row < BLOCK { 7.0 } else { -70.0 }).collect();
        let integers = int4(&Matrix { rows: 2 * BLOCK, columns: 1, values }, Float::F32);
        assert_eq!(integers.scales, [1.0, 10.0]);
        assert_eq!((integers.values[0], integers.values[BLOCK]), (7, -7));
        assert_eq!((integers.packed()[0], integers.packed()[BLOCK / 2]), (0x77, 0x99));
        assert_eq!(integers.dequantized()[2 * BLOCK - 1], -70.0);
    }
}
