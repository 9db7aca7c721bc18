//! The middle of the image transform: resize, centre crop, resize again.

use super::resize::{AreaResize, CHANNELS, Filter, FilterResize, FilterRows, Rows, Size, Window};
use crate::processor::Framing;
use vla_base::sys::simd::Simd;
use vla_engines::frames::Resize;

/// Both resizes, planned for one size of frames.
#[derive(Clone, Debug)]
pub(super) enum FramingPlan {
    /// OpenCV's `INTER_AREA`; the first computes its window only.
    Area([Box<AreaResize>; 2]),
    /// torchvision's bilinear with antialias.
    Bilinear { first: Box<FilterResize>, crop: Window, second: Box<FilterResize> },
}

impl FramingPlan {
    /// `picture` to `resized`, of which `crop` becomes `grown`. `None` where no recipe is established.
    pub(crate) fn new(
        framing: &Framing,
        picture: Size,
        resized: Size,
        crop: Window,
        grown: Size,
        simd: Simd,
    ) -> Option<Self> {
        Some(match framing {
            Framing::ShortestEdge { .. } => {
                let first = AreaResize::plan(picture, resized, crop)?;
                let second = AreaResize::plan(crop.size, grown, Window::full(grown))?;
                Self::Area([first, second].map(|plan| Box::new(plan.with_simd(simd))))
            }
            Framing::Stretched { .. } => {
                let first = FilterResize::plan(picture, resized, Filter::TORCHVISION_BILINEAR)?;
                let second = FilterResize::plan(crop.size, grown, Filter::TORCHVISION_BILINEAR)?;
                let [first, second] = [first, second].map(|plan| Box::new(plan.with_simd(simd)));
                Self::Bilinear { first, crop, second }
            }
        })
    }

    /// The same for a device.
    pub(crate) fn describe(
        framing: &Framing,
        picture: Size,
        resized: Size,
        crop: Window,
        grown: Size,
    ) -> Option<[Resize; 2]> {
        Some(match framing {
            Framing::ShortestEdge { .. } => [
                AreaResize::describe(picture, resized, crop)?,
                AreaResize::describe(crop.size, grown, Window::full(grown))?,
            ],
            Framing::Stretched { .. } => {
                let first = FilterResize::describe(picture, resized, Filter::TORCHVISION_BILINEAR)?;
                let second = FilterResize::describe(crop.size, grown, Filter::TORCHVISION_BILINEAR)?;
                let before = |pixels: usize| i32::try_from(pixels).map_or(0, |pixels| -pixels);
                let (input, offset) = ([resized.width, resized.height], [before(crop.x), before(crop.y)]);
                [first, Resize { input, offset, ..second }]
            }
        })
    }

    /// The result for `source`.
    pub(crate) fn over<'p, R: Rows + 'p>(&'p mut self, source: R) -> impl Rows + 'p {
        match self {
            Self::Area([first, second]) => Framed::Area(second.over(first.over(source))),
            Self::Bilinear { first, crop, second } => {
                Framed::Bilinear(second.over(Cropped { source: first.over(source), crop: *crop }))
            }
        }
    }
}

/// Rows of either plan.
enum Framed<'p, A, R> {
    Area(A),
    Bilinear(FilterRows<'p, Cropped<R>>),
}

impl<A: Rows, R: Rows> Rows for Framed<'_, A, R> {
    #[inline]
    fn row(&mut self, y: usize) -> &[u8] {
        match self {
            Self::Area(rows) => rows.row(y),
            Self::Bilinear(rows) => rows.row(y),
        }
    }
}

/// A window of an image.
struct Cropped<R> {
    source: R,
    crop: Window,
}

impl<R: Rows> Rows for Cropped<R> {
    fn row(&mut self, y: usize) -> &[u8] {
        let Window { x, y: top, size } = self.crop;
        &self.source.row(top + y)[CHANNELS * x..][..CHANNELS * size.width]
    }
}
