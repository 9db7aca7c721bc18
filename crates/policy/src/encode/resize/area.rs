//! OpenCV's `INTER_AREA`: which of its four recipes a pair of sizes takes.

use super::enlarge::Enlarge;
use super::reduce::Reduce;
use super::shrink::Shrink;
use super::{CHANNELS, Rows, Size, Window};
use vla_base::sys::simd::{Kernel, Simd};

/// A planned `cv2.resize(..., interpolation=cv2.INTER_AREA)` of one pair of sizes, of which a window is wanted.
#[derive(Clone, Debug)]
pub struct AreaResize {
    window: Window,
    recipe: Recipe,
    simd: Simd,
}

#[derive(Clone, Debug)]
enum Recipe {
    /// Equal sizes.
    Copy,
    /// Both ratios are whole numbers: block sums.
    Reduce(Reduce),
    /// Both axes shrink: overlap areas, single precision.
    Shrink(Shrink),
    /// Both axes grow: linear with OpenCV's own offsets, 11-bit fixed point.
    Enlarge(Enlarge),
}

impl AreaResize {
    /// Plans `input` to `output` and the `window` of the output that will be read. `None` when a size is 0, when the
    /// window does not lie in the output, or when one axis grows and the other shrinks (a case that no transform here
    /// has, and for which no recipe is established).
    pub fn plan(input: Size, output: Size, window: Window) -> Option<Self> {
        if input.width == 0 || input.height == 0 || !window.fits(output) {
            return None;
        }
        let recipe = if input == output {
            Recipe::Copy
        } else if output.width <= input.width && output.height <= input.height {
            if input.width.is_multiple_of(output.width) && input.height.is_multiple_of(output.height) {
                Recipe::Reduce(Reduce::plan(input, output, window))
            } else {
                Recipe::Shrink(Shrink::plan(input, output, window))
            }
        } else if output.width >= input.width && output.height >= input.height {
            Recipe::Enlarge(Enlarge::plan(input, output, window))
        } else {
            return None;
        };
        Some(Self { window, recipe, simd: Simd::widest() })
    }

    /// The same with other instructions than the widest of this machine. The result is the same.
    pub fn with_simd(self, simd: Simd) -> Self {
        Self { simd, ..self }
    }

    /// Width and height of the window.
    pub fn size(&self) -> Size {
        self.window.size
    }

    /// The window of the resized `source`, whose size must be the input's of the plan.
    pub fn over<R: Rows>(&mut self, source: R) -> impl Rows {
        match &mut self.recipe {
            Recipe::Copy | Recipe::Reduce(_) => {}
            Recipe::Shrink(plan) => plan.begin(),
            Recipe::Enlarge(plan) => plan.begin(),
        }
        Resized { window: self.window, recipe: &mut self.recipe, simd: self.simd, source }
    }
}

struct Resized<'p, R> {
    window: Window,
    recipe: &'p mut Recipe,
    simd: Simd,
    source: R,
}

impl<R: Rows> Rows for Resized<'_, R> {
    fn row(&mut self, y: usize) -> &[u8] {
        self.simd.run(Row { recipe: self.recipe, source: &mut self.source, y });
        match self.recipe {
            Recipe::Copy => {
                let row = self.source.row(self.window.y + y);
                &row[self.window.x * CHANNELS..][..self.window.size.width * CHANNELS]
            }
            Recipe::Reduce(plan) => plan.out(),
            Recipe::Shrink(plan) => plan.out(),
            Recipe::Enlarge(plan) => plan.out(),
        }
    }
}

/// One row of the window, from `source` into the recipe's own.
struct Row<'a, R> {
    recipe: &'a mut Recipe,
    source: &'a mut R,
    y: usize,
}

impl<R: Rows> Kernel for Row<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.recipe {
            Recipe::Copy => {}
            Recipe::Reduce(plan) => plan.row(self.source, self.y),
            Recipe::Shrink(plan) => plan.row(self.source, self.y),
            Recipe::Enlarge(plan) => plan.row(self.source, self.y),
        }
    }
}
