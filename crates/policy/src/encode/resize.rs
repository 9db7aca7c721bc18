//! Resampling of 8-bit RGB images, equal to the last bit to the libraries that prepared the training data:
//! OpenCV 4.11 `INTER_AREA` ([`AreaResize`]), and bicubic of Pillow 12 and of torchvision 0.24 ([`FilterResize`]).
//!
//! Everything that depends on sizes alone is planned once. Rows are then *pulled*: a stage laid over its source
//! computes a row when the next stage asks for it, so no intermediate image exists, what is cropped away is never
//! computed, and nothing is allocated. The plans own their row buffers, which is why laying one over a source takes it
//! by `&mut`.
//!
//! Loops run over contiguous samples in the number formats of the recipes, so that the compiler vectorises them, on every
//! machine; on x86-64 they are there a second time for AVX2 ([`Simd`](vla_base::sys::simd::Simd)).

use vla_engines::frames::Axis;

mod area;
mod enlarge;
mod filter;
mod reduce;
mod shrink;

pub use area::AreaResize;
pub use filter::{Filter, FilterResize, FilterRows};

/// Samples a pixel: red, green, blue.
pub const CHANNELS: usize = 3;

/// Width and height in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Size {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Width and height.
    pub size: Size,
}

impl Window {
    /// All of an image of `size`.
    pub fn full(size: Size) -> Self {
        Self { x: 0, y: 0, size }
    }

    fn fits(&self, size: Size) -> bool {
        let end = |start: usize, length: usize| start.checked_add(length);
        self.size.width > 0
            && self.size.height > 0
            && end(self.x, self.size.width).is_some_and(|x| x <= size.width)
            && end(self.y, self.size.height).is_some_and(|y| y <= size.height)
    }
}

/// An RGB image that is read by rows.
pub trait Rows {
    /// Row `y`, `3 * width` samples. Cheapest in rising order.
    fn row(&mut self, y: usize) -> &[u8];
}

impl<R: Rows + ?Sized> Rows for &mut R {
    fn row(&mut self, y: usize) -> &[u8] {
        (**self).row(y)
    }
}

/// An RGB image in memory, rows back to back.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// `3 * width * height` samples.
    pub data: &'a [u8],
    /// Pixels a row.
    pub width: usize,
}

impl Rows for Packed<'_> {
    fn row(&mut self, y: usize) -> &[u8] {
        &self.data[y * self.width * CHANNELS..][..self.width * CHANNELS]
    }
}

/// `count` pixels of an axis from `first` on, as they are.
fn copied(first: usize, count: usize) -> Axis {
    axis((first..first + count).collect::<Vec<_>>().as_slice(), 1, vec![1; count])
}

/// An axis as a device takes it.
fn axis(first: &[usize], taps: usize, weights: Vec<u32>) -> Axis {
    Axis { first: first.iter().map(|&pixel| i32::try_from(pixel).unwrap_or(i32::MAX)).collect(), taps, weights }
}

/// Samples that loops over runs take at once. Runs are rounded up to a multiple of it: what is written behind a run's end
/// is overwritten by the next run, and buffers have that much room behind their end.
const LANES: usize = 16;

/// Output pixels `from..from + length` whose source lies at the same distance: they read from `source` on. At scales
/// near 1 such runs are long, so inner loops are over contiguous samples on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    from: usize,
    length: usize,
    source: usize,
}

impl Run {
    /// Groups of [`LANES`] that cover the run when each pixel has `samples` of them.
    fn groups(&self, samples: usize) -> usize {
        (self.length * samples).div_ceil(LANES)
    }
}

/// Runs over output pixels whose first source pixels are `sources`.
fn runs(sources: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (pixel, &source) in sources.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.source + run.length == source => run.length += 1,
            _ => runs.push(Run { from: pixel, length: 1, source }),
        }
    }
    runs
}

/// The latest source rows in the form that a stage makes of them, row `y` in place `y % rows`.
#[derive(Clone, Debug)]
struct Ring<T> {
    rows: Vec<Vec<T>>,
    held: Vec<Option<usize>>,
}

impl<T: Copy> Ring<T> {
    fn new(rows: usize, length: usize, value: T) -> Self {
        Self { rows: vec![vec![value; length]; rows], held: vec![None; rows] }
    }

    /// Forgets the image before.
    fn clear(&mut self) {
        self.held.fill(None);
    }

    /// Row `y`, which must be held.
    #[inline(always)]
    fn get(&self, y: usize) -> &[T] {
        &self.rows[y % self.rows.len()]
    }

    /// The place of row `y`, to be filled; `None` when it is held already.
    #[inline(always)]
    fn vacancy(&mut self, y: usize) -> Option<&mut [T]> {
        let place = y % self.rows.len();
        if self.held[place] == Some(y) {
            return None;
        }
        self.held[place] = Some(y);
        Some(&mut self.rows[place])
    }
}

/// 1.5 * 2^23: added to a small number it leaves no bits for a fraction; the default rounding mode, to the nearest and
/// halves to the even one, does the rest.
const ROUNDING: f32 = 12_582_912.0;

/// To the nearest integer, halves to the even one. For 0 <= `value` < 255.5.
#[inline(always)]
fn round_half_even(value: f32) -> u8 {
    (value + ROUNDING).to_bits() as u8
}
