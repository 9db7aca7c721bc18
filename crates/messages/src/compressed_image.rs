//! `sensor_msgs/CompressedImage`.

use super::cdr::Reader;
use super::error::{Error, hex, shown};
use super::header::HeaderView;
use super::jpeg::JpegHeader;
use super::orientation::swaps_sides;
use super::pixels::check_size;

/// A borrowed `sensor_msgs/CompressedImage`. [`FrameDecoder`](super::FrameDecoder) makes pixels of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressedImageView<'a> {
    /// Stamp and frame.
    pub header: HeaderView<'a>,
    /// What the sender says it is, e.g. "jpeg" or "rgb8; jpeg compressed bgr8". Senders disagree on the wording, so the
    /// data's first bytes decide of the codec; but pixels that it says are no colours are none.
    pub format: &'a str,
    /// The compressed frame.
    pub data: &'a [u8],
}

impl<'a> CompressedImageView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "sensor_msgs/msg/CompressedImage";

    /// Reads a message in place. The frame itself is not looked at.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or text that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        Ok(Self { header: reader.header()?, format: reader.string("format")?, data: reader.bytes("data")? })
    }

    /// What the frame says of itself, without decoding it.
    ///
    /// # Errors
    /// [`Error::NoPicture`] when `format` names pixels that are no colours (a Bayer mosaic, YUV, depth),
    /// [`Error::Codec`] when it is neither JPEG nor PNG, [`Error::TooLarge`] and [`Error::Empty`] by its header.
    pub fn frame_header(&self) -> Result<FrameHeader, Error> {
        let header = match self.data {
            [0xff, 0xd8, 0xff, ..] => {
                let JpegHeader { width, height, components, orientation } = JpegHeader::parse(self.data);
                FrameHeader { codec: Codec::Jpeg, width, height, grey: components == 1, orientation }
            }
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, rest @ ..] => {
                // IHDR is the first chunk: length, name, width, height, depth, colour type.
                let side =
                    |at: usize| rest.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_be_bytes(*b));
                let (width, height) = (side(8) as usize, side(12) as usize);
                FrameHeader {
                    codec: Codec::Png,
                    width,
                    height,
                    grey: matches!(rest.get(17), Some(0 | 4)),
                    orientation: 1,
                }
            }
            data => {
                let magic = match kind_of(data) {
                    Some(kind) => format!("{} ({kind})", hex(data)),
                    None if data.is_empty() => "nothing".to_owned(),
                    None => hex(data),
                };
                self.check_format(false)?;
                return Err(Error::Codec { format: shown(self.format), magic });
            }
        };
        self.check_format(header.grey)?;
        if header.is_known() {
            check_size(header.width, header.height)?;
        }
        Ok(header)
    }

    /// Refuses pixels that are no colours, by name. `grey`: whether the data have one channel, which no conversion to colours leaves.
    fn check_format(&self, grey: bool) -> Result<(), Error> {
        let refused =
            |what: &'static str, cure: &'static str| Err(Error::NoPicture { format: shown(self.format), what, cure });
        let words = || self.format.split(|c: char| c == ';' || c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
        let has = |prefixes: &[&str]| words().any(|word| prefixes.iter().any(|prefix| starts_with(word, prefix)));
        // As image_transport writes it: "<encoding of the source>; jpeg compressed <encoding of the data>".
        let converted =
            !grey && words().any(|word| ["rgb8", "bgr8"].iter().any(|name| word.eq_ignore_ascii_case(name)));
        if has(&["compressedDepth"]) {
            refused("a depth image (compressedDepth)", "subscribe to the colour camera's topic")
        } else if has(&["16U", "16S", "32S", "32F", "64F", "mono16"]) {
            refused("samples of more than 8 bits, such as depth", "subscribe to the colour camera's topic")
        } else if has(&["bayer_"]) && !converted {
            refused("a Bayer mosaic", "convert it first (image_proc's debayer) and compress the colour image")
        } else if has(&["yuv", "uyvy", "yuyv", "nv12", "nv21", "nv24"]) && !converted {
            refused("YUV samples", "convert them to rgb8 or bgr8 before they are compressed")
        } else {
            Ok(())
        }
    }
}

/// The codecs that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    Jpeg,
    Png,
}

/// What a compressed frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub(super) codec: Codec,
    /// Columns; 0 when the header is damaged.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One channel, or one and alpha.
    pub grey: bool,
    /// EXIF orientation of a JPEG, 1 to 8; 1 is upright. Width and height are those of the stored rows and columns.
    pub orientation: u8,
}

impl FrameHeader {
    /// Whether the size was found. A damaged header is the decoder's to refuse.
    pub fn is_known(&self) -> bool {
        self.width > 0 || self.height > 0
    }

    /// Width and height after the orientation was applied.
    pub fn upright_size(&self) -> (usize, usize) {
        if swaps_sides(self.orientation) { (self.height, self.width) } else { (self.width, self.height) }
    }
}

fn starts_with(word: &str, prefix: &str) -> bool {
    word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Names of formats that are not read, for messages.
fn kind_of(data: &[u8]) -> Option<&'static str> {
    match data {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("WebP"),
        [b'G', b'I', b'F', b'8', ..] => Some("GIF"),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some("TIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("HEIF, AVIF or MP4"),
        [0, 0, 0, 1, ..] | [0, 0, 1, ..] => Some("H.264 or H.265"),
        [b'B', b'M', ..] => Some("BMP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(format: &str, data: &[u8]) -> Option<String> {
        let view = CompressedImageView { header: HeaderView::default(), format, data };
        view.frame_header().err().map(|error| error.to_string())
    }

    /// Start of a JPEG of this many components.
    fn jpeg(components: u8) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8, 0xff, 0xc0, 0, 8 + 3 * components, 8, 0, 48, 0, 64, components];
        (0..components).for_each(|id| data.extend([id, 0x11, 0]));
        data
    }

    #[test]
    fn pixels_that_are_no_colours_are_refused_by_the_name_in_the_format() {
        for (format, what) in [
            ("bayer_rggb8; jpeg compressed ", "a Bayer mosaic"),
            ("bayer_grbg8", "a Bayer mosaic"),
            ("jpeg; bayer_gbrg16", "a Bayer mosaic"),
            ("yuv422; jpeg compressed ", "YUV samples"),
            ("yuv422_yuy2; jpeg", "YUV samples"),
            ("YUV444 jpeg", "YUV samples"),
            ("16UC1; png compressed ", "samples of more than 8 bits, such as depth"),
            ("mono16; jpeg compressed mono8", "samples of more than 8 bits, such as depth"),
            ("32FC1; jpeg", "samples of more than 8 bits, such as depth"),
            ("16UC1; compressedDepth png", "a depth image (compressedDepth)"),
        ] {
            let found = refusal(format, &jpeg(3)).unwrap_or_else(|| panic!("`{format}` was taken"));
            assert!(
                found.starts_with(&format!("compressed image with format `{format}` is {what}, expected")),
                "{found}"
            );
        }
        // A depth image in its own container is named as that, not as unknown bytes.
        assert!(refusal("16UC1; compressedDepth", &[0; 12]).is_some_and(|found| found.contains("a depth image")));
    }

    #[test]
    fn colours_are_taken_whatever_they_were_converted_from() {
        for format in
            ["jpeg", "", "png", "rgb8; jpeg compressed bgr8", "mono8; jpeg compressed ", "rgb8; jpeg compressed rgb8"]
        {
            assert_eq!(refusal(format, &jpeg(3)), None, "{format}");
            assert_eq!(refusal(format, &jpeg(1)), None, "{format}, grey");
        }
        for format in ["bayer_rggb8; jpeg compressed bgr8", "yuv422_yuy2; jpeg compressed bgr8"] {
            assert_eq!(refusal(format, &jpeg(3)), None, "{format}");
            assert!(refusal(format, &jpeg(1)).is_some(), "{format}: grey data were not converted");
        }
    }

    #[test]
    fn codecs_that_are_not_read_are_named() {
        let found = refusal("webp", b"RIFF\0\0\0\0WEBPVP8 ").expect("refused");
        assert!(found.contains("begins with 52 49 46 46 00 00 00 00 (WebP), expected JPEG"), "{found}");
    }

    #[test]
    fn size_and_orientation_are_read_without_decoding() {
        let data = jpeg(3);
        let view = CompressedImageView { header: HeaderView::default(), format: "jpeg", data: &data };
        let header = view.frame_header().expect("a frame");
        assert_eq!((header.width, header.height, header.orientation, header.is_known()), (64, 48, 1, true));
        let cut = CompressedImageView { data: &[0xff, 0xd8, 0xff, 0xd9], ..view };
        assert!(!cut.frame_header().expect("left to the decoder").is_known());
    }
}
