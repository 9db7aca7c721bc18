//! Enlarging with `INTER_AREA`: linear between two neighbours, but a destination pixel inside one source pixel takes
//! that pixel alone. 11-bit fixed point, columns first.

use super::{CHANNELS, Rows, Run, Size, Tag, Window, runs};

/// One source position an output pixel: `index` and its right neighbour, by `weights` (of 2048).
#[derive(Clone, Debug)]
struct Pairs {
    index: Vec<usize>,
    weights: Vec<[i16; 2]>,
}

#[derive(Clone, Debug)]
pub(super) struct Enlarge {
    runs: Vec<Run>,
    /// Weights of the left and of the right neighbour, one a sample.
    left: Vec<i16>,
    right: Vec<i16>,
    rows: Pairs,
    last_row: usize,
    /// First input sample that is read, and how many, and those of a row with its last pixel repeated behind it.
    input_first: usize,
    input: Vec<u8>,
    /// Two source rows after the column pass, shifted right by 4, and which they are.
    across: [Vec<i16>; 2],
    held: [Tag; 2],
    out: Vec<u8>,
}

impl Enlarge {
    pub fn plan(input: Size, output: Size, window: Window) -> Self {
        let mut columns = Pairs::plan(input.width, output.width, window.x, window.size.width);
        let first = columns.index.first().copied().unwrap_or_default();
        let last = columns.index.last().copied().unwrap_or_default();
        for index in &mut columns.index {
            *index -= first;
        }
        let per_sample = |side: usize| columns.weights.iter().flat_map(|w| [w[side]; CHANNELS]).collect();
        let samples = window.size.width * CHANNELS;
        Self {
            runs: runs(&columns.index),
            left: per_sample(0),
            right: per_sample(1),
            rows: Pairs::plan(input.height, output.height, window.y, window.size.height),
            last_row: input.height - 1,
            input_first: first * CHANNELS,
            input: vec![0; (last - first + 2) * CHANNELS],
            across: [vec![0; samples], vec![0; samples]],
            held: [None; 2],
            out: vec![0; samples],
        }
    }

    /// Forgets the image before.
    pub fn begin(&mut self) {
        self.held = [None; 2];
    }

    pub fn row<R: Rows>(&mut self, source: &mut R, y: usize) -> &[u8] {
        let upper = self.rows.index[y];
        let lower = (upper + 1).min(self.last_row);
        // Rows keep the parity of their index, so the two never share a buffer.
        for row in [upper, lower] {
            if self.held[row % 2] != Some(row) {
                self.pass_across(source.row(row), row % 2);
                self.held[row % 2] = Some(row);
            }
        }
        let [above, below] = self.rows.weights[y].map(i32::from);
        let (upper, lower) = (&self.across[upper % 2], &self.across[lower % 2]);
        for ((out, &upper), &lower) in self.out.iter_mut().zip(upper).zip(lower) {
            let upper = ((above * i32::from(upper)) >> 16) as i16;
            let lower = ((below * i32::from(lower)) >> 16) as i16;
            *out = ((upper + lower + 2) >> 2) as u8;
        }
        &self.out
    }

    fn pass_across(&mut self, row: &[u8], into: usize) {
        let wanted = &row[self.input_first..];
        let there = wanted.len().min(self.input.len());
        // What lies behind the row's end has weight 0.
        self.input[..there].copy_from_slice(&wanted[..there]);
        let across = &mut self.across[into];
        for run in &self.runs {
            let length = run.to - run.from;
            let out = &mut across[run.from..run.to];
            let near = &self.input[run.source..][..length];
            let far = &self.input[run.source + CHANNELS..][..length];
            let weights = self.left[run.from..run.to].iter().zip(&self.right[run.from..run.to]);
            for (((out, &near), &far), (&left, &right)) in out.iter_mut().zip(near).zip(far).zip(weights) {
                let sum = i32::from(near) * i32::from(left) + i32::from(far) * i32::from(right);
                *out = (sum >> 4) as i16;
            }
        }
    }
}

impl Pairs {
    /// OpenCV's positions for output pixels `from..from + count` of an axis of `input` to `output` pixels. The scale
    /// is the inverse of the rounded ratio, not `input / output`: where a position is a whole number the two differ.
    fn plan(input: usize, output: usize, from: usize, count: usize) -> Self {
        let ratio = output as f64 / input as f64;
        let scale = 1.0 / ratio;
        let pair = |d: usize| {
            let index = (d as f64 * scale).floor() as usize;
            let past = ((d + 1) as f64 - (index + 1) as f64 * ratio) as f32;
            let fraction = if past <= 0.0 { 0.0 } else { past - past.floor() };
            let (index, fraction) = if index >= input - 1 { (input - 1, 0.0) } else { (index, fraction) };
            let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i16;
            (index, [fixed(1.0 - fraction), fixed(fraction)])
        };
        let (index, weights) = (from..from + count).map(pair).unzip();
        Self { index, weights }
    }
}
