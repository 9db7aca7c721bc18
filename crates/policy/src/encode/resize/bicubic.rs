//! Pillow's bicubic resampling of 8-bit images: columns first, then rows, each rounded to 8 bits; weights in 22-bit
//! fixed point, sums in 32 bits.
//!
//! Channels are apart from the column pass on: the model takes them so, and a pixel then needs one weight, not three.

use std::array::from_fn;

use super::{CHANNELS, LANES, Ring, Rows, Run, Size, runs};
use vla_base::sys::simd::{Kernel, Simd};

/// Bits after the binary point of a weight.
const PRECISION: u32 = 22;
/// Half of the last place that is kept, from which sums start.
const HALF: i32 = 1 << (PRECISION - 1);

/// A planned `PIL.Image.resize(size)` of one pair of sizes.
#[derive(Clone, Debug)]
pub struct BicubicResize {
    output: Size,
    columns: Columns,
    rows: Taps,
    /// Rows after the column pass: red, green and blue, each with room behind it. Whole numbers from 0 to 255, as wide as
    /// the sums that are made of them.
    across: Ring<i32>,
    /// A row of the result: channel after channel, and pixel after pixel.
    planes: Vec<u8>,
    out: Vec<u8>,
    simd: Simd,
}

/// Weights of one axis: `taps` consecutive input pixels for each output pixel, padded with zeros to one length.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    taps: usize,
    /// `[output, taps]`, in 2^-22.
    weights: Vec<i32>,
}

#[derive(Clone, Debug)]
struct Columns {
    runs: Vec<Run>,
    /// One table a tap, one weight a pixel.
    weights: Vec<Vec<i32>>,
    /// An input row: red, green and blue, with room behind each for the padding's zero weights.
    input: [Vec<u8>; CHANNELS],
}

impl BicubicResize {
    /// Plans `input` to `output`. `None` when a size is 0.
    pub fn plan(input: Size, output: Size) -> Option<Self> {
        if [input.width, input.height, output.width, output.height].contains(&0) {
            return None;
        }
        let rows = Taps::plan(input.height, output.height);
        let samples = output.width * CHANNELS;
        Some(Self {
            output,
            columns: Columns::plan(input.width, output.width),
            across: Ring::new(rows.taps, (output.width + LANES) * CHANNELS, 0),
            rows,
            planes: vec![0; samples],
            out: vec![0; samples],
            simd: Simd::widest(),
        })
    }

    /// The same with other instructions than the widest of this machine. The result is the same.
    pub fn with_simd(self, simd: Simd) -> Self {
        Self { simd, ..self }
    }

    /// Width and height of the result.
    pub fn size(&self) -> Size {
        self.output
    }

    /// The resized `source`, whose size must be the input's of the plan.
    pub fn over<R: Rows>(&mut self, source: R) -> BicubicRows<'_, R> {
        self.across.clear();
        BicubicRows { plan: self, source }
    }
}

/// A resized image, computed by rows.
#[derive(Debug)]
pub struct BicubicRows<'p, R> {
    plan: &'p mut BicubicResize,
    source: R,
}

impl<R: Rows> BicubicRows<'_, R> {
    /// Row `y` as three rows of one channel each, as long as the result is wide, every sample `map`ped.
    ///
    /// `map` gets whole numbers from 0 to 255. It runs within the innermost loop: have it inlined.
    #[inline]
    pub fn planes<T>(&mut self, y: usize, out: [&mut [T]; CHANNELS], map: impl Fn(i32) -> T) {
        self.plan.simd.run(Row { plan: self.plan, source: &mut self.source, y, out, map });
    }
}

impl<R: Rows> Rows for BicubicRows<'_, R> {
    fn row(&mut self, y: usize) -> &[u8] {
        let width = self.plan.output.width;
        let mut planes = std::mem::take(&mut self.plan.planes);
        let (red, rest) = planes.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        self.planes(y, [red, green, blue], |value| value as u8);
        for (((pixel, red), green), blue) in
            self.plan.out.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(red).zip(green).zip(blue)
        {
            *pixel = [*red, *green, *blue];
        }
        self.plan.planes = planes;
        &self.plan.out
    }
}

/// One row of the result.
struct Row<'a, R, T, F> {
    plan: &'a mut BicubicResize,
    source: &'a mut R,
    y: usize,
    out: [&'a mut [T]; CHANNELS],
    map: F,
}

impl<R: Rows, T, F: Fn(i32) -> T> Kernel for Row<'_, R, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let BicubicResize { columns, rows, across, output, .. } = self.plan;
        let (first, weights) = rows.of(self.y);
        for row in first..first + weights.len() {
            if let Some(place) = across.vacancy(row) {
                columns.pass(self.source.row(row), place);
            }
        }
        let pitch = output.width + LANES;
        for (channel, out) in self.out.into_iter().enumerate() {
            let out = &mut out[..output.width];
            let row = |tap: usize| &across.get(first + tap)[channel * pitch..][..pitch];
            // At scales near 1 there are four taps or five, and fewer at the borders.
            match weights.len() {
                2 => weigh_rows::<2, T>(row, weights, out, &self.map),
                3 => weigh_rows::<3, T>(row, weights, out, &self.map),
                4 => weigh_rows::<4, T>(row, weights, out, &self.map),
                5 => weigh_rows::<5, T>(row, weights, out, &self.map),
                _ => weigh_many_rows(row, weights, out, &self.map),
            }
        }
    }
}

/// A sum in 2^-22, rounded already, to the 8-bit value that it stands for.
#[inline(always)]
fn settle(sum: i32) -> i32 {
    (sum >> PRECISION).clamp(0, 255)
}

/// Weighted sums of `N` rows of one channel.
#[inline(always)]
fn weigh_rows<'r, const N: usize, T>(
    row: impl Fn(usize) -> &'r [i32],
    weights: &[i32],
    out: &mut [T],
    map: &impl Fn(i32) -> T,
) {
    let length = out.len();
    let (mut rows, mut by): ([&[i32]; N], [i32; N]) = ([&[]; N], [0; N]);
    for tap in 0..N {
        (rows[tap], by[tap]) = (&row(tap)[..length], weights[tap]);
    }
    for i in 0..length {
        let mut sum = HALF;
        for tap in 0..N {
            sum += by[tap] * rows[tap][i];
        }
        out[i] = map(settle(sum));
    }
}

/// Weighted sums of any number of rows of one channel, [`LANES`] at a time.
#[inline(always)]
fn weigh_many_rows<'r, T>(row: impl Fn(usize) -> &'r [i32], weights: &[i32], out: &mut [T], map: &impl Fn(i32) -> T) {
    for (group, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [HALF; LANES];
        for (tap, by) in weights.iter().enumerate() {
            let samples = &row(tap)[group * LANES..][..LANES];
            sums.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += by * sample);
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = map(settle(sum)));
    }
}

impl Columns {
    fn plan(input: usize, output: usize) -> Self {
        let axis = Taps::plan(input, output);
        let per_pixel = |tap: usize| {
            let weights = axis.weights.iter().skip(tap).step_by(axis.taps).copied();
            weights.chain([0; LANES]).collect()
        };
        Self {
            runs: runs(&axis.first),
            weights: (0..axis.taps).map(per_pixel).collect(),
            input: from_fn(|_| vec![0; input + axis.taps + LANES]),
        }
    }

    /// One input row to its place in the ring.
    #[inline(always)]
    fn pass(&mut self, row: &[u8], place: &mut [i32]) {
        let [red, green, blue] = &mut self.input;
        for (((pixel, red), green), blue) in row.as_chunks::<CHANNELS>().0.iter().zip(red).zip(green).zip(blue) {
            [*red, *green, *blue] = *pixel;
        }
        let pitch = place.len() / CHANNELS;
        for (input, out) in self.input.iter().zip(place.chunks_exact_mut(pitch)) {
            for run in &self.runs {
                match self.weights.len() {
                    4 => weigh_run::<4>(run, input, &self.weights, out),
                    5 => weigh_run::<5>(run, input, &self.weights, out),
                    _ => weigh_long_run(run, input, &self.weights, out),
                }
            }
        }
    }
}

/// Weighted sums of `N` neighbours for the pixels of a run.
#[inline(always)]
fn weigh_run<const N: usize>(run: &Run, input: &[u8], weights: &[Vec<i32>], out: &mut [i32]) {
    let length = run.groups(1) * LANES;
    let (mut samples, mut by): ([&[u8]; N], [&[i32]; N]) = ([&[]; N], [&[]; N]);
    for tap in 0..N {
        (samples[tap], by[tap]) = (&input[run.source + tap..][..length], &weights[tap][run.from..][..length]);
    }
    let out = &mut out[run.from..][..length];
    for i in 0..length {
        let mut sum = HALF;
        for tap in 0..N {
            sum += by[tap][i] * i32::from(samples[tap][i]);
        }
        out[i] = settle(sum);
    }
}

/// Weighted sums of any number of neighbours.
#[inline(always)]
fn weigh_long_run(run: &Run, input: &[u8], weights: &[Vec<i32>], out: &mut [i32]) {
    for group in 0..run.groups(1) {
        let (from, source) = (run.from + group * LANES, run.source + group * LANES);
        let mut sums = [HALF; LANES];
        for (tap, by) in weights.iter().enumerate() {
            let terms = by[from..][..LANES].iter().zip(&input[source + tap..][..LANES]);
            sums.iter_mut().zip(terms).for_each(|(sum, (by, &sample))| *sum += by * i32::from(sample));
        }
        out[from..][..LANES].iter_mut().zip(sums).for_each(|(out, sum)| *out = settle(sum));
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
        Self { first: pixels.iter().map(|&(first, _)| first).collect(), taps, weights }
    }

    /// First input pixel and weights of output pixel `d`, without the padding.
    #[inline(always)]
    fn of(&self, d: usize) -> (usize, &[i32]) {
        let weights = &self.weights[d * self.taps..][..self.taps];
        let used = weights.iter().rposition(|&weight| weight != 0).map_or(0, |last| last + 1);
        (self.first[d], &weights[..used])
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
