//! `sensor_msgs/Image`.

use super::cdr::Reader;
use super::error::{Error, shown};
use super::header::HeaderView;
use super::pixels::{PixelFormat, Pixels};

/// A borrowed `sensor_msgs/Image`, as announced: [`pixels`](Self::pixels) checks that it is consistent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageView<'a> {
    /// Stamp and frame.
    pub header: HeaderView<'a>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Layout of the data, e.g. "rgb8".
    pub encoding: &'a str,
    /// Bytes from one row to the next.
    pub step: usize,
    /// The rows, with whatever padding `step` leaves.
    pub data: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "sensor_msgs/msg/Image";

    /// Reads a message in place.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or text that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        let (height, width) = (reader.u32("height")? as usize, reader.u32("width")? as usize);
        let encoding = reader.string("encoding")?;
        // Byte order of samples wider than a byte; no encoding that is read here has any.
        reader.u8("is_bigendian")?;
        let step = reader.u32("step")? as usize;
        Ok(Self { header, height, width, encoding, step, data: reader.bytes("data")? })
    }

    /// The pixels, when encoding, size, step and data agree.
    ///
    /// # Errors
    /// As [`Self::pixels_as`].
    pub fn pixels(&self) -> Result<Pixels<'a>, Error> {
        self.pixels_as(None)
    }

    /// The pixels. `layout` says what the bytes are where the message's own encoding leaves it open (`8UC1`, `8UC3`, ...).
    ///
    /// # Errors
    /// [`Error::OpenEncoding`] for such an encoding without a layout, [`Error::Encoding`] for an unsupported one,
    /// [`Error::OtherEncoding`] for one that contradicts the layout, or what [`Pixels::new`] refuses.
    pub fn pixels_as(&self, layout: Option<PixelFormat>) -> Result<Pixels<'a>, Error> {
        let found = || shown(self.encoding);
        let format = match layout {
            Some(layout) if layout.may_be_announced_as(self.encoding) => layout,
            Some(layout) => return Err(Error::OtherEncoding { found: found(), layout }),
            None => match PixelFormat::from_encoding(self.encoding) {
                Some(format) => format,
                None if is_open(self.encoding) => return Err(Error::OpenEncoding { found: found() }),
                None => return Err(Error::Encoding { found: found() }),
            },
        };
        Pixels::new(format, self.width, self.height, self.step, self.data)
    }
}

/// Whether an encoding gives the number of bytes of a pixel and not their meaning.
fn is_open(encoding: &str) -> bool {
    matches!(encoding, "8UC1" | "8UC2" | "8UC3" | "8UC4")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write;

    fn refusal(width: u32, height: u32, encoding: &str, step: u32, length: usize) -> String {
        let bytes = write::image(HeaderView::default(), width, height, encoding, step, &vec![7; length]);
        let image = ImageView::parse(&bytes).expect("well-formed CDR");
        image.pixels().expect_err("refused").to_string()
    }

    #[test]
    fn an_unknown_encoding_lists_the_known_ones() {
        assert_eq!(
            refusal(1, 1, "bayer_rggb16", 2, 2),
            "image encoding `bayer_rggb16` is not supported, expected one of rgb8, bgr8, rgba8, bgra8, mono8, uyvy, \
             yuv422, yuyv, yuv422_yuy2, nv12, nv21, bayer_rggb8, bayer_bggr8, bayer_gbrg8, bayer_grbg8; set one of them in \
             the camera driver"
        );
        assert!(refusal(1, 1, &"x".repeat(9000), 1, 1).len() < 300);
    }

    #[test]
    fn inconsistent_sizes_are_refused_with_both_numbers() {
        assert!(refusal(0, 480, "rgb8", 0, 0).contains("image is 0x480, expected at least 1x1"));
        assert!(refusal(20_000, 6_000, "mono8", 20_000, 1).contains("20000x6000, expected at most 100000000 pixels"));
        let step = refusal(10, 2, "rgb8", 29, 58);
        assert_eq!(step, "rgb8 image 10 pixels wide has `step` 29, expected at least 30 bytes");
        let data = refusal(10, 2, "bgra8", 48, 95);
        assert_eq!(data, "bgra8 image 10x2 with `step` 48 has 95 bytes of data, expected 96");
        assert!(refusal(4, 2, "nv12", 4, 8).contains("8 bytes of data, expected 12"));
        assert!(refusal(3, 2, "uyvy", 6, 12).contains("uyvy image is 3x2, expected an even width"));
        assert!(refusal(4, 3, "nv21", 4, 18).contains("nv21 image is 4x3, expected an even height"));
        assert!(refusal(2, 9, "bayer_grbg8", 2, 18).contains("bayer_grbg8 image is 2x9, expected at least 3x3"));
        assert!(refusal(u32::MAX, u32::MAX, "rgb8", u32::MAX, 9).contains("expected at most"));
    }

    #[test]
    fn padded_rows_and_an_odd_height_of_packed_yuv_are_read() {
        let bytes = write::image(HeaderView::default(), 2, 3, "yuv422_yuy2", 8, &[128; 24]);
        let image = ImageView::parse(&bytes).expect("well-formed");
        assert_eq!(image.pixels().expect("consistent").row_rgb(2, &mut [0; 6]), [130; 6]);
    }

    #[test]
    fn an_encoding_that_leaves_the_meaning_open_needs_a_layout() {
        let of = |encoding: &str, bytes: u32, layout: Option<&str>| {
            let data = write::image(HeaderView::default(), 4, 4, encoding, 4 * bytes, &vec![7; 16 * bytes as usize]);
            let layout = layout.map(|name| PixelFormat::from_encoding(name).expect("a layout"));
            let image = ImageView::parse(&data).expect("well-formed CDR");
            image.pixels_as(layout).map(|pixels| pixels.format.as_str())
        };
        let cases = [
            ("8UC1", 1, vec!["mono8", "bayer_rggb8", "bayer_grbg8"], "rgb8"),
            ("8UC2", 2, vec!["uyvy", "yuyv"], "mono8"),
            ("8UC3", 3, vec!["rgb8", "bgr8"], "rgba8"),
            ("8UC4", 4, vec!["rgba8", "bgra8"], "rgb8"),
            ("mono8", 1, vec!["mono8", "bayer_bggr8"], "nv12"),
            ("yuv422", 2, vec!["uyvy"], "yuyv"),
            ("bgr8", 3, vec!["bgr8"], "rgb8"),
        ];
        for (encoding, bytes, layouts, other) in cases {
            for layout in layouts {
                assert_eq!(of(encoding, bytes, Some(layout)), Ok(layout), "{encoding}");
            }
            let refused = of(encoding, bytes, Some(other));
            assert!(matches!(refused, Err(Error::OtherEncoding { .. })), "{encoding} as {other}: {refused:?}");
        }
        for (encoding, bytes) in [("8UC1", 1), ("8UC2", 2), ("8UC3", 3), ("8UC4", 4)] {
            assert_eq!(of(encoding, bytes, None), Err(Error::OpenEncoding { found: encoding.into() }));
        }
        assert_eq!(of("16UC1", 2, None), Err(Error::Encoding { found: "16UC1".into() }));
    }
}
