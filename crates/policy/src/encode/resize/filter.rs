//! Resampling of 8-bit images by a filter curve, as Pillow and torchvision do it: columns first, then rows, each rounded to
//! 8 bits; weights in fixed point, sums in 32 bits. An axis whose size stays is passed on as it is.
//!
//! Channels are apart from the column pass on: the model takes them so, and a pixel then needs one weight, not three.

use super::{CHANNELS, Rows, Size};
use vla_base::sys::simd::{Kernel, Simd};
use vla_engines::frames::{Resize, Sums};

mod passes;
mod taps;

use passes::Passes;

/// How samples are weighted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filter {
    curve: Curve,
    precision: Precision,
}

/// Weight over distance. Wider by the scale when shrinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Curve {
    /// Keys' cubic convolution with a = -0.5.
    Cubic,
    /// 1 at 0, 0 from 1 on: linear interpolation.
    Triangle,
}

/// Bits after the binary point of a weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Precision {
    /// Pillow's 22.
    Bits22,
    /// As many as the greatest weight of the axis leaves in a 16-bit integer.
    Fit16,
}

impl Filter {
    /// `PIL.Image.resize(size)`, which is bicubic (Pillow 12).
    pub const PILLOW_BICUBIC: Self = Self { curve: Curve::Cubic, precision: Precision::Bits22 };
    /// torchvision 0.24's `resize` of `uint8`, bicubic with antialias.
    pub const TORCHVISION_BICUBIC: Self = Self { curve: Curve::Cubic, precision: Precision::Fit16 };
    /// torchvision 0.24's `resize` of `uint8`, bilinear with antialias, on a CPU with AVX2; on others it computes in single
    /// precision and differs by 1 in some samples.
    pub const TORCHVISION_BILINEAR: Self = Self { curve: Curve::Triangle, precision: Precision::Fit16 };
}

/// A planned resize of one pair of sizes.
#[derive(Clone, Debug)]
pub struct FilterResize {
    output: Size,
    passes: Format,
    /// A row of the result: channel after channel, and pixel after pixel.
    planes: Vec<u8>,
    out: Vec<u8>,
    simd: Simd,
}

/// The two passes in the number formats of the precision.
#[derive(Clone, Debug)]
enum Format {
    /// 32-bit weights. Samples between the passes are as wide, which multiplies fastest.
    Wide(Passes<i32, i32>),
    /// 16-bit weights.
    Narrow(Passes<i16, u8>),
}

impl FilterResize {
    /// Plans `input` to `output`. `None` when a size is 0.
    pub fn plan(input: Size, output: Size, filter: Filter) -> Option<Self> {
        if [input.width, input.height, output.width, output.height].contains(&0) {
            return None;
        }
        let passes = match filter.precision {
            Precision::Bits22 => Format::Wide(Passes::plan(input, output, filter)),
            Precision::Fit16 => Format::Narrow(Passes::plan(input, output, filter)),
        };
        let samples = output.width * CHANNELS;
        Some(Self { output, passes, planes: vec![0; samples], out: vec![0; samples], simd: Simd::widest() })
    }

    /// The same for a device; `None` as [`Self::plan`].
    pub fn describe(input: Size, output: Size, filter: Filter) -> Option<Resize> {
        if [input.width, input.height, output.width, output.height].contains(&0) {
            return None;
        }
        let of = |from: usize, to: usize| match filter.precision {
            Precision::Bits22 => taps::describe::<i32>(from, to, filter),
            Precision::Fit16 => taps::describe::<i16>(from, to, filter),
        };
        let ((columns, column_bits), (rows, row_bits)) =
            (of(input.width, output.width), of(input.height, output.height));
        let sums = Sums::Fixed { columns: column_bits, rows: row_bits };
        Some(Resize { input: [input.width, input.height], offset: [0, 0], columns, rows, sums })
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
    pub fn over<R: Rows>(&mut self, source: R) -> FilterRows<'_, R> {
        match &mut self.passes {
            Format::Wide(passes) => passes.begin(),
            Format::Narrow(passes) => passes.begin(),
        }
        FilterRows { plan: self, source }
    }
}

/// A resized image, computed by rows.
#[derive(Debug)]
pub struct FilterRows<'p, R> {
    plan: &'p mut FilterResize,
    source: R,
}

impl<R: Rows> FilterRows<'_, R> {
    /// Row `y` as three rows of one channel each, as long as the result is wide, every sample `map`ped.
    ///
    /// `map` gets whole numbers from 0 to 255. It runs within the innermost loop: have it inlined.
    #[inline]
    pub fn planes<T>(&mut self, y: usize, out: [&mut [T]; CHANNELS], map: impl Fn(i32) -> T) {
        self.plan.simd.run(Row { passes: &mut self.plan.passes, source: &mut self.source, y, out, map });
    }
}

impl<R: Rows> Rows for FilterRows<'_, R> {
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
    passes: &'a mut Format,
    source: &'a mut R,
    y: usize,
    out: [&'a mut [T]; CHANNELS],
    map: F,
}

impl<R: Rows, T, F: Fn(i32) -> T> Kernel for Row<'_, R, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { passes, source, y, out, map } = self;
        match passes {
            Format::Wide(passes) => passes.row(source, y, out, map),
            Format::Narrow(passes) => passes.row(source, y, out, map),
        }
    }
}
