//! Pillow's bicubic resampling of 8-bit images: columns first, then rows, each rounded to 8 bits; weights in 22-bit
//! fixed point. An axis that keeps its size is left alone.
//!
//! Products of 22-bit weights and samples need 32-bit multiplications, which SSE2 does not have. So sums are taken in
//! single precision, whose error has a known bound ([`Taps::doubt`]), and the few that lie so close to a rounding
//! boundary that the error could matter are taken again in integers. The result is that of integers throughout.

use std::array::from_fn;

use super::{CHANNELS, Ring, Rows, Run, Size, runs, to_floats};

/// Bits after the binary point of a weight.
const PRECISION: u32 = 22;
/// Samples among which the doubtful are looked for one by one.
const BLOCK: usize = 64;
/// 1.5 * 2^23: added and taken off again, it rounds a small number to the nearest integer.
const ROUNDING: f32 = 12_582_912.0;

/// A planned `PIL.Image.resize(size)` of one pair of sizes.
#[derive(Clone, Debug)]
pub struct BicubicResize {
    output: Size,
    columns: Option<Columns>,
    rows: Option<RowTaps>,
    /// A row of the result.
    out: Vec<u8>,
}

/// Weights of one axis: `taps` consecutive input pixels for each output pixel, padded with zeros to one length.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    taps: usize,
    /// `[output, taps]`, in 2^-22.
    weights: Vec<i32>,
    /// Sums in single precision whose distance to an integer is more than this may round to either side.
    doubt: f32,
}

#[derive(Clone, Debug)]
struct Columns {
    axis: Taps,
    runs: Vec<Run>,
    /// One table a tap, one weight a sample.
    weights: Vec<Vec<f32>>,
    /// An input row, and zeros behind it for the padding's zero weights.
    input: Vec<f32>,
    sums: Vec<f32>,
}

#[derive(Clone, Debug)]
struct RowTaps {
    axis: Taps,
    /// Rows after the column pass.
    across: Ring<f32>,
    sums: Vec<f32>,
}

impl BicubicResize {
    /// Plans `input` to `output`. `None` when a size is 0.
    pub fn plan(input: Size, output: Size) -> Option<Self> {
        if [input.width, input.height, output.width, output.height].contains(&0) {
            return None;
        }
        let columns = (input.width != output.width).then(|| Columns::plan(input.width, output.width));
        let rows = (input.height != output.height).then(|| RowTaps::plan(input.height, output));
        Some(Self { output, columns, rows, out: vec![0; output.width * CHANNELS] })
    }

    /// Width and height of the result.
    pub fn size(&self) -> Size {
        self.output
    }

    /// The resized `source`, whose size must be the input's of the plan.
    pub fn over<R: Rows>(&mut self, source: R) -> impl Rows {
        if let Some(rows) = &mut self.rows {
            rows.across.clear();
        }
        Resized { plan: self, source }
    }
}

struct Resized<'p, R> {
    plan: &'p mut BicubicResize,
    source: R,
}

impl<R: Rows> Rows for Resized<'_, R> {
    fn row(&mut self, y: usize) -> &[u8] {
        let BicubicResize { columns, rows, out, .. } = &mut *self.plan;
        let Some(rows) = rows else {
            match columns {
                Some(columns) => columns.pass(self.source.row(y), out, to_byte),
                None => out.copy_from_slice(self.source.row(y)),
            }
            return out;
        };
        let (first, weights) = rows.axis.of(y);
        for input_row in first..first + weights.len() {
            if let Some(place) = rows.across.vacancy(input_row) {
                match columns {
                    Some(columns) => columns.pass(self.source.row(input_row), place, to_whole),
                    None => to_floats(self.source.row(input_row), place),
                }
            }
        }
        rows.weigh(y, out);
        out
    }
}

/// Adds `N` taps with a weight for each sample.
fn add<const N: usize>(sums: &mut [f32], samples: [&[f32]; N], weights: [&[f32]; N]) {
    let length = sums.len();
    let (samples, weights) = (samples.map(|tap| &tap[..length]), weights.map(|tap| &tap[..length]));
    for i in 0..length {
        let mut sum = sums[i];
        for tap in 0..N {
            sum += samples[tap][i] * weights[tap][i];
        }
        sums[i] = sum;
    }
}

/// Adds `N` taps with one weight each.
fn add_by<const N: usize>(sums: &mut [f32], samples: [&[f32]; N], weights: [f32; N]) {
    let length = sums.len();
    let samples = samples.map(|tap| &tap[..length]);
    for i in 0..length {
        let mut sum = sums[i];
        for tap in 0..N {
            sum += samples[tap][i] * weights[tap];
        }
        sums[i] = sum;
    }
}

/// Rounds sums to whole numbers from 0 to 255 (given to `write` in a form whose low byte is the number); where rounding
/// is in doubt, by way of the `exact` sum of a sample.
fn settle<T>(sums: &[f32], out: &mut [T], doubt: f32, write: impl Fn(f32) -> T, exact: impl Fn(usize) -> i32) {
    for (block, (sums, out)) in sums.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate() {
        let rounded = |sum: f32| sum.clamp(0.0, 255.0) + ROUNDING;
        // Positive when certain, negative when in doubt: floats above 0 are ordered as their bits are.
        let certainty = |sum: f32| {
            let error = (sum.clamp(0.0, 255.0) - to_whole(rounded(sum))).abs();
            (doubt.to_bits() as i32).wrapping_sub(error.to_bits() as i32)
        };
        let mut all = 0;
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = write(rounded(sum));
            all |= certainty(sum);
        }
        if all < 0 {
            for (i, _) in sums.iter().enumerate().filter(|(_, sum)| certainty(**sum) < 0) {
                let sum = (exact(block * BLOCK + i) + (1 << (PRECISION - 1))) >> PRECISION;
                out[i] = write(sum.clamp(0, 255) as f32 + ROUNDING);
            }
        }
    }
}

#[inline]
fn to_byte(rounded: f32) -> u8 {
    rounded.to_bits() as u8
}

#[inline]
fn to_whole(rounded: f32) -> f32 {
    rounded - ROUNDING
}

impl Columns {
    fn plan(input: usize, output: usize) -> Self {
        let axis = Taps::plan(input, output);
        let per_sample = |tap: usize| {
            let weights = axis.weights.iter().skip(tap).step_by(axis.taps);
            weights.flat_map(|&weight| [to_float(weight); CHANNELS]).collect()
        };
        Self {
            runs: runs(&axis.first),
            weights: (0..axis.taps).map(per_sample).collect(),
            input: vec![0.0; (input + axis.taps) * CHANNELS],
            sums: vec![0.0; output * CHANNELS],
            axis,
        }
    }

    fn pass<T>(&mut self, row: &[u8], out: &mut [T], write: impl Fn(f32) -> T) {
        to_floats(row, &mut self.input);
        self.sums.fill(0.0);
        for run in &self.runs {
            let sums = &mut self.sums[run.from..run.to];
            let samples = |tap: usize| &self.input[run.source + tap * CHANNELS..];
            let weights = |tap: usize| &self.weights[tap][run.from..run.to];
            // At scales near 1 there are four taps or five.
            match self.axis.taps {
                4 => add::<4>(sums, from_fn(samples), from_fn(weights)),
                5 => add::<5>(sums, from_fn(samples), from_fn(weights)),
                taps => (0..taps).for_each(|tap| add(sums, [samples(tap)], [weights(tap)])),
            }
        }
        settle(&self.sums, out, self.axis.doubt, write, |sample| {
            let (pixel, channel) = (sample / CHANNELS, sample % CHANNELS);
            let samples = row[self.axis.first[pixel] * CHANNELS + channel..].iter().step_by(CHANNELS);
            self.axis.exact(pixel, samples.map(|&sample| i32::from(sample)))
        });
    }
}

impl RowTaps {
    fn plan(input: usize, output: Size) -> Self {
        let axis = Taps::plan(input, output.height);
        Self {
            across: Ring::new(axis.taps, output.width * CHANNELS, 0.0),
            sums: vec![0.0; output.width * CHANNELS],
            axis,
        }
    }

    /// Output row `y` from the rows in the ring.
    fn weigh(&mut self, y: usize, out: &mut [u8]) {
        let Self { axis, across, sums, .. } = self;
        let (first, fixed) = axis.of(y);
        let taps = fixed.len();
        let samples = |tap: usize| across.get(first + tap);
        let weights = |tap: usize| to_float(fixed[tap]);
        sums.fill(0.0);
        match taps {
            4 => add_by::<4>(sums, from_fn(samples), from_fn(weights)),
            5 => add_by::<5>(sums, from_fn(samples), from_fn(weights)),
            taps => (0..taps).for_each(|tap| add_by(sums, [samples(tap)], [weights(tap)])),
        }
        settle(sums, out, axis.doubt, to_byte, |i| axis.exact(y, (0..taps).map(|tap| samples(tap)[i] as i32)));
    }
}

impl Taps {
    /// Pillow's coefficients: cubic with a = -0.5 and support 2, widened by the scale when shrinking, cut off at the
    /// borders, normalised in double precision, then rounded half away from zero.
    fn plan(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = 2.0 * widening;
        let taps_of = |d: usize| {
            let centre = (d as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weight = |x: usize| cubic((x as f64 - centre + 0.5) * (1.0 / widening));
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let fixed: Vec<i32> = weights.into_iter().map(|weight| to_fixed(weight / sum)).collect();
            (first, fixed)
        };
        let pixels: Vec<(usize, Vec<i32>)> = (0..output).map(taps_of).collect();
        let taps = pixels.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1).max(1);
        let mut weights = Vec::with_capacity(output * taps);
        for (_, pixel) in &pixels {
            weights.extend(pixel);
            weights.resize(weights.len() + taps - pixel.len(), 0);
        }
        // Absolute weights sum up to less than 2, so sums stay below 512, where rounding one errs by 2^-16 at most;
        // the products together err by no more than two such. Twice the bound is cheap.
        let error = (taps + 2) as f32 * 2.0f32.powi(-16);
        let doubt = (0.5 - 2.0 * error).max(0.0);
        Self { first: pixels.iter().map(|&(first, _)| first).collect(), taps, weights, doubt }
    }

    /// First input pixel and weights of output pixel `d`, without the padding.
    fn of(&self, d: usize) -> (usize, &[i32]) {
        let weights = &self.weights[d * self.taps..][..self.taps];
        let used = weights.iter().rposition(|&weight| weight != 0).map_or(0, |last| last + 1);
        (self.first[d], &weights[..used])
    }

    /// The sum of output pixel `d` in 2^-22.
    fn exact(&self, d: usize, samples: impl Iterator<Item = i32>) -> i32 {
        self.weights[d * self.taps..][..self.taps].iter().zip(samples).map(|(&weight, sample)| weight * sample).sum()
    }
}

/// A weight in single precision: exact, as it has no more than 23 bits.
#[inline]
fn to_float(weight: i32) -> f32 {
    weight as f32 / (1 << PRECISION) as f32
}

fn to_fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// Keys' cubic convolution kernel, a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
