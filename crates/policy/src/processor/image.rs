//! How frames become pixels.

use crate::encode::resize::{Filter, Size};

/// The evaluation transform of a camera frame: letterbox, framing, smart resize.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ImageTransformSpec {
    /// Frames are first padded to a square with black, centred.
    pub letterbox: bool,
    /// What is seen of the frame, and at what size.
    pub framing: Framing,
    /// The last step.
    pub smart_resize: SmartResize,
}

/// How a frame is resized, cropped and resized again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Framing {
    /// The ratio of its sides stays (albumentations on OpenCV, `INTER_AREA`).
    ShortestEdge {
        /// Pixels of the shorter side before and after the crop.
        edge: usize,
        /// Part of each side that the centre crop keeps, above 0 and at most 1.
        crop: f64,
    },
    /// It becomes `target`, whatever its sides (torchvision, bilinear with antialias).
    Stretched {
        /// Size before and after the crop.
        target: Size,
        /// Size of the centre crop, no side longer than the target's.
        crop: Size,
    },
}

/// The last step of the image transform: each side to a multiple, and the number of pixels within limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmartResize {
    /// Sides of the result are multiples of this, in pixels.
    pub multiple: usize,
    /// Least and greatest side after rounding, in pixels.
    pub least_side: usize,
    /// See `least_side`.
    pub most_side: usize,
    /// Images of fewer pixels are enlarged.
    pub least_pixels: usize,
    /// Images of more pixels are shrunk.
    pub most_pixels: usize,
    /// By how much.
    pub shrunk_by: ShrunkBy,
    /// How samples are computed.
    pub filter: Filter,
}

/// Which area, divided by the greatest number of pixels, says how much an image shrinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShrunkBy {
    /// That of the image.
    Area,
    /// That of the image with its sides rounded to multiples; these sides shrink.
    RoundedArea,
}

impl SmartResize {
    /// Size of the result for an image of `size`.
    pub fn size(&self, size: Size) -> Size {
        let multiples = |sides: f64| (sides as usize).saturating_mul(self.multiple);
        let unit = self.multiple as f64;
        let nearest =
            |side: usize| multiples((side as f64 / unit).round_ties_even()).clamp(self.least_side, self.most_side);
        let rounded = Size { width: nearest(size.width), height: nearest(size.height) };
        let area = |size: Size| size.width.saturating_mul(size.height);
        if area(rounded) > self.most_pixels {
            let from = match self.shrunk_by {
                ShrunkBy::Area => size,
                ShrunkBy::RoundedArea => rounded,
            };
            let beta = (area(from) as f64 / self.most_pixels as f64).sqrt();
            let below = |side: usize| multiples((side as f64 / beta / unit).floor()).max(self.multiple);
            Size { width: below(from.width), height: below(from.height) }
        } else if area(rounded) < self.least_pixels {
            let beta = (self.least_pixels as f64 / area(size) as f64).sqrt();
            let above = |side: usize| multiples((side as f64 * beta / unit).ceil()).max(self.multiple);
            Size { width: above(size.width), height: above(size.height) }
        } else {
            rounded
        }
    }

    /// Tokens of the language model for an image whose size is a result of this step.
    pub fn image_tokens(&self, size: Size) -> usize {
        size.width * size.height / (self.multiple * self.multiple).max(1)
    }
}
