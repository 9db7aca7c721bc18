//! How one activation, and the products that read it, are put into 8 bits: smoothing, clipping, and the error that remains.
//!
//! Smoothing divides a channel `k` of the activation by `s[k]` and multiplies row `k` of the weights by it, so that large
//! channels of the activation do not take the resolution of the others:
//! `s[k] = max|x[k]|^alpha / max|w[k]|^(1 - alpha)` (SmoothQuant, arXiv 2211.10438, equation 4), here rounded to a power of two, so that
//! the floating network computes bit by bit what it did.

use serde::{Deserialize, Serialize};

use crate::float::Float;
use crate::matrix::Matrix;
use crate::scale::{Clip, LARGEST, candidates, quantized, quantized_blocks, quantized_columns};
use crate::statistics::Statistics;

/// Strengths of smoothing that are tried.
const ALPHAS: [f32; 6] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
/// Products of a row, a weight and a candidate that one fit computes about.
const WORK: usize = 1 << 28;
/// Rows of a fit at least, where there are so many.
const FEWEST_ROWS: usize = 32;
/// Exponents of smoothing factors: none is so far from 1 that half precision loses the channel.
const EXPONENT: f32 = 6.0;

/// What was found for an activation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fit {
    /// Strength of smoothing; `None`: the activation is as it was.
    pub alpha: Option<f32>,
    /// Its factors, one a channel; empty without smoothing.
    pub factors: Vec<f32>,
    /// Where the activation is clipped.
    pub clip: Clip,
    /// Its scale.
    pub scale: f32,
    /// Of each product, in order: the L2 error of its output over the output's L2 norm, on the sample.
    pub errors: Vec<f64>,
}

/// Why an activation stays floating.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It is infinite or no number somewhere.
    #[error("{0} of its calibration values are infinite or not a number")]
    NotFinite(u64),
    /// It is zero in all samples.
    #[error("all of its calibration values are 0")]
    Zero,
    /// A product's weight is infinite or no number somewhere.
    #[error("a weight that multiplies it is infinite or not a number")]
    Weight,
    /// It comes to the end of its element type's range, where no scale reaches it.
    #[error("its calibration values reach {0:e}, where the range of its element type ends")]
    Range(f32),
}

/// Finds smoothing and scale with the least error of the products' outputs. `readers`: weights `[channels, outputs]` of every
/// product that reads the tensor; `smoothable`: whether its maker can take the factors in; `float`: the tensor's element type.
///
/// # Errors
/// [`Unfit`].
pub fn fit(statistics: &Statistics, readers: &[&Matrix], smoothable: bool, float: Float) -> Result<Fit, Unfit> {
    usable(statistics, readers, float)?;
    let sample = rows(statistics, readers);
    let exact: Vec<Matrix> = readers.iter().map(|weight| sample.times(weight)).collect();
    let plain = Trial::new(statistics, &sample, readers, Vec::new());
    let mut best = (plain.best(&exact), None, plain);
    let weight_maxima = maxima_of_rows(readers, statistics.channels());
    for alpha in ALPHAS.into_iter().filter(|_| smoothable) {
        let factors = factors(&statistics.maxima, &weight_maxima, alpha);
        if !within(&factors, &statistics.maxima, &weight_maxima, float) {
            continue;
        }
        let trial = Trial::new(statistics, &sample, readers, factors);
        let found = trial.best(&exact);
        if found.total < best.0.total {
            best = (found, Some(alpha), trial);
        }
    }
    let (found, alpha, trial) = best;
    Ok(Fit { alpha, factors: trial.factors, clip: found.clip, scale: found.scale, errors: found.errors })
}

/// The error of weights in 4 bits, in blocks of [`crate::integers::BLOCK`] input channels with a scale each; the activation stays floating.
///
/// # Errors
/// [`Unfit`].
pub fn fit_blocks(statistics: &Statistics, readers: &[&Matrix], float: Float) -> Result<Fit, Unfit> {
    usable(statistics, readers, float)?;
    let sample = rows(statistics, readers);
    let error = |weight: &&Matrix| {
        let exact = sample.times(weight);
        let found = sample.times(&quantized_blocks(weight));
        (found.squared_distance(&exact) / exact.squared().max(f64::MIN_POSITIVE)).sqrt()
    };
    let errors = readers.iter().map(error).collect();
    Ok(Fit { alpha: None, factors: Vec::new(), clip: Clip::Max, scale: statistics.largest() / LARGEST, errors })
}

/// Refuses what no scale fits.
fn usable(statistics: &Statistics, readers: &[&Matrix], float: Float) -> Result<(), Unfit> {
    if statistics.not_finite > 0 {
        return Err(Unfit::NotFinite(statistics.not_finite));
    }
    if statistics.largest() == 0.0 {
        return Err(Unfit::Zero);
    }
    if readers.iter().any(|weight| weight.values.iter().any(|value| !value.is_finite())) {
        return Err(Unfit::Weight);
    }
    let largest = readers.iter().flat_map(|weight| &weight.values).fold(0.0f32, |most, value| most.max(value.abs()));
    if let Some(beyond) = [statistics.largest(), largest].into_iter().find(|largest| !float.holds(*largest)) {
        return Err(Unfit::Range(beyond));
    }
    Ok(())
}

/// Whether the element type holds the activation over the factors, and the weights times them.
fn within(factors: &[f32], activation: &[f32], weight: &[f32], float: Float) -> bool {
    let each = factors.iter().zip(activation.iter().zip(weight));
    each.into_iter().all(|(factor, (x, w))| float.holds(x / factor) && float.holds(w * factor))
}

/// The sample, or every n-th row of it.
fn rows(statistics: &Statistics, readers: &[&Matrix]) -> Matrix {
    let sample = statistics.sample();
    let work: usize = readers.iter().map(|weight| weight.values.len()).sum();
    let most = (WORK / work.max(1)).max(FEWEST_ROWS);
    let step = sample.rows.div_ceil(most).max(1);
    let values: Vec<f32> = sample.iter().step_by(step).flatten().copied().collect();
    Matrix { rows: sample.rows.div_ceil(step), columns: sample.columns, values }
}

/// Largest magnitude that multiplies each channel.
fn maxima_of_rows(readers: &[&Matrix], channels: usize) -> Vec<f32> {
    let mut maxima = vec![0.0f32; channels];
    for weight in readers {
        maxima.iter_mut().zip(weight.row_maxima()).for_each(|(most, found)| *most = most.max(found));
    }
    maxima
}

/// Smoothing factors, powers of two; 1 for a channel that is 0 on either side.
fn factors(activation: &[f32], weight: &[f32], alpha: f32) -> Vec<f32> {
    let logarithm = |(x, w): (&f32, &f32)| {
        let raw = alpha * x.log2() - (1.0 - alpha) * w.log2();
        (*x > 0.0 && *w > 0.0).then_some(raw)
    };
    let raw: Vec<Option<f32>> = activation.iter().zip(weight).map(logarithm).collect();
    // The scale takes a factor that all channels share.
    let known: Vec<f32> = raw.iter().flatten().copied().collect();
    let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
    let power = |raw: f32| (raw - mean).round().clamp(-EXPONENT, EXPONENT).exp2();
    raw.into_iter().map(|raw| raw.map_or(1.0, power)).collect()
}

/// The activation and its weights with one smoothing.
struct Trial {
    factors: Vec<f32>,
    sample: Matrix,
    weights: Vec<Matrix>,
    scales: Vec<(Clip, f32)>,
}

/// The best clipping of a trial.
struct Found {
    total: f64,
    clip: Clip,
    scale: f32,
    errors: Vec<f64>,
}

impl Trial {
    fn new(statistics: &Statistics, sample: &Matrix, readers: &[&Matrix], factors: Vec<f32>) -> Self {
        let factor = |channel: usize| factors.get(channel).copied().unwrap_or(1.0);
        let smoothed = |row: &[f32]| row.iter().enumerate().map(|(at, x)| x / factor(at)).collect::<Vec<_>>();
        let sample = Matrix { values: sample.iter().flat_map(smoothed).collect(), ..*sample };
        let scaled = |weight: &Matrix| {
            let rows = weight.iter().enumerate();
            let values = rows.flat_map(|(at, row)| row.iter().map(move |w| (at, w))).map(|(at, w)| w * factor(at));
            Matrix { values: values.collect(), ..*weight }
        };
        let weights: Vec<Matrix> = readers.iter().map(|weight| quantized_columns(&scaled(weight))).collect();
        let mut importance = vec![0.0; statistics.channels()];
        for weight in &weights {
            let norms = weight.iter().map(|row| row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>());
            importance.iter_mut().zip(norms).for_each(|(sum, norm)| *sum += norm);
        }
        let most = statistics.maxima.iter().enumerate().map(|(at, x)| x / factor(at)).fold(0.0, f32::max);
        let scales = candidates(&sample, most, &importance);
        Self { factors, sample, weights, scales }
    }

    /// The clipping with the least error, all products together.
    fn best(&self, exact: &[Matrix]) -> Found {
        let of = |&(clip, scale): &(Clip, f32)| {
            let activation = quantized(&self.sample, scale);
            let squares: Vec<(f64, f64)> = self
                .weights
                .iter()
                .zip(exact)
                .map(|(weight, exact)| (activation.times(weight).squared_distance(exact), exact.squared()))
                .collect();
            let errors = squares.iter().map(|(error, norm)| (error / norm.max(f64::MIN_POSITIVE)).sqrt()).collect();
            Found {
                total: squares.iter().map(|(error, norm)| error / norm.max(f64::MIN_POSITIVE)).sum(),
                clip,
                scale,
                errors,
            }
        };
        let all = self.scales.iter().map(of);
        all.reduce(|best, next| if next.total < best.total { next } else { best }).unwrap_or(Found {
            total: f64::INFINITY,
            clip: Clip::Max,
            scale: 1.0,
            errors: vec![f64::INFINITY; self.weights.len()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that look random and are the same everywhere.
    fn noise(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    /// 64 rows of 32 channels, the second `outlier` times as large.
    fn activation(outlier: f32) -> Statistics {
        let mut values = noise(1, 64 * 32);
        values.iter_mut().skip(1).step_by(32).for_each(|value| *value *= outlier);
        let mut statistics = Statistics::new(32);
        statistics.add(&values);
        statistics
    }

    #[test]
    fn an_outlying_channel_is_smoothed_where_it_can_be_and_the_error_falls() {
        let weight = Matrix { rows: 32, columns: 16, values: noise(2, 32 * 16) };
        let statistics = activation(60.0);
        let plain = fit(&statistics, &[&weight], false, Float::F32).expect("fits");
        let smooth = fit(&statistics, &[&weight], true, Float::F32).expect("fits");
        assert!(plain.alpha.is_none() && plain.factors.is_empty());
        assert!(smooth.alpha.is_some() && smooth.factors[1] >= 4.0 * smooth.factors[0], "{smooth:?}");
        assert!(smooth.errors[0] < plain.errors[0], "{} {}", smooth.errors[0], plain.errors[0]);
        assert!(smooth.factors.iter().all(|factor| factor.log2().fract() == 0.0), "{:?}", smooth.factors);
    }

    #[test]
    fn without_outliers_eight_bits_are_within_a_hundredth() {
        let weight = Matrix { rows: 32, columns: 16, values: noise(2, 32 * 16) };
        let found = fit(&activation(1.0), &[&weight, &weight], true, Float::F32).expect("fits");
        assert_eq!(found.errors.len(), 2);
        assert!(found.errors.iter().all(|error| (1e-5..0.01).contains(error)), "{found:?}");
    }

    #[test]
    fn what_no_scale_fits_says_why() {
        let weight = Matrix { rows: 2, columns: 1, values: vec![1.0, f32::NAN] };
        let of = |values: &[f32], weight: &Matrix| {
            let mut statistics = Statistics::new(2);
            statistics.add(values);
            fit(&statistics, &[weight], true, Float::F16).expect_err("unfit")
        };
        let good = Matrix { rows: 2, columns: 1, values: vec![1.0, 2.0] };
        assert_eq!(of(&[1.0, f32::INFINITY], &good), Unfit::NotFinite(1));
        assert_eq!(of(&[0.0, 0.0], &good), Unfit::Zero);
        assert_eq!(of(&[1.0, 1.0], &weight), Unfit::Weight);
        assert_eq!(of(&[1.0, 65_400.0], &good), Unfit::Range(65_400.0));
    }

    #[test]
    fn half_precision_is_not_smoothed_beyond_its_range() {
        let weight = Matrix { rows: 32, columns: 16, values: noise(2, 32 * 16).iter().map(|w| w * 3e4).collect() };
        let statistics = activation(60.0);
        let of = |float| fit(&statistics, &[&weight], true, float).expect("fits");
        assert!(of(Float::F32).alpha.is_some());
        let half = of(Float::F16);
        let maxima = maxima_of_rows(&[&weight], 32);
        assert!(half.factors.iter().zip(maxima).all(|(factor, most)| factor * most < 65_504.0), "{half:?}");
    }
}
