//! The two passes over an image.

use std::array::from_fn;

use super::super::{CHANNELS, LANES, Ring, Rows, Run, Size, runs};
use super::Filter;
use super::taps::{Taps, Weight};

/// A sample between the passes: a whole number from 0 to 255.
pub(super) trait Sample: Copy + Default + Into<i32> + From<u8> {
    /// The sample `value`, which is one.
    fn of(value: i32) -> Self;
}

impl Sample for i32 {
    #[inline(always)]
    fn of(value: i32) -> Self {
        value
    }
}

impl Sample for u8 {
    #[inline(always)]
    fn of(value: i32) -> Self {
        value as Self
    }
}

/// Columns, then rows.
#[derive(Clone, Debug)]
pub(super) struct Passes<W, S> {
    columns: Columns<W>,
    rows: Taps<W>,
    /// Rows after the column pass: red, green and blue, each with room behind it.
    across: Ring<S>,
    width: usize,
}

/// The column pass.
#[derive(Clone, Debug)]
struct Columns<W> {
    first: Vec<usize>,
    taps: usize,
    precision: u32,
    weights: Weights<W>,
    /// An input row: red, green and blue, with room behind each for the padding's zero weights.
    input: [Vec<u8>; CHANNELS],
}

/// Weights in the order of the inner loop.
#[derive(Clone, Debug)]
enum Weights<W> {
    /// The width stays.
    Copy,
    /// Pixels are the inner loop, where neighbours of the output are neighbours of the input mostly. `taps` rows for each
    /// strip, one weight a pixel.
    Strips(Vec<Strip>, Vec<[W; LANES]>),
    /// Taps are, where the image shrinks by much. As many rows for each pixel as its taps fill.
    Pixels(Vec<[W; GROUP]>),
}

/// [`LANES`] output pixels whose source lies at the same distance, or fewer: what is written behind them is overwritten by
/// the next strip.
#[derive(Clone, Copy, Debug)]
struct Strip {
    from: usize,
    source: usize,
}

/// Taps that are weighted at once.
const GROUP: usize = 8;
/// Mean length of runs from which they are worth [`LANES`].
const LONG_RUN: usize = 4;

impl<W: Weight, S: Sample> Passes<W, S> {
    pub(super) fn plan(input: Size, output: Size, filter: Filter) -> Self {
        let rows = Taps::plan(input.height, output.height, filter);
        let held = if rows.unchanged { 1 } else { rows.taps };
        Self {
            columns: Columns::plan(input.width, output.width, filter),
            across: Ring::new(held, (output.width + LANES) * CHANNELS, S::default()),
            rows,
            width: output.width,
        }
    }

    /// Forgets the image before.
    pub(super) fn begin(&mut self) {
        self.across.clear();
    }

    /// Row `y` of the result, every sample `map`ped.
    #[inline(always)]
    pub(super) fn row<R: Rows, T>(
        &mut self,
        source: &mut R,
        y: usize,
        out: [&mut [T]; CHANNELS],
        map: impl Fn(i32) -> T,
    ) {
        let Self { columns, rows, across, width } = self;
        let (first, weights) = if rows.unchanged { (y, &[][..]) } else { rows.of(y) };
        for row in first..first + weights.len().max(1) {
            if let Some(place) = across.vacancy(row) {
                columns.pass(source.row(row), place);
            }
        }
        let (pitch, precision) = (*width + LANES, rows.precision);
        for (channel, out) in out.into_iter().enumerate() {
            let out = &mut out[..*width];
            let row = |tap: usize| &across.get(first + tap)[channel * pitch..][..pitch];
            // At scales near 1 there are four taps or five, and fewer at the borders.
            match weights.len() {
                _ if rows.unchanged => {
                    out.iter_mut().zip(row(0)).for_each(|(out, &sample)| *out = map(sample.into()));
                }
                2 => weigh_rows::<2, W, S, T>(row, weights, precision, out, &map),
                3 => weigh_rows::<3, W, S, T>(row, weights, precision, out, &map),
                4 => weigh_rows::<4, W, S, T>(row, weights, precision, out, &map),
                5 => weigh_rows::<5, W, S, T>(row, weights, precision, out, &map),
                _ => weigh_many_rows(row, weights, precision, out, &map),
            }
        }
    }
}

/// What sums start from: half of the last place that is kept.
#[inline(always)]
fn half(precision: u32) -> i32 {
    (1 << precision) >> 1
}

/// A sum, rounded already, to the 8-bit value that it stands for.
#[inline(always)]
fn settle(sum: i32, precision: u32) -> i32 {
    (sum >> precision).clamp(0, 255)
}

/// Weighted sums of `N` rows of one channel.
#[inline(always)]
fn weigh_rows<'r, const N: usize, W: Weight, S: Sample + 'r, T>(
    row: impl Fn(usize) -> &'r [S],
    weights: &[W],
    precision: u32,
    out: &mut [T],
    map: &impl Fn(i32) -> T,
) {
    let length = out.len();
    let (mut rows, mut by): ([&[S]; N], [i32; N]) = ([&[]; N], [0; N]);
    for tap in 0..N {
        (rows[tap], by[tap]) = (&row(tap)[..length], weights[tap].into());
    }
    for i in 0..length {
        let mut sum = half(precision);
        for tap in 0..N {
            sum += by[tap] * rows[tap][i].into();
        }
        out[i] = map(settle(sum, precision));
    }
}

/// Weighted sums of any number of rows of one channel, [`LANES`] at a time.
#[inline(always)]
fn weigh_many_rows<'r, W: Weight, S: Sample + 'r, T>(
    row: impl Fn(usize) -> &'r [S],
    weights: &[W],
    precision: u32,
    out: &mut [T],
    map: &impl Fn(i32) -> T,
) {
    for (group, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [half(precision); LANES];
        for (tap, &by) in weights.iter().enumerate() {
            let (by, samples): (i32, _) = (by.into(), &row(tap)[group * LANES..][..LANES]);
            sums.iter_mut().zip(samples).for_each(|(sum, &sample)| *sum += by * sample.into());
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = map(settle(sum, precision)));
    }
}

impl<W: Weight> Columns<W> {
    fn plan(input: usize, output: usize, filter: Filter) -> Self {
        let axis = Taps::<W>::plan(input, output, filter);
        let runs = runs(&axis.first);
        let weights = if axis.unchanged {
            Weights::Copy
        } else if runs.len() * LONG_RUN > output {
            let of_pixel = |weights: &[W]| -> Vec<[W; GROUP]> { weights.chunks(GROUP).map(padded).collect() };
            Weights::Pixels(axis.weights.chunks_exact(axis.taps).flat_map(of_pixel).collect())
        } else {
            let strips = |run: &Run| {
                let (from, source) = (run.from, run.source);
                (0..run.groups(1))
                    .map(move |group| Strip { from: from + group * LANES, source: source + group * LANES })
            };
            let strips: Vec<Strip> = runs.iter().flat_map(strips).collect();
            let of_tap = |strip: &Strip, tap: usize| {
                let pixels = strip.from..output.min(strip.from + LANES);
                let weights: Vec<W> = pixels.map(|pixel| axis.weights[pixel * axis.taps + tap]).collect();
                padded(&weights)
            };
            let rows = strips.iter().flat_map(|strip| (0..axis.taps).map(move |tap| of_tap(strip, tap))).collect();
            Weights::Strips(strips, rows)
        };
        Self {
            first: axis.first,
            taps: axis.taps,
            precision: axis.precision,
            weights,
            input: from_fn(|_| vec![0; input + axis.taps + GROUP + LANES]),
        }
    }

    /// One input row to its place in the ring.
    #[inline(always)]
    fn pass<S: Sample>(&mut self, row: &[u8], place: &mut [S]) {
        let pitch = place.len() / CHANNELS;
        if let Weights::Copy = self.weights {
            let (red, rest) = place.split_at_mut(pitch);
            let (green, blue) = rest.split_at_mut(pitch);
            for (((pixel, red), green), blue) in row.as_chunks::<CHANNELS>().0.iter().zip(red).zip(green).zip(blue) {
                [*red, *green, *blue] = pixel.map(S::from);
            }
            return;
        }
        let [red, green, blue] = &mut self.input;
        for (((pixel, red), green), blue) in row.as_chunks::<CHANNELS>().0.iter().zip(red).zip(green).zip(blue) {
            [*red, *green, *blue] = *pixel;
        }
        let Self { first, taps, precision, weights, input } = self;
        for (input, out) in input.iter().zip(place.chunks_exact_mut(pitch)) {
            match (&*weights, *taps) {
                (Weights::Copy, _) => {}
                (Weights::Pixels(rows), taps) => weigh_pixels(first, input, rows, taps, *precision, out),
                (Weights::Strips(strips, rows), 4) => weigh_strips::<4, W, S>(strips, input, rows, *precision, out),
                (Weights::Strips(strips, rows), 5) => weigh_strips::<5, W, S>(strips, input, rows, *precision, out),
                (Weights::Strips(strips, rows), taps) => weigh_wide_strips(strips, input, rows, taps, *precision, out),
            }
        }
    }
}

/// Weights, then zeros.
fn padded<W: Weight, const N: usize>(weights: &[W]) -> [W; N] {
    from_fn(|at| weights.get(at).copied().unwrap_or_default())
}

/// Weighted sums of `N` neighbours for the pixels of each strip.
#[inline(always)]
fn weigh_strips<const N: usize, W: Weight, S: Sample>(
    strips: &[Strip],
    input: &[u8],
    weights: &[[W; LANES]],
    precision: u32,
    out: &mut [S],
) {
    for (strip, weights) in strips.iter().zip(weights.as_chunks::<N>().0) {
        let samples = &input[strip.source..][..LANES + N - 1];
        let mut sums = [half(precision); LANES];
        for (tap, by) in weights.iter().enumerate() {
            add(&mut sums, by, &samples[tap..][..LANES]);
        }
        store(&sums, precision, &mut out[strip.from..][..LANES]);
    }
}

/// Weighted sums of any number of neighbours.
#[inline(always)]
fn weigh_wide_strips<W: Weight, S: Sample>(
    strips: &[Strip],
    input: &[u8],
    weights: &[[W; LANES]],
    taps: usize,
    precision: u32,
    out: &mut [S],
) {
    for (strip, weights) in strips.iter().zip(weights.chunks_exact(taps)) {
        let mut sums = [half(precision); LANES];
        for (tap, by) in weights.iter().enumerate() {
            add(&mut sums, by, &input[strip.source + tap..][..LANES]);
        }
        store(&sums, precision, &mut out[strip.from..][..LANES]);
    }
}

/// Adds one tap of a strip.
#[inline(always)]
fn add<W: Weight>(sums: &mut [i32; LANES], by: &[W; LANES], samples: &[u8]) {
    for ((sum, &by), &sample) in sums.iter_mut().zip(by).zip(samples) {
        *sum += by.into() * i32::from(sample);
    }
}

#[inline(always)]
fn store<S: Sample>(sums: &[i32; LANES], precision: u32, out: &mut [S]) {
    out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = S::of(settle(sum, precision)));
}

/// Weighted sums for one pixel after the other.
#[inline(always)]
fn weigh_pixels<W: Weight, S: Sample>(
    first: &[usize],
    input: &[u8],
    weights: &[[W; GROUP]],
    taps: usize,
    precision: u32,
    out: &mut [S],
) {
    let weights = weights.chunks_exact(taps.div_ceil(GROUP).max(1));
    for ((out, &first), weights) in out.iter_mut().zip(first).zip(weights) {
        let mut sums = [0; GROUP];
        for (by, samples) in weights.iter().zip(input[first..].as_chunks::<GROUP>().0) {
            for lane in 0..GROUP {
                sums[lane] += by[lane].into() * i32::from(samples[lane]);
            }
        }
        *out = S::of(settle(sums.iter().sum::<i32>() + half(precision), precision));
    }
}
