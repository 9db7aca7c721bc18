//! Shrinking by any ratio: each output pixel is the mean of the input under it, pixels at its border by the part that
//! is covered. Single precision, columns first, in the order in which OpenCV adds.

use super::reduce::round_half_even;
use super::{CHANNELS, Rows, Size, Tag, Window};

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
    columns: Cells,
    rows: Cells,
    /// Samples of an input row that are read, as floats, and room for the zero weights behind the last.
    input: Vec<f32>,
    /// First input sample that is read.
    input_first: usize,
    /// An input row after the column pass, and which row it is.
    across: Vec<f32>,
    held: Tag,
    sums: Vec<f32>,
    out: Vec<u8>,
}

impl Shrink {
    pub fn plan(input: Size, output: Size, window: Window) -> Self {
        let mut columns = Cells::plan(input.width, output.width, window.x, window.size.width);
        let rows = Cells::plan(input.height, output.height, window.y, window.size.height);
        let first = columns.first.first().copied().unwrap_or_default();
        for pixel in &mut columns.first {
            *pixel -= first;
        }
        let last = columns.first.last().copied().unwrap_or_default() + columns.taps;
        let samples = window.size.width * CHANNELS;
        Self {
            // One sample more: pixels are taken four samples at a time.
            input: vec![0.0; last * CHANNELS + 1],
            input_first: first * CHANNELS,
            across: vec![0.0; samples + 1],
            held: None,
            sums: vec![0.0; samples],
            out: vec![0; samples],
            columns,
            rows,
        }
    }

    /// Forgets the image before.
    pub fn begin(&mut self) {
        self.held = None;
    }

    pub fn row<R: Rows>(&mut self, source: &mut R, y: usize) -> &[u8] {
        let taps = self.rows.taps;
        let first = self.rows.first[y];
        for tap in 0..taps {
            let weight = self.rows.weights[y * taps + tap];
            if weight == 0.0 && tap > 0 {
                break; // padding
            }
            if self.held != Some(first + tap) {
                self.pass_across(source.row(first + tap));
                self.held = Some(first + tap);
            }
            let columns = self.sums.iter_mut().zip(&self.across);
            if tap == 0 {
                columns.for_each(|(sum, &value)| *sum = weight * value);
            } else {
                columns.for_each(|(sum, &value)| *sum += weight * value);
            }
        }
        for (out, &sum) in self.out.iter_mut().zip(&self.sums) {
            *out = round_half_even(sum);
        }
        &self.out
    }

    fn pass_across(&mut self, row: &[u8]) {
        for (value, &sample) in self.input.iter_mut().zip(&row[self.input_first..]) {
            *value = f32::from(sample);
        }
        let taps = self.columns.taps;
        let pixels = self.columns.first.iter().zip(self.columns.weights.chunks_exact(taps));
        for (pixel, (&first, weights)) in pixels.enumerate() {
            let samples = &self.input[first * CHANNELS..][..taps * CHANNELS + 1];
            let mut sum = [0.0f32; 4];
            for (tap, &weight) in weights.iter().enumerate() {
                let four = &samples[tap * CHANNELS..][..4];
                for lane in 0..4 {
                    sum[lane] += four[lane] * weight;
                }
            }
            // The fourth is the next pixel's first, which overwrites it.
            self.across[pixel * CHANNELS..][..4].copy_from_slice(&sum);
        }
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
