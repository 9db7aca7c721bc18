//! Enlarging with `INTER_AREA`: linear between two neighbours, but a destination pixel inside one source pixel takes
//! that pixel alone. 11-bit fixed point, columns first.

use super::{CHANNELS, LANES, Ring, Rows, Run, Size, Window, axis, runs};
use vla_engines::frames::Axis;

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
    /// The weights of a row's two sources, repeated for each sample: 16-bit multiplications need both in memory.
    above: Vec<i16>,
    below: Vec<i16>,
    /// First input sample that is read, and how many, and those of a row with its last pixel repeated behind it.
    input_first: usize,
    input: Vec<u8>,
    /// Source rows after the column pass, shifted right by 4.
    across: Ring<i16>,
    out: Vec<u8>,
}

impl Enlarge {
    pub(crate) fn plan(input: Size, output: Size, window: Window) -> Self {
        let mut columns = Pairs::plan(input.width, output.width, window.x, window.size.width);
        let first = columns.index.first().copied().unwrap_or_default();
        let last = columns.index.last().copied().unwrap_or_default();
        for index in &mut columns.index {
            *index -= first;
        }
        let samples = window.size.width * CHANNELS;
        let per_sample = |side: usize| {
            let weights = columns.weights.iter().flat_map(|w| [w[side]; CHANNELS]);
            weights.chain([0; LANES]).collect()
        };
        Self {
            runs: runs(&columns.index),
            left: per_sample(0),
            right: per_sample(1),
            rows: Pairs::plan(input.height, output.height, window.y, window.size.height),
            last_row: input.height - 1,
            above: vec![0; samples],
            below: vec![0; samples],
            input_first: first * CHANNELS,
            input: vec![0; (last - first + 2) * CHANNELS + LANES],
            across: Ring::new(2, samples + LANES, 0),
            out: vec![0; samples],
        }
    }

    /// Both axes for a device.
    pub(crate) fn describe(input: Size, output: Size, window: Window) -> [Axis; 2] {
        let columns = Pairs::plan(input.width, output.width, window.x, window.size.width);
        let rows = Pairs::plan(input.height, output.height, window.y, window.size.height);
        let fixed = |weight: i16| i32::from(weight).cast_unsigned();
        [columns, rows]
            .map(|Pairs { index, weights }| axis(&index, 2, weights.into_iter().flatten().map(fixed).collect()))
    }

    /// Forgets the image before.
    pub(crate) fn begin(&mut self) {
        self.across.clear();
    }

    #[inline(always)]
    pub(crate) fn row<R: Rows>(&mut self, source: &mut R, y: usize) {
        let upper = self.rows.index[y];
        let lower = (upper + 1).min(self.last_row);
        for row in [upper, lower] {
            if let Some(place) = self.across.vacancy(row) {
                let wanted = &source.row(row)[self.input_first..];
                let there = wanted.len().min(self.input.len());
                // What lies behind the row's end has weight 0.
                self.input[..there].copy_from_slice(&wanted[..there]);
                for run in &self.runs {
                    let (from, source) = (run.from * CHANNELS, run.source * CHANNELS);
                    let samples = run.groups(CHANNELS) * LANES;
                    weigh_neighbours(
                        &self.input[source..][..samples],
                        &self.input[source + CHANNELS..][..samples],
                        &self.left[from..][..samples],
                        &self.right[from..][..samples],
                        &mut place[from..][..samples],
                    );
                }
            }
        }
        let [above, below] = self.rows.weights[y];
        self.above.fill(above);
        self.below.fill(below);
        let upper = self.across.get(upper).iter().zip(&self.above);
        let lower = self.across.get(lower).iter().zip(&self.below);
        for ((out, (&upper, &above)), (&lower, &below)) in self.out.iter_mut().zip(upper).zip(lower) {
            *out = ((high_product(upper, above) + high_product(lower, below) + 2) >> 2) as u8;
        }
    }

    pub(crate) fn out(&self) -> &[u8] {
        &self.out
    }
}

#[inline(always)]
fn weigh_neighbours(near: &[u8], far: &[u8], left: &[i16], right: &[i16], out: &mut [i16]) {
    for (((out, &near), &far), (&left, &right)) in out.iter_mut().zip(near).zip(far).zip(left.iter().zip(right)) {
        let sum = i32::from(near) * i32::from(left) + i32::from(far) * i32::from(right);
        *out = (sum >> 4) as i16;
    }
}

/// The upper half of a 32-bit product.
#[inline(always)]
fn high_product(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
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
