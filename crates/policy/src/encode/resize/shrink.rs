//! Shrinking by any ratio: each output pixel is the mean of the input under it, pixels at its border by the part that
//! is covered. Single precision, columns first, in the order in which OpenCV adds.
//!
//! Sums along columns are contiguous and those along rows are not, so rows are summed first here: there are fewer of
//! them left to sum along. That rounds otherwise than OpenCV does, by no more than a known bound ([`doubt`]). The few
//! sums that lie so close to a rounding boundary that it could matter are taken again in OpenCV's order.

use super::{CHANNELS, ROUNDING, Ring, Rows, Size, Window, axis, round_half_even};
use vla_engines::frames::Axis;

/// Samples among which the doubtful are looked for one by one.
const BLOCK: usize = 64;

/// What output pixels of one axis take from the input: `taps` consecutive pixels each, from `first`, by `weights`
/// (padded with zeros to one length).
#[derive(Clone, Debug)]
struct Cells {
    first: Vec<usize>,
    taps: usize,
    weights: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(super) struct Shrink {
    rows: Cells,
    column_taps: usize,
    /// First input sample of each output pixel, of those that are read.
    column_first: Vec<usize>,
    /// `[pixels, column_taps]`, each weight four times: pixels are taken as four samples, which is what vector registers
    /// hold; the fourth is not used.
    column_weights: Vec<[f32; 4]>,
    /// First input sample that is read.
    input_first: usize,
    /// Input rows, the samples that are read.
    input: Ring<u8>,
    /// Sums of rows, and room for the zero weights behind the last.
    down: Vec<f32>,
    /// Sums of those, with one sample more for the last pixel's fourth.
    across: Vec<f32>,
    /// Greatest distance of a sum to its integer that is rounded with certainty.
    certain: f32,
    out: Vec<u8>,
}

impl Shrink {
    pub(crate) fn plan(input: Size, output: Size, window: Window) -> Self {
        let columns = Cells::plan(input.width, output.width, window.x, window.size.width);
        let rows = Cells::plan(input.height, output.height, window.y, window.size.height);
        let first = columns.first.first().copied().unwrap_or_default();
        let last = columns.first.last().copied().unwrap_or_default() + columns.taps;
        let samples = window.size.width * CHANNELS;
        Self {
            column_taps: columns.taps,
            column_first: columns.first.iter().map(|pixel| (pixel - first) * CHANNELS).collect(),
            column_weights: columns.weights.iter().map(|&weight| [weight; 4]).collect(),
            input_first: first * CHANNELS,
            input: Ring::new(rows.taps, (last.min(input.width) - first) * CHANNELS, 0),
            // One sample more, for the last pixel's fourth.
            down: vec![0.0; (last - first) * CHANNELS + 1],
            across: vec![0.0; samples + 1],
            certain: 0.5 - doubt(columns.taps + rows.taps),
            out: vec![0; samples],
            rows,
        }
    }

    /// Both axes for a device, which adds in OpenCV's order.
    pub(crate) fn describe(input: Size, output: Size, window: Window) -> [Axis; 2] {
        let columns = Cells::plan(input.width, output.width, window.x, window.size.width);
        let rows = Cells::plan(input.height, output.height, window.y, window.size.height);
        [columns, rows]
            .map(|Cells { first, taps, weights }| axis(&first, taps, weights.into_iter().map(f32::to_bits).collect()))
    }

    /// Forgets the image before.
    pub(crate) fn begin(&mut self) {
        self.input.clear();
    }

    #[inline(always)]
    pub(crate) fn row<R: Rows>(&mut self, source: &mut R, y: usize) {
        let first = self.rows.first[y];
        let weights = self.rows.of(y);
        for row in first..first + weights.len() {
            if let Some(place) = self.input.vacancy(row) {
                place.copy_from_slice(&source.row(row)[self.input_first..][..place.len()]);
            }
        }
        let rows = |tap: usize| self.input.get(first + tap);
        match weights.len() {
            2 => weigh_rows::<2>(rows, weights, &mut self.down),
            3 => weigh_rows::<3>(rows, weights, &mut self.down),
            4 => weigh_rows::<4>(rows, weights, &mut self.down),
            5 => weigh_rows::<5>(rows, weights, &mut self.down),
            6 => weigh_rows::<6>(rows, weights, &mut self.down),
            taps => {
                weigh_rows::<1>(rows, weights, &mut self.down);
                (1..taps).for_each(|tap| add_row(rows(tap), weights[tap], &mut self.down));
            }
        }
        let (first, weights) = (&self.column_first, &self.column_weights);
        match self.column_taps {
            2 => weigh_pixels(&self.down, first, weights.as_chunks::<2>().0, &mut self.across),
            3 => weigh_pixels(&self.down, first, weights.as_chunks::<3>().0, &mut self.across),
            4 => weigh_pixels(&self.down, first, weights.as_chunks::<4>().0, &mut self.across),
            5 => weigh_pixels(&self.down, first, weights.as_chunks::<5>().0, &mut self.across),
            6 => weigh_pixels(&self.down, first, weights.as_chunks::<6>().0, &mut self.across),
            taps => weigh_pixels(&self.down, first, weights.chunks_exact(taps), &mut self.across),
        }
        self.settle(y);
    }

    pub(crate) fn out(&self) -> &[u8] {
        &self.out
    }

    /// Rounds the sums; where the order of adding may matter, those in OpenCV's order.
    #[inline(always)]
    fn settle(&mut self, y: usize) {
        // Negative when in doubt: floats above 0 are ordered as their bits are.
        let certainty = |sum: f32| {
            let error = (sum - ((sum + ROUNDING) - ROUNDING)).abs();
            (self.certain.to_bits() as i32).wrapping_sub(error.to_bits() as i32)
        };
        let mut all_out = std::mem::take(&mut self.out);
        for (block, (sums, out)) in self.across.chunks(BLOCK).zip(all_out.chunks_mut(BLOCK)).enumerate() {
            let mut all = 0;
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = round_half_even(sum);
                all |= certainty(sum);
            }
            if all < 0 {
                for (i, (out, _)) in out.iter_mut().zip(sums).enumerate().filter(|(_, (_, sum))| certainty(**sum) < 0) {
                    *out = round_half_even(self.exact(y, block * BLOCK + i));
                }
            }
        }
        self.out = all_out;
    }

    /// The sum of one sample of output row `y`, added as OpenCV does.
    #[cold]
    fn exact(&self, y: usize, sample: usize) -> f32 {
        let (pixel, channel) = (sample / CHANNELS, sample % CHANNELS);
        let weights = &self.column_weights[pixel * self.column_taps..][..self.column_taps];
        let rows = self.rows.of(y).iter().enumerate();
        rows.fold(0.0, |sum, (tap, by)| {
            let samples = &self.input.get(self.rows.first[y] + tap)[self.column_first[pixel] + channel..];
            let samples = samples.iter().step_by(CHANNELS).zip(weights);
            sum + by * samples.fold(0.0, |sum, (&sample, weight)| sum + f32::from(sample) * weight[0])
        })
    }
}

/// By how much two sums of the same terms can differ that were added in different orders: `taps` of both axes together
/// are the roundings of each. No sum exceeds 256, no rounding 2^-24 of it.
fn doubt(taps: usize) -> f32 {
    (2 * (taps + 2)) as f32 * 2.0f32.powi(8 - 24)
}

/// Weighted sums of `N` rows.
#[inline(always)]
fn weigh_rows<'r, const N: usize>(row: impl Fn(usize) -> &'r [u8], weights: &[f32], out: &mut [f32]) {
    let length = row(0).len();
    let (mut rows, mut by): ([&[u8]; N], [f32; N]) = ([&[]; N], [0.0; N]);
    for tap in 0..N {
        (rows[tap], by[tap]) = (&row(tap)[..length], weights[tap]);
    }
    let out = &mut out[..length];
    for i in 0..length {
        let mut sum = by[0] * f32::from(rows[0][i]);
        for tap in 1..N {
            sum += by[tap] * f32::from(rows[tap][i]);
        }
        out[i] = sum;
    }
}

#[inline(always)]
fn add_row(row: &[u8], weight: f32, out: &mut [f32]) {
    out.iter_mut().zip(row).for_each(|(sum, &sample)| *sum += weight * f32::from(sample));
}

/// Weighted sums of consecutive pixels: for each output pixel from its first input sample, by its weights. A pixel's
/// fourth sample is overwritten by the next pixel's first.
#[inline(always)]
fn weigh_pixels<W: AsRef<[[f32; 4]]>>(
    input: &[f32],
    first: &[usize],
    weights: impl IntoIterator<Item = W>,
    out: &mut [f32],
) {
    for ((pixel, &first), weights) in first.iter().enumerate().zip(weights) {
        let weights = weights.as_ref();
        let samples = &input[first..][..weights.len() * CHANNELS + 1];
        let mut sum = [0.0f32; 4];
        for (tap, weight) in weights.iter().enumerate() {
            let four = &samples[tap * CHANNELS..][..4];
            for lane in 0..4 {
                sum[lane] += four[lane] * weight[lane];
            }
        }
        out[pixel * CHANNELS..][..4].copy_from_slice(&sum);
    }
}

impl Cells {
    /// OpenCV's table of overlaps for output pixels `from..from + count` of an axis of `input` to `output` pixels.
    /// Positions are double, weights single precision; overlaps of a thousandth of a pixel and less do not count.
    fn plan(input: usize, output: usize, from: usize, count: usize) -> Self {
        let scale = 1.0 / (output as f64 / input as f64);
        let cell = |d: usize| {
            let start = d as f64 * scale;
            let end = start + scale;
            let width = scale.min(input as f64 - start);
            let whole_end = (end.floor() as usize).min(input - 1);
            let whole_start = (start.ceil() as usize).min(whole_end);
            let mut weights = Vec::new();
            let mut first = whole_start;
            let left = whole_start as f64 - start;
            if left > 1e-3 {
                first = whole_start.saturating_sub(1);
                weights.push((left / width) as f32);
            }
            weights.extend((whole_start..whole_end).map(|_| (1.0 / width) as f32));
            let right = end - whole_end as f64;
            if right > 1e-3 {
                weights.push((right.min(1.0).min(width) / width) as f32);
            }
            (first, weights)
        };
        let cells: Vec<(usize, Vec<f32>)> = (from..from + count).map(cell).collect();
        let taps = cells.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1).max(1);
        let mut padded = Vec::with_capacity(count * taps);
        for (_, weights) in &cells {
            padded.extend(weights);
            padded.resize(padded.len() + taps - weights.len(), 0.0);
        }
        Self { first: cells.into_iter().map(|(first, _)| first).collect(), taps, weights: padded }
    }

    /// Weights of output pixel `d`, without the padding.
    #[inline(always)]
    fn of(&self, d: usize) -> &[f32] {
        let weights = &self.weights[d * self.taps..][..self.taps];
        let used = weights.iter().rposition(|&weight| weight != 0.0).map_or(1, |last| last + 1);
        &weights[..used]
    }
}
