//! Uncompressed pixels where they lie, and their conversion to RGB a row at a time.

use std::fmt;

use super::bayer::{self, BayerPattern};
use super::error::Error;
use super::yuv;

/// Most pixels of one frame, raw or compressed (100 megapixels): larger ones are refused before anything is allocated.
pub const MAX_PIXELS: usize = 100_000_000;

/// Layout of the bytes of an image. YUV is BT.601, limited range, as cv_bridge takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// Red, green, blue, alpha; alpha is dropped.
    Rgba8,
    /// Blue, green, red, alpha; alpha is dropped.
    Bgra8,
    /// Grey, taken for all three colours.
    Mono8,
    /// 4:2:2 packed as U Y V Y; ROS also calls it "yuv422".
    Uyvy,
    /// 4:2:2 packed as Y U Y V; ROS also calls it "yuv422_yuy2".
    Yuyv,
    /// 4:2:0: `height` rows of Y, then `height / 2` rows of U V pairs.
    Nv12,
    /// 4:2:0: `height` rows of Y, then `height / 2` rows of V U pairs.
    Nv21,
    /// A mosaic of one colour a pixel, one byte each.
    Bayer8(BayerPattern),
}

impl PixelFormat {
    /// The `sensor_msgs/Image` encodings that are read.
    pub const ENCODINGS: [(&'static str, Self); 15] = [
        ("rgb8", Self::Rgb8),
        ("bgr8", Self::Bgr8),
        ("rgba8", Self::Rgba8),
        ("bgra8", Self::Bgra8),
        ("mono8", Self::Mono8),
        ("uyvy", Self::Uyvy),
        ("yuv422", Self::Uyvy),
        ("yuyv", Self::Yuyv),
        ("yuv422_yuy2", Self::Yuyv),
        ("nv12", Self::Nv12),
        ("nv21", Self::Nv21),
        ("bayer_rggb8", Self::Bayer8(BayerPattern::Rggb)),
        ("bayer_bggr8", Self::Bayer8(BayerPattern::Bggr)),
        ("bayer_gbrg8", Self::Bayer8(BayerPattern::Gbrg)),
        ("bayer_grbg8", Self::Bayer8(BayerPattern::Grbg)),
    ];

    /// The layout that a `sensor_msgs/Image` encoding names.
    pub fn from_encoding(encoding: &str) -> Option<Self> {
        Self::ENCODINGS.iter().find(|(name, _)| *name == encoding).map(|&(_, format)| format)
    }

    /// Bytes of one pixel in a row; of NV12 and NV21, in a row of Y (or of U V pairs, which is as long).
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
            Self::Uyvy | Self::Yuyv => 2,
            Self::Mono8 | Self::Nv12 | Self::Nv21 | Self::Bayer8(_) => 1,
        }
    }

    /// The name of the layout in `sensor_msgs/Image`.
    pub fn as_str(self) -> &'static str {
        Self::ENCODINGS.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether bytes of this layout may be announced as `encoding`: by its own name, by OpenCV's name for bytes of unknown
    /// meaning (`8UC3`), or as `mono8` where a driver passes on the mosaic of its sensor.
    pub(super) fn may_be_announced_as(self, encoding: &str) -> bool {
        match (encoding, self) {
            ("8UC1", Self::Mono8 | Self::Bayer8(_)) | ("mono8", Self::Bayer8(_)) => true,
            ("8UC2", _) => self.bytes_per_pixel() == 2,
            ("8UC3", _) => self.bytes_per_pixel() == 3,
            ("8UC4", _) => self.bytes_per_pixel() == 4,
            _ => Self::from_encoding(encoding) == Some(self),
        }
    }

    /// Rows of `step` bytes that an image of this height takes.
    const fn rows(self, height: usize) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => height / 2 * 3,
            _ => height,
        }
    }

    /// The side that must be even but is odd.
    fn odd_side(self, width: usize, height: usize) -> Option<&'static str> {
        match self {
            Self::Nv12 | Self::Nv21 if !height.is_multiple_of(2) => Some("height"),
            Self::Uyvy | Self::Yuyv | Self::Nv12 | Self::Nv21 if !width.is_multiple_of(2) => Some("width"),
            _ => None,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Borrowed pixels: a view of a message or of a decoder's buffer.
///
/// Made by [`Pixels::new`], which checks that the data hold what the other fields say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pixels<'a> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next.
    pub step: usize,
    /// Layout.
    pub format: PixelFormat,
    /// At least `step * height` bytes, half as much again of NV12 and NV21.
    pub data: &'a [u8],
}

impl<'a> Pixels<'a> {
    /// Pixels of a known layout.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::TooLarge`], [`Error::TooSmall`], [`Error::OddSize`], [`Error::Step`] or [`Error::Data`].
    pub fn new(format: PixelFormat, width: usize, height: usize, step: usize, data: &'a [u8]) -> Result<Self, Error> {
        check_size(width, height)?;
        if matches!(format, PixelFormat::Bayer8(_)) && width.min(height) < bayer::LEAST_SIDE {
            return Err(Error::TooSmall { format, width, height, least: bayer::LEAST_SIDE });
        }
        if let Some(side) = format.odd_side(width, height) {
            return Err(Error::OddSize { format, width, height, side });
        }
        let row = width * format.bytes_per_pixel();
        if step < row {
            return Err(Error::Step { format, width, step, expected: row });
        }
        let expected = step.saturating_mul(format.rows(height));
        if data.len() < expected {
            return Err(Error::Data { format, width, height, step, found: data.len(), expected });
        }
        Ok(Self { width, height, step, format, data })
    }

    /// Row `y` as RGB, `3 * width` bytes: borrowed from the data of RGB images, else converted into `scratch`.
    ///
    /// # Panics
    /// When `y` is not below `height` or `scratch` is shorter than `3 * width`: mistakes of the caller, no property
    /// of an image that [`Pixels::new`] took.
    pub fn row_rgb<'s>(&'s self, y: usize, scratch: &'s mut [u8]) -> &'s [u8] {
        assert!(y < self.height, "row {y} of an image of {} rows", self.height);
        let row = self.row(y);
        if self.format == PixelFormat::Rgb8 {
            return row;
        }
        let out = &mut scratch[..3 * self.width];
        let (rgb, _) = out.as_chunks_mut::<3>();
        match self.format {
            PixelFormat::Rgb8 => {}
            PixelFormat::Bgr8 => convert::<3>(row, rgb, |[b, g, r]| [r, g, b]),
            PixelFormat::Rgba8 => convert::<4>(row, rgb, |[r, g, b, _]| [r, g, b]),
            PixelFormat::Bgra8 => convert::<4>(row, rgb, |[b, g, r, _]| [r, g, b]),
            PixelFormat::Mono8 => convert::<1>(row, rgb, |[grey]| [grey; 3]),
            PixelFormat::Uyvy => yuv::packed_row(row, rgb, |[u, y0, v, y1]| [y0, y1, u, v]),
            PixelFormat::Yuyv => yuv::packed_row(row, rgb, |[y0, u, y1, v]| [y0, y1, u, v]),
            PixelFormat::Nv12 => yuv::semi_planar_row(row, self.row(self.height + y / 2), rgb, |[u, v]| [u, v]),
            PixelFormat::Nv21 => yuv::semi_planar_row(row, self.row(self.height + y / 2), rgb, |[v, u]| [u, v]),
            PixelFormat::Bayer8(pattern) => {
                let y = y.clamp(1, self.height - 2);
                pattern.row(y, [y - 1, y, y + 1].map(|y| self.row(y)), rgb);
            }
        }
        out
    }

    /// Row `y` as RGB into the `3 * width` bytes of `out`.
    ///
    /// # Panics
    /// As [`Self::row_rgb`].
    pub fn copy_row_rgb(&self, y: usize, out: &mut [u8]) {
        if self.format == PixelFormat::Rgb8 {
            out[..3 * self.width].copy_from_slice(self.row(y));
        } else {
            // It is converted into `out`.
            self.row_rgb(y, out);
        }
    }

    /// Row `index` without its padding; of NV12 and NV21, rows from `height` on hold the colours.
    fn row(&self, index: usize) -> &'a [u8] {
        &self.data[index * self.step..][..self.width * self.format.bytes_per_pixel()]
    }
}

/// Refuses sizes of no or too many pixels.
pub(super) fn check_size(width: usize, height: usize) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::Empty { width, height });
    }
    if width.checked_mul(height).is_none_or(|pixels| pixels > MAX_PIXELS) {
        return Err(Error::TooLarge { width, height });
    }
    Ok(())
}

fn convert<const N: usize>(row: &[u8], rgb: &mut [[u8; 3]], pixel: impl Fn([u8; N]) -> [u8; 3]) {
    for (rgb, &from) in rgb.iter_mut().zip(row.as_chunks::<N>().0) {
        *rgb = pixel(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(format: PixelFormat, width: usize, height: usize, step: usize, data: &[u8]) -> Vec<Vec<u8>> {
        let pixels = Pixels::new(format, width, height, step, data).expect("consistent");
        let mut scratch = vec![0xee; 3 * width + 5];
        (0..height).map(|y| pixels.row_rgb(y, &mut scratch).to_vec()).collect()
    }

    #[test]
    fn colour_orders_alpha_and_grey_become_rgb_and_padding_is_skipped() {
        let data: Vec<u8> = (0..20).collect();
        assert_eq!(rows(PixelFormat::Rgb8, 2, 2, 7, &data), [[0, 1, 2, 3, 4, 5], [7, 8, 9, 10, 11, 12]]);
        assert_eq!(rows(PixelFormat::Bgr8, 2, 2, 7, &data), [[2, 1, 0, 5, 4, 3], [9, 8, 7, 12, 11, 10]]);
        assert_eq!(rows(PixelFormat::Rgba8, 2, 2, 9, &data), [[0, 1, 2, 4, 5, 6], [9, 10, 11, 13, 14, 15]]);
        assert_eq!(rows(PixelFormat::Bgra8, 2, 2, 9, &data), [[2, 1, 0, 6, 5, 4], [11, 10, 9, 15, 14, 13]]);
        assert_eq!(rows(PixelFormat::Mono8, 2, 2, 3, &data), [[0, 0, 0, 1, 1, 1], [3, 3, 3, 4, 4, 4]]);
    }

    #[test]
    fn an_rgb_row_is_borrowed_from_the_message() {
        let data = [1; 12];
        let pixels = Pixels::new(PixelFormat::Rgb8, 2, 2, 6, &data).expect("consistent");
        assert!(std::ptr::eq(pixels.row_rgb(1, &mut []), &data[6..]));
    }

    #[test]
    fn every_encoding_names_its_layout() {
        for (name, format) in PixelFormat::ENCODINGS {
            assert_eq!(PixelFormat::from_encoding(name), Some(format));
            assert_eq!(PixelFormat::from_encoding(&format.to_string()), Some(format));
        }
        assert_eq!(PixelFormat::from_encoding("16UC1"), None);
    }

    #[test]
    fn exactly_the_limit_is_taken() {
        assert_eq!(check_size(10_000, 10_000), Ok(()));
        assert_eq!(check_size(10_000, 10_001), Err(Error::TooLarge { width: 10_000, height: 10_001 }));
    }
}
