//! Weights of one axis.

use super::super::{axis, copied};
use super::{Curve, Filter, Precision};
use vla_engines::frames::Axis;

/// A weight in fixed point.
pub(super) trait Weight: Copy + Default + Into<i32> {
    /// The weight `value`, which fits.
    fn of(value: i32) -> Self;
}

impl Weight for i32 {
    fn of(value: i32) -> Self {
        value
    }
}

impl Weight for i16 {
    fn of(value: i32) -> Self {
        value.clamp(i32::from(Self::MIN), i32::from(Self::MAX)) as Self
    }
}

/// Weights of one axis: `taps` consecutive input pixels for each output pixel, padded with zeros to one length.
#[derive(Clone, Debug)]
pub(super) struct Taps<W> {
    /// The size stays: every pixel is its own.
    pub unchanged: bool,
    pub first: Vec<usize>,
    pub taps: usize,
    /// Bits after the binary point.
    pub precision: u32,
    /// `[output, taps]`
    pub weights: Vec<W>,
}

impl<W: Weight> Taps<W> {
    /// The coefficients of both libraries: the curve, widened by the scale when shrinking, cut off at the borders,
    /// normalised in double precision, then rounded half away from zero.
    pub(super) fn plan(input: usize, output: usize, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = filter.curve.support() * widening;
        let most = 2 * support.ceil() as usize + 1;
        let taps_of = |d: usize| {
            let centre = (d as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input).min(first + most);
            let weight = |x: usize| filter.curve.at((x as f64 - centre + 0.5) * (1.0 / widening));
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let weights: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
            (first, weights)
        };
        let pixels: Vec<(usize, Vec<f64>)> = (0..output).map(taps_of).collect();
        let greatest = pixels.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let precision = filter.precision.bits(greatest);
        let taps = pixels.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1).max(1);
        let mut weights = Vec::with_capacity(output * taps);
        for (_, pixel) in &pixels {
            weights.extend(pixel.iter().map(|&weight| W::of(to_fixed(weight, precision))));
            weights.resize(weights.len() + taps - pixel.len(), W::default());
        }
        let first = pixels.into_iter().map(|(first, _)| first).collect();
        Self { unchanged: input == output, first, taps, precision, weights }
    }

    /// First input pixel and weights of output pixel `d`, without the padding.
    #[inline(always)]
    pub(super) fn of(&self, d: usize) -> (usize, &[W]) {
        let weights = &self.weights[d * self.taps..][..self.taps];
        let used = weights.iter().rposition(|&weight| weight.into() != 0).map_or(0, |last| last + 1);
        (self.first[d], &weights[..used])
    }
}

/// The axis for a device, and the bits of its weights.
pub(super) fn describe<W: Weight>(input: usize, output: usize, filter: Filter) -> (Axis, u32) {
    let Taps { unchanged, first, taps, precision, weights } = Taps::<W>::plan(input, output, filter);
    if unchanged {
        return (copied(0, output), 0);
    }
    (axis(&first, taps, weights.into_iter().map(|weight| weight.into().cast_unsigned()).collect()), precision)
}

impl Curve {
    /// Distance from which the weight is 0.
    fn support(self) -> f64 {
        match self {
            Self::Cubic => 2.0,
            Self::Triangle => 1.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Cubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Cubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Cubic => 0.0,
            Self::Triangle => (1.0 - x).max(0.0),
        }
    }
}

impl Precision {
    /// Bits for an axis whose greatest weight is `greatest`.
    fn bits(self, greatest: f64) -> u32 {
        const MOST: u32 = 22;
        let fits = |bits: &u32| (0.5 + greatest * f64::from(1_u32 << bits)) as i64 <= i64::from(i16::MAX);
        match self {
            Self::Bits22 => MOST,
            Self::Fit16 => (1..=MOST).take_while(fits).last().unwrap_or_default(),
        }
    }
}

fn to_fixed(weight: f64, precision: u32) -> i32 {
    let scaled = weight * f64::from(1_u32 << precision);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_hold_the_greatest_weight_of_the_axis() {
        let bits = |input, output| Taps::<i16>::plan(input, output, Filter::TORCHVISION_BICUBIC).precision;
        for (input, output) in [(340, 352), (342, 352), (410, 416), (915, 928)] {
            assert_eq!(bits(input, output), 14, "{input} to {output}");
        }
        for (input, output) in [(455, 448), (452, 448)] {
            assert_eq!(bits(input, output), 15, "{input} to {output}");
        }
        assert_eq!(Taps::<i32>::plan(340, 336, Filter::PILLOW_BICUBIC).precision, 22);
    }
}
