//! Pillow's bicubic resampling of 8-bit images: columns first, then rows, each rounded to 8 bits; weights in 22-bit
//! fixed point. An axis that keeps its size is left alone.

use super::{CHANNELS, Rows, Run, Size, Tag, runs};

/// Bits after the binary point of a weight.
const PRECISION: u32 = 22;

/// A sample in the two halves that a weight is multiplied with: 256 (s - 128) and (s - 128).
///
/// A 22-bit weight does not fit the 16-bit multiplications of vector units. With `k = 256 a + b`, 0 <= b < 256,
/// `k (s - 128)` is `a * 256 (s - 128) + b * (s - 128)`: two 16-bit products whose sum is one instruction on x86.
/// Taking 128 off first keeps the left half in 16 bits; [`Taps::bias`] puts it back.
type Halves = [i16; 2];

/// A planned `PIL.Image.resize(size)` of one pair of sizes.
#[derive(Clone, Debug)]
pub struct BicubicResize {
    output: Size,
    columns: Option<Columns>,
    rows: Option<RowTaps>,
    /// Room for a row that the row pass does not touch.
    row: Vec<u8>,
}

/// Weights of one axis: `taps` consecutive input pixels for each output pixel, padded with zeros to one length.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    taps: usize,
    weights: Vec<Halves>,
    /// For each output pixel: rounding, and 128 times the sum of its weights.
    bias: Vec<i32>,
}

#[derive(Clone, Debug)]
struct Columns {
    runs: Vec<Run>,
    /// One table a tap, one weight a sample.
    weights: Vec<Vec<Halves>>,
    bias: Vec<i32>,
    input: Vec<Halves>,
    sums: Vec<i32>,
}

#[derive(Clone, Debug)]
struct RowTaps {
    taps: Taps,
    last: usize,
    /// The latest rows after the column pass, row `y` in place `y % taps`, and which they are.
    ring: Vec<Vec<Halves>>,
    held: Vec<Tag>,
    sums: Vec<i32>,
}

impl BicubicResize {
    /// Plans `input` to `output`. `None` when a size is 0.
    pub fn plan(input: Size, output: Size) -> Option<Self> {
        if [input.width, input.height, output.width, output.height].contains(&0) {
            return None;
        }
        let columns = (input.width != output.width).then(|| Columns::plan(input.width, output.width));
        let rows = (input.height != output.height).then(|| RowTaps::plan(input.height, output));
        Some(Self { output, columns, rows, row: vec![0; output.width * CHANNELS] })
    }

    /// Width and height of the result.
    pub fn size(&self) -> Size {
        self.output
    }

    /// The resized `source`, whose size must be the input's of the plan.
    pub fn over<R: Rows>(&mut self, source: R) -> impl Rows {
        if let Some(rows) = &mut self.rows {
            rows.held.fill(None);
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
        let BicubicResize { columns, rows, row, .. } = &mut *self.plan;
        let Some(rows) = rows else {
            across(columns.as_mut(), self.source.row(y), row);
            return row;
        };
        let first = rows.taps.first[y];
        for input_row in first..(first + rows.taps.taps).min(rows.last + 1) {
            let place = input_row % rows.taps.taps;
            if rows.held[place] != Some(input_row) {
                across(columns.as_mut(), self.source.row(input_row), row);
                halve(row, &mut rows.ring[place]);
                rows.held[place] = Some(input_row);
            }
        }
        rows.weigh(y, row);
        row
    }
}

/// One row through the column pass.
fn across(columns: Option<&mut Columns>, input: &[u8], out: &mut [u8]) {
    match columns {
        None => out.copy_from_slice(input),
        Some(columns) => columns.pass(input, out),
    }
}

fn halve(row: &[u8], halves: &mut [Halves]) {
    for (halves, &sample) in halves.iter_mut().zip(row) {
        let centred = i16::from(sample) - 128;
        *halves = [centred << 8, centred];
    }
}

fn add_products(sums: &mut [i32], samples: &[Halves], weights: &[Halves]) {
    for ((sum, sample), weight) in sums.iter_mut().zip(samples).zip(weights) {
        *sum += i32::from(sample[0]) * i32::from(weight[0]) + i32::from(sample[1]) * i32::from(weight[1]);
    }
}

fn add_products_by(sums: &mut [i32], samples: &[Halves], weight: Halves) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum += i32::from(sample[0]) * i32::from(weight[0]) + i32::from(sample[1]) * i32::from(weight[1]);
    }
}

fn round(sums: &[i32], out: &mut [u8]) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = (sum >> PRECISION).clamp(0, 255) as u8;
    }
}

impl Columns {
    fn plan(input: usize, output: usize) -> Self {
        let axis = Taps::plan(input, output);
        let per_sample = |tap: usize| {
            let weights = axis.weights.iter().skip(tap).step_by(axis.taps);
            weights.flat_map(|&weight| [weight; CHANNELS]).collect()
        };
        Self {
            runs: runs(&axis.first),
            weights: (0..axis.taps).map(per_sample).collect(),
            bias: axis.bias.iter().flat_map(|&bias| [bias; CHANNELS]).collect(),
            // Zeros behind the row, for the padding's zero weights.
            input: vec![[0; 2]; (input + axis.taps) * CHANNELS],
            sums: vec![0; output * CHANNELS],
        }
    }

    fn pass(&mut self, input: &[u8], out: &mut [u8]) {
        halve(input, &mut self.input);
        self.sums.copy_from_slice(&self.bias);
        for run in &self.runs {
            let sums = &mut self.sums[run.from..run.to];
            for (tap, weights) in self.weights.iter().enumerate() {
                let samples = &self.input[run.source + tap * CHANNELS..][..sums.len()];
                add_products(sums, samples, &weights[run.from..run.to]);
            }
        }
        round(&self.sums, out);
    }
}

impl RowTaps {
    fn plan(input: usize, output: Size) -> Self {
        let taps = Taps::plan(input, output.height);
        let samples = output.width * CHANNELS;
        Self {
            last: input - 1,
            ring: vec![vec![[0; 2]; samples]; taps.taps],
            held: vec![None; taps.taps],
            sums: vec![0; samples],
            taps,
        }
    }

    /// Output row `y` from the rows in the ring.
    fn weigh(&mut self, y: usize, out: &mut [u8]) {
        let taps = self.taps.taps;
        self.sums.fill(self.taps.bias[y]);
        for (tap, &weight) in self.taps.weights[y * taps..][..taps].iter().enumerate() {
            let row = self.taps.first[y] + tap;
            if row <= self.last {
                add_products_by(&mut self.sums, &self.ring[row % taps], weight);
            }
        }
        round(&self.sums, out);
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
            weights.extend(pixel.iter().map(|&k| [(k >> 8) as i16, (k & 0xff) as i16]));
            weights.resize(weights.len() + taps - pixel.len(), [0; 2]);
        }
        let bias = pixels.iter().map(|(_, pixel)| (1 << (PRECISION - 1)) + 128 * pixel.iter().sum::<i32>());
        Self { bias: bias.collect(), first: pixels.iter().map(|&(first, _)| first).collect(), taps, weights }
    }
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
