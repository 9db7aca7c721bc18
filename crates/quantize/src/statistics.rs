//! What the values of one activation are like, over all calibration samples.

use crate::matrix::Matrix;

/// Values that a sample keeps at most; it keeps at least [`FEWEST_ROWS`] rows all the same.
const SAMPLE_VALUES: usize = 1 << 19;
/// Fewest rows of a full sample.
const FEWEST_ROWS: usize = 64;

/// Statistics of a tensor `[..., channels]`, row by row.
#[derive(Clone, PartialEq, Debug)]
pub struct Statistics {
    /// Largest magnitude of each channel.
    pub maxima: Vec<f32>,
    /// Rows seen.
    pub rows: u64,
    /// Values that are no finite numbers; nothing else here counts them.
    pub not_finite: u64,
    sample: Vec<f32>,
    kept: usize,
    /// Of the rows seen, each one of so many is in the sample.
    stride: u64,
}

impl Statistics {
    /// Of a tensor with so many channels.
    pub fn new(channels: usize) -> Self {
        Self { maxima: vec![0.0; channels], rows: 0, not_finite: 0, sample: Vec::new(), kept: 0, stride: 1 }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.maxima.len()
    }

    /// Adds the rows of one sample: `values` is a whole number of rows.
    pub fn add(&mut self, values: &[f32]) {
        let channels = self.channels().max(1);
        for row in values.chunks_exact(channels) {
            let mut finite = true;
            for (most, value) in self.maxima.iter_mut().zip(row) {
                if value.is_finite() {
                    *most = most.max(value.abs());
                } else {
                    self.not_finite += 1;
                    finite = false;
                }
            }
            if finite && self.rows.is_multiple_of(self.stride) {
                self.keep(row);
            }
            self.rows += 1;
        }
    }

    /// Rows spread evenly over all that were seen: when the sample is full, every second row goes.
    fn keep(&mut self, row: &[f32]) {
        let channels = row.len();
        if self.kept == (SAMPLE_VALUES / channels.max(1)).max(FEWEST_ROWS) {
            let even: Vec<f32> = self.sample.chunks_exact(channels).step_by(2).flatten().copied().collect();
            self.kept = even.len() / channels.max(1);
            self.sample = even;
            self.stride *= 2;
            if !self.rows.is_multiple_of(self.stride) {
                return;
            }
        }
        self.sample.extend_from_slice(row);
        self.kept += 1;
    }

    /// Largest magnitude of all.
    pub fn largest(&self) -> f32 {
        self.maxima.iter().copied().fold(0.0, f32::max)
    }

    /// Rows spread evenly over all that were seen, `[n, channels]`.
    pub fn sample(&self) -> Matrix {
        Matrix { rows: self.kept, columns: self.channels(), values: self.sample.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_are_by_channel_and_what_is_not_finite_is_counted_and_left_out() {
        let mut statistics = Statistics::new(2);
        statistics.add(&[1.0, -2.0, f32::INFINITY, 0.5, -3.0, f32::NAN]);
        assert_eq!((statistics.maxima.clone(), statistics.rows, statistics.not_finite), (vec![3.0, 2.0], 3, 2));
        assert_eq!(statistics.sample(), Matrix { rows: 1, columns: 2, values: vec![1.0, -2.0] });
        assert_eq!(statistics.largest(), 3.0);
    }

    #[test]
    fn a_full_sample_is_thinned_and_stays_spread_over_everything() {
        let channels = SAMPLE_VALUES / FEWEST_ROWS;
        let mut statistics = Statistics::new(channels);
        for row in 0..1000 {
            statistics.add(&vec![row as f32; channels]);
        }
        let sample = statistics.sample();
        assert!((FEWEST_ROWS / 2..=FEWEST_ROWS).contains(&sample.rows), "{}", sample.rows);
        let firsts: Vec<f32> = sample.iter().map(|row| row[0]).collect();
        let step = firsts[1] - firsts[0];
        assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] == step), "{firsts:?}");
        assert!(firsts[0] == 0.0 && firsts.last().is_some_and(|last| 1000.0 - last <= step), "{firsts:?}");
    }
}
