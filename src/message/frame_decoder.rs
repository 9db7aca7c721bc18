//! JPEG and PNG frames to pixels.

use std::io::Cursor;

use super::compressed_image::CompressedImageView;
use super::error::{Error, hex, shown};
use super::pixels::{PixelFormat, Pixels, check_size};

const JPEG: &str = "JPEG";
const PNG: &str = "PNG";

/// Scans of a progressive JPEG. Encoders write about ten; a small file of thousands would stall the node.
const MAX_SCANS: u32 = 500;

/// Decodes `sensor_msgs/CompressedImage` into a buffer that is kept from frame to frame, one camera or several.
///
/// JPEG goes through libjpeg-turbo with its default settings (accurate integer DCT, smooth chroma upsampling): the
/// pixels are those of Pillow and OpenCV. EXIF orientation and colour profiles are not applied. PNG: 8 bits a sample
/// or fewer, palette, grey and alpha included; alpha is dropped.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// Made when first needed, and anew after an error: an aborted header leaves the old one in the middle of it.
    jpeg: Option<turbojpeg::Decompressor>,
    buffer: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frame's pixels. Its first bytes say what it is; `format` is only quoted in errors.
    ///
    /// # Errors
    /// [`Error::Codec`] when it is neither JPEG nor PNG, [`Error::TooLarge`] and [`Error::Empty`] by its header,
    /// [`Error::Colours`] for CMYK JPEG, 16-bit and animated PNG, [`Error::Damaged`] when it is cut short or corrupt:
    /// a frame with any decoder warning is refused, not shown in grey.
    pub fn decode<'b>(&'b mut self, image: &CompressedImageView<'_>) -> Result<Pixels<'b>, Error> {
        let (format, width, height) = match image.data {
            [0xff, 0xd8, 0xff, ..] => self.decode_jpeg(image.data)?,
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => self.decode_png(image.data)?,
            data => {
                let magic = if data.is_empty() { "nothing".to_owned() } else { hex(data) };
                return Err(Error::Codec { format: shown(image.format), magic });
            }
        };
        Pixels::new(format, width, height, width * format.bytes_per_pixel(), &self.buffer)
    }

    fn decode_jpeg(&mut self, data: &[u8]) -> Result<(PixelFormat, usize, usize), Error> {
        let mut jpeg = match self.jpeg.take() {
            Some(jpeg) => jpeg,
            None => new_decompressor().map_err(|error| damaged_jpeg(data, &error))?,
        };
        let header = jpeg.read_header(data).map_err(|error| damaged_jpeg(data, &error))?;
        let (width, height) = (header.width, header.height);
        check_size(width, height)?;
        if matches!(header.colorspace, turbojpeg::Colorspace::CMYK | turbojpeg::Colorspace::YCCK) {
            return Err(Error::Colours { codec: JPEG, found: "CMYK", expected: "YCbCr, RGB or grey" });
        }
        self.buffer.resize(width * height * 3, 0);
        let target = turbojpeg::Image {
            pixels: self.buffer.as_mut_slice(),
            width,
            pitch: width * 3,
            height,
            format: turbojpeg::PixelFormat::RGB,
        };
        match jpeg.decompress(data, target) {
            Err(error) if !is_padded_end(&error) => return Err(damaged_jpeg(data, &error)),
            _ => self.jpeg = Some(jpeg),
        }
        Ok((PixelFormat::Rgb8, width, height))
    }

    fn decode_png(&mut self, data: &[u8]) -> Result<(PixelFormat, usize, usize), Error> {
        let damaged = |error: png::DecodingError| {
            let reason = error.to_string();
            Error::Damaged { codec: PNG, length: data.len(), reason }
        };
        let mut decoder = png::Decoder::new(Cursor::new(data));
        decoder.set_transformations(png::Transformations::EXPAND);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let header = decoder.read_header_info().map_err(damaged)?;
        let (width, height) = (header.width as usize, header.height as usize);
        check_size(width, height)?;
        if header.bit_depth == png::BitDepth::Sixteen {
            let found = "16 bits a sample (a depth image?)";
            return Err(Error::Colours { codec: PNG, found, expected: "8 bits a sample or fewer" });
        }
        let mut reader = decoder.read_info().map_err(damaged)?;
        if reader.info().is_animated() {
            return Err(Error::Colours { codec: PNG, found: "animated", expected: "a single frame" });
        }
        let size = reader.output_buffer_size().ok_or(Error::TooLarge { width, height })?;
        self.buffer.resize(size, 0);
        let (colours, _) = reader.output_color_type();
        reader.next_frame(&mut self.buffer).map_err(damaged)?;
        let format = match colours {
            png::ColorType::Rgb => PixelFormat::Rgb8,
            png::ColorType::Rgba => PixelFormat::Rgba8,
            png::ColorType::Grayscale => PixelFormat::Mono8,
            png::ColorType::GrayscaleAlpha => {
                drop_alpha(&mut self.buffer);
                PixelFormat::Mono8
            }
            // EXPAND leaves no palette.
            png::ColorType::Indexed => {
                return Err(Error::Colours { codec: PNG, found: "a palette", expected: "colours" });
            }
        };
        Ok((format, width, height))
    }
}

fn new_decompressor() -> Result<turbojpeg::Decompressor, turbojpeg::Error> {
    let mut jpeg = turbojpeg::Decompressor::new()?;
    jpeg.set_scan_limit(MAX_SCANS)?;
    Ok(jpeg)
}

/// libjpeg-turbo's warning about bytes too many just before the end-of-image marker, where some cameras pad their
/// frames. It reports the first warning of a frame, so all data before the marker were in order.
fn is_padded_end(error: &turbojpeg::Error) -> bool {
    match error {
        turbojpeg::Error::TurboJpegError(text) => text.ends_with("extraneous bytes before marker 0xd9"),
        _ => false,
    }
}

fn damaged_jpeg(data: &[u8], error: &turbojpeg::Error) -> Error {
    let reason = match error {
        turbojpeg::Error::TurboJpegError(text) => text.clone(),
        // libjpeg-turbo leaves -1 as the size when the data end before an image begins.
        turbojpeg::Error::IntegerOverflow("width" | "height") => "it holds no image".to_owned(),
        other => other.to_string(),
    };
    Error::Damaged { codec: JPEG, length: data.len(), reason }
}

/// Grey and alpha to grey, in place.
fn drop_alpha(buffer: &mut Vec<u8>) {
    let pixels = buffer.len() / 2;
    for at in 0..pixels {
        buffer[at] = buffer[2 * at];
    }
    buffer.truncate(pixels);
}
