//! Shrinking by any ratio: each output pixel is the mean of the input under it, pixels at its border by the part that
//! is covered. Single precision, columns first, in the order in which OpenCV adds.

use std::array::from_fn;

use super::reduce::round_half_even;
use super::{CHANNELS, Ring, Rows, Size, Window, to_floats};

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
    /// First input sample of each output pixel, of those that are read.
    column_first: Vec<usize>,
    column_taps: usize,
    /// `[pixels, column_taps]`, each weight four times.
    column_weights: Vec<[f32; 4]>,
    rows: Cells,
    /// Samples of an input row that are read, as floats, and room for the zero weights behind the last.
    input: Vec<f32>,
    /// First input sample that is read.
    input_first: usize,
    /// Input rows after the column pass. Pixels are taken as four samples, which is what vector registers hold; the
    /// fourth is not used.
    across: Ring<[f32; 4]>,
    /// Sums of many rows, before they are rounded.
    sums: Vec<f32>,
    /// A row of the result, four samples a pixel, and with one sample more for the last pixel's fourth.
    quads: Vec<[u8; 4]>,
    out: Vec<u8>,
}

impl Shrink {
    pub fn plan(input: Size, output: Size, window: Window) -> Self {
        let columns = Cells::plan(input.width, output.width, window.x, window.size.width);
        let rows = Cells::plan(input.height, output.height, window.y, window.size.height);
        let first = columns.first.first().copied().unwrap_or_default();
        let last = columns.first.last().copied().unwrap_or_default() + columns.taps;
        let pixels = window.size.width;
        Self {
            column_first: columns.first.iter().map(|pixel| (pixel - first) * CHANNELS).collect(),
            column_taps: columns.taps,
            column_weights: columns.weights.iter().map(|&weight| [weight; 4]).collect(),
            // One sample more, for the last pixel's fourth.
            input: vec![0.0; (last - first) * CHANNELS + 1],
            input_first: first * CHANNELS,
            across: Ring::new(rows.taps, pixels, [0.0; 4]),
            sums: vec![0.0; pixels * 4],
            quads: vec![[0; 4]; pixels],
            out: vec![0; pixels * CHANNELS + 1],
            rows,
        }
    }

    /// Forgets the image before.
    pub fn begin(&mut self) {
        self.across.clear();
    }

    pub fn row<R: Rows>(&mut self, source: &mut R, y: usize) -> &[u8] {
        let first = self.rows.first[y];
        let weights = &self.rows.weights[y * self.rows.taps..][..self.rows.taps];
        let taps = weights.iter().rposition(|&weight| weight != 0.0).map_or(0, |last| last + 1);
        for row in first..first + taps {
            if let Some(place) = self.across.vacancy(row) {
                to_floats(&source.row(row)[self.input_first..], &mut self.input);
                let (first, weights) = (&self.column_first, &self.column_weights);
                match self.column_taps {
                    2 => weigh_pixels(&self.input, first, weights.as_chunks::<2>().0, place),
                    3 => weigh_pixels(&self.input, first, weights.as_chunks::<3>().0, place),
                    4 => weigh_pixels(&self.input, first, weights.as_chunks::<4>().0, place),
                    5 => weigh_pixels(&self.input, first, weights.as_chunks::<5>().0, place),
                    6 => weigh_pixels(&self.input, first, weights.as_chunks::<6>().0, place),
                    taps => weigh_pixels(&self.input, first, weights.chunks_exact(taps), place),
                }
            }
        }
        let rows = |tap: usize| self.across.get(first + tap).as_flattened();
        let by = |tap: usize| weights[tap];
        let quads = self.quads.as_flattened_mut();
        match taps {
            2 => weigh_rows::<2>(from_fn(rows), from_fn(by), quads),
            3 => weigh_rows::<3>(from_fn(rows), from_fn(by), quads),
            4 => weigh_rows::<4>(from_fn(rows), from_fn(by), quads),
            5 => weigh_rows::<5>(from_fn(rows), from_fn(by), quads),
            6 => weigh_rows::<6>(from_fn(rows), from_fn(by), quads),
            taps => {
                self.sums.fill(0.0);
                for tap in 0..taps {
                    self.sums.iter_mut().zip(rows(tap)).for_each(|(sum, &value)| *sum += by(tap) * value);
                }
                quads.iter_mut().zip(&self.sums).for_each(|(out, &sum)| *out = round_half_even(sum));
            }
        }
        for (pixel, quad) in self.quads.iter().enumerate() {
            self.out[pixel * CHANNELS..][..4].copy_from_slice(quad);
        }
        &self.out[..self.quads.len() * CHANNELS]
    }
}

/// Weighted sums of `N` rows, rounded.
fn weigh_rows<const N: usize>(rows: [&[f32]; N], weights: [f32; N], out: &mut [u8]) {
    let length = out.len();
    let rows = rows.map(|row| &row[..length]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = weights[0] * rows[0][i];
        for tap in 1..N {
            sum += weights[tap] * rows[tap][i];
        }
        *out = round_half_even(sum);
    }
}

/// Weighted sums of consecutive pixels: for each output pixel from its first input sample, by its weights.
fn weigh_pixels<W: AsRef<[[f32; 4]]>>(
    input: &[f32],
    first: &[usize],
    weights: impl IntoIterator<Item = W>,
    out: &mut [[f32; 4]],
) {
    for ((out, &first), weights) in out.iter_mut().zip(first).zip(weights) {
        let weights = weights.as_ref();
        let samples = &input[first..][..weights.len() * CHANNELS + 1];
        let mut sum = [0.0f32; 4];
        for (tap, weight) in weights.iter().enumerate() {
            let four = &samples[tap * CHANNELS..][..4];
            for lane in 0..4 {
                sum[lane] += four[lane] * weight[lane];
            }
        }
        *out = sum;
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
}
