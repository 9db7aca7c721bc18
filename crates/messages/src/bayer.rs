//! Bayer mosaics to RGB: OpenCV's bilinear `cv::demosaicing`, bit by bit.
//!
//! ROS names a mosaic by the colours of its first two rows, OpenCV by those of its second: `bayer_rggb8` is what OpenCV calls
//! `COLOR_BayerBG2RGB`. The names here are those of ROS, as cv_bridge maps them.
//!
//! A missing colour is the mean of the two or four nearest pixels that have it, halves rounded up. The outermost rows and
//! columns are copies of the ones next to them.

/// Colours of the four pixels in the upper left corner of a mosaic, row by row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BayerPattern {
    /// Red, green; green, blue.
    Rggb,
    /// Blue, green; green, red.
    Bggr,
    /// Green, blue; red, green.
    Gbrg,
    /// Green, red; blue, green.
    Grbg,
}

/// Fewest rows and columns: OpenCV makes a smaller mosaic black.
pub(super) const LEAST_SIDE: usize = 3;

const RED: usize = 0;
const GREEN: usize = 1;
const BLUE: usize = 2;

impl BayerPattern {
    /// Row and column of the first red pixel.
    const fn red(self) -> (usize, usize) {
        match self {
            Self::Rggb => (0, 0),
            Self::Bggr => (1, 1),
            Self::Gbrg => (1, 0),
            Self::Grbg => (0, 1),
        }
    }

    /// Row `y`, not the first or the last, as RGB. `row` is that row, and `above` and `below` are its neighbours, all of the
    /// length of `rgb`, which is at least [`LEAST_SIDE`].
    pub(super) fn row(self, y: usize, [above, row, below]: [&[u8]; 3], rgb: &mut [[u8; 3]]) {
        let (red_row, red_column) = self.red();
        let has_red = y % 2 == red_row;
        // The colour that shares this row with green, and the column of its first pixel.
        let (colour, column) = if has_red { (RED, red_column) } else { (BLUE, 1 - red_column) };
        let inner = rgb.iter_mut().skip(1);
        let windows = above.windows(3).zip(row.windows(3)).zip(below.windows(3));
        for (x, (((above, row), below), out)) in windows.zip(inner).enumerate() {
            let ([a, b, c], [d, e, f], [g, h, i]) = (three(above), three(row), three(below));
            // Window `x` is centred on pixel `x + 1`.
            if (x + 1) % 2 == column {
                out[colour] = e as u8;
                out[GREEN] = ((b + d + f + h + 2) >> 2) as u8;
                out[BLUE - colour] = ((a + c + g + i + 2) >> 2) as u8;
            } else {
                out[colour] = ((d + f + 1) >> 1) as u8;
                out[GREEN] = e as u8;
                out[BLUE - colour] = ((b + h + 1) >> 1) as u8;
            }
        }
        if let [first, second, .., before, last] = rgb {
            (*first, *last) = (*second, *before);
        } else if let [first, middle, last] = rgb {
            (*first, *last) = (*middle, *middle);
        }
    }
}

fn three(window: &[u8]) -> [u16; 3] {
    window.first_chunk::<3>().map_or([0; 3], |three| three.map(u16::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mosaic of one colour.
    fn mosaic(pattern: BayerPattern, [red, green, blue]: [u8; 3], (width, height): (usize, usize)) -> Vec<u8> {
        let (red_row, red_column) = pattern.red();
        let pixel = |y: usize, x: usize| match (y % 2 == red_row, x % 2 == red_column) {
            (true, true) => red,
            (false, false) => blue,
            _ => green,
        };
        (0..height).flat_map(|y| (0..width).map(move |x| pixel(y, x))).collect()
    }

    #[test]
    fn a_mosaic_of_one_colour_has_that_colour_in_every_pixel() {
        for pattern in [BayerPattern::Rggb, BayerPattern::Bggr, BayerPattern::Gbrg, BayerPattern::Grbg] {
            for width in [3, 4, 7] {
                let data = mosaic(pattern, [200, 100, 50], (width, 4));
                for y in 1..3 {
                    let row = |y: usize| &data[y * width..][..width];
                    let mut rgb = vec![[0; 3]; width];
                    pattern.row(y, [row(y - 1), row(y), row(y + 1)], &mut rgb);
                    assert_eq!(rgb, vec![[200, 100, 50]; width], "{pattern:?} {width} {y}");
                }
            }
        }
    }
}
