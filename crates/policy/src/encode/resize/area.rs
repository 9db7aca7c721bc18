//! OpenCV's `INTER_AREA`: which of its four recipes a pair of sizes takes.

use super::enlarge::Enlarge;
use super::reduce::Reduce;
use super::shrink::Shrink;
use super::{CHANNELS, Rows, Size, Window, copied};
use vla_base::sys::simd::{Kernel, Simd};
use vla_engines::frames::{Resize, Sums};

/// Which recipe.
enum Choice {
    Copy,
    Reduce,
    Shrink,
    Enlarge,
}

impl Choice {
    fn of(input: Size, output: Size, window: Window) -> Option<Self> {
        if input.width == 0 || input.height == 0 || !window.fits(output) {
            return None;
        }
        let whole = input.width.is_multiple_of(output.width) && input.height.is_multiple_of(output.height);
        if input == output {
            Some(Self::Copy)
        } else if output.width <= input.width && output.height <= input.height {
            Some(if whole { Self::Reduce } else { Self::Shrink })
        } else if output.width >= input.width && output.height >= input.height {
            Some(Self::Enlarge)
        } else {
            None
        }
    }
}

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
        let recipe = match Choice::of(input, output, window)? {
            Choice::Copy => Recipe::Copy,
            Choice::Reduce => Recipe::Reduce(Reduce::plan(input, output, window)),
            Choice::Shrink => Recipe::Shrink(Shrink::plan(input, output, window)),
            Choice::Enlarge => Recipe::Enlarge(Enlarge::plan(input, output, window)),
        };
        Some(Self { window, recipe, simd: Simd::widest() })
    }

    /// The same for a device; `None` as [`Self::plan`], and for blocks whose sums have no exact place in single precision.
    pub fn describe(input: Size, output: Size, window: Window) -> Option<Resize> {
        let Window { x, y, size } = window;
        let ([columns, rows], sums) = match Choice::of(input, output, window)? {
            Choice::Copy => ([copied(x, size.width), copied(y, size.height)], Sums::Fixed { columns: 0, rows: 0 }),
            Choice::Reduce => Reduce::describe(input, output, window)?,
            Choice::Shrink => (Shrink::describe(input, output, window), Sums::Single { scale: 1.0 }),
            Choice::Enlarge => (Enlarge::describe(input, output, window), Sums::Linear),
        };
        Some(Resize { input: [input.width, input.height], offset: [0, 0], columns, rows, sums })
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
