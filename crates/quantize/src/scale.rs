//! Scales: how large the step of an 8-bit integer is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::float::Float;
use crate::integers::{int4, int8};
use crate::matrix::Matrix;

/// Largest integer of a symmetric 8-bit scale.
pub(crate) const LARGEST: f32 = 127.0;
/// Shares of the largest magnitude that the search for the least squared error tries.
const SHARES: std::ops::RangeInclusive<u8> = 6..=39;

/// Which magnitude is the largest that an 8-bit activation can represent; larger ones are clipped to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// The largest magnitude of all calibration samples.
    Max,
    /// The magnitude that 99.99 % of the values do not exceed.
    #[serde(rename = "99.99 %")]
    Percentile9999,
    /// The magnitude that 99.9 % of the values do not exceed.
    #[serde(rename = "99.9 %")]
    Percentile999,
    /// The magnitude with the least squared error, each channel weighted by what the products make of it.
    Mse,
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Max => "max",
            Self::Percentile9999 => "99.99 %",
            Self::Percentile999 => "99.9 %",
            Self::Mse => "mse",
        })
    }
}

/// The value that `x` has as an 8-bit integer: `QuantizeLinear` and `DequantizeLinear` of ONNX with zero point 0, which round
/// half to even.
pub(crate) fn rounded(x: f32, scale: f32) -> f32 {
    (x / scale).round_ties_even().clamp(-128.0, LARGEST) * scale
}

/// Every value of a matrix as an 8-bit integer of one scale.
pub(crate) fn quantized(values: &Matrix, scale: f32) -> Matrix {
    Matrix { values: values.values.iter().map(|value| rounded(*value, scale)).collect(), ..*values }
}

/// A weight `[inputs, outputs]` as 8-bit integers have it.
pub(crate) fn quantized_columns(weight: &Matrix) -> Matrix {
    Matrix { values: int8(weight, Float::F32).dequantized(), ..*weight }
}

/// A weight `[inputs, outputs]` as 4-bit integers have it.
pub(crate) fn quantized_blocks(weight: &Matrix) -> Matrix {
    Matrix { values: int4(weight, Float::F32).dequantized(), ..*weight }
}

/// The scale of each way to clip. `sample`: rows of the tensor; `most`: its largest magnitude over all rows, above 0;
/// `importance`: what a squared error of each channel counts.
pub(crate) fn candidates(sample: &Matrix, most: f32, importance: &[f64]) -> Vec<(Clip, f32)> {
    let mut magnitudes: Vec<f32> = sample.values.iter().map(|value| value.abs()).collect();
    let mut percentile = |share: f64| {
        let at = ((magnitudes.len() as f64 * share).ceil() as usize).clamp(1, magnitudes.len().max(1)) - 1;
        let found = (at < magnitudes.len()).then(|| *magnitudes.select_nth_unstable_by(at, f32::total_cmp).1);
        // A tensor that is nearly always 0 has percentiles of 0.
        found.filter(|found| *found > 0.0).unwrap_or(most).min(most)
    };
    let mut all = vec![
        (Clip::Max, most / LARGEST),
        (Clip::Percentile9999, percentile(0.9999) / LARGEST),
        (Clip::Percentile999, percentile(0.999) / LARGEST),
    ];
    let error = |scale: f32| -> f64 {
        let squares = |row: &[f32]| -> f64 {
            let each = row.iter().zip(importance);
            each.map(|(value, weight)| weight * f64::from(rounded(*value, scale) - value).powi(2)).sum()
        };
        sample.iter().map(squares).sum()
    };
    let tried = SHARES.map(|share| most * f32::from(share + 1) / 40.0 / LARGEST);
    let best = tried.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    all.extend(best.map(|(_, scale)| (Clip::Mse, scale)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_half_to_even_and_saturate_as_onnx_says() {
        let of = |values: &[f32]| values.iter().map(|x| rounded(*x, 0.5)).collect::<Vec<_>>();
        assert_eq!(of(&[0.25, 0.75, -0.25, 63.6, -64.1, 0.6]), [0.0, 1.0, -0.0, 63.5, -64.0, 0.5]);
    }

    #[test]
    fn a_rare_large_value_is_clipped_by_percentiles_and_by_the_least_error_and_not_by_the_largest() {
        let mut values: Vec<f32> = (0..20_000).map(|i| (i as f32 * 0.37).sin()).collect();
        values[123] = 40.0;
        let sample = Matrix { rows: 10_000, columns: 2, values };
        let found = candidates(&sample, 40.0, &[1.0, 1.0]);
        let scale = |clip| found.iter().find(|each| each.0 == clip).map(|each| each.1 * LARGEST).expect("tried");
        assert_eq!(scale(Clip::Max), 40.0);
        assert!(scale(Clip::Percentile9999) <= 1.0 && scale(Clip::Percentile999) <= 1.0, "{found:?}");
        assert!((7.0..40.0).contains(&scale(Clip::Mse)), "{found:?}");
    }

    #[test]
    fn a_tensor_of_zeros_but_for_one_value_keeps_it() {
        let mut values = vec![0.0; 50_000];
        values[7] = 2.0;
        let found = candidates(&Matrix { rows: 50_000, columns: 1, values }, 2.0, &[1.0]);
        assert!(found[..3].iter().all(|(_, scale)| *scale == 2.0 / LARGEST), "{found:?}");
    }
}
