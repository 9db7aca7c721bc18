//! A frame as the rows that the evaluation transform reads: in RGB and, with the letterbox, padded to a square with black.
//!
//! The vendor pads centred (`LetterBoxPad` of `gr00t/model/gr00t_n1d6/image_augmentations.py`): above and left by half of
//! what is missing, rounded down, below and right by the rest.

use super::resize::{CHANNELS, Rows, Size};
use vla_messages::Pixels;

/// Size of a frame of `size` after the letterbox.
pub(super) fn square(size: Size) -> Size {
    let side = size.width.max(size.height);
    Size { width: side, height: side }
}

/// Where frames of one size lie in their picture, and rows for it.
#[derive(Clone, Debug)]
pub(super) struct Padding {
    top: usize,
    left: usize,
    /// A row of the frame, where it is not RGB already.
    scratch: Vec<u8>,
    /// A row of the picture, black where the frame is not. Empty without padding.
    padded: Vec<u8>,
}

impl Padding {
    /// Frames of `frame` centred in pictures of `picture`, which are as large or larger.
    pub(crate) fn plan(frame: Size, picture: Size) -> Self {
        let padded = if frame == picture { 0 } else { picture.width * CHANNELS };
        Self {
            top: (picture.height - frame.height) / 2,
            left: (picture.width - frame.width) / 2,
            scratch: vec![0; frame.width * CHANNELS],
            padded: vec![0; padded],
        }
    }

    /// Left and upper rim.
    pub(crate) fn offset(&self) -> [usize; 2] {
        [self.left, self.top]
    }

    /// The rows of the picture with `frame` in it.
    pub(crate) fn over<'p, 'f>(&'p mut self, frame: &'p Pixels<'f>) -> PaddedFrame<'p, 'f> {
        PaddedFrame { frame, padding: self }
    }
}

/// A frame in its picture.
pub(super) struct PaddedFrame<'p, 'f> {
    frame: &'p Pixels<'f>,
    padding: &'p mut Padding,
}

impl Rows for PaddedFrame<'_, '_> {
    fn row(&mut self, y: usize) -> &[u8] {
        let Padding { top, left, scratch, padded } = &mut *self.padding;
        let Some(y) = y.checked_sub(*top).filter(|y| *y < self.frame.height) else {
            // Only frames that are wider than high have rows above and below, and nothing else is in this row then.
            return padded;
        };
        let row = self.frame.row_rgb(y, scratch);
        if padded.len() <= row.len() {
            return row;
        }
        padded[*left * CHANNELS..][..row.len()].copy_from_slice(row);
        padded
    }
}
