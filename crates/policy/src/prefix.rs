//! Real-time chunking: a new chunk that continues the previous one.
//!
//! The overlapping rows start from the previous chunk's values instead of noise, and a guidance weight scales the velocity
//! of each row: 0 for rows that are committed to the robot, rising over the overlap, 1 beyond it (GR00T N1.6, pull request
//! 520, with its ramp rate). The networks compute `actions + dt * strength * velocity`; their input `strength` holds the
//! weights.

use super::Error;

/// Rate of the ramp of the guidance weight.
const RATE: f32 = 6.0;

/// Action prefix: the rows of the previous chunk that a new chunk continues.
#[derive(Clone, Copy, Debug)]
pub struct ActionPrefix<'p> {
    /// At least `overlap` rows of [`vla_motion::Chunk::values`], with the same columns and units: absolute positions and
    /// poses. Row 0 is due at the same time as row 0 of the new chunk.
    pub previous: &'p [f32],
    /// Leading rows that the new chunk keeps unchanged.
    pub frozen: usize,
    /// Leading rows that start from `previous`, including the frozen ones.
    pub overlap: usize,
}

/// Buffer of a prefix's overlapping rows, allocated once.
pub(super) struct PrefixRows {
    values: Vec<f32>,
    max_rows: usize,
    columns: usize,
}

impl PrefixRows {
    pub(super) fn new(max_rows: usize, columns: usize) -> Self {
        Self { values: Vec::with_capacity(max_rows.saturating_mul(columns)), max_rows, columns }
    }

    /// The first `rows` rows.
    pub(super) fn first(&self, rows: usize) -> &[f32] {
        self.values.get(..rows.saturating_mul(self.columns)).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    /// Checks and copies the overlapping rows of a prefix.
    pub(super) fn copy_from(&mut self, prefix: &ActionPrefix<'_>) -> Result<&mut [f32], Error> {
        let ActionPrefix { previous, frozen, overlap } = *prefix;
        let (columns, max_rows) = (self.columns, self.max_rows);
        if frozen > overlap || overlap > max_rows {
            return Err(Error::Prefix(format!(
                "expected at most {max_rows} overlapping rows (a chunk has no more), of which some may be frozen; found \
                 {frozen} frozen of {overlap}"
            )));
        }
        let rows = previous.get(..overlap.saturating_mul(columns)).ok_or_else(|| {
            Error::Prefix(format!(
                "expected {overlap} rows of {columns} values, found {} values; reduce the overlap to the remaining rows of \
                 the previous chunk",
                previous.len()
            ))
        })?;
        if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
            return Err(Error::Prefix(format!(
                "expected finite values, found {} in row {}, column {}",
                rows[at],
                at / columns,
                at % columns
            )));
        }
        self.values.clear();
        self.values.extend_from_slice(rows);
        Ok(&mut self.values)
    }
}

/// Guidance weight of a row: 0 for frozen rows, 1 beyond the overlap, between them `(1 - exp(-6 u)) / (1 - exp(-6))` at evenly
/// spaced `u` in the open interval from 0 to 1.
pub(super) fn guidance_weight(row: usize, frozen: usize, overlap: usize) -> f32 {
    if row >= overlap {
        1.0
    } else if row < frozen {
        0.0
    } else {
        let u = (row - frozen + 1) as f32 / (overlap - frozen + 1) as f32;
        (-RATE * u).exp_m1() / (-RATE).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_zero_for_frozen_rows_rises_over_the_overlap_and_is_one_beyond() {
        let weights: Vec<f32> = (0..20).map(|row| guidance_weight(row, 6, 16)).collect();
        assert!(weights[..6].iter().all(|&weight| weight == 0.0));
        assert!(weights[16..].iter().all(|&weight| weight == 1.0));
        assert!(weights[5..17].windows(2).all(|pair| pair[0] < pair[1]), "{weights:?}");
        // The first interior point of 12 on [0, 1], by hand: (1 - e^(-6/11)) / (1 - e^-6).
        assert!((weights[6] - 0.421_469).abs() < 1e-5, "{}", weights[6]);
        assert!((guidance_weight(0, 0, 1) - 0.952_574).abs() < 1e-5, "the middle: (1 - e^-3) / (1 - e^-6)");
        assert!((0..5).all(|row| guidance_weight(row, 0, 0) == 1.0));
    }

    #[test]
    fn a_prefix_of_too_few_rows_or_with_values_that_are_not_finite_is_refused() {
        let mut rows = PrefixRows::new(4, 2);
        let mut copied = |previous: &[f32], frozen, overlap| {
            rows.copy_from(&ActionPrefix { previous, frozen, overlap }).map(|rows| rows.len())
        };
        assert!(matches!(copied(&[0.0; 8], 2, 4), Ok(8)));
        assert!(matches!(copied(&[], 0, 0), Ok(0)));
        let not_finite = [0.0, 0.0, 0.0, f32::NAN];
        for (previous, frozen, overlap, figures) in [
            (&[0.0; 8][..], 3, 2, "3 frozen of 2"),
            (&[0.0; 10], 0, 5, "at most 4"),
            (&[0.0; 5], 0, 3, "found 5"),
            (&not_finite, 1, 2, "row 1, column 1"),
        ] {
            let Err(Error::Prefix(reason)) = copied(previous, frozen, overlap) else { panic!("accepted: {figures}") };
            assert!(reason.contains(figures), "{reason}");
        }
    }
}
