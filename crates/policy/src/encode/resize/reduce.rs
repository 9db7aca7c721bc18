//! Shrinking by whole numbers: sums over blocks.

use super::{CHANNELS, Rows, Size, Window, axis, round_half_even};
use vla_engines::frames::{Axis, Sums};

#[derive(Clone, Debug)]
pub(super) struct Reduce {
    /// Pixels of a block.
    columns: usize,
    rows: usize,
    /// First output column and row that is wanted.
    x: usize,
    y: usize,
    /// Column sums over the rows of a block: the samples of the wanted blocks.
    sums: Vec<u32>,
    out: Vec<u8>,
}

impl Reduce {
    pub(crate) fn plan(input: Size, output: Size, window: Window) -> Self {
        let (columns, rows) = (input.width / output.width, input.height / output.height);
        let samples = window.size.width * CHANNELS;
        Self { columns, rows, x: window.x, y: window.y, sums: vec![0; samples * columns], out: vec![0; samples] }
    }

    /// Both axes for a device. `None` where a sum has no exact place in single precision.
    pub(crate) fn describe(input: Size, output: Size, window: Window) -> Option<([Axis; 2], Sums)> {
        let (columns, rows) = (input.width / output.width, input.height / output.height);
        let blocks = |each: usize, from: usize, count: usize| {
            let first: Vec<usize> = (from..from + count).map(|block| block * each).collect();
            axis(&first, each, vec![1.0_f32.to_bits(); count * each])
        };
        let axes = [blocks(columns, window.x, window.size.width), blocks(rows, window.y, window.size.height)];
        let scale = 1.0 / (columns * rows) as f32;
        let sums = if (columns, rows) == (2, 2) { Sums::HalvesUp { scale } } else { Sums::Single { scale } };
        (255 * columns * rows < 1 << 24).then_some((axes, sums))
    }

    #[inline(always)]
    pub(crate) fn row<R: Rows>(&mut self, source: &mut R, y: usize) {
        let first = self.x * self.columns * CHANNELS;
        self.sums.fill(0);
        for block_row in 0..self.rows {
            let row = source.row((self.y + y) * self.rows + block_row);
            for (sum, &sample) in self.sums.iter_mut().zip(&row[first..]) {
                *sum += u32::from(sample);
            }
        }
        let blocks = self.sums.chunks_exact(self.columns * CHANNELS).zip(self.out.chunks_exact_mut(CHANNELS));
        let area = (self.columns * self.rows) as f32;
        let quarter = self.columns == 2 && self.rows == 2;
        for (block, pixel) in blocks {
            for (channel, out) in pixel.iter_mut().enumerate() {
                let sum: u32 = block.iter().skip(channel).step_by(CHANNELS).sum();
                // Blocks of 2 by 2 have an integer recipe of their own, which rounds halves up.
                *out = if quarter { ((sum + 2) >> 2) as u8 } else { round_half_even(sum as f32 * (1.0 / area)) };
            }
        }
    }

    pub(crate) fn out(&self) -> &[u8] {
        &self.out
    }
}
